//! What a log is opened with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::assignment::{Over, Policy};
use crate::avro::codec::Codec;
use crate::catalog::Engine;
use crate::clock::{Clock, SystemClock};
use crate::fs::{FileSystem, OsFileSystem};
use crate::journal::PeriodicSync;
use crate::testing::Sabotage;
use crate::types::Sequence;

/// When an append returns, and so what a power cut can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SyncMode {
    /// Synced, in a group of its own. A power cut loses nothing acknowledged.
    Always,
    /// Synced; concurrent batches share one sync. A power cut loses nothing acknowledged.
    #[default]
    PerBatch,
    /// Written; synced at the interval. A power cut loses at most the interval.
    Periodic,
    /// Written to the page cache. A power cut loses everything since the system wrote it.
    Never,
}

impl SyncMode {
    /// The words of the settings.
    pub const WORDS: [&str; 4] = ["always", "per-batch", "periodic", "never"];

    /// Whether an append waits for a sync.
    #[must_use]
    pub const fn is_synced(self) -> bool {
        matches!(self, Self::Always | Self::PerBatch)
    }

    pub(super) const ALL: [Self; 4] = [Self::Always, Self::PerBatch, Self::Periodic, Self::Never];
}

impl std::fmt::Display for SyncMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::WORDS[*self as usize])
    }
}

impl std::str::FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = Self::WORDS.iter().position(|word| *word == text);
        at.map(|at| Self::ALL[at])
            .ok_or_else(|| format!("no sync mode: mode=`{text}`, modes=`{}`", Self::WORDS.join(", ")))
    }
}

/// Limits; above each, an append is refused with an error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of a record, in bytes.
    pub record_bytes: u64,
    /// Key of a record, in bytes.
    pub key_bytes: u64,
    /// Headers of a record together, in bytes.
    pub headers_bytes: u64,
    /// Encoded records of a batch, in bytes.
    pub batch_bytes: u64,
    /// A journal file, in bytes.
    pub journal_bytes: u64,
    /// Encoded records of a segment, in bytes.
    pub segment_bytes: u64,
    /// Unsealed records in memory, in bytes.
    pub memtable_bytes: u64,
    /// Unsealed records in journals, in bytes (R1).
    pub unsealed_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 16 << 20,
            key_bytes: 64 << 10,
            headers_bytes: 64 << 10,
            batch_bytes: 32 << 20,
            journal_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            memtable_bytes: 256 << 20,
            unsealed_bytes: 1 << 30,
        }
    }
}

/// When collections are flushed to sinks by themselves: what reaches one of these is sealed, and what is sealed is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushTriggers {
    /// Bytes of one collection's unsealed records.
    pub bytes: u64,
    /// Bytes of all collections' unsealed records: the largest are flushed, until it is half of this.
    pub total_bytes: u64,
    /// Age of a collection's oldest unsealed record.
    pub age: Duration,
}

impl Default for FlushTriggers {
    fn default() -> Self {
        Self { bytes: 64 << 20, total_bytes: 256 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

/// Everything a log is opened with. Start from [`LogOptions::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The directories of the log, at least one; the catalog lies in the first.
    pub directories: Vec<PathBuf>,
    /// When appends return, unless they say otherwise.
    pub sync: SyncMode,
    /// When mode `periodic` syncs.
    pub periodic: PeriodicSync,
    /// Limits.
    pub limits: Limits,
    /// How segments are compressed.
    pub codec: Codec,
    /// Bytes of records in a segment's block, before compression.
    pub block_bytes: usize,
    /// Remainders smaller than this go to a cold journal instead of a segment of their own (R2), in bytes.
    pub cold_bytes: u64,
    /// Records older than this are sealed.
    pub seal_age: Duration,
    /// How a directory is chosen for a new collection.
    pub placement: Policy,
    /// Whether remotes are chosen too (A5).
    pub placement_over: Over,
    /// Whether appending to a new name creates the collection.
    pub auto_create: bool,
    /// Where files are.
    pub fs: Arc<dyn FileSystem>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What keeps the catalog, and after it what mirrors it, one at most. Empty: what keeps it now, without a mirror; for a
    /// new log the first engine that there is, SQLite before others.
    pub catalog_engines: Vec<Engine>,
    /// Where the catalog's file is, instead of the first directory. Several logs may name the same place: each file is
    /// named after its log.
    pub catalog_directory: Option<PathBuf>,
    /// The catalog to use instead of a file; `catalog_engines` and `catalog_directory` mean nothing then.
    pub catalog: Option<Arc<dyn crate::catalog::Catalog>>,
    /// Whether the log runs threads of its own. Without them, all work is done inside the calls, in a fixed order, and
    /// [`Log::maintain`](super::Log::maintain) does what threads would: for tests. (A mirror has its own thread all the same.)
    pub background: bool,
    /// What is read from where segments are in the archive only; `None`: such records cannot be read.
    pub archive: Option<Arc<dyn super::tier::Archive>>,
    /// The sinks that collections subscribe to, by name, unless they have a setting of their own. They are run by
    /// [`Sinks`](crate::sink::Sinks); the log only knows for whom it keeps what.
    pub sinks: Vec<String>,
    /// What other components keep in directories: so that draining one takes it along.
    pub components: Vec<Arc<dyn super::directories::ComponentFiles>>,
    /// When collections are flushed, where there are sinks.
    pub flush: FlushTriggers,
    /// How long an opening waits for what only the archive knows, where the catalog is an older copy or was made anew (C7). Then the log opens without.
    pub archive_wait: Duration,
    /// How long records are kept, of collections that have no setting of their own.
    pub retention: super::life::Retention,
    /// What compaction leaves of collections that have no setting of their own.
    pub compaction: super::life::CompactionSettings,
    /// When compaction runs by itself; never where `None`, or without threads.
    pub compact_in_background: Option<super::compact::BackgroundCompaction>,
    /// A rule to break, in tests.
    pub sabotage: Sabotage,
}

impl LogOptions {
    /// The defaults, for these directories.
    #[must_use]
    pub fn new(directories: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            directories: directories.into_iter().map(Into::into).collect(),
            sync: SyncMode::default(),
            periodic: PeriodicSync { interval: Duration::from_millis(50), bytes: 64 << 20, records: 1_000_000 },
            limits: Limits::default(),
            codec: Codec::DEFAULT,
            block_bytes: 256 << 10,
            cold_bytes: 1 << 20,
            seal_age: Duration::from_secs(24 * 3600),
            placement: Policy::default(),
            placement_over: Over::default(),
            auto_create: true,
            fs: Arc::new(OsFileSystem::new()),
            clock: Arc::new(SystemClock::new()),
            catalog_engines: Vec::new(),
            catalog_directory: None,
            catalog: None,
            background: true,
            archive: None,
            sinks: Vec::new(),
            components: Vec::new(),
            flush: FlushTriggers::default(),
            archive_wait: Duration::from_secs(30),
            retention: super::life::Retention::default(),
            compaction: super::life::CompactionSettings::default(),
            compact_in_background: None,
            sabotage: Sabotage::default(),
        }
    }
}

/// How one append differs from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// Another durability mode than the log's.
    pub sync: Option<SyncMode>,
    /// The sequence that the first record must get; else the append is refused as a conflict. With it, an append whose
    /// outcome is unknown can be tried again without doubling.
    pub expected_next: Option<Sequence>,
}
