//! `icecore catalog check`

use crate::cli::{CommandResult, Context, Exit, Stdout, human, logs};
use crate::log::catalog::{CatalogFinding, CatalogReport};

pub(super) fn run(context: &Context) -> CommandResult {
    let report = CatalogReport::of(&logs::options(context)?).map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    if context.json {
        let object = serde_json::to_value(&report).expect("a report is plain text and numbers");
        stdout.line(&object.to_string())?;
    } else {
        stdout.write(render(&report).as_bytes())?;
    }
    stdout.flush()?;
    Ok(if report.ok { Exit::Ok } else { Exit::Damage })
}

fn render(report: &CatalogReport) -> String {
    let engine = report.engine.map_or_else(|| "not readable".to_owned(), |engine| engine.to_string());
    let mut text = format!(
        "{}: {} ({engine}, change {}): {}, {}, {}, {}, {}\n",
        if report.ok { "OK" } else { "DAMAGED" },
        human::printable(&report.path.display().to_string()),
        report.change_number,
        human::plural(report.collections, "collection"),
        human::plural(report.segments, "segment row"),
        human::plural(report.files, "file"),
        human::plural(report.stubs, "stub"),
        human::plural(report.journals, "journal"),
    );
    text.push_str(&findings("\ndamage:\n", report.findings.iter().filter(|found| found.damage)));
    text.push_str(&findings("\non its way:\n", report.findings.iter().filter(|found| !found.damage)));
    if let Some(mirror) = &report.mirror {
        let lag = human::plural(mirror.lag, "change");
        text.push_str(&format!("\nmirror: {}, change {}, {lag} behind\n", mirror.engine, mirror.change_number));
    }
    text
}

/// What was found, under what it is called, or nothing.
pub(super) fn findings<'a>(title: &str, findings: impl Iterator<Item = &'a CatalogFinding>) -> String {
    let mut text = String::new();
    for found in findings {
        text.push_str(&human::item(1, &format!("{}: {}", found.about, found.what)));
        text.push_str(&human::item(2, found.advice));
    }
    if text.is_empty() { text } else { format!("{title}{text}") }
}
