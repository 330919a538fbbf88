//! `icecore seal [COLLECTION]`, `icecore flush [COLLECTION]`
//!
//! A flush is a seal that then waits for every sink. There are no sinks yet, so a sealed record is a flushed one.

use crate::cli::human;
use crate::cli::{CommandResult, Context, Exit, SealArgs, Stdout, logs};

pub(in crate::cli) fn run(context: &Context, args: &SealArgs, verb: &str) -> CommandResult {
    let log = logs::open_existing(context)?;
    let sealed = log.seal(args.collection.as_ref());
    let closed = log.close();
    let segments = sealed.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    if context.json {
        let mut stdout = Stdout::lock();
        stdout.line(&serde_json::json!({ "collection": args.collection, "segments": segments }).to_string())?;
        stdout.flush()?;
    }
    let what = args.collection.as_ref().map_or_else(|| "all collections".to_owned(), ToString::to_string);
    context.say(&format!("{verb} {what}: {}", human::plural(segments, "new segment")));
    Ok(Exit::Ok)
}
