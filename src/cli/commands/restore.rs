//! `icecore restore [URL] --to DIR`

use serde_json::json;

use super::salvaged;
use crate::archive::{RestoreOptions, RestoreProgress, Restored, restore};
use crate::cli::facts::Facts;
use crate::cli::time::Position;
use crate::cli::{CommandResult, Context, Exit, Progress, RestoreArgs, Stdout, Unit, human, logs, stores};
use crate::types::ids::hex;

pub(in crate::cli) fn run(context: &Context, args: &RestoreArgs) -> CommandResult {
    let location = args.url.as_ref().map_or_else(|| stores::location(context), Ok)?;
    let store = stores::open_patient(context, location)?;
    let mut options = RestoreOptions::new(store, logs::options_in(context, &args.to)?);
    options.threads = usize::try_from(context.config.settings().archive.parallel).unwrap_or(1);
    options.collections = (!args.collections.is_empty()).then(|| args.collections.clone());
    options.lazy = args.lazy;
    options.salvage = args.salvage;
    let now = context.clock.now();
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
    options.remotes = stores::homes(context, &*options.store, args.salvage)?;
    let mut bar: Option<Progress> = None;
    let mut seen = 0;
    let restored = restore(&options, &mut |now: RestoreProgress| {
        let bar = bar.get_or_insert_with(|| context.progress("restore", Unit::Bytes, Some(now.bytes_total)));
        bar.advance(now.bytes.saturating_sub(seen));
        seen = now.bytes;
    });
    drop(bar);
    let restored = restored?;
    let mut stdout = Stdout::lock();
    if context.json {
        stdout.line(&facts(&restored).json())?;
    } else {
        stdout.write(render(&restored).as_bytes())?;
    }
    stdout.flush()?;
    let is_salvaged = restored.salvage.as_ref().is_some_and(salvaged::is_damaged);
    Ok(if !restored.failed.is_empty() || !restored.problems.is_empty() || is_salvaged {
        Exit::Damage
    } else if !restored.losses.is_empty() || !restored.remotes_left_out.is_empty() {
        Exit::Partial
    } else {
        Exit::Ok
    })
}

fn facts(restored: &Restored) -> Facts {
    let losses = restored.losses.iter().map(
        |(collection, first, last)| json!({"collection": collection, "first_sequence": first, "last_sequence": last}),
    );
    Facts::default()
        .text("log", restored.log)
        .number("manifest", restored.manifest.map(|mark| mark.number.get()))
        .maybe("manifest_sha256", restored.manifest.map(|mark| hex(&mark.sha256)))
        .time("manifest_at", restored.manifest_at)
        .flag("resumed", restored.is_resumed)
        .count("collections", restored.collections)
        .count("segments", restored.segments)
        .bytes("bytes", restored.bytes)
        .count("segments_away", restored.segments_away)
        .bytes("bytes_away", restored.bytes_away)
        .hidden("failed", json!(restored.failed))
        .hidden("losses", losses.collect::<Vec<_>>())
        .hidden("remotes_left_out", json!(restored.remotes_left_out))
        .hidden("remotes_gone", json!(restored.remotes_gone))
        .hidden("problems", json!(restored.problems))
        .hidden("salvage", json!(restored.salvage))
}

fn render(restored: &Restored) -> String {
    let as_of = match (&restored.manifest, restored.manifest_at) {
        (Some(mark), Some(at)) => format!("as of manifest {} of {}", mark.number, human::moment(at)),
        _ => "without any manifest".to_owned(),
    };
    let mut text = format!(
        "restored: {}, {} ({}), {as_of}\n",
        human::plural(restored.collections, "collection"),
        human::plural(restored.segments, "segment"),
        human::size(restored.bytes),
    );
    if restored.segments_away > 0 {
        text.push_str(&format!(
            "in the archive only: {} ({}); records of them are read through it, and `rehydrate` brings them\n",
            human::plural(restored.segments_away, "segment"),
            human::size(restored.bytes_away),
        ));
    }
    text.push_str("what was appended and not archived by then is not known\n");
    if let Some(salvage) = &restored.salvage {
        text.push_str(&salvaged::render(salvage));
    }
    if !restored.losses.is_empty() {
        text.push_str("\nknown to be lost, and on record (`icecore gap ls`):\n");
        for (collection, first, last) in &restored.losses {
            text.push_str(&human::item(1, &format!("{collection} {first}..={last}")));
        }
    }
    if !restored.failed.is_empty() {
        text.push_str("\nmissing or damaged in the archive:\n");
        for failed in &restored.failed {
            let range = format!("{} {}..={}", failed.collection, failed.first_sequence, failed.last_sequence);
            text.push_str(&human::item(1, &format!("{range}: {}", failed.reason)));
        }
    }
    for (id, url) in &restored.remotes_left_out {
        text.push_str(&format!("left out: what lies in {} ({id})\n", human::printable(url)));
    }
    for (id, url) in &restored.remotes_gone {
        let url = human::printable(url);
        text.push_str(&format!(
            "does not answer, and nothing is known to lie there: {url} ({id}); the log has it no more\n"
        ));
    }
    if !restored.problems.is_empty() {
        text.push_str("\nmanifests that say things against each other:\n");
        restored.problems.iter().for_each(|problem| text.push_str(&human::item(1, problem)));
    }
    text
}
