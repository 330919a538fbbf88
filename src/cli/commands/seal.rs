//! `icecore seal [COLLECTION]`

use crate::cli::{CommandResult, Context, Exit, SealArgs, Stdout, human, logs};

pub(in crate::cli) fn run(context: &Context, args: &SealArgs) -> CommandResult {
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
    context.say(&format!("sealed {what}: {}", human::plural(segments, "new segment")));
    Ok(Exit::Ok)
}
