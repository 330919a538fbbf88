//! What a store is reached with.
//!
//! Credentials that are `None` here come by the vendor's own ways (environment, profile, role), as the implementation's module says. A
//! [`Secret`] shows in no text.

use std::path::PathBuf;
use std::time::Duration;

use crate::types::Secret;

/// Everything that can be set about a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one request may take, its answer included. What hangs longer is given up (promise 10).
    pub request_timeout: Duration,
    /// Objects above this are sent in parts, in bytes.
    pub multipart_bytes: u64,
    /// Length of a part, in bytes; raised where an object would have more parts than the store takes.
    pub part_bytes: u64,
    /// A file with certificates of authorities to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// The class that objects are stored in, by the vendor's word: `STANDARD_IA`, `Cool`.
    pub storage_class: Option<String>,
    /// For S3 and what speaks its protocol.
    pub s3: S3Options,
    /// For Azure Blob Storage.
    pub azure: AzureOptions,
}

/// For S3 and what speaks its protocol. What is `None` comes from `AWS_*`, the profile, or the machine's role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct S3Options {
    /// `http://127.0.0.1:9000`; `None` for the vendor's own.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The bucket in the path of a request instead of its host name; unset: yes where there is an endpoint.
    pub path_style: Option<bool>,
    /// A profile of the vendor's configuration files.
    pub profile: Option<String>,
    /// The id of an access key; with the secret.
    pub access_key_id: Option<Secret>,
    /// The secret of the access key.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Retention is set in the mode `GOVERNANCE`, which a special right lifts, and not in `COMPLIANCE`, which nobody can.
    pub governance: bool,
}

/// For Azure Blob Storage. What is `None` comes from `AZURE_*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AzureOptions {
    /// `http://127.0.0.1:10000/devstoreaccount1`; `None` for the account's own.
    pub endpoint: Option<String>,
    /// The version of the service's protocol; `None` for the newest that is known.
    pub service_version: Option<String>,
    /// A connection string.
    pub connection_string: Option<Secret>,
    /// The account's key, base64.
    pub account_key: Option<Secret>,
    /// A shared access signature.
    pub sas: Option<Secret>,
    /// Retention is set as an unlocked policy, which a special right lifts, and not as a locked one, which nobody can.
    pub unlocked: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(5),
            multipart_bytes: 80 << 20,
            part_bytes: 16 << 20,
            ca_file: None,
            storage_class: None,
            s3: S3Options::default(),
            azure: AzureOptions::default(),
        }
    }
}
