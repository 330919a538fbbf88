//! Sinks that know another log than the one that delivers: it was put back (J6), or what it had lost came back (A4).

use std::path::{Path, PathBuf};

use super::*;
use crate::fs::{EntryKind, FileSystem, OpenMode, durable};
use crate::log::compact::CompactOptions;
use crate::sink::{Batch, Cursor};

/// The log as it is now, with the same sinks.
fn put_by(world: &World) -> World {
    World {
        fs: world.fs.kill_image(),
        catalog: Arc::new(world.catalog.snapshot()),
        clock: Arc::clone(&world.clock),
        one: Arc::clone(&world.one),
        two: Arc::clone(&world.two),
    }
}

fn errors(report: &FlushReport) -> Vec<&str> {
    report.failed.iter().map(|failure| failure.error.as_str()).collect()
}

#[test]
fn a_log_that_was_put_back_and_went_on_is_refused_until_the_sink_is_cleared() {
    // The sink may be of a later opening than the log is now, too.
    for openings in 0..4 {
        let world = World::new();
        let audit = name("audit");
        let (log, sinks) = world.open();
        append(&log, &audit, 50);
        assert_eq!(flush(&sinks, "audit").failed, []);
        log.close().unwrap();
        let back = put_by(&world);
        for _ in 0..openings {
            world.open().0.close().unwrap();
        }
        let (log, sinks) = world.open();
        append(&log, &audit, 50);
        assert_eq!(flush(&sinks, "audit").failed, []);
        log.close().unwrap();

        let (log, sinks) = back.open();
        append(&log, &audit, 20);
        let report = flush(&sinks, "audit");
        let text = "a sink has more than the log: sink=`one`, collection=`audit`, cursor=`100`, end=`70`";
        assert_eq!((errors(&report)[0], report.failed.len()), (text, 2));
        append(&log, &audit, 50);
        // Asked before they are sealed: the cursor is not beyond the end, and nothing tells yet.
        back.clock.advance(Duration::from_secs(120));
        sinks.run_once().unwrap();
        assert!(log.catalog().cursors(&audit).unwrap().iter().all(|row| row.sequence == Sequence(50)));
        let report = flush(&sinks, "audit");
        let text = "a sink has records of another history: sink=`one`, collection=`audit`, cursor=`100`, of epoch=`";
        assert!(errors(&report)[0].starts_with(text) && report.failed.len() == 2, "{report:?}");
        assert_eq!(back.one.held(&audit).records.len(), 100, "nothing was delivered behind it");
        assert_flushed(&log, &audit, 50);
        let Err(error) = log.check_cursor("one", &audit, {
            let cursor = back.one.held(&audit).cursor.unwrap();
            (cursor.epoch, cursor.sequence)
        }) else {
            panic!("the cursor is believed")
        };
        assert!(error.kind() == ErrorKind::Conflict && error.hint().unwrap().contains("icecore flush"), "{error:?}");
        // As the hint says.
        back.one.clear(&audit).unwrap();
        back.two.clear(&audit).unwrap();
        assert_eq!(flush(&sinks, "audit").failed, []);
        assert_has_all(&log, &back.one, &audit);
        assert_has_all(&log, &back.two, &audit);
        assert_flushed(&log, &audit, 120);
    }
}

#[test]
fn a_sink_that_was_forgotten_while_openings_were_merged_begins_anew() {
    let world = World::new();
    let audit = name("audit");
    let (log, sinks) = world.open();
    append(&log, &audit, 20);
    assert_eq!(flush(&sinks, "audit").failed, []);
    log.close().unwrap();
    // Records of one opening are sealed in the next one; then segments of several are merged to one that the cursor is in the middle of.
    for _ in 0..3 {
        let log = Log::open(world.options(&["two"])).unwrap();
        let sinks = world.sinks(&log);
        append(&log, &audit, 20);
        assert_eq!(flush(&sinks, "audit").failed, []);
        append(&log, &audit, 5);
        log.close().unwrap();
    }
    let log = Log::open(world.options(&["two"])).unwrap();
    let sinks = world.sinks(&log);
    assert_eq!(flush(&sinks, "audit").failed, []);
    let (before, now) = (log.catalog().segments(Some(&audit), None, 100).unwrap().len(), || {
        log.catalog().segments_from(&audit, Sequence::FIRST, 100).unwrap()
    });
    log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
    assert_eq!(now().len(), before, "it waits for whom it would pass");
    log.forget_sink(&audit, "one").unwrap();
    log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
    assert!(
        now().len() < before && now()[0].key.last > Sequence(20) && now()[0].epoch > crate::types::Epoch(1),
        "{:?}",
        now()
    );
    log.close().unwrap();
    let (log, sinks) = world.open();
    append(&log, &audit, 10);
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_has_all(&log, &world.one, &audit);
    assert_has_all(&log, &world.two, &audit);
}

/// The segments' files, in order of sequence.
fn segments(fs: &SimulatedFileSystem) -> Vec<PathBuf> {
    let is_segment = |path: &Path| path.starts_with("/data/audit") && path.extension().is_some_and(|end| end == "avro");
    let files = fs.files().into_iter().filter(|(path, kind, _)| *kind == EntryKind::File && is_segment(path));
    files.map(|(path, ..)| path).collect()
}

/// A log of three segments, of which the middle one is away while the sinks pass it. What is to be put back, and where.
fn passed_over(world: &World) -> (PathBuf, Vec<u8>) {
    let audit = name("audit");
    let (log, _) = world.open();
    for _ in 0..3 {
        append(&log, &audit, 30);
        log.seal(None).unwrap();
    }
    log.close().unwrap();
    let path = segments(&world.fs)[1].clone();
    let bytes = world.fs.read(&path).unwrap();
    durable::remove(&world.fs, &path).unwrap();
    (path, bytes)
}

fn put_back(world: &World, (path, bytes): &(PathBuf, Vec<u8>)) {
    let file = world.fs.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    world.fs.sync_dir(path.parent().unwrap()).unwrap();
}

#[test]
fn records_that_come_back_below_a_cursor_reach_the_sinks() {
    let world = World::new();
    let audit = name("audit");
    let away = passed_over(&world);
    let (log, sinks) = world.open();
    assert_eq!(log.catalog().losses(Some(&audit)).unwrap().len(), 1);
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_eq!(world.one.held(&audit).records.len(), 60, "what is left");
    assert_has_all(&log, &world.two, &audit);
    log.close().unwrap();
    put_back(&world, &away);

    // Nothing of it counts as flushed while one sink lacks it, however far the other comes.
    world.one.set_fault(Fault::Dead, &[]);
    let (log, sinks) = world.open();
    append(&log, &audit, 10);
    assert_eq!(flush(&sinks, "audit").failed.len(), 1);
    assert_has_all(&log, &world.two, &audit);
    assert_eq!(world.two.held(&audit).records.len(), 100);
    let row = log.catalog().segment_holding(&audit, Sequence(45)).unwrap().unwrap();
    assert_eq!(row.flushed_at, None);
    log.close().unwrap();

    world.one.set_fault(Fault::None, &[]);
    let (log, sinks) = world.open();
    sinks.run_once().unwrap();
    assert_has_all(&log, &world.one, &audit);
    assert_flushed(&log, &audit, 100);
    // Once.
    let batches = sinks.status()[0].batches;
    append(&log, &audit, 1);
    assert_eq!(flush(&sinks, "audit").failed, []);
    log.close().unwrap();
    let (log, sinks) = world.open();
    assert_eq!(flush(&sinks, "audit"), FlushReport { collections: 1, ..FlushReport::default() });
    assert!(batches > 0);
    assert_has_all(&log, &world.one, &audit);
}

#[test]
fn a_kill_at_any_step_while_records_come_back_loses_and_doubles_nothing() {
    let world = World::new();
    let audit = name("audit");
    let away = passed_over(&world);
    let (log, sinks) = world.open();
    assert_eq!(flush(&sinks, "audit").failed, []);
    log.close().unwrap();
    put_back(&world, &away);
    let images = at_every_step(&world, || {
        let (log, sinks) = world.open();
        assert_eq!(flush(&sinks, "audit").failed, []);
        drop(log);
    });
    assert!(images.len() > 20, "{}", images.len());
    for image in images {
        let (log, sinks) = image.open();
        assert_eq!(flush(&sinks, "audit").failed, []);
        assert_has_all(&log, &image.one, &audit);
        assert_has_all(&log, &image.two, &audit);
        assert_eq!(image.one.held(&audit).records.len(), 90);
        assert_flushed(&log, &audit, 90);
    }
}

/// A sink that cannot be cleared.
#[derive(Debug)]
struct Keeps(Arc<MemorySink>);

impl Sink for Keeps {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        self.0.cursor(collection)
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        self.0.apply(batch)
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        self.0.raise_floor(collection, floor)
    }
}

#[test]
fn a_sink_that_cannot_be_cleared_is_told_of_until_somebody_clears_it() {
    let world = World::new();
    let audit = name("audit");
    let open = || {
        let log = Log::open(world.options(&["one"])).unwrap();
        let options = SinksOptions { clock: world.clock.clone(), ..SinksOptions::default() };
        let sinks = Sinks::new(&log, vec![Arc::new(Keeps(world.one.clone()))], options).unwrap();
        (log, sinks)
    };
    let away = passed_over(&world);
    let (log, sinks) = open();
    assert_eq!(flush(&sinks, "audit").failed, []);
    log.close().unwrap();
    put_back(&world, &away);
    let (log, sinks) = open();
    append(&log, &audit, 10);
    let text =
        "records came back below a sink's cursor: sink=`one`, collection=`audit`, cursor=`90`, records=`31..=60`";
    assert_eq!(errors(&flush(&sinks, "audit")), [text]);
    assert_eq!(sinks.status()[0].last_failure.as_ref().unwrap().error, text);
    assert_eq!(world.one.held(&audit).records.len(), 60);
    world.one.clear(&audit).unwrap();
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_has_all(&log, &world.one, &audit);
    assert_flushed(&log, &audit, 100);
}
