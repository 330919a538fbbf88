//! The three sources of settings: the file, the environment, flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, SHORT, variable};
use super::nearest::nearest;
use super::value::Raw;
use super::{ConfigError, Origin};

/// The name of the settings file where nobody names another.
const FILE_NAME: &str = "icecore.toml";
/// Variables with this beginning are settings, or mistakes.
const PREFIX: &str = "ICECORE_";
/// Names the settings file; the only variable with the prefix that is no setting.
const FILE_VARIABLE: &str = "ICECORE_CONFIG";

/// A settings file's text.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    /// Where it was.
    pub path: PathBuf,
    /// What it said.
    pub text: String,
}

/// Everything that settings are made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The settings file, if there is one.
    pub file: Option<SettingsFile>,
    /// Environment variables; those without `ICECORE_` in front are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the setting, its value, and the flag as it is written.
    pub flags: Vec<(String, Raw, String)>,
}

/// One value of one source.
pub(super) struct Given {
    pub key: String,
    pub value: Raw,
    pub origin: Origin,
}

impl Sources {
    /// Looks for the settings file, in the order that the module tells, and reads it. `named` is what `--config` says.
    ///
    /// Environment and flags must be there already: they may name the file, or the directory that it lies in.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] for a file that is named and absent, or that is there and cannot be read.
    pub fn find_file(&mut self, named: Option<&Path>) -> Result<(), ConfigError> {
        let variable = self.variable(FILE_VARIABLE).map(PathBuf::from);
        if let Some(path) = named {
            self.file = Some(read(path.to_path_buf(), "--config")?);
        } else if let Some(path) = variable {
            self.file = Some(read(path, FILE_VARIABLE)?);
        } else {
            self.file = read_if_there(PathBuf::from(FILE_NAME), "working directory")?;
            if self.file.is_none()
                && let Some(directory) = self.first_directory()
            {
                self.file = read_if_there(directory.join(FILE_NAME), "data directory")?;
            }
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// The first local directory that flags or environment name.
    fn first_directory(&self) -> Option<PathBuf> {
        let flag = self.flags.iter().rev().find(|(key, ..)| key == "data").map(|(_, value, _)| match value {
            Raw::List(parts) => parts.first().map(ToString::to_string).unwrap_or_default(),
            one => one.to_string(),
        });
        let variable = || {
            let value = self.variable("ICECORE_DATA")?.to_str()?;
            value.split(',').next().map(str::to_owned)
        };
        let first = flag.or_else(variable)?;
        let path = first.strip_prefix("file://").unwrap_or(&first);
        (!path.contains("://")).then(|| PathBuf::from(path))
    }

    /// What each source gives, weakest source first.
    pub(super) fn layers(&self) -> Result<Vec<Vec<Given>>, ConfigError> {
        let mut layers = Vec::new();
        if let Some(file) = &self.file {
            layers.push(file.given()?);
        }
        layers.push(self.given_by_environment()?);
        // Each flag is a layer of its own: the last word wins, as on any command line.
        layers.extend(self.flags.iter().map(|(key, value, flag)| {
            vec![Given { key: key.clone(), value: value.clone(), origin: Origin::Flag(flag.clone()) }]
        }));
        Ok(layers)
    }

    fn given_by_environment(&self) -> Result<Vec<Given>, ConfigError> {
        let mut given = Vec::new();
        for (name, value) in &self.environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != FILE_VARIABLE) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let value = value.to_str().ok_or_else(|| ConfigError::NotText(name.to_owned()))?;
            let origin = Origin::Environment(name.to_owned());
            let key = names().find(|key| variable(key) == name).ok_or_else(|| unknown(name, &origin))?;
            given.push(Given { key: key.to_owned(), value: Raw::Word(value.to_owned()), origin });
        }
        Ok(given)
    }
}

/// Every name that a setting goes by, short ones included.
fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name).chain(SHORT.iter().map(|(short, _)| *short))
}

/// The error for a key that nobody knows, with the nearest one spelt as that source spells it.
pub(super) fn unknown(key: &str, origin: &Origin) -> ConfigError {
    let near = if let Origin::Environment(_) = origin {
        let variables: Vec<String> = names().map(variable).chain([FILE_VARIABLE.to_owned()]).collect();
        nearest(key, variables.iter().map(String::as_str)).map(str::to_owned)
    } else {
        nearest(key, names()).map(str::to_owned)
    };
    ConfigError::UnknownKey { key: key.to_owned(), origin: origin.clone(), nearest: near }
}

/// Lets relative paths of a settings file start from the file's own directory.
pub(super) fn anchor(key: &str, value: &Raw, directory: &Path) -> Raw {
    match value {
        Raw::List(parts) => Raw::List(parts.iter().map(|part| anchor(key, part, directory)).collect()),
        Raw::Text(text)
            if matches!(key, "data" | "catalog.path" | "archive.url" | "archive.ca_file")
                && !text.is_empty()
                && !text.contains("://") =>
        {
            Raw::Text(directory.join(text).display().to_string())
        }
        other => other.clone(),
    }
}

// A settings file is the user's, not the log's: no crash simulation needs to stand in for it.
fn read(path: PathBuf, named_by: &'static str) -> Result<SettingsFile, ConfigError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(SettingsFile { path, text }),
        Err(source) => Err(ConfigError::Unreadable { path, named_by, source }),
    }
}

fn read_if_there(path: PathBuf, named_by: &'static str) -> Result<Option<SettingsFile>, ConfigError> {
    match read(path, named_by) {
        Ok(file) => Ok(Some(file)),
        // A directory that is a file, or missing altogether, has no settings in it; the log itself will say so.
        Err(ConfigError::Unreadable { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl SettingsFile {
    fn line_of(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Every value of the file under its dotted key.
    fn given(&self) -> Result<Vec<Given>, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|error| ConfigError::Syntax {
            path: self.path.clone(),
            line: self.line_of(error.span().map_or(0, |span| span.start)),
            why: error.message().lines().collect::<Vec<_>>().join(", "),
        })?;
        let mut given = Vec::new();
        self.flatten("", table.get_ref(), &mut given);
        // In the order of the file: the first mistake is the first that is reported.
        given.sort_by_key(|entry| match entry.origin {
            Origin::File { line, .. } => line,
            _ => 0,
        });
        Ok(given)
    }

    fn flatten(&self, prefix: &str, table: &DeTable<'_>, given: &mut Vec<Given>) {
        for (name, value) in table {
            let key =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let origin = Origin::File { path: self.path.clone(), line: self.line_of(name.span().start) };
            match value.get_ref() {
                // An unknown section is reported as such, once, and not key by key.
                DeValue::Table(inner) if is_section(&key) => self.flatten(&key, inner, given),
                other => given.push(Given { key, value: raw(other), origin }),
            }
        }
    }
}

fn is_section(key: &str) -> bool {
    KEYS.iter().any(|known| known.name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("number beyond 64 bits"), Raw::Integer),
        DeValue::Array(parts) => Raw::List(parts.iter().map(|part| raw(part.get_ref())).collect()),
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other("fraction"), Raw::Fraction),
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Table(_) => Raw::Other("section"),
    }
}
