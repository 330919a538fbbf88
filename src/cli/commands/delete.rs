//! `icecore delete COLLECTION KEY...`

use crate::cli::human;
use crate::cli::{CommandResult, Context, DeleteArgs, Exit, Stdout, logs};
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, args: &DeleteArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let deleted = log.delete(&args.collection, args.keys.iter().cloned());
    let closed = log.close();
    // What would make the collection is of no help to who wants to delete from it.
    let receipt = deleted.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("no such collection: collection=`{}`", args.collection);
            Error::new(ErrorKind::NotFound, message).with_hint("`ls collections` lists them").into()
        }
        _ => logs::explain(error),
    })?;
    closed.map_err(logs::explain)?;
    let (first, last) = (receipt.first, receipt.last);
    if context.json {
        let object = serde_json::json!({
            "collection": args.collection,
            "first_sequence": first,
            "last_sequence": last,
            "records": args.keys.len(),
        });
        let mut stdout = Stdout::lock();
        stdout.line(&object.to_string())?;
        stdout.flush()?;
    }
    let keys = human::plural(args.keys.len() as u64, "key");
    context.say(&format!("deleted {keys} from {} ({first}..={last})", args.collection));
    Ok(Exit::Ok)
}
