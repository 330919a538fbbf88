//! What people may write for a time, a sequence, or a place to begin: `TIME`, `SEQ|TIME`, `SEQ|TIME|end|-N`.
//!
//! Digits alone are always a sequence. A time is RFC 3339 with its offset, a date (a whole day in UTC), or a span before
//! now: `-2h`. Reading a text gives a plain value; a date and a span become a point in time only when they are resolved.

use std::str::FromStr;
use std::time::Duration;

use crate::config::parse_duration;
use crate::types::{Sequence, Timestamp};

/// A time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeArg {
    /// This point.
    At(Timestamp),
    /// A day in UTC, by its first microsecond and its last.
    Day(Timestamp, Timestamp),
    /// So long before now.
    Ago(Duration),
}

/// Where to begin or end reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At this record.
    Sequence(Sequence),
    /// At this record time.
    Time(TimeArg),
}

/// Where a tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFrom {
    /// At this record or time.
    Position(Position),
    /// Behind the last record that is there.
    End,
    /// So many records before the end.
    Last(u64),
}

impl TimeArg {
    /// The first microsecond meant, for `--from`.
    #[must_use]
    pub fn first(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) | Self::Day(time, _) => time,
            Self::Ago(span) => before(now, span),
        }
    }

    /// The last microsecond meant, for `--until`, which is inclusive: of a date, the end of the day.
    #[must_use]
    pub fn last(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) | Self::Day(_, time) => time,
            Self::Ago(span) => before(now, span),
        }
    }
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}

const TIME_FORMS: &str =
    "a time is rfc 3339 (`2026-11-21T09:30:00Z`), a date (`2026-11-21`), or a span before now (`-2h`)";

/// Reads RFC 3339, date and time and offset, to the microsecond (further digits are cut off).
///
/// # Errors
/// What is wrong, for the user.
pub fn parse_rfc3339(text: &str) -> Result<Timestamp, String> {
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(TIME_FORMS.to_owned());
    }
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| format!("no such time: {error}"))?;
    Ok(Timestamp(time.as_microsecond()))
}

/// The time library reads much more than RFC 3339: time zone names, weeks, times without seconds.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    let Some((fixed, rest)) = text.split_at_checked(19) else { return false };
    let is_fixed = fixed.iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    });
    let rest = match rest.split_first() {
        Some((b'.', digits)) => {
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 || count > 9 {
                return false;
            }
            &digits[count..]
        }
        _ => rest,
    };
    let is_offset = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hours @ .., b':', m1, m2] => {
            hours.len() == 2 && hours.iter().chain([m1, m2]).all(u8::is_ascii_digit)
        }
        _ => false,
    };
    is_fixed && is_offset
}

fn parse_day(text: &str) -> Result<TimeArg, String> {
    let date: jiff::civil::Date = text.parse().map_err(|error: jiff::Error| format!("no such date: {error}"))?;
    let first = jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0));
    let first = first.map_err(|error| format!("no such date: {error}"))?.as_microsecond();
    Ok(TimeArg::Day(Timestamp(first), Timestamp(first + 24 * 3_600_000_000 - 1)))
}

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(span) = text.strip_prefix('-') {
            return parse_duration(span).map(Self::Ago).map_err(|_| TIME_FORMS.to_owned());
        }
        let is_date = text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        if is_date { parse_day(text) } else { parse_rfc3339(text).map(Self::At) }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_digits(text) {
            return text.parse().map(Self::Time).map_err(|why| format!("digits alone are a sequence; {why}"));
        }
        let sequence = text.parse().ok().map(Sequence);
        let sequence = sequence.filter(|sequence| (Sequence::FIRST..=Sequence::MAX).contains(sequence));
        sequence.map(Self::Sequence).ok_or_else(|| format!("a sequence is from 1 to {}", Sequence::MAX))
    }
}

impl FromStr for TailFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "end" {
            return Ok(Self::End);
        }
        if let Some(count) = text.strip_prefix('-').filter(|count| is_digits(count)) {
            return count.parse().map(Self::Last).map_err(|_| "that many records do not exist".to_owned());
        }
        text.parse()
            .map(Self::Position)
            .map_err(|why| format!("`end` and `-100` (the last 100 records) are places; {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_253_400_000_000); // 2026-11-21T09:30:00Z
    const DAY_US: i64 = 86_400_000_000;
    const MIDNIGHT: Timestamp = Timestamp(NOW.0 - 34_200_000_000);

    fn span(text: &str) -> (Timestamp, Timestamp) {
        let time: TimeArg = text.parse().unwrap();
        (time.first(NOW), time.last(NOW))
    }

    #[test]
    fn reads_rfc_3339() {
        assert_eq!(NOW.to_string(), "2026-11-21T09:30:00.000000Z");
        for text in [
            "2026-11-21T09:30:00Z",
            "2026-11-21t10:30:00+01:00",
            "2026-11-21 09:30:00.000z",
            "2026-11-20T23:30:00-10:00",
        ] {
            assert_eq!(span(text), (NOW, NOW), "{text}");
        }
        assert_eq!(span("1969-12-31T23:59:59.999999Z").0, Timestamp(-1));
        assert_eq!(parse_rfc3339("2026-11-21T09:30:00.123456789Z"), Ok(Timestamp(NOW.0 + 123_456)));
    }

    #[test]
    fn a_date_is_a_whole_day_and_both_ends_belong_to_it() {
        assert_eq!(span("2026-11-21"), (MIDNIGHT, Timestamp(MIDNIGHT.0 + DAY_US - 1)));
    }

    #[test]
    fn a_span_is_before_now() {
        assert_eq!(span("-2h").0, Timestamp(NOW.0 - 7_200_000_000));
        assert_eq!(span("-1d12h").1, Timestamp(NOW.0 - 3 * DAY_US / 2));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "now",
            "2026",
            "2026-11",
            "2026-11-21T09:30:00",
            "2026-11-21T09:30Z",
            "2026-11-21T09:30:00[UTC]",
            "2026-11-21T09:30:00.Z",
            "2026-13-01",
            "2026-02-30",
            "2026-02-30T00:00:00Z",
            "21.11.2026",
            "2h",
            "+2h",
            "-2",
            "-",
            "2026-11-21T09:30:00+0100",
            "2026-11-21T25:00:00Z",
            "@0",
        ] {
            assert!(text.parse::<TimeArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn digits_alone_are_a_sequence() {
        assert_eq!("2026".parse(), Ok(Position::Sequence(Sequence(2026))));
        assert_eq!("9223372036854775807".parse(), Ok(Position::Sequence(Sequence::MAX)));
        for text in ["0", "9223372036854775808", "99999999999999999999999"] {
            assert_eq!(
                text.parse::<Position>(),
                Err("a sequence is from 1 to 9223372036854775807".to_owned()),
                "{text}"
            );
        }
        assert!("-5".parse::<Position>().is_err());
        assert!(matches!("2026-11-21".parse(), Ok(Position::Time(TimeArg::Day(MIDNIGHT, _)))));
    }

    #[test]
    fn a_tail_begins_at_the_end_or_before_it_or_anywhere() {
        assert_eq!("end".parse(), Ok(TailFrom::End));
        assert_eq!("-100".parse(), Ok(TailFrom::Last(100)));
        assert_eq!("-2h".parse(), Ok(TailFrom::Position(Position::Time(TimeArg::Ago(Duration::from_secs(7200))))));
        assert_eq!("7".parse(), Ok(TailFrom::Position(Position::Sequence(Sequence(7)))));
        assert!("start".parse::<TailFrom>().is_err());
        assert!("-99999999999999999999".parse::<TailFrom>().is_err());
    }
}
