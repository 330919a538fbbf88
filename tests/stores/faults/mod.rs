//! What goes wrong between us and a real server, and in the server: each with nothing reported there that is not, the kind of error
//! that says what to do, and a try after it that succeeds.
//!
//! - `answers`: errors, and answers that are lost, cut or late to nobody's harm
//! - `uploads`: what becomes of an object whose upload was disturbed
//! - `late`: what the server does after we gave up
//! - `parts`: the same with objects in parts
//! - `server`: a server that is killed, started again, or stands still
//! - `rights`: wrong credentials, missing rights, missing buckets

mod answers;
mod late;
mod parts;
mod rights;
mod server;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use icecore::objects::{ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Put, StoreOptions, Upload};

use super::bucket::Bucket;
use super::proxy::{Proxy, Request};
use super::servers::Kind;

/// Each of these is a test with each server.
macro_rules! with_every_server {
    ($($test:ident),+ $(,)?) => {
        mod minio { $(#[test] fn $test() { super::$test(crate::servers::Kind::Minio); })+ }
        mod azurite { $(#[test] fn $test() { super::$test(crate::servers::Kind::Azurite); })+ }
        mod seaweedfs { $(#[test] fn $test() { super::$test(crate::servers::Kind::Seaweed); })+ }
    };
}
use with_every_server;

/// A bucket, a proxy before its server, and one object.
struct Trial {
    bucket: Bucket,
    proxy: Proxy,
    key: ObjectKey,
    bytes: Bytes,
}

impl Trial {
    #[track_caller]
    fn new(kind: Kind) -> Self {
        Self::of(Bucket::new(kind))
    }

    fn of(bucket: Bucket) -> Self {
        let proxy = bucket.proxy();
        Self { bucket, proxy, key: ObjectKey::new("faults/object").unwrap(), bytes: noise(300_007) }
    }

    fn kind(&self) -> Kind {
        self.bucket.server.kind
    }

    /// As the store of an archive would be.
    fn options(&self) -> StoreOptions {
        self.bucket.options(self.proxy.address())
    }

    /// Behind the proxy.
    fn store(&self) -> Arc<dyn ObjectStore> {
        self.bucket.store_with(&self.options())
    }

    /// Behind the proxy, and soon tired of waiting.
    fn impatient(&self) -> Arc<dyn ObjectStore> {
        self.bucket.store_with(&StoreOptions { request_timeout: Duration::from_secs(2), ..self.options() })
    }

    /// Not behind the proxy.
    fn direct(&self) -> Arc<dyn ObjectStore> {
        self.bucket.store()
    }

    fn put(&self, store: &Arc<dyn ObjectStore>) -> ObjectResult<Put> {
        store.put_if_absent(&self.key, &Upload::of_bytes(&self.bytes))
    }

    /// The request that brings bytes of the object.
    fn sends(&self) -> fn(&Request) -> bool {
        match self.kind() {
            Kind::Azurite => |request| request.method == "PUT" && request.asks("comp=block"),
            _ => |request| request.method == "PUT",
        }
    }

    /// The request that makes the object, where it is small.
    fn makes(&self) -> fn(&Request) -> bool {
        match self.kind() {
            Kind::Azurite => |request| request.method == "PUT" && request.asks("comp=blocklist"),
            _ => |request| request.method == "PUT",
        }
    }

    /// What a disturbed request that brings bytes leaves open: blocks that are not committed are seen by nobody.
    fn in_doubt_while_sending(&self) -> ObjectErrorKind {
        match self.kind() {
            Kind::Azurite => ObjectErrorKind::Unavailable,
            _ => ObjectErrorKind::OutcomeUnknown,
        }
    }

    /// Seen without the proxy.
    #[track_caller]
    fn nothing_is_there(&self) {
        let direct = self.direct();
        assert_eq!(kind_of(direct.head(&self.key)), ObjectErrorKind::NotFound);
        assert_eq!(direct.list("", None, 10).unwrap().objects, []);
    }

    /// Seen without the proxy, and nothing else is there.
    #[track_caller]
    fn the_object_is_there(&self) {
        let direct = self.direct();
        assert_eq!(direct.get(&self.key, self.bytes.len() as u64).unwrap(), self.bytes);
        direct.prove(&self.key, &Upload::of_bytes(&self.bytes)).unwrap();
        let listed = direct.list("", None, 10).unwrap().objects;
        assert_eq!(listed.len(), 1, "{listed:?}");
    }

    /// The same store does it at the next try.
    #[track_caller]
    fn the_next_try(&self, store: &Arc<dyn ObjectStore>, expected: Put) {
        assert_eq!(self.put(store).unwrap(), expected);
        self.the_object_is_there();
    }
}

/// Bytes that nothing compresses, and no two runs of them alike.
fn noise(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    (0..bytes).map(|_| random.u8(..)).collect()
}

#[track_caller]
fn error_of<T: std::fmt::Debug>(outcome: ObjectResult<T>) -> ObjectError {
    let error = outcome.expect_err("something was wrong");
    // What it says is for people: never a secret of any of the servers.
    let told = format!("{error} {error:?}");
    for secret in ["minio-secret", "Eby8vdM02", "seaweed-secret", "writer-secret", "sig="] {
        assert!(!told.contains(secret), "{told}");
    }
    error
}

#[track_caller]
fn kind_of<T: std::fmt::Debug>(outcome: ObjectResult<T>) -> ObjectErrorKind {
    error_of(outcome).kind
}
