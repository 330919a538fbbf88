//! What an engine's file goes through: opened, closed, missing, blank, somebody else's, shared. Functions of an [`Engine`].

#![allow(clippy::disallowed_methods, reason = "things are done to files behind the catalog's back")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Answers, apply, bring, insert, name, one_of_each, row};
use crate::catalog::{Catalog, CatalogError, CatalogMode, CatalogResult, Engine, SegmentStatus};
use crate::types::{ChangeNumber, Sequence};

/// A directory for one catalog.
pub struct Place {
    pub directory: tempfile::TempDir,
    engine: Engine,
}

impl Place {
    pub fn new(engine: Engine) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), engine }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.engine.file_name("catalog"))
    }

    pub fn open(&self, mode: CatalogMode) -> CatalogResult<Arc<dyn Catalog>> {
        self.engine.open(&self.path(), mode)
    }

    pub fn create(&self) -> Arc<dyn Catalog> {
        self.open(CatalogMode::Create).unwrap()
    }
}

/// Rows in every table, segments of every status.
pub fn fill(catalog: &dyn Catalog) {
    apply(catalog, &one_of_each()).unwrap();
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("b", place * 100, place * 100 + 9), status);
    }
}

const MODES: [CatalogMode; 3] = [CatalogMode::ReadWrite, CatalogMode::ReadOnly, CatalogMode::Create];

pub fn only_a_missing_file_is_not_found(engine: Engine) {
    let place = Place::new(engine);
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly] {
        assert!(matches!(place.open(mode), Err(CatalogError::NotFound { .. })), "{mode:?}");
        assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0, "{mode:?} made a file");
    }
    let below = place.directory.path().join("no/such/catalog");
    assert!(engine.open(&below, CatalogMode::Create).is_err());
    std::fs::create_dir(place.path()).unwrap();
    for mode in MODES {
        let error = place.open(mode).unwrap_err();
        assert!(!matches!(error, CatalogError::NotFound { .. }), "{mode:?}: {error}");
    }
}

pub fn a_blank_file_is_made_a_catalog_only_on_request(engine: Engine) {
    let place = Place::new(engine);
    std::fs::write(place.path(), b"").unwrap();
    for mode in [CatalogMode::ReadWrite, CatalogMode::ReadOnly] {
        assert!(matches!(place.open(mode), Err(CatalogError::Damaged { .. })), "{mode:?}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), b"");
    fill(&*place.create());
    let again = Answers::of(&*place.create());
    assert_eq!(Answers::of(&*place.open(CatalogMode::ReadOnly).unwrap()), again);
}

pub fn a_file_of_another_kind_is_damage_and_stays_as_it_is(engine: Engine) {
    let place = Place::new(engine);
    let text = b"no database at all, but long enough to be one ".repeat(400);
    for bytes in [&b"x"[..], &[0; 1000], &text, &text[..9000], &[0; 65536]] {
        std::fs::write(place.path(), bytes).unwrap();
        for mode in MODES {
            let error = place.open(mode).unwrap_err();
            assert!(matches!(error, CatalogError::Damaged { .. }), "{mode:?}: {error}");
        }
        assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
    }
}

pub fn reads_beside_a_writer(engine: Engine) {
    let place = Place::new(engine);
    let writer = place.create();
    let reader = place.open(CatalogMode::ReadOnly).unwrap();
    fill(&*writer);
    assert_eq!(Answers::of(&*reader), Answers::of(&*writer));
    assert!(matches!(apply(&*reader, &[insert("z", 1, 2)]), Err(CatalogError::Unavailable { .. })));
    assert_eq!(apply(&*reader, &[]).unwrap(), writer.change_number().unwrap());
    drop(writer);
    assert_eq!(reader.meta("epoch").unwrap().as_deref(), Some("1"));
    // The reader does not stand in the way of the next writer, and sees what that one does.
    let writer = place.open(CatalogMode::ReadWrite).unwrap();
    let number = apply(&*writer, &[insert("z", 1, 2)]).unwrap();
    assert_eq!(reader.change_number().unwrap(), number);
}

pub fn reads_in_a_directory_that_takes_no_writes(engine: Engine) {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(engine);
    let catalog = place.create();
    fill(&*catalog);
    let expected = Answers::of(&*catalog);
    drop(catalog);
    let set = |mode| {
        std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    // The superuser writes there all the same; then this shows only that reading works.
    let found = place.open(CatalogMode::ReadOnly).and_then(|reader| Answers::try_of(&*reader));
    set(0o755);
    assert_eq!(found.unwrap(), expected);
}

pub fn two_writers_number_their_changes_as_one(engine: Engine) {
    let place = Place::new(engine);
    let (first, second) = (place.create(), place.open(CatalogMode::ReadWrite).unwrap());
    assert_eq!(apply(&*first, &[insert("a", 1, 9)]).unwrap(), ChangeNumber(1));
    assert_eq!(apply(&*second, &[insert("a", 10, 19)]).unwrap(), ChangeNumber(2));
    assert_eq!(apply(&*first, &[insert("a", 20, 29)]).unwrap(), ChangeNumber(3));
    assert_eq!(second.segments_from(&name("a"), Sequence(0), 9).unwrap().len(), 3);
    // Also when they write at once; none of them is told to try again.
    std::thread::scope(|scope| {
        for catalog in [&first, &second] {
            scope.spawn(move || {
                for _ in 0..40 {
                    apply(&**catalog, &[super::row_after(&**catalog)]).unwrap();
                }
            });
        }
    });
    assert_eq!(first.change_number().unwrap(), ChangeNumber(83));
    drop(first);
    assert_eq!(apply(&*second, &[insert("z", 20, 29)]).unwrap(), ChangeNumber(84));
    assert_eq!(second.check().unwrap(), Vec::<String>::new());
}

pub fn look_ups_go_on_beside_an_apply_and_never_see_half_of_it(engine: Engine) {
    let place = Place::new(engine);
    let catalog = place.create();
    let is_done = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut sealed_before = 0;
                while !is_done.load(Ordering::SeqCst) {
                    let counts = catalog.counts().unwrap();
                    let rows = catalog.segments_from(&name("a"), Sequence(0), usize::MAX).unwrap();
                    assert_eq!(counts[0].1 % 7, 0, "half a group was seen");
                    assert_eq!(rows.len() % 7, 0, "half a group was seen");
                    assert!(rows.len() as u64 >= counts[0].1 && counts[0].1 >= sealed_before);
                    sealed_before = counts[0].1;
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for group in 0..60_u64 {
            let mutations: Vec<_> =
                (0..7).map(|of| (group * 7 + of) * 10 + 1).map(|at| insert("a", at, at + 9)).collect();
            apply(&*catalog, &mutations).unwrap();
            let at = Sequence((group * 7 + 6) * 10 + 1);
            assert!(catalog.segment_holding(&name("a"), at).unwrap().is_some(), "a change that returned is seen");
        }
        is_done.store(true, Ordering::SeqCst);
    });
    assert!(seen.into_inner() > 0);
}

/// Opening and closing from many threads: no two environments of one file, and none closed while another is opened.
pub fn opened_and_closed_by_many_threads_at_once(engine: Engine) {
    let place = Place::new(engine);
    fill(&*place.create());
    let expected = Answers::of(&*place.open(CatalogMode::ReadOnly).unwrap());
    std::thread::scope(|scope| {
        for of in 0..4 {
            let (place, expected) = (&place, &expected);
            scope.spawn(move || {
                for round in 0..12 {
                    let mode = MODES[(of + round) % MODES.len()];
                    let catalog = place.open(mode).unwrap();
                    assert_eq!(catalog.change_number().unwrap(), ChangeNumber(28));
                    if round == of {
                        assert_eq!(&Answers::of(&*catalog), expected);
                    }
                }
            });
        }
    });
}

/// The test of an engine's own hook that makes the next commit fail after it happened.
pub fn an_unknown_outcome_is_said_and_stops_changes_until_reopened<C: Catalog>(
    open: impl Fn(CatalogMode) -> C,
    fail_next_commit: impl Fn(&C),
) {
    let catalog = open(CatalogMode::Create);
    apply(&catalog, &[insert("a", 1, 9)]).unwrap();
    fail_next_commit(&catalog);
    assert!(matches!(apply(&catalog, &[insert("a", 10, 19)]), Err(CatalogError::OutcomeUnknown { .. })));
    assert!(matches!(apply(&catalog, &[insert("a", 20, 29)]), Err(CatalogError::Unavailable { .. })));
    assert!(catalog.segment_holding(&name("a"), Sequence(5)).unwrap().is_some(), "look-ups go on");
    drop(catalog);
    let catalog = open(CatalogMode::ReadWrite);
    assert_eq!(catalog.change_number().unwrap(), ChangeNumber(2));
    assert_eq!(apply(&catalog, &[insert("a", 20, 29)]).unwrap(), ChangeNumber(3));
}
