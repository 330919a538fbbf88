//! `icecore catalog snapshot FILE`

use crate::cli::facts::Facts;
use crate::cli::{CatalogSnapshotArgs, CommandResult, Context, Exit, Stdout, human, logs};

pub(super) fn run(context: &Context, args: &CatalogSnapshotArgs) -> CommandResult {
    let look = logs::look_at_catalog(context)?;
    let number = look.snapshot(&args.file).map_err(logs::explain)?;
    let bytes = logs::file_system().metadata(&args.file).map_err(crate::Error::from)?.len;
    let path = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let mut stdout = Stdout::lock();
    if context.json {
        let facts = Facts::default()
            .text("path", path.display())
            .maybe("engine", look.engine())
            .text("log", look.log)
            .number("change_number", number.get())
            .bytes("bytes", bytes);
        stdout.line(&facts.json())?;
    }
    stdout.flush()?;
    let engine = look.engine().map_or_else(String::new, |engine| format!("{engine}, "));
    let what = format!("{engine}change {number}, {}", human::size(bytes));
    context.say(&format!("snapshot: {} ({what})", path.display()));
    context.say(&format!(
        "to use it: stop the writer, move {} and the files beside it away, copy the snapshot there, run `icecore recover`",
        look.path.display()
    ));
    Ok(Exit::Ok)
}
