//! The power goes, the process, or the store, between any two steps.

use super::*;
use crate::fs::FileSystem;
use crate::fs::simulated::{Cut, SimulatedFileSystem};
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::Fault;

const FILES: [&[&str]; 4] = [&["a", "b", "c!2"], &["a", "-b", "e"], &["a", "-c"], &["d", "e"]];

fn last() -> Moment {
    moment(policy(Some(1), None, Some(10)), 100)
}

/// Two groups at least.
fn small() -> StoreOptions {
    StoreOptions { merge_files: 0, file_bytes: 5_000, ..StoreOptions::default() }
}

/// Nothing that hides anything went before what it hides; what the policy leaves is there; and it can be gone on with.
fn check(store: &ColumnarStore, before: &[One]) -> usize {
    let found = there(store);
    assert!(found.iter().all(|one| before.contains(one)), "{found:?}");
    let left = left_of(before, &last());
    assert!(left.iter().all(|one| found.contains(one)), "{found:?}");
    for key in [b'a', b'b', b'c', b'd', b'e'] {
        let newest = |ones: &[One]| {
            let newest = ones.iter().rev().find(|one| one.key == Some(key)).copied();
            newest.filter(|one| !one.is_delete && one.expires.is_none_or(|at| at > 100))
        };
        assert_eq!(newest(&found), newest(before), "{}", char::from(key));
    }
    let has = before.last().map(|last| last.sequence);
    assert_eq!(cursor(store), has);
    // Everything once more: nothing comes back.
    let again: Vec<Record> = before.iter().map(One::record).collect();
    store.apply(&batch(&orders(), 0, &again, has.unwrap())).unwrap();
    assert_eq!(there(store), found);
    let freed = compact(store, last());
    assert_eq!(freed.failed, None);
    assert_eq!(there(store), left);
    apply_ones(store, &ones(has.unwrap() + 1, &["f"]));
    assert_eq!(there(store).len(), left.len() + 1);
    found.len()
}

#[test]
fn a_power_cut_or_a_kill_at_every_change_of_the_disk() {
    let fs = SimulatedFileSystem::new();
    fs.create_dir(std::path::Path::new("/data")).unwrap();
    fs.sync_dir(std::path::Path::new("/")).unwrap();
    let open = |fs: &SimulatedFileSystem| {
        let homes = DirectoryHomes::to_write(Arc::new(fs.clone()), |_| Ok("/data".into()));
        ColumnarStore::new(LOG, Arc::new(homes), clock(), small())
    };
    let store = open(&fs);
    let before = filled(&store, &FILES);
    let images: Arc<Mutex<Vec<SimulatedFileSystem>>> = Arc::default();
    let taken = Arc::clone(&images);
    fs.observe(Arc::new(move |operation, fs: &SimulatedFileSystem| {
        let random = Cut::Random { seed: operation.index * 7 };
        let mut images = taken.lock().unwrap();
        images.extend([Cut::DropAll, Cut::KeepAll, Cut::OnlyLast, random].map(|cut| fs.crash_image(cut)));
        images.push(fs.kill_image());
    }));
    let freed = compact(&store, last());
    fs.observe_no_more();
    assert!(freed.files_before > freed.files_after && freed.failed.is_none(), "{freed:?}");
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 100, "{}", images.len());
    let mut seen = std::collections::BTreeSet::new();
    for image in &images {
        let store = open(image);
        seen.insert(check(&store, &before));
        store.tidy(&orders()).unwrap();
        let files = image.files().into_iter().filter(|(path, ..)| path.to_string_lossy().ends_with(".parquet")).count();
        assert_eq!(files, store.view(&orders()).unwrap().unwrap().files().len());
    }
    assert!(seen.len() > 2, "each group is a step of its own: {seen:?}");
}

/// Each call of an object store goes wrong: refused, lost, answered by nobody, late.
#[test]
fn a_store_that_fails_at_every_call() {
    let options = small();
    let faults = [Fault::Before(ObjectErrorKind::Failed), Fault::LostAnswer, Fault::LostRequest, Fault::Late(2)];
    let mut failed = 0;
    for fault in faults {
        for at in 1.. {
            let objects = memory();
            let before = filled(&open(&objects), &FILES);
            let store = open_with(&objects, options.clone());
            objects.fail_at(objects.calls().len() as u64 + at, fault);
            let begin = objects.calls().len() as u64;
            let mut order =
                Order { moment: last(), gain_percent: 0, dry_run: false, must_stay: &stays, pace: &mut |_| true };
            let freed = store.compact(&orders(), &mut order).unwrap().unwrap();
            failed += usize::from(freed.failed.is_some());
            let is_over = objects.calls().len() as u64 - begin < at;
            objects.heal();
            objects.settle();
            // What a process finds that starts now, and the same one goes on.
            check(&open_with(&Arc::new(objects.snapshot()), options.clone()), &before);
            check(&store, &before);
            assert!(objects.created().values().all(|times| *times == 1), "no name is used twice");
            // What an unknown outcome left is deleted by the next opening.
            assert_tidy(&objects, &open(&objects));
            if is_over {
                assert!(at > 20, "{at}");
                break;
            }
        }
    }
    assert!(failed > 30, "{failed}");
}

/// The newest state is damaged while the files before it are still there: the one before counts, and all is done again.
#[test]
fn a_damaged_state_brings_nothing_back_that_was_hidden() {
    let objects = memory();
    let before = filled(&open(&objects), &FILES);
    let images: Arc<Mutex<Vec<Arc<FaultyStore>>>> = Arc::default();
    let taken = Arc::clone(&images);
    objects.observe(move |objects, call, _| {
        if call.operation == "delete" {
            taken.lock().unwrap().push(Arc::new(objects.snapshot()));
        }
    });
    compact(&open_with(&objects, small()), last());
    objects.observe(|_, _, _| {});
    let mut fell_back = 0;
    for image in images.lock().unwrap().iter() {
        let (_, states) = keys(image);
        image.plant(states.last().unwrap(), bytes::Bytes::from_static(b"{}"));
        let store = open_with(image, small());
        match store.view(&orders()) {
            Ok(_) => {
                check(&store, &before);
                fell_back += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "nothing is taken for empty"),
        }
    }
    assert!(fell_back > 0);
}
