//! `icecore ls`

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};

use crate::catalog::SegmentStatus;
use crate::types::CollectionName;

/// `icecore ls`
#[derive(Debug, Subcommand)]
pub enum LsCommand {
    /// Named streams of records
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log ls collections
  icecore --data /var/lib/log ls collections --all --json")]
    Collections(LsCollectionsArgs),
    /// Immutable files with a run of one collection each
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log ls segments --collection access
  icecore --data /var/lib/log ls segments --status quarantined
  icecore --data /var/lib/log ls segments --status sealed --limit 1
  icecore --data /var/lib/log ls segments --unflushed --json

In order of collection and sequence; with --status or --unflushed in the order of sealing, oldest first: `--status sealed --limit 1` \
is what is archived next. Unflushed is what can be read and has not reached every sink of its collection; without sinks, nothing is.

With --json one object a line, printed as it is found: also millions of segments need little memory.")]
    Segments(LsSegmentsArgs),
    /// Files that appends went to and that are not released yet
    Journals,
    /// The numbered history of the catalog: what changed, when, and why
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log ls changes --limit 20
  icecore --data /var/lib/log ls changes --since 1200 --json

Oldest first. Numbers have no gap: to follow the history, give the last number that was seen.")]
    Changes(LsChangesArgs),
    /// Which directory each collection is kept in
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log ls assignments --component wal
  icecore --data /var/lib/log ls assignments --collection access --history

Each component (wal: journals and segments) has its own. With --history every assignment that the collection ever had, oldest first, with \
the number of the change that made it, and why.")]
    Assignments(LsAssignmentsArgs),
    /// What the archive says of itself: its manifests, oldest first
    #[command(after_long_help = "Examples:
  icecore --archive s3://my-bucket/logs ls manifests
  icecore --archive s3://my-bucket/logs ls manifests --from 100 --json

Each is checked on the way: that it is whole, and stands behind the one that it names.")]
    Manifests(LsManifestsArgs),
    /// What lies in the archive, and what each object is
    #[command(after_long_help = "Examples:
  icecore --archive s3://my-bucket/logs ls objects
  icecore --archive s3://my-bucket/logs ls objects --prefix access/ --json
  icecore --archive s3://my-bucket/logs ls objects --kind unnamed-segment

A segment counts when a manifest names it; one that none names is of an upload under way or given up, or was removed and not deleted yet.")]
    Objects(LsObjectsArgs),
}

/// `icecore ls collections`
#[derive(Debug, Args)]
pub struct LsCollectionsArgs {
    /// Also those that were deleted
    #[arg(long)]
    pub all: bool,
}

/// `icecore ls segments`
#[derive(Debug, Args)]
pub struct LsSegmentsArgs {
    /// Only of this collection
    #[arg(long, value_name = "COLLECTION")]
    pub collection: Option<CollectionName>,
    /// Only of this status
    #[arg(long, value_name = "STATUS", value_parser = status())]
    pub status: Option<SegmentStatus>,
    /// Only those that can be read and have not reached every sink
    #[arg(long)]
    pub unflushed: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `icecore ls assignments`
#[derive(Debug, Args)]
pub struct LsAssignmentsArgs {
    /// Only of this component, such as wal
    #[arg(long, value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Only of this collection
    #[arg(long, value_name = "COLLECTION")]
    pub collection: Option<CollectionName>,
    /// Also those before, of the collection
    #[arg(long, requires = "collection")]
    pub history: bool,
}

/// `icecore ls changes`
#[derive(Debug, Args)]
pub struct LsChangesArgs {
    /// Only those behind the change of this number
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub since: u64,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `icecore ls manifests`
#[derive(Debug, Args)]
pub struct LsManifestsArgs {
    /// Begin with the one of this number
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub from: u64,
}

/// `icecore ls objects`
#[derive(Debug, Args)]
pub struct LsObjectsArgs {
    /// Only those whose keys begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Only those of this kind: manifest, segment, unnamed-segment, snapshot, old-snapshot, probe or foreign
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
}

fn status() -> impl clap::builder::TypedValueParser<Value = SegmentStatus> {
    PossibleValuesParser::new(SegmentStatus::ALL.map(SegmentStatus::word)).map(|word| {
        let known = SegmentStatus::ALL.into_iter().find(|status| status.word() == word);
        known.expect("it is one of the words")
    })
}
