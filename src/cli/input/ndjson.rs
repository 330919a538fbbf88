//! One JSON object a line.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use bytes::Bytes;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::buffer::Found;
use super::{Input, InputError, InputOptions, InputRecord, Place, read_time};

impl<R: Read> Input<R> {
    pub(super) fn read_ndjson_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        let limit = self.options.record_bytes_max.as_len();
        loop {
            let place = self.place();
            let line =
                match self.lines_mut().find_line(0, limit).map_err(|source| InputError::Read { place, source })? {
                    Found::End => return Ok(None),
                    Found::TooLarge => return Err(self.too_large()),
                    Found::Line(line) => line,
                };
            let bytes = self.lines().peek(line.end);
            if bytes.iter().all(u8::is_ascii_whitespace) {
                self.lines_mut().consume(line.end_with_newline, 1);
                continue;
            }
            let fields = Fields::read(bytes, &self.options, place)?;
            let payload = Bytes::copy_from_slice(bytes);
            let key = fields.key(&self.options, place)?.map(|key| self.checked_key(key, place)).transpose()?;
            let timestamp = fields.timestamp(&self.options, place)?;
            self.lines_mut().consume(line.end_with_newline, 1);
            return Ok(Some(InputRecord::put(payload, key, timestamp, place)));
        }
    }
}

/// The fields of an object that were asked for; everything else is checked and skipped.
#[derive(Default)]
struct Fields {
    key: Option<Value>,
    timestamp: Option<Value>,
}

impl Fields {
    fn read(line: &[u8], options: &InputOptions, place: Place) -> Result<Self, InputError> {
        let malformed = |why: String| InputError::Malformed { format: "ndjson", place, why };
        // The JSON reader does not look into strings that it skips, so they are checked here.
        let text = std::str::from_utf8(line).map_err(|error| malformed(error.to_string()))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_map(FieldsVisitor(options));
        let fields = fields.and_then(|fields| deserializer.end().map(|()| fields));
        fields.map_err(|error| malformed(without_line(&error)))
    }

    fn key(&self, options: &InputOptions, place: Place) -> Result<Option<Vec<u8>>, InputError> {
        let Some(name) = &options.key else { return Ok(None) };
        match &self.key {
            Some(Value::String(text)) => Ok(Some(text.clone().into_bytes())),
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string().into_bytes())),
            found => Err(unusable(name, place, "a text or a whole number is wanted", found.as_ref())),
        }
    }

    fn timestamp(&self, options: &InputOptions, place: Place) -> Result<Option<crate::Timestamp>, InputError> {
        let Some(name) = &options.timestamp else { return Ok(None) };
        let wanted = "rfc 3339 or whole microseconds since 1970-01-01 are wanted";
        match &self.timestamp {
            Some(Value::String(text)) => {
                read_time(text).map(Some).map_err(|why| InputError::Field { field: name.clone(), place, why })
            }
            Some(Value::Number(number)) => {
                let micros = number.as_i64().ok_or_else(|| unusable(name, place, wanted, self.timestamp.as_ref()))?;
                Ok(Some(crate::Timestamp(micros)))
            }
            found => Err(unusable(name, place, wanted, found.as_ref())),
        }
    }
}

fn unusable(field: &str, place: Place, wanted: &str, found: Option<&Value>) -> InputError {
    let found = match found {
        None => "it is not there",
        Some(Value::Null) => "it is null",
        Some(Value::Bool(_)) => "it is a boolean",
        Some(Value::Number(_)) => "it is another number",
        Some(Value::String(_)) => "it is a text",
        Some(Value::Array(_)) => "it is an array",
        Some(Value::Object(_)) => "it is an object",
    };
    InputError::Field { field: field.to_owned(), place, why: format!("{wanted}, and {found}") }
}

/// The reader counts lines within the one line that it sees; only its column says something.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&position) {
        Some(what) => format!("{what}, at column {}", error.column()),
        None => text,
    }
}

struct FieldsVisitor<'a>(&'a InputOptions);

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let is = |wanted: &Option<String>| wanted.as_deref() == Some(&*name);
            let (is_key, is_timestamp) = (is(&self.0.key), is(&self.0.timestamp));
            if !is_key && !is_timestamp {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if is_key && fields.key.is_some() || is_timestamp && fields.timestamp.is_some() {
                return Err(A::Error::custom(format_args!("field `{name}` is there twice")));
            }
            let value: Value = map.next_value()?;
            if is_key && is_timestamp {
                fields.key = Some(value.clone());
            } else if is_key {
                fields.key = Some(value);
                continue;
            }
            fields.timestamp = Some(value);
        }
        Ok(fields)
    }
}
