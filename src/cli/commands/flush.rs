//! `icecore flush [COLLECTION]`

use crate::cli::{CommandResult, Context, Exit, SealArgs, Stdout, Unit, human, logs, sinks};
use crate::sink::FlushReport;

/// So many failures are told to people; programs get all.
const TOLD_MAX: usize = 20;

pub(in crate::cli) fn run(context: &Context, args: &SealArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let Some(sinks) = sinks::open(context, &log)? else {
        // Nobody to wait for: what is sealed is flushed.
        return super::seal::seal(context, args, &log, "flushed");
    };
    let total = if args.collection.is_some() { 1 } else { log.collections().map_err(logs::explain)?.len() as u64 };
    let bar = context.progress("flushing", Unit::Things("collections"), Some(total));
    let flushed = sinks.flush(args.collection.as_ref(), &mut |_| {
        bar.advance(1);
        !context.interrupt.is_wanted()
    });
    drop(bar);
    let closed = log.close();
    let report = flushed.map_err(logs::explain)?;
    if context.json {
        let mut object = serde_json::to_value(&report).expect("plain text and numbers");
        object["collection"] = serde_json::to_value(&args.collection).expect("a name is text");
        let mut stdout = Stdout::lock();
        stdout.line(&object.to_string())?;
        stdout.flush()?;
    }
    say(context, &report);
    closed.map_err(logs::explain)?;
    Ok(if report.is_interrupted || !report.failed.is_empty() { Exit::Partial } else { Exit::Ok })
}

fn say(context: &Context, report: &FlushReport) {
    for failure in report.failed.iter().take(TOLD_MAX) {
        context.say(&format!("not flushed: {}: {}: {}", failure.collection, failure.sink, failure.error));
    }
    if report.failed.len() > TOLD_MAX {
        context.say(&format!("and {} more", report.failed.len() - TOLD_MAX));
    }
    context.say(&format!(
        "flushed {}: {}, {} to sinks, {}",
        human::plural(report.collections, "collection"),
        human::plural(report.segments, "new segment"),
        human::plural(report.records, "record"),
        human::size(report.bytes),
    ));
    if report.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
}
