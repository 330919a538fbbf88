//! Damage is an error, never an answer (C4).

use super::*;

/// Every column of every row that holds content, and what puts something else there.
const DAMAGE: [(&str, &[&str]); 8] = [
    ("changes", &["number", "at", "kind", "subject", "reason", "detail", "checksum"]),
    ("collections", &["name", "created_at", "floor", "sealed_through", "sequence_max", "settings", "checksum"]),
    (
        "segments",
        &[
            "sealed_change",
            "collection_id",
            "first_sequence",
            "last_sequence",
            "generation",
            "status",
            "epoch",
            "directory",
            "path",
            "records",
            "bytes",
            "sha256",
            "content_digest",
            "timestamp_min",
            "timestamp_max",
            "time_class",
            "sealed_at",
            "flushed_at",
            "archive_key",
            "checksum",
        ],
    ),
    ("segment_counts", &["status", "segments", "checksum"]),
    ("assignments", &["component", "collection", "directory", "epoch", "from_sequence", "since", "checksum"]),
    (
        "losses",
        &[
            "collection",
            "first_sequence",
            "last_sequence",
            "reason",
            "found_at",
            "acknowledged_by",
            "acknowledged_at",
            "checksum",
        ],
    ),
    ("cursors", &["collection", "sink", "epoch", "sequence", "checksum"]),
    ("meta", &["name", "value", "checksum"]),
];

/// An expression for the column with one bit or byte of it changed.
fn changed(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'integer' THEN {column} + 1 WHEN 'null' THEN NULL \
         WHEN 'text' THEN {column} || '~' ELSE CAST(substr({column}, 1, 31) || x'00' AS BLOB) END"
    )
}

#[test]
fn a_change_in_any_column_of_any_row_is_found() {
    let place = Place::new();
    fill(&place.create());
    let clean = std::fs::read(place.path()).unwrap();
    let mut damaged = 0;
    for (table, columns) in DAMAGE {
        // Every column of the schema is in the list above.
        let mut named: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let stranger = place.stranger();
        let mut statement = stranger.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let mut found: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        found.retain(|column| column != "id");
        named.sort();
        found.sort();
        assert_eq!(named, found, "{table}");
        drop(statement);
        drop(stranger);

        for column in columns {
            std::fs::write(place.path(), &clean).unwrap();
            let stranger = place.stranger();
            stranger.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
            let expression = changed(column);
            // The last row by key, so that keys stay unique.
            let key = columns[0];
            let sql = format!(
                "UPDATE OR IGNORE {table} SET {column} = {expression} \
                 WHERE {key} = (SELECT max({key}) FROM {table} WHERE {column} IS NOT NULL) AND {column} IS NOT NULL"
            );
            let rows = stranger.execute(&sql, []).unwrap();
            assert_eq!(rows, 1, "{table}.{column}: {sql}");
            drop(stranger);
            let catalog = place.open(CatalogMode::ReadOnly).unwrap();
            let lines = catalog.check().unwrap();
            assert!(!lines.is_empty(), "check did not find a change in {table}.{column}");
            // Reading the row says so too, but where its key moved: who looks for the old key finds no row, and only the
            // check, which reads all rows, can tell.
            let answers = Answers::try_of(&catalog);
            let is_moved = matches!(
                (table, *column),
                ("changes", "number")
                    | ("segment_counts", "status")
                    | ("assignments", "component" | "collection")
                    | ("cursors", "collection" | "sink")
                    | ("meta", "name")
            );
            assert!(answers.is_err() || is_moved, "{table}.{column} was served: {lines:?}");
            if let Err(error) = answers {
                assert!(matches!(error, CatalogError::Damaged { .. }), "{table}.{column}: {error}");
            }
            damaged += 1;
        }
    }
    assert_eq!(damaged, 60);
}

#[test]
fn an_unknown_status_or_kind_is_an_error_even_with_a_good_checksum() {
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let stranger = place.stranger();
    for status in [0, 9, -1, 255] {
        stranger.execute("UPDATE segments SET status = ?1 WHERE sealed_change = 3", [status]).unwrap();
        let error = catalog.segments(None, None, 9).unwrap_err();
        assert!(error.to_string().contains(&format!("an unknown status: {status}")), "{error}");
        assert!(!catalog.check().unwrap().is_empty());
    }
    let mut change = catalog.changes(ChangeNumber(0), 1).unwrap().remove(0);
    "segment.teleport".clone_into(&mut change.kind);
    let checksum = crate::catalog::checksum::change(&change);
    stranger.execute("UPDATE changes SET kind = ?1, checksum = ?2 WHERE number = 1", (&change.kind, checksum)).unwrap();
    let error = catalog.changes(ChangeNumber(0), 1).unwrap_err();
    assert!(error.to_string().contains("an unknown kind"), "{error}");
}

#[test]
fn check_finds_what_rows_say_of_each_other() {
    let plants = [
        ("DELETE FROM changes WHERE number = 5", "expected number `5`"),
        ("DELETE FROM segments WHERE sealed_change = 3", "segment_counts: status `archiving`"),
        ("DELETE FROM collections WHERE name = 'a'", "`a` has rows, but none of its own"),
        ("DELETE FROM segment_counts WHERE status = 1", "segment_counts: status `sealed`"),
        ("DROP INDEX segments_status", "schema: missing or changed: index segments_status"),
        ("DROP VIEW archive_lag", "schema: missing or changed: view archive_lag"),
    ];
    for (plant, finding) in plants {
        let place = Place::new();
        let catalog = place.create();
        fill(&catalog);
        place.stranger().execute_batch(&format!("PRAGMA foreign_keys = OFF; {plant}")).unwrap();
        let lines = catalog.check().unwrap();
        assert!(lines.iter().any(|line| line.contains(finding)), "{plant}: {lines:?}");
    }
}

/// Flips bytes all over the file: what is served is right, or the look-up fails, or `check` says that something is wrong.
#[test]
fn no_flipped_byte_of_the_file_goes_unnoticed() {
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let expected = Answers::of(&catalog);
    drop(catalog);
    let clean = std::fs::read(place.path()).unwrap();
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut harmless, mut found) = (0, 0);
    for _ in 0..1500 {
        let at = loop {
            let at = random.usize(..clean.len());
            // Most of a small database is zeros that nobody reads.
            if clean[at] != 0 {
                break at;
            }
        };
        let bit = random.u8(..8);
        let mut bytes = clean.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(place.path(), &bytes).unwrap();
        let opened = place.open(CatalogMode::ReadOnly);
        let noticed = match &opened {
            Err(_) => true,
            Ok(catalog) => match Answers::try_of(catalog) {
                Err(_) => true,
                Ok(answers) if answers == expected => {
                    harmless += 1;
                    false
                }
                Ok(_) => {
                    let lines = catalog.check();
                    assert!(!matches!(&lines, Ok(lines) if lines.is_empty()), "seed {seed}: byte {at}, bit {bit}");
                    true
                }
            },
        };
        found += u32::from(noticed);
    }
    assert!(found > 500, "found {found}, harmless {harmless}");
}
