//! `icecore directory ls|add|drain|forget`

use serde_json::Value;

use super::print_json;
use crate::cli::facts::{Facts, Listing};
use crate::cli::{
    CommandResult, Context, DirectoryAddArgs, DirectoryCommand, DirectoryForgetArgs, DirectoryNameArgs, Exit, Failure,
    Stdout, Unit, human, logs, sinks,
};
use crate::log::directories::{DirectoryInfo, DrainProgress, Drained, ForgetPlan, How};
use crate::log::{Log, LogOptions};
use crate::objects::Location;
use crate::{Error, ErrorKind};

/// So many ranges are told to people; programs get all.
const TOLD_MAX: usize = 20;

pub(in crate::cli) fn run(context: &Context, command: &DirectoryCommand) -> CommandResult {
    match command {
        DirectoryCommand::Ls => list(context),
        DirectoryCommand::Add(args) => add(context, args),
        DirectoryCommand::Drain(args) => drain(context, args),
        DirectoryCommand::Forget(args) => forget(context, args),
    }
}

fn list(context: &Context) -> CommandResult {
    let list = Log::list_directories(&logs::options(context)?).map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    let mut listing = Listing::new(context.json);
    for info in &list {
        listing.add(&mut stdout, &facts(info))?;
    }
    listing.finish(&mut stdout)?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

fn facts(info: &DirectoryInfo) -> Facts {
    let number = |value: Option<u64>, shown: fn(u64) -> String| {
        (value.map_or(Value::Null, Value::from), value.map_or_else(|| "-".to_owned(), shown))
    };
    let (collections, collections_text) = number(info.collections, human::count);
    let (segments, segments_text) = number(info.segments, human::count);
    let (bytes, bytes_text) = number(info.bytes, human::size);
    let (unsealed, unsealed_text) = number(info.unsealed_bytes, human::size);
    let (free, free_text) = number(info.free_bytes, human::size);
    Facts::default()
        .text("id", &info.id)
        .text("directory", &info.place)
        .text("state", info.state)
        .hidden("is_first", info.is_first)
        .both("collections", collections, collections_text)
        .both("segments", segments, segments_text)
        .both("bytes", bytes, bytes_text)
        .both("unsealed_bytes", unsealed, unsealed_text)
        .both("free_bytes", free, free_text)
        .maybe("reason", info.reason.as_ref())
}

fn add(context: &Context, args: &DirectoryAddArgs) -> CommandResult {
    let options = logs::options(context)?;
    let location: Location = args
        .location
        .parse()
        .map_err(|error: crate::objects::InvalidLocation| Failure::Error(Exit::Usage, error.into()))?;
    let added = match &location {
        Location::Local(path) if !args.remote => Log::add_directory(&options, path),
        location => Log::add_remote(&options, location),
    };
    let added = added.map_err(logs::explain)?;
    print_json(context, &added)?;
    let how = match added.how {
        How::New => "added",
        How::Returned => "taken back",
        How::BackInService => "back in service",
        How::Moved => "found at its new place",
        How::Finished => "added; an interrupted `add` is finished",
    };
    context.say(&format!("{how}: {} ({})", added.place, added.id));
    if added.how == How::Returned {
        context.say("what it holds is merged when the log is opened next; `recover` does it now");
    }
    Ok(Exit::Ok)
}

fn drain(context: &Context, args: &DirectoryNameArgs) -> CommandResult {
    let options = LogOptions { components: sinks::components(context), ..logs::options(context)? };
    let mut bar = None;
    let mut told = 0;
    let drained = Log::drain_directory(&options, &args.directory, &mut |progress: DrainProgress| {
        let bar = bar.get_or_insert_with(|| context.progress("draining", Unit::Bytes, Some(progress.total_bytes)));
        bar.advance(progress.bytes.saturating_sub(told));
        told = told.max(progress.bytes);
        !context.interrupt.is_wanted()
    });
    drop(bar);
    let drained = drained.map_err(logs::explain)?;
    print_json(context, &drained)?;
    say_drained(context, &drained);
    Ok(if drained.is_empty() { Exit::Ok } else { Exit::Partial })
}

fn say_drained(context: &Context, drained: &Drained) {
    let moved = human::plural(drained.segments, "segment");
    context.say(&format!("moved: {moved}, {}", human::size(drained.bytes)));
    if drained.component_collections > 0 {
        let collections = human::plural(drained.component_collections, "collection");
        context.say(&format!("moved: files of sinks, of {collections}, {}", human::size(drained.component_bytes)));
    }
    for (segment, why) in drained.stayed.iter().take(TOLD_MAX) {
        context.say(&format!("stayed: {segment}: {why}"));
    }
    for (collection, why) in drained.kept.iter().take(TOLD_MAX) {
        context.say(&format!("stayed: {collection}: {why}"));
    }
    for stayed in drained.component_stayed.iter().take(TOLD_MAX) {
        let of = stayed.collection.as_ref().map_or_else(String::new, |collection| format!(" of {collection}"));
        context.say(&format!("stayed: {}{of}: {}", stayed.component, stayed.reason));
    }
    if drained.is_interrupted {
        context.say("interrupted: run it again to go on");
    } else if drained.is_empty() {
        context.say(&format!("empty: `directory forget {}` takes it out of the log", drained.id));
    }
}

fn forget(context: &Context, args: &DirectoryForgetArgs) -> CommandResult {
    let options = logs::options(context)?;
    let mut refused = None;
    let mut agree = |plan: &ForgetPlan| {
        let agreed = args.yes || !plan.is_loss();
        if agreed {
            say_plan(context, plan);
        } else {
            refused = Some(plan.clone());
        }
        agreed
    };
    let done = if args.yes { forget_now(&options, args, &mut agree) } else { look_first(&options, args, &mut agree) };
    let done = done.map_err(logs::explain)?;
    if let Some(plan) = &refused {
        say_plan(context, plan);
        print_json(context, plan)?;
        let message =
            format!("nothing was changed: the directory holds what is nowhere else: directory=`{}`", plan.place);
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("--yes gives it up").into());
    }
    if let Some(plan) = done {
        print_json(context, &plan)?;
        let how = if plan.is_done { "forgotten already" } else { "forgotten" };
        context.say(&format!("{how}: {} ({})", plan.place, plan.id));
    }
    Ok(Exit::Ok)
}

type Agree<'a> = dyn FnMut(&ForgetPlan) -> bool + 'a;

fn forget_now(
    options: &LogOptions,
    args: &DirectoryForgetArgs,
    agree: &mut Agree<'_>,
) -> crate::Result<Option<ForgetPlan>> {
    Log::forget_directory(options, &args.directory, agree)
}

/// What is only a question does not need the log for itself.
fn look_first(
    options: &LogOptions,
    args: &DirectoryForgetArgs,
    agree: &mut Agree<'_>,
) -> crate::Result<Option<ForgetPlan>> {
    let plan = Log::plan_forget(options, &args.directory)?;
    if plan.is_loss() {
        agree(&plan);
        return Ok(None);
    }
    forget_now(options, args, agree)
}

fn say_plan(context: &Context, plan: &ForgetPlan) {
    for (component, collections) in &plan.components {
        let collections = human::plural(*collections, "collection");
        context.say(&format!(
            "made again elsewhere, from what the log and its archive hold: {component} of {collections}"
        ));
    }
    if !plan.is_loss() {
        return;
    }
    context.say(&format!("given up with {} ({}):", plan.place, plan.id));
    for segment in plan.segments.iter().take(TOLD_MAX) {
        let (first, last) = (segment.first_sequence, segment.last_sequence);
        context.say(&format!("  {} {first}..={last}, {}", segment.collection, human::size(segment.bytes)));
    }
    if plan.segments.len() > TOLD_MAX {
        context.say(&format!("  and {} more segments", plan.segments.len() - TOLD_MAX));
    }
    let segments = human::plural(plan.segments.len() as u64, "segment");
    context.say(&format!(
        "  {segments} in all, {}; {} more are read from the archive",
        human::size(plan.bytes),
        plan.archived
    ));
    for collection in plan.collections.iter().take(TOLD_MAX) {
        let (known, next) = (collection.first_sequence.previous(), collection.last_sequence.next());
        context.say(&format!(
            "  {}: all behind {known} that is in no segment; it goes on with {next}",
            collection.collection
        ));
    }
    if plan.collections.len() > TOLD_MAX {
        context.say(&format!("  and the same of {} more collections", plan.collections.len() - TOLD_MAX));
    }
}
