//! How long a collection's records are kept, and what must be kept whatever else says so.
//!
//! Owns: the values of the settings `retention.*` and `holds`. Does not own: deciding what goes (`archive::retention`).

use std::time::Duration;

use serde_json::Value;

use super::super::{Inner, Log};
use super::settings::CollectionSettings;
use crate::catalog::SegmentKey;
use crate::config::{ByteSize, parse_duration, show_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Sequence, Timestamp};

pub(super) const AGE: &str = "retention.age";
pub(super) const BYTES: &str = "retention.bytes";
pub(super) const RECORDS: &str = "retention.records";
pub(super) const HOLDS: &str = "holds";

const AGE_MIN: Duration = Duration::from_secs(1);
const AGE_MAX: Duration = Duration::from_hours(24 * 365 * 100);
/// Holds of one collection.
const HOLDS_MAX: usize = 100;
/// Each text of a hold, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// The word for no limit.
pub(super) const NONE: &str = "none";

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep<T> {
    /// At most so much is kept.
    UpTo(T),
    /// All, whatever the log's own setting says.
    All,
}

/// What may be purged. Of each limit, `None` is what the log has; in the log's, that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose newest record is older may go (`retention.age`).
    pub age: Option<Keep<Duration>>,
    /// The oldest segments beyond so many bytes of segments may go (`retention.bytes`).
    pub bytes: Option<Keep<u64>>,
    /// The oldest segments beyond so many records may go (`retention.records`).
    pub records: Option<Keep<u64>>,
}

impl Retention {
    /// These limits, and for those that are not set those of `log`.
    #[must_use]
    pub fn or(self, log: Self) -> Self {
        Self { age: self.age.or(log.age), bytes: self.bytes.or(log.bytes), records: self.records.or(log.records) }
    }

    /// Sets a limit from what people write; whether the key is one of a limit.
    pub(super) fn set(&mut self, key: &str, text: Option<&str>) -> std::result::Result<bool, String> {
        match key {
            AGE => self.age = text.map(|text| limit(text, NONE, age)).transpose()?,
            BYTES => self.bytes = text.map(|text| limit(text, NONE, bytes)).transpose()?,
            RECORDS => self.records = text.map(|text| limit(text, NONE, records)).transpose()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sets a limit from the catalog's JSON; whether it was understood.
    pub(super) fn take(&mut self, key: &str, value: &Value) -> bool {
        let text = match value {
            Value::String(text) if key == AGE || text == NONE => text.clone(),
            Value::Number(number) if key != AGE => number.to_string(),
            _ => return false,
        };
        self.set(key, Some(&text)) == Ok(true)
    }

    /// Its limits as the catalog keeps them.
    pub(super) fn values(self) -> [(&'static str, Option<Value>); 3] {
        let number = |limit| match limit {
            Keep::UpTo(count) => Value::from(count),
            Keep::All => NONE.into(),
        };
        let age = |limit| match limit {
            Keep::UpTo(age) => show_duration(age).into(),
            Keep::All => NONE.into(),
        };
        [(AGE, self.age.map(age)), (BYTES, self.bytes.map(number)), (RECORDS, self.records.map(number))]
    }

    /// Its limits as people write them.
    pub(super) fn texts(self) -> [(&'static str, Option<String>); 3] {
        fn text<T>(limit: Option<Keep<T>>, show: impl Fn(T) -> String) -> Option<String> {
            limit.map(|limit| match limit {
                Keep::UpTo(value) => show(value),
                Keep::All => NONE.to_owned(),
            })
        }
        [
            (AGE, text(self.age, show_duration)),
            (BYTES, text(self.bytes, |bytes| ByteSize(bytes).to_string())),
            (RECORDS, text(self.records, |records| records.to_string())),
        ]
    }
}

/// A limit from what people write, where the word `all` means that there is none.
pub(super) fn limit<T>(
    text: &str,
    all: &str,
    read: impl Fn(&str) -> std::result::Result<T, String>,
) -> std::result::Result<Keep<T>, String> {
    if text == all { Ok(Keep::All) } else { read(text).map(Keep::UpTo) }
}

fn age(text: &str) -> std::result::Result<Duration, String> {
    let age = parse_duration(text).map_err(|error| format!("{error}; or `{NONE}`"))?;
    if (AGE_MIN..=AGE_MAX).contains(&age) {
        return Ok(age);
    }
    Err(format!("it must be from {} to {}, or `{NONE}`", show_duration(AGE_MIN), show_duration(AGE_MAX)))
}

fn bytes(text: &str) -> std::result::Result<u64, String> {
    let bytes = text.parse::<ByteSize>().map_err(|error| format!("{error}; or `{NONE}`"))?.bytes();
    if bytes > 0 { Ok(bytes) } else { Err(format!("it must be at least 1, or `{NONE}`")) }
}

fn records(text: &str) -> std::result::Result<u64, String> {
    let wrong = || format!("a whole number from 1 on is wanted, or `{NONE}`");
    text.parse().ok().filter(|records| *records > 0).ok_or_else(wrong)
}

/// Records that nobody may purge or delete, whatever the retention says, until somebody takes the hold away.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegalHold {
    /// Its name, one for each hold of a collection: a case, a ticket.
    pub name: String,
    /// Who asked for it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// First sequence that is held; the collection's first one where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Sequence>,
    /// Last sequence that is held; every later one too where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Sequence>,
    /// Why.
    #[serde(default)]
    pub note: String,
}

impl LegalHold {
    /// Whether any sequence of `first..=last` is held.
    #[must_use]
    pub fn holds(&self, first: Sequence, last: Sequence) -> bool {
        self.from.is_none_or(|from| from <= last) && self.until.is_none_or(|until| first <= until)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str| {
            let message = format!("no legal hold: hold=`{}`, what=`{what}`", self.name);
            Err(Error::new(ErrorKind::Invalid, message))
        };
        if self.name.is_empty() || self.by.is_empty() {
            return wrong("it needs a name, and who asked for it");
        }
        if [&self.name, &self.by, &self.note].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return wrong("its texts have at most 1 KiB each");
        }
        if self.from.zip(self.until).is_some_and(|(from, until)| from > until) {
            return wrong("it ends before it begins");
        }
        Ok(())
    }
}

/// What of its range a legal hold came too late for. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TooLate {
    /// Records before this one are promised no more, where the hold begins before it: the collection's floor.
    pub floor: Option<Sequence>,
    /// Segments whose purge was begun and is not over. They are not read any more; but what is left of them in the archive stays as long as they are held.
    pub purging: Vec<SegmentKey>,
}

impl Log {
    /// Puts a legal hold on records of a collection; durable when it returns. One of the same name is replaced. A purge that begins later leaves alone
    /// what it holds; what it came too late for is returned.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection; `Invalid` for a hold without a name, too many, or a log that was opened to read only; what the
    /// catalog said.
    pub fn set_hold(&self, collection: &CollectionName, hold: LegalHold) -> Result<TooLate> {
        hold.check()?;
        let of = hold.clone();
        let reason = format!("hold `{}` set by {}", hold.name, hold.by);
        self.change_settings(collection, &reason, |settings| {
            if settings.others.contains_key(HOLDS) {
                return Err(not_understood(collection));
            }
            settings.holds.retain(|known| known.name != hold.name);
            if settings.holds.len() >= HOLDS_MAX {
                let message = format!("too many legal holds: collection=`{collection}`, limit=`{HOLDS_MAX}`");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            settings.holds.push(hold);
            Ok(())
        })?;
        let floor = self.0.catalog.collection(collection)?.map_or(Sequence::FIRST, |row| row.floor);
        let mut late = TooLate { floor: of.from.is_none_or(|from| from < floor).then_some(floor), purging: Vec::new() };
        late.floor = late.floor.filter(|floor| *floor > Sequence::FIRST);
        if late.floor.is_some() {
            let rows = self.purging()?.into_iter().map(|row| row.key);
            late.purging = rows.filter(|key| key.collection == *collection && of.holds(key.first, key.last)).collect();
        }
        Ok(late)
    }

    /// Takes a legal hold away, on behalf of `by`, and returns it as it was.
    ///
    /// # Errors
    /// `NotFound` where there is no such hold, or collection; as [`set_hold`](Self::set_hold) otherwise.
    pub fn clear_hold(&self, collection: &CollectionName, name: &str, by: &str) -> Result<LegalHold> {
        let mut cleared = None;
        self.change_settings(collection, &format!("hold `{name}` cleared by {by}"), |settings| {
            if settings.others.contains_key(HOLDS) {
                return Err(not_understood(collection));
            }
            let place = settings.holds.iter().position(|hold| hold.name == name);
            let place = place.ok_or_else(|| {
                let message = format!("no such legal hold: collection=`{collection}`, hold=`{name}`");
                Error::new(ErrorKind::NotFound, message).with_hint("`hold ls` lists them")
            })?;
            cleared = Some(settings.holds.remove(place));
            Ok(())
        })?;
        Ok(cleared.expect("it was found, or an error was returned"))
    }

    /// The legal holds of every collection, in order of name; of one where given.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, or what the catalog said; `Unsupported` for holds that this program does not understand.
    pub fn holds(&self, collection: Option<&CollectionName>) -> Result<Vec<(CollectionName, LegalHold)>> {
        let names: Vec<CollectionName> = match collection {
            Some(name) => {
                self.0.collection(name)?;
                vec![name.clone()]
            }
            None => self.0.all_collections().iter().map(|known| known.name().clone()).collect(),
        };
        let mut holds = Vec::new();
        for name in names {
            let stored = self.0.stored(&name)?;
            if stored.settings.others.contains_key(HOLDS) {
                return Err(not_understood(&name));
            }
            holds.extend(stored.settings.holds.into_iter().map(|hold| (name.clone(), hold)));
        }
        Ok(holds)
    }
}

impl Inner {
    /// Why records of a collection must stay, where somebody holds them.
    pub(in crate::log) fn held(
        &self,
        collection: &CollectionName,
        first: Sequence,
        last: Sequence,
    ) -> Result<Option<String>> {
        Ok(self.stored(collection)?.settings.held(first, last))
    }
}

impl CollectionSettings {
    /// Why records of `first..=last` must stay, where somebody holds any of them.
    #[must_use]
    pub fn held(&self, first: Sequence, last: Sequence) -> Option<String> {
        if self.others.contains_key(HOLDS) {
            return Some("it has legal holds that this program does not understand".to_owned());
        }
        let hold = self.holds.iter().find(|hold| hold.holds(first, last))?;
        Some(format!("legal hold: hold=`{}`, by=`{}`, at=`{}`", hold.name, hold.by, hold.at))
    }

    /// A setting of retention that this program does not understand: nothing goes then.
    #[must_use]
    pub fn unknown_retention(&self) -> Option<&str> {
        self.others.keys().map(String::as_str).find(|key| key.starts_with("retention."))
    }
}

fn not_understood(collection: &CollectionName) -> Error {
    let message = format!("legal holds that this program does not understand: collection=`{collection}`");
    Error::new(ErrorKind::Unsupported, message).with_hint("use the icecore that wrote them, or a newer one")
}
