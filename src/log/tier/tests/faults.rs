//! Every call to the store goes wrong, in every way, once.

use std::time::Duration;

use super::*;
use crate::archive::{ArchiveReader, ReaderOptions};
use crate::objects::{ObjectErrorKind, ObjectStore, SegmentObject, Upload};
use crate::testing::faulty_store::{Fault, FaultyStore};
use crate::{ReadOptions, VerifyOptions};

const FAULTS: [Fault; 11] = [
    Fault::Before(ObjectErrorKind::Unavailable),
    Fault::Before(ObjectErrorKind::Denied),
    Fault::Before(ObjectErrorKind::NotFound),
    Fault::Busy(Duration::from_secs(1)),
    Fault::LostAnswer,
    Fault::LostRequest,
    Fault::Hang { span: Duration::from_secs(9), happens: true },
    Fault::Truncated,
    Fault::Flipped,
    Fault::WrongLength,
    Fault::WrongChecksum,
];

fn archived() -> (World, Arc<FaultyStore>) {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let log = world.open_with(&store);
    fill(&log, "a", 3);
    world.archive_to(&log, &*store, None);
    (world, store)
}

/// Whatever the archive answers, nothing goes that it does not have, and nothing comes back that is not what went.
#[test]
fn no_answer_of_the_archive_loses_anything() {
    let (world, store) = archived();
    let all: Vec<u64> = (1..=300).collect();
    let calls = |work: &dyn Fn(&Log)| {
        let copy = Arc::new(store.snapshot());
        let world = world.after_kill();
        work(&world.open_with(&copy));
        copy.calls().len() as u64
    };
    let both = |log: &Log| {
        evict(log);
        rehydrate(log);
    };
    let count = calls(&both);
    assert!(count >= 6, "{count}");
    let (mut stayed, mut failed) = (0, 0);
    for number in 1..=count {
        for fault in FAULTS {
            let world = world.after_kill();
            let copy = Arc::new(store.snapshot());
            let log = world.open_with(&copy);
            copy.fail_at(number, fault);
            let evicted = log.evict(&EvictOptions::default(), &mut always);
            let back = log.rehydrate(&RehydrateOptions::default(), &mut always);
            stayed += evicted.as_ref().map_or(0, |evicted| evicted.kept.len());
            failed += u32::from(evicted.is_err()) + u32::from(back.is_err());
            copy.heal();
            assert_eq!(read_all(&log, "a"), all, "{number} {fault:?} {evicted:?} {back:?}");
            both(&log);
            assert_eq!(world.statuses("a"), [SegmentStatus::Archived; 3], "{number} {fault:?}");
            let report = log.verify(VerifyOptions { deep: true }).unwrap();
            assert!(report.ok, "{number} {fault:?} {report:?}");
            assert_eq!(copy.objects().len(), 3);
        }
    }
    assert!(stayed > 20 && failed > 8, "{stayed} {failed}");
}

/// A reader gives what is right, or says that it cannot; and goes on when the store is well again.
#[test]
fn no_answer_of_the_archive_is_read_as_something_else() {
    let (world, store) = archived();
    let (mut errors, mut unharmed) = (0, 0);
    let count = {
        let copy = Arc::new(store.snapshot());
        let log = world.after_kill().open_with(&copy);
        evict(&log);
        let before = copy.calls().len();
        read_all(&log, "a");
        (before as u64, copy.calls().len() as u64)
    };
    assert!(count.1 - count.0 >= 6, "{count:?}");
    for number in count.0 + 1..=count.1 {
        for fault in FAULTS {
            let copy = Arc::new(store.snapshot());
            let log = world.after_kill().open_with(&copy);
            evict(&log);
            copy.fail_at(number, fault);
            // One that follows stays where it is when the store does not answer.
            let mut reader = log.read(&name("a"), ReadOptions::follow()).unwrap();
            let mut found = Vec::new();
            let mut tries = 0;
            while found.len() < 300 {
                match reader.try_next() {
                    Ok(Some(record)) => found.push(record.sequence.0),
                    Ok(None) => panic!("{number} {fault:?}: {found:?}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{number} {fault:?}: {error}");
                        errors += 1;
                    }
                }
                tries += 1;
                assert!(tries < 310, "{number} {fault:?}");
            }
            unharmed += usize::from(tries == 300);
            assert_eq!(found, (1..=300).collect::<Vec<_>>(), "{number} {fault:?}");
        }
    }
    assert!(errors > 10 && unharmed > 10, "{errors} {unharmed}");
}

/// Two stores: the older segment's is the log's archive, the newer one's a home.
fn in_two_stores() -> (World, Arc<FaultyStore>, Log) {
    let world = World::new();
    let archive = Arc::new(FaultyStore::new(world.clock.clone()));
    let reader = ArchiveReader::new(Some(Arc::clone(&archive) as Arc<dyn ObjectStore>), ReaderOptions::default());
    let reader = reader.with_remote("home", world.store.clone());
    let options = crate::LogOptions { archive: Some(Arc::new(reader)), ..world.options_without_archive() };
    let log = Log::open(options).unwrap();
    fill(&log, "a", 2);
    world.archive_to(&log, &*archive, None);
    fill(&log, "b", 1);
    let row = world.rows("b").remove(0);
    let key = SegmentObject::of_row(&row).key();
    let file = log.segment_file(&row).unwrap();
    world.store.put_if_absent(&key, &Upload::new(&file, row.bytes, row.sha256)).unwrap();
    let step =
        |from, to| Mutation::Transition { key: row.key.clone(), from, to, archive_key: Some(format!("@home/{key}")) };
    use SegmentStatus::{Archived, Archiving, Sealed};
    log.change(&[step(Sealed, Archiving), step(Archiving, Archived)], "test").unwrap();
    (world, archive, log)
}

/// Symptom: one store that was down ended every `evict`, `rehydrate` and eviction by rules, whatever the other stores had; each try began with the same oldest
/// segment. Cause: its error ended the walk. Fix: its segments stay, and are told; the others' go.
#[test]
fn a_store_that_is_down_stops_only_its_own_segments() {
    let (world, archive, log) = in_two_stores();
    archive.go_down(ObjectErrorKind::Unavailable);
    let calls = archive.calls().len();
    let evicted = log.evict(&EvictOptions::default(), &mut always).unwrap();
    assert_eq!((evicted.segments, evicted.kept.len()), (1, 2), "{evicted:?}");
    assert!(reasons(&evicted.kept)[1].starts_with("its store does not answer"), "{evicted:?}");
    assert_eq!(archive.calls().len(), calls + 1, "it is asked once");
    use SegmentStatus::{Archived, Evicted as Away};
    assert_eq!((world.statuses("a"), world.statuses("b")), (vec![Archived; 2], vec![Away]));
    // Nothing else is to do: who waits for that store is told so.
    let error = log.evict(&EvictOptions::default(), &mut always).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // By rules.
    assert_eq!(rehydrate(&log).segments, 1);
    let rules = EvictRules { after: None, above_bytes: Some(0) };
    let due = log.evict_due(&rules, false, &mut || true).unwrap();
    assert_eq!((due.evicted.segments, due.evicted.kept.len()), (1, 2), "{due:?}");
    assert_eq!(log.evict_due(&rules, false, &mut || true).unwrap_err().kind(), ErrorKind::Unavailable);
    // And back.
    archive.heal();
    assert_eq!(evict(&log).segments, 2);
    archive.go_down(ObjectErrorKind::Unavailable);
    let back = rehydrate(&log);
    assert_eq!((back.segments, back.kept.len()), (1, 2), "{back:?}");
    let error = log.rehydrate(&RehydrateOptions::default(), &mut always).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    archive.heal();
    assert_eq!(rehydrate(&log).segments, 2);
}
