//! What may stand on the command line, as plain values. Nothing is opened or looked up here.

mod archive;
mod catalog;
mod collection;
mod directory;
mod ls;
mod restore;
mod search;
mod tier;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use archive::*;
pub use catalog::*;
pub use collection::*;
pub use directory::*;
pub use ls::*;
pub use restore::*;
pub use search::*;
pub use tier::*;

use super::input::InputFormat;
use super::time::{Position, TailFrom};
use crate::config::{LogLevel, SyncMode, parse_duration};
use crate::types::{CollectionName, Sequence};

/// An archival write-ahead log
///
/// Records are appended to named collections, are on disk before they are acknowledged, and are kept as plain Avro files.
#[derive(Debug, Parser)]
#[command(name = "icecore", version, disable_help_subcommand = true, after_long_help = UNITS)]
pub struct Cli {
    /// What stands before or after every subcommand.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The directories of the log, in the order given, before the subcommand and behind it.
    #[arg(skip)]
    pub data: Vec<String>,
    /// Settings given by `--set`, in the order given.
    #[arg(skip)]
    pub set: Vec<(String, String)>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const UNITS: &str = "\
Units:
  SIZE      bytes, or with a unit: 1000, 64MiB, 1GiB
  DURATION  whole numbers with units (w, d, h, m, s, ms, us): 90s, 7d, 2h30m
  TIME      RFC 3339 (2026-11-21T09:30:00Z), a date in UTC (2026-11-21), or a span before now (-2h)
  SEQ       a record's number in its collection, from 1

Settings come from icecore.toml, then the environment (flush.bytes is ICECORE_FLUSH_BYTES), then \
flags; the last wins. `icecore config` prints them all, and where each came from.

Exit codes: 0 ok, 1 failure, 2 usage, 3 partial, 4 damage found";

const GLOBAL: &str = "Global options";

/// What stands before or after every subcommand.
#[derive(Clone, Debug, Args)]
pub struct GlobalArgs {
    /// Print data as JSON on stdout, and errors as JSON on stderr
    #[arg(long, global = true, help_heading = GLOBAL, display_order = 101)]
    pub json: bool,
    /// Read settings from this file instead of icecore.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL, display_order = 102)]
    pub config: Option<PathBuf>,
    /// What keeps the catalog, and what mirrors it: sqlite, mdbx or lmdb, such as mdbx,sqlite
    #[arg(long, global = true, value_name = "ENGINE[,MIRROR]", help_heading = GLOBAL, display_order = 104)]
    pub catalog: Option<String>,
    /// The object store that sealed segments are archived to: s3://BUCKET/PREFIX, az://ACCOUNT/CONTAINER/PREFIX, ...
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL, display_order = 103)]
    pub archive: Option<String>,
    /// How much to log on stderr: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", help_heading = GLOBAL, display_order = 105)]
    pub log_level: Option<LogLevel>,
    /// Log more on stderr: -v is info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level", help_heading = GLOBAL, display_order = 106)]
    pub verbose: u8,
}

/// Every subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What works on a log.
    #[command(flatten)]
    Log(LogCommand),
    /// Print every setting in force, and where it came from
    ///
    /// One line a setting: its key, its value, and its origin (default, FILE:LINE, the environment variable, or the flag).
    /// Secrets are masked. With --json one object a line: key, value, origin, from, variable, help.
    #[command(after_long_help = "Examples:
  icecore config
  icecore --set segment.bytes=16MiB config
  ICECORE_SYNC_MODE=always icecore config --json")]
    Config,
    /// Print shell completions
    #[command(after_long_help = "Examples:
  icecore completions bash > /etc/bash_completion.d/icecore
  icecore completions zsh > ~/.zfunc/_icecore
  icecore completions fish > ~/.config/fish/completions/icecore.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, made where it is absent
        dir: PathBuf,
    },
}

impl Command {
    /// Whether it finishes what is in flight on Ctrl-C, and says how far it came.
    pub(super) fn ends_in_order(&self) -> bool {
        use LogCommand::{Append, Archive, Bench, Cat, Compact, Directory, Evict, Rehydrate, Tail};
        let is_long = |command: &DirectoryCommand| matches!(command, DirectoryCommand::Drain(_));
        matches!(
            self,
            Self::Log(Append(_) | Archive(_) | Cat(_) | Compact(_) | Tail(_) | Bench(_) | Evict(_) | Rehydrate(_))
        ) || matches!(self, Self::Log(Directory(command)) if is_long(command))
    }
}

/// Every subcommand that works on a log, or on a file of one.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Append records to a collection
    Append(AppendArgs),
    /// Delete keys from a collection
    Delete(DeleteArgs),
    /// Print the records of a collection
    Cat(CatArgs),
    /// Print the records of a collection as they come
    Tail(TailArgs),
    /// Print the newest version of a key
    Get(GetArgs),
    /// Find the vectors of a collection that are nearest to one
    Search(SearchArgs),
    /// Cut unsealed records into segments
    ///
    /// Works on one collection, or on all when none is named.
    Seal(SealArgs),
    /// Seal, and wait until every sink durably has the records
    ///
    /// Works on one collection, or on all when none is named.
    Flush(SealArgs),
    /// List what the log consists of
    #[command(
        subcommand,
        after_long_help = "Examples:
  icecore --data /var/lib/log ls collections
  icecore --data /var/lib/log ls segments --json

With --json one object a line. Sizes are bytes there, and have a unit in the table."
    )]
    Ls(LsCommand),
    /// Check that everything is there and undamaged
    Verify(VerifyArgs),
    /// Bring a log back from its archive, onto a machine that has nothing else
    Restore(RestoreArgs),
    /// Bring the log into order after a crash
    Recover(RecoverArgs),
    /// Show what a segment or journal file holds
    Inspect(InspectArgs),
    /// Show the state of the log, and what needs attention
    Status,
    /// List losses and gaps, and acknowledge losses
    #[command(subcommand)]
    Gap(GapCommand),
    /// Make, show, set and delete collections
    #[command(subcommand)]
    Collection(CollectionCommand),
    /// Look after the catalog: check, rebuild, migrate, export, snapshot
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Look after the directories: list, add, drain, forget
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Try whether an object store does what an archive needs, with the rights that the credentials have
    Doctor(DoctorArgs),
    /// Send sealed segments to the archive, and to the stores that are homes of their collections
    Archive(ArchiveArgs),
    /// Drop local copies of archived segments
    Evict(EvictArgs),
    /// Bring local copies of segments back from the archive
    Rehydrate(RehydrateArgs),
    /// Write segments anew, without what their collection's policy lets go, and merge small ones
    Compact(CompactArgs),
    /// Say what may be purged by its age or size, and purge it
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Keep records from being purged: set, clear and list legal holds
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Measure this disk, and icecore on it, side by side
    Bench(BenchArgs),
}

/// `icecore append`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log append access /var/log/nginx/access.log
  journalctl -f -o json | icecore --data DIR append journal --format ndjson --key __CURSOR
  apt-cache dumpavail | icecore --data DIR append packages --format stanzas --key Package
  icecore --data DIR append docs embeddings.jsonl --format vectors

Formats:
  lines    a record is a line, also an empty one; its payload is the line without the newline
  ndjson   a record is a line with a JSON object; blank lines are skipped
  stanzas  a record is a block of `Field: value` lines; empty lines lie between
  vectors  a record is a line with a JSON object of id (its key), vector, metadata (an object)
  avro     a record is one of a segment, of `cat --format avro`, or, where it is COLLECTION's, of a journal

With --resume the same command can be run again after a kill until it is done: what was acknowledged is not appended twice.

DURATION is 90s, 7d, 2h30m. Sizes and limits are settings; see `icecore config`.")]
pub struct AppendArgs {
    /// The collection; made where it is absent, unless the setting collections.auto_create is false
    pub collection: CollectionName,
    /// The input; - is stdin
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// How the input is cut into records
    #[arg(long, value_enum, default_value_t = InputFormat::Lines)]
    pub format: InputFormat,
    /// Take each record's key from this field (ndjson: text or whole number; stanzas: case ignored)
    #[arg(long, value_name = "FIELD")]
    pub key: Option<String>,
    /// Let the records expire after this DURATION, counted from each record's own time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub expires_in: Option<Duration>,
    /// Take each record's time from this field (RFC 3339, or whole microseconds since 1970-01-01)
    #[arg(long, value_name = "FIELD")]
    pub timestamp: Option<String>,
    /// Add a header to each record; may be given several times
    #[arg(long = "header", value_name = "K=V", value_parser = parse_pair)]
    pub headers: Vec<(String, String)>,
    /// Records per batch, or what has arrived after 5 ms
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// When an append returns: always, per-batch, periodic or never
    #[arg(long, value_name = "MODE")]
    pub sync: Option<SyncMode>,
    /// Print first_sequence and last_sequence on stdout, a JSON line for each batch that is acknowledged
    #[arg(long)]
    pub acks: bool,
    /// Go on with an interrupted load of the same input: skip what the collection has already
    #[arg(long)]
    pub resume: bool,
}

/// `icecore delete`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log delete users alice bob

A delete is a record of its own (a tombstone): earlier versions stay in the log until they are compacted or purged. To delete a whole \
collection, see `collection delete`.")]
pub struct DeleteArgs {
    /// The collection
    pub collection: CollectionName,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// When the delete returns: always, per-batch, periodic or never
    #[arg(long, value_name = "MODE")]
    pub sync: Option<SyncMode>,
}

/// How records are printed as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TailFormat {
    /// One JSON object a line
    Json,
    /// Payloads alone, each followed by a newline where it has none
    Raw,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One JSON object a line
    Json,
    /// Payloads alone, each followed by a newline where it has none
    Raw,
    /// An Avro file with the records as they are stored, for any Avro reader, and for `append --format avro`
    Avro,
    /// The vectors alone, one JSON object a line, for `append --format vectors`; what is no vector is passed over and counted on stderr
    Vectors,
}

/// `icecore cat`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log cat access --format raw
  icecore --data /var/lib/log cat access --from 1000 --limit 10
  icecore --data /var/lib/log cat access --from 2026-11-20 --until 2026-11-21
  icecore --data /var/lib/log cat access --from -2h --reverse
  icecore --data /var/lib/log cat access --format avro > access.avro
  icecore --data /var/lib/log cat docs --format vectors > docs.ndjson

Digits alone are a SEQ (a record's number, from 1). TIME is RFC 3339, a date in UTC, or -2h; it is \
compared with each record's own time. --until is inclusive: of a date, the whole day.")]
pub struct CatArgs {
    /// The collection
    pub collection: CollectionName,
    /// Begin at this record or time
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub from: Option<Position>,
    /// End with this record or time
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub until: Option<Position>,
    /// Print at most so many records
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Newest first
    #[arg(long)]
    pub reverse: bool,
    /// How to print records
    #[arg(long, value_enum, default_value_t = OutputFormat::Json)]
    pub format: OutputFormat,
}

/// `icecore tail`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log tail access
  icecore --data /var/lib/log tail access --from -100 --format raw
  icecore --data /var/lib/log tail access --from -2h

-100 is the last 100 records; -2h is a TIME, two hours ago; digits alone are a SEQ (a record's number, from 1). \
A tail shows what is durable, and ends with Ctrl-C.")]
pub struct TailArgs {
    /// The collection
    pub collection: CollectionName,
    /// Begin here
    #[arg(long, value_name = "SEQ|TIME|end|-N", allow_hyphen_values = true, default_value = "end")]
    pub from: TailFrom,
    /// How to print records
    #[arg(long, value_enum, default_value_t = TailFormat::Json)]
    pub format: TailFormat,
}

/// `icecore get`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log get users alice
  icecore --data /var/lib/log get users alice --json

Prints the payload as it is; with --json the whole record. A key that is deleted, expired or was \
never there is a failure (exit code 1).

Where the collection has the sink kv and nobody has it open, it is looked up there, and in the log behind \
its cursor; else in the log alone. The answer is the same; -v says which it was.")]
pub struct GetArgs {
    /// The collection
    pub collection: CollectionName,
    /// The key
    pub key: String,
}

/// `icecore seal`, `icecore flush`
#[derive(Debug, Args)]
pub struct SealArgs {
    /// The collection; all when none is named
    pub collection: Option<CollectionName>,
}

/// `icecore verify`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log verify
  icecore --data /var/lib/log verify --deep --json
  icecore --archive s3://my-bucket/logs verify --remote --sample 5

With --remote it is the archive that is looked at: that no manifest is missing or changed, that no sequence is, that every object is \
there with its length and the checksum that the store tells, and what lies there that no manifest names; with --data also that the \
log's catalog says the same.

Exit code 4 when damage was found; each damaged file is named with the sequences that it held.")]
pub struct VerifyArgs {
    /// Read and check every record, not only files, footers and what the catalog says of them; with --remote every byte of every object
    #[arg(long)]
    pub deep: bool,
    /// Look at the archive instead of the log's directories
    #[arg(long)]
    pub remote: bool,
    /// Read back so many of a hundred archived segments
    #[arg(long, value_name = "PERCENT", requires = "remote", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sample: Option<u8>,
}

/// `icecore recover`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log recover --dry-run
  icecore --data /var/lib/log recover

Every command that opens the log for writing recovers it first; this one does only that, and says what it did. \
Nothing damaged is deleted: it is set aside.")]
pub struct RecoverArgs {
    /// Print the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `icecore inspect`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore inspect access/00000000000000000001-00000000000000001000.0.avro

Needs no log, only the file.")]
pub struct InspectArgs {
    /// The file
    pub file: PathBuf,
}

/// `icecore gap`
#[derive(Debug, Subcommand)]
pub enum GapCommand {
    /// List losses (not acknowledged) and gaps (acknowledged)
    Ls,
    /// Take note of a loss, so that it counts as a known gap
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log gap ls
  icecore --data /var/lib/log gap acknowledge access 1000 1999 --by alice")]
    Acknowledge(GapAcknowledgeArgs),
}

/// `icecore gap acknowledge`
#[derive(Debug, Args)]
pub struct GapAcknowledgeArgs {
    /// The collection
    pub collection: CollectionName,
    /// First missing SEQ, exactly as `gap ls` shows it
    #[arg(value_parser = parse_sequence)]
    pub first: Sequence,
    /// Last missing SEQ, exactly as `gap ls` shows it
    #[arg(value_parser = parse_sequence)]
    pub last: Sequence,
    /// Who acknowledges it
    #[arg(long, value_name = "NAME")]
    pub by: String,
}

/// `icecore bench`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore bench
  icecore bench --dir /mnt/new-disk

Prints each scenario beside the physical limit measured in the same run, and their ratio. Run it before you trust a disk.")]
pub struct BenchArgs {
    /// A directory on the disk to measure; what is written there is removed again
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Do only this share of the work, in `collections` and `directories`
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub scale: u32,
    /// Only these scenarios; all when none is named
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a name, `=` and a value are wanted".to_owned()),
    }
}

fn parse_sequence(text: &str) -> Result<Sequence, String> {
    match text.parse() {
        Ok(Position::Sequence(sequence)) => Ok(sequence),
        _ => Err(format!("a sequence is from 1 to {}", Sequence::MAX)),
    }
}

/// The command line with `--data` and `--set` on every level.
///
/// An option that the parser knows as global keeps only what stands on the innermost level: `--data a append c --data b`
/// would lose directory `a` without a word. So these two are options of every level, and are gathered from all of them.
#[must_use]
pub fn command() -> clap::Command {
    with_gathered(<Cli as clap::CommandFactory>::command())
}

fn with_gathered(command: clap::Command) -> clap::Command {
    let data = Arg::new("data")
        .long("data")
        .value_name("DIR")
        .action(ArgAction::Append)
        .help("A directory of the log, as a path or URL; give it several times for several directories")
        .help_heading(GLOBAL)
        .display_order(100);
    let set = Arg::new("set")
        .long("set")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .value_parser(parse_pair)
        .help("Give a setting a value; may be given several times")
        .help_heading(GLOBAL)
        .display_order(103);
    command.arg(data).arg(set).mut_subcommands(with_gathered)
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// What the parser says, which may also be the help that was asked for.
    pub fn read(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut level: Option<&ArgMatches> = Some(&matches);
        while let Some(matches) = level {
            cli.data.extend(matches.get_many::<String>("data").into_iter().flatten().cloned());
            cli.set.extend(matches.get_many::<(String, String)>("set").into_iter().flatten().cloned());
            level = matches.subcommand().map(|(_, inner)| inner);
        }
        Ok(cli)
    }

    /// The durability mode that the subcommand was given.
    #[must_use]
    pub const fn sync(&self) -> Option<SyncMode> {
        match &self.command {
            Command::Log(LogCommand::Append(args)) => args.sync,
            Command::Log(LogCommand::Delete(args)) => args.sync,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' ').map(Into::into))
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn global_options_stand_on_either_side_and_add_up() {
        let cli = read("icecore --data a --set x=1 append c --data b --json --set y=2=3").unwrap();
        assert_eq!(cli.data, ["a", "b"]);
        assert_eq!(cli.set, [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2=3".to_owned())]);
        assert!(cli.global.json);
        assert!(read("icecore --json gap ls").unwrap().global.json);
        assert_eq!(read("icecore gap --data a ls --data b").unwrap().data, ["a", "b"]);
    }

    #[test]
    fn spans_before_now_need_no_equals_sign() {
        let Command::Log(LogCommand::Tail(tail)) = read("icecore tail c --from -100").unwrap().command else {
            panic!()
        };
        assert_eq!(tail.from, TailFrom::Last(100));
        let Command::Log(LogCommand::Cat(cat)) = read("icecore cat c --from -2h --until 7").unwrap().command else {
            panic!()
        };
        assert!(matches!((cat.from, cat.until), (Some(Position::Time(_)), Some(Position::Sequence(Sequence(7))))));
        assert!(read("icecore cat c --from --limit").is_err(), "an option is no time");
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for line in [
            "icecore",
            "icecore append",
            "icecore append c --batch 0",
            "icecore append c --format csv",
            "icecore tail c --format avro",
            "icecore append c --header novalue",
            "icecore append c --sync maybe",
            "icecore append c --expires-in 90",
            "icecore delete c",
            "icecore gap acknowledge c 0 1 --by me",
            "icecore gap acknowledge c 1 2",
            "icecore search c",
            "icecore search c --vector [1] --metric cos",
            "icecore search c --vector [1] --filter lang",
            "icecore ls nothing",
            "icecore ls segments --status good",
            "icecore ls collections --since 1",
            "icecore ls assignments --history",
            "icecore collection",
            "icecore collection create",
            "icecore collection create c sync",
            "icecore collection set c",
            "icecore collection set c =always",
            "icecore collection delete c --yes --dry-run",
            "icecore catalog",
            "icecore catalog migrate --to oracle",
            "icecore catalog snapshot",
            "icecore -v --log-level info status",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
