//! Numbers, sizes, spans of time and tables for people. Programs get bare numbers by `--json`.

use std::time::Duration;

/// A size with at most four digits: `999 B`, `1.50 KiB`, `64.0 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "only a few digits are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024 of a unit is 1.00 of the next.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", digits(value), UNITS[unit])
}

/// A whole number with commas between thousands: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let plain = number.to_string();
    let mut text = String::with_capacity(plain.len() + plain.len() / 3);
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text in one line and without anything that a terminal would obey: a name may hold any character.
#[must_use]
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let shown =
        |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() };
    text.chars().map(shown).collect::<String>().into()
}

/// A line of a list, set in by two blanks for each level.
#[must_use]
pub fn item(level: usize, text: &str) -> String {
    format!("{:indent$}{}\n", "", printable(text), indent = 2 * level)
}

/// A count with its noun: `1 record`, `1,234 records`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A point in time to the second, in UTC: `2026-11-21 09:30:00`.
#[must_use]
pub fn moment(at: crate::Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| seconds.replacen('T', " ", 1))
}

/// A span of time: `850 ns`, `12.3 us`, `4.56 ms`, `1.20 s`, `3m 20s`, `2h 05m`, `9d 04h`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    let whole = span.as_secs();
    if span.as_nanos() < 1000 {
        format!("{} ns", span.as_nanos())
    } else if seconds < 0.999_5e-3 {
        format!("{} us", digits(seconds * 1e6))
    } else if seconds < 0.999_5 {
        format!("{} ms", digits(seconds * 1e3))
    } else if whole < 60 {
        format!("{} s", digits(seconds))
    } else if whole < 3600 {
        format!("{}m {:02}s", whole / 60, whole % 60)
    } else if whole < 86_400 {
        format!("{}h {:02}m", whole / 3600, whole / 60 % 60)
    } else {
        format!("{}d {:02}h", whole / 86_400, whole / 3600 % 24)
    }
}

/// How many in a second, as a whole number with commas; `-` where no time passed.
#[must_use]
pub fn rate(number: u64, span: Duration) -> String {
    if span.is_zero() {
        return "-".to_owned();
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown only"
    )]
    let per_second = (number as f64 / span.as_secs_f64()).round() as u64;
    count(per_second)
}

/// Three digits that count: `1.23`, `12.3`, `123`.
fn digits(value: f64) -> String {
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

/// Which side of its column a cell stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows in columns as wide as they need to be, under a header.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// How wide each column was in what was taken before; empty before the first.
    widths: Vec<usize>,
}

impl Table {
    /// A table with these columns and no row.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new(), widths: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell).into_owned()).collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Header and rows, a line each.
    #[must_use]
    pub fn render(&self) -> String {
        self.clone().take()
    }

    /// The rows so far, and the header before the first of them; then they are gone, so that a table of millions of rows can be
    /// printed piece by piece. Columns get wider from piece to piece where they must, and never narrower.
    #[must_use]
    pub fn take(&mut self) -> String {
        let header: Option<Vec<String>> =
            self.widths.is_empty().then(|| self.columns.iter().map(|(name, _)| name.clone()).collect());
        self.widths.resize(self.columns.len(), 0);
        let rows = std::mem::take(&mut self.rows);
        for row in header.iter().chain(&rows) {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let widths = &self.widths;
        let mut text = String::new();
        for row in header.iter().chain(&rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(widths).zip(&self.columns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits_and_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1536, 64 << 20, (1 << 20) - 1, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "64.0 MiB", "1.00 MiB", "16.0 EiB"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2000].map(|number| plural(number, "key")), ["0 keys", "1 key", "2,000 keys"]);
        assert_eq!(rate(3000, Duration::from_millis(1500)), "2,000");
        assert_eq!(rate(1, Duration::ZERO), "-");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(printable("ü ~"), "ü ~");
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{85}"), "a\\u{1b}[2Jb\\nc\\u{85}");
        let mut table = Table::new(&[("name", Align::Left)]);
        table.row(["a\nb".to_owned()]);
        assert_eq!(table.render(), "name\na\\nb\n");
    }

    #[test]
    fn spans_read_at_a_glance() {
        let shown =
            [850, 12_345, 4_560_000, 999_999, 1_200_000_000, 200_000_000_000, 7_500_000_000_000, 792_000_000_000_000];
        let shown = shown.map(|nanos| span(Duration::from_nanos(nanos)));
        assert_eq!(shown, ["850 ns", "12.3 us", "4.56 ms", "1.00 ms", "1.20 s", "3m 20s", "2h 05m", "9d 04h"]);
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let mut table = Table::new(&[("name", Align::Left), ("records", Align::Right), ("note", Align::Left)]);
        table.row(["ü".to_owned(), "1,000".to_owned(), String::new()]);
        table.row(["orders".to_owned(), "7".to_owned(), "x".to_owned()]);
        assert_eq!(table.render(), "name    records  note\nü         1,000\norders        7  x\n");
        assert_eq!(table.take(), "name    records  note\nü         1,000\norders        7  x\n");
        table.row(["another one".to_owned(), "8".to_owned(), String::new()]);
        assert_eq!(table.take(), "another one        8\n");
    }
}
