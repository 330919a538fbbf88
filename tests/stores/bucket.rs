//! A bucket or a container for one test, and stores that use it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use icecore::clock::{Clock, SystemClock};
use icecore::fs::{FileSystem, OsFileSystem};
use icecore::objects::{Location, ObjectStore, StoreOptions, open_store};
use icecore::types::Secret;

use super::admin;
use super::proxy::Proxy;
use super::servers::{Kind, Server, shared};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// An empty bucket.
pub struct Bucket {
    pub server: Arc<Server>,
    pub name: String,
}

impl Bucket {
    /// In the server that tests share.
    #[track_caller]
    pub fn new(kind: Kind) -> Self {
        Self::of(shared(kind))
    }

    #[track_caller]
    pub fn of(server: Arc<Server>) -> Self {
        let name = format!("icecore-test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        admin::create_bucket(&server, &name);
        Self { server, name }
    }

    /// Below a prefix in it.
    pub fn location(&self) -> Location {
        self.location_of(&self.name)
    }

    fn location_of(&self, bucket: &str) -> Location {
        let text = match self.server.kind {
            Kind::Azurite => format!("az://{}/{bucket}/some/prefix", admin::AZURE_DEVELOPMENT.0),
            _ => format!("s3://{bucket}/some/prefix"),
        };
        text.parse().unwrap()
    }

    /// With the credentials that may do everything.
    pub fn options(&self, address: SocketAddr) -> StoreOptions {
        self.options_at(&format!("http://{address}"))
    }

    /// The same, at `http://HOST:PORT` or `https`.
    pub fn options_at(&self, server: &str) -> StoreOptions {
        let (key, secret) = self.server.credentials();
        let mut options = StoreOptions::default();
        match self.server.kind {
            Kind::Azurite => {
                options.azure.endpoint = Some(format!("{server}/{key}"));
                options.azure.account_key = Some(Secret::new(secret));
                // Newer ones it does not know.
                options.azure.service_version = Some("2025-11-05".to_owned());
            }
            _ => {
                options.s3.endpoint = Some(server.to_owned());
                options.s3.region = Some("us-east-1".to_owned());
                options.s3.access_key_id = Some(Secret::new(key));
                options.s3.secret_access_key = Some(Secret::new(secret));
            }
        }
        options
    }

    /// The same for the program, which looks where the vendors' own programs look.
    pub fn environment(&self, address: SocketAddr) -> Vec<(&'static str, String)> {
        self.environment_at(&format!("http://{address}"))
    }

    /// The same, at `http://HOST:PORT` or `https`.
    pub fn environment_at(&self, server: &str) -> Vec<(&'static str, String)> {
        let (key, secret) = self.server.credentials();
        match self.server.kind {
            Kind::Azurite => {
                let endpoint = format!("{server}/{key}");
                let text = format!("AccountName={key};AccountKey={secret};BlobEndpoint={endpoint};");
                let scheme = server.split(':').next().unwrap();
                vec![("AZURE_STORAGE_CONNECTION_STRING", format!("DefaultEndpointsProtocol={scheme};{text}"))]
            }
            _ => vec![
                ("ICECORE_S3_ENDPOINT", server.to_owned()),
                ("AWS_ACCESS_KEY_ID", key.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
        }
    }

    /// The bucket itself.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store_with(&self.options(self.server.address()))
    }

    pub fn store_with(&self, options: &StoreOptions) -> Arc<dyn ObjectStore> {
        open(&self.location(), options)
    }

    /// A bucket of another name, which nobody made.
    pub fn missing(&self) -> Arc<dyn ObjectStore> {
        let options = self.options(self.server.address());
        open(&self.location_of("icecore-test-that-nobody-made"), &options)
    }

    pub fn proxy(&self) -> Proxy {
        Proxy::before(self.server.address())
    }
}

/// What talks to the store of a location.
pub fn open(location: &Location, options: &StoreOptions) -> Arc<dyn ObjectStore> {
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    open_store(location, options, &fs, &clock).unwrap()
}
