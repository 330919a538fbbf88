//! `icecore hold set|clear|ls`

use super::print_json;
use crate::cli::facts::{Facts, Listing};
use crate::cli::{CommandResult, Context, Exit, HoldClearArgs, HoldCommand, HoldLsArgs, HoldSetArgs, Stdout, logs};
use crate::log::LegalHold;
use crate::types::CollectionName;

pub(in crate::cli) fn run(context: &Context, command: &HoldCommand) -> CommandResult {
    match command {
        HoldCommand::Set(args) => set(context, args),
        HoldCommand::Clear(args) => clear(context, args),
        HoldCommand::Ls(args) => list(context, args),
    }
}

/// A hold for programs.
fn object(collection: &CollectionName, hold: &LegalHold) -> serde_json::Value {
    serde_json::json!({
        "collection": collection,
        "name": hold.name,
        "by": hold.by,
        "at": hold.at.to_string(),
        "first_sequence": hold.from,
        "last_sequence": hold.until,
        "note": hold.note,
    })
}

fn set(context: &Context, args: &HoldSetArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let hold = LegalHold {
        name: args.name.clone(),
        by: args.by.clone(),
        at: context.clock.now(),
        from: args.from,
        until: args.until,
        note: args.note.clone(),
    };
    let done = log.set_hold(&args.collection, hold.clone());
    let closed = log.close();
    let late = done.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    let mut told = object(&args.collection, &hold);
    told["too_late"] = serde_json::json!(late);
    print_json(context, &told)?;
    if let Some(floor) = late.floor {
        context.say(&format!("too late for what was before {floor}: it is purged, or being purged"));
    }
    for key in &late.purging {
        let (first, last) = (key.first, key.last);
        context.say(&format!("  {first}..={last}: not read any more; what the archive still has of it stays"));
    }
    context.say(&format!("held: {} by {}", args.collection, hold.name));
    Ok(Exit::Ok)
}

fn clear(context: &Context, args: &HoldClearArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let done = log.clear_hold(&args.collection, &args.name, &args.by);
    let closed = log.close();
    let hold = done.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    print_json(context, &object(&args.collection, &hold))?;
    context.say(&format!("cleared: {} of {}", hold.name, args.collection));
    Ok(Exit::Ok)
}

fn list(context: &Context, args: &HoldLsArgs) -> CommandResult {
    let log = logs::open_read_only(context)?;
    let holds = log.holds(args.collection.as_ref()).map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    let mut listing = Listing::new(context.json);
    for (collection, hold) in &holds {
        let facts = Facts::default()
            .text("collection", collection)
            .text("name", &hold.name)
            .text("by", &hold.by)
            .time("at", hold.at)
            .number("first_sequence", hold.from.map(|from| from.0))
            .number("last_sequence", hold.until.map(|until| until.0))
            .text("note", &hold.note);
        listing.add(&mut stdout, &facts)?;
    }
    listing.finish(&mut stdout)?;
    stdout.flush()?;
    if holds.is_empty() {
        context.say("no holds");
    }
    Ok(Exit::Ok)
}
