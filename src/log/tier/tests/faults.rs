//! Every call to the store goes wrong, in every way, once.

use std::time::Duration;

use super::*;
use crate::objects::ObjectErrorKind;
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
    assert!(stayed > 5 && failed > 20, "{stayed} {failed}");
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
