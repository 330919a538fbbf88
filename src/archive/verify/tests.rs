//! Each thing that can be wrong is told, by name; what is only untidy is told as that.

use std::sync::Arc;

use super::objects::is_sampled;
use super::*;
use crate::archive::manifest::{Acknowledged, Entry, LossEntry};
use crate::archive::memory_store::MemoryStore;
use crate::archive::restore::tests::tell;
use crate::archive::world::{World, fill, name};
use crate::archive::{Claim, RemovedSegment};
use crate::catalog::MemoryCatalog;
use crate::clock::FakeClock;
use crate::objects::SegmentObject;
use crate::testing::faulty_store::{Fault, FaultyStore};
use crate::types::{Epoch, LogId, Sequence, Timestamp};

struct Case {
    store: Arc<MemoryStore>,
    catalog: Arc<MemoryCatalog>,
    log: LogId,
    keys: Vec<String>,
}

/// Four segments of one collection, two of another.
fn case() -> Case {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    fill(&log, "b", 2);
    world.archive(&log);
    let store: Arc<dyn ObjectStore> = world.store.clone();
    tell(&world, &store, &log);
    let store = MemoryStore::copy_of(&*world.store);
    let keys = store.objects().into_keys().filter(|key| !key.starts_with('_')).collect();
    Case { store, catalog: world.catalog.clone(), log: log.id(), keys }
}

impl Case {
    fn verify_with(&self, options: &RemoteVerifyOptions) -> RemoteReport {
        verify(&*self.store, Some(&*self.catalog), options, &mut |_| {}).unwrap()
    }

    fn verify(&self) -> RemoteReport {
        self.verify_with(&RemoteVerifyOptions::default())
    }

    fn faults(&self) -> Vec<(RemoteFaultKind, Option<u64>)> {
        let report = self.verify();
        assert_eq!(report.ok, report.faults.is_empty());
        report.faults.iter().map(|fault| (fault.kind, fault.first_sequence.map(|first| first.0))).collect()
    }

    fn commit(&self, entries: Vec<Entry>) {
        let clock = Arc::new(FakeClock::at(Timestamp(7)));
        let store: Arc<dyn ObjectStore> = self.store.clone();
        let mut claim = Claim::take(store, self.log, Epoch(9), clock, None).unwrap();
        claim.commit(entries).unwrap();
    }

    fn flip(&self, key: &str, at: usize) {
        let mut bytes = self.store.remove(key).unwrap().to_vec();
        bytes[at] ^= 1;
        self.store.set(key, bytes);
    }
}

#[test]
fn what_is_whole_is_said_to_be() {
    let case = case();
    let report = case.verify();
    assert!(report.ok && report.verdict == Verified::Ok, "{report:?}");
    assert_eq!((report.segments, report.records, report.manifests), (6, 600, 2));
    assert_eq!((report.read_back, report.proven_by_store), (0, 0), "this store tells no checksums");
    let deep = case.verify_with(&RemoteVerifyOptions { deep: true, ..RemoteVerifyOptions::default() });
    assert!(deep.ok && deep.read_back == 6 && deep.orphans.is_empty());
    let mut told = Vec::new();
    let options = RemoteVerifyOptions { threads: 1, ..RemoteVerifyOptions::default() };
    verify(&*case.store, None, &options, &mut |progress| told.push(progress.segments)).unwrap();
    assert_eq!(told, [1, 2, 3, 4, 5, 6]);
    let nothing = verify(&MemoryStore::default(), None, &options, &mut |_| {});
    assert_eq!(nothing.unwrap_err().kind(), crate::ErrorKind::NotFound);
}

#[test]
fn objects_that_are_not_what_they_should_be() {
    let case = case();
    case.store.remove(&case.keys[0]);
    let cut = case.store.remove(&case.keys[1]).unwrap();
    case.store.set(&case.keys[1], cut.slice(1..));
    case.store.hide(&case.keys[2]);
    case.flip(&case.keys[3], 50);
    let expected = [
        (RemoteFaultKind::MissingObject, Some(1)),
        (RemoteFaultKind::HiddenObject, Some(201)),
        (RemoteFaultKind::WrongObject, Some(101)),
    ];
    assert_eq!(case.faults(), expected, "a changed byte is not seen without reading");
    let hidden = case.verify().faults.into_iter().find(|fault| fault.kind == RemoteFaultKind::HiddenObject).unwrap();
    assert!(hidden.reason.contains("v1"), "{hidden:?}");
    for options in [
        RemoteVerifyOptions { deep: true, ..RemoteVerifyOptions::default() },
        RemoteVerifyOptions { sample_percent: 100, ..RemoteVerifyOptions::default() },
    ] {
        let report = case.verify_with(&options);
        assert_eq!((report.faults.len(), report.read_back), (4, 2), "{report:?}");
    }
}

/// Of many segments about as many as asked for, and with the same seed the same.
#[test]
fn a_sample_is_one() {
    let many: Vec<_> =
        (0..2_000).map(|at| crate::archive::manifest::tests::segment("a", at * 9 + 1, at * 9 + 9)).collect();
    let chosen = |percent: u8, seed: u64| {
        let options = RemoteVerifyOptions { sample_percent: percent, seed, ..RemoteVerifyOptions::default() };
        many.iter().map(|segment| is_sampled(segment, &options)).collect::<Vec<bool>>()
    };
    let count = |chosen: &[bool]| chosen.iter().filter(|chosen| **chosen).count();
    assert_eq!((count(&chosen(0, 1)), count(&chosen(100, 1))), (0, 2_000));
    let ten = chosen(10, 1);
    assert!((120..280).contains(&count(&ten)), "{}", count(&ten));
    assert!(ten == chosen(10, 1) && ten != chosen(10, 2));
}

#[test]
fn objects_that_nobody_names_are_told_and_nothing_is_wrong() {
    let case = case();
    case.store.set("a/00000000000000000901-00000000000000000950.3.01234567.avro", "x");
    case.store.set("_catalog/00000000000000000003.01234567.sqlite", "x");
    case.store.set("_probe/1", "x");
    case.store.set("readme.txt", "x");
    // Put and not named yet: the catalog knows of it.
    let mut row = case.catalog.segments(Some(&name("a")), None, 1).unwrap().remove(0);
    (row.key.first, row.key.last, row.status) = (Sequence(401), Sequence(500), SegmentStatus::Sealed);
    let key = SegmentObject::of_row(&row).key().to_string();
    case.store.set(&key, "x");
    let up = |from, to| crate::catalog::Mutation::Transition {
        key: row.key.clone(),
        from,
        to,
        archive_key: Some(key.clone()),
    };
    let begin =
        [crate::catalog::Mutation::InsertSegment(row.clone()), up(SegmentStatus::Sealed, SegmentStatus::Archiving)];
    case.catalog.apply(&begin, Timestamp(1), "test").unwrap();
    let report = case.verify();
    assert!(report.ok, "{report:?}");
    let mut listed = Vec::new();
    let visit = &mut |object: crate::archive::ls::ObjectInfo| {
        listed.push(object.kind);
        Ok(())
    };
    crate::archive::ls::objects(&*case.store, "", visit).unwrap();
    assert_eq!(listed.len(), case.store.objects().len());
    assert_eq!(listed.iter().filter(|kind| **kind == ObjectKind::Segment).count(), 6);
    let mut found: Vec<(ObjectKind, bool)> =
        report.orphans.iter().map(|orphan| (orphan.what, orphan.under_way)).collect();
    found.sort_unstable();
    let expected = [
        (ObjectKind::UnnamedSegment, false),
        (ObjectKind::UnnamedSegment, true),
        (ObjectKind::OldSnapshot, false),
        (ObjectKind::Probe, false),
        (ObjectKind::Foreign, false),
    ];
    assert_eq!(found, expected);
}

#[test]
fn holes_losses_and_gaps() {
    let case = case();
    let segment = |at: usize| chain::state(&*case.store).unwrap().segments().nth(at).unwrap().clone();
    let (second, last) = (segment(1), segment(3));
    case.commit(vec![Entry::Removed(RemovedSegment::from(&second)), Entry::Removed(RemovedSegment::from(&last))]);
    let without_catalog = || verify(&*case.store, None, &RemoteVerifyOptions::default(), &mut |_| {}).unwrap();
    let report = without_catalog();
    let holes: Vec<_> = report.faults.iter().map(|fault| (fault.first_sequence, fault.last_sequence)).collect();
    assert_eq!(holes, [(Some(Sequence(101)), Some(Sequence(200)))], "what is behind the last one is no hole");
    let loss = |acknowledged| {
        Entry::Loss(LossEntry {
            collection: name("a"),
            first: Sequence(101),
            last: Sequence(200),
            reason: "a fire".into(),
            found_at: Timestamp(1),
            acknowledged,
        })
    };
    case.commit(vec![loss(None)]);
    let report = without_catalog();
    assert!(report.faults.len() == 1 && report.faults[0].reason.contains("a fire"), "{report:?}");
    case.commit(vec![loss(Some(Acknowledged { by: "ops".into(), at: Timestamp(2) }))]);
    let report = without_catalog();
    assert!(report.ok && report.verdict == Verified::OkWithGaps && report.gaps.len() == 1, "{report:?}");
    // The catalog still says that both are archived.
    let expected = [(RemoteFaultKind::NotNamed, Some(101)), (RemoteFaultKind::NotNamed, Some(301))];
    assert_eq!(case.faults(), expected);
}

#[test]
fn manifests_that_are_not_right() {
    let case = case();
    case.commit(vec![Entry::Added(crate::archive::manifest::tests::segment("c", 1, 10))]);
    let faults = case.faults();
    let expected = [(RemoteFaultKind::MissingObject, Some(1)), (RemoteFaultKind::WithoutRow, Some(1))];
    assert_eq!(faults, expected);
    case.commit(vec![Entry::Added(crate::archive::manifest::tests::segment("a", 50, 60))]);
    assert_eq!(case.faults()[0], (RemoteFaultKind::Manifest, None), "they say things against each other");
    // Damaged: the rest cannot be known, and nothing is called whole.
    case.flip("_manifest/00000000000000000002", 700);
    let report = case.verify();
    assert!(!report.ok && report.faults[0].reason.contains("manifest=`2`"), "{report:?}");
    case.store.remove("_manifest/00000000000000000002");
    assert!(case.verify().faults[0].reason.contains("manifest=`2`"));
}

/// A store in which a log with this id has these entries.
fn store_with(log: LogId, entries: Vec<Entry>) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let claimed: Arc<dyn ObjectStore> = store.clone();
    let clock = Arc::new(FakeClock::at(Timestamp(7)));
    Claim::take(claimed, log, Epoch(1), clock, None).unwrap().commit(entries).unwrap();
    store
}

fn entry(home: Option<&str>) -> Entry {
    Entry::Collection(crate::archive::CollectionEntry {
        name: name("a"),
        created_at: Timestamp(1),
        floor: Sequence(1),
        sealed_through: Sequence(30),
        settings: "{}".into(),
        home: home.map(str::to_owned),
    })
}

/// Without objects: those are missing, whatever the sequences.
fn sequences(report: &RemoteReport) -> Vec<(u64, u64)> {
    let of = report.faults.iter().filter(|fault| fault.kind == RemoteFaultKind::Sequences);
    of.map(|fault| (fault.first_sequence.unwrap().0, fault.last_sequence.unwrap().0)).collect()
}

/// Symptom: `verify --remote` called a log damaged whose collection was given another home. Cause: each store was to have all of a collection's
/// sequences itself, and what it was told of losses counted, though the collection had left it. Fix: all stores are judged together.
#[test]
fn a_collection_in_several_stores_is_whole_in_all_of_them_together() {
    use crate::archive::manifest::tests::segment;
    let log = LogId([7; 16]);
    let loss = |acknowledged: Option<&str>| {
        let taken = acknowledged.map(|by| Acknowledged { by: by.into(), at: Timestamp(2) });
        let (first, last) = (Sequence(11), Sequence(15));
        Entry::Loss(LossEntry {
            collection: name("a"),
            first,
            last,
            reason: "a fire".into(),
            found_at: Timestamp(1),
            acknowledged: taken,
        })
    };
    let archive = store_with(log, vec![entry(Some("two")), loss(Some("ops")), Entry::Added(segment("a", 1, 10))]);
    // It left when nobody had acknowledged the loss yet.
    let one = store_with(log, vec![entry(Some("one")), loss(None), Entry::Added(segment("a", 16, 20))]);
    let two = store_with(log, vec![entry(Some("two")), loss(Some("ops")), Entry::Added(segment("a", 21, 30))]);
    let stores = [(None, &archive), (Some("one"), &one), (Some("two"), &two)];
    let verify = |stores: &[(Option<&'static str>, &Arc<MemoryStore>)]| -> Vec<RemoteReport> {
        let places: Vec<_> =
            stores.iter().map(|(remote, store)| RemotePlace { remote: *remote, store: &***store }).collect();
        let reports = verify_all(&places, None, &RemoteVerifyOptions::default(), &mut |_, _| {}).unwrap();
        reports.into_iter().map(Result::unwrap).collect()
    };
    let reports = verify(&stores);
    assert!(reports.iter().all(|report| sequences(report).is_empty()), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.gaps.len()).collect::<Vec<_>>(), [1, 0, 0]);
    let reports = verify(&[stores[0], stores[2]]);
    assert_eq!(reports.iter().map(sequences).collect::<Vec<_>>(), [vec![(16, 20)], vec![]], "what is missing is seen");
    // Without an archive the home's word counts, in whatever order they are given.
    for stores in [[stores[1], stores[2]], [stores[2], stores[1]]] {
        let reports = verify(&stores);
        assert_eq!(sequences(&reports[0]), [(1, 10)], "{reports:?}");
    }
}

/// Symptom: a store that was down while its manifests were read made the verdict "damaged", and ended the command before anything of the others was told.
/// Cause: every error was taken for one of the manifests. Fix: each store has its own outcome; what the catalog knows to be in one that is down is no hole.
#[test]
fn a_store_that_is_down_is_no_damage_and_hides_no_other() {
    let case = case();
    let error =
        |store: &dyn ObjectStore| verify(store, None, &RemoteVerifyOptions::default(), &mut |_| {}).unwrap_err().kind();
    let clock = Arc::new(FakeClock::at(Timestamp(7)));
    // One answer that does not come is nothing that manifests say.
    let shaky = Arc::new(FaultyStore::new(clock.clone()));
    Claim::take(shaky.clone(), case.log, Epoch(1), clock.clone(), None).unwrap();
    shaky.fail_next(Fault::Before(crate::objects::ObjectErrorKind::Unavailable));
    assert_eq!(error(&*shaky), crate::ErrorKind::Unavailable);
    assert!(verify(&*shaky, None, &RemoteVerifyOptions::default(), &mut |_| {}).unwrap().ok);
    let down = FaultyStore::new(clock);
    down.go_down(crate::objects::ObjectErrorKind::Unavailable);
    assert_eq!(error(&down), crate::ErrorKind::Unavailable);
    // A segment in the middle of a collection is there.
    let row = case.catalog.segments(Some(&name("a")), None, 9).unwrap().remove(1);
    let moved = Entry::Removed(RemovedSegment {
        segment: row.key.clone(),
        key: ObjectKey::new(row.archive_key.clone().unwrap()).unwrap(),
    });
    case.commit(vec![moved]);
    case.store.remove(row.archive_key.as_ref().unwrap());
    let places =
        [RemotePlace { remote: None, store: &*case.store }, RemotePlace { remote: Some("home"), store: &down }];
    let verify = |catalog: Option<&dyn Catalog>| {
        verify_all(&places, catalog, &RemoteVerifyOptions::default(), &mut |_, _| {}).unwrap()
    };
    let kinds = |reports: &[Result<RemoteReport>]| {
        assert_eq!(reports[1].as_ref().unwrap_err().kind(), crate::ErrorKind::Unavailable);
        reports[0].as_ref().unwrap().faults.iter().map(|fault| fault.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&verify(None)), [], "it may be there");
    let expected = [RemoteFaultKind::Sequences, RemoteFaultKind::NotNamed];
    assert_eq!(kinds(&verify(Some(&*case.catalog))), expected, "the catalog says that it is not");
    let away = MemoryCatalog::new();
    for row in case.catalog.segments(None, None, 99).unwrap() {
        let is_moved = row.key.collection == name("a") && row.key.first == Sequence(101);
        let key = row.archive_key.clone().map(|key| if is_moved { format!("@home/{key}") } else { key });
        let row = SegmentRow { archive_key: key, status: SegmentStatus::Evicted, ..row };
        let insert = [crate::catalog::Mutation::InsertSegment(row)];
        away.apply(&insert, Timestamp(1), "test").unwrap();
    }
    assert_eq!(kinds(&verify(Some(&away))), [], "the catalog says that it is there");
}

/// A home in which nothing was archived yet is as it should be, unless rows say otherwise; and its rows are compared as those of the archive.
#[test]
fn homes_are_compared_with_their_own_rows() {
    let case = case();
    let empty = MemoryStore::default();
    let home = |store: &dyn ObjectStore, catalog: &dyn Catalog| {
        let places = [RemotePlace { remote: Some("home"), store }];
        let mut reports = verify_all(&places, Some(catalog), &RemoteVerifyOptions::default(), &mut |_, _| {}).unwrap();
        reports.remove(0).unwrap()
    };
    let report = home(&empty, &*case.catalog);
    assert!(report.ok && report.verdict == Verified::Ok && report.manifests == 0, "{report:?}");
    let rows = MemoryCatalog::new();
    for row in case.catalog.segments(Some(&name("a")), None, 99).unwrap() {
        let key = row.archive_key.map(|key| format!("@home/{key}"));
        let row = SegmentRow { archive_key: key, status: SegmentStatus::Evicted, ..row };
        rows.apply(&[crate::catalog::Mutation::InsertSegment(row)], Timestamp(1), "test").unwrap();
    }
    let kinds = |report: &RemoteReport| report.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&home(&empty, &rows)), [RemoteFaultKind::NotNamed; 4]);
    assert_eq!(kinds(&home(&*case.store, &rows)), [RemoteFaultKind::WithoutRow; 2], "those of the other collection");
}
