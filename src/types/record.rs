//! Records as users give and get them.

use bytes::Bytes;

use super::{Sequence, Timestamp};

/// What a record does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The key now has this payload.
    Put,
    /// The key is gone (a tombstone).
    Delete,
}

/// A name and a value beside a record's payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The header's name.
    pub key: String,
    /// The header's value, any bytes.
    pub value: Bytes,
}

/// A record to append.
///
/// ```
/// use icecore::NewRecord;
/// let record = NewRecord::put("invoice-7", "paid").with_header("source", "web");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Put or delete.
    pub kind: RecordKind,
    /// The key; `None` is no key, which is not the empty one.
    pub key: Option<Bytes>,
    /// The payload; `None` is no payload, which is not the empty one.
    pub payload: Option<Bytes>,
    /// Headers in the order given.
    pub headers: Vec<Header>,
    /// The record's own time, or `None` for the time of the append. Times may run backwards.
    pub timestamp: Option<Timestamp>,
    /// From when on `get` and search no longer find it; `None` never expires.
    pub expires_at: Option<Timestamp>,
}

impl NewRecord {
    /// A record without a key.
    pub fn payload(payload: impl Into<Bytes>) -> Self {
        Self {
            kind: RecordKind::Put,
            key: None,
            payload: Some(payload.into()),
            headers: Vec::new(),
            timestamp: None,
            expires_at: None,
        }
    }

    /// A record that gives `key` a new `payload`.
    pub fn put(key: impl Into<Bytes>, payload: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::payload(payload) }
    }

    /// A record that deletes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { kind: RecordKind::Delete, key: Some(key.into()), payload: None, ..Self::payload(Bytes::new()) }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { key: key.into(), value: value.into() });
        self
    }

    /// Sets the record's own time.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the time from which on the record is expired.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }
}

/// A record as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the collection.
    pub sequence: Sequence,
    /// Its own time.
    pub timestamp: Timestamp,
    /// Put or delete.
    pub kind: RecordKind,
    /// The key; `None` is no key.
    pub key: Option<Bytes>,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// Headers in the order given.
    pub headers: Vec<Header>,
    /// The payload; `None` is no payload.
    pub payload: Option<Bytes>,
}

impl Record {
    /// Whether the record is expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}
