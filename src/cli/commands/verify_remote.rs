//! `icecore verify --remote [--deep] [--sample PERCENT]`

use std::sync::Arc;

use serde_json::json;

use crate::archive::verify::{RemotePlace, RemoteProgress, RemoteReport, RemoteVerifyOptions};
use crate::archive::{chain, verify_all};
use crate::cli::facts::Facts;
use crate::cli::{CommandResult, Context, Exit, Failure, Progress, Stdout, Unit, VerifyArgs, human, logs, stores};
use crate::error::Error;
use crate::log::recover::journals::chain as told;
use crate::log::verify::Verified;
use crate::objects::{Location, ObjectStore};

/// A store to look at, or why it cannot be.
struct Asked {
    remote: Option<String>,
    url: String,
    store: Result<Arc<dyn ObjectStore>, Error>,
}

pub(in crate::cli) fn run(context: &Context, args: &VerifyArgs) -> CommandResult {
    let settings = context.config.settings();
    // Without a log at hand the archive is looked at alone.
    let look = if settings.data.is_empty() { None } else { Some(logs::look_at_catalog(context)?) };
    let options = RemoteVerifyOptions {
        deep: args.deep,
        sample_percent: args.sample.unwrap_or(0),
        // Each run looks at others.
        seed: context.clock.now().micros().cast_unsigned(),
        threads: usize::try_from(settings.archive.parallel).unwrap_or(1),
    };
    let asked = asked(context, look.is_some())?;
    let places: Vec<RemotePlace<'_>> = asked
        .iter()
        .filter_map(|asked| Some(RemotePlace { remote: asked.remote.as_deref(), store: &**asked.store.as_ref().ok()? }))
        .collect();
    let mut bar: Option<(usize, Progress)> = None;
    let mut seen = 0;
    let catalog = look.as_ref().map(|look| &*look.catalog);
    let reports = verify_all(&places, catalog, &options, &mut |place, now: RemoteProgress| {
        if bar.as_ref().is_none_or(|(of, _)| *of != place) {
            seen = 0;
            bar = Some((place, context.progress("verify", Unit::Things("segments"), Some(now.segments_total))));
        }
        if let Some((_, bar)) = &bar {
            bar.advance(now.segments.saturating_sub(seen));
        }
        seen = now.segments;
    })?;
    drop(bar);
    drop(places);
    let mut reports = reports.into_iter();
    let mut stdout = Stdout::lock();
    let (mut is_damaged, mut failed) = (false, None);
    for Asked { url, store, .. } in asked {
        match store.and_then(|_| reports.next().expect("one for each that was opened")) {
            Ok(report) => {
                is_damaged |= !report.ok;
                if context.json {
                    stdout.line(&facts(&report).json())?;
                } else {
                    stdout.write(render(&report).as_bytes())?;
                }
            }
            Err(error) => {
                if context.json {
                    stdout.line(&unread(&url, &error).json())?;
                } else {
                    let (verdict, url) = (Verified::Incomplete, human::printable(&url));
                    stdout
                        .write(format!("{verdict}: {url}: it could not be looked at: {}\n", told(&error)).as_bytes())?;
                }
                failed.get_or_insert(error);
            }
        }
    }
    stdout.flush()?;
    match failed {
        _ if is_damaged => Ok(Exit::Damage),
        Some(error) => Err(error.into()),
        None => Ok(Exit::Ok),
    }
}

/// The archive, where one is named; the homes of segments, which have manifests of their own: the log's, where one is at hand, else those that the archive
/// names.
fn asked(context: &Context, has_log: bool) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    let mut named = Vec::new();
    if let Some(location) = &context.config.settings().archive.url {
        let store = stores::open_patient(context, location)?;
        if !has_log && let Ok(state) = chain::state(&*store) {
            named.extend(state.remotes().iter().map(|(id, url)| (id.clone(), url.clone())));
        }
        asked.push(Asked { remote: None, url: location.to_string(), store: Ok(store) });
    }
    if has_log {
        let remotes = logs::options_in(context, context.data()?)?.remotes()?;
        named.extend(remotes.into_iter().map(|remote| (remote.directory, remote.url)));
    }
    for (id, url) in named {
        let location = url.parse::<Location>().map_err(|error| crate::Error::from(error).into());
        let store = match location.and_then(|location| stores::open_patient(context, &location)) {
            Ok(store) => Ok(store),
            Err(Failure::Error(_, error)) => Err(error),
            Err(closed) => return Err(closed),
        };
        asked.push(Asked { remote: Some(id), url, store });
    }
    if asked.is_empty() {
        // Says how to name one.
        stores::location(context)?;
    }
    Ok(asked)
}

/// A store that does not answer: nothing is known of what is there.
fn unread(url: &str, error: &Error) -> Facts {
    Facts::default()
        .flag("ok", false)
        .text("verdict", Verified::Incomplete)
        .text("store", url)
        .text("error", told(error))
}

fn facts(report: &RemoteReport) -> Facts {
    Facts::default()
        .flag("ok", report.ok)
        .text("verdict", report.verdict)
        .text("store", &report.store)
        .number("manifest", report.newest.map(|newest| newest.number.get()))
        .count("manifests", report.manifests)
        .count("segments", report.segments)
        .count("records", report.records)
        .bytes("bytes", report.bytes)
        .count("proven_by_store", report.proven_by_store)
        .count("read_back", report.read_back)
        .hidden("faults", json!(report.faults))
        .hidden("gaps", json!(report.gaps))
        .hidden("orphans", json!(report.orphans))
}

fn render(report: &RemoteReport) -> String {
    let mut text = format!(
        "{}: {}: {}, {}, {} ({}); {} proven by the store's checksum, {} read back\n",
        report.verdict,
        human::printable(&report.store),
        human::plural(report.manifests, "manifest"),
        human::plural(report.segments, "segment"),
        human::plural(report.records, "record"),
        human::size(report.bytes),
        human::count(report.proven_by_store),
        human::count(report.read_back),
    );
    if !report.faults.is_empty() {
        text.push_str("\ndamaged or missing:\n");
        for fault in &report.faults {
            let range = match (&fault.collection, fault.first_sequence, fault.last_sequence) {
                (Some(name), Some(first), Some(last)) => format!("{name} {first}..={last}: "),
                _ => String::new(),
            };
            let key = fault.key.as_ref().map(|key| format!(" ({key})")).unwrap_or_default();
            text.push_str(&human::item(1, &format!("{range}{}{key}", fault.reason)));
        }
    }
    text.push_str(&super::verify::gaps(&report.gaps));
    if !report.orphans.is_empty() {
        let bytes = report.orphans.iter().map(|orphan| orphan.bytes).sum();
        let number = report.orphans.len() as u64;
        text.push_str(&format!(
            "\nnamed by no manifest, and of no account: {} ({}); `ls objects` shows what each is\n",
            human::plural(number, "object"),
            human::size(bytes),
        ));
    }
    text
}
