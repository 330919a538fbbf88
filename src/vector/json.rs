//! Vector records as JSON lines: `{"id": "doc-7", "vector": [0.25, -1.0], "metadata": {"lang": "en"}}`.
//!
//! The metadata is taken as it stands, byte for byte: no number in it is rounded, no field moved. A field of another name is refused: it
//! would be lost.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{NO_METADATA, VectorError, VectorRecord};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a json object")]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    vector: Vec<f32>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

impl VectorRecord {
    /// Reads a line. Metadata that is absent or null is `{}`.
    ///
    /// # Errors
    /// [`VectorError::Json`] for what is no such object; as [`check`](Self::check).
    pub fn from_json(line: &str) -> Result<Self, VectorError> {
        // The reader would take an array of the fields too.
        if !line.trim_start().starts_with('{') {
            return Err(VectorError::Json("it does not begin with `{`".to_owned()));
        }
        let read: Line<'_> = serde_json::from_str(line).map_err(|error| VectorError::Json(without_line(&error)))?;
        let metadata = read.metadata.map_or(NO_METADATA, RawValue::get);
        let record = Self { id: read.id.into_owned(), vector: read.vector, metadata: metadata.to_owned() };
        record.check()?;
        Ok(record)
    }

    /// The line, without its newline. The vector's numbers are the shortest that read back the same.
    #[must_use]
    pub fn to_json(&self) -> String {
        use std::fmt::Write as _;
        let id = serde_json::Value::from(self.id.as_str());
        let mut line = format!("{{\"id\":{id},\"vector\":[");
        for (at, value) in self.vector.iter().enumerate() {
            let _ = write!(line, "{}{value:?}", if at > 0 { "," } else { "" });
        }
        // Text of several lines is JSON too, and a line has one.
        let metadata = if self.metadata.contains(['\n', '\r']) {
            Cow::Owned(self.metadata.replace(['\n', '\r'], " "))
        } else {
            Cow::Borrowed(self.metadata.as_str())
        };
        let _ = write!(line, "],\"metadata\":{metadata}}}");
        line
    }
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
