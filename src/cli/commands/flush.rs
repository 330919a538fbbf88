//! `icecore flush [COLLECTION]`

use crate::cli::{CommandResult, Context, Exit, SealArgs, Stdout, Unit, human, logs, sinks};
use crate::sink::{FlushReport, ToldSinks};

/// So many failures are told to people; programs get all.
const TOLD_MAX: usize = 20;

pub(in crate::cli) fn run(context: &Context, args: &SealArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let sinks = sinks::open(context, &log)?;
    let total = if args.collection.is_some() { 1 } else { log.collections().map_err(logs::explain)?.len() as u64 };
    let bar = context.progress("flushing", Unit::Things("collections"), Some(total));
    let flushed = sinks.flush(args.collection.as_ref(), &mut |_| {
        bar.advance(1);
        !context.interrupt.is_wanted()
    });
    drop(bar);
    let told = ToldSinks::of(&log);
    let named: Vec<String> = log.sinks().to_vec();
    let closed = log.close();
    let report = flushed.map_err(logs::explain)?;
    if context.json {
        let mut object = serde_json::to_value(&report).expect("plain text and numbers");
        object["collection"] = serde_json::to_value(&args.collection).expect("a name is text");
        let mut stdout = Stdout::lock();
        stdout.line(&object.to_string())?;
        stdout.flush()?;
    }
    say(context, args, &report);
    // Who delivered may have been told of a sink by a flag, and nothing was sealed then: nothing is on record of it.
    for sink in told.iter().flat_map(|told| &told.figures.sinks).map(|sink| &sink.sink) {
        if !named.contains(sink) && !report.failed.iter().any(|failure| failure.sink == *sink) {
            context.say(&format!("warning: {sink} was a sink of this log, and is not in the setting `sinks`"));
        }
    }
    closed.map_err(logs::explain)?;
    Ok(if report.is_interrupted || !report.failed.is_empty() { Exit::Partial } else { Exit::Ok })
}

fn say(context: &Context, args: &SealArgs, report: &FlushReport) {
    for failure in report.failed.iter().take(TOLD_MAX) {
        context.say(&format!("not flushed: {}: {}: {}", failure.collection, failure.sink, failure.error));
    }
    if report.failed.len() > TOLD_MAX {
        context.say(&format!("and {} more", report.failed.len() - TOLD_MAX));
    }
    let segments = human::plural(report.segments, "new segment");
    context.say(&if context.config.settings().sinks.0.is_empty() {
        // Nobody to deliver to: what is sealed is flushed, but for what was told above.
        let what = args.collection.as_ref().map_or_else(|| "all collections".to_owned(), ToString::to_string);
        format!("flushed {what}: {segments}")
    } else {
        format!(
            "flushed {}: {segments}, {} to sinks, {}",
            human::plural(report.collections, "collection"),
            human::plural(report.records, "record"),
            human::size(report.bytes),
        )
    });
    if report.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
}
