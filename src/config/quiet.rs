//! The hours of a day in which something may run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::value::{Raw, SettingValue, Shown};
use crate::types::Timestamp;

const MINUTE_US: i64 = 60_000_000;
const DAY_MINUTES: u16 = 24 * 60;

/// From one minute of the day up to another, in UTC; over midnight where the second is the earlier one.
///
/// ```
/// let hours: icecore::config::QuietHours = "22:00-06:00".parse()?;
/// assert!(hours.has(icecore::Timestamp(0)), "midnight");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// Minutes since midnight.
    from: u16,
    /// The first minute that is none of them.
    until: u16,
}

impl QuietHours {
    /// Whether `now` is in them.
    #[must_use]
    pub fn has(&self, now: Timestamp) -> bool {
        let minute = minute_of(now);
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }

    /// How long it is until they begin; zero in them.
    #[must_use]
    pub fn wait(&self, now: Timestamp) -> Duration {
        if self.has(now) {
            return Duration::ZERO;
        }
        let minutes = (self.from + DAY_MINUTES - minute_of(now)) % DAY_MINUTES;
        let into = Duration::from_micros(now.0.rem_euclid(MINUTE_US).unsigned_abs());
        Duration::from_secs(u64::from(minutes) * 60).saturating_sub(into)
    }
}

fn minute_of(now: Timestamp) -> u16 {
    let minute = now.0.div_euclid(MINUTE_US).rem_euclid(i64::from(DAY_MINUTES));
    u16::try_from(minute).expect("a day has 1,440 minutes")
}

impl FromStr for QuietHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "hours of the day in UTC are wanted, such as 22:00-06:00".to_owned();
        let two = |text: &str| {
            let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u16>().ok()).flatten()
        };
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute) = (two(hour)?, two(minute)?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = minute(from).zip(minute(until)).ok_or_else(wrong)?;
        if from == until { Err(wrong()) } else { Ok(Self { from, until }) }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl SettingValue for QuietHours {
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw)?.parse()
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_go_over_midnight() {
        let at = |hour: i64, minute: i64| Timestamp((hour * 60 + minute) * MINUTE_US + 30_000_000);
        let night: QuietHours = "22:00-06:30".parse().unwrap();
        assert_eq!(night.to_string(), "22:00-06:30");
        assert!(night.has(at(22, 0)) && night.has(at(0, 0)) && night.has(at(6, 29)));
        assert!(!night.has(at(6, 30)) && !night.has(at(21, 59)) && night.has(at(-1, 0)));
        assert_eq!(night.wait(at(21, 59)), Duration::from_secs(30));
        assert_eq!(night.wait(at(6, 30)), Duration::from_secs((15 * 60 + 30) * 60 - 30));
        assert_eq!(night.wait(at(3, 0)), Duration::ZERO);
        let noon: QuietHours = "12:00-13:00".parse().unwrap();
        assert!(noon.has(at(12, 59)) && !noon.has(at(13, 0)) && !noon.has(at(0, 0)));
        assert_eq!(noon.wait(at(13, 0)), Duration::from_secs(23 * 3600 - 30));
        for wrong in ["", "22", "22:00", "22:00-22:00", "24:00-01:00", "22:60-01:00", "2:00-03:00", "+2:00-03:00"] {
            assert!(wrong.parse::<QuietHours>().is_err(), "{wrong}");
        }
    }
}
