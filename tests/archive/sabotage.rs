//! One rule broken at a time: the suite must find each, or it finds nothing. (That it finds nothing where none is broken is what the other modules show.)

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use icecore::archive::archiver::ArchiveReport;
use icecore::catalog::{MemoryCatalog, SegmentStatus};
use icecore::objects::{
    Abilities, Head, Meter, ObjectKey, ObjectResult, ObjectStore, Page, Proof, Put, Upload, Version,
};
use icecore::testing::faulty_store::FaultyStore;

use crate::world::{HASTY, World, run};
use crate::{kills, matrix, racing};

/// What a store, or who speaks for it, does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Segments that it says to have, it has not.
    LosesPuts,
    /// The same, and the proof says yes to everything.
    LosesPutsAndProvesAll,
    /// The same bytes are said to be there where others are.
    SaysSameThere,
    /// What is there is replaced.
    Replaces,
    /// Segments are sent behind the manifest that names them.
    ManifestFirst,
}

/// Such a store.
#[derive(Debug)]
pub struct BrokenStore {
    store: Arc<FaultyStore>,
    rule: Broken,
    /// Segments that are yet to be sent.
    later: Mutex<BTreeMap<ObjectKey, Bytes>>,
}

impl BrokenStore {
    pub fn new(store: &Arc<FaultyStore>, rule: Broken) -> Self {
        Self { store: Arc::clone(store), rule, later: Mutex::default() }
    }

    fn bytes(upload: &Upload<'_>) -> Bytes {
        upload.source.read(0, usize::try_from(upload.bytes).unwrap()).unwrap()
    }
}

fn is_segment(key: &ObjectKey) -> bool {
    !key.as_str().starts_with('_')
}

impl ObjectStore for BrokenStore {
    fn place(&self) -> String {
        self.store.place()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        match self.rule {
            Broken::LosesPuts | Broken::LosesPutsAndProvesAll if is_segment(key) => Ok(Put::Created),
            Broken::SaysSameThere => {
                let put = self.store.put_if_absent(key, upload)?;
                Ok(if put == Put::OtherThere { Put::SameThere } else { put })
            }
            Broken::Replaces => {
                let put = self.store.put_if_absent(key, upload)?;
                if put != Put::OtherThere {
                    return Ok(put);
                }
                self.store.lose(key.as_str());
                self.store.put_if_absent(key, upload)
            }
            Broken::ManifestFirst if is_segment(key) => {
                self.later.lock().unwrap().insert(key.clone(), Self::bytes(upload));
                Ok(Put::Created)
            }
            Broken::ManifestFirst => {
                let put = self.store.put_if_absent(key, upload)?;
                for (key, bytes) in std::mem::take(&mut *self.later.lock().unwrap()) {
                    self.store.put_if_absent(&key, &Upload::of_bytes(&bytes))?;
                }
                Ok(put)
            }
            _ => self.store.put_if_absent(key, upload),
        }
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.store.get(key, bytes_max)
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.store.get_range(key, offset, bytes)
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.store.head(key)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.store.list(prefix, after, limit)
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.store.delete(key)
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        match self.rule {
            Broken::LosesPutsAndProvesAll | Broken::ManifestFirst if is_segment(key) => Ok(Proof::ReadBack),
            _ => self.store.prove(key, upload),
        }
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.store.versions(key)
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        self.store.probe()
    }

    fn meter(&self) -> &Meter {
        self.store.meter()
    }
}

fn world(rule: Broken) -> World<MemoryCatalog> {
    World { broken: Some(rule), ..World::new(MemoryCatalog::new(), [2, 1]) }
}

/// The suite's complaint.
fn must_be_found(rule: Broken, suite: impl FnOnce(&World<MemoryCatalog>)) {
    let world = world(rule);
    let found = catch_unwind(AssertUnwindSafe(|| suite(&world)));
    let Err(complaint) = found else { panic!("the suite does not notice that this rule is broken: {rule:?}") };
    let text = complaint.downcast_ref::<String>().cloned();
    let text = text.or_else(|| complaint.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    println!("{rule:?}: {}", text.unwrap_or_default());
}

#[test]
fn a_proof_that_says_yes_to_everything_is_found() {
    must_be_found(Broken::LosesPutsAndProvesAll, |world| {
        matrix::at_every_call(world, HASTY, &[true]);
    });
}

/// The proof is what finds it, not the suite: so nothing is called archived.
#[test]
fn a_store_that_loses_what_it_took_is_found_by_the_proof() {
    let world = world(Broken::LosesPuts);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let report: ArchiveReport = run(&archiver).unwrap();
    assert_eq!((report.archived_segments, report.failed.len()), (0, 3), "{report:?}");
    assert!(report.failed[0].reason.contains("is not what was sent"), "{report:?}");
    assert!(!world.counts().contains_key(&SegmentStatus::Archived));
    world.must_be_sound("lost by the store");
}

#[test]
fn a_store_that_says_the_same_where_others_are_is_found() {
    must_be_found(Broken::SaysSameThere, |world| {
        matrix::at_every_call(world, HASTY, &[true]);
    });
    must_be_found(Broken::SaysSameThere, racing::races);
}

#[test]
fn a_store_that_replaces_what_is_there_is_found() {
    must_be_found(Broken::Replaces, racing::races);
}

#[test]
fn a_manifest_before_the_proof_is_found() {
    must_be_found(Broken::ManifestFirst, |world| {
        kills::at_every_step(world);
    });
}

/// A change of the catalog that is told to be durable and is not.
#[test]
fn rows_that_are_archived_before_the_manifest_are_found() {
    let world = World::new(MemoryCatalog::new(), [2, 1]);
    let log = world.open();
    assert!(run(&world.archiver(&log, HASTY)).unwrap().is_complete());
    // As if the last manifest had been written behind the rows, and the process had ended between the two.
    let manifests: Vec<String> =
        world.store.objects().keys().filter(|key| key.starts_with("_manifest/")).cloned().collect();
    world.store.lose(manifests.last().unwrap());
    let found = catch_unwind(AssertUnwindSafe(|| world.must_be_sound("reordered")));
    assert!(found.is_err(), "rows say `archived`, and no manifest does");
    let _ = world.catalog.snapshot();
}
