//! `icecore restore`

use clap::Args;

use crate::cli::time::Position;
use crate::objects::Location;
use crate::types::CollectionName;

/// `icecore restore`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore restore s3://my-bucket/logs --to /var/lib/log
  icecore restore s3://my-bucket/logs --to /disk1/log --to /disk2/log
  icecore restore az://account/container/logs --to /var/lib/log --lazy
  icecore restore s3://my-bucket/logs --to /tmp/day --collection access --from 2026-11-20 --until 2026-11-20

The directories are absent or empty, or hold what an earlier restore began: after a kill, the same command goes on. \
What is chosen by --collection, --from, --until and --lazy are the files that come; the catalog always comes whole, so that every \
record can be read through the archive, and no sequence is given out twice.

Exit code 3 when sequences are lost that had been sealed and not archived, 4 when an object is missing or damaged; both are named.")]
pub struct RestoreArgs {
    /// The archive; the one of the settings where it is not given
    #[arg(value_name = "URL")]
    pub url: Option<Location>,
    /// A directory of the restored log; may be given several times
    #[arg(long, required = true, value_name = "DIR")]
    pub to: Vec<String>,
    /// Fetch only files of this collection; may be given several times
    #[arg(long = "collection", value_name = "COLLECTION")]
    pub collections: Vec<CollectionName>,
    /// Fetch only files with this record or time, or later ones
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub from: Option<Position>,
    /// Fetch only files with this record or time, or earlier ones
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub until: Option<Position>,
    /// Fetch no files: only the catalog, and records when they are read
    #[arg(long)]
    pub lazy: bool,
}
