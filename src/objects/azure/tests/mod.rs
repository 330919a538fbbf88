//! Against a server on loopback with answers of its own: what a real one cannot be made to do.

mod lists;
mod puts;
mod refusals;
mod secrets;
mod server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::server::{SECRET, Server};
use super::AzureObjectStore;
use crate::clock::{Clock, FakeClock};
use crate::fs::{FileSystem, OsFileSystem};
use crate::objects::{ObjectKey, StoreOptions};
use crate::types::{Secret, Timestamp};

/// The store of `az://acct/box`, which is the server, with a shared access signature.
fn store(server: &Server) -> AzureObjectStore {
    store_with(server, |_| {})
}

fn store_with(server: &Server, set: impl FnOnce(&mut StoreOptions)) -> AzureObjectStore {
    let mut options = StoreOptions { request_timeout: Duration::from_secs(60), ..StoreOptions::default() };
    options.azure.endpoint = Some(format!("http://{}/acct", server.address));
    options.azure.sas = Some(Secret::new(format!("sv=1&sig={SECRET}")));
    set(&mut options);
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem::new());
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(Timestamp(1_435_361_952_000_000)));
    let location = "az://acct/box".parse().unwrap();
    AzureObjectStore::with_environment(&location, &options, &fs, &clock, &|_| None).unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
