//! `icecore tail COLLECTION`
//!
//! Ends with Ctrl-C, which is its ordinary end, or when nobody reads any more. What was read is handed over before it waits.

use std::time::Duration;

use super::cat;
use super::print::Printer;
use crate::cli::time::{Position, TailFrom};
use crate::cli::{CommandResult, Context, Exit, OutputFormat, TailArgs, TailFormat, logs};
use crate::log::{Log, ReadOptions};
use crate::types::{CollectionName, Sequence};
use crate::{Error, ErrorKind};

/// How long Ctrl-C may wait for records.
const PATIENCE: Duration = Duration::from_millis(100);

pub(in crate::cli) fn run(context: &Context, args: &TailArgs) -> CommandResult {
    let options = logs::options(context)?;
    let log = Log::open_read_only(options.clone()).map_err(logs::explain)?;
    let wanted = wanted(context, &log, &args.collection, args.from).map_err(logs::explain)?;
    let mut reader = log.read(&args.collection, wanted).map_err(logs::explain)?;
    let format = match args.format {
        TailFormat::Json => OutputFormat::Json,
        TailFormat::Raw => OutputFormat::Raw,
    };
    let mut printer = Printer::begin(format, &args.collection, &options)?;
    let mut exit = Exit::Ok;
    while !context.interrupt.is_wanted() {
        // What is there is printed at a stretch; whoever reads has it before this waits for more.
        let next = match reader.try_next() {
            Ok(None) => {
                printer.flush()?;
                reader.next_wait(Some(PATIENCE))
            }
            next => next,
        };
        match next {
            Ok(Some(record)) => printer.print(&record)?,
            Ok(None) if reader.is_finished() => break,
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                printer.flush()?;
                cat::complain(context, &error);
                exit = Exit::Damage;
            }
            Err(error) => {
                printer.flush()?;
                return Err(logs::explain(error));
            }
        }
    }
    printer.flush()?;
    cat::tell_skipped(context, &reader);
    Ok(exit)
}

fn wanted(context: &Context, log: &Log, collection: &CollectionName, from: TailFrom) -> Result<ReadOptions, Error> {
    let mut options = ReadOptions::follow();
    let behind_the_last = |back: u64| -> Result<Sequence, Error> {
        let last = log.collection_info(collection)?.durable;
        Ok(Sequence(last.next().0.saturating_sub(back)).max(Sequence::FIRST))
    };
    match from {
        TailFrom::End => options.from = Some(behind_the_last(0)?),
        TailFrom::Last(count) => options.from = Some(behind_the_last(count)?),
        TailFrom::Position(Position::Sequence(sequence)) => options.from = Some(sequence),
        TailFrom::Position(Position::Time(time)) => options.from_time = Some(time.first(context.clock.now())),
    }
    Ok(options)
}
