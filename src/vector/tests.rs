use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::*;
use crate::types::{Sequence, Timestamp};

fn stored(record: NewRecord) -> Record {
    Record {
        sequence: Sequence(1),
        timestamp: Timestamp(0),
        kind: record.kind,
        key: record.key,
        expires_at: None,
        headers: record.headers,
        payload: record.payload,
    }
}

fn sample() -> VectorRecord {
    VectorRecord::new("doc-7", [0.25, -1.0, 3.4e38]).with_metadata(r#"{"lang":"en","n":1.00}"#)
}

#[test]
fn a_record_has_the_id_as_key_and_says_what_it_is() {
    let record = sample().into_new_record().unwrap();
    assert_eq!(record.key.as_deref(), Some(&b"doc-7"[..]));
    assert_eq!(record.headers, [Header { key: "icecore.type".into(), value: "vector".into() }]);
    assert_eq!(VectorRecord::of_record(&stored(record)), Some(Ok(sample())));
}

#[test]
fn any_avro_reader_reads_the_payload() {
    let schema = apache_avro::Schema::parse_str(VECTOR_SCHEMA).unwrap();
    let payload = sample().into_new_record().unwrap().payload.unwrap();
    let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &payload[..]).unwrap();
    let expected = Value::Record(vec![
        ("id".into(), Value::String("doc-7".into())),
        ("vector".into(), Value::Array(vec![Value::Float(0.25), Value::Float(-1.0), Value::Float(3.4e38)])),
        ("metadata".into(), Value::String(r#"{"lang":"en","n":1.00}"#.into())),
    ]);
    assert_eq!(value, expected);
    let theirs = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(expected).unwrap();
    assert_eq!(VectorRecord::decode(&theirs), Ok(sample()));
}

#[test]
fn every_form_of_an_array_is_read() {
    let float = |value: f32| value.to_le_bytes().to_vec();
    // Two blocks, the second with its length in bytes: count -1, 4 bytes.
    let bytes = [&[2, b'a', 2][..], &float(1.5), &[1, 8], &float(2.5), &[0, 4], b"{}"].concat();
    assert_eq!(VectorRecord::decode(&bytes), Ok(VectorRecord::new("a", [1.5, 2.5])));
}

#[test]
fn what_is_no_vector_is_refused_by_name() {
    let refused = |record: VectorRecord| record.into_new_record().unwrap_err().to_string();
    assert_eq!(refused(VectorRecord::new("", [1.0])), "the id of a vector is empty");
    assert_eq!(refused(VectorRecord::new("a", [])), "a vector is empty: id=`a`");
    assert_eq!(
        refused(VectorRecord::new("a", [1.0, f32::NAN])),
        "a vector has a number that is not finite as f32: id=`a`, at=`1`, value=`NaN`"
    );
    assert_eq!(
        refused(VectorRecord::new("a", [f32::NEG_INFINITY])),
        "a vector has a number that is not finite as f32: id=`a`, at=`0`, value=`-inf`"
    );
    assert_eq!(
        refused(VectorRecord::new("a", vec![0.0; 65_537])),
        "a vector has too many dimensions: id=`a`, dimensions=`65537`, limit=`65536`"
    );
    assert!(VectorRecord::new("a", vec![0.0; 65_536]).into_new_record().is_ok());
    for metadata in ["", "[]", "1", "{", "{} {}", r#"{"a":1e400}"#, r#"{"a":"\ud800"}"#] {
        let what = refused(VectorRecord::new("a", [1.0]).with_metadata(metadata));
        assert!(what.starts_with("the metadata of a vector is no json object: id=`a`; "), "{what}");
    }
    assert_eq!(
        VectorRecord::new("a", [1.0]).check_dimensions(2).unwrap_err().to_string(),
        "a vector has other dimensions than its collection: id=`a`, dimensions=`1`, wanted=`2`, setting=`vector.dimensions`"
    );
}

#[test]
fn what_only_claims_to_be_a_vector_is_none() {
    let good = sample().into_new_record().unwrap();
    let of = |change: &dyn Fn(&mut NewRecord)| {
        let mut record = good.clone();
        change(&mut record);
        VectorRecord::of_record(&stored(record))
    };
    assert_eq!(of(&|record| record.headers.clear()), None);
    assert_eq!(of(&|record| record.payload = None), None);
    assert_eq!(of(&|record| record.kind = RecordKind::Delete), None);
    assert_eq!(of(&|record| record.key = Some("b".into())), Some(Err(VectorError::OtherKey { id: "doc-7".into() })));
    let mut longer = good.payload.clone().unwrap().to_vec();
    longer.push(0);
    let longer = Bytes::from(longer);
    assert_eq!(of(&|record| record.payload = Some(longer.clone())), Some(Err(VectorError::BytesBehind { bytes: 1 })));
    for len in 0..good.payload.as_ref().unwrap().len() {
        let cut = good.payload.as_ref().unwrap().slice(..len);
        assert!(of(&|record| record.payload = Some(cut.clone())).unwrap().is_err(), "{len}");
    }
}

#[test]
fn a_line_keeps_its_metadata_byte_for_byte() {
    let read = VectorRecord::from_json(
        r#" {"metadata": {"b": 1.10, "a":12345678901234567890123}, "id":"\u00fc", "vector":[1, -0.0, 1e-3]} "#,
    )
    .unwrap();
    assert_eq!((read.id.as_str(), &read.vector[..]), ("ü", &[1.0, -0.0, 0.001][..]));
    assert!(read.vector[1].is_sign_negative());
    assert_eq!(read.metadata, r#"{"b": 1.10, "a":12345678901234567890123}"#);
    assert_eq!(
        read.to_json(),
        r#"{"id":"ü","vector":[1.0,-0.0,0.001],"metadata":{"b": 1.10, "a":12345678901234567890123}}"#
    );
    for without in [r#"{"id":"a","vector":[1]}"#, r#"{"id":"a","vector":[1],"metadata":null}"#] {
        assert_eq!(VectorRecord::from_json(without), Ok(VectorRecord::new("a", [1.0])));
    }
}

#[test]
fn a_line_that_is_none_is_refused_by_name() {
    for (line, what) in [
        ("[\"a\",[1],{}]", "it does not begin with `{`"),
        ("7", "it does not begin with `{`"),
        ("", "it does not begin with `{`"),
        (r#"{"id":"a"}"#, "missing field `vector`, at column 10"),
        (r#"{"vector":[1]}"#, "missing field `id`, at column 14"),
        (
            r#"{"id":"a","vector":[1],"meta":{}}"#,
            "unknown field `meta`, expected one of `id`, `vector`, `metadata`, at column 29",
        ),
        (r#"{"id":"a","id":"b","vector":[1]}"#, "duplicate field `id`, at column 14"),
        (r#"{"id":7,"vector":[1]}"#, "invalid type: integer `7`, expected a string, at column 7"),
        (r#"{"id":"a","vector":[1,null]}"#, "invalid type: null, expected f32, at column 26"),
    ] {
        assert_eq!(VectorRecord::from_json(line), Err(VectorError::Json(what.into())), "{line}");
    }
    let large = VectorRecord::from_json(r#"{"id":"a","vector":[1e39]}"#);
    assert!(matches!(large, Err(VectorError::NotFinite { at: 0, .. })), "{large:?}");
    let array = VectorRecord::from_json(r#"{"id":"a","vector":[1],"metadata":[]}"#);
    assert!(matches!(array, Err(VectorError::Metadata { .. })), "{array:?}");
}

proptest! {
    #[test]
    fn vectors_go_through_payloads_and_lines(
        id in ".{1,20}",
        vector in prop::collection::vec(any::<f32>().prop_filter("finite", |value| value.is_finite()), 1..20),
        fields in prop::collection::btree_map(".{0,5}", ".{0,9}", 0..4),
    ) {
        let metadata = serde_json::to_string(&fields).unwrap();
        let record = VectorRecord { id, vector, metadata };
        let payload = record.clone().into_new_record().unwrap().payload.unwrap();
        prop_assert_eq!(VectorRecord::decode(&payload).unwrap(), record.clone());
        prop_assert_eq!(VectorRecord::from_json(&record.to_json()).unwrap(), record);
    }

    #[test]
    fn any_bytes_decode_or_err(bytes: Vec<u8>) {
        if let Ok(record) = VectorRecord::decode(&bytes) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert!(again.len() <= bytes.len());
        }
    }
}
