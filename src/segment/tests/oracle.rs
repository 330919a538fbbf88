//! Sealed files as another program sees them: `apache-avro` reads every record, and finds the footer in the last one.

use apache_avro::types::Value;

use super::*;
use crate::segment::footer::SEAL_SCHEMA;

fn field(value: &Value, name: &str) -> Value {
    let Value::Record(fields) = value else { panic!("no record: {value:?}") };
    let found = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap();
    match found {
        Value::Union(_, inner) => *inner,
        plain => plain,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Null => None,
        other => panic!("no bytes: {other:?}"),
    }
}

#[test]
fn another_reader_finds_the_same_records_and_the_footer() {
    for codec in CODECS {
        // The larger one has a footer that the stored form cuts into pieces.
        for count in [50, 40_000] {
            let mut records = sample(1, count);
            if count > 50 {
                records.iter_mut().for_each(|record| record.key = Some(record.sequence.to_string().into()));
            }
            let (sealed, file) = seal(codec, 2000, &records);
            let reader = apache_avro::Reader::new(&file[..]).unwrap();
            let mut values: Vec<Value> = reader.collect::<Result<_, _>>().unwrap();
            let last = values.pop().unwrap();
            assert_eq!(values.len(), records.len(), "{codec:?}");
            for (value, record) in values.iter().zip(&records) {
                assert_eq!(field(value, "sequence"), Value::Long(record.sequence.0 as i64));
                assert_eq!(field(value, "timestamp"), Value::TimestampMicros(record.timestamp.0));
                assert_eq!(bytes(field(value, "key")).as_deref(), record.key.as_deref());
                assert_eq!(bytes(field(value, "payload")).as_deref(), record.payload.as_deref());
            }
            assert_eq!((field(&last, "kind"), field(&last, "sequence")), (Value::Int(kind::SEAL), Value::Long(0)));
            let payload = bytes(field(&last, "payload")).unwrap();
            let footer = &payload[..payload.len() - seal::TRAILER_BYTES];
            assert_eq!(Footer::decode(footer).as_ref(), Ok(&sealed.footer));
            let schema = apache_avro::Schema::parse_str(SEAL_SCHEMA).unwrap();
            let datum = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
            let footer = datum.read_value(&mut &footer[..]).unwrap();
            assert_eq!(field(&footer, "records"), Value::Long(count as i64));
            assert_eq!(field(&footer, "collection"), Value::String(collection().to_string()));
        }
    }
}

#[test]
fn a_stub_is_an_avro_file() {
    let (sealed, _) = seal(Codec::DEFAULT, 2000, &sample(1, 50));
    let fs = Memory::default();
    write_stub(&fs, Path::new("stub"), &sealed.footer).unwrap();
    let file = fs.bytes(Path::new("stub"));
    let values: Vec<Value> = apache_avro::Reader::new(&file[..]).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(values.len(), 1);
    assert_eq!(field(&values[0], "kind"), Value::Int(kind::SEAL));
}
