//! Azure Blob Storage and Data Lake, by the Blob endpoint: `az://account/container/prefix`.
//!
//! - `connection`: connection strings; `credentials`: who we are, and where the account is; `sign`: Shared Key
//! - `wire`: one request, with its deadline and its count; `runtime`: futures for callers that block
//! - `errors`: from what the store says to what a caller may rely on
//! - `put`: staged blocks and their commit; `same`: whether what is there are the bytes of an upload
//! - `list`: listings, and versions; `read`: get, head, delete, probe
//!
//! Owns: one container, below one prefix. Retries nothing (the SDK's retries are off). Keeps its connections, and where the last listings
//! stood.
//!
//! # How the promises are kept
//!
//! - **1, whole or not at all**: blocks are staged where nobody sees them; the commit of their list makes the object.
//! - **2, never replaced**: that commit has `If-None-Match: *`.
//! - **4, same content**: each block goes with its MD5, which the store checks, and is named by its place and the SHA-256 of its bytes. So the
//!   list that was committed, read back, tells the content: the names are made again from the source. Where the names are none of ours, every
//!   byte is read back. The MD5 of an object, which the store shows and any client may set, is no proof.
//! - **6, only `NotFound` is absent**: a missing container has a code of its own, also in the answer to `HEAD`.
//! - **7, 9, 10**: `errors` and `wire`.
//!
//! # Requests
//!
//! A put is two of them: a block and the commit; one commit alone for no bytes. Above [`StoreOptions::multipart_bytes`]: a list of blocks first, so that
//! those of an earlier try are not sent again, then each block, then the commit. What is never committed the store drops after a week. A
//! key that is taken costs the list of its blocks besides. A proof is that list alone.
//!
//! A listing is one request for each 5,000 keys, or for [`limit`](ObjectStore::list) where that is less. The store pages by marks of its own: where `after`
//! is the end of one of the last pages its mark is known; elsewhere everything before `after` is listed and passed over, unless
//! `service_version` is 2026-04-06 or newer, which can begin in the middle. An account with a hierarchical namespace lists in
//! another order: there every listing reads all that is below `prefix`.
//!
//! # Memory
//!
//! A put holds the whole object up to [`StoreOptions::multipart_bytes`], above that one part of [`StoreOptions::part_bytes`]; a read what it returns, twice for a moment.

mod connection;
mod credentials;
mod errors;
mod list;
mod put;
mod read;
mod runtime;
mod same;
mod sign;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use azure_core::http::policies::Policy;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_storage_blob::{BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;

use self::credentials::{Access, Account, Environment};
use self::errors::{Effect, Refusal};
use self::sign::SharedKey;
use self::wire::Wire;
use super::{
    Abilities, Head, Location, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof,
    Put, StoreOptions, Upload, Version,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, OpenMode};

/// The version of the protocol where none is set: the newest that the emulator knows, and all that is needed here.
pub const SERVICE_VERSION: &str = "2025-11-05";
const CA_BYTES_MAX: u64 = 4 << 20;
const SCOPE: &str = "https://storage.azure.com/.default";

/// A container, below a prefix.
pub struct AzureObjectStore {
    place: String,
    container: String,
    /// Empty, or with `/` at its end.
    prefix: String,
    container_url: Url,
    client: Arc<BlobContainerClient>,
    client_options: ClientOptions,
    version: String,
    multipart_bytes: u64,
    part_bytes: u64,
    storage_class: Option<String>,
    is_unlocked: bool,
    clock: Arc<dyn Clock>,
    meter: Arc<Meter>,
    server: Arc<OnceLock<String>>,
    /// A commit told a version: the container keeps them.
    is_versioned: Arc<AtomicBool>,
    /// An account with a hierarchical namespace, as a listing showed.
    is_hierarchical: AtomicBool,
    marks: Mutex<list::Marks>,
}

impl fmt::Debug for AzureObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureObjectStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl AzureObjectStore {
    /// The store at an `az://` location, with the credentials of the options, the environment or the machine. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` for a location of another kind, for credentials or options that cannot be; what the system said of `ca_file`.
    pub fn open(
        location: &Location,
        options: &StoreOptions,
        fs: &Arc<dyn FileSystem>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::with_environment(location, options, fs, clock, &|name| std::env::var(name).ok())
    }

    /// The same, with another environment than the process's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_environment(
        location: &Location,
        options: &StoreOptions,
        fs: &Arc<dyn FileSystem>,
        clock: &Arc<dyn Clock>,
        environment: Environment<'_>,
    ) -> Result<Self> {
        let Location::Azure { account, container, prefix } = location else {
            return Err(Error::new(ErrorKind::Invalid, format!("no place in azure storage: store=`{location}`")));
        };
        // A variable that is set to nothing is not set.
        let environment = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let ca = options.ca_file.as_deref().map(|path| read_ca(&**fs, path)).transpose()?;
        let http = wire::client(options.connect_timeout, ca.as_deref()).map_err(|_| {
            let ca = options.ca_file.as_deref().unwrap_or(std::path::Path::new("")).display();
            Error::new(ErrorKind::Invalid, format!("no client for the store can be made: ca_file=`{ca}`"))
        })?;
        let tokens = Transport::new(Arc::new(Wire::uncounted(http.clone(), options.request_timeout)));
        let Account { endpoint, access } =
            Account::find(account, &options.azure, &environment, &tokens, options.request_timeout)?;
        let mut sas = None;
        let policy: Option<Arc<dyn Policy>> = match access {
            Access::Key(key) => Some(Arc::new(SharedKey::new(account, &key, Arc::clone(clock)))),
            Access::Token(credential) => Some(Arc::new(BearerTokenAuthorizationPolicy::new(credential, [SCOPE]))),
            Access::Sas(secret) => {
                sas = Some(secret);
                None
            }
        };
        let (meter, server) = (Arc::new(Meter::default()), Arc::new(OnceLock::new()));
        let wire = Wire::new(http, options.request_timeout, sas, Arc::clone(&meter), Arc::clone(&server));
        let client_options = ClientOptions {
            per_try_policies: policy.into_iter().collect(),
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(wire))),
            ..ClientOptions::default()
        };
        let version = options.azure.service_version.clone().unwrap_or_else(|| SERVICE_VERSION.to_owned());
        let mut container_url = endpoint;
        push(&mut container_url, [container.as_str()]);
        let container_options =
            BlobContainerClientOptions { client_options: client_options.clone(), version: version.clone() };
        let client = BlobContainerClient::new(container_url.clone(), None, Some(container_options)).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("no client for the store can be made: store=`{location}`"))
        })?;
        Ok(Self {
            place: location.to_string(),
            container: container.clone(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            container_url,
            client: Arc::new(client),
            client_options,
            version,
            multipart_bytes: options.multipart_bytes,
            part_bytes: options.part_bytes,
            storage_class: options.storage_class.clone(),
            is_unlocked: options.azure.unlocked,
            clock: Arc::clone(clock),
            meter,
            server,
            is_versioned: Arc::new(AtomicBool::new(false)),
            is_hierarchical: AtomicBool::new(false),
            marks: Mutex::new(list::Marks::default()),
        })
    }

    fn blob(&self, operation: &'static str, key: &ObjectKey) -> ObjectResult<BlobClient> {
        let mut url = self.container_url.clone();
        // Part by part: a `/` of the key stays one, and signatures see it so.
        push(&mut url, self.prefix.split('/').filter(|part| !part.is_empty()).chain(key.as_str().split('/')));
        let options = BlobClientOptions { client_options: self.client_options.clone(), version: self.version.clone() };
        BlobClient::new(url, None, Some(options)).map_err(|_| {
            self.error(ObjectErrorKind::Failed, operation, key.as_str(), "no client can be made for the key")
        })
    }

    /// Runs one request.
    fn ask<T: Send + 'static>(
        &self,
        task: impl Future<Output = azure_core::Result<T>> + Send + 'static,
    ) -> std::result::Result<T, Refusal> {
        match runtime::run(task) {
            Ok(Some(outcome)) => outcome.map_err(|error| Refusal::of(error, self.clock.now())),
            Ok(None) => Err(Refusal::of_client()),
            Err(error) => Err(Refusal::of_system(error)),
        }
    }

    /// Runs one request that changes nothing that anybody sees.
    fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &str,
        task: impl Future<Output = azure_core::Result<T>> + Send + 'static,
    ) -> ObjectResult<T> {
        self.ask(task).map_err(|refusal| self.refused(refusal, Effect::None, operation, key))
    }

    fn refused(&self, refusal: Refusal, effect: Effect, operation: &'static str, key: &str) -> ObjectError {
        refusal.into_error(effect, operation, &self.place, key, &self.container)
    }

    fn error(
        &self,
        kind: ObjectErrorKind,
        operation: &'static str,
        key: &str,
        what: impl Into<Box<str>>,
    ) -> ObjectError {
        let (place, key, what) = (self.place.as_str().into(), key.into(), what.into());
        ObjectError { kind, operation, place, key, what, retry_after: None, source: None }
    }
}

fn push<'a>(url: &mut Url, parts: impl IntoIterator<Item = &'a str>) {
    url.path_segments_mut().expect("an http url has a path").pop_if_empty().extend(parts);
}

fn read_ca(fs: &dyn FileSystem, path: &std::path::Path) -> Result<Vec<u8>> {
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::Invalid,
            format!("the file of authorities cannot be read: ca_file=`{}`, what=`{what}`", path.display()),
        )
    };
    let bytes = fs.metadata(path).map_err(|error| wrong(error.operation).with_source(error))?.len;
    if bytes > CA_BYTES_MAX {
        return Err(wrong("it is larger than 4 MiB"));
    }
    let file = fs.open(path, OpenMode::Read).map_err(|error| wrong(error.operation).with_source(error))?;
    let mut pem = vec![0; usize::try_from(bytes).expect("at most 4 MiB")];
    file.read_exact_at(&mut pem, 0).map_err(|error| wrong(error.operation).with_source(error))?;
    Ok(pem)
}

impl ObjectStore for AzureObjectStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.put(key, upload)
    }

    fn put_memory(&self, bytes: u64) -> u64 {
        put::block_bytes(bytes, self.multipart_bytes, self.part_bytes).min(bytes)
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.get_whole(key, bytes_max)
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.get_piece("get", key, offset, bytes)
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        // The MD5 that the store shows is what some client wrote, or of one request's bytes: no statement.
        Ok(Head { bytes: self.properties("head", key)?.bytes, sha256: None })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.list_keys(prefix, after, limit.max(1))
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.remove(key)
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        self.compare("prove", key, upload)?.ok_or_else(|| {
            self.error(ObjectErrorKind::Corrupt, "prove", key.as_str(), "it has other bytes than those that were sent")
        })
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.list_versions(key)
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        self.try_out()
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}
