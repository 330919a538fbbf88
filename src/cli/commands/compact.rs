//! `icecore compact`

use super::evict::say_kept;
use super::print_json;
use crate::cli::human::{self, Align, Table};
use crate::cli::{CommandResult, CompactArgs, Context, Exit, Unit, logs, sinks};
use crate::compaction::Removed;
use crate::log::Log;
use crate::log::compact::{CollectionCompacted, CompactOptions, CompactReport, SinksCompacted};

/// So many reasons are told to people for each collection; programs get all.
const TOLD_MAX: usize = 5;

pub(in crate::cli) fn run(context: &Context, args: &CompactArgs) -> CommandResult {
    let bytes_per_second = match args.bytes_per_second {
        Some(limit) => Some(limit),
        None => context.config.settings().compact.bytes_per_second,
    };
    let log = logs::open_to_compact(context)?;
    // As long as they are there, the log compacts in them too.
    let sinks = sinks::open(context, &log)?;
    let compact = CompactOptions {
        collections: args.collections.clone(),
        dry_run: args.dry_run,
        bytes_per_second: bytes_per_second.filter(|_| !args.no_limit).map(|size| size.bytes()),
        gain_percent: 0,
        trust_clock: args.trust_clock,
    };
    let done = compacted(context, &log, args, &compact);
    let closed = log.close();
    drop(sinks);
    let report = done?;
    closed.map_err(logs::explain)?;
    print_json(context, &Printed::new(&report))?;
    say(context, &report);
    let is_left = !report.left.is_empty() || report.sinks().files_left > 0;
    Ok(if report.is_whole() && !is_left { Exit::Ok } else { Exit::Partial })
}

fn compacted(
    context: &Context,
    log: &Log,
    args: &CompactArgs,
    options: &CompactOptions,
) -> Result<CompactReport, crate::cli::Failure> {
    super::must_be_there(log, &args.collections)?;
    let mut bar = None;
    let mut told = 0;
    let report = log.compact(options, &mut |progress| {
        let bar = bar.get_or_insert_with(|| context.progress("compacting", Unit::Bytes, Some(progress.total_bytes)));
        bar.advance(progress.bytes - told);
        told = progress.bytes;
        !context.interrupt.is_wanted()
    });
    report.map_err(logs::explain)
}

/// The report with its sums.
#[derive(serde::Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a CompactReport,
    segments_before: u64,
    segments_after: u64,
    bytes_before: u64,
    bytes_after: u64,
    removed: Removed,
    sinks: SinksCompacted,
}

impl<'a> Printed<'a> {
    fn new(report: &'a CompactReport) -> Self {
        let (segments_before, segments_after, bytes_before, bytes_after) = report.totals();
        let removed = report.removed();
        Self { report, segments_before, segments_after, bytes_before, bytes_after, removed, sinks: report.sinks() }
    }
}

fn say(context: &Context, report: &CompactReport) {
    let what = if report.dry_run { "would be compacted" } else { "compacted" };
    let changed: Vec<&CollectionCompacted> = report.collections.iter().filter(|of| of.segments_before > 0).collect();
    if !changed.is_empty() {
        let mut table = Table::new(&[
            ("collection", Align::Left),
            ("segments", Align::Right),
            ("became", Align::Right),
            ("bytes", Align::Right),
            ("became", Align::Right),
            ("versions", Align::Right),
            ("expired", Align::Right),
            ("tombstones", Align::Right),
        ]);
        for of in changed {
            table.row([
                of.collection.to_string(),
                human::count(of.segments_before),
                human::count(of.segments_after),
                human::size(of.bytes_before),
                human::size(of.bytes_after),
                human::count(of.removed.versions),
                human::count(of.removed.expired),
                human::count(of.removed.tombstones),
            ]);
        }
        context.say(table.render().trim_end());
    }
    let (before, after, bytes_before, bytes_after) = report.totals();
    context.say(&format!(
        "{what}: {} to {}, {} to {}, {} removed",
        human::plural(before, "segment"),
        human::count(after),
        human::size(bytes_before),
        human::size(bytes_after),
        human::plural(report.removed().total(), "record"),
    ));
    say_sinks(context, report, what);
    for of in &report.collections {
        for left in of.left_alone.iter().take(TOLD_MAX) {
            let segments = human::plural(left.segments, "segment");
            context.say(&format!("left alone: {}: {segments}: {}", of.collection, left.reason));
        }
        if of.left_alone.len() > TOLD_MAX {
            context.say(&format!("left alone: {}: for {} more reasons", of.collection, of.left_alone.len() - TOLD_MAX));
        }
    }
    for (collection, sink, why) in report.failures() {
        let sink = sink.map_or_else(String::new, |sink| format!("{sink}: "));
        context.say(&format!("failed: {collection}: {sink}{why}"));
    }
    say_kept(context, "not removed yet", &report.left);
    if let Some(why) = &report.clock {
        context.say(&format!("nothing expired: {why}"));
    }
    if report.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
}

/// What went from sinks, where any keeps old versions.
fn say_sinks(context: &Context, report: &CompactReport, what: &str) {
    let copies = || report.collections.iter().flat_map(|of| of.sinks.iter().map(move |copy| (&of.collection, copy)));
    let mut table = Table::new(&[
        ("collection", Align::Left),
        ("sink", Align::Left),
        ("files", Align::Right),
        ("became", Align::Right),
        ("bytes", Align::Right),
        ("became", Align::Right),
        ("versions", Align::Right),
        ("expired", Align::Right),
        ("tombstones", Align::Right),
    ]);
    let mut is_empty = true;
    for (collection, copy) in copies().filter(|(_, copy)| copy.freed.files_before > 0) {
        let freed = &copy.freed;
        is_empty = false;
        table.row([
            collection.to_string(),
            copy.sink.clone(),
            human::count(freed.files_before),
            human::count(freed.files_after),
            human::size(freed.bytes_before),
            human::size(freed.bytes_after),
            human::count(freed.removed.versions),
            human::count(freed.removed.expired),
            human::count(freed.removed.tombstones),
        ]);
    }
    if !is_empty {
        context.say(table.render().trim_end());
    }
    if copies().next().is_some() {
        let sinks = report.sinks();
        context.say(&format!("{what} in sinks: {}", told(&sinks)));
        if sinks.files_left > 0 {
            context.say(&format!("not removed yet: {} of sinks", human::plural(sinks.files_left, "file")));
        }
    }
    for (collection, copy) in copies() {
        for left in copy.freed.left_alone.iter().take(TOLD_MAX) {
            let files = human::plural(left.files, "file");
            context.say(&format!("left alone: {collection}: {}: {files}: {}", copy.sink, left.reason));
        }
    }
}

/// What went from sinks, in words.
pub(super) fn told(sinks: &SinksCompacted) -> String {
    format!(
        "{} to {}, {} to {}, {} removed",
        human::plural(sinks.files_before, "file"),
        human::count(sinks.files_after),
        human::size(sinks.bytes_before),
        human::size(sinks.bytes_after),
        human::plural(sinks.records, "record"),
    )
}
