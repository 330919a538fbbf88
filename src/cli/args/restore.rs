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
  icecore restore s3://my-bucket/logs --to /var/lib/log --salvage

The directories are absent or empty, or hold what an earlier restore began: after a kill, the same command goes on. \
What is chosen by --collection, --from, --until and --lazy are the files that come; the catalog always comes whole, so that every \
record can be read through the archive, and no sequence is given out twice.

With --salvage, manifests that are damaged or missing stop nothing: what the others say counts, and objects that none of them names are read \
whole, and count where they prove what they are. Nothing is guessed: what cannot be known is printed, and recorded as lost. The archive is not \
changed; the first manifest that the restored log writes begins the chain anew. docs/archive.md says what to do before.

Exit code 3 when sequences are lost that had been sealed and not archived, 4 when an object or a manifest is missing or damaged; all are named.")]
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
    /// Where manifests are damaged or missing, restore what can be proven without them
    #[arg(long)]
    pub salvage: bool,
}
