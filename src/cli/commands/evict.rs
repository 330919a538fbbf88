//! `icecore evict`, `icecore rehydrate`

use super::print_json;
use crate::cli::time::Position;
use crate::cli::{CommandResult, Context, EvictArgs, Exit, RehydrateArgs, Unit, human, logs, stores};
use crate::log::tier::{EvictOptions, Kept, RehydrateOptions, TierProgress};
use crate::types::Timestamp;

/// So many segments are told to people; programs get all.
const TOLD_MAX: usize = 20;

/// Tells a bar how far it has come; whether to go on.
fn watch<'a>(context: &'a Context, what: &'static str) -> impl FnMut(TierProgress) -> bool + 'a {
    let mut bar = None;
    let mut told = 0;
    move |progress: TierProgress| {
        let bar = bar.get_or_insert_with(|| context.progress(what, Unit::Bytes, Some(progress.total_bytes)));
        bar.advance(progress.bytes - told);
        told = progress.bytes;
        !context.interrupt.is_wanted()
    }
}

pub(in crate::cli) fn evict(context: &Context, args: &EvictArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let older_than = args.older_than.map(|age| {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Timestamp(context.clock.now().0.saturating_sub(age))
    });
    let options = EvictOptions {
        collections: args.collections.clone(),
        older_than,
        keep_bytes: args.keep.map(|size| size.bytes()),
        dry_run: args.dry_run,
        trust_rows: args.trust_catalog,
    };
    super::must_be_there(&log, &args.collections)?;
    if !args.dry_run {
        stores::must_be_ours(context, &log)?;
    }
    let done = log.evict(&options, &mut watch(context, "evicting"));
    let closed = log.close();
    let done = done.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    print_json(context, &done)?;
    let what = if args.dry_run { "would go" } else { "evicted" };
    context.say(&format!("{what}: {}, {}", human::plural(done.segments, "segment"), human::size(done.bytes)));
    say_kept(context, "stayed", &done.kept);
    say_kept(context, "not removed yet", &done.left);
    if done.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
    let is_all = done.kept.is_empty() && done.left.is_empty() && !done.is_interrupted;
    Ok(if is_all { Exit::Ok } else { Exit::Partial })
}

pub(in crate::cli) fn rehydrate(context: &Context, args: &RehydrateArgs) -> CommandResult {
    let log = logs::open_existing(context)?;
    let now = context.clock.now();
    let mut options = RehydrateOptions {
        collections: args.collections.clone(),
        repair: args.repair,
        dry_run: args.dry_run,
        ..RehydrateOptions::default()
    };
    match args.from {
        Some(Position::Sequence(sequence)) => options.from = Some(sequence),
        Some(Position::Time(time)) => options.from_time = Some(time.first(now)),
        None => {}
    }
    match args.until {
        Some(Position::Sequence(sequence)) => options.until = Some(sequence),
        Some(Position::Time(time)) => options.until_time = Some(time.last(now)),
        None => {}
    }
    super::must_be_there(&log, &args.collections)?;
    let done = log.rehydrate(&options, &mut watch(context, "fetching"));
    let closed = log.close();
    let done = done.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    print_json(context, &done)?;
    let what = if args.dry_run { "would come back" } else { "came back" };
    context.say(&format!("{what}: {}, {}", human::plural(done.segments, "segment"), human::size(done.bytes)));
    if done.healed > 0 {
        context.say(&format!("healed: {}", human::plural(done.healed, "segment")));
    }
    say_kept(context, "not here", &done.kept);
    if done.is_interrupted {
        context.say("interrupted: run it again to go on");
    }
    Ok(if done.kept.is_empty() && !done.is_interrupted { Exit::Ok } else { Exit::Partial })
}

/// A line for each, as far as people read on.
pub(super) fn say_kept(context: &Context, what: &str, kept: &[Kept]) {
    for kept in kept.iter().take(TOLD_MAX) {
        context.say(&format!("{what}: {}: {}", kept.segment, kept.reason));
    }
    if kept.len() > TOLD_MAX {
        context.say(&format!("{what}: and {} more", kept.len() - TOLD_MAX));
    }
}
