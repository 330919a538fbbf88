//! `icecore collection create|show|set|delete`

use serde_json::{Value, json};

use crate::cli::facts::Facts;
use crate::cli::human::{self, Align, Table};
use crate::cli::{
    CollectionCommand, CollectionCreateArgs, CollectionDeleteArgs, CollectionSetArgs, CollectionShowArgs,
    CommandResult, Context, Exit, Failure, Stdout, logs,
};
use crate::config::{SinkKind, nearest};
use crate::log::{CollectionSettings, Deletion, EffectiveSetting, Log, SettingFrom};
use crate::types::{CollectionName, Sequence};
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, command: &CollectionCommand) -> CommandResult {
    match command {
        CollectionCommand::Create(args) => create(context, args),
        CollectionCommand::Show(args) => show(context, args),
        CollectionCommand::Set(args) => set(context, args),
        CollectionCommand::Delete(args) => delete(context, args),
    }
}

/// What was asked for goes into `settings`; a slip is told before anything is opened.
fn change(settings: &mut CollectionSettings, given: &[(String, String)]) -> Result<(), Failure> {
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in given {
        settings.set(key, value).map_err(|error| Failure::Error(Exit::Usage, error))?;
        if key == "sinks" {
            // The library takes any name; a program of its own may have other sinks. This one has these.
            let known = |name: &String| SinkKind::WORDS.contains(&name.as_str());
            if let Some(name) = settings.sinks.iter().flatten().find(|name| !known(name)) {
                let all = SinkKind::WORDS.join(", ");
                let hint = match nearest(name, SinkKind::WORDS.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("sinks are {all}; or `none`"),
                };
                return Err(Failure::usage(
                    format!("this program has no such sink: sink=`{name}`, sinks=`{all}`"),
                    hint,
                ));
            }
        }
        if !seen.insert(key) {
            return Err(Failure::usage(format!("a setting is given twice: key=`{key}`"), "give it once"));
        }
    }
    Ok(())
}

fn create(context: &Context, args: &CollectionCreateArgs) -> CommandResult {
    let mut settings = CollectionSettings::default();
    change(&mut settings, &args.settings)?;
    let log = logs::open_or_make(context)?;
    // Before anything is made: a slip in the name of its home leaves no collection without one.
    let home = args.home.as_ref().map(|home| log.find_home(home)).transpose().map_err(logs::explain)?;
    let created = match &home {
        Some(home) => log.create_collection_at(&args.collection, &settings, home),
        None => log.create_collection(&args.collection, &settings),
    };
    let is_new = match &created {
        Err(error) if error.kind() == ErrorKind::Conflict && args.if_not_exists => false,
        _ => {
            created.map_err(logs::explain)?;
            true
        }
    };
    if let Some(home) = &home {
        // Also of one that is there: an earlier try may have come no further.
        log.assign_home(&args.collection, home).map_err(logs::explain)?;
    }
    let info = log.collection_info(&args.collection).map_err(logs::explain)?;
    log.close().map_err(logs::explain)?;
    let next = info.written.next();
    if context.json {
        print(&json!({ "collection": args.collection, "created": is_new, "next_sequence": next }))?;
    }
    context.say(&match (is_new, next) {
        (false, _) => format!("{} is there already; nothing was changed", args.collection),
        (true, Sequence::FIRST) => format!("created {}", args.collection),
        (true, next) => format!("created {}, which goes on with sequence {next}", args.collection),
    });
    Ok(Exit::Ok)
}

fn show(context: &Context, args: &CollectionShowArgs) -> CommandResult {
    let log = logs::open_read_only(context)?;
    let info = log.collection_info(&args.collection).map_err(logs::explain)?;
    let settings = log.effective_settings(&args.collection).map_err(logs::explain)?;
    let row = log.catalog().collection(&args.collection).map_err(Error::from)?;
    let home = home_shown(context, &log, &args.collection)?;
    let directory = std::path::absolute(&info.directory).unwrap_or_else(|_| info.directory.clone());
    let facts = Facts::default()
        .text("collection", &info.collection)
        .time("created_at", row.map(|row| row.created_at))
        .text("directory", directory.display())
        .maybe("home", home)
        .number("first_sequence", info.first_sequence.map(Sequence::get))
        .number("last_sequence", info.last_sequence.map(Sequence::get))
        .number("next_sequence", info.written.next().get())
        .number("floor", info.floor.get())
        .count("records", info.records)
        .bytes("bytes", info.bytes)
        .count("segments", info.segments)
        .count("unsealed_records", info.unsealed_records)
        .bytes("unsealed_bytes", info.unsealed_bytes)
        .hidden("settings", settings.iter().map(object).collect::<Vec<_>>());
    let mut stdout = Stdout::lock();
    if context.json {
        stdout.line(&facts.json())?;
    } else {
        stdout.write(facts.lines().as_bytes())?;
        stdout.write(format!("\n{}", table(&settings)).as_bytes())?;
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// The URL of the remote that its segments are at home in; the id of one that the log does not have any more.
fn home_shown(context: &Context, log: &Log, name: &CollectionName) -> Result<Option<String>, Failure> {
    let Some(home) = log.home_of(name).map_err(logs::explain)? else { return Ok(None) };
    let remotes = logs::options(context)?.remotes().map_err(logs::explain)?;
    Ok(Some(remotes.into_iter().find(|remote| remote.directory == home).map_or(home, |remote| remote.url)))
}

const fn from(setting: &EffectiveSetting) -> &'static str {
    match setting.from {
        SettingFrom::Collection => "collection",
        SettingFrom::Log => "log",
        SettingFrom::NotUnderstood => "collection (unknown to this icecore)",
    }
}

fn table(settings: &[EffectiveSetting]) -> String {
    let mut table = Table::new(&[("setting", Align::Left), ("value", Align::Left), ("from", Align::Left)]);
    for setting in settings {
        table.row([setting.key.clone(), setting.value.clone(), from(setting).to_owned()]);
    }
    table.render()
}

fn object(setting: &EffectiveSetting) -> Value {
    serde_json::to_value(setting).expect("a setting is plain text")
}

fn set(context: &Context, args: &CollectionSetArgs) -> CommandResult {
    change(&mut CollectionSettings::default(), &args.settings)?;
    let log = logs::open_existing(context)?;
    let mut outcome = Ok(());
    let rehomed = args.home.as_ref().map_or(Ok(()), |home| log.assign_home(&args.collection, home));
    let changed = rehomed.and_then(|()| {
        log.set_collection_settings(&args.collection, |settings| outcome = change(settings, &args.settings))
    });
    let forgotten = changed.and_then(|_| match &args.forget_sink {
        Some(sink) if outcome.is_ok() => log.forget_sink(&args.collection, sink),
        _ => Ok(()),
    });
    let shown = forgotten.and_then(|()| log.effective_settings(&args.collection));
    let closed = log.close();
    outcome?;
    let settings = shown.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    if context.json {
        let settings: Vec<Value> = settings.iter().map(object).collect();
        let mut object = json!({ "collection": args.collection, "settings": settings });
        if let Some(sink) = &args.forget_sink {
            object["forgotten_sink"] = sink.as_str().into();
        }
        print(&object)?;
    }
    if let Some(home) = &args.home {
        context
            .say(&format!("{}: what is sealed and not archived yet, and what comes, goes to {home}", args.collection));
    }
    if let Some(sink) = &args.forget_sink {
        context.say(&format!("{}: nothing waits for the sink {sink}; delete what it has of it", args.collection));
    }
    let is_given = |setting: &&EffectiveSetting| args.settings.iter().any(|(key, _)| *key == setting.key);
    for setting in settings.iter().filter(is_given) {
        context.say(&format!("{}: {} is {}, from {}", args.collection, setting.key, setting.value, from(setting)));
    }
    Ok(Exit::Ok)
}

fn delete(context: &Context, args: &CollectionDeleteArgs) -> CommandResult {
    if args.dry_run {
        let plan = logs::open_read_only(context)?.plan_deletion(&args.collection).map_err(logs::explain)?;
        return told(context, &plan, true);
    }
    if !args.yes && !confirmed(context, &args.collection)? {
        let error = Error::new(ErrorKind::Invalid, format!("not deleted: collection=`{}`", args.collection));
        return Err(error.with_hint("the answer that deletes is the collection's name; or give --yes").into());
    }
    let log = logs::open_existing(context)?;
    let deleted = log.delete_collection(&args.collection);
    let closed = log.close();
    let deletion = deleted.map_err(logs::explain)?;
    closed.map_err(logs::explain)?;
    told(context, &deletion, false)
}

/// Says what would go, and asks. The answer comes from stdin, also where that is no terminal.
fn confirmed(context: &Context, collection: &CollectionName) -> Result<bool, Failure> {
    if context.json {
        return Err(Failure::usage("with --json nobody is asked", "give --yes to delete, or --dry-run to look"));
    }
    let plan = logs::open_read_only(context)?.plan_deletion(collection).map_err(logs::explain)?;
    let question = format!("delete {}? Its name as the answer deletes it for good: ", summary(&plan));
    Ok(super::answer(&question)? == collection.as_str())
}

/// `scratch with 12 records (1..=12), 3.10 KiB, in 1 segment`
fn summary(deletion: &Deletion) -> String {
    let range = match (deletion.first_sequence, deletion.last_sequence) {
        (Some(first), Some(last)) => format!(" ({first}..={last})"),
        _ => String::new(),
    };
    format!(
        "{} with {}{range}, {}, in {}",
        deletion.collection,
        human::plural(deletion.records, "record"),
        human::size(deletion.bytes),
        human::plural(deletion.segments, "segment")
    )
}

fn told(context: &Context, deletion: &Deletion, dry_run: bool) -> CommandResult {
    if context.json {
        let mut object = serde_json::to_value(deletion).expect("a deletion is plain text and numbers");
        object["dry_run"] = dry_run.into();
        print(&object)?;
    }
    let verb = if dry_run { "would delete" } else { "deleted" };
    context.say(&format!("{verb} {}; its next sequence is {}", summary(deletion), deletion.next_sequence));
    Ok(Exit::Ok)
}

fn print(object: &Value) -> Result<(), Failure> {
    let mut stdout = Stdout::lock();
    stdout.line(&object.to_string())?;
    Ok(stdout.flush()?)
}
