//! Every call to the object store goes wrong in every way: nothing is lost, nothing is there twice, and it goes on.

use std::time::Duration;

use super::*;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::Fault;

const FAULTS: [Fault; 9] = [
    Fault::Before(ObjectErrorKind::Unavailable),
    Fault::Before(ObjectErrorKind::Full),
    Fault::LostAnswer,
    Fault::LostRequest,
    Fault::Late(1),
    Fault::Late(4),
    Fault::Hang { span: Duration::from_secs(60), happens: true },
    Fault::Taken,
    Fault::Down(ObjectErrorKind::Unavailable),
];

fn options() -> StoreOptions {
    StoreOptions { merge_files: 3, ..StoreOptions::default() }
}

/// Delivers up to 16, raises the floor to 6, then delivers up to 24; as delivery does it, by the sink's cursor. How often it was
/// told of an error.
fn deliver(store: &ColumnarStore, tries: usize) -> Result<usize> {
    let mut errors = 0;
    let mut last = Ok(());
    for _ in 0..tries {
        let step = || -> Result<bool> {
            let has = store.cursor(&orders())?.map_or(0, |cursor| cursor.sequence.0);
            let floor = store.view(&orders())?.map_or(Sequence(0), |view| view.floor());
            match has {
                24 => return Ok(true),
                16 if floor < Sequence(6) => store.raise_floor(&orders(), Sequence(6))?,
                _ => apply(store, has, has + 4)?,
            }
            Ok(false)
        };
        match step() {
            Ok(true) => return Ok(errors),
            Ok(false) => last = Ok(()),
            Err(error) => {
                errors += 1;
                last = Err(error);
            }
        }
    }
    last.map(|()| panic!("it goes on for ever"))
}

fn check(objects: &Arc<FaultyStore>, store: &ColumnarStore, what: &str) {
    for store in [store, &open(objects)] {
        assert_eq!(all(store), records(6..=24), "{what}");
        store.view(&orders()).unwrap().unwrap().verify().unwrap();
    }
    assert_tidy(objects, &open(objects));
}

#[test]
fn every_call_may_go_wrong_in_every_way() {
    let objects = memory();
    assert_eq!(deliver(&open_with(&objects, options()), 100).unwrap(), 0);
    check(&objects, &open(&objects), "nothing goes wrong");
    let calls = objects.calls();
    let calls = &calls[..calls.iter().rposition(|call| call.operation == "put").unwrap() + 3];
    assert!(calls.len() > 40, "{}", calls.len());
    let mut concerned = 0;
    for call in calls {
        for fault in FAULTS.into_iter().filter(|fault| fault.concerns(call)) {
            let objects = memory();
            let store = open_with(&objects, options());
            objects.fail_at(call.number, fault);
            let what = format!("{fault:?} at {call:?}");
            let mut delivered = deliver(&store, 100);
            if matches!(fault, Fault::Down(_)) {
                assert!(delivered.is_err(), "{what}");
                objects.heal();
                delivered = deliver(&store, 100);
            }
            if let (Fault::Taken, Err(error)) = (&fault, &delivered) {
                // Somebody else's bytes under our name: told, never overwritten, and never a loss of what was applied.
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Conflict | ErrorKind::Corrupt), "{what}: {kind:?}");
                continue;
            }
            delivered.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            objects.settle();
            check(&objects, &store, &what);
            concerned += 1;
        }
    }
    assert!(concerned > 150, "{concerned}");
}

/// The process ends at each call, before it and after it; another one goes on.
#[test]
fn a_process_may_end_at_every_call() {
    let objects = memory();
    let images: Arc<Mutex<Vec<FaultyStore>>> = Arc::default();
    let taken = Arc::clone(&images);
    objects.observe(move |store, _, _| taken.lock().unwrap().push(store.snapshot()));
    deliver(&open_with(&objects, options()), 100).unwrap();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 80, "{}", images.len());
    for (number, image) in images.into_iter().enumerate() {
        let objects = Arc::new(image);
        let store = open_with(&objects, options());
        // What is there is a beginning, without a hole.
        let there = all(&store);
        let floor = store.view(&orders()).unwrap().map_or(1, |view| view.floor().0);
        assert_eq!(there, records(floor..=cursor(&store).unwrap_or(0)), "{number}");
        deliver(&store, 100).unwrap();
        check(&objects, &store, &number.to_string());
    }
}

/// What is read may be cut or wrong: that is told, or it makes no difference.
#[test]
fn wrong_answers_are_told() {
    let objects = memory();
    deliver(&open_with(&objects, options()), 100).unwrap();
    let read = |objects: &Arc<FaultyStore>| -> Result<Vec<Record>> {
        let store = open(objects);
        store.view(&orders())?.unwrap().read(Sequence(0)).collect()
    };
    let calls = objects.calls().len();
    assert_eq!(read(&objects).unwrap(), records(6..=24));
    let made = objects.calls().split_off(calls);
    let mut told = 0;
    for (at, call) in made.iter().enumerate() {
        for fault in [Fault::Truncated, Fault::Flipped].into_iter().filter(|fault| fault.concerns(call)) {
            let objects = Arc::new(objects.snapshot());
            objects.fail_at(at as u64 + 1, fault);
            match read(&objects) {
                // The state before a damaged one counts: then it is less, and the cursor says so.
                Ok(found) => assert!(records(6..=24).starts_with(&found), "{fault:?} at {call:?}"),
                Err(_) => told += 1,
            }
        }
    }
    assert!(told >= 3, "{told}");
}
