//! The table in `docs/settings.md` is what the program knows: every setting, its default, its bounds, its meaning.
#![allow(clippy::disallowed_methods, reason = "reads a page of the documentation")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod util;

use std::fmt::Write as _;
use std::path::Path;

use util::Workspace;

const BEGIN: &str = "<!-- table: begin (tests/settings_doc.rs writes it with UPDATE_DOCS=1) -->\n";
const END: &str = "<!-- table: end -->";

fn rendered() -> String {
    let mut table = String::from("| setting | default | from | to | what it is |\n|---|---|---|---|---|\n");
    let settings = Workspace::new().run("config --json").expect_code(0).json_lines();
    for setting in &settings {
        assert_eq!(setting["origin"], "default", "{setting}");
        let text = |name: &str| match &setting[name] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(parts) => {
                parts.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(",")
            }
            other => panic!("{other}"),
        };
        let code = |name| Some(text(name)).filter(|text| !text.is_empty()).map(|text| format!("`{text}`"));
        let [key, value, least, most] = ["key", "value", "least", "most"].map(|name| code(name).unwrap_or_default());
        writeln!(table, "| {key} | {value} | {least} | {most} | {} |", text("help")).unwrap();
    }
    assert!(settings.len() > 50, "{}", settings.len());
    table
}

#[test]
fn every_setting_is_in_the_table_as_the_program_knows_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the beginning of the table");
    let (table, tail) = rest.split_once(END).expect("the end of the table");
    let wanted = rendered();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(table, wanted, "docs/settings.md is not what the program knows: UPDATE_DOCS=1 writes it");
}
