//! `icecore recover [--dry-run]`

use crate::cli::human::{self, Align, Table};
use crate::cli::{CommandResult, Context, Exit, RecoverArgs, Stdout, logs};
use crate::log::Log;
use crate::log::recover::{ArchiveAsked, Report};

pub(in crate::cli) fn run(context: &Context, args: &RecoverArgs) -> CommandResult {
    let report = if args.dry_run {
        Log::examine(&logs::options(context)?).map_err(logs::explain)?
    } else {
        let log = logs::open_existing(context)?;
        let report = log.recovery().clone();
        log.close().map_err(logs::explain)?;
        report
    };
    let mut stdout = Stdout::lock();
    if context.json {
        let mut object = serde_json::to_value(&report).expect("a report is plain text and numbers");
        object["dry_run"] = args.dry_run.into();
        stdout.line(&object.to_string())?;
    } else {
        stdout.write(render(&report, args.dry_run).as_bytes())?;
    }
    stdout.flush()?;
    Ok(if report.damaged.is_empty() && report.losses.is_empty() { Exit::Ok } else { Exit::Damage })
}

fn render(report: &Report, dry_run: bool) -> String {
    let mut text = format!(
        "{}, {}, {}, {} in no segment yet\n",
        human::plural(report.collections, "collection"),
        human::plural(report.journals, "journal"),
        human::plural(report.segments, "segment"),
        human::plural(report.unsealed_records, "record"),
    );
    if report.catalog_was_missing {
        text.push_str("the catalog was missing, and was made anew from the directories\n");
    } else if report.catalog_is_old {
        text.push_str("the catalog is older than the journals: an old copy was put back\n");
    }
    match &report.archive_asked {
        Some(ArchiveAsked { error: Some(why), .. }) => {
            text.push_str(&format!("the archive was not asked what only it has; the next opening does: {why}\n"));
        }
        Some(ArchiveAsked { collections, .. }) if *collections > 0 => {
            let collections = human::plural(*collections, "collection");
            text.push_str(&format!(
                "the archive has more of {collections}; `catalog rebuild --from-archive` brings it back\n"
            ));
        }
        _ => {}
    }
    if report.unproven_tail_bytes > 0 {
        let bytes = human::size(report.unproven_tail_bytes);
        text.push_str(&format!(
            "{bytes} behind the last proven group: a write that was cut short, never acknowledged\n"
        ));
    }
    if report.dropped_tail_bytes > 0 {
        let bytes = human::size(report.dropped_tail_bytes);
        text.push_str(&format!("{bytes} were dropped behind the ends of journals by earlier recoveries\n"));
    }
    if report.steps.is_empty() {
        text.push_str(if dry_run { "nothing to do\n" } else { "nothing had to be done\n" });
    } else {
        text.push_str(if dry_run { "\nwould do:\n" } else { "\ndone:\n" });
        let mut table = Table::new(&[
            ("action", Align::Left),
            ("collection", Align::Left),
            ("first", Align::Right),
            ("last", Align::Right),
            ("path", Align::Left),
            ("why", Align::Left),
        ]);
        for step in &report.steps {
            table.row([
                step.action.to_owned(),
                step.collection.to_string(),
                step.first_sequence.to_string(),
                step.last_sequence.to_string(),
                step.path.display().to_string(),
                step.reason.clone(),
            ]);
        }
        text.push_str(&table.render());
    }
    if !report.missing_directories.is_empty() {
        text.push_str("\nmissing, and not judged:\n");
        for missing in &report.missing_directories {
            let path =
                missing.path.as_ref().map_or_else(|| missing.directory.clone(), |path| path.display().to_string());
            let why = missing.reason.as_deref().unwrap_or("it is no local directory of this log");
            let what = format!(
                "{path}: {}, {}, {}: {why}",
                human::plural(missing.collections, "collection"),
                human::plural(missing.segments, "segment"),
                human::size(missing.bytes)
            );
            text.push_str(&human::item(1, &what));
        }
    }
    if !report.contested.is_empty() {
        text.push_str("\nfound in several directories:\n");
        for contested in &report.contested {
            text.push_str(&human::item(1, &format!("{}: {}", contested.collection, contested.reason)));
        }
    }
    if !report.foreign.is_empty() {
        text.push_str(
            "\nAvro files of others, left alone (`append COLLECTION FILE --format avro` takes their records):\n",
        );
        for path in &report.foreign {
            text.push_str(&human::item(1, &path.display().to_string()));
        }
    }
    if !report.damaged.is_empty() {
        text.push_str("\ndamaged:\n");
        for damage in &report.damaged {
            let collection = damage.collection.as_ref().map_or("?", |name| name.as_str());
            let number =
                |sequence: Option<crate::Sequence>| sequence.map_or("?".to_owned(), |number| number.to_string());
            let (first, last) = (number(damage.first_sequence), number(damage.last_sequence));
            let path = damage.path.display();
            text.push_str(&human::item(1, &format!("{path}: {collection} {first}..={last}: {}", damage.reason)));
        }
    }
    if !report.losses.is_empty() {
        text.push_str("\nlost, and now on record (`icecore gap ls`):\n");
        for loss in &report.losses {
            let lost = format!("{} {}..={}", loss.collection, loss.first_sequence, loss.last_sequence);
            text.push_str(&human::item(1, &lost));
        }
    }
    text
}
