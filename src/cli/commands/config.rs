//! `icecore config`

use crate::cli::human::{Align, Table};
use crate::cli::{CommandResult, Context, Exit, Stdout};
use crate::config::{Config, KEYS, Key, Shown, variable};

pub(in crate::cli) fn run(context: &Context) -> CommandResult {
    let text = if context.json { lines(&context.config) } else { table(&context.config) };
    match context.config.file() {
        Some(path) => context.say(&format!("settings file: {}", path.display())),
        None => context.say("settings file: none"),
    }
    let mut stdout = Stdout::lock();
    stdout.write(text.as_bytes())?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

fn table(config: &Config) -> String {
    let mut table = Table::new(&[("setting", Align::Left), ("value", Align::Left), ("from", Align::Left)]);
    for key in KEYS {
        let value = config.shown(key.name).map(|shown| shown.line()).filter(|line| !line.is_empty());
        let value = value.unwrap_or_else(|| "-".to_owned());
        table.row([key.name.to_owned(), value, config.origin(key.name).to_string()]);
    }
    table.render()
}

fn lines(config: &Config) -> String {
    KEYS.iter().map(|key| format!("{}\n", object(config, key))).collect()
}

fn object(config: &Config, key: &Key) -> serde_json::Value {
    let value = match config.shown(key.name) {
        None => serde_json::Value::Null,
        Some(Shown::One(text)) => text.into(),
        Some(Shown::Many(parts)) => parts.into(),
    };
    let origin = config.origin(key.name);
    let (least, most) = (key.range)().unzip();
    serde_json::json!({
        "key": key.name,
        "value": value,
        "origin": origin.word(),
        "from": origin.to_string(),
        "variable": variable(key.name),
        "help": key.help,
        "least": least,
        "most": most,
    })
}
