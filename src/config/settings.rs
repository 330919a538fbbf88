//! The settings themselves, nested by concern, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::quiet::QuietHours;
use super::units::ByteSize;
use super::value::{Amount, CatalogEngines, LogLevel, RetainMode, SegmentCodec, SinkKinds, SyncMode};
use crate::assignment::{Over, Policy};
use crate::objects::Location;

/// Everything that can be set. `Settings::default()` is what holds when nothing is.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// The log's directories, as paths or URLs, in the order given.
    pub data: Vec<String>,
    /// When appends return.
    pub sync: SyncSettings,
    /// The largest that each thing may be.
    pub limits: LimitSettings,
    /// The files that appends go to.
    pub journal: JournalSettings,
    /// The files that records are kept in.
    pub segment: SegmentSettings,
    /// When a collection is sealed.
    pub seal: SealSettings,
    /// What consumes records in order.
    pub sinks: SinkKinds,
    /// When a collection is flushed to its sinks.
    pub flush: FlushSettings,
    /// The columnar store.
    pub store: StoreSettings,
    /// The key-value store.
    pub kv: KvSettings,
    /// What searches hold in memory.
    pub search: SearchSettings,
    /// Where new collections go.
    pub placement: PlacementSettings,
    /// How collections come to be.
    pub collections: CollectionsSettings,
    /// What keeps the catalog, and where.
    pub catalog: CatalogSettings,
    /// Where sealed segments go, and how.
    pub archive: ArchiveSettings,
    /// How S3, and what speaks its protocol, is reached.
    pub s3: S3Settings,
    /// How Azure Blob Storage is reached.
    pub azure: AzureSettings,
    /// Which local copies of archived segments go.
    pub evict: EvictSettings,
    /// What may be purged.
    pub retention: RetentionSettings,
    /// What compaction leaves, and when it runs by itself.
    pub compact: CompactSettings,
    /// What a store's owner charges.
    pub price: PriceSettings,
    /// What is logged on stderr.
    pub log: LogSettings,
}

/// When appends return.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncSettings {
    /// The durability mode.
    pub mode: SyncMode,
    /// `periodic`: the longest time between a write and its sync.
    pub interval: Duration,
    /// `periodic`: sync after this many bytes written.
    pub bytes: ByteSize,
    /// `periodic`: sync after this many records written.
    pub records: u64,
}

/// The largest that each thing may be.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSettings {
    /// One record's payload.
    pub record_bytes: ByteSize,
    /// One key.
    pub key_bytes: ByteSize,
    /// All headers of one record together.
    pub headers_bytes: ByteSize,
    /// All records of one batch together.
    pub batch_bytes: ByteSize,
    /// All records held in memory.
    pub memtable_bytes: ByteSize,
    /// All records that are in no segment yet.
    pub unsealed_bytes: ByteSize,
}

/// The files that appends go to.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalSettings {
    /// Length of one journal file.
    pub bytes: ByteSize,
}

/// The files that records are kept in.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentSettings {
    /// The most bytes of records, before compression, that one segment holds.
    pub bytes: ByteSize,
    /// How blocks are compressed.
    pub codec: SegmentCodec,
    /// How hard: 1 to 22 for zstandard, 1 to 9 for deflate, without meaning for null.
    pub level: u64,
    /// Bytes of records, before compression, in one block.
    pub block_bytes: ByteSize,
}

/// When a collection is sealed.
#[derive(Clone, Debug, PartialEq)]
pub struct SealSettings {
    /// The oldest that an unsealed record may become.
    pub age: Duration,
    /// Remainders smaller than this go to a cold journal instead of a segment of their own.
    pub cold_bytes: ByteSize,
}

/// When a collection is flushed to its sinks.
#[derive(Clone, Debug, PartialEq)]
pub struct FlushSettings {
    /// Bytes of one collection that its sinks have not yet.
    pub bytes: ByteSize,
    /// Bytes of all collections that their sinks have not yet.
    pub total_bytes: ByteSize,
    /// The oldest that a record may become that its sinks have not yet.
    pub age: Duration,
}

/// What searches hold in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSettings {
    /// Of files: indexes, what is being read, and what is kept.
    pub cache_bytes: ByteSize,
    /// Vectors that are in no file yet.
    pub tail_bytes: ByteSize,
}

/// Where new collections go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlacementSettings {
    /// How a directory is chosen.
    pub policy: Policy,
    /// Which directories it may be: object stores too, or local ones only.
    pub over: Over,
}

/// How collections come to be.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionsSettings {
    /// Whether appending to a new name makes the collection.
    pub auto_create: bool,
}

/// What keeps the catalog, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CatalogSettings {
    /// The engine, and after it the one that mirrors it; empty for what keeps the catalog now.
    pub engine: CatalogEngines,
    /// A directory for the catalog's files, instead of the log's first directory.
    pub path: Option<PathBuf>,
}

/// Where sealed segments go, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveSettings {
    /// The store; nothing is archived without one.
    pub url: Option<Location>,
    /// Segments sent at once.
    pub parallel: u64,
    /// Held in memory while segments are sent.
    pub memory_bytes: ByteSize,
    /// Sent in a second; no limit where unset.
    pub bandwidth: Option<ByteSize>,
    /// For one segment, with all tries.
    pub deadline: Duration,
    /// Segments that one manifest names.
    pub batch: u64,
    /// The longest that an archived segment waits to be named.
    pub batch_age: Duration,
    /// How often a copy of the catalog is archived.
    pub snapshot_age: Duration,
    /// How long the store is asked to refuse deletes.
    pub retain: Option<Duration>,
    /// Who may delete an object before that.
    pub retain_mode: RetainMode,
    /// Archived blocks held in memory for reading.
    pub cache_bytes: ByteSize,
    /// The class that objects are stored in.
    pub storage_class: Option<String>,
    /// Larger objects are sent in parts.
    pub multipart_bytes: ByteSize,
    /// One part.
    pub part_bytes: ByteSize,
    /// For a connection to come about.
    pub connect_timeout: Duration,
    /// For one request.
    pub request_timeout: Duration,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// How S3, and what speaks its protocol, is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct S3Settings {
    /// The server's URL.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket stands in the path.
    pub path_style: Option<bool>,
    /// The profile of the vendor's configuration files.
    pub profile: Option<String>,
}

/// How Azure Blob Storage is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AzureSettings {
    /// The service's URL.
    pub endpoint: Option<String>,
    /// The version of its protocol.
    pub service_version: Option<String>,
}

/// Which local copies of archived segments go, beside the archiver; none where nothing is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvictSettings {
    /// Archived so long ago.
    pub after: Option<Duration>,
    /// The oldest, beyond so many bytes of them.
    pub above_bytes: Option<ByteSize>,
}

/// What may be purged, of collections that have no setting of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionSettings {
    /// Older records.
    pub age: Option<Duration>,
    /// Beyond so many bytes of a collection.
    pub bytes: Option<ByteSize>,
    /// Beyond so many records of a collection.
    pub records: Option<u64>,
    /// How long objects stay after they were purged.
    pub grace: Duration,
}

/// What compaction leaves of collections that have no setting of their own, and when it runs by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactSettings {
    /// The newest versions of a key; all where unset.
    pub keep_versions: Option<u64>,
    /// Records expire so long after their own time.
    pub ttl: Option<Duration>,
    /// Tombstones may go so long after their own time.
    pub tombstone_grace: Option<Duration>,
    /// Neighbours are merged up to so many bytes of records, before compression.
    pub target_bytes: ByteSize,
    /// How often it runs by itself; never where unset.
    pub interval: Option<Duration>,
    /// Read and written in a second by a run.
    pub bytes_per_second: Option<ByteSize>,
    /// When it may run by itself; always where unset.
    pub quiet_hours: Option<QuietHours>,
}

/// What a store's owner charges; nothing is reckoned where nothing is set.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceSettings {
    /// The currency.
    pub currency: String,
    /// 1,000 requests that send.
    pub put: Option<Amount>,
    /// 1,000 requests that read.
    pub get: Option<Amount>,
    /// 1,000 listings.
    pub list: Option<Amount>,
    /// 1,000 deletions.
    pub delete: Option<Amount>,
    /// 1 GiB received.
    pub received_gib: Option<Amount>,
    /// 1 GiB kept for a month.
    pub stored_gib_month: Option<Amount>,
}

/// What is logged on stderr.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
}

const DAY: Duration = Duration::from_hours(24);

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            mode: SyncMode::PerBatch,
            interval: Duration::from_millis(50),
            bytes: ByteSize::mib(8),
            records: 100_000,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            record_bytes: ByteSize::mib(16),
            key_bytes: ByteSize::kib(64),
            headers_bytes: ByteSize::kib(64),
            batch_bytes: ByteSize::mib(32),
            memtable_bytes: ByteSize::mib(256),
            unsealed_bytes: ByteSize::gib(1),
        }
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { bytes: ByteSize::mib(64) }
    }
}

impl Default for SegmentSettings {
    fn default() -> Self {
        Self { bytes: ByteSize::mib(64), codec: SegmentCodec::Zstandard, level: 3, block_bytes: ByteSize::kib(256) }
    }
}

impl Default for SealSettings {
    fn default() -> Self {
        Self { age: DAY, cold_bytes: ByteSize::mib(1) }
    }
}

/// The columnar store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSettings {
    /// The object store that its files are in, instead of the log's directories.
    pub url: Option<Location>,
    /// The size that its files are merged to.
    pub file_bytes: ByteSize,
    /// From more small files in a collection than this on they are merged; 0 never does.
    pub merge_files: u64,
    /// The most bytes of its files' footers in memory.
    pub footer_bytes: ByteSize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: None, file_bytes: ByteSize::mib(64), merge_files: 16, footer_bytes: ByteSize::mib(32) }
    }
}

/// The key-value store.
#[derive(Clone, Debug, PartialEq)]
pub struct KvSettings {
    /// Blocks kept in memory.
    pub cache_bytes: ByteSize,
}

impl Default for KvSettings {
    fn default() -> Self {
        Self { cache_bytes: ByteSize::mib(64) }
    }
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self { bytes: ByteSize::mib(64), total_bytes: ByteSize::mib(256), age: DAY }
    }
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self { cache_bytes: ByteSize::mib(256), tail_bytes: ByteSize::mib(64) }
    }
}

impl Default for CollectionsSettings {
    fn default() -> Self {
        Self { auto_create: true }
    }
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self {
            url: None,
            parallel: 4,
            memory_bytes: ByteSize::mib(256),
            bandwidth: None,
            deadline: Duration::from_hours(1),
            batch: 1000,
            batch_age: Duration::from_secs(10),
            snapshot_age: DAY,
            retain: None,
            retain_mode: RetainMode::Locked,
            cache_bytes: ByteSize::mib(64),
            storage_class: None,
            multipart_bytes: ByteSize::mib(80),
            part_bytes: ByteSize::mib(16),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(5),
            ca_file: None,
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { age: None, bytes: None, records: None, grace: DAY * 7 }
    }
}

impl Default for CompactSettings {
    fn default() -> Self {
        Self {
            keep_versions: None,
            ttl: None,
            tombstone_grace: None,
            target_bytes: ByteSize::mib(16),
            interval: None,
            bytes_per_second: Some(ByteSize::mib(16)),
            quiet_hours: None,
        }
    }
}

impl Default for PriceSettings {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            put: None,
            get: None,
            list: None,
            delete: None,
            received_gib: None,
            stored_gib_month: None,
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Warn }
    }
}
