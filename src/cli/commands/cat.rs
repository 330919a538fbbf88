//! `icecore cat COLLECTION`
//!
//! Damage does not end it: what can be read is printed, what cannot is told, and the exit code says that there was some.

use std::io::IsTerminal as _;

use super::print::{PassedOver, Printer};
use crate::cli::time::Position;
use crate::cli::{CatArgs, CommandResult, Context, Exit, Progress, Unit, logs, render_error};
use crate::log::{Log, ReadOptions, Reader, SkipReason};
use crate::types::Timestamp;
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, args: &CatArgs) -> CommandResult {
    let options = logs::options_to_read(context, Some(&args.collection))?;
    let log = Log::open_read_only(options.clone()).map_err(logs::explain)?;
    let reader = log.read(&args.collection, wanted(args, context.clock.now())).map_err(logs::explain)?;
    let mut printer = Printer::begin(args.format, &args.collection, &options)?;
    // Where records go to the terminal themselves, a bar would stand between them.
    let progress = if std::io::stdout().is_terminal() {
        Progress::default()
    } else {
        context.progress("cat", Unit::Things("records"), args.limit)
    };
    let exit = print(context, reader, &mut printer, &progress);
    // What was printed before an error is not held back.
    let flushed = printer.flush();
    let exit = exit?;
    flushed?;
    tell_passed_over(context, printer.passed_over());
    Ok(exit)
}

fn tell_passed_over(context: &Context, passed: PassedOver) {
    for (count, what) in [(passed.others, "records that are no vectors"), (passed.deletes, "deletes")] {
        if count > 0 {
            context.say(&format!("passed over: {count} {what}"));
        }
    }
}

fn wanted(args: &CatArgs, now: Timestamp) -> ReadOptions {
    let mut options = ReadOptions { limit: args.limit, reverse: args.reverse, ..ReadOptions::default() };
    match args.from {
        Some(Position::Sequence(sequence)) => options.from = Some(sequence),
        Some(Position::Time(time)) => options.from_time = Some(time.first(now)),
        None => {}
    }
    match args.until {
        Some(Position::Sequence(sequence)) => options.until = Some(sequence),
        Some(Position::Time(time)) => options.until_time = Some(time.last(now)),
        None => {}
    }
    options
}

fn print(context: &Context, mut reader: Reader, printer: &mut Printer, progress: &Progress) -> CommandResult {
    let mut exit = Exit::Ok;
    loop {
        if context.interrupt.is_wanted() {
            return Ok(if exit == Exit::Ok { Exit::Partial } else { exit });
        }
        match reader.try_next() {
            Ok(Some(record)) => {
                printer.print(&record)?;
                progress.advance(1);
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                progress.suspend(|| complain(context, &error));
                exit = Exit::Damage;
            }
            Err(error) => return Err(logs::explain(error)),
        }
    }
    progress.suspend(|| tell_skipped(context, &reader));
    Ok(exit)
}

/// Tells of damage, and goes on.
pub(super) fn complain(context: &Context, error: &Error) {
    crate::cli::talk(&render_error(error, context.json));
}

/// Tells which sequences were not there, though no damage of today.
pub(super) fn tell_skipped(context: &Context, reader: &Reader) {
    for skipped in reader.skipped() {
        let why = match skipped.reason {
            SkipReason::BelowFloor => continue,
            SkipReason::Loss => "a loss on record; `icecore gap ls` tells more",
            SkipReason::Gap => "a gap that was acknowledged",
        };
        context.say(&format!("not there: {}..={}: {why}", skipped.first, skipped.last));
    }
}
