//! `icecore catalog rebuild [--from-archive [--salvage]] [--dry-run]`

use std::collections::BTreeMap;

use super::super::salvaged;
use super::check::findings;
use crate::archive;
use crate::cli::{CatalogRebuildArgs, CommandResult, Context, Exit, Stdout, human, logs, stores};
use crate::log::Log;
use crate::log::catalog::{RebuildReport, Source};
use crate::objects::Location;

pub(super) fn run(context: &Context, args: &CatalogRebuildArgs) -> CommandResult {
    let options = logs::options(context)?;
    let mut salvage = None;
    let report = if args.from_archive {
        let store = stores::open_patient(context, stores::location(context)?)?;
        let mut remotes = BTreeMap::new();
        for remote in options.remotes().map_err(logs::explain)? {
            let location = remote.url.parse::<Location>().map_err(crate::Error::from)?;
            remotes.insert(remote.directory, stores::open_patient(context, &location)?);
        }
        if args.salvage {
            let (report, found) =
                archive::rebuild_catalog_salvaging(&options, &store, &remotes, args.dry_run).map_err(logs::explain)?;
            salvage = Some(found);
            report
        } else {
            archive::rebuild_catalog(&options, &store, &remotes, args.dry_run).map_err(logs::explain)?
        }
    } else {
        Log::rebuild_catalog(&options, args.dry_run).map_err(logs::explain)?
    };
    let mut stdout = Stdout::lock();
    if context.json {
        let mut object = serde_json::to_value(&report).expect("a report is plain text and numbers");
        if let Some(salvage) = &salvage {
            object["salvage"] = serde_json::json!(salvage);
        }
        stdout.line(&object.to_string())?;
    } else {
        stdout.write(render(&report).as_bytes())?;
        if let Some(salvage) = &salvage {
            stdout.write(salvaged::render(salvage).as_bytes())?;
        }
    }
    stdout.flush()?;
    let is_salvaged = salvage.as_ref().is_some_and(salvaged::is_damaged);
    Ok(if !report.check.ok || !report.losses.is_empty() || is_salvaged {
        Exit::Damage
    } else if !report.not_carried.is_empty() {
        Exit::Partial
    } else {
        Exit::Ok
    })
}

fn render(report: &RebuildReport) -> String {
    let mut text = format!(
        "{}: {}, {} ({} from footers), {} made\n",
        if report.dry_run { "would make" } else { "made" },
        human::plural(report.collections, "collection"),
        human::plural(report.segments, "segment"),
        human::count(report.from_footers),
        human::plural(report.assignments_made, "assignment"),
    );
    text.push_str(match report.source {
        Source::Absent => "there was no old catalog: what only a catalog knows begins anew\n",
        Source::Unreadable => "nothing of the old catalog could be read: what only a catalog knows begins anew\n",
        Source::Rows => {
            "rows of the old catalog were carried over; its history could not be read whole, and begins anew\n"
        }
        Source::History => "the history of the old catalog was whole, and was carried over with its numbers\n",
    });
    if report.from_archive > 0 {
        text.push_str(&format!("{} told by the archive\n", human::plural(report.from_archive, "segment")));
    }
    if let Some(engine) = report.from_mirror {
        text.push_str(&format!("its {engine} mirror was taken for it: what it lacked is from the directories\n"));
    }
    for folder in &report.mirrors_set_aside {
        text.push_str(&format!(
            "a mirror that could not follow is in {}\n",
            human::printable(&folder.display().to_string())
        ));
    }
    if let Some(folder) = &report.set_aside {
        text.push_str(&format!("the old catalog is in {}\n", human::printable(&folder.display().to_string())));
    }
    if !report.not_carried.is_empty() {
        text.push_str("\nnot carried over:\n");
        for missed in &report.not_carried {
            text.push_str(&human::item(1, &format!("{}: {}", missed.what, missed.why)));
        }
    }
    if !report.losses.is_empty() {
        text.push_str("\nin no segment and in no journal, and now on record as lost (`icecore gap ls`):\n");
        for loss in &report.losses {
            let lost = format!("{} {}..={}", loss.collection, loss.first_sequence, loss.last_sequence);
            text.push_str(&human::item(1, &lost));
        }
    }
    let found = &report.check.findings;
    text.push_str(&findings(
        "\nthe new catalog and the directories differ:\n",
        found.iter().filter(|found| found.damage),
    ));
    text.push_str(&findings("\non its way:\n", found.iter().filter(|found| !found.damage)));
    text
}
