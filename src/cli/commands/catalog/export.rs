//! `icecore catalog export [--output FILE]`
//!
//! One moment: the catalog is copied to a file of its own ([`CatalogLook::freeze`]), and that is printed. Between page and page of
//! the catalog itself a writer would go on.
//!
//! The first line is a header, then a line for each row, then a line with the number of rows of each table. What is cut off
//! has no last line.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::catalog::{Assignment, Catalog, Change, SegmentKey};
use crate::cli::{CatalogExportArgs, CommandResult, Context, Exit, Failure, Stdout, human, logs};
use crate::fs::{File, FileSystem, OpenMode, durable};
use crate::types::{ChangeNumber, CollectionName};
use crate::{Error, ErrorKind};

/// Rows read from the catalog at once.
const PAGE_ROWS: usize = 1000;
/// Bytes of the file written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Version of the lines.
const FORMAT: u32 = 1;

pub(super) fn run(context: &Context, args: &CatalogExportArgs) -> CommandResult {
    let look = logs::look_at_catalog(context)?;
    let fs = logs::file_system();
    let frozen = look.freeze().map_err(logs::explain)?;
    let mut out = match &args.output {
        Some(path) => Out::file(&*fs, path)?,
        None => Out::Stdout(Stdout::lock()),
    };
    let header = json!({
        "format": FORMAT,
        "engine": look.engine().map(|engine| engine.to_string()),
        "log": look.log.to_string(),
        "change_number": frozen.change_number,
        "exported_at": context.clock.now().to_string(),
    });
    let mut export = Export { out: &mut out, counts: Vec::new() };
    let total = match export.all(&*frozen.catalog, &header) {
        Ok(total) => total,
        Err(failure) => {
            out.give_up(&*fs);
            return Err(failure);
        }
    };
    out.finish(&*fs)?;
    if let Some(path) = &args.output {
        let rows = human::plural(total, "row");
        context.say(&format!("exported {rows} at one moment: {}", path.display()));
    }
    Ok(Exit::Ok)
}

struct Export<'a> {
    out: &'a mut Out,
    counts: Vec<(&'static str, u64)>,
}

impl Export<'_> {
    /// Writes everything; returns how many rows there were.
    fn all(&mut self, catalog: &dyn Catalog, header: &Value) -> Result<u64, Failure> {
        self.line("catalog", header)?;
        self.collections(catalog)?;
        self.segments(catalog)?;
        self.assignments(catalog)?;
        let losses = catalog.losses(None).map_err(Error::from)?;
        self.rows("losses", &losses)?;
        self.cursors(catalog)?;
        let values = catalog.values().map_err(Error::from)?;
        let values: Vec<Value> =
            values.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.rows("values", &values)?;
        self.changes(catalog)?;
        let counts: serde_json::Map<String, Value> =
            self.counts.iter().map(|(table, count)| ((*table).to_owned(), (*count).into())).collect();
        self.line("end", &json!({ "rows": counts }))?;
        Ok(self.counts.iter().map(|(_, count)| count).sum())
    }

    /// An object with the table's name before its members.
    fn line(&mut self, table: &str, row: &impl Serialize) -> Result<(), Failure> {
        let object = serde_json::to_string(row).expect("a row is text and numbers");
        let members = object.strip_prefix('{').expect("a row is an object");
        self.out.write(format!("{{\"table\":\"{table}\",{members}\n").as_bytes())
    }

    fn rows<T: Serialize>(&mut self, table: &'static str, rows: &[T]) -> Result<(), Failure> {
        for row in rows {
            self.line(table, row)?;
        }
        match self.counts.iter_mut().find(|(name, _)| *name == table) {
            Some((_, count)) => *count += rows.len() as u64,
            None => self.counts.push((table, rows.len() as u64)),
        }
        Ok(())
    }

    fn collections(&mut self, catalog: &dyn Catalog) -> Result<(), Failure> {
        each_collection(catalog, &mut |name| {
            let row = catalog.collection(name).map_err(Error::from)?;
            let mut object = serde_json::to_value(row).expect("a row is text and numbers");
            object["sequence_max"] = json!(catalog.sequence_max(name).map_err(Error::from)?);
            self.rows("collections", &[object])
        })?;
        self.rows::<Value>("collections", &[])
    }

    fn segments(&mut self, catalog: &dyn Catalog) -> Result<(), Failure> {
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = catalog.segments(None, after.as_ref(), PAGE_ROWS).map_err(Error::from)?;
            self.rows("segments", &rows)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
        }
    }

    fn assignments(&mut self, catalog: &dyn Catalog) -> Result<(), Failure> {
        let mut last: Option<Assignment> = None;
        loop {
            let after = last.as_ref().map(|last| (last.component.as_str(), &last.collection));
            let rows = catalog.assignments(None, after, PAGE_ROWS).map_err(Error::from)?;
            self.rows("assignments", &rows)?;
            if rows.is_empty() {
                return Ok(());
            }
            last = rows.into_iter().next_back();
        }
    }

    fn cursors(&mut self, catalog: &dyn Catalog) -> Result<(), Failure> {
        each_collection(catalog, &mut |name| {
            let rows = catalog.cursors(name).map_err(Error::from)?;
            self.rows("cursors", &rows)
        })?;
        self.rows::<Value>("cursors", &[])
    }

    fn changes(&mut self, catalog: &dyn Catalog) -> Result<(), Failure> {
        let mut since = ChangeNumber(0);
        loop {
            let changes = catalog.changes(since, PAGE_ROWS).map_err(Error::from)?;
            let rows: Vec<Value> = changes.iter().map(change).collect();
            self.rows("changes", &rows)?;
            let Some(last) = changes.last() else { return Ok(()) };
            since = last.number;
        }
    }
}

fn change(change: &Change) -> Value {
    let detail: Value = serde_json::from_str(&change.detail).unwrap_or_else(|_| change.detail.clone().into());
    json!({
        "number": change.number,
        "at": change.at,
        "reason": change.reason,
        "kind": change.kind,
        "subject": change.subject,
        "detail": detail,
    })
}

fn each_collection(
    catalog: &dyn Catalog,
    visit: &mut dyn FnMut(&CollectionName) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<CollectionName> = None;
    loop {
        let rows = catalog.collections(after.as_ref(), PAGE_ROWS).map_err(Error::from)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for row in &rows {
            visit(&row.name)?;
        }
    }
}

/// Where lines go.
enum Out {
    Stdout(Stdout),
    /// A file that has its name only when it is whole and durable.
    File {
        file: Arc<dyn File>,
        temporary: std::path::PathBuf,
        path: std::path::PathBuf,
        at: u64,
        buffer: Vec<u8>,
    },
}

impl Out {
    fn file(fs: &dyn FileSystem, path: &Path) -> Result<Self, Failure> {
        if fs.metadata(path).is_ok() {
            let message = format!("something is there, and an export replaces nothing: path=`{}`", path.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("name a new file").into());
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = std::path::PathBuf::from(temporary);
        let file = fs.open(&temporary, OpenMode::CreateNew).map_err(|error| logs::explain(error.into()))?;
        Ok(Self::File { file, temporary, path: path.to_path_buf(), at: 0, buffer: Vec::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(stdout) => Ok(stdout.write(bytes)?),
            Self::File { file, at, buffer, .. } => {
                buffer.extend_from_slice(bytes);
                if buffer.len() >= WRITE_BYTES {
                    put(&**file, at, buffer)?;
                }
                Ok(())
            }
        }
    }

    fn finish(self, fs: &dyn FileSystem) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout) => Ok(stdout.flush()?),
            Self::File { file, temporary, path, mut at, mut buffer } => {
                let published = put(&*file, &mut at, &mut buffer).and_then(|()| {
                    file.sync_all().map_err(Error::from)?;
                    Ok(durable::publish(fs, &temporary, &path).map_err(Error::from)?)
                });
                published.inspect_err(|_| drop(fs.remove_file(&temporary)))
            }
        }
    }

    /// What was begun is removed.
    fn give_up(self, fs: &dyn FileSystem) {
        if let Self::File { temporary, .. } = self {
            let _ = fs.remove_file(&temporary);
        }
    }
}

fn put(file: &dyn File, at: &mut u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    file.write_all_at(buffer, *at).map_err(|error| logs::explain(error.into()))?;
    *at += buffer.len() as u64;
    buffer.clear();
    Ok(())
}
