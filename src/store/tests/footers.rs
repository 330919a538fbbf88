//! Footers in memory: as many as fit, and never a wrong answer for it.

use super::*;

fn written(objects: &Arc<FaultyStore>, files: u64) {
    let store = open(objects);
    (0..files).for_each(|n| apply(&store, n * 5, n * 5 + 5).unwrap());
}

fn read_again(objects: &FaultyStore, read: impl Fn()) -> usize {
    let before = objects.calls().len();
    read();
    objects.calls()[before..].iter().filter(|call| call.operation == "get range").count()
}

#[test]
fn no_more_are_kept_than_fit_and_those_used_last_stay() {
    let objects = memory();
    written(&objects, 20);
    let one = {
        let store = open(&objects);
        let view = store.view(&orders()).unwrap().unwrap();
        view.files()[0].row_groups().unwrap();
        store.footers_held().0
    };
    assert!((1000..100_000).contains(&one), "{one}");
    let limit = one * 4 + one / 2;
    let store = open_with(&objects, StoreOptions { merge_files: 0, footer_bytes: limit, ..StoreOptions::default() });
    let view = store.view(&orders()).unwrap().unwrap();
    for _ in 0..3 {
        for file in view.files() {
            let groups = file.row_groups().unwrap();
            assert_eq!(groups[0].rows(), 5);
            assert!(store.footers_held().0 <= limit, "{:?}", store.footers_held());
        }
    }
    assert_eq!(all(&store), records(1..=100));
    let footers = |at: usize| read_again(&objects, || drop(view.files()[at].row_groups().unwrap()));
    assert_eq!(footers(0), 1, "it was used long ago");
    (1..4).for_each(|at| assert_eq!(footers(at), 1));
    assert_eq!(footers(0), 0, "it is here");
    (4..7).for_each(|at| assert_eq!(footers(at), 1));
    assert_eq!((footers(0), footers(1)), (0, 1), "the one that was used since stayed");
    // What a scan needs is known without the footers.
    let rows = |at: usize| read_again(&objects, || assert_eq!(view.files()[at].group_rows().unwrap(), [5]));
    assert_eq!(rows(10), 1);
    (0..10).for_each(|at| drop(view.files()[at].row_groups().unwrap()));
    assert_eq!(rows(10), 0);
    drop(view);
    let held = store.footers_held();
    assert!((2..=4).contains(&held.1), "{held:?}");
    store.clear(&orders()).unwrap();
    assert_eq!(store.footers_held(), (0, 0), "files that are gone have none");
}

#[test]
fn without_room_for_any_everything_is_read_each_time() {
    let objects = memory();
    written(&objects, 3);
    let store = open_with(&objects, StoreOptions { footer_bytes: 0, ..StoreOptions::default() });
    assert_eq!(all(&store), records(1..=15));
    let view = store.view(&orders()).unwrap().unwrap();
    assert_eq!(read_again(&objects, || drop(view.files()[0].row_groups().unwrap())), 1);
    assert_eq!(view.get(b"key-1").unwrap().unwrap().sequence, Sequence(8));
    assert_eq!(store.footers_held(), (0, 0));
}
