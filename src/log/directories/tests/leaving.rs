//! A directory is drained, forgotten, and comes back.

use super::*;
use crate::ErrorKind;
use crate::fs::FileSystem;
use crate::fs::simulated::Ailment;
use crate::log::directories::{Drained, How};

/// Two directories; `c` is sealed in the first, and lives in the second from now on.
fn with_segments_to_move(segments: usize) -> Machine {
    let machine = Machine::new(&["/a", "/b"]);
    let log = machine.open();
    for _ in 0..segments {
        append(&log, "c", 3000);
        append(&log, "c", 10);
        log.seal(None).unwrap();
    }
    log.maintain().unwrap();
    log.close().unwrap();
    drop(log);
    let second = machine.set().members[1].id.clone();
    machine.reassign(&name("c"), &second);
    machine
}

fn drain(machine: &Machine) -> crate::Result<Drained> {
    Log::drain_directory(&machine.options(), "/a", &mut |_| true)
}

fn segments_below(machine: &Machine, folder: &str) -> usize {
    machine.files_below(folder).iter().filter(|path| path.ends_with(".0.avro")).count()
}

#[test]
fn segments_go_where_their_collection_lives() {
    let machine = with_segments_to_move(3);
    assert_eq!((segments_below(&machine, "/a"), segments_below(&machine, "/b")), (3, 0));
    let drained = drain(&machine).unwrap();
    assert!(drained.is_empty() && drained.segments == 3 && drained.bytes > 0, "{drained:?}");
    assert_eq!((segments_below(&machine, "/a"), segments_below(&machine, "/b")), (0, 3));
    assert!(machine.fs.metadata(Path::new("/a/c")).unwrap_err().is_not_found(), "its empty folder goes too");
    let after = Machine { fs: machine.fs.crash_image(Cut::DropAll), ..machine };
    let log = after.open();
    assert_eq!(sequences(&log, "c"), (1..=6).collect::<Vec<_>>());
    assert!(log.recovery().damaged.is_empty() && log.recovery().steps.is_empty(), "{:?}", log.recovery());
    log.close().unwrap();
    drop(log);
    assert_eq!(drain(&after).unwrap().segments, 0, "done again, nothing is left to do");
}

/// Before every operation of a drain, by a kill and by power cuts: nothing is lost or there twice, and draining again ends well.
#[test]
fn a_drain_can_be_interrupted_anywhere() {
    let machine = with_segments_to_move(2);
    let images = machine.at_each_change(|machine| assert!(drain(machine).unwrap().is_empty()));
    assert!(images.len() > 100);
    let twice = |image: &Machine| segments_below(image, "/a") + segments_below(image, "/b") > 2;
    assert!(images.iter().any(twice), "no crash left a second copy");
    for (index, image) in images.into_iter().enumerate() {
        if index % 3 == 0 {
            let log = image.open();
            assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
            assert_eq!(sequences(&log, "c"), [1, 2, 3, 4]);
            append(&log, "c", 10);
            log.close().unwrap();
        }
        let drained = drain(&image).unwrap();
        assert!(drained.is_empty(), "{drained:?}");
        let after = Machine { fs: image.fs.crash_image(Cut::DropAll), ..image };
        assert_eq!((segments_below(&after, "/a"), segments_below(&after, "/b")), (0, 2));
        assert!(after.set().members[0].is_drained && after.set().is_agreed());
        let log = after.open();
        assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
        assert_eq!(sequences(&log, "c"), (1..=4 + u64::from(index % 3 == 0)).collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_segment_stays_and_is_told() {
    let machine = with_segments_to_move(2);
    let damaged = machine.files_below("/a").into_iter().find(|path| path.ends_with(".0.avro")).unwrap();
    machine.fs.flip(Path::new(&damaged), 1000, 0xff).unwrap();
    let drained = drain(&machine).unwrap();
    assert_eq!((drained.segments, drained.stayed.len(), drained.is_empty()), (1, 1, false));
    assert!(drained.stayed[0].1.contains("not what its row says"), "{drained:?}");
    assert_eq!((segments_below(&machine, "/a"), segments_below(&machine, "/b")), (1, 1));
}

#[test]
fn a_drain_stops_when_told_and_goes_on() {
    let machine = with_segments_to_move(3);
    let mut asked = 0;
    let drained = Log::drain_directory(&machine.options(), "/a", &mut |progress| {
        asked += 1;
        assert!(progress.bytes <= progress.total_bytes);
        asked < 2
    })
    .unwrap();
    assert!(drained.is_interrupted && drained.segments == 1 && !drained.is_empty(), "{drained:?}");
    assert_eq!(drain(&machine).unwrap().segments, 2);
}

#[test]
fn the_only_healthy_directory_is_not_drained() {
    let machine = Machine::new(&["/a"]);
    machine.open().close().unwrap();
    assert_eq!(drain(&machine).unwrap_err().kind(), ErrorKind::Conflict);
    machine.add("/b").unwrap();
    machine.open().close().unwrap();
    drain(&machine).unwrap();
    let error = Log::drain_directory(&machine.options(), "/b", &mut |_| true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Back in service, the other one may go.
    assert_eq!(machine.add("/a").unwrap().how, How::BackInService);
    assert!(!machine.set().members[0].is_drained);
}

#[test]
fn a_drained_and_empty_directory_is_forgotten_without_loss_and_comes_back() {
    let machine = with_segments_to_move(1);
    let forget = |machine: &Machine, which: &str| {
        Log::forget_directory(&machine.options(), which, &mut |plan| {
            assert!(!plan.is_loss(), "{plan:?}");
            true
        })
    };
    let error = forget(&machine, "/a").unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.hint().unwrap().contains("directory drain"), "{error:?}");
    assert_eq!(Log::plan_forget(&machine.options(), "/a").unwrap_err().kind(), ErrorKind::Conflict);
    drain(&machine).unwrap();
    let id = machine.set().members[0].id.clone();
    let images = machine.at_each_change(|machine| {
        let plan = forget(machine, "/a").unwrap().unwrap();
        assert!(plan.id == id && !plan.is_done);
    });
    for image in images {
        // From the directory that stays: the other one is taken away.
        let image = Machine { directories: vec!["/b"], ..image };
        forget(&image, &id).unwrap().unwrap();
        let set = image.set();
        assert!(set.members.len() == 1 && set.newest.forgotten[0].directory == id && set.is_agreed(), "{set:?}");
        let log = image.open();
        assert_eq!((log.directories().len(), sequences(&log, "c")), (1, vec![1, 2]));
        append(&log, "c", 10);
    }
    let there = Machine { directories: vec!["/b"], ..machine };
    assert!(forget(&there, &id).unwrap().unwrap().is_done);
    assert!(forget(&there, "/a").unwrap().unwrap().is_done);
    let added = there.add("/a").unwrap();
    assert_eq!((added.id.as_str(), added.how), (id.as_str(), How::Returned));
    let set = there.set();
    assert!(set.members.len() == 2 && set.newest.forgotten.is_empty() && set.is_agreed(), "{set:?}");
    assert_eq!(sequences(&there.open(), "c"), [1, 2]);
}

#[test]
fn the_first_directory_is_not_forgotten_while_it_holds_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions::new([folder.path().join("a"), folder.path().join("b")]);
    Log::open(options.clone()).unwrap().close().unwrap();
    let first = folder.path().join("a").display().to_string();
    let error = Log::forget_directory(&options, &first, &mut |_| true).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("holds the catalog"), "{error:?}");
    assert!(error.hint().unwrap().contains("backup"), "{error:?}");
    let one = LogOptions::new([folder.path().join("one")]);
    Log::open(one.clone()).unwrap().close().unwrap();
    let first = folder.path().join("one").display().to_string();
    assert!(Log::forget_directory(&one, &first, &mut |_| true).unwrap_err().to_string().contains("only directory"));
    assert_eq!(Log::forget_directory(&one, "nowhere", &mut |_| true).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Two directories, of which the second goes away, with `far` in it: four records in segments, one in the journal. `near` is in the first.
fn with_one_gone() -> (Machine, String) {
    let machine = Machine::new(&["/a", "/b"]);
    let log = machine.open();
    append(&log, "near", 10);
    for _ in 0..2 {
        append(&log, "far", 3000);
        append(&log, "far", 10);
        log.seal(None).unwrap();
    }
    append(&log, "far", 10);
    log.maintain().unwrap();
    log.close().unwrap();
    drop(log);
    let id = machine.set().members[1].id.clone();
    let home = machine.catalog.assignment(COMPONENT, &name("far")).unwrap().unwrap();
    assert_eq!(home.directory, id, "the second collection goes to the second directory");
    machine.fs.rename_new(Path::new("/b"), Path::new("/away")).unwrap();
    machine.fs.sync_dir(Path::new("/")).unwrap();
    (Machine { directories: vec!["/a"], ..machine }, id)
}

fn forget_b(machine: &Machine) -> crate::Result<Option<crate::log::directories::ForgetPlan>> {
    Log::forget_directory(&machine.options(), "/b", &mut |_| true)
}

const NEXT: u64 = (1 << 40) + 5;

fn check_forgotten(machine: &Machine, id: &str) {
    let set = machine.set();
    assert!(set.members.len() == 1 && set.newest.forgotten[0].directory == id && set.is_agreed(), "{set:?}");
    let losses = machine.catalog.losses(Some(&name("far"))).unwrap();
    let ranges: Vec<(u64, u64)> = losses.iter().map(|loss| (loss.first.0, loss.last.0)).collect();
    assert_eq!(ranges, [(1, 2), (3, 4), (5, (1 << 40) + 4)]);
    let log = machine.open();
    assert!(log.recovery().losses.is_empty(), "{:?}", log.recovery());
    let receipt = log.append(&name("far"), NewRecord::payload("on")).unwrap();
    assert_eq!(receipt.first.0, NEXT);
    append(&log, "near", 10);
    assert_eq!((sequences(&log, "near"), sequences(&log, "far")), (vec![1, 2], vec![NEXT]));
    log.close().unwrap();
}

#[test]
fn what_is_given_up_is_told_before() {
    let (machine, id) = with_one_gone();
    let changes = machine.catalog.applies();
    let plan = Log::plan_forget(&machine.options(), &id).unwrap();
    assert_eq!(machine.catalog.applies(), changes);
    let given_up: Vec<_> = plan.segments.iter().map(|gone| (gone.first_sequence.0, gone.last_sequence.0)).collect();
    assert_eq!((given_up, plan.archived), (vec![(1, 2), (3, 4)], 0));
    assert_eq!(plan.bytes, plan.segments.iter().map(|gone| gone.bytes).sum::<u64>());
    let collections: Vec<_> =
        plan.collections.iter().map(|gone| (gone.first_sequence.0, gone.last_sequence.0 + 1)).collect();
    assert_eq!((collections, plan.collections[0].collection.as_str()), (vec![(5, NEXT)], "far"));
    // A no changes nothing but the epoch.
    let mut asked = Vec::new();
    let refused = Log::forget_directory(&machine.options(), "/b", &mut |plan| {
        asked.push(plan.clone());
        false
    });
    assert!(refused.unwrap().is_none());
    assert_eq!(asked, [plan]);
    assert!(machine.catalog.losses(None).unwrap().is_empty() && machine.set().members.len() == 2);
    let log = machine.open();
    assert!(log.append(&name("far"), NewRecord::payload("no")).is_err(), "it takes no appends meanwhile (A3)");
    append(&log, "near", 10);
}

/// Before every operation of a `forget`, of the disk and of the catalog: done again, it ends the same.
#[test]
fn a_forget_can_be_interrupted_anywhere() {
    let (machine, id) = with_one_gone();
    let images = machine.at_each_change(|machine| drop(forget_b(machine).unwrap().unwrap()));
    assert!(images.len() > 50);
    for image in images {
        forget_b(&image).unwrap().unwrap();
        let again = forget_b(&image).unwrap().unwrap();
        assert!(again.is_done && !again.is_loss());
        check_forgotten(&Machine { fs: image.fs.crash_image(Cut::DropAll), ..image }, &id);
    }
}

#[test]
fn what_comes_back_fills_its_losses() {
    let (machine, id) = with_one_gone();
    forget_b(&machine).unwrap().unwrap();
    check_forgotten(&machine, &id);
    machine.fs.rename_new(Path::new("/away"), Path::new("/b")).unwrap();
    let list = Log::list_directories(&machine.options()).unwrap();
    assert_eq!((list[1].state, list[1].reason.is_some()), ("forgotten", true));
    assert_eq!(machine.add("/b").unwrap().how, How::Returned);
    let log = machine.open();
    assert_eq!(sequences(&log, "far"), [1, 2, 3, 4, 5, NEXT]);
    let losses = machine.catalog.losses(Some(&name("far"))).unwrap();
    let ranges: Vec<(u64, u64)> = losses.iter().map(|loss| (loss.first.0, loss.last.0)).collect();
    assert_eq!(ranges, [(6, (1 << 40) + 4)]);
}

/// A directory whose collections all live elsewhere by now, drained with what they had in its journal.
#[test]
fn a_drain_takes_journals_and_segments_along() {
    let machine = Machine::new(&["/a", "/b"]);
    let log = machine.open();
    for collection in ["one", "two", "three", "four"] {
        append(&log, collection, 3000);
        log.seal(None).unwrap();
        append(&log, collection, 10);
    }
    log.close().unwrap();
    drop(log);
    let images = machine.at_each_change(|machine| assert!(drain(machine).unwrap().is_empty()));
    for image in images.into_iter().step_by(7) {
        let drained = drain(&image).unwrap();
        assert!(drained.is_empty(), "{drained:?}");
        Log::forget_directory(&image.options(), "/a", &mut |plan| !plan.is_loss()).unwrap().unwrap();
        let after = Machine { fs: image.fs.crash_image(Cut::DropAll), directories: vec!["/b"], ..image };
        after.fs.rename_new(Path::new("/a"), Path::new("/away")).unwrap();
        let log = after.open();
        assert!(log.recovery().losses.is_empty() && log.recovery().damaged.is_empty(), "{:?}", log.recovery());
        for collection in ["one", "two", "three", "four"] {
            assert_eq!(sequences(&log, collection), [1, 2], "{collection}");
        }
    }
}

/// A disk that can only be read: what it holds is brought away, and it is forgotten without loss.
#[test]
fn a_disk_that_takes_no_writes_is_drained_all_the_same() {
    for ailment in [Ailment::ReadOnly, Ailment::Unwritable] {
        let machine = Machine::new(&["/a", "/b"]);
        let log = machine.open();
        for collection in ["one", "two"] {
            append(&log, collection, 3000);
            log.seal(None).unwrap();
            append(&log, collection, 10);
        }
        log.close().unwrap();
        drop(log);
        machine.fs.fail_place_now("/b", ailment);
        let drained = Log::drain_directory(&machine.options(), "/b", &mut |_| true).unwrap();
        assert!(drained.is_empty() && drained.segments == 1, "{ailment:?}: {drained:?}");
        let list = Log::list_directories(&machine.options()).unwrap();
        assert_eq!((list[1].collections, list[1].segments), (Some(0), Some(0)), "{ailment:?}: {list:?}");
        Log::forget_directory(&machine.options(), "/b", &mut |plan| !plan.is_loss()).unwrap().unwrap();
        machine.fs.fail_place_now("/b", Ailment::Gone);
        let log = Machine { directories: vec!["/a"], ..machine }.open();
        assert!(log.recovery().losses.is_empty() && log.recovery().damaged.is_empty(), "{:?}", log.recovery());
        for collection in ["one", "two"] {
            assert_eq!(sequences(&log, collection), [1, 2], "{ailment:?} {collection}");
        }
    }
}
