//! `icecore archive`, `icecore doctor`

use clap::Args;

use crate::objects::Location;

/// `icecore archive`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log --archive s3://my-bucket/logs archive
  icecore --data /var/lib/log archive --wait --json

What is in no segment yet is not archived: see `seal`. No other writer may run: one that was started with --archive archives by itself.

Each segment is sent once, proven to be in the store, and named by a manifest; then its row says `archived`. Segments of collections whose home \
is another store go there. Interrupted, or killed, it is run again. Exit code 3 when something could not be archived.

Behind that, local copies go as evict.after and evict.above_bytes say, and purges that were begun go on.

An archive has one writer. A log from which another machine took it over archives there no more, until --take-over says that the other one \
was stopped.")]
pub struct ArchiveArgs {
    /// Do not give up on what fails: try again until everything that is sealed is archived
    #[arg(long)]
    pub wait: bool,
    /// Take the archive back from a machine that took it over. Stop that one first
    #[arg(long)]
    pub take_over: bool,
}

/// `icecore doctor`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore doctor s3://my-bucket/logs
  icecore --archive az://account/container/logs doctor --json

Makes, lists, reads and removes objects below _probe/ in the store. Exit code 1 when something that an archive needs is missing.")]
pub struct DoctorArgs {
    /// The store; the archive of the settings where it is not given
    #[arg(value_name = "URL")]
    pub url: Option<Location>,
}
