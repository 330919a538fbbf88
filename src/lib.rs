//! icecore: an archival write-ahead log.

pub mod avro;
#[cfg(feature = "cli")]
pub mod bench;
pub mod catalog;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod fs;
pub mod journal;
pub mod log;
pub mod memtable;
pub mod segment;
pub mod testing;
pub mod types;

pub use error::{Error, ErrorKind, Result};
pub use log::{
    AppendOptions, CollectionInfo, JournalInfo, JournalUse, Limits, Log, LogOptions, ReadOptions, Reader, Receipt,
    SkipReason, Skipped, SyncMode,
};
pub use types::{
    ChangeNumber, CollectionName, Epoch, Generation, Header, LogId, NewRecord, Record, RecordKind, Sequence, Timestamp,
};
