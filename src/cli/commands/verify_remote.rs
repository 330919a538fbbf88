//! `icecore verify --remote [--deep] [--sample PERCENT]`

use serde_json::json;

use crate::archive::verify::{RemoteProgress, RemoteReport, RemoteVerifyOptions};
use crate::archive::{chain, verify};
use crate::cli::facts::Facts;
use crate::cli::{CommandResult, Context, Exit, Failure, Progress, Stdout, Unit, VerifyArgs, human, logs, stores};
use crate::objects::{Location, ObjectStore};

pub(in crate::cli) fn run(context: &Context, args: &VerifyArgs) -> CommandResult {
    let settings = context.config.settings();
    let store = stores::open_patient(context, stores::location(context)?)?;
    // Without a log at hand the archive is looked at alone.
    let look = if settings.data.is_empty() { None } else { Some(logs::look_at_catalog(context)?) };
    let options = RemoteVerifyOptions {
        deep: args.deep,
        sample_percent: args.sample.unwrap_or(0),
        // Each run looks at others.
        seed: context.clock.now().micros().cast_unsigned(),
        threads: usize::try_from(settings.archive.parallel).unwrap_or(1),
    };
    let mut reports = vec![one(context, &*store, look.as_ref().map(|look| &*look.catalog), &options)?];
    // Homes of segments have manifests of their own.
    if let Ok(state) = chain::state(&*store) {
        for url in state.remotes().values() {
            let location = url.parse::<Location>().map_err(crate::Error::from)?;
            let home = stores::open_patient(context, &location)?;
            reports.push(one(context, &*home, None, &options)?);
        }
    }
    let mut stdout = Stdout::lock();
    for report in &reports {
        if context.json {
            stdout.line(&facts(report).json())?;
        } else {
            stdout.write(render(report).as_bytes())?;
        }
    }
    stdout.flush()?;
    Ok(if reports.iter().all(|report| report.ok) { Exit::Ok } else { Exit::Damage })
}

fn one(
    context: &Context,
    store: &dyn ObjectStore,
    catalog: Option<&dyn crate::catalog::Catalog>,
    options: &RemoteVerifyOptions,
) -> Result<RemoteReport, Failure> {
    let mut bar: Option<Progress> = None;
    let mut seen = 0;
    let report = verify(store, catalog, options, &mut |now: RemoteProgress| {
        let bar =
            bar.get_or_insert_with(|| context.progress("verify", Unit::Things("segments"), Some(now.segments_total)));
        bar.advance(now.segments.saturating_sub(seen));
        seen = now.segments;
    });
    Ok(report?)
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
