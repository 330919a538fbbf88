//! icecore: an archival write-ahead log.
//!
//! Records are appended to named collections, are on disk before they are acknowledged, and are kept as plain Avro files. This is
//! the library; the command-line program is built on it.
//!
//! ```
//! use icecore::{CollectionName, Log, LogOptions, NewRecord};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! # let directory = place.path().join("log");
//! // Makes the log where there is none; recovers it where a crash left one.
//! let log = Log::open(LogOptions::new([&directory]))?;
//! let audit = CollectionName::new("audit")?;
//!
//! // One record, synced when this returns. Threads that append at the same time share one sync.
//! let receipt = log.append(&audit, NewRecord::put("user-7", "logged in"))?;
//! assert_eq!(receipt.last.get(), 1);
//!
//! // Several, together or not at all.
//! let batch = [NewRecord::payload("tick").with_header("source", "cron"), NewRecord::delete("user-7")];
//! let receipt = log.append_batch(&audit, &batch, Default::default())?;
//! assert_eq!((receipt.first.get(), receipt.last.get()), (2, 3));
//!
//! // Into a segment now; by itself this happens at a size, at an age, and when journals are needed again.
//! assert_eq!(log.seal(Some(&audit))?, 1);
//! log.close()?;
//!
//! // Nothing was lost, and the next sequence follows.
//! let log = Log::open(LogOptions::new([&directory]))?;
//! assert!(log.recovery().losses.is_empty());
//! assert_eq!(log.append(&audit, NewRecord::payload("tock"))?.last.get(), 4);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - An append that returned `Ok` in [`SyncMode::Always`] or [`SyncMode::PerBatch`] survives a power cut; in the other modes it
//!   survives the process, and a power cut takes at most what [`LogOptions::periodic`] allows, or what the system had not written back.
//! - Sequences are dense from 1 in each collection. A batch is there as a whole or not at all. Nothing is there twice.
//! - An error of kind [`ErrorKind::OutcomeUnknown`] means what it says. [`AppendOptions::expected_next`] makes the append safe to repeat.
//! - Damage is told by sequences ([`Log::recovery`]), never served as data, never deleted.
//!
//! # Rooms
//!
//! | module | owns |
//! |---|---|
//! | [`types`] | names, numbers and records; no I/O |
//! | [`fs`], [`clock`] | the only ways to files, and to the time |
//! | [`avro`] | the bytes of records and container files |
//! | [`journal`] | group commit, preallocated files, reading after a crash |
//! | [`segment`] | immutable files of one collection |
//! | [`memtable`] | what is in no segment yet |
//! | [`catalog`] | segments, changes, assignments, losses |
//! | [`objects`] | object stores, and where directories are |
//! | [`mod@log`] | open, append, seal, recover |
//! | [`archive`] | segments in an object store, for years |
//! | [`sink`] | delivery to storage engines, in order |
//! | `store`, `kv` | sinks: Parquet files; the newest version of each key |
//! | [`compaction`] | which versions go |
//! | [`vector`] | vector records |
//! | [`search`] | the nearest vectors, and the newest version of a key |
//! | [`config`], `cli` | settings; the program |
//!
//! The formats of files are in `docs/format.md`, recovery in `docs/recovery.md`.
//!
//! # Features
//!
//! `sqlite`, `mdbx` (Linux and macOS) and `lmdb` (all default) are the catalog's engines; without any of them,
//! [`LogOptions::catalog`] must be given. `tokio` (default) has appends for async code. `cli` (default) is the program. `testing`
//! has what crash tests need. `s3` and `azure` (both default) reach object stores, `store` and `kv` (both default) are the built-in sinks.

pub mod archive;
pub mod assignment;
pub mod avro;
#[cfg(feature = "cli")]
pub mod bench;
pub mod catalog;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod compaction;
pub mod config;
pub mod error;
pub mod fs;
pub mod journal;
#[cfg(feature = "kv")]
pub mod kv;
pub mod log;
pub mod memtable;
pub mod objects;
pub mod search;
pub mod segment;
pub mod sink;
#[cfg(feature = "store")]
pub mod store;
pub mod testing;
pub mod types;
pub mod vector;

pub use error::{Error, ErrorKind, Result};
pub use log::{
    AppendOptions, CollectionInfo, CollectionSettings, Deletion, EffectiveSetting, JournalInfo, JournalUse, Limits,
    Log, LogOptions, ReadOptions, Reader, Receipt, SettingFrom, SkipReason, Skipped, Status, SyncMode, Verified,
    VerifyOptions, VerifyProgress, VerifyReport,
};
pub use types::{
    ChangeNumber, CollectionName, Epoch, Generation, Header, LogId, NewRecord, Record, RecordKind, Sequence, Timestamp,
};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
