//! S3, what speaks its protocol, and Google Cloud Storage by it: `s3://bucket/prefix`, `gs://bucket/prefix`.
//!
//! - `client`: where it is, who we are, whom we trust
//! - `runtime`: futures for callers that block; deadlines
//! - `errors`: from what the client says to what a caller may rely on
//! - `put`: one request for an object; `parts`: many, and going on with those of an earlier try
//! - `same`: whether what is there are the bytes of an upload
//! - `read`: get, head, list, versions
//! - `probe`: what the store turned out to be able to do
//! - `google`: what is different at Google's
//!
//! Owns: one bucket, below one prefix. Retries nothing, hides nothing behind a cache, and keeps nothing but its connections, and what
//! it learned of the store: whether its checksums mean anything, whether parts are safe there, whether it lists in order.
//!
//! # How the promises are kept
//!
//! - **1, whole or not at all**: S3 shows an object when its request, or the completion of its parts, has succeeded.
//! - **2, never replaced**: `If-None-Match: *` on the request that makes the object, also on the one that completes parts. Where a store
//!   ignores it [`probe`](ObjectStore::probe) says so (`conditional_put`), and nothing may be archived there.
//! - **4, same content**: the bytes are hashed before the first is sent (parts: before they are completed), and sent with their
//!   SHA-256, which the store checks. What is there is compared by the store's own SHA-256; of an object in parts, by the one over its parts'
//!   digests, which is computed again from the source; else every byte is read back.
//! - **6, only `NotFound` is absent**: `HEAD` answers without a body, so a missing bucket and a missing object look alike. An absence is
//!   asked for again by a `GET` of one byte, whose answer names what is missing.
//! - **7, 9, 10**: `errors` and `runtime`.
//!
//! # Memory
//!
//! A put holds the whole object up to [`StoreOptions::multipart_bytes`], above that four parts of [`StoreOptions::part_bytes`]. Where no parts
//! are used (Google's, and what completes them over an object), it holds objects of any length. [`ObjectStore::put_memory`] tells
//! which, and the archiver takes that from its budget before it begins.
//!
//! # Threads
//!
//! Calls may come from any thread. One from within an async runtime blocks that runtime's thread, as any blocking call does.

mod client;
mod errors;
mod google;
mod parts;
mod probe;
mod put;
mod read;
mod runtime;
mod same;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use bytes::Bytes;

use self::client::Plan;
use self::errors::{Asked, Failure};
use self::runtime::{Outcome, Pending};
use super::{
    Abilities, Head, Location, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof,
    Put, RequestKind, StoreOptions, Upload, Version,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FileSystem;

/// A bucket, below a prefix.
pub struct S3ObjectStore {
    bucket: String,
    /// Empty, or with `/` at its end.
    prefix: String,
    place: String,
    is_google: bool,
    plan: Plan,
    client: Mutex<Option<Client>>,
    deadline: Duration,
    multipart_bytes: u64,
    part_bytes: u64,
    storage_class: Option<String>,
    governance: bool,
    clock: Arc<dyn Clock>,
    meter: Meter,
    /// The store's SHA-256 is its own, and not one that a client once wrote beside the object.
    trusts_checksums: AtomicBool,
    /// Completing parts holds to the condition, too.
    takes_parts: AtomicBool,
    /// Whether listings come in order of the keys' bytes; one of the numbers in `read`.
    order: AtomicU8,
}

impl S3ObjectStore {
    /// The store of `location`. Nothing is sent, and no credentials are looked for, before the first call.
    ///
    /// # Errors
    /// `Invalid` for options that cannot be, or another kind of location.
    pub fn new(
        location: &Location,
        options: &StoreOptions,
        fs: &Arc<dyn FileSystem>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let (bucket, prefix, is_google) = match location {
            Location::S3 { bucket, prefix } => (bucket, prefix, false),
            Location::Gcs { bucket, prefix } => (bucket, prefix, true),
            _ => return Err(Error::new(ErrorKind::Invalid, format!("this is no bucket: store=`{location}`"))),
        };
        Ok(Self {
            bucket: bucket.clone(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            place: location.to_string(),
            is_google,
            plan: Plan::new(options, is_google, fs)?,
            client: Mutex::new(None),
            deadline: options.request_timeout,
            multipart_bytes: options.multipart_bytes,
            part_bytes: options.part_bytes.max(parts::PART_BYTES_MIN),
            storage_class: options.storage_class.clone(),
            governance: options.s3.governance,
            clock: Arc::clone(clock),
            meter: Meter::default(),
            trusts_checksums: AtomicBool::new(!is_google),
            // Google's does not hold to conditions there, and takes any length in one request.
            takes_parts: AtomicBool::new(!is_google),
            order: AtomicU8::new(read::UNKNOWN_ORDER),
        })
    }

    /// Makes an object as the bare client does, over whatever is there: for who measures what that costs.
    ///
    /// # Errors
    /// What the store said.
    #[cfg(feature = "cli")]
    pub(crate) fn bare_put(&self, key: &ObjectKey, body: Bytes) -> ObjectResult<()> {
        put::bare(self, key.as_str(), body)
    }

    /// The key in the bucket.
    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The client, made when it is needed first. A failure is not kept: what it lacks may come.
    fn client(&self, asked: Asked<'_>) -> ObjectResult<Client> {
        // Held while it is made, so that others wait for it instead of making their own.
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = runtime::start(self.deadline, self.plan.connect()).wait().map_err(|failure| match failure {
            // No request of ours was made yet.
            Failure::NoAnswer(what) => Failure::NotSent { what, trouble: Some(super::Trouble::NoCredentials) },
            failure => failure,
        });
        let made = made.map_err(|failure| self.failed(asked, failure))?;
        *client = Some(made.clone());
        Ok(made)
    }

    /// Starts one request on the wire, counted.
    fn start<T: Send + 'static>(
        &self,
        kind: RequestKind,
        sent_bytes: u64,
        request: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> Pending<T> {
        self.meter.begin(kind, sent_bytes);
        runtime::start(self.deadline, request)
    }

    /// Waits for a request that [`start`](Self::start) began.
    fn finish<T>(&self, kind: RequestKind, pending: Pending<T>) -> Outcome<T> {
        let outcome = pending.wait();
        if outcome.as_ref().is_err_and(|failure| !failure.is_answer()) {
            self.meter.failed(kind);
        }
        outcome
    }

    /// One request on the wire, of which only the client's answer is of interest.
    fn send<T, E>(
        &self,
        kind: RequestKind,
        sent_bytes: u64,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> Outcome<T>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.finish(kind, self.start(kind, sent_bytes, async move { Ok(request.await?) }))
    }

    fn goes_in_parts(&self, bytes: u64) -> bool {
        bytes > self.multipart_bytes && self.takes_parts.load(Ordering::Relaxed)
    }

    fn trusts_checksums(&self) -> bool {
        self.trusts_checksums.load(Ordering::Relaxed)
    }

    fn failed(&self, asked: Asked<'_>, failure: Failure) -> ObjectError {
        errors::to_error(failure, asked, &self.place, &self.bucket, self.clock.now())
    }

    fn error(&self, kind: ObjectErrorKind, asked: Asked<'_>, what: impl Into<String>) -> ObjectError {
        self.failed(asked, Failure::Judged(kind, what.into()))
    }
}

/// Never with a secret: only where it is.
impl fmt::Debug for S3ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3ObjectStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ObjectStore for S3ObjectStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        if self.goes_in_parts(upload.bytes) {
            parts::put(self, key.as_str(), upload)
        } else {
            put::put(self, key.as_str(), upload)
        }
    }

    fn put_memory(&self, bytes: u64) -> u64 {
        if self.goes_in_parts(bytes) { parts::memory(bytes, self.part_bytes) } else { bytes }
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        read::get(self, key.as_str(), bytes_max)
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        read::get_range(self, key.as_str(), offset, bytes, read::GET)
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        read::head(self, key.as_str(), read::HEAD)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        read::list(self, prefix, after, limit)
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        put::delete(self, key.as_str())
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        same::prove(self, key.as_str(), upload)
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        read::versions(self, key.as_str())
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        probe::probe(self)
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[cfg(test)]
mod tests;
