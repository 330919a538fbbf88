//! `icecore verify [--deep]`

use serde_json::json;

use crate::cli::facts::Facts;
use crate::cli::human;
use crate::cli::{CommandResult, Context, Exit, Stdout, Unit, VerifyArgs, logs};
use crate::log::Damaged;
use crate::log::verify::{Missing, Verified, VerifyOptions, VerifyProgress, VerifyReport};

pub(in crate::cli) fn run(context: &Context, args: &VerifyArgs) -> CommandResult {
    let log = logs::open_read_only(context)?;
    let total = log.catalog().counts().map_err(crate::Error::from)?;
    let total = total.iter().filter(|(status, _)| status.is_local()).map(|(_, count)| count).sum();
    let progress = context.progress("verify", Unit::Things("segments"), Some(total));
    let mut seen = 0;
    let report = log.verify_with(VerifyOptions { deep: args.deep }, &mut |now: VerifyProgress| {
        progress.advance(now.segments.saturating_sub(seen));
        seen = now.segments;
    });
    let report = report.map_err(logs::explain)?;
    drop(progress);
    let mut stdout = Stdout::lock();
    if context.json {
        stdout.line(&facts(&report).json())?;
    } else {
        stdout.write(render(&report, args.deep).as_bytes())?;
    }
    stdout.flush()?;
    Ok(match report.verdict {
        Verified::Ok | Verified::OkWithGaps => Exit::Ok,
        Verified::UnprovenTail | Verified::Incomplete => Exit::Partial,
        Verified::Damaged => Exit::Damage,
    })
}

fn facts(report: &VerifyReport) -> Facts {
    Facts::default()
        .flag("ok", report.ok)
        .text("verdict", report.verdict)
        .count("records", report.records)
        .count("segments", report.segments)
        .count("journals", report.journals)
        .hidden("damaged", json!(report.damaged))
        .hidden("gaps", json!(report.gaps))
        .hidden("missing_directories", json!(report.missing_directories))
        .hidden("without_row", json!(report.without_row))
        .hidden("unproven_tail_bytes", report.unproven_tail_bytes)
        .hidden("dropped_tail_bytes", report.dropped_tail_bytes)
}

fn render(report: &VerifyReport, deep: bool) -> String {
    let how = if deep { "every byte read" } else { "front and end of each segment read; --deep reads every byte" };
    let mut text = format!(
        "{}: {}, {}, {} ({how})\n",
        report.verdict,
        human::plural(report.records, "record"),
        human::plural(report.segments, "segment"),
        human::plural(report.journals, "journal"),
    );
    if !report.damaged.is_empty() {
        text.push_str("\ndamaged or missing:\n");
        report.damaged.iter().for_each(|damaged| text.push_str(&line(damaged)));
        text.push_str("what is read of other files is unharmed; docs/recovery.md says what can be done\n");
    }
    if !report.missing_directories.is_empty() {
        text.push_str("\nmissing, and not judged:\n");
        for missing in &report.missing_directories {
            let what = format!(
                "{}: {}, {}, {}: {}",
                missing.path.display(),
                human::plural(missing.collections, "collection"),
                human::plural(missing.segments, "segment"),
                human::size(missing.bytes),
                missing.reason
            );
            text.push_str(&human::item(1, &what));
        }
    }
    text.push_str(&gaps(&report.gaps));
    for path in &report.without_row {
        let path = path.display();
        text.push_str(&format!("whole, and not in the catalog yet: {path}; the next opening for writing adopts it\n"));
    }
    text.push_str(&tails(report.unproven_tail_bytes, report.dropped_tail_bytes));
    text
}

/// Acknowledged gaps, where there are any: of a log as of an archive.
pub(super) fn gaps(gaps: &[Missing]) -> String {
    let mut text = String::new();
    if !gaps.is_empty() {
        text.push_str("\ngaps that were acknowledged:\n");
    }
    for gap in gaps {
        let by = gap.acknowledged_by.as_deref().unwrap_or("?");
        let range = format!("{} {}..={}", gap.collection, gap.first_sequence, gap.last_sequence);
        text.push_str(&human::item(1, &format!("{range}, by {by}")));
    }
    text
}

/// What lies behind the ends of journals, where there is anything.
pub(super) fn tails(unproven: u64, dropped: u64) -> String {
    let mut text = String::new();
    if unproven > 0 {
        let bytes = human::size(unproven);
        text.push_str(&format!(
            "unproven tail: {bytes}: a write that was cut short, or damage before a sync was proven\n"
        ));
    }
    if dropped > 0 {
        let bytes = human::size(dropped);
        text.push_str(&format!(
            "dropped tail: {bytes} that were never acknowledged, set aside by an earlier recovery\n"
        ));
    }
    text
}

fn line(damaged: &Damaged) -> String {
    let path = damaged.path.display();
    let what = match (&damaged.collection, damaged.first_sequence, damaged.last_sequence) {
        (Some(name), Some(first), Some(last)) => format!(" {name} {first}..={last}"),
        (Some(name), ..) => format!(" {name}"),
        _ => String::new(),
    };
    human::item(1, &format!("{path}:{what}: {}", damaged.reason))
}
