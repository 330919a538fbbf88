//! `icecore evict`, `rehydrate`, `compact`, `retention`, `hold`

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::time::Position;
use crate::config::{ByteSize, parse_duration};
use crate::types::{CollectionName, Sequence};

/// `icecore evict`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log --archive s3://bucket/log evict
  icecore --data DIR --archive URL evict access --older-than 30d
  icecore --data DIR --archive URL evict --keep 100GiB --dry-run

Only archived segments go, oldest sealed first, and only where the archive still has them: it is asked. What somebody reads, what a sink has \
not got yet, and what is under a legal hold stays; it is told (exit code 3). Records that went are read from the archive.

No writer may run. Interrupted, it is run again.")]
pub struct EvictArgs {
    /// Only these collections
    #[arg(value_name = "COLLECTION")]
    pub collections: Vec<CollectionName>,
    /// Only segments whose newest record is older than this DURATION
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub older_than: Option<Duration>,
    /// Until no more than so many bytes of segments are left here
    #[arg(long, value_name = "SIZE")]
    pub keep: Option<ByteSize>,
    /// Do not ask the archive whether it still has each segment
    #[arg(long)]
    pub trust_catalog: bool,
    /// Print what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `icecore rehydrate`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log --archive s3://bucket/log rehydrate
  icecore --data DIR --archive URL rehydrate access --from 2026-11-01 --until 2026-11-07
  icecore --data DIR --archive URL rehydrate --repair --dry-run

Whole segments come back, each proven by its SHA-256; quarantined ones too, where the archive has them. --from and --until choose those that \
may hold such records. What the log itself needs on a disk is left free.

No writer may run. Interrupted, it is run again: what is back is not fetched twice. Exit code 3 when something could not come back.")]
pub struct RehydrateArgs {
    /// Only these collections
    #[arg(value_name = "COLLECTION")]
    pub collections: Vec<CollectionName>,
    /// Only segments with this record or later ones
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub from: Option<Position>,
    /// Only segments with this record or earlier ones
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub until: Option<Position>,
    /// Read the local files of archived segments too, and replace those that are missing or damaged
    #[arg(long)]
    pub repair: bool,
    /// Print what would be fetched, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `icecore compact`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log compact
  icecore --data DIR compact access --dry-run --json
  icecore --data DIR --set compact.keep_versions=1 compact

What goes is set for the log (compact.keep_versions, compact.ttl, compact.tombstone_grace, compact.target_bytes), and for a collection by \
`collection set`. Expired records go in any case. Sequences are never given out again, and what went is no loss.

Only segments that were never archived are written anew, that no journal has any more, that every sink has, and that nobody holds; of the \
others it is told why. A running compaction takes no more disk than its largest result.

No writer may run; a writer compacts by itself where compact.interval is set. Interrupted, it is run again. Exit code 3 when something could \
not be done.")]
pub struct CompactArgs {
    /// Only these collections
    #[arg(value_name = "COLLECTION")]
    pub collections: Vec<CollectionName>,
    /// Read and write at most so many bytes in a second; the setting compact.bytes_per_second where not given
    #[arg(long, value_name = "SIZE", conflicts_with = "no_limit")]
    pub bytes_per_second: Option<ByteSize>,
    /// Read and write as fast as it goes
    #[arg(long)]
    pub no_limit: bool,
    /// Believe the clock, however far it is ahead of the log
    #[arg(long)]
    pub trust_clock: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `icecore retention`
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Print what may be purged, why, and what stops more
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log retention plan
  icecore --data /var/lib/log --set retention.age=365d retention plan access --json

How long records are kept is set for the log (retention.age, retention.bytes, retention.records), and for a collection by \
`collection set`, where `none` keeps everything. The oldest segments go, whole, and only from the beginning of a collection.

Works beside a writer. Changes nothing.")]
    Plan(RetentionArgs),
    /// Purge what may be purged: here, and in the archive
    ///
    /// The floors of the collections are raised first; then local files go; then a manifest tells the archive; its objects are deleted
    /// when the grace period (retention.grace) is over, by the next run. Each run goes on with what was begun before.
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log --archive s3://bucket/log retention apply
  icecore --data DIR --archive URL retention apply --yes
  icecore --data DIR retention apply --local-only --yes

Without --yes it prints what would go, and only goes on with what was begun before (exit code 1 where anything would go). What a store keeps \
by its own rules (Object Lock, immutability) stays, and it is told until when.

No writer may run. Interrupted, it is run again. Exit code 3 when something had to stay.")]
    Apply(RetentionApplyArgs),
}

/// `icecore retention plan`
#[derive(Debug, Args)]
pub struct RetentionArgs {
    /// Only these collections
    #[arg(value_name = "COLLECTION")]
    pub collections: Vec<CollectionName>,
    /// What is in no archive may go too
    #[arg(long)]
    pub local_only: bool,
    /// Believe the clock, however far it is ahead of the log
    #[arg(long)]
    pub trust_clock: bool,
}

/// `icecore retention apply`
#[derive(Debug, Args)]
pub struct RetentionApplyArgs {
    /// What may go.
    #[command(flatten)]
    pub plan: RetentionArgs,
    /// Do it without asking; nobody is asked with --json
    #[arg(long)]
    pub yes: bool,
}

/// `icecore hold`
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Keep records from being purged or deleted, whatever the retention says
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log hold set audit case-7 --by legal --note 'asked for by mail'
  icecore --data /var/lib/log hold set audit case-8 --by legal --from 1000 --until 2000

Of a hold with the name of one that is there, the new one counts. Who did it, and when, is in `ls changes`. No writer may run.")]
    Set(HoldSetArgs),
    /// End a hold
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log hold clear audit case-7 --by judge

No writer may run.")]
    Clear(HoldClearArgs),
    /// List holds
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log hold ls
  icecore --data /var/lib/log hold ls audit --json

Works beside a writer.")]
    Ls(HoldLsArgs),
}

/// `icecore hold set`
#[derive(Debug, Args)]
pub struct HoldSetArgs {
    /// The collection
    pub collection: CollectionName,
    /// The hold's name: a case, a ticket
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Who asks for it
    #[arg(long, value_name = "WHO")]
    pub by: String,
    /// First record that is held; from the first one on where not given
    #[arg(long, value_name = "SEQ", value_parser = super::parse_sequence)]
    pub from: Option<Sequence>,
    /// Last record that is held; later ones too where not given
    #[arg(long, value_name = "SEQ", value_parser = super::parse_sequence)]
    pub until: Option<Sequence>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// `icecore hold clear`
#[derive(Debug, Args)]
pub struct HoldClearArgs {
    /// The collection
    pub collection: CollectionName,
    /// The hold's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Who ends it
    #[arg(long, value_name = "WHO")]
    pub by: String,
}

/// `icecore hold ls`
#[derive(Debug, Args)]
pub struct HoldLsArgs {
    /// Only of this collection
    pub collection: Option<CollectionName>,
}
