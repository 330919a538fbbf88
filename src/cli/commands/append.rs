//! `icecore append COLLECTION [FILE|-]`
//!
//! One batch is in flight at a time, while the next is read and cut in a thread of its own ([`Batches`]); so acks come in
//! the order of the input. However the load ends (input, error, Ctrl-C, a reader of the acks that goes away), the log
//! is closed in good order and what was acknowledged is said.

use std::time::Duration;

use crate::archive::archiver::Running;
use crate::cli::commands::resume::Resume;
use crate::cli::human;
use crate::cli::input::{self, Batches, HEADER_OVERHEAD_BYTES, Input, InputFormat, InputOptions, InputRecord, Next};
use crate::cli::{AppendArgs, CommandResult, Context, Exit, Failure, Progress, Stdout, Unit, logs, sinks, stores};
use crate::log::{AppendOptions, Log, RECORD_OVERHEAD_BYTES, Receipt};
use crate::types::{CollectionName, Header, NewRecord, RecordKind, Sequence, Timestamp};
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, args: &AppendArgs) -> CommandResult {
    // What is wrong with the command line or the input's front is told before a log is made.
    let source = input::open(&args.file)?;
    let limits = &context.config.settings().limits;
    let options = InputOptions {
        format: args.format,
        key: args.key.clone(),
        timestamp: args.timestamp.clone(),
        record_bytes_max: limits.record_bytes,
        key_bytes_max: limits.key_bytes,
        collection: Some(args.collection.clone()),
    };
    let input = Input::new(source.reader, options)?;
    let headers: Vec<Header> =
        args.headers.iter().map(|(key, value)| Header { key: key.clone(), value: value.clone().into() }).collect();
    let header_bytes = headers_bytes(&headers);
    if header_bytes > limits.headers_bytes.as_len() {
        let limit = limits.headers_bytes;
        let what = format!(
            "headers are over the limit: bytes=`{header_bytes}`, limit=`{limit}`, setting=`limits.headers_bytes`"
        );
        return Err(Failure::usage(what, "raise limits.headers_bytes, or give fewer or shorter headers"));
    }
    let log = logs::open_to_append(context)?;
    let archiving = match stores::archive_beside(context, &log, &logs::options(context)?) {
        Ok(archiving) => archiving,
        // No append waits for an archive, or fails for one (R1).
        Err(Failure::Error(_, error)) => {
            context.say(&format!("warning: nothing is archived meanwhile: {error}"));
            None
        }
        Err(closed) => return Err(closed),
    };
    // Told by its line; the log itself would name only the record's id.
    let input = match args.format {
        InputFormat::Vectors => input.with_dimensions(vector_dimensions(&log, &args.collection)?),
        _ => input,
    };
    let sinking = match sinks::beside(context, &log) {
        Ok(sinking) => sinking,
        // Nor for a sink: it gets what it lacks later.
        Err(Failure::Error(_, error)) => {
            context.say(&format!("warning: nothing is delivered to sinks meanwhile: {error}"));
            None
        }
        Err(closed) => return Err(closed),
    };
    let resume = if args.resume { Some(Resume::begin(&log, &args.collection)?) } else { None };
    let batches = Batches::start(
        input,
        args.batch as usize,
        (limits.batch_bytes, RECORD_OVERHEAD_BYTES as usize + header_bytes),
        std::sync::Arc::clone(&context.clock),
        context.interrupt.clone(),
    );
    let load = Load {
        context,
        args,
        log: &log,
        archiving,
        sinking,
        headers,
        resume,
        acks: args.acks.then(Stdout::lock),
        progress: context.progress("append", Unit::Bytes, source.bytes),
        said: 0,
        started: context.clock.monotonic(),
        done: Done::default(),
    };
    load.run(batches)
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Done {
    sequences: Option<(Sequence, Sequence)>,
    records: u64,
    bytes: u64,
}

struct Load<'a> {
    context: &'a Context,
    args: &'a AppendArgs,
    log: &'a Log,
    /// Beside the load, where there is an archive.
    archiving: Option<Running>,
    /// The same of sinks.
    sinking: Option<crate::sink::delivery::Running>,
    headers: Vec<Header>,
    resume: Option<Resume>,
    acks: Option<Stdout>,
    progress: Progress,
    /// Bytes of the input that the progress bar knows of.
    said: u64,
    started: Duration,
    done: Done,
}

impl Load<'_> {
    fn run(mut self, mut batches: Batches) -> CommandResult {
        let loaded = self.load(&mut batches);
        // Uploads under way are given up: who appends next, or `archive`, begins them anew.
        drop(self.archiving.take());
        if let Some(sinking) = self.sinking.take() {
            // What is sealed of this collection reaches the sinks, unless they fail or somebody is impatient: it is not lost either way. For what
            // they lack of others nobody waits: whoever appends next, or flushes, delivers it.
            let interrupt = self.context.interrupt.clone();
            let of = std::slice::from_ref(&self.args.collection);
            // One that got no record may not be there.
            let settled =
                if self.done.records > 0 { sinking.settle(of, &mut || !interrupt.is_wanted()) } else { Ok(true) };
            if let Err(error) = settled {
                self.context.say(&format!("warning: not everything that is sealed was delivered to sinks: {error}"));
            }
        }
        let closed = self.log.close();
        let is_pipe_closed = matches!(loaded, Err(Failure::PipeClosed));
        let summarised = if is_pipe_closed { Ok(()) } else { self.summarise() };
        let exit = match loaded {
            // The first error is the one that explains the others.
            Err(failure @ Failure::Error(Exit::Failure, _)) if self.done.records > 0 => {
                return Err(failure.with_exit(Exit::Partial));
            }
            Err(failure @ Failure::Error(..)) => return Err(failure),
            Err(Failure::PipeClosed) => Exit::Ok,
            Ok(exit) => exit,
        };
        closed.map_err(logs::explain)?;
        summarised?;
        Ok(exit)
    }

    fn load(&mut self, batches: &mut Batches) -> CommandResult {
        loop {
            match batches.next_batch()? {
                Next::Batch(batch) => self.take(batch)?,
                Next::End => {
                    if let Some(resume) = &self.resume {
                        resume.end()?;
                    }
                    return Ok(Exit::Ok);
                }
                Next::Interrupted => {
                    self.progress.suspend(|| self.context.say("interrupted; what was acknowledged stays"));
                    return Ok(Exit::Partial);
                }
            }
        }
    }

    fn take(&mut self, mut batch: Vec<InputRecord>) -> Result<(), Failure> {
        let now = self.context.clock.now();
        let end = batch.last().map_or(0, |last| last.place.offset + payload_bytes(&last.record));
        if let Some(resume) = &mut self.resume {
            let (headers, expires_in) = (&self.headers, self.args.expires_in);
            resume.skip(&mut batch, |record| complete(record, headers, expires_in, now))?;
        }
        if let Some(first) = batch.first() {
            // Where a load is resumed, record n of the input is sequence n, or nothing.
            let expected_next = self.resume.as_ref().map(|_| Sequence(first.place.record));
            let records: Vec<NewRecord> = batch
                .into_iter()
                .map(|input| complete(input.record, &self.headers, self.args.expires_in, now))
                .collect();
            let options = AppendOptions { sync: None, expected_next };
            let receipt = self.log.append_batch(&self.args.collection, &records, options).map_err(explain)?;
            self.acknowledged(receipt, records.iter().map(payload_bytes).sum())?;
        }
        self.progress.advance(end.saturating_sub(self.said));
        self.said = end.max(self.said);
        Ok(())
    }

    fn acknowledged(&mut self, receipt: Receipt, bytes: u64) -> Result<(), Failure> {
        let first = self.done.sequences.map_or(receipt.first, |(first, _)| first);
        self.done.sequences = Some((first, receipt.last));
        self.done.records += receipt.last.0 - receipt.first.0 + 1;
        self.done.bytes += bytes;
        if let Some(acks) = &mut self.acks {
            acks.line(&format!("{{\"first_sequence\":{},\"last_sequence\":{}}}", receipt.first, receipt.last))?;
            acks.flush()?;
        }
        Ok(())
    }

    /// Says how far the load came: a line for people, an object for programs.
    fn summarise(&mut self) -> Result<(), Failure> {
        let elapsed = self.context.clock.monotonic().saturating_sub(self.started);
        let Done { sequences, records, bytes } = &self.done;
        let collection = &self.args.collection;
        let skipped = self.resume.as_ref().map(Resume::skipped);
        if self.context.json {
            let mut object = serde_json::json!({
                "collection": collection,
                "first_sequence": sequences.map(|(first, _)| first),
                "last_sequence": sequences.map(|(_, last)| last),
                "records": records,
                "bytes": bytes,
                "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            });
            if let Some(skipped) = skipped {
                object["skipped"] = skipped.into();
            }
            let stdout = self.acks.get_or_insert_with(Stdout::lock);
            stdout.line(&object.to_string())?;
            return Ok(stdout.flush()?);
        }
        let skipped = match skipped {
            Some(skipped) if skipped > 0 => format!("; {} were there already", human::count(skipped)),
            _ => String::new(),
        };
        let text = match sequences {
            None => format!("appended nothing to {collection}{skipped}"),
            Some((first, last)) => format!(
                "appended {} to {collection} ({first}..={last}), {} in {}, {} records/s{skipped}",
                human::plural(*records, "record"),
                human::size(*bytes),
                human::span(elapsed),
                human::rate(*records, elapsed),
            ),
        };
        self.progress.suspend(|| self.context.say(&text));
        Ok(())
    }
}

/// What the library would do by a conditional append is done by resuming here.
fn explain(error: Error) -> Failure {
    if error.kind() == ErrorKind::OutcomeUnknown {
        let hint = "look at the disk; then, where the collection holds this input only, run the same with --resume: \
                    it skips what is there";
        return error.with_hint(hint).into();
    }
    logs::explain(error)
}

/// What the collection wants, where it is there already.
fn vector_dimensions(log: &Log, collection: &CollectionName) -> Result<Option<usize>, Failure> {
    match log.collection_settings(collection) {
        Ok(settings) => Ok(settings.vector_dimensions.map(|wanted| wanted as usize)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(logs::explain(error)),
    }
}

/// As the log counts them against their limit.
fn headers_bytes(headers: &[Header]) -> usize {
    headers.iter().map(|header| header.key.len() + header.value.len() + HEADER_OVERHEAD_BYTES).sum()
}

fn payload_bytes(record: &NewRecord) -> u64 {
    record.payload.as_ref().map_or(0, bytes::Bytes::len) as u64
}

/// The record with what the command line adds to each.
fn complete(mut record: NewRecord, headers: &[Header], expires_in: Option<Duration>, now: Timestamp) -> NewRecord {
    record.headers.extend_from_slice(headers);
    if let Some(span) = expires_in
        && record.kind == RecordKind::Put
        && record.expires_at.is_none()
    {
        // The time that the log would give it, made its own: the expiry is counted from exactly that.
        let at = record.timestamp.unwrap_or(now);
        record.timestamp = Some(at);
        record.expires_at = Some(at.saturating_add(span));
    }
    record
}
