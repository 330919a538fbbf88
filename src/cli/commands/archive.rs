//! `icecore archive`

use std::time::Duration;

use crate::archive::Archiver;
use crate::archive::archiver::{ArchiveProgress, ArchiveReport};
use crate::archive::fence::TAKE_OVER;
use crate::cli::{ArchiveArgs, CommandResult, Context, Exit, Failure, Stdout, Unit, human, logs, stores};
use crate::error::ErrorKind;

/// So many segments are told to people; programs get all.
const TOLD_MAX: usize = 20;
/// With `--wait`: between two passes, at first and at last.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LONGEST: Duration = Duration::from_mins(1);
/// An interruption is noticed so soon.
const SLICE: Duration = Duration::from_millis(100);

pub(in crate::cli) fn run(context: &Context, args: &ArchiveArgs) -> CommandResult {
    let options = logs::options(context)?;
    if context.config.settings().archive.url.is_none() && options.remotes().map_err(logs::explain)?.is_empty() {
        stores::location(context)?;
    }
    let log = logs::open_existing(context)?;
    let targets = stores::targets(context, &log, &options)?;
    let archiver = stores::archiver(context, &log, targets, args.take_over)?;
    let mut report = pass(context, &archiver)?;
    let mut wait = WAIT_FIRST;
    while args.wait && !report.is_complete() && may_get_better(&report) && !context.interrupt.is_wanted() {
        say_failures(context, &report);
        context.say(&format!("trying again in {}", human::span(wait)));
        let mut left = wait;
        while !left.is_zero() && !context.interrupt.is_wanted() {
            let slice = left.min(SLICE);
            context.clock.sleep(slice);
            left -= slice;
        }
        wait = (wait * 2).min(WAIT_LONGEST);
        let next = pass(context, &archiver)?;
        if next.archived_segments > 0 {
            wait = WAIT_FIRST;
        }
        report = together(&report, next);
    }
    let closed = log.close();
    if context.json {
        let mut stdout = Stdout::lock();
        stdout.line(&serde_json::to_string(&report).expect("plain text and numbers"))?;
        stdout.flush()?;
    }
    say_failures(context, &report);
    let segments = human::plural(report.archived_segments, "segment");
    context.say(&format!("archived: {segments}, {}", human::size(report.archived_bytes)));
    if report.evicted_segments > 0 {
        let evicted = human::plural(report.evicted_segments, "segment");
        context.say(&format!("evicted: {evicted}, {}", human::size(report.evicted_bytes)));
    }
    if report.purged_segments > 0 {
        let purged = human::plural(report.purged_segments, "segment");
        context.say(&format!("purged: {purged}, {}", human::size(report.purged_bytes)));
    }
    if report.without_store > 0 {
        let without = human::plural(report.without_store, "segment");
        context.say(&format!("not archived, because no store was named for them: {without}"));
    }
    if report.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
    closed?;
    if report.errors.iter().any(|failure| failure.kind == ErrorKind::Fenced) {
        return Ok(Exit::Failure);
    }
    Ok(if report.is_complete() { Exit::Ok } else { Exit::Partial })
}

fn pass(context: &Context, archiver: &Archiver) -> Result<ArchiveReport, Failure> {
    let mut bar = None;
    let mut told = 0;
    let report = archiver.run_once(&mut |progress: &ArchiveProgress| {
        let bar = bar.get_or_insert_with(|| context.progress("archiving", Unit::Bytes, Some(progress.bytes_total)));
        // A new round may count anew.
        bar.advance(progress.bytes.saturating_sub(told));
        told = progress.bytes;
        !context.interrupt.is_wanted()
    });
    drop(bar);
    Ok(report?)
}

/// Whether trying again could help: a store that is somebody else's, or not fit, stays so.
fn may_get_better(report: &ArchiveReport) -> bool {
    let is_for_good =
        |kind: ErrorKind| matches!(kind, ErrorKind::Fenced | ErrorKind::Unsupported | ErrorKind::Conflict);
    report.without_store == 0 && !report.errors.iter().any(|failure| is_for_good(failure.kind))
}

/// What was archived is added up; of what failed, the last word counts.
fn together(before: &ArchiveReport, mut next: ArchiveReport) -> ArchiveReport {
    next.archived_segments += before.archived_segments;
    next.archived_bytes += before.archived_bytes;
    next.manifests += before.manifests;
    next.evicted_segments += before.evicted_segments;
    next.evicted_bytes += before.evicted_bytes;
    next.purged_segments += before.purged_segments;
    next.purged_bytes += before.purged_bytes;
    next
}

fn say_failures(context: &Context, report: &ArchiveReport) {
    for failure in &report.errors {
        context.say(&format!("store failed: {}: {}", failure.url, failure.error));
        if failure.kind == ErrorKind::Fenced {
            context.say(TAKE_OVER);
        }
    }
    for hole in report.holes.iter().take(TOLD_MAX) {
        context.say(hole);
    }
    for failed in report.failed.iter().take(TOLD_MAX) {
        context.say(&format!("not archived: {}: {}", failed.segment, failed.reason));
    }
    if report.failed.len() > TOLD_MAX {
        context.say(&format!("and {} more", report.failed.len() - TOLD_MAX));
    }
    if report.left > 0 {
        context.say(&format!("not tried: {}", human::plural(report.left, "segment")));
    }
}
