//! Opening: what is there, what is not, what is somebody else's.

use super::*;

#[test]
fn a_strange_database_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    place.stranger().execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1;").unwrap();
    let bytes = std::fs::read(place.path()).unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create] {
        let error = place.open(mode).unwrap_err();
        assert!(error.to_string().contains("not a catalog of icecore"), "{mode:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
}

#[test]
fn a_newer_version_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    fill(&place.create());
    place.stranger().pragma_update(None, "user_version", 7).unwrap();
    let bytes = std::fs::read(place.path()).unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create] {
        let error = place.open(mode).unwrap_err();
        assert!(matches!(error, CatalogError::Newer { version: 7, known: 1, .. }), "{mode:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
    let version = |version: i64| {
        place.stranger().pragma_update(None, "user_version", version).unwrap();
        place.open(CatalogMode::ReadWrite)
    };
    assert!(matches!(version(0), Err(CatalogError::Damaged { .. })));
    assert!(matches!(version(-1), Err(CatalogError::Damaged { .. })));
    version(1).unwrap();
}

#[test]
fn the_file_says_what_it_is_and_every_commit_is_synced() {
    let place = Place::new();
    let catalog = place.create();
    let connection = catalog.writer().unwrap();
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into());
    assert_eq!(pragma("application_id"), 0x4943_4543.into());
    assert_eq!(pragma("user_version"), 1.into());
}

#[test]
fn reads_beside_another_programs_transaction_and_sees_nothing_of_it() {
    let place = Place::new();
    let writer = place.create();
    let reader = place.open(CatalogMode::ReadOnly).unwrap();
    fill(&writer);
    let stranger = place.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE; DELETE FROM meta; DELETE FROM segments;").unwrap();
    assert_eq!(Answers::of(&reader), Answers::of(&writer));
    stranger.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn reads_a_file_that_never_changes_without_its_companions() {
    let place = Place::new();
    fill(&place.create());
    let reading = super::super::open::Reading::immutable();
    let connection = reading.open(&place.path()).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM segments", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 9);
}

#[test]
fn closing_leaves_one_file_with_everything_in_it() {
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let names = || -> Vec<_> {
        std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(names().len() > 1);
    drop(catalog);
    assert_eq!(names(), ["catalog.sqlite"]);
}

#[test]
fn a_second_writer_is_told_after_its_time() {
    let place = Place::new();
    let catalog = place.create();
    let other = place.stranger();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = apply(&catalog, &[insert("a", 1, 9)]).unwrap_err();
    assert!(matches!(error, CatalogError::Unavailable { .. }), "{error}");
    assert!(catalog.segment_holding(&name("a"), Sequence(1)).unwrap().is_none());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(apply(&catalog, &[insert("a", 1, 9)]).unwrap(), ChangeNumber(1));
}
