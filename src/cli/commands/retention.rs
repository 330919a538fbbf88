//! `icecore retention plan|apply`

use super::evict::say_kept;
use super::print_json;
use crate::archive::retention::{self, ApplyOptions, Plan, PlanOptions, Purged, Targets};
use crate::cli::{
    CommandResult, Context, Exit, RetentionApplyArgs, RetentionArgs, RetentionCommand, human, logs, stores,
};
use crate::log::Log;
use crate::{Error, ErrorKind};

/// So many segments of a collection are told to people; programs get all.
const TOLD_MAX: usize = 5;

pub(in crate::cli) fn run(context: &Context, command: &RetentionCommand) -> CommandResult {
    match command {
        RetentionCommand::Plan(args) => plan(context, args),
        RetentionCommand::Apply(args) => apply(context, args),
    }
}

fn options(args: &RetentionArgs) -> PlanOptions {
    PlanOptions { collections: args.collections.clone(), local_only: args.local_only, trust_clock: args.trust_clock }
}

fn plan(context: &Context, args: &RetentionArgs) -> CommandResult {
    let log = logs::open_read_only(context)?;
    super::must_be_there(&log, &args.collections)?;
    let plan = retention::plan(&log, context.clock.now(), &options(args)).map_err(logs::explain)?;
    print_json(context, &plan)?;
    say_plan(context, &plan);
    Ok(Exit::Ok)
}

fn say_plan(context: &Context, plan: &Plan) {
    if let Some(why) = &plan.refused {
        context.say(&format!("nothing may go: {why}"));
    }
    for of in &plan.collections {
        let bytes = of.segments.iter().map(|segment| segment.bytes).sum();
        let segments = human::plural(of.segments.len() as u64, "segment");
        let (name, floor) = (&of.collection, of.new_floor);
        context.say(&format!("{name}: {segments}, {}; its records begin with {floor} then", human::size(bytes)));
        for segment in of.segments.iter().take(TOLD_MAX) {
            let (first, last) = (segment.segment.first, segment.segment.last);
            context.say(&format!("  {first}..={last} ({}): {}", segment.status, segment.reason));
        }
        if of.segments.len() > TOLD_MAX {
            context.say(&format!("  and {} more", of.segments.len() - TOLD_MAX));
        }
        if let Some(stop) = &of.stopped {
            let (first, last) = (stop.segment.first, stop.segment.last);
            context.say(&format!("  stopped by {first}..={last}: {}", stop.reason));
        }
    }
    let (segments, bytes) = (human::plural(plan.segments(), "segment"), human::size(plan.bytes()));
    context.say(&format!("may go: {segments}, {bytes}"));
}

fn apply(context: &Context, args: &RetentionApplyArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let done = apply_to(context, args, &log);
    let closed = log.close();
    let exit = done?;
    closed.map_err(logs::explain)?;
    Ok(exit)
}

fn apply_to(context: &Context, args: &RetentionApplyArgs, log: &Log) -> CommandResult {
    super::must_be_there(log, &args.plan.collections)?;
    let options = ApplyOptions { plan: options(&args.plan), grace: context.config.settings().retention.grace };
    let now = context.clock.now();
    let plan = retention::plan(log, now, &options.plan).map_err(logs::explain)?;
    // What is told is what goes: the plan is not made again.
    let is_asked = !args.yes && plan.segments() > 0 && !context.json;
    if is_asked {
        say_plan(context, &plan);
    }
    let is_yes = args.yes || (is_asked && super::answer("purge this for good? `yes` does: ")? == "yes");
    let is_needed = (is_yes && plan.segments() > 0) || retention::is_pending(log).map_err(logs::explain)?;
    // Nothing is asked of a store where there is nothing to do.
    let mut targets = if is_needed { stores::purge_targets(context, log)? } else { Targets::default() };
    let purged = if is_yes {
        retention::apply(log, &plan, &mut targets, now, &options)
    } else {
        retention::go_on(log, &mut targets, now, &options)
    };
    let purged = purged.map_err(logs::explain)?;
    print_json(context, &purged)?;
    if !is_yes && !is_asked {
        say_plan(context, &plan);
    }
    say_purged(context, &purged);
    if !is_yes && plan.segments() > 0 {
        let message = format!("nothing new was purged: segments=`{}`", plan.segments());
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("--yes purges what is told").into());
    }
    let is_all = purged.kept.is_empty() && purged.locked.is_empty() && purged.stopped.is_empty();
    Ok(if is_all { Exit::Ok } else { Exit::Partial })
}

fn say_purged(context: &Context, purged: &Purged) {
    for (collection, floor) in &purged.floors {
        context.say(&format!("{collection}: its records begin with {floor} now"));
    }
    let gone = human::plural(purged.segments, "segment");
    context.say(&format!("purged: {gone}, {}", human::size(purged.bytes)));
    if let Some(until) = purged.waiting_until {
        let waiting = human::plural(purged.waiting, "segment");
        let until = human::moment(until);
        context.say(&format!("waiting for the grace period: {waiting}; the first may go {until}"));
    }
    if purged.keeps_versions {
        context.say("the store keeps versions of what was deleted: a lifecycle rule of its own must let them go");
    }
    for locked in &purged.locked {
        context.say(&format!("locked by its store: {} until {}", locked.segment, human::moment(locked.until)));
    }
    say_kept(context, "stayed", &purged.stopped);
    say_kept(context, "not deleted yet", &purged.kept);
}
