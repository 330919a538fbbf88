//! `icecore directory`

use clap::{Args, Subcommand};

/// `icecore directory`
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// List the directories of the log: what each is good for, and what it holds
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log directory ls
  icecore --data /var/lib/log directory ls --json

States:
  healthy    takes collections
  drained    takes none; can be forgotten once it is empty
  failed     could not be written to; its collections live elsewhere
  missing    not there, or not the one that it should be: its collections take no appends
  forgotten  given up; `directory add` takes it back, where it is there again
  remote     an object store, home of segments: takes collections as their home, unless placement.over is local

Works beside a writer, and with directories missing. What cannot be known is shown as -, and is null in JSON.")]
    Ls,
    /// Take a directory into the log: an empty one, a forgotten one that is back, a drained one
    ///
    /// A forgotten or drained directory of this log comes back under its old id; what it holds is merged when the log is opened next. One
    /// that is mounted elsewhere now is given its new place. No writer may run.
    #[command(after_long_help = "Examples:
  icecore --data /disk1/log directory add /disk2/log
  icecore --data /disk1/log directory add --remote file:///mnt/nas/log
  icecore --data /disk1/log directory add s3://bucket/log

A URL of an object store (s3, gs, az, abfss, adls) is a remote: a home that segments of collections go to, while they are written to local \
directories all the same. New collections get it as the placement policy says, unless placement.over is local. With --remote, so is a local directory. Credentials never stand in the URL.

Interrupted, it is run again.")]
    Add(DirectoryAddArgs),
    /// Move everything in a directory elsewhere, and put nothing new there
    ///
    /// Its collections' records that are in no segment yet go first, then their segments, one at a time, each proven; then what sinks
    /// keep there. No writer may run. Interrupted, it goes on where it stopped when it is run again.
    #[command(after_long_help = "Examples:
  icecore --data /disk1/log directory drain /disk2/log
  icecore --data /disk1/log directory drain 1f8a02c4

Afterwards `directory forget` takes it out of the log; `directory add` puts it back in service. Exit code 3 when something had to stay.

Of a remote nothing is moved: no new collection gets it for its home, and those that have it are told. `collection set NAME --home ID` gives each another.")]
    Drain(DirectoryNameArgs),
    /// Give up a directory that is gone for good, or that was drained
    ///
    /// Of one that is missing, everything is given up that is nowhere else: its segments without an archived copy, and what its
    /// collections had in its journals. They go on elsewhere, with a sequence so much higher (2^40) that what was lost still fits in,
    /// should the directory come back. What sinks kept there they make again elsewhere. No writer may run.
    #[command(after_long_help = "Examples:
  icecore --data /disk1/log directory forget 1f8a02c4
  icecore --data /disk1/log directory forget /disk2/log --yes

Without --yes it says what would be given up, and changes nothing (exit code 1). Interrupted, it is run again.")]
    Forget(DirectoryForgetArgs),
}

/// `icecore directory add`
#[derive(Debug, Args)]
pub struct DirectoryAddArgs {
    /// The directory: a path, made where it is absent, or a URL
    #[arg(value_name = "PATH|URL")]
    pub location: String,
    /// Keep objects in a local directory: it becomes a remote
    #[arg(long)]
    pub remote: bool,
}

/// `icecore directory drain`
#[derive(Debug, Args)]
pub struct DirectoryNameArgs {
    /// The directory, by its id, its path or its URL
    #[arg(value_name = "ID|PATH|URL")]
    pub directory: String,
}

/// `icecore directory forget`
#[derive(Debug, Args)]
pub struct DirectoryForgetArgs {
    /// The directory, by its id, its path or its URL
    #[arg(value_name = "ID|PATH|URL")]
    pub directory: String,
    /// Give up what is told
    #[arg(long)]
    pub yes: bool,
}
