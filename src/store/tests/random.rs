//! Any order of calls, restarts, faults and second writers, against a `Vec`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::Fault;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Deliver so many from so many before the cursor on.
    Apply {
        count: u64,
        again: u64,
    },
    /// A batch that ends so many behind its last record.
    Skip(u64),
    Floor(u64),
    Compact,
    Restart,
    /// Another process changes the collection, and goes away.
    Other,
    Fault {
        calls: u64,
        kind: u8,
    },
    Hold,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..9_u64, 0..4_u64).prop_map(|(count, again)| Step::Apply { count, again }),
        1 => (1..5_u64).prop_map(Step::Skip),
        2 => (1..60_u64).prop_map(Step::Floor),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
        1 => Just(Step::Other),
        2 => (1..9_u64, 0..4_u8).prop_map(|(calls, kind)| Step::Fault { calls, kind }),
        1 => Just(Step::Hold),
    ]
}

fn fault(kind: u8) -> Fault {
    match kind {
        0 => Fault::Before(ObjectErrorKind::Failed),
        1 => Fault::LostAnswer,
        2 => Fault::LostRequest,
        _ => Fault::Late(3),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_store_has_what_the_model_has(steps in vec(steps(), 1..40), merge_files in 0..4_usize) {
        let objects = memory();
        let options = StoreOptions { merge_files, ..StoreOptions::default() };
        let mut store = open_with(&objects, options.clone());
        // Sequences that the model has; cursor; floor.
        let (mut model, mut through, mut floor) = (Vec::<u64>::new(), 0_u64, 1_u64);
        let mut held: Option<(View, Vec<u64>)> = None;
        let mut was_overtaken = false;
        for step in steps {
            let outcome: Result<()> = match step {
                Step::Apply { count, again } => {
                    let (after, last) = (through.saturating_sub(again), through + count);
                    store.apply(&batch(&orders(), after, &records(after + 1..=last), last))
                }
                Step::Skip(count) => store.apply(&batch(&orders(), through, &records(through + 1..=through + 1), through + count)),
                Step::Floor(to) => store.raise_floor(&orders(), Sequence(to)),
                Step::Compact => store.merge(&orders()).map(drop),
                Step::Restart => { held = None; store = open_with(&objects, options.clone()); Ok(()) }
                Step::Other => open(&objects).apply(&batch(&orders(), through, &records(through + 1..=through + 2), through + 2)),
                Step::Fault { calls, kind } => { objects.fail_at(objects.calls().len() as u64 + calls, fault(kind)); Ok(()) }
                Step::Hold => { // It may be of before what another process did.
                    held = store.view(&orders()).ok().flatten().map(|view| {
                        let has = view.cursor().map_or(0, |cursor| cursor.sequence.0);
                        let had = model.iter().copied().filter(|n| *n <= has).collect();
                        (view, had)
                    }); Ok(()) }
            };
            was_overtaken |= matches!(step, Step::Other);
            // What a change did is known by its answer, or, after an error, by looking.
            let before = (through, floor);
            let happened = match &outcome {
                Ok(()) => true,
                Err(_) => {
                    objects.heal();
                    objects.settle();
                    let now = store.cursor(&orders()).unwrap().map_or(0, |cursor| cursor.sequence.0);
                    let now_floor = store.view(&orders()).unwrap().map_or(1, |view| view.floor().0);
                    (now, now_floor) != before
                }
            };
            if happened {
                match step {
                    Step::Apply { count, .. } => { model.extend((through + 1..=through + count).filter(|n| *n >= floor)); through += count; }
                    Step::Skip(count) => { model.extend([through + 1].into_iter().filter(|n| *n >= floor)); through += count; }
                    Step::Other => { model.extend((through + 1..=through + 2).filter(|n| *n >= floor)); through += 2; }
                    Step::Floor(to) if through > 0 => { floor = floor.max(to); model.retain(|n| *n >= floor); }
                    _ => {}
                }
            }
            // A reader that another process overtook is told so, or reads what it had.
            if let Some((view, had)) = &held {
                match view.read(Sequence(0)).collect::<Result<Vec<Record>>>() {
                    Ok(found) => prop_assert_eq!(found, had.iter().map(|n| record(*n)).collect::<Vec<_>>()),
                    Err(error) => prop_assert!(was_overtaken || error.kind() != ErrorKind::NotFound, "{:?}", error),
                }
            }
        }
        objects.heal();
        objects.settle();
        held.take();
        let last = open(&objects);
        prop_assert_eq!(cursor(&last).unwrap_or(0), through);
        prop_assert_eq!(all(&last), model.iter().map(|n| record(*n)).collect::<Vec<_>>());
        prop_assert_eq!(cursor(&store).unwrap_or(0), through);
        prop_assert_eq!(all(&last), all(&open(&objects)));
        assert_tidy(&objects, &open(&objects));
    }
}
