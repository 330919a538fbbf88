//! How a command ends: exit codes, and errors as people and programs read them.

use std::error::Error as _;
use std::process::ExitCode;

use super::human::printable;
use super::input::InputError;
use super::stdout::OutputError;
use crate::config::ConfigError;
use crate::{Error, ErrorKind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Ok = 0,
    /// It could not be done.
    Failure = 1,
    /// What was asked for makes no sense.
    Usage = 2,
    /// Some of it was done.
    Partial = 3,
    /// Damage was found.
    Damage = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Nobody reads stdout any more. That is no failure: who wanted ten lines has ten lines.
    PipeClosed,
    /// An error, and the exit code that goes with it.
    Error(Exit, Error),
}

/// What a command gives.
pub type CommandResult = Result<Exit, Failure>;

impl Failure {
    /// A wrong use of the command line.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Error(Exit::Usage, Error::new(ErrorKind::Invalid, message).with_hint(hint))
    }

    /// The same error with another exit code: an append that failed half-way is partial.
    #[must_use]
    pub fn with_exit(self, exit: Exit) -> Self {
        match self {
            Self::Error(_, error) => Self::Error(exit, error),
            Self::PipeClosed => Self::PipeClosed,
        }
    }
}

/// Damage has its own exit code; everything else that the log reports is a failure.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = if error.kind() == ErrorKind::Corrupt { Exit::Damage } else { Exit::Failure };
        Self::Error(exit, error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Error(Exit::Usage, error.into())
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => Self::PipeClosed,
            OutputError::Failed(source) => Self::Error(
                Exit::Failure,
                Error::new(ErrorKind::Internal, "cannot write to stdout").with_source(source),
            ),
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        let (exit, kind) = match &error {
            InputError::NoFields { .. } => (Exit::Usage, ErrorKind::Invalid),
            InputError::Newer { .. } => (Exit::Failure, ErrorKind::Unsupported),
            InputError::Damaged { .. } => (Exit::Damage, ErrorKind::Corrupt),
            _ => (Exit::Failure, ErrorKind::Invalid),
        };
        let hint = error.hint();
        let mut shown = Error::new(kind, error.to_string());
        if let Some(hint) = hint {
            shown = shown.with_hint(hint);
        }
        if let InputError::Read { source, .. } = error {
            shown = shown.with_source(source);
        }
        Self::Error(exit, shown)
    }
}

/// What the parser of the command line says, in our own form.
impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::usage("a command is missing", format!("there are {}", listed_commands(&text)));
        }
        if error.kind() == clap::error::ErrorKind::MissingSubcommand {
            return Self::usage("a command is missing", SEE_HELP);
        }
        let mut message = Vec::new();
        let mut tips = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("Usage:") || line.starts_with("For more information") {
                break;
            }
            match line.strip_prefix("tip: ") {
                Some(tip) => tips.push(tip.to_owned()),
                None if line.is_empty() => {}
                None => message.push(line.strip_prefix("error: ").unwrap_or(line)),
            }
        }
        if tips.is_empty() {
            tips.push(SEE_HELP.to_owned());
        }
        Self::usage(message.join(" "), tips.join("; "))
    }
}

const SEE_HELP: &str = "`icecore --help` and `icecore COMMAND --help` show what there is";

/// The names under "Commands:" in a help text.
fn listed_commands(help: &str) -> String {
    let names = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on with the help of the name above it is indented further.
    let names = names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.collect::<Vec<_>>().join(", ")
}

/// The kind of an error in one word, for programs.
const fn kind_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::OutcomeUnknown => "outcome_unknown",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Fenced => "fenced",
        ErrorKind::Locked => "locked",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Full => "full",
        ErrorKind::Closed => "closed",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Internal => "internal",
    }
}

/// The error and its causes in one line.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors say their cause in their own text already.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// The error as it goes to stderr: a line and a hint for people, one object for programs.
///
/// ```
/// use icecore::{Error, ErrorKind, cli::render_error};
/// let error = Error::new(ErrorKind::Locked, "log is open for writing elsewhere").with_hint("stop the other writer");
/// assert_eq!(render_error(&error, false), "icecore: log is open for writing elsewhere\nhint: stop the other writer\n");
/// ```
#[must_use]
pub fn render_error(error: &Error, json: bool) -> String {
    if json {
        let (kind, message, hint) = (kind_word(error.kind()), one_line(error), error.hint());
        let object = serde_json::json!({ "error": { "kind": kind, "message": message, "hint": hint } });
        return format!("{object}\n");
    }
    let hint = error.hint().map(|hint| format!("hint: {}\n", printable(hint))).unwrap_or_default();
    format!("icecore: {}\n{hint}", printable(&one_line(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let full = std::io::Error::other("no space\nleft");
        let error = Error::new(ErrorKind::Full, "cannot write: path=`a`").with_source(full).with_hint("free some");
        assert_eq!(render_error(&error, false), "icecore: cannot write: path=`a`: no space left\nhint: free some\n");
        let object: serde_json::Value = serde_json::from_str(&render_error(&error, true)).unwrap();
        let message = "cannot write: path=`a`: no space left";
        assert_eq!(object, serde_json::json!({"error": {"kind": "full", "message": message, "hint": "free some"}}));
    }

    #[test]
    fn damage_has_its_own_exit_code() {
        let exit = |kind| match Failure::from(Error::new(kind, "x")) {
            Failure::Error(exit, _) => exit,
            Failure::PipeClosed => panic!("no pipe here"),
        };
        assert_eq!(exit(ErrorKind::Corrupt), Exit::Damage);
        assert_eq!(exit(ErrorKind::Full), Exit::Failure);
    }
}
