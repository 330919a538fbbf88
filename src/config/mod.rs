//! Settings: where they come from, which of them wins, and what each may be.
//!
//! Owns: the settings file, the environment, the table of keys, units. Does not own: flags (the command line hands them
//! over as words), what a setting does.
//!
//! `icecore.toml` < environment < flags. There is one settings file, the first of:
//!
//! 1. the one named by `--config`, or else by `ICECORE_CONFIG`; it must be there;
//! 2. `icecore.toml` in the working directory;
//! 3. `icecore.toml` in the first directory named by `--data` or `ICECORE_DATA`.
//!
//! The key `flush.bytes` is `[flush] bytes = "64MiB"` in the file and `ICECORE_FLUSH_BYTES` in the environment. An empty
//! variable counts as absent. A key that nobody knows is an error in either, as is `ICECORE_` with anything unknown
//! behind it: a setting that is misspelt must not silently be the default. Relative paths in the file start from the file's
//! own directory, everywhere else from the working directory. Every value remembers who gave it.

mod keys;
mod nearest;
mod quiet;
mod settings;
mod source;
mod units;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::types::{MASK, Secret};
pub use keys::{KEYS, Key, variable};
pub(crate) use nearest::nearest;
pub use quiet::QuietHours;
pub use settings::{
    CatalogSettings, CollectionsSettings, FlushSettings, JournalSettings, LimitSettings, LogSettings,
    PlacementSettings, SealSettings, SearchSettings, SegmentSettings, Settings, SyncSettings,
};
pub use source::{SettingsFile, Sources};
pub use units::{ByteSize, InvalidUnit, parse_duration, show_duration};
pub use value::{
    Amount, CatalogEngines, LogLevel, Raw, RetainMode, SegmentCodec, SettingValue, Shown, SinkKind, SinkKinds, SyncMode,
};

use crate::{Error, ErrorKind};

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The settings file, in this line.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, as it is written: `--sync`.
    Flag(String),
}

impl Origin {
    /// One word: `default`, `file`, `environment` or `flag`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }
}

/// `default`, `icecore.toml:3`, `ICECORE_SYNC_MODE`, `--sync`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No setting has this name.
    #[error("unknown setting: key=`{key}`, from=`{origin}`")]
    UnknownKey {
        /// The name as it was given.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest one that there is.
        nearest: Option<String>,
    },
    /// The value is none that the setting takes.
    #[error("invalid setting: key=`{key}`, value=`{value}`, from=`{origin}`; {why}")]
    BadValue {
        /// The setting.
        key: &'static str,
        /// The value as it was given; masked where it is a secret.
        value: String,
        /// Where.
        origin: Origin,
        /// What is wanted instead.
        why: String,
    },
    /// One source gives a setting twice.
    #[error("setting is given twice: key=`{key}`, from=`{first}` and `{second}`")]
    Twice {
        /// The setting.
        key: &'static str,
        /// Where first.
        first: Origin,
        /// Where again.
        second: Origin,
    },
    /// The settings file is no TOML.
    #[error("settings file cannot be read as toml: path=`{}`, line=`{line}`; {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the reader said.
        why: String,
    },
    /// The settings file cannot be read.
    #[error("cannot read settings file: path=`{}`, named by=`{named_by}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What led there: `--config`, `ICECORE_CONFIG`, `working directory`, `data directory`.
        named_by: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An environment variable is no UTF-8.
    #[error("environment variable is not utf-8: name=`{0}`")]
    NotText(String),
}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKey { .. } => Some("`icecore config` lists all settings".to_owned()),
            Self::Unreadable { .. } | Self::Syntax { .. } => {
                Some("correct the file, or name another with --config".to_owned())
            }
            _ => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        let mut shown = Self::new(ErrorKind::Invalid, error.to_string());
        if let Some(hint) = hint {
            shown = shown.with_hint(hint);
        }
        match error {
            ConfigError::Unreadable { source, .. } => shown.with_source(source),
            _ => shown,
        }
    }
}

/// The settings in force, and who gave each.
#[derive(Clone, Debug, Default)]
pub struct Config {
    settings: Settings,
    /// Only of what somebody gave; all else is the default.
    origins: BTreeMap<&'static str, Origin>,
    file: Option<PathBuf>,
}

impl Config {
    /// Lays the sources over each other, checks every value, and then the values against each other.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong, weakest source first.
    pub fn from_sources(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self { file: sources.file.as_ref().map(|file| file.path.clone()), ..Self::default() };
        for layer in sources.layers()? {
            let mut given: BTreeMap<&'static str, Origin> = BTreeMap::new();
            for entry in layer {
                let key = keys::find(&entry.key).ok_or_else(|| source::unknown(&entry.key, &entry.origin))?;
                if let Some(first) = given.get(key.name) {
                    return Err(ConfigError::Twice { key: key.name, first: first.clone(), second: entry.origin });
                }
                config.set(key, &entry.value, entry.origin.clone())?;
                given.insert(key.name, entry.origin);
            }
            config.origins.append(&mut given);
        }
        match keys::check_together(&config.settings) {
            None => Ok(config),
            Some(broken) => Err(config.together_error(&broken)),
        }
    }

    fn set(&mut self, key: &'static Key, value: &Raw, origin: Origin) -> Result<(), ConfigError> {
        let anchored = match &origin {
            Origin::File { path, .. } => source::anchor(key.name, value, path.parent().unwrap_or(Path::new(""))),
            _ => value.clone(),
        };
        (key.read)(&mut self.settings, &anchored).map_err(|why| {
            let value = value.to_string();
            // A url that holds a password or a token is refused, and not repeated.
            let may_hold_secret = value.contains("://") && value.contains(['@', '?', '#']);
            let value = if key.secret || may_hold_secret { MASK.to_owned() } else { value };
            ConfigError::BadValue { key: key.name, value, origin, why }
        })
    }

    /// Blames the setting of the two that somebody gave: a default is nobody's mistake.
    fn together_error(&self, broken: &keys::Broken) -> ConfigError {
        let (key, other) = (broken.key, broken.other);
        let line = |name: &str| self.shown(name).map(|shown| shown.line()).unwrap_or_default();
        if self.origin(key) == Origin::Default && self.origin(other) != Origin::Default {
            let why = format!("it does not go with {key}, which is {} by default: that one must fit it", line(key));
            return ConfigError::BadValue { key: other, value: line(other), origin: self.origin(other), why };
        }
        ConfigError::BadValue { key, value: line(key), origin: self.origin(key), why: broken.why.clone() }
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings file that was read, if one was.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Who gave the value of a setting.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// The value of a setting as it may be shown (secrets masked); `None` where it is not set, or not known.
    #[must_use]
    pub fn shown(&self, name: &str) -> Option<Shown> {
        keys::find(name).and_then(|key| (key.show)(&self.settings))
    }
}

#[cfg(test)]
mod tests;
