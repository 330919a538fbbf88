//! Writers, readers and other processes at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const FILES: [&[&str]; 3] = [&["a", "b"], &["a", "b"], &["c"]];

fn last() -> Moment {
    moment(policy(Some(1), None, Some(1)), 1000)
}

/// Compacts, and does something once the files were looked at and before the result counts.
fn compact_beside(store: &ColumnarStore, mut work: impl FnMut()) -> Freed {
    let mut waited = 0;
    compact_while(store, last(), &mut |_| {
        waited += 1;
        // The first reads are of the judgement, of a state that is known by then.
        if waited == 2 {
            work();
        }
        true
    })
}

#[test]
fn what_is_applied_meanwhile_is_there_and_no_reason_to_begin_anew() {
    let objects = memory();
    let store = open(&objects);
    filled(&store, &FILES);
    let freed = compact_beside(&store, || apply_ones(&store, &ones(6, &["a", "-c", "x"])));
    assert_eq!((freed.failed.as_deref(), freed.left_alone.len(), freed.removed.versions), (None, 0, 2));
    assert_eq!(sequences(&store), [3, 4, 5, 6, 7, 8], "judged as it was");
    assert_eq!(cursor(&store), Some(8));
    compact(&store, last());
    assert_eq!(sequences(&store), [4, 6, 8], "the next run sees more");
    assert_tidy(&objects, &store);
}

#[test]
fn a_merge_or_a_floor_meanwhile_takes_nothing_from_it() {
    let changes: [(fn(&ColumnarStore), &[u64]); 3] = [
        (|store| drop(store.merge(&orders()).unwrap()), &[3, 4, 5]),
        (|store| store.raise_floor(&orders(), Sequence(4)).unwrap(), &[4, 5]),
        (|store| store.clear(&orders()).unwrap(), &[]),
    ];
    for (change, expected) in changes {
        let objects = memory();
        let store = open(&objects);
        filled(&store, &FILES);
        let freed = compact_beside(&store, || change(&store));
        assert_eq!((freed.failed.as_deref(), freed.left_alone.len()), (None, 0), "looked at anew");
        assert_eq!(sequences(&store), expected);
        assert_tidy(&objects, &store);
    }
}

/// Somebody else changes the files over and over: they are left to the next run, which is said.
#[test]
fn files_that_are_always_changed_are_left_alone() {
    let objects = memory();
    let store = open(&objects);
    filled(&store, &[&["a", "a"], &["b"]]);
    let mut next = 4;
    let freed = compact_while(&store, last(), &mut |_| {
        // Another process: what it took out nobody here knows.
        apply_ones(&open(&objects), &ones(next, &["z"]));
        next += 1;
        true
    });
    assert_eq!((freed.files_before, freed.failed.as_deref()), (0, None));
    assert_eq!(freed.left_alone[0].reason, "it was changed while it was looked at");
    assert!(compact(&store, last()).removed.versions > 0);
    assert_tidy(&objects, &open(&objects));
}

/// A hold that is set while the files are read counts.
#[test]
fn a_hold_that_comes_meanwhile_keeps_them() {
    let store = open(&memory());
    filled(&store, &FILES);
    let is_held = AtomicBool::new(false);
    let held = |_: Sequence, _: Sequence| -> Result<Option<String>> {
        Ok(is_held.load(Ordering::SeqCst).then(|| "held".to_owned()))
    };
    let mut order = Order {
        moment: last(),
        gain_percent: 0,
        dry_run: false,
        must_stay: &held,
        pace: &mut |_| {
            is_held.store(true, Ordering::SeqCst);
            true
        },
    };
    let freed = store.compact(&orders(), &mut order).unwrap().unwrap();
    assert_eq!((freed.files_before, freed.left_alone[0].reason.as_str()), (0, "held"));
    assert_eq!(sequences(&store), [1, 2, 3, 4, 5]);
}

#[test]
fn who_wants_it_to_end_is_heard_and_it_goes_on_the_next_time() {
    let objects = memory();
    let full = {
        let store = open(&memory());
        let mut calls = 0;
        filled(&store, &FILES);
        compact_while(&store, last(), &mut |_| {
            calls += 1;
            true
        });
        calls
    };
    let store = open(&objects);
    filled(&store, &FILES);
    for most in 0..full {
        let mut calls = 0;
        let freed = compact_while(&store, last(), &mut |_| {
            calls += 1;
            calls <= most
        });
        assert_eq!((freed.failed, freed.files_before), (None, 0), "{most}");
        assert_eq!(sequences(&store), [1, 2, 3, 4, 5]);
    }
    compact(&store, last());
    assert_eq!(sequences(&store), [3, 4, 5]);
    assert_tidy(&objects, &store);
}

/// A view reads what it had; its files go behind it.
#[test]
fn a_view_stands_still() {
    let objects = memory();
    let store = open(&objects);
    let before = filled(&store, &FILES);
    let view = store.view(&orders()).unwrap().unwrap();
    let freed = compact(&store, last());
    assert_eq!((freed.files_before, freed.files_left), (1, 1));
    let read = |view: &View| view.read(Sequence(0)).map(|record| One::of(&record.unwrap())).collect::<Vec<_>>();
    assert_eq!(read(&view), before);
    drop(view);
    assert_tidy(&objects, &store);
    assert_eq!(sequences(&store), [3, 4, 5]);
}

/// Threads that apply, compact, merge and read: every view is one moment, with the newest version of each key, and nothing that was hidden.
#[test]
fn threads() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let objects = memory();
    let store = open_with(&objects, StoreOptions { merge_files: 4, file_bytes: 20_000, ..StoreOptions::default() });
    let mut random = fastrand::Rng::with_seed(seed);
    let ones: Vec<One> = (1..=600_u64)
        .map(|sequence| One {
            sequence,
            key: Some(random.u8(0..20)),
            is_delete: random.u8(0..5) == 0,
            time: sequence.cast_signed(),
            expires: None,
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let newest = |ones: &[One], key: u8| ones.iter().rev().find(|one| one.key == Some(key)).copied();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for some in ones.chunks(5) {
                apply_ones(&store, some);
            }
            is_over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(compact(&store, last()).failed, None);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let Some(view) = store.view(&orders()).unwrap() else { continue };
                    let has = view.cursor().map_or(0, |cursor| cursor.sequence.0) as usize;
                    let found: Vec<One> = view.read(Sequence(0)).map(|record| One::of(&record.unwrap())).collect();
                    for key in 0..20 {
                        let (is, was) = (newest(&found, key), newest(&ones[..has], key));
                        // A tombstone behind its grace may have gone, with all that it hid.
                        assert!(is == was || (is.is_none() && was.is_some_and(|was| was.is_delete)), "{is:?} {was:?}");
                    }
                }
            });
        }
    });
    compact(&store, last());
    assert_eq!(there(&store), left_of(&ones, &last()));
    assert_tidy(&objects, &store);
}
