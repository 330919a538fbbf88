//! Sizes and spans of time as people write them: `64MiB`, `90s`, `2h30m`.
//!
//! Owns: the words for units, both ways. What is shown reads back as the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Written as a bare number or with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`, `MB`,
/// `GB`, `TB` (powers of 1000).
///
/// ```
/// use icecore::config::ByteSize;
/// assert_eq!("64MiB".parse::<ByteSize>().unwrap().bytes(), 64 << 20);
/// assert_eq!(ByteSize(1536).to_string(), "1536");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is no size and no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUnit(String);

const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("kB", 1000),
    ("B", 1),
];

/// Longest first; each with its nanoseconds.
const SPAN_UNITS: [(&str, u64); 7] = [
    ("w", 7 * 24 * 3_600_000_000_000),
    ("d", 24 * 3_600_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

impl ByteSize {
    /// `count` times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` times 1024 KiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` times 1024 MiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The bare number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest there is where it is beyond that.
    #[must_use]
    pub fn as_len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The largest binary unit that divides it, so that nothing is rounded.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in &SIZE_UNITS[..4] {
            if self.0 != 0 && self.0.is_multiple_of(*bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit, rest) = number_and_unit(text.trim());
        let wrong = || InvalidUnit("a size is a whole number and a unit, such as `64MiB`, `1GiB` or `1000`".to_owned());
        if number.is_empty() || !rest.is_empty() {
            return Err(wrong());
        }
        let scale = if unit.is_empty() {
            1
        } else {
            SIZE_UNITS.iter().find(|(known, _)| *known == unit).map(|(_, scale)| *scale).ok_or_else(wrong)?
        };
        let count: Option<u64> = number.parse().ok();
        let bytes = count.and_then(|count| count.checked_mul(scale));
        bytes.map(Self).ok_or_else(|| InvalidUnit("a size is at most 2^64-1 bytes".to_owned()))
    }
}

/// Digits at the front, the letters after them (blanks between are skipped), and what follows.
fn number_and_unit(text: &str) -> (&str, &str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start_matches(' ');
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, rest) = rest.split_at(letters);
    (number, unit, rest)
}

/// Reads a span of time: whole numbers with `w`, `d`, `h`, `m`, `s`, `ms`, `us`, longest first, each unit once.
///
/// # Errors
/// [`InvalidUnit`] with what a span looks like.
///
/// ```
/// use icecore::config::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("2h30m"), Ok(Duration::from_secs(9000)));
/// assert!(parse_duration("90").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let wrong = || {
        InvalidUnit(
            "a span of time is whole numbers with units (w, d, h, m, s, ms, us), such as `90s`, `7d` or `2h30m`"
                .to_owned(),
        )
    };
    let mut rest = text;
    let mut total_ns: u128 = 0;
    // Units still allowed: a unit after a shorter one, or twice, is a slip of the pen rather than a span.
    let mut allowed = &SPAN_UNITS[..];
    while !rest.is_empty() || total_ns == 0 && allowed.len() == SPAN_UNITS.len() {
        let (number, unit, after) = number_and_unit(rest);
        let at = allowed.iter().position(|(known, _)| *known == unit).ok_or_else(wrong)?;
        let count: u64 = number.parse().map_err(|_| wrong())?;
        total_ns += u128::from(count) * u128::from(allowed[at].1);
        allowed = &allowed[at + 1..];
        rest = after;
    }
    let too_long = |_| InvalidUnit("a span of time is at most 584 years".to_owned());
    u64::try_from(total_ns).map(Duration::from_nanos).map_err(too_long)
}

/// Shows a span of time so that [`parse_duration`] reads it back; parts under a microsecond are dropped.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    use fmt::Write as _;
    let mut rest = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    // Weeks are read but not shown: `14d` says more than `2w`.
    for (unit, scale) in &SPAN_UNITS[1..] {
        // `24h` and `48h` are what people write; whole days from a week on.
        if *unit == "d" && (rest < 7 * scale || !rest.is_multiple_of(*scale)) {
            continue;
        }
        if rest >= *scale {
            let _ = write!(text, "{}{unit}", rest / scale);
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("1B", 1),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("256 KiB", 256 << 10),
            ("5MB", 5_000_000),
            ("5kB", 5000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in ["", "MiB", "-1", "1.5MiB", "64M", "64mib", "64MiBs", "64MiB 1", "0x10", "99999999999999999999"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert!("16777216TiB".parse::<ByteSize>().is_err(), "beyond 64 bits");
    }

    #[test]
    fn reads_spans() {
        for (text, millis) in [
            ("0s", 0),
            ("50ms", 50),
            ("90s", 90_000),
            ("24h", 86_400_000),
            ("7d", 7 * 86_400_000),
            ("2h30m", 9_000_000),
            ("1w1d", 8 * 86_400_000),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn refuses_what_is_no_span() {
        for text in ["", "90", "s", "1.5h", "-2h", "30m2h", "1h1h", "1y", "1h ", "1H", "585w9999999999d", "1h-1m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_the_unit_that_people_write() {
        assert_eq!(ByteSize::mib(64).to_string(), "64MiB");
        assert_eq!(ByteSize::gib(1).to_string(), "1GiB");
        assert_eq!(ByteSize(0).to_string(), "0");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(show_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(show_duration(Duration::from_millis(50)), "50ms");
        assert_eq!(show_duration(Duration::from_secs(9000)), "2h30m");
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64, micros in 0..u64::MAX / 1000) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            let span = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&show_duration(span)), Ok(span));
        }
    }
}
