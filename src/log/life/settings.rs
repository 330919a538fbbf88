//! A collection's own settings, as the catalog keeps them: one JSON object, such as `{"seal.age":"1h","sync":"always"}`.
//!
//! Owns: which keys there are, what each may be, and that a key which this program does not understand is kept as it is: a newer
//! program wrote it, and an older one must not lose it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::options::SyncMode;
use super::compaction::{self, CompactionSettings, KEEP_VERSIONS, TARGET_BYTES, TOMBSTONE_GRACE, TTL};
use super::retention::{AGE, BYTES, HOLDS, LegalHold, RECORDS, Retention};
use crate::config::{ByteSize, nearest, parse_duration, show_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Timestamp;
use crate::vector::DIMENSIONS_MAX;

/// Which settings a collection may have.
pub const COLLECTION_KEYS: [&str; 12] = [
    SYNC,
    SEAL_BYTES,
    SEAL_AGE,
    SINKS,
    AGE,
    BYTES,
    RECORDS,
    DIMENSIONS,
    KEEP_VERSIONS,
    TTL,
    TOMBSTONE_GRACE,
    TARGET_BYTES,
];

pub(super) const SYNC: &str = "sync";
pub(super) const SEAL_BYTES: &str = "seal.bytes";
pub(super) const SEAL_AGE: &str = "seal.age";
pub(super) const DIMENSIONS: &str = "vector.dimensions";
pub(super) const SINKS: &str = "sinks";
/// The mark of a deleted collection, and since when. It stands for what is below the floor: a record at or behind it makes the
/// collection live again, whether the mark is still there or not.
const DELETED: &str = "deleted";

/// No sink at all.
const NO_SINKS: &str = "none";
/// The longest name of a sink.
pub(in crate::log) const SINK_BYTES_MAX: usize = 64;
const SEAL_BYTES_MIN: u64 = 64 << 10;
const SEAL_BYTES_MAX: u64 = 4 << 30;
const SEAL_AGE_MIN: Duration = Duration::from_secs(1);
const SEAL_AGE_MAX: Duration = Duration::from_hours(24 * 365);

/// What one collection has of its own; what is `None` is as the log has it.
///
/// ```
/// use icecore::CollectionSettings;
/// let mut settings = CollectionSettings::default();
/// settings.set("seal.bytes", "1MiB")?;
/// assert_eq!(settings.seal_bytes, Some(1 << 20));
/// assert!(settings.set("seal.byts", "1MiB").is_err());
/// # Ok::<(), icecore::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct CollectionSettings {
    /// When its appends return (`sync`). What an append asks for itself wins over it, and it wins over the log's mode.
    pub sync: Option<SyncMode>,
    /// From so many bytes of unsealed records on it is sealed, in segments of at most so many (`seal.bytes`).
    pub seal_bytes: Option<u64>,
    /// Records older than this are sealed (`seal.age`).
    pub seal_age: Option<Duration>,
    /// The sinks that it subscribes to (`sinks`): those that are named, separated by commas, or `none`.
    pub sinks: Option<Vec<String>>,
    /// What of it may be purged (`retention.age`, `retention.bytes`, `retention.records`).
    pub retention: Retention,
    /// How many dimensions its vectors must have (`vector.dimensions`); others are refused.
    pub vector_dimensions: Option<u32>,
    /// What compaction leaves of it (`compact.keep_versions`, `compact.ttl`, `compact.tombstone_grace`, `compact.target_bytes`).
    pub compaction: CompactionSettings,
    /// What must not be purged nor deleted; see [`Log::set_hold`](crate::Log::set_hold).
    pub holds: Vec<LegalHold>,
    /// What the catalog has of this collection and this program does not understand, by key: it is kept.
    pub others: Map<String, Value>,
}

impl From<Map<String, Value>> for CollectionSettings {
    fn from(map: Map<String, Value>) -> Self {
        let mut settings = Self::default();
        for (key, value) in map {
            let understood = match key.as_str() {
                SYNC => {
                    settings.sync = value.as_str().and_then(|word| word.parse().ok());
                    settings.sync.is_some()
                }
                SEAL_BYTES => {
                    settings.seal_bytes = value.as_u64().filter(|bytes| check_bytes(*bytes).is_ok());
                    settings.seal_bytes.is_some()
                }
                SEAL_AGE => {
                    let age = value.as_str().and_then(|text| parse_duration(text).ok());
                    settings.seal_age = age.filter(|age| check_age(*age).is_ok());
                    settings.seal_age.is_some()
                }
                SINKS => {
                    let sinks: Option<Vec<String>> = serde_json::from_value(value.clone()).ok();
                    settings.sinks = sinks.filter(|sinks| sinks.iter().all(|sink| check_sink(sink).is_ok()));
                    settings.sinks.is_some()
                }
                AGE | BYTES | RECORDS => settings.retention.take(&key, &value),
                DIMENSIONS => {
                    let dimensions = value.as_u64().and_then(|number| u32::try_from(number).ok());
                    settings.vector_dimensions = dimensions.filter(|number| check_dimensions(*number).is_ok());
                    settings.vector_dimensions.is_some()
                }
                key if compaction::KEYS.contains(&key) => settings.compaction.take(key, &value),
                HOLDS => {
                    let holds = serde_json::from_value(value.clone()).ok();
                    let is_understood = holds.is_some();
                    settings.holds = holds.unwrap_or_default();
                    is_understood
                }
                DELETED => true,
                _ => false,
            };
            if !understood {
                settings.others.insert(key, value);
            }
        }
        settings
    }
}

impl From<CollectionSettings> for Map<String, Value> {
    fn from(settings: CollectionSettings) -> Self {
        let mut map = settings.others;
        map.remove(DELETED);
        let known = [
            (SYNC, settings.sync.map(|mode| mode.to_string().into())),
            (SEAL_BYTES, settings.seal_bytes.map(Value::from)),
            (SEAL_AGE, settings.seal_age.map(|age| show_duration(age).into())),
            (DIMENSIONS, settings.vector_dimensions.map(Value::from)),
            (SINKS, settings.sinks.map(Value::from)),
        ];
        for (key, value) in known.into_iter().chain(settings.retention.values()).chain(settings.compaction.values()) {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        }
        if !settings.holds.is_empty() {
            let holds = serde_json::to_value(&settings.holds).expect("a hold is texts and numbers");
            map.insert(HOLDS.to_owned(), holds);
        }
        map
    }
}

impl CollectionSettings {
    /// Gives a setting the value that people write: `1MiB`, `24h`, `always`; an empty text takes it away.
    ///
    /// # Errors
    /// `Invalid` for a key that no collection has, with the one that was meant, or for a value that the key does not take.
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        if !COLLECTION_KEYS.contains(&key) {
            let hint = match nearest(key, COLLECTION_KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a collection has the settings {}", COLLECTION_KEYS.join(", ")),
            };
            return Err(
                Error::new(ErrorKind::Invalid, format!("unknown setting of a collection: key=`{key}`")).with_hint(hint)
            );
        }
        // Also a value that this program does not understand goes.
        self.others.remove(key);
        let wrong = |why: String| {
            Error::new(
                ErrorKind::Invalid,
                format!("invalid setting of a collection: key=`{key}`, value=`{text}`; {why}"),
            )
        };
        let given = (!text.is_empty()).then_some(text);
        match key {
            SYNC => {
                let wanted = |_| wrong(format!("one of {} is wanted", SyncMode::WORDS.join(", ")));
                self.sync = given.map(str::parse).transpose().map_err(wanted)?;
            }
            SEAL_BYTES => {
                let read = |text: &str| {
                    let bytes = text.parse::<ByteSize>().map_err(|error| error.to_string())?.bytes();
                    check_bytes(bytes).map(|()| bytes)
                };
                self.seal_bytes = given.map(read).transpose().map_err(wrong)?;
            }
            SINKS => self.sinks = given.map(parse_sinks).transpose().map_err(wrong)?,
            AGE | BYTES | RECORDS => drop(self.retention.set(key, given).map_err(wrong)?),
            DIMENSIONS => {
                let read = |text: &str| {
                    let number = text.parse().map_err(|_| "a whole number is wanted".to_owned())?;
                    check_dimensions(number).map(|()| number)
                };
                self.vector_dimensions = given.map(read).transpose().map_err(wrong)?;
            }
            key if compaction::KEYS.contains(&key) => self.compaction.set(key, given).map_err(wrong)?,
            _ => {
                let read = |text: &str| {
                    let age = parse_duration(text).map_err(|error| error.to_string())?;
                    check_age(age).map(|()| age)
                };
                self.seal_age = given.map(read).transpose().map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// Whether every value is one that its setting takes.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, why: String| {
            Err(Error::new(ErrorKind::Invalid, format!("invalid setting of a collection: key=`{key}`; {why}")))
        };
        let dimensions = self.vector_dimensions.map(check_dimensions);
        match (self.seal_bytes.map(check_bytes), self.seal_age.map(check_age), dimensions) {
            (Some(Err(why)), ..) => wrong(SEAL_BYTES, why),
            (_, Some(Err(why)), _) => wrong(SEAL_AGE, why),
            (.., Some(Err(why))) => wrong(DIMENSIONS, why),
            _ => Ok(()),
        }
    }

    /// Whether a durability is asked for that this program does not know.
    pub(super) fn asks_for_unknown_sync(&self) -> bool {
        self.others.contains_key(SYNC)
    }
}

fn check_bytes(bytes: u64) -> std::result::Result<(), String> {
    if (SEAL_BYTES_MIN..=SEAL_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(format!("it must be from {} to {}", ByteSize(SEAL_BYTES_MIN), ByteSize(SEAL_BYTES_MAX)))
}

fn check_dimensions(dimensions: u32) -> std::result::Result<(), String> {
    if (1..=DIMENSIONS_MAX).contains(&(dimensions as usize)) {
        return Ok(());
    }
    Err(format!("it must be from 1 to {DIMENSIONS_MAX}"))
}

/// Names separated by commas, or `none`, without doubles.
fn parse_sinks(text: &str) -> std::result::Result<Vec<String>, String> {
    if text == NO_SINKS {
        return Ok(Vec::new());
    }
    let mut sinks = Vec::new();
    for name in text.split(',').map(str::trim) {
        check_sink(name)?;
        if !sinks.iter().any(|sink| sink == name) {
            sinks.push(name.to_owned());
        }
    }
    Ok(sinks)
}

/// As [`parse_sinks`] reads it.
pub(super) fn show_sinks(sinks: &[String]) -> String {
    if sinks.is_empty() { NO_SINKS.to_owned() } else { sinks.join(",") }
}

fn check_sink(name: &str) -> std::result::Result<(), String> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= SINK_BYTES_MAX && name.bytes().all(is_fine) && name != NO_SINKS {
        return Ok(());
    }
    Err(format!("names of sinks separated by commas are wanted, or `{NO_SINKS}`"))
}

fn check_age(age: Duration) -> std::result::Result<(), String> {
    if (SEAL_AGE_MIN..=SEAL_AGE_MAX).contains(&age) {
        return Ok(());
    }
    Err(format!("it must be from {} to {}", show_duration(SEAL_AGE_MIN), show_duration(SEAL_AGE_MAX)))
}

/// What stands in the column of a collection's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::log) struct Stored {
    pub settings: CollectionSettings,
    /// Since when it is deleted.
    pub deleted: Option<Timestamp>,
}

impl Stored {
    /// Reads the column. A text that is no object says nothing that this program understands.
    pub fn read(text: &str) -> Self {
        let map: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let deleted = map.get(DELETED).map(|at| at.as_str().and_then(parse_time).unwrap_or_default());
        Self { settings: map.into(), deleted }
    }

    /// As the column has it.
    pub fn text(&self) -> String {
        let mut map: Map<String, Value> = self.settings.clone().into();
        if let Some(at) = self.deleted {
            map.insert(DELETED.to_owned(), at.to_string().into());
        }
        Value::Object(map).to_string()
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    match text.strip_prefix('@') {
        Some(micros) => micros.parse().ok().map(Timestamp),
        None => text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::retention::Keep;
    use super::*;
    use crate::types::Sequence;

    #[test]
    fn what_is_stored_reads_back() {
        let mut settings = CollectionSettings::default();
        for (key, text) in [(SYNC, "periodic"), (SEAL_BYTES, "1MiB"), (SEAL_AGE, "90m")] {
            settings.set(key, text).unwrap();
        }
        let stored = Stored { settings: settings.clone(), deleted: None };
        assert_eq!(stored.text(), r#"{"seal.age":"1h30m","seal.bytes":1048576,"sync":"periodic"}"#);
        assert_eq!(Stored::read(&stored.text()), stored);
        for at in [Timestamp(0), Timestamp(1_700_000_000_123_456), Timestamp::MAX] {
            let stored = Stored { deleted: Some(at), ..stored.clone() };
            assert_eq!(Stored::read(&stored.text()), stored);
        }
        assert_eq!(serde_json::from_str::<CollectionSettings>(&stored.text()).unwrap(), settings);
        settings.set(SYNC, "").unwrap();
        assert_eq!((settings.sync, settings.seal_bytes), (None, Some(1 << 20)));
    }

    #[test]
    fn what_is_not_understood_is_kept_and_can_be_replaced() {
        let text = r#"{"retention.days":"7d","seal.age":"1s","seal.bytes":1,"sync":"sometimes"}"#;
        let mut stored = Stored::read(text);
        assert!(stored.settings.asks_for_unknown_sync());
        assert_eq!((stored.settings.seal_bytes, stored.settings.seal_age), (None, Some(Duration::from_secs(1))));
        assert_eq!(stored.text(), text);
        stored.settings.set(SYNC, "always").unwrap();
        stored.settings.set(SEAL_BYTES, "").unwrap();
        assert_eq!(stored.text(), r#"{"retention.days":"7d","seal.age":"1s","sync":"always"}"#);
        let left: Vec<_> = stored.settings.others.keys().collect();
        assert_eq!(left, ["retention.days"]);
        assert_eq!(Stored::read("[]"), Stored::default());
    }

    #[test]
    fn retention_and_holds_read_back_and_what_is_not_understood_holds_everything() {
        let mut settings = CollectionSettings::default();
        for (key, text) in [(AGE, "7d"), (BYTES, "none"), (RECORDS, "1000")] {
            settings.set(key, text).unwrap();
        }
        let hold = LegalHold {
            name: "case 7".into(),
            by: "legal".into(),
            at: Timestamp(5),
            from: Some(Sequence(10)),
            until: None,
            note: String::new(),
        };
        settings.holds.push(hold);
        let stored = Stored { settings, deleted: None };
        let text = r#"{"holds":[{"at":5,"by":"legal","from":10,"name":"case 7","note":""}],"retention.age":"7d","retention.bytes":"none","retention.records":1000}"#;
        assert_eq!(stored.text(), text);
        assert_eq!(Stored::read(text), stored);
        let log = Retention { bytes: Some(Keep::UpTo(1)), ..Retention::default() };
        assert_eq!(stored.settings.retention.or(log), stored.settings.retention, "none means none");
        let held = |first, last| stored.settings.held(Sequence(first), Sequence(last));
        assert_eq!((held(1, 9), held(1, 10).is_some(), held(99, 99).is_some()), (None, true, true));
        assert!(held(1, 10).unwrap().contains("hold=`case 7`, by=`legal`"));
        for text in [r#"{"holds":[{"name":"of a newer program","scope":"all"}]}"#, r#"{"holds":{}}"#] {
            let newer = Stored::read(text);
            assert!(newer.settings.held(Sequence(1), Sequence(1)).unwrap().contains("does not understand"));
            assert_eq!(newer.text(), text, "it is kept");
        }
    }

    #[test]
    fn refuses_what_no_collection_has() {
        let hint = |key: &str, text: &str| {
            let error = CollectionSettings::default().set(key, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            (error.to_string(), error.hint().unwrap_or_default().to_owned())
        };
        assert_eq!(
            hint("seal.byte", "1MiB"),
            ("unknown setting of a collection: key=`seal.byte`".to_owned(), "did you mean `seal.bytes`?".to_owned())
        );
        let all = "a collection has the settings sync, seal.bytes, seal.age, sinks, retention.age, retention.bytes, retention.records, \
                    vector.dimensions, compact.keep_versions, compact.ttl, compact.tombstone_grace, compact.target_bytes";
        assert_eq!((hint("deleted", "now").1.as_str(), hint("holds", "[]").1.as_str()), (all, all));
        for (key, text, why) in [
            (SYNC, "sometimes", "one of always, per-batch, periodic, never is wanted"),
            (SEAL_BYTES, "1", "it must be from 64KiB to 4GiB"),
            (SEAL_BYTES, "many", "a size is a whole number and a unit"),
            (SEAL_AGE, "1ms", "it must be from 1s to 365d"),
            (DIMENSIONS, "0", "it must be from 1 to 65536"),
            (DIMENSIONS, "65537", "it must be from 1 to 65536"),
            (DIMENSIONS, "many", "a whole number is wanted"),
            (SEAL_AGE, "90", "a span of time is whole numbers with units"),
            (AGE, "1ms", "it must be from 1s to 36500d, or `none`"),
            (AGE, "7y", "or `none`"),
            (BYTES, "0", "it must be at least 1, or `none`"),
            (RECORDS, "some", "a whole number from 1 on is wanted, or `none`"),
        ] {
            let told = hint(key, text).0;
            assert!(told.starts_with("invalid setting of a collection: key=") && told.contains(why), "{told}");
        }
        let settings = CollectionSettings { seal_bytes: Some(1), ..CollectionSettings::default() };
        assert!(settings.check().is_err() && CollectionSettings::default().check().is_ok());
    }
}
