//! `icecore catalog`

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};

use crate::catalog::Engine;

/// `icecore catalog`
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Compare the catalog with the directories, in both directions
    ///
    /// Every row is read and checked. Every segment file, stub and journal must have its row, or a reason to have none; every
    /// row that promises a file must have it, with its length, range, records and digest. Works beside a writer.
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log catalog check
  icecore --data /var/lib/log catalog check --json

Exit code 0 when both agree, 4 when not; each finding says what it is about, what is wrong, and what to do. \
Of segments only front and end are read: `verify --deep` reads every byte.")]
    Check,
    /// Make the catalog anew from the directories
    ///
    /// Segments, stubs and journals say almost everything. What only a catalog knows (settings, floors, losses and who
    /// acknowledged them, cursors, archived copies) is taken from the old one as far as that can be read; what cannot be read is
    /// reported, and never guessed. The old catalog is set aside beside the new one, never deleted. No writer may run.
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log catalog rebuild --dry-run
  icecore --data /var/lib/log catalog rebuild
  icecore --data /var/lib/log --archive s3://my-bucket/logs catalog rebuild --from-archive

Exit code 3 when something could not be carried over from the old catalog, 4 when directories and the new catalog do not agree.")]
    Rebuild(CatalogRebuildArgs),
    /// Copy the catalog to another engine, and use that from now on
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log catalog migrate --to mdbx")]
    Migrate(CatalogMigrateArgs),
    /// Print every row of the catalog as JSON, an object a line
    ///
    /// Shows one moment, also while a writer goes on. The first line is a header, the last one has the number of rows of each table:
    /// without it, the export was cut off.
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log catalog export --output catalog.jsonl
  icecore --data /var/lib/log catalog export | jq -c 'select(.table == \"segments\")'")]
    Export(CatalogExportArgs),
    /// Copy the catalog to a new file, as it is at one moment
    ///
    /// Works beside a writer. The copy is whole in one file, of the same engine, and durable when the command ends.
    #[command(after_long_help = "Examples:
  icecore --data /var/lib/log catalog snapshot /backup/catalog-2026-11-21.sqlite

To use it: stop the writer, move the catalog and the files beside it away (catalog.sqlite, -wal, -shm), copy the snapshot to the \
catalog's place, and run `icecore recover`: what is newer in the directories is added to it.")]
    Snapshot(CatalogSnapshotArgs),
}

/// `icecore catalog rebuild`
#[derive(Debug, Args)]
pub struct CatalogRebuildArgs {
    /// Print what the new catalog would hold and lack, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take from the archive what neither the old catalog nor the directories tell
    #[arg(long)]
    pub from_archive: bool,
    /// Where manifests of the archive are damaged or missing, take what can be proven without them
    #[arg(long, requires = "from_archive")]
    pub salvage: bool,
}

/// `icecore catalog migrate`
#[derive(Debug, Args)]
pub struct CatalogMigrateArgs {
    /// What keeps the catalog from now on
    #[arg(long, value_name = "ENGINE", value_parser = engine())]
    pub to: Engine,
}

/// `icecore catalog export`
#[derive(Debug, Args)]
pub struct CatalogExportArgs {
    /// Write to this new file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `icecore catalog snapshot`
#[derive(Debug, Args)]
pub struct CatalogSnapshotArgs {
    /// The new file
    pub file: PathBuf,
}

fn engine() -> impl clap::builder::TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(Engine::WORDS).map(|word| word.parse::<Engine>().expect("it is one of the words"))
}
