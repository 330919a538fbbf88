//! Every call to the store goes wrong, in every way, once; then the purge is gone on with.

use super::*;
use crate::clock::Clock as _;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::{Fault, FaultyStore};

const FAULTS: [Fault; 9] = [
    Fault::Before(ObjectErrorKind::Unavailable),
    Fault::Before(ObjectErrorKind::Denied),
    Fault::Busy(Duration::from_secs(1)),
    Fault::LostAnswer,
    Fault::LostRequest,
    Fault::Late(2),
    Fault::Hang { span: Duration::from_secs(9), happens: true },
    Fault::Truncated,
    Fault::Flipped,
];

/// Three archived segments of which two may go.
fn archived() -> (World, Arc<FaultyStore>) {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let log = world.open_with(&store);
    fill(&log, "a", 3);
    world.archive_to(&log, &*store, None);
    keep(&log, "retention.records", "100");
    log.close().unwrap();
    drop(log);
    let log = world.open_with(&store);
    let mut targets = Targets { archive: Some(target(&log, &world, store.clone())), ..Targets::default() };
    tell(&world, &mut targets);
    log.close().unwrap();
    (world, store)
}

/// Lets go, and again behind the grace period; the errors.
fn purge(world: &World, log: &Log, targets: &mut Targets) -> Vec<String> {
    let options = ApplyOptions::default();
    let first = apply(log, &planned(log, world), targets, world.clock.now(), &options);
    world.clock.advance(DAY * 8);
    let second = go_on(log, targets, world.clock.now(), &options);
    [first, second].into_iter().filter_map(|done| done.err().map(|error| error.to_string())).collect()
}

#[test]
fn a_purge_ends_well_whatever_the_store_answers_meanwhile() {
    let (world, store) = archived();
    let copy = Arc::new(store.snapshot());
    let (begin, count) = {
        let world = world.after_kill();
        let log = world.open_with(&copy);
        let mut targets = Targets { archive: Some(target(&log, &world, copy.clone())), ..Targets::default() };
        let begin = copy.calls().len() as u64;
        assert_eq!(purge(&world, &log, &mut targets), [""; 0]);
        (begin, copy.calls().len() as u64)
    };
    assert!(count - begin >= 5, "{begin} {count}");
    let mut failed = 0;
    for number in begin + 1..=count {
        for fault in FAULTS {
            let world = world.after_kill();
            let copy = Arc::new(store.snapshot());
            let log = world.open_with(&copy);
            let mut targets = Targets { archive: Some(target(&log, &world, copy.clone())), ..Targets::default() };
            copy.fail_at(number, fault);
            failed += purge(&world, &log, &mut targets).len();
            // What manifests name is there, whatever failed.
            copy.heal();
            let state = chain::state(&*copy).unwrap();
            assert_eq!(state.problems(), [""; 0], "{number} {fault:?}");
            for segment in state.segments() {
                copy.head(&segment.object_key()).unwrap();
            }
            for _ in 0..2 {
                assert_eq!(purge(&world, &log, &mut targets), [""; 0], "{number} {fault:?}");
            }
            use SegmentStatus::{Archived, Purged};
            assert_eq!(world.statuses("a"), [Purged, Purged, Archived], "{number} {fault:?}");
            copy.settle();
            let objects = copy.objects();
            assert_eq!(objects.keys().filter(|key| key.starts_with("a/")).count(), 1, "{number} {fault:?}");
            let state = chain::state(&*copy).unwrap();
            assert_eq!((state.segments().count(), state.problems()), (1, &[][..]), "{number} {fault:?}");
            assert_eq!(read_all(&log, "a"), (201..=300).collect::<Vec<_>>());
        }
    }
    assert!(failed > 10, "{failed}");
}
