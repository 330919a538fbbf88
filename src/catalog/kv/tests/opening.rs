//! Opening: what is there, what is somebody else's, what is cut short, what is open already.

use super::*;
use crate::catalog::kv::engine::{Access, Options};
use crate::catalog::kv::{keys, lookups};

const MODES: [CatalogMode; 3] = [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create];

fn a_strange_environment_is_refused_and_stays_as_it_is<E: Environment>() {
    let place = Place::<E>::new();
    let options = Options { access: Access::Writing, map_bytes: 1 << 20, may_rebound: false };
    {
        let stranger = E::open(&place.path(), options).unwrap();
        let mut writing = stranger.write().unwrap();
        writing.put(b"somebody", b"else").unwrap();
        writing.commit().unwrap();
    }
    let bytes = std::fs::read(place.path()).unwrap();
    for mode in MODES {
        let error = place.open(mode).unwrap_err();
        assert!(error.to_string().contains("not a catalog of icecore"), "{mode:?}: {error}");
        assert!(matches!(error, CatalogError::Damaged { .. }), "{mode:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
}

fn an_environment_without_entries_is_made_a_catalog_only_on_request<E: Environment>() {
    let place = Place::<E>::new();
    let options = Options { access: Access::Writing, map_bytes: 1 << 20, may_rebound: false };
    drop(E::open(&place.path(), options).unwrap());
    let bytes = std::fs::read(place.path()).unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly] {
        assert!(matches!(place.open(mode), Err(CatalogError::Damaged { .. })), "{mode:?}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
    fill(&place.create());
    assert_eq!(place.open(CatalogMode::ReadOnly).unwrap().check().unwrap(), Vec::<String>::new());
}

fn a_newer_layout_is_refused_and_stays_as_it_is<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    plant(&catalog, &keys::header(), &open::header_value(7));
    drop(catalog);
    let bytes = std::fs::read(place.path()).unwrap();
    for mode in MODES {
        let error = place.open(mode).unwrap_err();
        assert!(matches!(error, CatalogError::Newer { version: 7, known: 1, .. }), "{mode:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
}

fn a_damaged_header_is_damage<E: Environment>() {
    let place = Place::<E>::new();
    let mut headers: Vec<_> = (0..16)
        .map(|at| {
            let mut header = open::header_value(1);
            header[at] ^= 4;
            header
        })
        .collect();
    headers.extend([open::header_value(0), open::header_value(1)[..9].to_vec(), Vec::new()]);
    for header in headers {
        let catalog = place.create();
        plant(&catalog, &keys::header(), &header);
        assert!(!catalog.check().unwrap().is_empty(), "{header:?}");
        drop(catalog);
        for mode in MODES {
            let error = place.open(mode).unwrap_err();
            assert!(matches!(error, CatalogError::Damaged { .. }), "{header:?}: {error}");
        }
        std::fs::remove_file(place.path()).unwrap();
    }
}

/// Pages beyond the end of the file would kill this process, and the test with it.
fn a_file_cut_short_is_an_error_before_any_look_up<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let many: Vec<_> = (0..300).map(|place| insert("c", place * 10 + 1, place * 10 + 9)).collect();
    apply(&catalog, &many).unwrap();
    let expected = Answers::of(&catalog);
    drop(catalog);
    let clean = std::fs::read(place.path()).unwrap();
    let (mut refused, mut served) = (0, 0);
    for len in (1..clean.len()).step_by(4096).chain((100..clean.len()).step_by(4096 * 3)).chain([clean.len() - 1]) {
        std::fs::write(place.path(), &clean[..len]).unwrap();
        match place.open(CatalogMode::ReadOnly) {
            Err(CatalogError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("{len} bytes: {error}"),
            // What is cut off is in no use.
            Ok(catalog) => {
                assert!(Answers::of(&catalog) == expected, "{len} bytes");
                assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
                served += 1;
            }
        }
    }
    println!("{}: {} bytes, refused {refused}, served {served}", E::ENGINE, clean.len());
    assert!(refused > 30);
}

fn one_environment_for_every_way_to_a_file<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    let link = place.directory.path().join("link");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let linked = KvCatalog::<E>::open(&link, CatalogMode::ReadWrite).unwrap();
    assert!(std::ptr::eq(&raw const *catalog.shared, &raw const *linked.shared));
    apply(&catalog, &[insert("a", 1, 9)]).unwrap();
    apply(&linked, &[insert("a", 10, 19)]).unwrap();
    drop(catalog);
    apply(&linked, &[insert("a", 20, 29)]).unwrap();
    drop(linked);
    assert!(
        open::locked(E::registry())
            .keys()
            .all(|path| !path.starts_with(place.directory.path().canonicalize().unwrap()))
    );
}

fn a_file_replaced_while_it_is_open_is_not_taken_for_it<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let copy = place.directory.path().join("copy");
    catalog.copy_to(&copy).unwrap();
    std::fs::rename(&copy, place.path()).unwrap();
    for mode in MODES {
        let error = place.open(mode).unwrap_err();
        assert!(matches!(error, CatalogError::Unavailable { .. }), "{mode:?}: {error}");
    }
    std::fs::remove_file(place.path()).unwrap();
    assert!(matches!(place.open(CatalogMode::Create), Err(CatalogError::Unavailable { .. })));
    assert!(matches!(place.open(CatalogMode::ReadWrite), Err(CatalogError::NotFound { .. })));
}

fn reads_where_nothing_can_be_written<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let expected = entries(&catalog.shared.environment.read().unwrap());
    drop(catalog);
    for access in [Access::Reading, Access::Unlocked] {
        if access == Access::Unlocked {
            for companion in E::ENGINE.companions(&place.path()) {
                std::fs::remove_file(companion).unwrap();
            }
        }
        let options = Options { access, map_bytes: open::MAP_BYTES, may_rebound: false };
        let environment = E::open(&place.path(), options).unwrap();
        let read = environment.read().unwrap();
        assert_eq!(entries(&read), expected);
        assert_eq!(lookups::change_number(&read).unwrap().get(), 28);
        drop(read);
        assert!(environment.write().is_err(), "{access:?}");
    }
}

fn the_engine_keeps_the_files_that_are_said_to_be_its_own<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let mut found: Vec<_> =
        std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut expected = E::ENGINE.companions(&place.path());
    expected.push(place.path());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let extent = catalog.shared.environment.extent().unwrap();
    let bytes = std::fs::metadata(place.path()).unwrap().len();
    println!("{}: {bytes} bytes, {} in use", E::ENGINE, extent.used_bytes);
    assert_eq!(extent.map_bytes, open::MAP_BYTES);
    assert!(bytes <= 2 << 20, "{bytes}");
}

#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
#[test]
fn what_an_mdbx_file_names_is_what_mdbx_takes() {
    use crate::catalog::kv::mdbx_metas::newest;
    use crate::fs::{FileSystem as _, OpenMode, OsFileSystem};
    let place = Place::<crate::catalog::kv::mdbx::Mdbx>::new();
    let mut before = 0;
    for round in 0..5 {
        let catalog = place.create();
        apply(&catalog, &[insert("a", round * 10 + 1, round * 10 + 9)]).unwrap();
        let used_bytes = catalog.shared.environment.extent().unwrap().used_bytes;
        drop(catalog);
        let found = newest(&*OsFileSystem::new().open(&place.path(), OpenMode::Read).unwrap()).unwrap().unwrap();
        assert_eq!(found.used_bytes, used_bytes);
        assert!(found.transaction > before);
        before = found.transaction;
    }
}

/// LMDB never wrote some pages at the end that it handed out and took back; a file without them is whole.
#[cfg(feature = "lmdb")]
#[test]
fn pages_in_no_use_may_be_missing_from_the_end_of_an_lmdb_file() {
    let place = Place::<crate::catalog::kv::lmdb::Lmdb>::new();
    let catalog = place.create();
    fill(&catalog);
    // Pages of their own for a large value, that nothing uses again.
    plant(&catalog, &[200], &vec![7; 1 << 20]);
    let mut writing = catalog.shared.environment.write().unwrap();
    assert!(writing.delete(&[200]).unwrap());
    writing.commit().unwrap();
    for round in 0..20 {
        apply(&catalog, &[insert("c", round * 10 + 1, round * 10 + 9)]).unwrap();
    }
    let expected = Answers::of(&catalog);
    drop(catalog);
    let clean = std::fs::read(place.path()).unwrap();
    let (mut refused, mut served) = (0, 0);
    for len in (8192..clean.len()).step_by(4096) {
        std::fs::write(place.path(), &clean[..len]).unwrap();
        match place.open(CatalogMode::ReadOnly) {
            Err(CatalogError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("{len} bytes: {error}"),
            Ok(catalog) => {
                assert!(Answers::of(&catalog) == expected, "{len} bytes");
                assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
                served += 1;
            }
        }
    }
    println!("lmdb: {} bytes, refused {refused}, served {served}", clean.len());
    assert!(refused > 5 && served > 5, "refused {refused}, served {served}");
}

on_engines! {
    a_strange_environment_is_refused_and_stays_as_it_is
    an_environment_without_entries_is_made_a_catalog_only_on_request
    a_newer_layout_is_refused_and_stays_as_it_is
    a_damaged_header_is_damage
    a_file_cut_short_is_an_error_before_any_look_up
    one_environment_for_every_way_to_a_file
    a_file_replaced_while_it_is_open_is_not_taken_for_it
    reads_where_nothing_can_be_written
    the_engine_keeps_the_files_that_are_said_to_be_its_own
}
