//! `icecore get COLLECTION KEY`

use crate::cli::{CommandResult, Context, Exit, GetArgs, Stdout, index, logs, write_json};
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, args: &GetArgs) -> CommandResult {
    let log = logs::open_to_read(context, Some(&args.collection))?;
    let found = index::newest(context, &log, &args.collection, args.key.as_bytes()).map_err(logs::explain)?;
    let Some(record) = found else {
        let message = format!("no such key: collection=`{}`, key=`{}`", args.collection, args.key);
        let hint = "it was never there, is deleted, or has expired; `cat` shows every version";
        return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint).into());
    };
    let mut stdout = Stdout::lock();
    if context.json {
        let mut line = Vec::new();
        write_json(&record, &mut line);
        stdout.write(&line)?;
    } else if let Some(payload) = &record.payload {
        stdout.write(payload)?;
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}
