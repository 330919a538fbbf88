//! What a segment or a stub holds.

use std::sync::Arc;

use serde_json::json;

use super::{Found, foreign, range};
use crate::cli::facts::Facts;
use crate::cli::human::{self, Align, Table};
use crate::cli::{Context, Failure, Unit, logs};
use crate::fs::File;
use crate::segment::{self, Damage, Footer, SegmentError, SegmentReader, SequenceRange, file_sha256};
use crate::types::ids::hex;

/// People are shown so many blocks; programs all.
const BLOCKS_SHOWN: usize = 20;

fn explain(error: SegmentError) -> Failure {
    match error {
        SegmentError::NotASegment { path, what } => foreign(&path, &what).into(),
        other => logs::explain(other.into()),
    }
}

pub(super) fn inspect(context: &Context, file: Arc<dyn File>) -> Result<Found, Failure> {
    let source = range(file);
    let path = source.path().display().to_string();
    let bytes = source.len().map_err(explain)?;
    let progress = context.progress("inspect", Unit::Bytes, Some(bytes));
    let verdict = segment::verify_deep(Arc::clone(&source), None).map_err(explain)?;
    let sha256 = file_sha256(&*source).map_err(explain)?;
    progress.advance(bytes);
    drop(progress);
    let facts = Facts::default().text("file", "segment").text("path", path).bytes("bytes", bytes);
    if verdict.is_ok() {
        let reader = SegmentReader::open_range(source).map_err(explain)?;
        let facts = about(facts, reader.footer(), true).text("sha256", hex(&sha256)).hidden("damaged", json!([]));
        return Ok(Found { facts, more: blocks(reader.footer()), damaged: false });
    }
    // What the records themselves still say, with the footer or without.
    let scan = segment::scan(&source, &mut |_| {}).map_err(explain)?;
    let mut damage = verdict.damaged;
    for found in scan.damage.iter().cloned() {
        if !damage.contains(&found) {
            damage.push(found);
        }
    }
    let missing = scan.missing();
    let facts = match SegmentReader::open_range(source) {
        Ok(reader) => about(facts, reader.footer(), true),
        Err(_) => facts.text("collection", &scan.collection).both("footer", serde_json::Value::Null, "cannot be read"),
    };
    let facts = facts
        .count("intact_records", scan.records)
        .both("missing", ranges(&missing), show(&missing))
        .text("sha256", hex(&sha256))
        .hidden("damaged", damage.iter().map(object).collect::<Vec<_>>());
    let line = |damage: &Damage| human::item(1, &format!("offset {}: {}", damage.offset, damage.what));
    let lines: String = damage.iter().map(line).collect();
    Ok(Found { facts, more: format!("\ndamaged:\n{lines}"), damaged: true })
}

pub(super) fn inspect_stub(file: Arc<dyn File>) -> Result<Found, Failure> {
    let (path, bytes) = (file.path().display().to_string(), file.len().map_err(|error| logs::explain(error.into()))?);
    let footer = segment::read_stub(file).map_err(explain)?;
    let facts = Facts::default().text("file", "stub").text("path", path).bytes("bytes", bytes);
    Ok(Found { facts: about(facts, &footer, false), more: String::new(), damaged: false })
}

/// What the footer says.
fn about(facts: Facts, footer: &Footer, with_blocks: bool) -> Facts {
    let held = footer.held;
    let times = (footer.records > 0).then_some((footer.timestamp_min, footer.timestamp_max));
    let facts = facts
        .text("collection", &footer.collection)
        .number("first_sequence", held.map(|held| held.first.0))
        .number("last_sequence", held.map(|held| held.last.0))
        .text("covers", footer.covers)
        .count("records", footer.records)
        .both("removed", ranges(&footer.removed), show(&footer.removed))
        .hidden("inputs", footer.inputs.iter().map(|input| input.covers.to_string()).collect::<Vec<_>>())
        .time("timestamp_min", times.map(|(earliest, _)| earliest))
        .time("timestamp_max", times.map(|(_, latest)| latest))
        .time("created_at", footer.created_at)
        .text("log", footer.log)
        .number("epoch", footer.epoch.0)
        .number("generation", u64::from(footer.generation.0))
        .text("codec", &footer.codec)
        .bytes("bytes_before", footer.bytes_before)
        .bytes("bytes_after", footer.bytes_after)
        .flag("has_keys", footer.keys.is_some())
        .text("content_digest", hex(&footer.content_digest));
    if !with_blocks {
        return facts;
    }
    let blocks: Vec<_> = footer
        .blocks
        .iter()
        .map(|block| {
            json!({
                "offset": block.offset, "bytes": block.bytes, "bytes_before": block.bytes_before,
                "first_sequence": block.held.first, "last_sequence": block.held.last, "records": block.records,
                "timestamp_min": block.timestamp_min.to_string(), "timestamp_max": block.timestamp_max.to_string(),
            })
        })
        .collect();
    let text = human::count(footer.blocks.len() as u64);
    facts.both("blocks", blocks, text)
}

fn blocks(footer: &Footer) -> String {
    if footer.blocks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("offset", Align::Right),
        ("bytes", Align::Right),
        ("before", Align::Right),
        ("first", Align::Right),
        ("last", Align::Right),
        ("records", Align::Right),
        ("earliest", Align::Left),
        ("latest", Align::Left),
    ]);
    for block in footer.blocks.iter().take(BLOCKS_SHOWN) {
        table.row([
            block.offset.to_string(),
            human::size(block.bytes),
            human::size(block.bytes_before),
            block.held.first.to_string(),
            block.held.last.to_string(),
            human::count(block.records),
            human::moment(block.timestamp_min),
            human::moment(block.timestamp_max),
        ]);
    }
    let rest = match footer.blocks.len().saturating_sub(BLOCKS_SHOWN) {
        0 => String::new(),
        rest => format!("and {}; --json has them all\n", human::plural(rest as u64, "more block")),
    };
    format!("\n{}{rest}", table.render())
}

fn ranges(ranges: &[SequenceRange]) -> Vec<serde_json::Value> {
    ranges.iter().map(|range| json!({ "first_sequence": range.first, "last_sequence": range.last })).collect()
}

fn show(ranges: &[SequenceRange]) -> String {
    if ranges.is_empty() {
        return "-".to_owned();
    }
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn object(damage: &Damage) -> serde_json::Value {
    json!({
        "offset": damage.offset,
        "first_sequence": damage.sequences.map(|range| range.first),
        "last_sequence": damage.sequences.map(|range| range.last),
        "reason": damage.what,
    })
}
