//! `icecore catalog migrate --to ENGINE`

use std::path::Path;

use crate::catalog::Engine;
use crate::cli::{CatalogMigrateArgs, CommandResult, Context, Exit, Stdout, Unit, human, logs};
use crate::log::Log;
use crate::log::catalog::Migrated;

pub(super) fn run(context: &Context, args: &CatalogMigrateArgs) -> CommandResult {
    let options = logs::options(context)?;
    let mut progress = None;
    let mut told = 0;
    let migrated = Log::migrate_catalog(&options, args.to, &mut |done, total| {
        let bar = progress.get_or_insert_with(|| context.progress("copying", Unit::Things("changes"), Some(total)));
        bar.advance(done.saturating_sub(told));
        told = done;
    });
    drop(progress);
    let migrated = migrated.map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    if context.json {
        let object = serde_json::to_value(&migrated).expect("a report is plain text and numbers");
        stdout.line(&object.to_string())?;
    } else {
        stdout.write(render(&migrated).as_bytes())?;
    }
    stdout.flush()?;
    if let Some(asked) = options.catalog_engines.first().filter(|asked| **asked != args.to) {
        let origin = context.config.origin("catalog.engine");
        context.say(&setting(*asked, args.to, &origin.to_string()));
    }
    Ok(Exit::Ok)
}

/// What the user must change, because the next opening would be refused.
fn setting(asked: Engine, to: Engine, origin: &str) -> String {
    format!("the setting catalog still says {asked} ({origin}): change it to {to}, or leave it out")
}

fn render(migrated: &Migrated) -> String {
    let Migrated { from, to, path, old_path, .. } = migrated;
    let shown = |path: &Path| human::printable(&path.display().to_string()).to_string();
    if !migrated.is_switched {
        return format!("the catalog is kept by {to} already: {}\n", shown(path));
    }
    let changes = human::plural(migrated.change_number.get(), "change");
    let mut text = format!("the catalog is kept by {to} now: {}, {changes}\n", shown(path));
    if migrated.old_was_missing {
        text.push_str(&format!(
            "there was no {from} catalog: what lay there for {to} was taken, and the next opening for writing adds what only the \
             directories have\n"
        ));
        return text;
    }
    text.push_str(&format!(
        "{} copied; every row of both compared, and equal\n",
        human::plural(migrated.copied, "change")
    ));
    if let Some((folder, why)) = &migrated.set_aside {
        text.push_str(&format!(
            "what lay there before could not be gone on from, and is in {}: {}\n",
            shown(folder),
            human::printable(why)
        ));
    }
    text.push_str(&format!(
        "the {from} catalog stays as it is: {}; a mirror, or a migration back, goes on from it\n",
        shown(old_path)
    ));
    text
}
