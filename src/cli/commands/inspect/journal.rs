//! What a journal or a cold journal holds.
//!
//! Without its successors: where a later journal's OPEN judged this one, only the log knows. So an end that is torn is
//! told as such, and is no damage: a write that a crash cut short looks the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::{Found, foreign};
use crate::cli::facts::Facts;
use crate::cli::human::{self, Align, Table};
use crate::cli::{Failure, logs};
use crate::fs::File;
use crate::journal::file::parse_file_name;
use crate::journal::{Damage, JournalKind, JournalNumber, Scan, ScanError, Tail};
use crate::log::recover::journals::scan_file;
use crate::types::{CollectionName, Epoch, Sequence};
use crate::{Error, ErrorKind};

pub(super) fn inspect(file: Arc<dyn File>, kind: JournalKind) -> Result<Found, Failure> {
    let path = file.path().to_path_buf();
    let len = file.len().map_err(|error| logs::explain(error.into()))?;
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name);
    let number = named.map_or(JournalNumber { epoch: Epoch(0), number: 0 }, |(_, number)| number);
    let scan = scan_file(&*file, len, (kind, number), None).map_err(|error| match error {
        ScanError::Fs(error) => logs::explain(error.into()),
        ScanError::Newer(newer) => {
            let message = format!("a journal cannot be read: path=`{}`, {newer}", path.display());
            logs::explain(Error::new(ErrorKind::Unsupported, message))
        }
    })?;
    if scan.header.is_none() && scan.groups == 0 {
        return Err(foreign(&path, "neither a journal's header nor any group").into());
    }
    let collections = by_collection(&scan);
    let records: u64 = collections.values().map(|held| held.records).sum();
    let torn = match scan.tail {
        Tail::Clean => 0,
        Tail::Torn { bytes } => bytes,
    };
    let number = scan.header.as_ref().map_or(number, |header| header.journal);
    let facts = Facts::default()
        .text("file", if kind == JournalKind::Hot { "journal" } else { "cold journal" })
        .text("path", path.display())
        .bytes("bytes", len)
        .maybe("log", scan.header.as_ref().map(|header| header.log))
        .number("epoch", number.epoch.0)
        .number("journal", number.number)
        .text("file_id", format!("{:?}", scan.file_id))
        .count("groups", scan.groups)
        .count("records", records)
        .number("end", scan.end)
        .number("durable_to", scan.durable_to)
        .number("change_number", scan.change_number.0)
        .flag("closed", scan.closed)
        .bytes("unproven_tail_bytes", torn)
        .hidden("collections", collections.iter().map(|(name, held)| held.object(name)).collect::<Vec<_>>())
        .hidden("damaged", scan.damage.iter().flat_map(objects).collect::<Vec<_>>());
    let mut more = String::new();
    if !collections.is_empty() {
        more.push('\n');
        more.push_str(&table(&collections));
    }
    if !scan.damage.is_empty() {
        more.push_str("\ndamaged:\n");
        scan.damage.iter().for_each(|damage| more.push_str(&lines(damage)));
    }
    Ok(Found { facts, more, damaged: !scan.damage.is_empty() })
}

/// What a file holds of one collection.
struct Held {
    first: Sequence,
    last: Sequence,
    records: u64,
    bytes: u64,
}

impl Held {
    fn object(&self, name: &CollectionName) -> serde_json::Value {
        let Self { first, last, records, bytes } = self;
        json!({ "collection": name, "first_sequence": first, "last_sequence": last, "records": records, "bytes": bytes })
    }
}

fn by_collection(scan: &Scan) -> BTreeMap<CollectionName, Held> {
    let mut collections: BTreeMap<CollectionName, Held> = BTreeMap::new();
    for run in &scan.runs {
        let last = Sequence(run.first.0 + run.count - 1);
        let new = || Held { first: run.first, last, records: 0, bytes: 0 };
        let held = collections.entry(run.collection.clone()).or_insert_with(new);
        held.first = held.first.min(run.first);
        held.last = held.last.max(last);
        held.records += run.count;
        held.bytes += run.bytes;
    }
    collections
}

fn table(collections: &BTreeMap<CollectionName, Held>) -> String {
    let mut table = Table::new(&[
        ("collection", Align::Left),
        ("first", Align::Right),
        ("last", Align::Right),
        ("records", Align::Right),
        ("bytes", Align::Right),
    ]);
    for (name, held) in collections {
        let (records, bytes) = (human::count(held.records), human::size(held.bytes));
        table.row([name.to_string(), held.first.to_string(), held.last.to_string(), records, bytes]);
    }
    table.render()
}

/// One object for each collection that lost records, or one without where no table tells.
fn objects(damage: &Damage) -> Vec<serde_json::Value> {
    let object = |lost: Option<&crate::journal::HeldBefore>| {
        json!({
            "offset": damage.offset,
            "bytes": damage.bytes,
            "collection": lost.map(|lost| &lost.collection),
            "first_sequence": lost.map(|lost| lost.first),
            "last_sequence": lost.map(crate::journal::HeldBefore::last),
            "reason": damage.reason,
        })
    };
    if damage.lost.is_empty() {
        vec![object(None)]
    } else {
        damage.lost.iter().map(|lost| object(Some(lost))).collect()
    }
}

fn lines(damage: &Damage) -> String {
    let bytes = human::size(damage.bytes);
    let mut text = human::item(1, &format!("offset {}, {bytes}: {}", damage.offset, damage.reason));
    for lost in &damage.lost {
        text.push_str(&human::item(2, &format!("lost {} {}..={}", lost.collection, lost.first, lost.last())));
    }
    if damage.unknown_bytes > 0 {
        text.push_str(&human::item(2, &format!("{} held nobody knows what", human::size(damage.unknown_bytes))));
    }
    text
}
