//! `icecore collection`

use clap::{Args, Subcommand};

use crate::types::CollectionName;

/// `icecore collection`
#[derive(Debug, Subcommand)]
pub enum CollectionCommand {
    /// Make a collection, with settings of its own
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log collection create audit sync=always
  icecore --data /var/lib/log collection create access seal.bytes=16MiB seal.age=1h --if-not-exists

The log is made where it is absent. A collection that was deleted comes back empty, and goes on with the next sequence.

Settings, each in place of the log's:
  sync        when its appends return: always, per-batch, periodic or never
  seal.bytes  it is sealed at this SIZE, into segments of at most so much
  seal.age    records older than this DURATION are sealed
  retention.age, retention.bytes, retention.records
              what is older than this DURATION, or beyond this SIZE or number, may be purged (`retention plan`); `none` keeps all
  vector.dimensions
              how many dimensions its vectors must have; others are refused")]
    Create(CollectionCreateArgs),
    /// Show a collection: what it holds, its settings, and who gave each
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log collection show audit
  icecore --data /var/lib/log collection show audit --json

What comes from `log` is as this command's own settings have it; a running writer may have others.")]
    Show(CollectionShowArgs),
    /// Change a collection's settings
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log collection set audit sync=always seal.age=10m
  icecore --data /var/lib/log collection set audit sync=
  icecore --data /var/lib/log collection set audit --home s3://bucket/log
  icecore --data /var/lib/log collection set audit sinks=store --forget-sink kv

KEY= takes a setting away: the log's holds again. What an append asks for itself (--sync) wins over both.

Settings:
  sync        when its appends return: always, per-batch, periodic or never
  seal.bytes  it is sealed at this SIZE, into segments of at most so much
  seal.age    records older than this DURATION are sealed
  retention.age, retention.bytes, retention.records
              what is older than this DURATION, or beyond this SIZE or number, may be purged (`retention plan`); `none` keeps all
  vector.dimensions
              how many dimensions its vectors must have; others are refused")]
    Set(CollectionSetArgs),
    /// Delete a collection with all of its records
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log collection delete scratch --dry-run
  icecore --data /var/lib/log collection delete scratch
  icecore --data /var/lib/log collection delete scratch --yes --json

Its records, segments and settings go for good; its history stays in the catalog (`ls changes`, `ls segments`), and `ls collections --all` \
shows it. Its sequences are never given out again: where it comes back, by `collection create` or an append, it goes on with the next.

Without --yes it asks, and wants the collection's name as the answer. To delete single keys, see `delete`.")]
    Delete(CollectionDeleteArgs),
}

/// `icecore collection create`
#[derive(Debug, Args)]
pub struct CollectionCreateArgs {
    /// The collection: 1 to 255 bytes of UTF-8
    pub collection: CollectionName,
    /// Settings of its own
    #[arg(value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Succeed, and change nothing, where it is there already
    #[arg(long)]
    pub if_not_exists: bool,
    /// The object store that its segments go to, in place of what the placement policy says: a remote of `directory ls`, by its URL or id
    #[arg(long, value_name = "URL|ID")]
    pub home: Option<String>,
}

/// `icecore collection show`
#[derive(Debug, Args)]
pub struct CollectionShowArgs {
    /// The collection
    pub collection: CollectionName,
}

/// `icecore collection set`
#[derive(Debug, Args)]
pub struct CollectionSetArgs {
    /// The collection
    pub collection: CollectionName,
    /// Settings; KEY= takes one away
    #[arg(value_name = "KEY=VALUE", required_unless_present_any = ["home", "forget_sink"], value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Another home for its segments: a remote of `directory ls`, or a local directory, which means that they stay where they are sealed
    #[arg(long, value_name = "URL|PATH|ID")]
    pub home: Option<String>,
    /// A sink that the collection does not subscribe to any more: what it has of the collection is to be deleted, and nothing waits for it
    #[arg(long, value_name = "SINK")]
    pub forget_sink: Option<String>,
}

/// `icecore collection delete`
#[derive(Debug, Args)]
pub struct CollectionDeleteArgs {
    /// The collection
    pub collection: CollectionName,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Print what would go, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting, `=` and a value are wanted; KEY= takes one away".to_owned()),
    }
}
