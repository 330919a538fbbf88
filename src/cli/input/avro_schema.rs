//! Whether an Avro schema is that of our records, however it is written down.
//!
//! Another program that copied our records may have dropped the doc texts, spelt out full names, or ordered attributes
//! differently. So schemas are compared in the *parsing canonical form* of the Avro 1.12 specification.

use serde_json::{Map, Value, json};

use crate::avro::RECORD_SCHEMA;

/// Whether records written by `schema` have the bytes of ours.
pub(super) fn is_record_schema(schema: &Value) -> bool {
    let ours = serde_json::from_str(RECORD_SCHEMA).expect("schema/record.avsc is JSON");
    canonical(schema, None) == canonical(&ours, None)
}

/// The schema's full name, or its beginning where it has none.
pub(super) fn schema_name(schema: &Value) -> String {
    match schema.get("name").and_then(Value::as_str) {
        Some(name) => full_name(name, schema.get("namespace").and_then(Value::as_str)),
        None => schema.to_string().chars().take(60).collect(),
    }
}

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

fn full_name(name: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() && !name.contains('.') => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    }
}

/// Primitives in their short form, full names, and nothing that does not change the bytes.
fn canonical(schema: &Value, namespace: Option<&str>) -> Value {
    match schema {
        Value::String(name) if PRIMITIVES.contains(&name.as_str()) => schema.clone(),
        Value::String(name) => full_name(name, namespace).into(),
        Value::Array(branches) => branches.iter().map(|branch| canonical(branch, namespace)).collect(),
        Value::Object(object) => canonical_object(object, namespace),
        other => other.clone(),
    }
}

fn canonical_object(object: &Map<String, Value>, namespace: Option<&str>) -> Value {
    let kind = object.get("type").unwrap_or(&Value::Null);
    let Some(word) = kind.as_str().filter(|word| !PRIMITIVES.contains(word)) else {
        return canonical(kind, namespace);
    };
    let mut out = Map::from_iter([("type".to_owned(), json!(word))]);
    let mut inner = namespace.map(str::to_owned);
    if let Some(name) = object.get("name").and_then(Value::as_str) {
        let name = full_name(name, object.get("namespace").and_then(Value::as_str).or(namespace));
        inner = name.rsplit_once('.').map(|(namespace, _)| namespace.to_owned());
        out.insert("name".to_owned(), name.into());
    }
    let inner = inner.as_deref();
    for (attribute, value) in object {
        let value = match attribute.as_str() {
            "fields" => value.as_array().map_or(Value::Null, |fields| {
                let field = |field: &Value| {
                    let kind = canonical(field.get("type").unwrap_or(&Value::Null), inner);
                    json!({ "name": field.get("name"), "type": kind })
                };
                fields.iter().map(field).collect()
            }),
            "items" | "values" => canonical(value, inner),
            "symbols" | "size" => value.clone(),
            _ => continue,
        };
        out.insert(attribute.clone(), value);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        serde_json::from_str(RECORD_SCHEMA).unwrap()
    }

    #[test]
    fn spelling_does_not_matter() {
        assert!(is_record_schema(&ours()));
        let canonical_text = apache_avro::Schema::parse_str(RECORD_SCHEMA).unwrap().canonical_form();
        assert!(is_record_schema(&serde_json::from_str(&canonical_text).unwrap()), "{canonical_text}");
    }

    #[test]
    fn other_records_are_not_ours() {
        let mut renamed = ours();
        renamed["fields"][0]["name"] = "id".into();
        let mut wider = ours();
        wider["fields"][2]["type"] = "long".into();
        let mut shorter = ours();
        shorter["fields"].as_array_mut().unwrap().pop();
        let mut moved = ours();
        moved["namespace"] = "other".into();
        for schema in [renamed, wider, shorter, moved, json!("string"), json!(null), json!({"type": "record"})] {
            assert!(!is_record_schema(&schema), "{schema}");
        }
        assert_eq!(schema_name(&ours()), "icecore.Record");
        assert_eq!(schema_name(&json!("string")), "\"string\"");
    }
}
