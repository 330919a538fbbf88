//! Local copies go by rules: exactly what is due, nothing that is pinned, and on after a kill.

use super::*;
use crate::ReadOptions;
use crate::archive::world::{append, fill, name, read_all};
use crate::catalog::{CursorRow, Mutation, SegmentStatus};
use crate::clock::Clock as _;
use crate::error::ErrorKind;
use crate::fs::FileSystem as _;
use crate::log::tier::RehydrateOptions;
use crate::types::{Sequence, Timestamp};
use SegmentStatus::{Archived, Evicted};

const AFTER: EvictRules = EvictRules { after: Some(DAY), above_bytes: None };

fn files(world: &World) -> usize {
    world.files_of("a").iter().filter(|file| file.ends_with(".avro")).count()
}

#[test]
fn what_was_archived_long_enough_ago_goes_and_nothing_else() {
    let world = World::new();
    let log = world.open();
    let archiver = evicting(&world, &log, AFTER);
    assert_eq!(archiver.upkeep_wait(), None, "nothing is there");
    fill(&log, "a", 2);
    let report = run(&archiver);
    assert_eq!((report.archived_segments, report.evicted_segments), (2, 0));
    assert_eq!(archiver.upkeep_wait(), Some(DAY));
    world.clock.advance(DAY / 2);
    append(&log, "a", 201..=300);
    log.seal(None).unwrap();
    assert_eq!(run(&archiver).evicted_segments, 0);
    assert_eq!(archiver.upkeep_wait(), Some(DAY / 2), "the older ones are next");
    world.clock.advance(DAY / 2);
    let report = pass(&archiver);
    assert_eq!((report.evicted_segments, world.statuses("a")), (2, vec![Evicted, Evicted, Archived]));
    assert_eq!(archiver.upkeep_wait(), Some(DAY / 2));
    let told = archiver.status().unwrap().evict;
    assert_eq!((told.evicted_segments, told.local_segments, told.kept), (2, 1, vec![]));
    assert_eq!(told.next_at, Some(world.clock.now().saturating_add(DAY / 2)));
    world.clock.advance(DAY / 2);
    assert_eq!(pass(&archiver).evicted_segments, 1);
    assert_eq!((archiver.upkeep_wait(), files(&world)), (None, 1), "the newest leaves a stub");
    assert_eq!(read_all(&log, "a"), (1..=300).collect::<Vec<_>>());
}

#[test]
fn nothing_is_asked_before_something_is_due() {
    let world = World::new();
    let log = world.open();
    let archiver = evicting(&world, &log, AFTER);
    fill(&log, "a", 3);
    run(&archiver);
    let (asked, changes) = (requests(world.store.meter()), log.catalog().change_number().unwrap());
    for _ in 0..10 {
        world.clock.advance(DAY / 20);
        pass(&archiver);
    }
    assert_eq!(requests(world.store.meter()), asked);
    assert_eq!(log.catalog().change_number().unwrap(), changes);
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 5);
    let bytes: Vec<u64> = world.rows("a").iter().map(|row| row.bytes).collect();
    let above = bytes[3] + bytes[4] + bytes[0] / 2;
    let rules = EvictRules { after: None, above_bytes: Some(above) };
    let archiver = evicting(&world, &log, rules);
    let report = run(&archiver);
    assert_eq!((report.archived_segments, report.evicted_segments), (5, 3));
    assert_eq!(world.statuses("a"), [Evicted, Evicted, Evicted, Archived, Archived]);
    assert_eq!(archiver.status().unwrap().evict.local_bytes, bytes[3] + bytes[4]);
    append(&log, "a", 501..=600);
    log.seal(None).unwrap();
    let report = pass(&archiver);
    assert_eq!((report.archived_segments, report.evicted_segments), (1, 1), "as soon as it is too much");
    // What is not archived counts for nothing: it cannot go.
    assert_eq!((pass(&archiver).evicted_segments, archiver.upkeep_wait()), (0, None));
}

#[test]
fn what_is_pinned_stays_and_is_told() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    log.set_hold(&name("a"), hold(1, 100)).unwrap();
    let archiver = evicting(&world, &log, AFTER);
    run(&archiver);
    let mut reader = log.read(&name("a"), ReadOptions { from: Some(Sequence(150)), ..ReadOptions::default() }).unwrap();
    reader.next().unwrap().unwrap();
    log.set_collection_settings(&name("a"), |settings| settings.set("sinks", "s").unwrap()).unwrap();
    let (sequence, epoch) = (Sequence(399), log.epoch());
    let sink = CursorRow { sink: "s".into(), collection: name("a"), epoch, sequence };
    log.change(&[Mutation::SetCursor(sink)], "test").unwrap();
    world.clock.advance(DAY);
    assert_eq!(pass(&archiver).evicted_segments, 1);
    assert_eq!(world.statuses("a"), [Archived, Archived, Evicted, Archived]);
    let kept = archiver.status().unwrap().evict.kept;
    let reasons: Vec<&str> = kept.iter().map(|kept| kept.reason.as_str()).collect();
    assert!(reasons[0].contains("hold"), "{reasons:?}");
    assert!(reasons[1].contains("somebody reads it"), "{reasons:?}");
    assert!(reasons[2].contains("a sink does not have it yet"), "{reasons:?}");
    drop(reader);
    // Not at once: later, and later.
    assert_eq!(pass(&archiver).evicted_segments, 0);
    let wait = archiver.upkeep_wait().unwrap();
    world.clock.advance(wait);
    assert_eq!(pass(&archiver).evicted_segments, 1);
    assert!(archiver.upkeep_wait().unwrap() > wait);
    assert_eq!(world.statuses("a"), [Archived, Evicted, Evicted, Archived]);
}

fn hold(from: u64, until: u64) -> crate::log::LegalHold {
    crate::log::LegalHold {
        name: "case 7".into(),
        by: "legal".into(),
        at: Timestamp(1),
        from: Some(Sequence(from)),
        until: Some(Sequence(until)),
        note: String::new(),
    }
}

#[test]
fn what_the_archive_does_not_have_stays() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    let archiver = evicting(&world, &log, AFTER);
    run(&archiver);
    world.fs.remove_file(&world.object(&world.rows("a")[0])).unwrap();
    world.clock.advance(DAY);
    assert_eq!(pass(&archiver).evicted_segments, 1);
    assert_eq!(world.statuses("a"), [Archived, Evicted]);
    assert!(archiver.status().unwrap().evict.kept[0].reason.contains("does not have it"));
}

#[test]
fn what_was_brought_back_stays_as_long_again() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    let archiver = evicting(&world, &log, AFTER);
    run(&archiver);
    world.clock.advance(DAY);
    assert_eq!(pass(&archiver).evicted_segments, 2);
    log.rehydrate(&RehydrateOptions::default(), &mut |_| true).unwrap();
    assert_eq!(world.statuses("a"), [Archived, Archived]);
    assert_eq!(run(&archiver).evicted_segments, 0);
    assert_eq!(archiver.upkeep_wait(), Some(DAY));
    world.clock.advance(DAY);
    assert_eq!(pass(&archiver).evicted_segments, 2);
}

#[test]
fn killed_at_every_step_it_goes_on_and_evicts_nothing_else() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    run(&evicting(&world, &log, AFTER));
    world.clock.advance(DAY);
    append(&log, "a", 301..=400);
    log.seal(None).unwrap();
    let archiver = evicting(&world, &log, AFTER);
    let images = world.at_every_step(|| {
        let report = run(&archiver);
        assert_eq!((report.archived_segments, report.evicted_segments), (1, 3));
    });
    assert!(images.len() > 10, "{}", images.len());
    for image in images {
        let log = image.open_whole();
        assert_eq!(read_all(&log, "a"), (1..=400).collect::<Vec<_>>());
        let again = evicting(&image, &log, AFTER);
        run(&again);
        assert_eq!(image.statuses("a"), [Evicted, Evicted, Evicted, Archived]);
        assert_eq!(files(&image), 1);
        assert_eq!(read_all(&log, "a"), (1..=400).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_goes_that_could_not_be_read() {
    let world = World::new();
    let log = Log::open(world.options_without_archive()).unwrap();
    let target = TargetStore { remote: None, url: "file:///store".into(), store: world.store.clone() };
    let options = ArchiverOptions { evict: AFTER, ..ArchiverOptions::default() };
    assert_eq!(Archiver::new(&log, vec![target], options).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn one_archiver_for_a_log() {
    let world = World::new();
    let log = world.open();
    let first = evicting(&world, &log, EvictRules::default());
    let another = |log: &Log| {
        let target = TargetStore { remote: None, url: "file:///store".into(), store: world.store.clone() };
        Archiver::new(log, vec![target], ArchiverOptions::default())
    };
    let error = another(&log.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("has an archiver in this process already"), "{error}");
    let purge = || crate::archive::retention::Targets::take(&log, None, [], &(world.clock.clone() as _), None);
    assert_eq!(purge().unwrap_err().kind(), ErrorKind::Locked);
    // Its clones are the same one, and it lives as long as the last of them.
    let clone = first.clone();
    drop(first);
    assert_eq!(another(&log).unwrap_err().kind(), ErrorKind::Locked);
    let running = clone.start().unwrap();
    drop(clone);
    assert_eq!(another(&log).unwrap_err().kind(), ErrorKind::Locked);
    running.stop();
    let next = another(&log).unwrap();
    drop(next);
    let targets = purge().unwrap();
    assert_eq!(another(&log).unwrap_err().kind(), ErrorKind::Locked, "nor beside a purge");
    drop(targets);
    another(&log).unwrap();
}

/// Symptom: a log that was fenced evicted after a restart, as long as nothing was sealed. Cause: that it is fenced was known only to who had tried to write.
/// Fix: what is on record counts too.
#[test]
fn who_was_fenced_evicts_nothing_though_it_is_started_anew() {
    use crate::archive::archiver::claims;
    use crate::archive::fence::FencedBy;
    use crate::archive::{ManifestNumber, WriterId};
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    run(&evicting(&world, &log, AFTER));
    let by = FencedBy { manifest: ManifestNumber(9), epoch: log.epoch(), writer: WriterId([7; 16]), at: Timestamp(1) };
    log.change(&[claims::note_fenced(None, Some("file:///store"), &by)], "fenced").unwrap();
    world.clock.advance(DAY);
    let archiver = evicting(&world, &log, AFTER);
    assert_eq!((pass(&archiver).evicted_segments, run(&archiver).evicted_segments), (0, 0));
    assert_eq!(world.statuses("a"), [Archived, Archived]);
    drop(archiver);
    // In another place it is not fenced.
    log.change(&[claims::note_fenced(None, Some("file:///other"), &by)], "fenced").unwrap();
    assert_eq!(run(&evicting(&world, &log, AFTER)).evicted_segments, 2);
}
