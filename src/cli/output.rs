//! Prints records: one JSON object a line, or payloads alone.
//!
//! Written by hand into a buffer, since `cat` of a whole collection spends its time here.

use std::io::Write as _;

use crate::types::{Record, RecordKind};

/// Adds a record as one line of JSON.
///
/// The object has `sequence`, `kind` (`put`, `delete`), `key`, `timestamp` and `expires_at` (RFC 3339 in UTC with
/// microseconds), `headers` (a list of objects with `key` and `value`), `payload`. A key, payload or header value that is no
/// UTF-8 stands as base64 under `key_base64`, `payload_base64`, `value_base64` instead; one that is absent is `null`.
///
/// ```
/// use icecore::{Record, RecordKind, Sequence, Timestamp, cli::write_json};
/// let record = Record {
///     sequence: Sequence(7), timestamp: Timestamp(0), kind: RecordKind::Put, key: Some("a".into()), expires_at: None,
///     headers: Vec::new(), payload: Some(vec![0xff].into()),
/// };
/// let mut line = Vec::new();
/// write_json(&record, &mut line);
/// assert_eq!(String::from_utf8(line)?, concat!(
///     r#"{"sequence":7,"kind":"put","key":"a","timestamp":"1970-01-01T00:00:00.000000Z","expires_at":null,"#,
///     r#""headers":[],"payload_base64":"/w=="}"#, "\n"));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
pub fn write_json(record: &Record, out: &mut Vec<u8>) {
    let kind = match record.kind {
        RecordKind::Put => "put",
        RecordKind::Delete => "delete",
    };
    // Writing to memory cannot fail, here and below.
    let _ = write!(out, "{{\"sequence\":{},\"kind\":\"{kind}\"", record.sequence);
    write_field(out, "key", record.key.as_deref());
    let _ = write!(out, ",\"timestamp\":\"{}\"", record.timestamp);
    match record.expires_at {
        Some(at) => {
            let _ = write!(out, ",\"expires_at\":\"{at}\"");
        }
        None => out.extend_from_slice(b",\"expires_at\":null"),
    }
    out.extend_from_slice(b",\"headers\":[");
    for (at, header) in record.headers.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"key\":" } else { b",{\"key\":" });
        write_text(out, &header.key);
        write_field(out, "value", Some(&header.value));
        out.push(b'}');
    }
    out.push(b']');
    write_field(out, "payload", record.payload.as_deref());
    out.extend_from_slice(b"}\n");
}

/// Adds a record's payload, and a newline where it does not end in one. A record without a payload (a delete) adds nothing.
pub fn write_raw(record: &Record, out: &mut Vec<u8>) {
    if let Some(payload) = &record.payload {
        out.extend_from_slice(payload);
        if payload.last() != Some(&b'\n') {
            out.push(b'\n');
        }
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    match value.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"\":null"),
        Some((_, Ok(text))) => {
            out.extend_from_slice(b"\":");
            write_text(out, text);
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"_base64\":\"");
            write_base64(out, bytes);
            out.push(b'"');
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory cannot fail");
}

/// Base64 with the standard alphabet and padding (RFC 4648, section 4).
fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let part = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Header, Sequence, Timestamp};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            sequence: Sequence(1),
            timestamp: Timestamp(1_700_000_000_123_456),
            kind: RecordKind::Put,
            key: None,
            expires_at: None,
            headers: Vec::new(),
            payload: Some(Bytes::from_static(b"x")),
        }
    }

    fn json(record: &Record) -> serde_json::Value {
        let mut line = Vec::new();
        write_json(record, &mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn every_part_of_a_record_is_there() {
        let header = |key: &str, value: &'static [u8]| Header { key: key.to_owned(), value: Bytes::from_static(value) };
        let full = Record {
            kind: RecordKind::Delete,
            key: Some(Bytes::from_static(b"\xff")),
            expires_at: Some(Timestamp(0)),
            headers: vec![header("a\"\n", b"1"), header("a\"\n", b"\xfe\xff")],
            payload: None,
            ..record()
        };
        assert_eq!(
            json(&full),
            serde_json::json!({
                "sequence": 1, "kind": "delete", "key_base64": "/w==", "timestamp": "2023-11-14T22:13:20.123456Z",
                "expires_at": "1970-01-01T00:00:00.000000Z",
                "headers": [{"key": "a\"\n", "value": "1"}, {"key": "a\"\n", "value_base64": "/v8="}],
                "payload": null,
            })
        );
    }

    #[test]
    fn absent_and_empty_are_told_apart() {
        let empty = Record { key: Some(Bytes::new()), payload: Some(Bytes::new()), ..record() };
        assert_eq!((&json(&empty)["key"], &json(&empty)["payload"]), (&"".into(), &"".into()));
        assert!(json(&record())["key"].is_null());
    }

    #[test]
    fn raw_ends_each_payload_with_one_newline() {
        let raw = |payload: Option<&'static [u8]>| {
            let mut out = Vec::new();
            write_raw(&Record { payload: payload.map(Bytes::from_static), ..record() }, &mut out);
            out
        };
        assert_eq!(raw(Some(b"a")), b"a\n");
        assert_eq!(raw(Some(b"A: 1\n")), b"A: 1\n");
        assert_eq!(raw(Some(b"")), b"\n");
        assert_eq!(raw(None), b"");
    }

    #[test]
    fn base64_follows_the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            write_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        write_base64(&mut out, &[0xfb, 0xff, 0xbf]);
        assert_eq!(out, b"+/+/");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(payload in ".{0,40}", key in ".{0,10}") {
            let shown = json(&Record { key: Some(key.clone().into()), payload: Some(payload.clone().into()), ..record() });
            prop_assert_eq!(shown["payload"].as_str(), Some(payload.as_str()));
            prop_assert_eq!(shown["key"].as_str(), Some(key.as_str()));
        }
    }
}
