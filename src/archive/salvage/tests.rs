//! Each manifest of a chain damaged and deleted in turn: what can be proven comes back, and nothing else.

use std::sync::Arc;

use super::anew::{BROKEN, Broken};
use super::*;
use crate::archive::archiver::{ArchiverOptions, TargetStore};
use crate::archive::memory_store::MemoryStore;
use crate::archive::world::{World, append, fill, name, numbered, read_all};
use crate::archive::{
    ArchiveReader, Archiver, Claim, CollectionEntry, Entry, ReaderOptions, RemovedSegment, RestoreOptions, Restored,
    chain, restore,
};
use crate::catalog::{MemoryCatalog, SegmentRow, SegmentStatus};
use crate::error::ErrorKind;
use crate::log::Log;
use crate::types::{Epoch, Timestamp};

/// A log, its archive, and who writes its manifests.
struct Case {
    world: World,
    log: Log,
    store: Arc<MemoryStore>,
    claim: Claim,
}

fn told(collection: &str, floor: u64, through: u64) -> Entry {
    Entry::Collection(CollectionEntry {
        name: name(collection),
        created_at: Timestamp(1),
        floor: Sequence(floor),
        sealed_through: Sequence(through),
        home: None,
        settings: "{}".into(),
    })
}

impl Case {
    fn new() -> Self {
        let world = World::new();
        let log = world.open();
        let store = Arc::new(MemoryStore::default());
        let claim = Claim::take(store.clone(), log.id(), log.epoch(), world.clock.clone(), None).unwrap();
        Self { world, log, store, claim }
    }

    /// Seals a hundred records, and sends them.
    fn send(&self, collection: &str, first: u64) -> SegmentRow {
        append(&self.log, collection, first..=first + 99);
        self.log.seal(Some(&name(collection))).unwrap();
        self.world.archive_to(&self.log, &*self.store, None);
        self.row(collection, first)
    }

    fn row(&self, collection: &str, first: u64) -> SegmentRow {
        self.world.rows(collection).into_iter().find(|row| row.key.first.0 == first).unwrap()
    }

    fn add(&mut self, collection: &str, first: u64) {
        let row = self.send(collection, first);
        let entries = vec![told(collection, 1, first + 99), Entry::Added(ArchivedSegment::from(&row))];
        self.claim.commit(entries).unwrap();
    }

    /// The manifest of a purge; its objects stay for the grace period.
    fn purge(&mut self, collection: &str, first: u64) {
        let removed = RemovedSegment::from(&self.row(collection, first));
        self.claim.commit(vec![told(collection, first + 100, 0), Entry::Removed(removed)]).unwrap();
    }

    fn restored(&self) -> (RestoreOptions, Restored) {
        let options = self.options();
        let restored = restore(&options, &mut |_| {}).unwrap();
        (options, restored)
    }

    /// Onto another machine.
    fn options(&self) -> RestoreOptions {
        let catalog = Arc::new(MemoryCatalog::new());
        let other = World::with(crate::fs::SimulatedFileSystem::new(), catalog);
        let options = RestoreOptions::new(self.store.clone(), other.options_without_archive());
        RestoreOptions { salvage: true, ..options }
    }

    fn damage(&self, number: u64) {
        let key = ManifestNumber(number).key();
        let mut bytes = self.store.remove(key.as_str()).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.store.set(key.as_str(), bytes);
    }

    fn delete(&self, number: u64) {
        self.store.remove(ManifestNumber(number).key().as_str()).unwrap();
    }
}

/// Manifests 1 to 10, the fourth and the seventh checkpoints, the fifth and the ninth purges within their grace period.
fn case() -> Case {
    let mut case = Case::new();
    case.add("a", 1);
    case.send("b", 1);
    let rows = [case.send("a", 101), case.row("b", 1)];
    let told = [told("a", 1, 200), told("b", 1, 100)].into_iter();
    case.claim.commit(told.chain(rows.iter().map(|row| Entry::Added(row.into()))).collect()).unwrap();
    case.claim.checkpoint().unwrap();
    case.purge("a", 1);
    case.add("a", 201);
    case.claim.checkpoint().unwrap();
    case.add("b", 101);
    case.purge("b", 1);
    case.add("a", 301);
    assert_eq!(case.claim.newest().number, ManifestNumber(10));
    case
}

fn open(options: &RestoreOptions) -> Log {
    let mut log = options.log.clone();
    log.archive = Some(Arc::new(ArchiveReader::new(Some(Arc::clone(&options.store)), ReaderOptions::default())));
    let log = Log::open(log).unwrap();
    assert_eq!(log.recovery().damaged, []);
    log
}

fn numbers(first: u64, last: u64) -> Vec<u64> {
    (first..=last).collect()
}

/// What is there, that no sequence is given out twice, and that the archive can be used again, with the evidence in it.
fn check(case: &Case, options: &RestoreOptions, a: &[u64], b: &[u64]) {
    let before = case.store.objects();
    let log = open(options);
    assert_eq!((read_all(&log, "a"), read_all(&log, "b")), (a.to_vec(), b.to_vec()));
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
    assert_eq!(log.append(&name("b"), numbered(201)).unwrap().first, Sequence(201));
    log.seal(None).unwrap();
    archive(&log, case);
    let after = case.store.objects();
    assert!(before.iter().all(|(key, bytes)| after.get(key) == Some(bytes)), "nothing is written over or deleted");
    log.close().unwrap();
    // From here on it is an archive as any other.
    let mut again = case.options();
    again.salvage = false;
    let restored = restore(&again, &mut |_| {}).unwrap();
    assert_eq!(restored.failed, []);
    let log = open(&again);
    let with = |numbers: &[u64], more: u64| numbers.iter().copied().chain([more]).collect::<Vec<_>>();
    assert_eq!((read_all(&log, "a"), read_all(&log, "b")), (with(a, 401), with(b, 201)));
    let report = crate::archive::verify(&*case.store, None, &Default::default(), &mut |_| {}).unwrap();
    let manifests = report.faults.iter().filter(|fault| fault.kind == crate::archive::RemoteFaultKind::Manifest);
    assert_eq!(manifests.count(), 0, "{report:?}");
}

fn archive(log: &Log, case: &Case) {
    let target = TargetStore { remote: None, url: "memory".into(), store: case.store.clone() };
    let options = ArchiverOptions { clock: case.world.clock.clone(), snapshot_age: None, ..ArchiverOptions::default() };
    let archiver = Archiver::new(log, vec![target], options).unwrap();
    let report = archiver.run_once(&mut |_| true).unwrap();
    assert!(report.is_complete(), "{report:?}");
}

#[test]
fn each_manifest_in_turn() {
    for number in 1..=10_u64 {
        for is_deleted in [false, true] {
            let case = case();
            if is_deleted {
                case.delete(number)
            } else {
                case.damage(number)
            }
            let plain = restore(&RestoreOptions { salvage: false, ..case.options() }, &mut |_| {});
            // A newest one that is gone cannot be missed, a damaged one before the newest checkpoint is not needed.
            let is_missed = if is_deleted { number < 10 } else { number > 7 };
            match plain {
                Ok(_) => assert!(!is_missed, "{number} {is_deleted}"),
                Err(error) => {
                    assert!(is_missed && error.kind() == ErrorKind::Corrupt, "{number} {is_deleted} {error}");
                    assert!(error.to_string().contains(&format!("manifest=`{number}`")), "{error}");
                    assert!(error.hint().unwrap().contains("restore --salvage"));
                }
            }
            let (options, restored) = case.restored();
            let salvage = restored.salvage.as_ref().unwrap();
            let unreadable: Vec<_> =
                salvage.unreadable.iter().map(|found| (found.first.0, found.is_told_anew)).collect();
            let is_seen = !(is_deleted && number == 10);
            assert_eq!(unreadable, if is_seen { vec![(number, number <= 7)] } else { vec![] }, "{is_deleted}");
            assert_eq!(
                (&restored.losses, &restored.failed, &salvage.left_out),
                (&vec![], &vec![], &vec![]),
                "{number}"
            );
            let unnamed: Vec<_> =
                salvage.unnamed.iter().map(|found| (found.collection.as_str(), found.first_sequence.0)).collect();
            let expected: &[(&str, u64)] = match number {
                8 => &[("b", 101)],
                10 => &[("a", 301)],
                _ => &[],
            };
            assert_eq!(unnamed, expected, "{number} {is_deleted}");
            // The removal that only the ninth told is known to nobody else.
            let b = numbers(if number == 9 { 1 } else { 101 }, 200);
            let catalog = options.log.catalog.as_ref().unwrap();
            let broken = Broken::read(&**catalog, None).unwrap();
            // Also where nothing is seen to be missing: no manifest names what came back.
            assert_eq!(broken.unwrap().after.0, if is_seen { 10 } else { 9 }, "{number} {is_deleted}");
            check(&case, &options, &numbers(101, 400), &b);
            assert_eq!(catalog.meta(BROKEN).unwrap().as_deref(), Some(""), "done");
        }
    }
}

/// Both checkpoints and more.
#[test]
fn several_at_once() {
    let case = case();
    case.damage(4);
    case.damage(7);
    case.delete(1);
    // Without a checkpoint the purge of `a` in manifest 5 is known all the same.
    let (options, restored) = case.restored();
    assert_eq!(restored.salvage.unwrap().unnamed, []);
    check(&case, &options, &numbers(101, 400), &numbers(101, 200));
    // A purge that no manifest tells any more.
    let case = self::case();
    case.damage(7);
    case.delete(5);
    let (options, restored) = case.restored();
    let salvage = restored.salvage.unwrap();
    assert_eq!(salvage.unknown().map(|found| found.first.0).collect::<Vec<_>>(), [5, 7]);
    check(&case, &options, &numbers(1, 400), &numbers(101, 200));
}

#[test]
fn without_any_manifest_each_object_speaks_for_itself() {
    let case = case();
    (1..=10).for_each(|number| case.delete(number));
    let error = restore(&RestoreOptions { salvage: false, ..case.options() }, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let (options, restored) = case.restored();
    assert_eq!((restored.manifest, restored.log), (None, case.log.id()));
    assert_eq!(restored.salvage.unwrap().unnamed.len(), 6);
    check(&case, &options, &numbers(1, 400), &numbers(1, 200));
    // Nothing at all is no archive.
    let nothing = RestoreOptions { store: Arc::new(MemoryStore::default()), ..case.options() };
    assert_eq!(restore(&nothing, &mut |_| {}).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Purged by a manifest that cannot be read, and deleted: known to be missing, and never called restored.
#[test]
fn an_object_that_is_gone_is_a_loss() {
    let case = case();
    case.damage(9);
    case.store.remove(&crate::objects::SegmentObject::of_row(&case.row("b", 1)).to_string()).unwrap();
    let (options, restored) = case.restored();
    assert_eq!(restored.losses, [(name("b"), Sequence(1), Sequence(100))]);
    let salvage = restored.salvage.unwrap();
    assert_eq!((salvage.left_out.len(), salvage.left_out[0].first_sequence), (1, Sequence(1)));
    let losses = options.log.catalog.as_ref().unwrap().losses(None).unwrap();
    assert!(losses[0].reason.contains("manifests that cannot be read: 9"), "{}", losses[0].reason);
    let log = open(&options);
    log.acknowledge_loss(&name("b"), Sequence(1), Sequence(100), "ops").unwrap();
    assert_eq!(log.append(&name("b"), numbered(201)).unwrap().first, Sequence(201));
}

/// An object that is not whole is not restored, its sequences are not given out again, and it is named.
#[test]
fn a_damaged_object_does_not_count() {
    let case = case();
    case.damage(10);
    let key = crate::objects::SegmentObject::of_row(&case.row("a", 301)).to_string();
    let mut bytes = case.store.remove(&key).unwrap().to_vec();
    bytes[200] ^= 1;
    case.store.set(&key, bytes);
    let (options, restored) = case.restored();
    let salvage = restored.salvage.unwrap();
    assert_eq!(salvage.unnamed, []);
    assert!(salvage.left_out[0].key == key && salvage.left_out[0].reason.contains("its name"), "{salvage:?}");
    assert_eq!(restored.losses, [(name("a"), Sequence(301), Sequence(400))]);
    let log = open(&options);
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
}

/// The machine that was there before finds itself fenced, whatever it knew.
#[test]
fn who_wrote_before_is_fenced() {
    let mut case = case();
    case.damage(10);
    let (options, _) = case.restored();
    let log = open(&options);
    archive(&log, &case);
    let (head, _) = chain::newest(&*case.store, None).unwrap().unwrap();
    assert_eq!(head.begins, ManifestNumber(11));
    let error = case.claim.commit(vec![told("a", 1, 500)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    // A second machine that salvaged at the same time takes the new chain over.
    let (options, _) = case.restored();
    archive(&open(&options), &case);
    let (again, _) = chain::newest(&*case.store, None).unwrap().unwrap();
    assert!(again.begins == head.begins && again.epoch > head.epoch);
}

/// What the chain began anew with is no checkpoint that could be done without.
#[test]
fn the_beginning_of_a_chain_cannot_be_done_without() {
    let case = case();
    case.damage(8);
    let (options, _) = case.restored();
    let log = open(&options);
    archive(&log, &case);
    append(&log, "a", 401..=410);
    log.seal(None).unwrap();
    archive(&log, &case);
    assert!(chain::state(&*case.store).is_ok());
    case.damage(11);
    let error = chain::state(&*case.store).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("manifest=`11`"), "{error}");
    // And salvaged again.
    let (options, restored) = case.restored();
    assert!(restored.salvage.unwrap().unknown().count() > 0);
    assert_eq!(read_all(&open(&options), "a"), numbers(101, 410));
}

/// Machines that went on from the same point; both sent, and no manifest names anything.
struct Fork {
    case: Case,
    other: Case,
}

impl Fork {
    fn new(others_epochs: u64) -> Self {
        let world = World::new();
        let log = world.open();
        fill(&log, "a", 1);
        log.close().unwrap();
        drop(log);
        let machine = |world: World, epochs: u64, store: Arc<MemoryStore>| {
            (1..epochs).for_each(|_| world.open().close().unwrap());
            let log = world.open();
            let claim = Claim::take(store.clone(), log.id(), Epoch(1), world.clock.clone(), None).unwrap();
            Case { world, log, store, claim }
        };
        let store = Arc::new(MemoryStore::default());
        let other = world.after_kill();
        let case = machine(world, 1, Arc::clone(&store));
        let other = machine(other, others_epochs, store);
        Self { case, other }
    }

    fn forget_manifests(&self) {
        (1..=self.other.claim.newest().number.0).for_each(|number| self.case.delete(number));
    }
}

#[test]
fn of_two_with_the_same_sequences_the_higher_epoch_counts_and_of_one_epoch_neither() {
    for epochs in [1, 2] {
        let fork = Fork::new(epochs);
        fork.case.send("a", 101);
        // Other records: their times are others.
        let records = (101..=200_u64).map(|number| numbered(number).with_timestamp(Timestamp(5)));
        for record in records {
            fork.other.log.append(&name("a"), record).unwrap();
        }
        fork.other.log.seal(None).unwrap();
        fork.other.world.archive_to(&fork.other.log, &*fork.case.store, None);
        fork.forget_manifests();
        let (options, restored) = fork.case.restored();
        let salvage = restored.salvage.unwrap();
        let left: Vec<_> = salvage.left_out.iter().map(|left| left.first_sequence.0).collect();
        let log = open(&options);
        if epochs == 1 {
            assert_eq!(left, [101, 101]);
            assert!(salvage.left_out.iter().all(|left| left.reason.contains("conflict")), "{salvage:?}");
            assert_eq!(restored.losses, [(name("a"), Sequence(101), Sequence(200))]);
            assert_eq!(read_all_but_lost(&log), numbers(1, 100));
        } else {
            assert_eq!(left, [101]);
            assert!(salvage.left_out[0].reason.contains("a higher epoch"), "{salvage:?}");
            assert_eq!(read_all(&log, "a"), numbers(1, 200));
            let record = log.get(&name("a"), b"key-150", Timestamp(6)).unwrap().unwrap();
            assert_eq!(record.timestamp, Timestamp(5));
        }
    }
}

fn read_all_but_lost(log: &Log) -> Vec<u64> {
    let until = crate::ReadOptions { until: Some(Sequence(100)), ..crate::ReadOptions::default() };
    crate::archive::world::read(log, "a", until)
}

/// What a writer sent that had lost the archive is not taken for a continuation of what its successor wrote.
#[test]
fn what_a_fenced_writer_sent_does_not_count() {
    let mut fork = Fork::new(2);
    fork.case.send("a", 101);
    fork.case.send("a", 201);
    fork.other.add("a", 101);
    let rows = fork.other.world.rows("a");
    assert_eq!(rows[1].status, SegmentStatus::Archived);
    let (options, restored) = fork.case.restored();
    let salvage = restored.salvage.unwrap();
    let reasons: Vec<&str> = salvage.left_out.iter().map(|left| &*left.reason).collect();
    assert!(reasons.len() == 1 && reasons[0].contains("lost the archive"), "{salvage:?}");
    assert_eq!(restored.losses, [(name("a"), Sequence(201), Sequence(300))]);
    let log = open(&options);
    assert_eq!(log.append(&name("a"), numbered(301)).unwrap().first, Sequence(301));
}
