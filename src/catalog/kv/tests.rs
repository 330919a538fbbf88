//! What only the files of the key-value engines can suffer. Each test is a function of an engine.

#![allow(clippy::disallowed_methods, reason = "damage is done to files behind the catalog's back")]

mod damage;
mod flips;
mod opening;
mod processes;

use std::path::PathBuf;

use super::engine::{Environment, Read, Write};
use super::{CatalogMode, KvCatalog, open};
use crate::catalog::conformance::files::{self, fill};
use crate::catalog::conformance::{Answers, apply, insert};
use crate::catalog::{Catalog, CatalogError, CatalogResult};

/// Makes a `#[test]` of each function for each engine of this build.
macro_rules! on_engines {
    ($($test:ident)*) => {
        #[cfg(feature = "lmdb")]
        mod on_lmdb {
            $(#[test]
            fn $test() {
                super::$test::<crate::catalog::kv::lmdb::Lmdb>();
            })*
        }
        #[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
        mod on_mdbx {
            $(#[test]
            fn $test() {
                super::$test::<crate::catalog::kv::mdbx::Mdbx>();
            })*
        }
    };
}
use on_engines;

struct Place<E> {
    directory: tempfile::TempDir,
    engine: std::marker::PhantomData<E>,
}

impl<E: Environment> Place<E> {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), engine: std::marker::PhantomData }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(E::ENGINE.file_name("catalog"))
    }

    fn open(&self, mode: CatalogMode) -> CatalogResult<KvCatalog<E>> {
        KvCatalog::open(&self.path(), mode)
    }

    fn create(&self) -> KvCatalog<E> {
        self.open(CatalogMode::Create).unwrap()
    }
}

/// Every entry, in order.
fn entries(read: &dyn Read) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    read.scan(&[0], &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })
    .unwrap();
    entries
}

/// Puts an entry behind the catalog's back.
fn plant<E: Environment>(catalog: &KvCatalog<E>, key: &[u8], value: &[u8]) {
    let mut writing = catalog.shared.environment.write().unwrap();
    writing.put(key, value).unwrap();
    writing.commit().unwrap();
}

fn an_unknown_outcome_is_said_and_stops_changes_until_reopened<E: Environment>() {
    let place = Place::<E>::new();
    files::an_unknown_outcome_is_said_and_stops_changes_until_reopened(
        |mode| place.open(mode).unwrap(),
        |catalog| catalog.shared.fail_commit.store(true, std::sync::atomic::Ordering::SeqCst),
    );
}

fn a_full_map_changes_nothing_and_passes_with_a_larger_one<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = KvCatalog::<E>::open_with(&place.path(), CatalogMode::Create, 1 << 18).unwrap();
    fill(&catalog);
    let mut before = Answers::of(&catalog);
    let many: Vec<_> = (0..500).map(|place| insert("c", place * 10 + 1, place * 10 + 9)).collect();
    assert!(matches!(apply(&catalog, &many), Err(CatalogError::Full { .. })));
    assert_eq!(Answers::of(&catalog), before);
    // Small ones go on until they do not; what returned is there, and nothing of what failed.
    let filled = (0..5000).find_map(|place| {
        let result = apply(&catalog, &[insert("d", place * 10 + 1, place * 10 + 9)]);
        result.inspect(|_| before = Answers::of(&catalog)).err()
    });
    assert!(matches!(filled, Some(CatalogError::Full { .. })), "{filled:?}");
    assert_eq!(Answers::of(&catalog), before);
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
    drop(catalog);
    let catalog = place.open(CatalogMode::ReadWrite).unwrap();
    assert_eq!(Answers::of(&catalog), before);
    apply(&catalog, &many).unwrap();
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}

on_engines! {
    an_unknown_outcome_is_said_and_stops_changes_until_reopened
    a_full_map_changes_nothing_and_passes_with_a_larger_one
}
