//! What is known of one thing, for people and for programs at once.
//!
//! A fact has a name, a JSON value, and, where people want to see it, a text. The same facts print as one JSON object,
//! as a list of names and texts, or, several of them together, as a table; so the two forms never tell different things.

use serde_json::Value;

use super::human::{self, Align, Table};
use super::stdout::{OutputError, Stdout};
use crate::types::Timestamp;

/// Named values in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

#[derive(Debug)]
struct Fact {
    name: &'static str,
    value: Value,
    text: Option<(String, Align)>,
}

impl Facts {
    fn with(mut self, name: &'static str, value: impl Into<Value>, text: Option<(String, Align)>) -> Self {
        self.0.push(Fact { name, value: value.into(), text });
        self
    }

    /// A text, the same for both.
    pub fn text(self, name: &'static str, text: impl ToString) -> Self {
        let text = text.to_string();
        self.with(name, text.clone(), Some((text, Align::Left)))
    }

    /// A text that may be absent.
    pub fn maybe(self, name: &'static str, text: Option<impl ToString>) -> Self {
        let text = text.map(|text| text.to_string());
        let shown = text.clone().unwrap_or_else(|| "-".to_owned());
        self.with(name, text, Some((shown, Align::Left)))
    }

    /// A number that is a name, such as a sequence: no separators.
    pub fn number(self, name: &'static str, number: impl Into<Option<u64>>) -> Self {
        let number = number.into();
        let shown = number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        self.with(name, number, Some((shown, Align::Right)))
    }

    /// How many.
    pub fn count(self, name: &'static str, number: u64) -> Self {
        self.with(name, number, Some((human::count(number), Align::Right)))
    }

    /// How many bytes.
    pub fn bytes(self, name: &'static str, bytes: u64) -> Self {
        self.with(name, bytes, Some((human::size(bytes), Align::Right)))
    }

    /// When; programs get microseconds too.
    pub fn time(self, name: &'static str, at: impl Into<Option<Timestamp>>) -> Self {
        let at = at.into();
        let shown = at.map_or_else(|| "-".to_owned(), human::moment);
        self.with(name, at.map(|at| at.to_string()), Some((shown, Align::Left)))
    }

    /// Yes or no.
    pub fn flag(self, name: &'static str, flag: bool) -> Self {
        self.with(name, flag, Some((if flag { "yes" } else { "no" }.to_owned(), Align::Left)))
    }

    /// What only programs are told.
    pub fn hidden(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, value, None)
    }

    /// What programs get as a value of its own and people as a text.
    pub fn both(self, name: &'static str, value: impl Into<Value>, text: impl Into<String>) -> Self {
        self.with(name, value, Some((text.into(), Align::Left)))
    }

    /// One JSON object in one line, without a newline.
    pub fn json(&self) -> String {
        let members = self.0.iter().map(|fact| format!("{}:{}", Value::from(fact.name), fact.value));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// A line for each: its name in words, and its text.
    pub fn lines(&self) -> String {
        let shown = || {
            let text = |fact: &Fact| fact.text.as_ref().map(|(text, _)| human::printable(text).into_owned());
            self.0.iter().filter_map(move |fact| text(fact).map(|text| (words(fact.name), text)))
        };
        let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0);
        shown().map(|(name, text)| format!("{name:<width$}  {text}\n")).collect()
    }
}

/// `first_sequence` is for programs, `first sequence` for people.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Prints things as JSON, an object a line, or as a table. `none` is what people are told where there is nothing.
pub(super) struct Listing {
    json: bool,
    table: Option<Table>,
}

/// So many rows are aligned with each other; of more, nothing is kept.
const PIECE_ROWS: usize = 1000;

impl Listing {
    pub const fn new(json: bool) -> Self {
        Self { json, table: None }
    }

    /// Adds one thing; every thing of a listing has the same names.
    pub fn add(&mut self, stdout: &mut Stdout, facts: &Facts) -> Result<(), OutputError> {
        if self.json {
            return stdout.line(&facts.json());
        }
        let shown = || facts.0.iter().filter_map(|fact| fact.text.as_ref().map(|text| (fact.name, text)));
        let table = self.table.get_or_insert_with(|| {
            let names: Vec<(String, Align)> = shown().map(|(name, (_, align))| (words(name), *align)).collect();
            Table::new(&names.iter().map(|(name, align)| (name.as_str(), *align)).collect::<Vec<_>>())
        });
        table.row(shown().map(|(_, (text, _))| text.clone()));
        if table.len() >= PIECE_ROWS {
            stdout.write(table.take().as_bytes())?;
        }
        Ok(())
    }

    /// Prints what is left to print; whether there was anything to list for people.
    pub fn finish(self, stdout: &mut Stdout) -> Result<bool, OutputError> {
        let Some(mut table) = self.table else { return Ok(self.json) };
        stdout.write(table.take().as_bytes())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let facts = Facts::default()
            .text("collection", "a\"b")
            .number("first_sequence", 1234)
            .number("last_sequence", None)
            .count("records", 1234)
            .bytes("bytes", 2048)
            .time("at", Timestamp(1))
            .maybe("gone", None::<&str>)
            .flag("ok", true)
            .hidden("more", vec![1, 2]);
        let json = concat!(
            r#"{"collection":"a\"b","first_sequence":1234,"last_sequence":null,"records":1234,"bytes":2048,"#,
            r#""at":"1970-01-01T00:00:00.000001Z","gone":null,"ok":true,"more":[1,2]}"#
        );
        assert_eq!(facts.json(), json);
        let lines = "collection      a\"b\nfirst sequence  1234\nlast sequence   -\nrecords         1,234\n\
                     bytes           2.00 KiB\nat              1970-01-01 00:00:00\ngone            -\nok              yes\n";
        assert_eq!(facts.lines(), lines);
    }
}
