//! A copy is a catalog of its own, as it was at one moment.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Answers, apply, bring, insert, one_of_each, row};
use crate::catalog::{Catalog, CatalogError, CatalogMode, MemoryCatalog, SegmentStatus};
use crate::types::ChangeNumber;

fn fill(catalog: &dyn Catalog) -> ChangeNumber {
    apply(catalog, &one_of_each()).unwrap();
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("b", place * 100, place * 100 + 9), status);
    }
    catalog.change_number().unwrap()
}

fn names(directory: &tempfile::TempDir) -> Vec<String> {
    #[allow(clippy::disallowed_methods, reason = "engines keep their files without our file systems")]
    let entries = std::fs::read_dir(directory.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub fn a_copy_answers_alike(catalog: &dyn Catalog) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy");
    let Some(engine) = catalog.engine() else {
        assert!(matches!(catalog.copy_to(&path), Err(CatalogError::Unavailable { .. })));
        return;
    };
    // An empty one, too.
    assert_eq!(catalog.copy_to(&path).unwrap(), ChangeNumber(0));
    assert_eq!(names(&directory), ["copy"]);
    assert_eq!(engine.open(&path, CatalogMode::ReadOnly).unwrap().change_number().unwrap(), ChangeNumber(0));
    let number = fill(catalog);
    let path = directory.path().join("another");
    assert_eq!(catalog.copy_to(&path).unwrap(), number);
    let copy = engine.open(&path, CatalogMode::ReadWrite).unwrap();
    assert_eq!(Answers::of(&*copy), Answers::of(catalog));
    assert_eq!(copy.check().unwrap(), Vec::<String>::new());
    // It goes its own way.
    assert_eq!(apply(&*copy, &[insert("z", 1, 9)]).unwrap(), number.next());
    assert_eq!(catalog.change_number().unwrap(), number);
}

pub fn a_copy_replaces_nothing(catalog: &dyn Catalog) {
    fill(catalog);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy");
    for bytes in [&b""[..], b"something else"] {
        #[allow(clippy::disallowed_methods, reason = "somebody else's file")]
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(catalog.copy_to(&path), Err(CatalogError::Unavailable { .. })));
        #[allow(clippy::disallowed_methods, reason = "somebody else's file")]
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found, bytes);
        assert_eq!(names(&directory), ["copy"]);
    }
    assert!(catalog.copy_to(&directory.path().join("no/such/directory")).is_err());
    assert!(catalog.copy_to(directory.path()).is_err());
    assert_eq!(names(&directory), ["copy"]);
}

pub fn a_copy_beside_changes_is_a_beginning_of_the_history(catalog: &dyn Catalog) {
    let Some(engine) = catalog.engine() else { return a_copy_answers_alike(catalog) };
    let directory = tempfile::tempdir().unwrap();
    let is_done = AtomicBool::new(false);
    let mut copies = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for place in 0.. {
                let group: Vec<_> =
                    (0..3).map(|of| (place * 3 + of) * 10 + 1).map(|at| insert("a", at, at + 9)).collect();
                apply(catalog, &group).unwrap();
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        for of in 0..5 {
            let path = directory.path().join(format!("copy-{of}"));
            copies.push((catalog.copy_to(&path), path));
        }
        is_done.store(true, Ordering::SeqCst);
    });
    let history = catalog.changes(ChangeNumber(0), usize::MAX).unwrap();
    for (number, path) in copies {
        let (number, copy) = (number.unwrap(), engine.open(&path, CatalogMode::ReadOnly).unwrap());
        assert_eq!(number.get() % 3, 0, "half a group was copied");
        assert_eq!(copy.check().unwrap(), Vec::<String>::new());
        let known = usize::try_from(number.get()).unwrap();
        assert_eq!(copy.changes(ChangeNumber(0), usize::MAX).unwrap(), history[..known]);
        let model = MemoryCatalog::new();
        for change in &history[..known] {
            model.apply(&[change.mutation().unwrap()], change.at, &change.reason).unwrap();
        }
        assert_eq!(Answers::of(&*copy), Answers::of(&model));
    }
}
