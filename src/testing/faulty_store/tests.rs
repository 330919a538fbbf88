//! Without faults it is a store like any other; with one, exactly that goes wrong.

use super::*;
use crate::clock::FakeClock;
use crate::objects::conformance;

fn store() -> FaultyStore {
    FaultyStore::new(Arc::new(FakeClock::at(Timestamp(1_000))))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn put(store: &FaultyStore, name: &str) -> Result<Put, ObjectErrorKind> {
    let bytes = Bytes::from_static(b"an object");
    store.put_if_absent(&key(name), &Upload::of_bytes(&bytes)).map_err(|error| error.kind)
}

#[test]
fn conforms() {
    conformance::run(&store());
    conformance::races(&(Arc::new(store()) as Arc<dyn ObjectStore>));
    assert!(crate::objects::probe::try_out(&store()).unwrap().conditional_put);
}

#[test]
fn a_fault_is_of_one_call() {
    let store = store();
    store.fail_at(2, Fault::Before(ObjectErrorKind::Denied));
    assert_eq!(put(&store, "a"), Ok(Put::Created));
    assert_eq!(put(&store, "b"), Err(ObjectErrorKind::Denied));
    assert_eq!(put(&store, "b"), Ok(Put::Created));
    assert_eq!(store.calls().len(), 3);
    assert_eq!(store.meter().usage(RequestKind::Put).failed, 1);
    assert_eq!(store.meter().usage(RequestKind::Put).sent_bytes, 27);
}

#[test]
fn an_unknown_outcome_is_either() {
    let store = store();
    store.fail_next(Fault::LostAnswer);
    assert_eq!(put(&store, "a"), Err(ObjectErrorKind::OutcomeUnknown));
    assert_eq!(put(&store, "a"), Ok(Put::SameThere));
    store.fail_next(Fault::LostRequest);
    assert_eq!(put(&store, "b"), Err(ObjectErrorKind::OutcomeUnknown));
    assert_eq!(put(&store, "b"), Ok(Put::Created));
    for (happens, then) in [(true, Put::SameThere), (false, Put::Created)] {
        let (span, name) = (Duration::from_secs(60), format!("c/{happens}"));
        let before = store.clock.monotonic();
        store.fail_next(Fault::Hang { span, happens });
        assert_eq!(put(&store, &name), Err(ObjectErrorKind::OutcomeUnknown));
        assert_eq!(store.clock.monotonic(), before + span);
        assert_eq!(put(&store, &name), Ok(then));
    }
}

#[test]
fn what_is_late_appears_later_and_replaces_nothing() {
    let store = store();
    store.fail_next(Fault::Late(2));
    assert_eq!(put(&store, "a"), Err(ObjectErrorKind::OutcomeUnknown));
    assert!(store.head(&key("a")).unwrap_err().is_not_found());
    assert!(store.head(&key("a")).is_ok());
    store.fail_next(Fault::Late(2));
    assert_eq!(put(&store, "b"), Err(ObjectErrorKind::OutcomeUnknown));
    assert_eq!(put(&store, "b"), Ok(Put::Created));
    let copy = store.snapshot();
    assert_eq!(put(&copy, "b"), Ok(Put::SameThere));
    assert_eq!(copy.created()["b"], 1);
}

#[test]
fn it_lies_about_what_it_holds() {
    let store = store();
    put(&store, "a").unwrap();
    let (bytes, name) = (Bytes::from_static(b"an object"), key("a"));
    store.fail_next(Fault::Truncated);
    assert_eq!(store.get(&name, 100).unwrap(), "an o");
    store.fail_next(Fault::Flipped);
    assert_ne!(store.get_range(&name, 0, 9).unwrap(), bytes);
    store.fail_next(Fault::WrongLength);
    assert_eq!(store.head(&name).unwrap().bytes, 10);
    for fault in [Fault::Truncated, Fault::Flipped, Fault::WrongLength, Fault::WrongChecksum] {
        store.fail_next(fault);
        let error = store.prove(&name, &Upload::of_bytes(&bytes)).unwrap_err();
        assert_eq!(error.kind, ObjectErrorKind::Corrupt);
    }
    assert!(store.prove(&name, &Upload::of_bytes(&bytes)).is_ok());
    store.fail_next(Fault::Taken);
    assert_eq!(put(&store, "b"), Ok(Put::OtherThere));
}

#[test]
fn it_is_down_until_it_is_healed() {
    let store = store();
    store.fail_next(Fault::Down(ObjectErrorKind::Failed));
    assert_eq!(put(&store, "a"), Err(ObjectErrorKind::Failed));
    assert_eq!(store.delete(&key("a")).unwrap_err().kind, ObjectErrorKind::Failed);
    store.heal();
    assert_eq!(put(&store, "a"), Ok(Put::Created));
    store.set_readable(false);
    assert_eq!(store.get(&key("a"), 100).unwrap_err().kind, ObjectErrorKind::Denied);
    assert_eq!(put(&store, "b"), Ok(Put::Created));
}

#[test]
fn what_is_retained_is_not_deleted_before_its_time() {
    let clock = Arc::new(FakeClock::at(Timestamp(1_000)));
    let store = FaultyStore::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let bytes = Bytes::from_static(b"kept");
    let upload = Upload { retain_until: Some(Timestamp(2_000)), ..Upload::of_bytes(&bytes) };
    store.put_if_absent(&key("a"), &upload).unwrap();
    assert_eq!(store.delete(&key("a")).unwrap_err().kind, ObjectErrorKind::Denied);
    clock.set(Timestamp(2_000));
    assert!(store.delete(&key("a")).is_ok());
}

#[test]
fn who_watches_sees_both_sides_of_a_call() {
    let store = store();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    store.observe(move |store, call, moment| {
        told.lock().unwrap().push((call.operation, moment, store.objects().len()));
    });
    put(&store, "a").unwrap();
    assert_eq!(*seen.lock().unwrap(), [("put", Moment::Before, 0), ("put", Moment::After, 1)]);
}
