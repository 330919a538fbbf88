//! What a setting's value may be, how it is read, and how it is shown.

use std::fmt;
use std::time::Duration;

use crate::types::{MASK, Secret};

use super::units::{ByteSize, parse_duration, show_duration};
use crate::assignment::{Over, Policy};
use crate::catalog::Engine;
use crate::objects::{InvalidLocation, Location};

/// A value as a source gave it, before its setting reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A word of the environment or of a flag, which may stand for a text, a number or a list.
    Word(String),
    /// A text of the settings file.
    Text(String),
    /// A whole number of the settings file.
    Integer(i64),
    /// A number with a fraction of the settings file.
    Fraction(f64),
    /// `true` or `false` of the settings file.
    Boolean(bool),
    /// A list of the settings file, or of a flag given several times.
    List(Vec<Raw>),
    /// Something that no setting takes, by its name in TOML.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number}"),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::List(parts) => {
                let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                f.write_str(&parts.join(","))
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

impl Raw {
    fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Word(text) | Self::Text(text) => Ok(text),
            Self::Integer(_) | Self::Fraction(_) => Err("a text is wanted, not a number".to_owned()),
            Self::Boolean(_) => Err("a text is wanted, not a boolean".to_owned()),
            Self::List(_) => Err("a single value is wanted, not a list".to_owned()),
            Self::Other(kind) => Err(format!("a text is wanted, not a {kind}")),
        }
    }
}

/// A type that a setting may have.
pub trait SettingValue: Sized {
    /// Whether no output may ever show the value.
    const SECRET: bool = false;

    /// Reads the value.
    ///
    /// # Errors
    /// What is wanted instead, as a text for the user.
    fn read(raw: &Raw) -> Result<Self, String>;

    /// Shows the value as the settings file takes it; `None` when it is not set. Secrets are shown masked.
    fn show(&self) -> Option<Shown>;
}

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// One word.
    One(String),
    /// Several, in order.
    Many(Vec<String>),
}

impl Shown {
    /// The value in one line; parts of a list are separated by commas.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(parts) => parts.join(","),
        }
    }
}

impl SettingValue for ByteSize {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(number) => u64::try_from(*number).map(Self).map_err(|_| "a size is not negative".to_owned()),
            other => other.as_text()?.parse().map_err(|error: super::InvalidUnit| error.to_string()),
        }
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(number) => Err(format!("a span of time needs a unit, such as `{number}s`")),
            other => parse_duration(other.as_text()?).map_err(|error| error.to_string()),
        }
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(show_duration(*self)))
    }
}

impl SettingValue for u64 {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wrong = || "a whole number from 0 on is wanted".to_owned();
        match raw {
            Raw::Integer(number) => Self::try_from(*number).map_err(|_| wrong()),
            Raw::Word(text) => text.parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for Location {
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.as_text()?.parse().map_err(|error: InvalidLocation| format!("{error}; {}", error.hint()))
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

/// An amount of money, not negative, in a currency that is told elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(pub f64);

impl SettingValue for Amount {
    fn read(raw: &Raw) -> Result<Self, String> {
        let number = match raw {
            #[allow(clippy::cast_precision_loss, reason = "no price has sixteen digits")]
            Raw::Integer(number) => Some(*number as f64),
            Raw::Fraction(number) => Some(*number),
            Raw::Word(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Self).ok_or_else(|| "an amount is wanted, such as 0.005".to_owned())
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.0.to_string()))
    }
}

impl SettingValue for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Boolean(flag) => Ok(*flag),
            Raw::Word(text) => text.parse().map_err(|_| "true or false is wanted".to_owned()),
            _ => Err("true or false is wanted".to_owned()),
        }
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.as_text()? {
            "" => Err("a text is wanted that is not empty".to_owned()),
            text => Ok(text.to_owned()),
        }
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.clone()))
    }
}

/// Absent until a source gives it.
impl<T: SettingValue> SettingValue for Option<T> {
    const SECRET: bool = T::SECRET;

    fn read(raw: &Raw) -> Result<Self, String> {
        T::read(raw).map(Some)
    }

    fn show(&self) -> Option<Shown> {
        self.as_ref().and_then(T::show)
    }
}

/// A list; one value stands for a list of one, and a word of the environment is split at commas.
impl<T: SettingValue> SettingValue for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(parts) => parts.iter().map(T::read).collect(),
            Raw::Word(text) => text.split(',').map(|part| T::read(&Raw::Word(part.to_owned()))).collect(),
            one => Ok(vec![T::read(one)?]),
        }
    }

    fn show(&self) -> Option<Shown> {
        let parts = self.iter().filter_map(T::show).map(|part| part.line()).collect();
        Some(Shown::Many(parts))
    }
}

impl SettingValue for Secret {
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(Self::new)
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(MASK.to_owned()))
    }
}

/// Makes an enum whose variants are words of a setting, each with its one spelling.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that settings and flags use.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("one of {} is wanted", Self::WORDS.join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl SettingValue for $name {
            fn read(raw: &Raw) -> Result<Self, String> {
                match raw {
                    Raw::Word(text) | Raw::Text(text) => text.parse(),
                    _ => Err(format!("one of {} is wanted", Self::WORDS.join(", "))),
                }
            }

            fn show(&self) -> Option<Shown> {
                Some(Shown::One(self.word().to_owned()))
            }
        }
    };
}

words! {
    /// When an append returns (section 4 of the design: durability modes).
    SyncMode {
        /// When its own record is synced.
        Always = "always",
        /// When its batch is synced; concurrent batches share one sync.
        PerBatch = "per-batch",
        /// When it is written; a sync follows after an interval, a number of bytes or of records, whichever is first.
        Periodic = "periodic",
        /// When it is written; the system syncs when it likes.
        Never = "never",
    }
}

words! {
    /// Who may delete an object before the time until which its store keeps it.
    RetainMode {
        /// Nobody: S3's COMPLIANCE, a locked policy of Azure.
        Locked = "locked",
        /// Holders of a special right: S3's GOVERNANCE, an unlocked policy of Azure.
        Governed = "governed",
    }
}

words! {
    /// How the blocks of a segment are compressed.
    SegmentCodec {
        /// Not at all.
        Null = "null",
        /// Deflate, which every Avro reader knows.
        Deflate = "deflate",
        /// Zstandard: smaller and faster.
        Zstandard = "zstandard",
    }
}

/// What keeps the catalog, and after it what mirrors it. Empty: what keeps it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogEngines(pub Vec<Engine>);

impl SettingValue for Engine {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = || format!("one of {} is wanted", Self::WORDS.join(", "));
        raw.as_text().map_err(|_| wanted())?.parse().map_err(|_| wanted())
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for Policy {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = || format!("one of {} is wanted", Self::WORDS.join(", "));
        raw.as_text().map_err(|_| wanted())?.parse().map_err(|_| wanted())
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for Over {
    fn read(raw: &Raw) -> Result<Self, String> {
        let wanted = || format!("one of {} is wanted", Self::WORDS.join(", "));
        raw.as_text().map_err(|_| wanted())?.parse().map_err(|_| wanted())
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

impl SettingValue for CatalogEngines {
    fn read(raw: &Raw) -> Result<Self, String> {
        let engines = Vec::<Engine>::read(raw)?;
        match engines[..] {
            [] => Err("an engine is wanted, and after it at most one that mirrors it".to_owned()),
            [one, other] if one == other => Err(format!("`{one}` cannot mirror itself: name another engine")),
            [_] | [_, _] => Ok(Self(engines)),
            _ => Err("an engine is wanted, and after it at most one that mirrors it".to_owned()),
        }
    }

    fn show(&self) -> Option<Shown> {
        self.0.show().filter(|_| !self.0.is_empty())
    }
}

words! {
    /// A built-in sink.
    SinkKind {
        /// The columnar store: Parquet files, and vector search.
        Store = "store",
        /// The key-value store: the newest version of each key.
        Kv = "kv",
    }
}

/// The sinks that collections subscribe to; none where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkKinds(pub Vec<SinkKind>);

impl SettingValue for SinkKinds {
    fn read(raw: &Raw) -> Result<Self, String> {
        if matches!(raw, Raw::Word(text) | Raw::Text(text) if text.is_empty()) {
            return Ok(Self::default());
        }
        let sinks = Vec::<SinkKind>::read(raw)?;
        match sinks.iter().enumerate().find(|(index, sink)| sinks[..*index].contains(sink)) {
            Some((_, twice)) => Err(format!("`{}` is there twice", twice.word())),
            None => Ok(Self(sinks)),
        }
    }

    fn show(&self) -> Option<Shown> {
        self.0.show().filter(|_| !self.0.is_empty())
    }
}

words! {
    /// How much is logged on stderr.
    LogLevel {
        /// Nothing.
        Off = "off",
        /// What failed.
        Error = "error",
        /// What may fail soon, and what was lost.
        Warn = "warn",
        /// What was done.
        Info = "info",
        /// Why.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Option::<Secret>::read(&Raw::Text("hunter2".to_owned())).unwrap();
        assert_eq!(secret.show(), Some(Shown::One(MASK.to_owned())));
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.unwrap().reveal(), "hunter2");
        assert_eq!(None::<Secret>.show(), None, "a mask would say that there is one");
        const { assert!(<Vec<Option<Secret>> as SettingValue>::SECRET) };
    }

    #[test]
    fn a_span_without_a_unit_says_which_is_missing() {
        assert_eq!(Duration::read(&Raw::Integer(50)), Err("a span of time needs a unit, such as `50s`".to_owned()));
    }

    #[test]
    fn a_word_is_split_and_a_text_is_not() {
        let read = |raw| Vec::<String>::read(&raw).unwrap();
        assert_eq!(read(Raw::Word("/a,/b".to_owned())), ["/a", "/b"]);
        assert_eq!(read(Raw::Text("/a,b".to_owned())), ["/a,b"]);
        assert!(Vec::<String>::read(&Raw::Word("/a,".to_owned())).is_err(), "an empty part is a slip");
    }
}
