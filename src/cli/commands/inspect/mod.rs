//! `icecore inspect FILE`
//!
//! Owns: which of our files it is. A file whose front is damaged is judged by its end and its name, so that damage is told
//! as damage; everything else is refused by name.

mod journal;
mod segment;

use std::path::Path;
use std::sync::Arc;

use crate::avro::container::{FileHeader, decode_header};
use crate::cli::facts::Facts;
use crate::cli::{CommandResult, Context, Exit, Failure, InspectArgs, Stdout, logs};
use crate::fs::{EntryKind, File, OpenMode};
use crate::journal::JournalKind;
use crate::journal::file::parse_file_name;
use crate::segment::SegmentName;
use crate::{Error, ErrorKind};

/// Holds every header of ours.
const FRONT_BYTES: u64 = 64 << 10;

/// What is found in a file.
struct Found {
    facts: Facts,
    /// For people, behind the facts: tables, damage.
    more: String,
    damaged: bool,
}

pub(in crate::cli) fn run(context: &Context, args: &InspectArgs) -> CommandResult {
    let path = args.file.as_path();
    let found = inspect(context, path)?;
    let mut stdout = Stdout::lock();
    if context.json {
        stdout.line(&found.facts.json())?;
    } else {
        stdout.write(found.facts.lines().as_bytes())?;
        stdout.write(found.more.as_bytes())?;
    }
    stdout.flush()?;
    Ok(if found.damaged { Exit::Damage } else { Exit::Ok })
}

fn inspect(context: &Context, path: &Path) -> Result<Found, Failure> {
    let fs = logs::file_system();
    let fail = |error: crate::fs::FsError| logs::explain(error.into());
    if fs.metadata(path).map_err(fail)?.kind != EntryKind::File {
        return Err(foreign(path, "not a regular file").into());
    }
    let file = fs.open(path, OpenMode::Read).map_err(fail)?;
    let front = front(&*file).map_err(fail)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let says = front.as_ref().and_then(|header| header.text("icecore.file"));
    match (says, parse_file_name(name), SegmentName::parse(name)) {
        (Some("segment"), ..) => segment::inspect(context, file),
        (Some("stub"), ..) => segment::inspect_stub(file),
        (Some("journal"), ..) => journal::inspect(file, JournalKind::Hot),
        (Some("cold"), ..) => journal::inspect(file, JournalKind::Cold),
        (Some(other), ..) => {
            Err(foreign(path, &format!("icecore.file=`{other}`, which holds no part of a log")).into())
        }
        // Without a front that says so, the name tells what the file was meant to be.
        (None, Some((kind, _)), _) => journal::inspect(file, kind),
        (None, None, _) if front.is_none() => segment::inspect(context, file).map_err(|failure| match failure {
            // Neither end is ours: what the front lacks says nothing.
            Failure::Error(_, error) if error.kind() == ErrorKind::Invalid => foreign(path, "not an avro file").into(),
            other => other,
        }),
        (None, None, _) => Err(foreign(path, "an avro file of another program").into()),
    }
}

/// The header of an Avro file; `None` where it is none.
fn front(file: &dyn File) -> Result<Option<FileHeader>, crate::fs::FsError> {
    let mut bytes = vec![0; usize::try_from(file.len()?.min(FRONT_BYTES)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(decode_header(&bytes).ok())
}

fn foreign(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("not a file of an icecore log: path=`{}`, {what}", path.display()))
        .with_hint("inspect takes segments, stubs, journals and cold journals")
}

/// A file as the source of a segment.
fn range(file: Arc<dyn File>) -> Arc<dyn crate::segment::ReadRange> {
    Arc::new(crate::segment::FileRange(file))
}
