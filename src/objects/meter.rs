//! Counts what is asked of a store, by kind: requests cost money (`archive::price`).
//!
//! Each request on the wire counts once, also one that failed; a part of an object is a request of its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of request, as stores charge for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestKind {
    /// Sends an object, a part or a block, or begins, ends or abandons an object in parts.
    Put,
    /// Fetches an object or a range of one.
    Get,
    /// Asks what is known of an object or a bucket.
    Head,
    /// Lists objects, versions or parts.
    List,
    /// Removes an object.
    Delete,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Put, Self::Get, Self::Head, Self::List, Self::Delete];
}

/// Counts of one store, since it was made.
#[derive(Debug, Default)]
pub struct Meter([Counters; 5]);

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    failed: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// What was asked of a store, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Which kind.
    pub kind: RequestKind,
    /// How many requests.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Bytes of objects that were sent.
    pub sent_bytes: u64,
    /// Bytes of objects that were received.
    pub received_bytes: u64,
}

impl Usage {
    /// Nothing.
    #[must_use]
    pub const fn none(kind: RequestKind) -> Self {
        Self { kind, requests: 0, failed: 0, sent_bytes: 0, received_bytes: 0 }
    }

    /// With what was asked besides.
    #[must_use]
    pub const fn plus(self, more: &Self) -> Self {
        Self {
            kind: self.kind,
            requests: self.requests + more.requests,
            failed: self.failed + more.failed,
            sent_bytes: self.sent_bytes + more.sent_bytes,
            received_bytes: self.received_bytes + more.received_bytes,
        }
    }

    /// Without what was asked before.
    #[must_use]
    pub const fn minus(self, before: &Self) -> Self {
        Self {
            kind: self.kind,
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
        }
    }
}

impl Meter {
    /// Counts a request that is about to be made, with the bytes of an object that it sends.
    pub fn begin(&self, kind: RequestKind, sent_bytes: u64) {
        self.0[kind as usize].requests.fetch_add(1, Ordering::Relaxed);
        self.0[kind as usize].sent_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
    }

    /// Counts bytes of an object that arrived.
    pub fn received(&self, kind: RequestKind, bytes: u64) {
        self.0[kind as usize].received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a request that failed. An answer that there is no such object is none.
    pub fn failed(&self, kind: RequestKind) {
        self.0[kind as usize].failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of one kind.
    #[must_use]
    pub fn usage(&self, kind: RequestKind) -> Usage {
        let counters = &self.0[kind as usize];
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            kind,
            requests: of(&counters.requests),
            failed: of(&counters.failed),
            sent_bytes: of(&counters.sent_bytes),
            received_bytes: of(&counters.received_bytes),
        }
    }

    /// The counts of every kind.
    #[must_use]
    pub fn all(&self) -> [Usage; 5] {
        RequestKind::ALL.map(|kind| self.usage(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_by_itself() {
        let meter = Meter::default();
        meter.begin(RequestKind::Put, 10);
        meter.begin(RequestKind::Put, 5);
        meter.failed(RequestKind::Put);
        meter.begin(RequestKind::Get, 0);
        meter.received(RequestKind::Get, 7);
        let put = Usage { kind: RequestKind::Put, requests: 2, failed: 1, sent_bytes: 15, received_bytes: 0 };
        let get = Usage { kind: RequestKind::Get, requests: 1, failed: 0, sent_bytes: 0, received_bytes: 7 };
        let none = Usage::none;
        assert_eq!(
            meter.all(),
            [put, get, none(RequestKind::Head), none(RequestKind::List), none(RequestKind::Delete)]
        );
    }
}
