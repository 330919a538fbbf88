//! Conditions on the metadata of vectors.
//!
//! A condition is a name and a text. The name is a member of the JSON object, or, where it has no member of that whole name, a path to a
//! member of a member, with dots between. A text value is compared by what it says, every other value by how it is written, without
//! spaces: `lang=en`, `page=7`, `draft=false`, `author.name=Ada`. A number is compared as it was written: `1.0` is not `1`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A member of the metadata that must have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The member's name, or a path to it.
    pub name: String,
    /// What it must be.
    pub value: String,
}

impl std::str::FromStr for Condition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self { name: name.to_owned(), value: value.to_owned() }),
            _ => Err("a name, `=` and a value are wanted"),
        }
    }
}

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Whether metadata meets every condition. What is no JSON object meets none.
#[must_use]
pub fn meets(metadata: &str, conditions: &[Condition]) -> bool {
    conditions.is_empty()
        || serde_json::from_str::<Members<'_>>(metadata)
            .is_ok_and(|members| conditions.iter().all(|condition| has(&members, &condition.name, &condition.value)))
}

fn has(members: &Members<'_>, name: &str, value: &str) -> bool {
    if let Some(found) = members.get(name) {
        return is(found.get(), value);
    }
    name.match_indices('.').any(|(dot, _)| {
        let inner = members.get(&name[..dot]).and_then(|found| serde_json::from_str::<Members<'_>>(found.get()).ok());
        inner.is_some_and(|inner| has(&inner, &name[dot + 1..], value))
    })
}

fn is(json: &str, value: &str) -> bool {
    if json.starts_with('"') {
        return serde_json::from_str::<Cow<'_, str>>(json).is_ok_and(|text| text == value);
    }
    json == value || (json.starts_with(['{', '[']) && without_spaces(json) == value)
}

/// The same JSON without the spaces between its parts.
fn without_spaces(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    json.chars()
        .filter(|char| {
            let keep = in_text || !char.is_ascii_whitespace();
            if in_text && !escaped && *char == '\\' {
                escaped = true;
            } else {
                in_text ^= *char == '"' && !escaped;
                escaped = false;
            }
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#" {"lang": "en", "n": 1.00, "ok": true, "none": null, "a": {"b": {"c": 7}, "b.c": "x"}, "a.b": "dotted",
        "list": [ 1, "two \" 2" , {"x" :3}], "quoted": "say \"\u00fc\"", "7": "seven", "": {"": "deep"}} "#;

    #[test]
    fn values_are_compared_by_their_text() {
        for (condition, meets_it) in [
            ("lang=en", true),
            ("lang=e", false),
            ("lang=\"en\"", false),
            ("n=1.00", true),
            ("n=1", false),
            ("ok=true", true),
            ("none=null", true),
            ("none=", false),
            ("absent=", false),
            ("quoted=say \"ü\"", true),
            ("7=seven", true),
            ("a.b=dotted", true),
            ("a.b.c=x", true),
            // Within `a` there is a member of the whole name `b.c`.
            ("a.b.c=7", false),
            ("a.b.d=7", false),
            ("a={\"b\":{\"c\":7},\"b.c\":\"x\"}", true),
            ("list=[1,\"two \\\" 2\",{\"x\":3}]", true),
            ("list=1", false),
            (".=deep", true),
        ] {
            // `.` alone stands for the member of no name of the member of no name.
            let condition: Condition = condition.parse().unwrap();
            assert_eq!(meets(METADATA, std::slice::from_ref(&condition)), meets_it, "{condition:?}");
        }
    }

    #[test]
    fn several_must_all_be_met() {
        let all = |texts: &[&str]| {
            let conditions: Vec<Condition> = texts.iter().map(|text| text.parse().unwrap()).collect();
            meets(METADATA, &conditions)
        };
        assert!(all(&["lang=en", "ok=true"]) && all(&[]));
        assert!(!all(&["lang=en", "ok=false"]));
    }

    #[test]
    fn what_is_no_object_meets_nothing() {
        for metadata in ["", "[]", "7", "{\"a\":", "{}"] {
            assert!(!meets(metadata, &["a=1".parse().unwrap()]), "{metadata}");
            assert!(meets(metadata, &[]));
        }
        assert!("=x".parse::<Condition>().is_err() && "x".parse::<Condition>().is_err());
        assert_eq!("a=b=c".parse(), Ok(Condition { name: "a".into(), value: "b=c".into() }));
    }
}
