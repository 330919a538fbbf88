//! The command line: arguments in, data on stdout, talk on stderr, an exit code at the end.
//!
//! Owns: parsing, reading of inputs, printing, progress, interruption. Does not own: anything that a user of the library
//! would miss. A command is a function in `commands` that gets its arguments and a [`Context`], and gives an [`Exit`].
//!
//! What always holds: stdout carries data only, stderr everything else; an error is one line `icecore: ...`, with a
//! `hint: ...` where there is one, or one JSON object with `--json`; a reader that goes away ends a command with success.

mod args;
mod commands;
mod export;
mod facts;
mod failure;
pub mod human;
mod index;
pub mod input;
mod interrupt;
mod logs;
mod output;
mod progress;
mod sinks;
mod source;
mod stdout;
mod stores;
pub mod time;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

pub use args::*;
pub use failure::{CommandResult, Exit, Failure, render_error};
pub use interrupt::Interrupt;
pub use output::{write_json, write_raw};
pub use progress::{Progress, Unit};
pub use stdout::{Output, OutputError, Stdout};

use crate::archive::restore::alone::Alone;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LogLevel, Raw, Sources};
use crate::{Error, ErrorKind};

/// What every command gets beside its arguments.
#[derive(Debug)]
pub struct Context {
    /// The settings in force.
    pub config: Config,
    /// Whether output is for programs.
    pub json: bool,
    /// Whether the user wants to end.
    pub interrupt: Interrupt,
    /// What time it is.
    pub clock: std::sync::Arc<dyn Clock>,
    /// An archive that is read without a log: its catalog lies in a temporary folder, which goes with this.
    alone: std::sync::OnceLock<Alone>,
}

impl Context {
    /// The directories of the log, at least one.
    ///
    /// # Errors
    /// A usage error where none was given.
    pub fn data(&self) -> Result<&[String], Failure> {
        match self.config.settings().data.as_slice() {
            [] => Err(Failure::usage(
                "no directory was given",
                "name it with --data DIR, ICECORE_DATA, or data in icecore.toml",
            )),
            data => Ok(data),
        }
    }

    /// Says a line on stderr, unless output is for programs.
    pub fn say(&self, text: &str) {
        if !self.json {
            talk(&format!("{}\n", human::printable(text)));
        }
    }

    /// A progress bar for long work.
    #[must_use]
    pub fn progress(&self, what: &'static str, unit: Unit, total: Option<u64>) -> Progress {
        Progress::start(what, unit, total, self.json)
    }
}

/// Runs the program with `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Errors of the command line itself are JSON too, so the flag is looked for before the line is understood.
    let json = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let result = match Cli::read(args) {
        Ok(cli) => start(cli),
        Err(shown) if shown.exit_code() == 0 => print_help(&shown),
        Err(wrong) => Err(wrong.into()),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(Failure::PipeClosed) => Exit::Ok.into(),
        Err(Failure::Error(exit, error)) => {
            talk(&render_error(&error, json));
            exit.into()
        }
    }
}

fn start(cli: Cli) -> CommandResult {
    match cli.command {
        Command::Completions { shell } => commands::completions::run(shell),
        Command::Man { dir } => commands::man::run(&dir),
        Command::Config => commands::config::run(&context(&cli)?),
        Command::Log(ref command) => on_log(&context(&cli)?, command),
    }
}

fn on_log(context: &Context, command: &LogCommand) -> CommandResult {
    match command {
        LogCommand::Append(args) => commands::append::run(context, args),
        LogCommand::Cat(args) => commands::cat::run(context, args),
        LogCommand::Tail(args) => commands::tail::run(context, args),
        LogCommand::Get(args) => commands::get::run(context, args),
        LogCommand::Search(args) => commands::search::run(context, args),
        LogCommand::Delete(args) => commands::delete::run(context, args),
        LogCommand::Seal(args) => commands::seal::run(context, args),
        LogCommand::Flush(args) => commands::flush::run(context, args),
        LogCommand::Restore(args) => commands::restore::run(context, args),
        LogCommand::Recover(args) => commands::recover::run(context, args),
        LogCommand::Inspect(args) => commands::inspect::run(context, args),
        LogCommand::Ls(command) => commands::ls::run(context, command),
        LogCommand::Bench(args) => commands::bench::run(context, args),
        LogCommand::Gap(command) => commands::gap::run(context, command),
        LogCommand::Collection(command) => commands::collection::run(context, command),
        LogCommand::Catalog(command) => commands::catalog::run(context, command),
        LogCommand::Directory(command) => commands::directory::run(context, command),
        LogCommand::Doctor(args) => commands::doctor::run(context, args),
        LogCommand::Archive(args) => commands::archive::run(context, args),
        LogCommand::Evict(args) => commands::evict::evict(context, args),
        LogCommand::Rehydrate(args) => commands::evict::rehydrate(context, args),
        LogCommand::Compact(args) => commands::compact::run(context, args),
        LogCommand::Retention(command) => commands::retention::run(context, command),
        LogCommand::Hold(command) => commands::hold::run(context, command),
        LogCommand::Status => commands::status::run(context),
        LogCommand::Verify(args) if args.remote => commands::verify_remote::run(context, args),
        LogCommand::Verify(args) => commands::verify::run(context, args),
    }
}

fn context(cli: &Cli) -> Result<Context, Failure> {
    let config = load_config(cli, std::env::vars_os().collect())?;
    start_logging(config.settings().log.level)?;
    let clock = std::sync::Arc::new(SystemClock::new());
    // Where a command does not look at it, Ctrl-C ends the process as it does elsewhere: every state is safe to be left.
    let interrupt = if cli.command.ends_in_order() { Interrupt::listen()? } else { Interrupt::default() };
    Ok(Context { config, json: cli.global.json, interrupt, clock, alone: std::sync::OnceLock::new() })
}

/// Flags are the strongest source; `--set` comes before the flags that have a name of their own.
fn load_config(cli: &Cli, environment: Vec<(OsString, OsString)>) -> Result<Config, Failure> {
    let mut flags: Vec<(String, Raw, String)> =
        cli.set.iter().map(|(key, value)| (key.clone(), Raw::Word(value.clone()), "--set".to_owned())).collect();
    if !cli.data.is_empty() {
        let data = cli.data.iter().cloned().map(Raw::Text).collect();
        flags.push(("data".to_owned(), Raw::List(data), "--data".to_owned()));
    }
    let level = match cli.global.verbose {
        0 => cli.global.log_level.map(|level| (level, "--log-level")),
        1 => Some((LogLevel::Info, "-v")),
        2 => Some((LogLevel::Debug, "-vv")),
        _ => Some((LogLevel::Trace, "-vvv")),
    };
    let mut word = |key: &str, value: &str, flag: &str| {
        flags.push((key.to_owned(), Raw::Word(value.to_owned()), flag.to_owned()));
    };
    if let Some(engines) = &cli.global.catalog {
        word("catalog.engine", engines, "--catalog");
    }
    if let Some(url) = &cli.global.archive {
        word("archive.url", url, "--archive");
    }
    if let Some((level, flag)) = level {
        word("log.level", level.word(), flag);
    }
    if let Some(mode) = cli.sync() {
        word("sync.mode", mode.word(), "--sync");
    }
    let mut sources = Sources { file: None, environment, flags };
    sources.find_file(cli.global.config.as_deref())?;
    Ok(Config::from_sources(&sources)?)
}

fn start_logging(level: LogLevel) -> Result<(), Error> {
    use tracing_subscriber::filter::LevelFilter;
    let filter = match level {
        LogLevel::Off => return Ok(()),
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot start logging").with_source(error))
}

/// Help and version that were asked for are data.
fn print_help(shown: &clap::Error) -> CommandResult {
    let mut stdout = Stdout::lock();
    stdout.write(shown.render().to_string().as_bytes())?;
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// Writes to stderr; where that is closed, nobody is there to be told.
fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
