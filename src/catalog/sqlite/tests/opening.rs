//! Opening: what is there, what is not, what is somebody else's.

use super::*;

#[test]
fn only_a_missing_file_is_not_found() {
    let place = Place::new();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly] {
        assert!(matches!(place.open(mode), Err(CatalogError::NotFound { .. })), "{mode:?}");
        assert!(!place.path().exists(), "{mode:?} made a file");
    }
    let below = place.directory.path().join("no/such/catalog.sqlite");
    assert!(SqliteCatalog::open(&below, CatalogMode::Create).is_err());
    std::fs::create_dir(place.path()).unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create] {
        let error = place.open(mode).unwrap_err();
        assert!(!matches!(error, CatalogError::NotFound { .. }), "{mode:?}: {error}");
    }
}

#[test]
fn a_blank_file_is_made_a_catalog_only_on_request() {
    let place = Place::new();
    std::fs::write(place.path(), b"").unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly] {
        assert!(matches!(place.open(mode), Err(CatalogError::Damaged { .. })), "{mode:?}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), b"");
    fill(&place.create());
    let again = Answers::of(&place.create());
    assert_eq!(Answers::of(&place.open(CatalogMode::ReadOnly).unwrap()), again);
}

#[test]
fn a_file_that_is_no_database_is_damage_and_stays_as_it_is() {
    let place = Place::new();
    let bytes = b"no database at all, but long enough to be one ".repeat(200);
    std::fs::write(place.path(), &bytes).unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create] {
        let error = place.open(mode).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged { .. }), "{mode:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
}

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
fn reads_beside_a_writer() {
    let place = Place::new();
    let writer = place.create();
    let reader = place.open(CatalogMode::ReadOnly).unwrap();
    fill(&writer);
    assert_eq!(Answers::of(&reader), Answers::of(&writer));
    assert!(matches!(apply(&reader, &[insert("z", 1, 2)]), Err(CatalogError::Unavailable { .. })));
    // Also while a transaction is under way, of which it sees nothing.
    let stranger = place.stranger();
    stranger.execute_batch("BEGIN IMMEDIATE; DELETE FROM meta; DELETE FROM segments;").unwrap();
    assert_eq!(Answers::of(&reader), Answers::of(&writer));
    stranger.execute_batch("ROLLBACK").unwrap();
    drop(stranger);
    drop(writer);
    assert_eq!(reader.meta("epoch").unwrap().as_deref(), Some("1"));
}

#[test]
fn reads_in_a_directory_that_takes_no_writes() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let expected = Answers::of(&catalog);
    drop(catalog);
    let set = |mode| {
        std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    // The superuser writes there all the same; then this shows only that reading works.
    let reader = place.open(CatalogMode::ReadOnly);
    let found = reader.map(|reader| Answers::of(&reader));
    set(0o755);
    assert_eq!(found.unwrap(), expected);

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
fn a_second_writer_waits_or_is_told() {
    let place = Place::new();
    let catalog = place.create();
    let other = place.stranger();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = apply(&catalog, &[insert("a", 1, 9)]).unwrap_err();
    assert!(matches!(error, CatalogError::Unavailable { .. }), "{error}");
    assert!(catalog.segment_holding(&name("a"), Sequence(1)).unwrap().is_none());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(apply(&catalog, &[insert("a", 1, 9)]).unwrap(), ChangeNumber(1));
    // Two of them number their changes as one.
    let second = place.open(CatalogMode::ReadWrite).unwrap();
    assert_eq!(apply(&second, &[insert("a", 10, 19)]).unwrap(), ChangeNumber(2));
    assert_eq!(apply(&catalog, &[insert("a", 20, 29)]).unwrap(), ChangeNumber(3));
    assert_eq!(second.segments_from(&name("a"), Sequence(0), 9).unwrap().len(), 3);
}
