//! `icecore gap ls`, `icecore gap acknowledge`

use crate::catalog::LossRow;
use crate::cli::human::{self, Align, Table};
use crate::cli::{CommandResult, Context, Exit, GapAcknowledgeArgs, GapCommand, Stdout, logs};

pub(in crate::cli) fn run(context: &Context, command: &GapCommand) -> CommandResult {
    match command {
        GapCommand::Ls => list(context),
        GapCommand::Acknowledge(args) => acknowledge(context, args),
    }
}

fn list(context: &Context) -> CommandResult {
    let log = logs::open_to_read(context, None)?;
    let losses = log.losses().map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    if context.json {
        for loss in &losses {
            stdout.line(&object(loss).to_string())?;
        }
    } else if losses.is_empty() {
        context.say("no losses, no gaps");
    } else {
        stdout.write(table(&losses).as_bytes())?;
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// A loss or gap for programs.
pub(super) fn object(loss: &LossRow) -> serde_json::Value {
    let (by, at) = match &loss.acknowledged {
        Some((by, at)) => (Some(by), Some(at.to_string())),
        None => (None, None),
    };
    serde_json::json!({
        "collection": loss.collection,
        "first_sequence": loss.first,
        "last_sequence": loss.last,
        "kind": kind(loss),
        "reason": loss.reason,
        "found_at": loss.found_at.to_string(),
        "acknowledged_by": by,
        "acknowledged_at": at,
    })
}

const fn kind(loss: &LossRow) -> &'static str {
    if loss.acknowledged.is_some() { "gap" } else { "loss" }
}

fn table(losses: &[LossRow]) -> String {
    let mut table = Table::new(&[
        ("collection", Align::Left),
        ("first", Align::Right),
        ("last", Align::Right),
        ("records", Align::Right),
        ("kind", Align::Left),
        ("found", Align::Left),
        ("acknowledged", Align::Left),
        ("reason", Align::Left),
    ]);
    for loss in losses {
        table.row([
            loss.collection.to_string(),
            loss.first.to_string(),
            loss.last.to_string(),
            human::count(loss.last.0 - loss.first.0 + 1),
            kind(loss).to_owned(),
            human::moment(loss.found_at),
            loss.acknowledged
                .as_ref()
                .map_or_else(|| "-".to_owned(), |(by, at)| format!("{by} {}", human::moment(*at))),
            loss.reason.clone(),
        ]);
    }
    table.render()
}

fn acknowledge(context: &Context, args: &GapAcknowledgeArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let done = log.acknowledge_loss(&args.collection, args.first, args.last, &args.by);
    let closed = log.close();
    done.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    if context.json {
        let object = serde_json::json!({
            "collection": args.collection,
            "first_sequence": args.first,
            "last_sequence": args.last,
            "acknowledged_by": args.by,
        });
        let mut stdout = Stdout::lock();
        stdout.line(&object.to_string())?;
        stdout.flush()?;
    }
    context.say(&format!("acknowledged: {} {}..={}", args.collection, args.first, args.last));
    Ok(Exit::Ok)
}
