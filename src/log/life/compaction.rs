//! What compaction leaves of a collection.
//!
//! Owns: the values of the settings `compact.*`. Does not own: deciding what goes (`crate::compaction`).

use std::time::Duration;

use serde_json::Value;

use super::retention::{Keep, NONE, limit};
use super::settings::CollectionSettings;
use crate::compaction::CompactionPolicy;
use crate::config::{ByteSize, parse_duration, show_duration};

pub(super) const KEEP_VERSIONS: &str = "compact.keep_versions";
pub(super) const TTL: &str = "compact.ttl";
pub(super) const TOMBSTONE_GRACE: &str = "compact.tombstone_grace";
pub(super) const TARGET_BYTES: &str = "compact.target_bytes";
/// Every one of them.
pub(super) const KEYS: [&str; 4] = [KEEP_VERSIONS, TTL, TOMBSTONE_GRACE, TARGET_BYTES];

/// The word for every version.
const ALL: &str = "all";
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_hours(24 * 365 * 100);
/// What neighbours are merged up to where nobody said otherwise.
const TARGET_BYTES_DEFAULT: u64 = 16 << 20;

/// What compaction leaves. Of each, `None` is what the log has; in the log's: every version, no time to live, tombstones for ever, neighbours
/// merged up to 16 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionSettings {
    /// The newest versions of each key that stay (`compact.keep_versions`).
    pub keep_versions: Option<Keep<u64>>,
    /// Records expire so long after their own time (`compact.ttl`).
    pub ttl: Option<Keep<Duration>>,
    /// Tombstones may go so long after their own time (`compact.tombstone_grace`).
    pub tombstone_grace: Option<Keep<Duration>>,
    /// Small neighbours are merged up to so many bytes of records, before compression (`compact.target_bytes`).
    pub target_bytes: Option<Keep<u64>>,
}

impl CompactionSettings {
    /// These, and for those that are not set those of `log`.
    #[must_use]
    pub fn or(self, log: Self) -> Self {
        Self {
            keep_versions: self.keep_versions.or(log.keep_versions),
            ttl: self.ttl.or(log.ttl),
            tombstone_grace: self.tombstone_grace.or(log.tombstone_grace),
            target_bytes: self.target_bytes.or(log.target_bytes),
        }
    }

    /// What they come to.
    #[must_use]
    pub fn policy(self) -> CompactionPolicy {
        fn up_to<T>(keep: Option<Keep<T>>) -> Option<T> {
            match keep {
                Some(Keep::UpTo(value)) => Some(value),
                Some(Keep::All) | None => None,
            }
        }
        CompactionPolicy {
            keep_versions: up_to(self.keep_versions),
            ttl: up_to(self.ttl),
            tombstone_grace: up_to(self.tombstone_grace),
            target_bytes: match self.target_bytes {
                Some(Keep::UpTo(bytes)) => bytes,
                Some(Keep::All) => 0,
                None => TARGET_BYTES_DEFAULT,
            },
        }
    }

    /// Sets one from what people write.
    pub(super) fn set(&mut self, key: &str, text: Option<&str>) -> Result<(), String> {
        match key {
            KEEP_VERSIONS => self.keep_versions = text.map(|text| limit(text, ALL, count)).transpose()?,
            TTL => self.ttl = text.map(|text| limit(text, NONE, span)).transpose()?,
            TOMBSTONE_GRACE => self.tombstone_grace = text.map(|text| limit(text, NONE, span)).transpose()?,
            _ => self.target_bytes = text.map(|text| limit(text, NONE, bytes)).transpose()?,
        }
        Ok(())
    }

    /// Sets one from the catalog's JSON; whether it was understood.
    pub(super) fn take(&mut self, key: &str, value: &Value) -> bool {
        let is_span = matches!(key, TTL | TOMBSTONE_GRACE);
        let text = match value {
            Value::String(text) if is_span || text == NONE || text == ALL => text.clone(),
            Value::Number(number) if !is_span => number.to_string(),
            _ => return false,
        };
        self.set(key, Some(&text)).is_ok()
    }

    /// As the catalog keeps them.
    pub(super) fn values(self) -> [(&'static str, Option<Value>); 4] {
        fn value<T>(keep: Option<Keep<T>>, all: &str, show: impl Fn(T) -> Value) -> Option<Value> {
            keep.map(|keep| match keep {
                Keep::UpTo(value) => show(value),
                Keep::All => all.into(),
            })
        }
        [
            (KEEP_VERSIONS, value(self.keep_versions, ALL, Value::from)),
            (TTL, value(self.ttl, NONE, |span| show_duration(span).into())),
            (TOMBSTONE_GRACE, value(self.tombstone_grace, NONE, |span| show_duration(span).into())),
            (TARGET_BYTES, value(self.target_bytes, NONE, Value::from)),
        ]
    }

    /// As people write them.
    pub(super) fn texts(self) -> [(&'static str, Option<String>); 4] {
        let shown = |(key, value): (&'static str, Option<Value>)| {
            let text = value.map(|value| match value {
                Value::String(text) => text,
                Value::Number(number) if key == TARGET_BYTES => ByteSize(number.as_u64().unwrap_or(0)).to_string(),
                other => other.to_string(),
            });
            (key, text)
        };
        self.values().map(shown)
    }

    /// What is in force where neither collection nor log says anything, as people write it.
    pub(super) fn default_text(key: &str) -> String {
        match key {
            KEEP_VERSIONS => ALL.to_owned(),
            TARGET_BYTES => ByteSize(TARGET_BYTES_DEFAULT).to_string(),
            _ => NONE.to_owned(),
        }
    }
}

impl CollectionSettings {
    /// A setting of compaction that this program does not understand: nothing is compacted then.
    #[must_use]
    pub fn unknown_compaction(&self) -> Option<&str> {
        self.others.keys().map(String::as_str).find(|key| key.starts_with("compact."))
    }
}

fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("a whole number from 1 on is wanted, or `{ALL}`");
    text.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| format!("{error}; or `{NONE}`"))?;
    if (SPAN_MIN..=SPAN_MAX).contains(&span) {
        return Ok(span);
    }
    Err(format!("it must be from {} to {}, or `{NONE}`", show_duration(SPAN_MIN), show_duration(SPAN_MAX)))
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse::<ByteSize>().map_err(|error| format!("{error}; or `{NONE}`"))?.bytes();
    if bytes > 0 { Ok(bytes) } else { Err(format!("it must be at least 1, or `{NONE}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_kept_and_read_back() {
        let mut settings = CollectionSettings::default();
        for (key, text) in [(KEEP_VERSIONS, "3"), (TTL, "30d"), (TOMBSTONE_GRACE, "none"), (TARGET_BYTES, "1MiB")] {
            settings.set(key, text).unwrap();
        }
        let text = serde_json::to_string(&settings).unwrap();
        let wanted = r#"{"compact.keep_versions":3,"compact.target_bytes":1048576,"compact.tombstone_grace":"none","compact.ttl":"30d"}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<CollectionSettings>(&text).unwrap(), settings);
        let log = CompactionSettings {
            keep_versions: Some(Keep::UpTo(1)),
            tombstone_grace: Some(Keep::UpTo(Duration::from_secs(9))),
            ..CompactionSettings::default()
        };
        let policy = settings.compaction.or(log).policy();
        assert_eq!((policy.keep_versions, policy.tombstone_grace, policy.target_bytes), (Some(3), None, 1 << 20));
        settings.set(KEEP_VERSIONS, "").unwrap();
        assert_eq!(settings.compaction.or(log).policy().keep_versions, Some(1));
        settings.set(KEEP_VERSIONS, "all").unwrap();
        assert_eq!(settings.compaction.or(log).policy().keep_versions, None);
        assert_eq!(CompactionSettings::default().policy().target_bytes, TARGET_BYTES_DEFAULT);
        let texts: Vec<_> = settings.compaction.texts().into_iter().filter_map(|(_, text)| text).collect();
        assert_eq!(texts, ["all", "30d", "none", "1MiB"]);
    }

    #[test]
    fn what_is_not_understood_is_kept_and_lets_nothing_go() {
        for text in [
            r#"{"compact.keep_versions":0}"#,
            r#"{"compact.keep_versions":"newest"}"#,
            r#"{"compact.ttl":5}"#,
            r#"{"compact.of_a_newer_program":"x"}"#,
        ] {
            let settings: CollectionSettings = serde_json::from_str(text).unwrap();
            assert!(settings.unknown_compaction().is_some(), "{text}");
            assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        }
        let mut settings = CollectionSettings::default();
        for (key, text, why) in [
            (KEEP_VERSIONS, "0", "a whole number from 1 on is wanted, or `all`"),
            (TTL, "1ms", "it must be from 1s to 36500d, or `none`"),
            (TOMBSTONE_GRACE, "soon", "or `none`"),
            (TARGET_BYTES, "0", "it must be at least 1, or `none`"),
        ] {
            let told = settings.set(key, text).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }
}
