//! A machine is lost, and everything that was archived comes back.

use std::path::Path;

use super::*;
use crate::archive::manifest::{CollectionEntry, Entry, LossEntry};
use crate::archive::memory_store::{Fault, MemoryStore};
use crate::archive::world::{STORE, World, append, fill, name, numbered, read, read_all};
use crate::archive::{ArchiveReader, ArchivedSegment, Claim, ReaderOptions};
use crate::catalog::{MemoryCatalog, Mutation, SegmentStatus};
use crate::log::Log;
use crate::log::tier::EvictOptions;
use crate::objects::ObjectErrorKind;
use crate::{ErrorKind, ReadOptions};

const BACK: &str = "/back";

/// Tells the archive all that the catalog knows, as an archiver would.
pub(in crate::archive) fn tell(world: &World, store: &Arc<dyn ObjectStore>, log: &Log) -> ManifestMark {
    tell_by(world.clock.clone(), store, log)
}

fn tell_by(clock: Arc<dyn crate::clock::Clock>, store: &Arc<dyn ObjectStore>, log: &Log) -> ManifestMark {
    let catalog = log.catalog();
    let mut claim = Claim::take(Arc::clone(store), log.id(), log.epoch(), clock, None).unwrap();
    let mut entries = Vec::new();
    for row in catalog.collections(None, 1_000).unwrap() {
        entries.push(Entry::Collection(CollectionEntry {
            name: row.name,
            created_at: row.created_at,
            floor: row.floor,
            sealed_through: row.sealed_through,
            settings: row.settings,
            home: None,
        }));
    }
    entries.extend(catalog.losses(None).unwrap().iter().map(|loss| Entry::Loss(LossEntry::from(loss))));
    let rows = catalog.segments(None, None, 1_000).unwrap();
    let archived = rows.iter().filter(|row| row.status == SegmentStatus::Archived);
    entries.extend(archived.map(|row| Entry::Added(ArchivedSegment::from(row))));
    claim.commit(entries).unwrap()
}

/// Two collections with settings and a gap, archived but for what was appended last.
fn archived() -> World {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    fill(&log, "B/ü", 2);
    let change = [
        Mutation::PutCollection { name: name("a"), settings: r#"{"sync":"always"}"#.into() },
        Mutation::RecordLoss { collection: name("gone"), first: Sequence(1), last: Sequence(7) },
        Mutation::AcknowledgeLoss { collection: name("gone"), first: Sequence(1), last: Sequence(7), by: "ops".into() },
    ];
    log.change(&change, "test").unwrap();
    world.archive(&log);
    let store: Arc<dyn ObjectStore> = world.store.clone();
    tell(&world, &store, &log);
    // What is not archived is lost with the machine.
    append(&log, "a", 401..=450);
    log.close().unwrap();
    world
}

/// Nothing of the old machine but the store.
fn options(world: &World, catalog: Arc<MemoryCatalog>) -> RestoreOptions {
    let mut log = world.options_without_archive();
    log.directories = vec![BACK.into()];
    log.catalog = Some(catalog);
    RestoreOptions::new(world.store.clone(), log)
}

fn quietly(options: &RestoreOptions) -> Result<Restored> {
    restore(options, &mut |_| {})
}

fn open(options: &RestoreOptions, reads_through: bool) -> Log {
    let mut log = options.log.clone();
    if reads_through {
        let reader = ArchiveReader::new(Some(Arc::clone(&options.store)), ReaderOptions::default());
        log.archive = Some(Arc::new(reader));
    }
    let log = Log::open(log).unwrap();
    assert_eq!(log.recovery().damaged, []);
    log
}

fn has_everything(log: &Log) {
    assert_eq!(read_all(log, "a"), (1..=400).collect::<Vec<_>>());
    assert_eq!(read_all(log, "B/ü"), (1..=200).collect::<Vec<_>>());
}

fn statuses(options: &RestoreOptions, collection: &str) -> Vec<SegmentStatus> {
    let catalog = options.log.catalog.as_ref().unwrap();
    catalog.segments(Some(&name(collection)), None, 100).unwrap().iter().map(|row| row.status).collect()
}

#[test]
fn everything_archived_comes_back_and_the_log_goes_on() {
    let world = archived();
    let options = options(&world, Arc::default());
    let mut told = Vec::new();
    let restored = restore(&options, &mut |progress| told.push(progress)).unwrap();
    assert_eq!((restored.collections, restored.segments, restored.segments_away), (3, 6, 0));
    assert!(restored.failed.is_empty() && restored.losses.is_empty() && !restored.is_resumed);
    let end = *told.last().unwrap();
    assert_eq!((end.segments, end.segments_total, end.bytes), (6, 6, end.bytes_total));
    assert!(told.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes) && told[0].bytes == 0);
    let log = open(&options, false);
    assert_eq!(log.id().to_string(), restored.log.to_string());
    assert!(log.epoch() > restored.manifest.unwrap().epoch, "{} {}", log.epoch(), restored.manifest.unwrap().epoch);
    has_everything(&log);
    let catalog = options.log.catalog.as_ref().unwrap();
    assert_eq!(catalog.collection(&name("a")).unwrap().unwrap().settings, r#"{"sync":"always"}"#);
    let gap = catalog.losses(Some(&name("gone"))).unwrap();
    assert_eq!(gap[0].acknowledged.as_ref().unwrap().0, "ops");
    let note = catalog.meta(RESTORED).unwrap().unwrap();
    assert!(note.contains("\"manifest\":2") && note.contains(STORE), "{note}");
    // Of the records behind the last archived one nobody knows: the sequence behind it is next.
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
    assert_eq!(log.append(&name("gone"), numbered(8)).unwrap().first, Sequence(8));
    log.seal(None).unwrap();
    // It archives again: the hint is in the catalog, and its claim takes over.
    let hint = serde_json::from_str(&catalog.meta(MANIFEST).unwrap().unwrap()).unwrap();
    let store: Arc<dyn ObjectStore> = world.store.clone();
    let claim = Claim::take(store, log.id(), log.epoch(), world.clock.clone(), Some(hint)).unwrap();
    assert!(claim.epoch() > restored.manifest.unwrap().epoch);
    log.close().unwrap();
    has_nothing_left_to_do(&options);
}

fn has_nothing_left_to_do(options: &RestoreOptions) {
    let error = quietly(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "a log that is whole is not restored over: {error}");
}

#[test]
fn lazily_only_the_catalog_comes_and_records_are_read_through() {
    let world = archived();
    let options = RestoreOptions { lazy: true, ..options(&world, Arc::default()) };
    let restored = quietly(&options).unwrap();
    assert_eq!((restored.segments, restored.segments_away), (0, 6));
    assert_eq!(statuses(&options, "a"), [SegmentStatus::Evicted; 4]);
    let log = open(&options, true);
    has_everything(&log);
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
    let back = log.rehydrate(&crate::log::tier::RehydrateOptions::default(), &mut |_| true).unwrap();
    assert_eq!((back.segments, back.kept.len()), (6, 0));
    log.close().unwrap();
    // Without the archive, reading says that records are elsewhere, and never that there are none.
    let world = archived();
    let options = RestoreOptions { lazy: true, ..self::options(&world, Arc::default()) };
    quietly(&options).unwrap();
    let log = open(&options, false);
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    assert_eq!(reader.try_next().unwrap_err().kind(), ErrorKind::Unavailable);
}

/// A footer for each collection, one request each: where they end is known without the catalog.
#[test]
fn a_lazily_restored_log_knows_its_ends_without_its_catalog() {
    let world = archived();
    let options = RestoreOptions { lazy: true, ..options(&world, Arc::default()) };
    let gets = || world.received().0;
    let before = gets();
    quietly(&options).unwrap();
    // Two manifests (the newest again as the one behind the checkpoint), and the ends of two segments.
    assert!(gets() - before <= 3 + 2, "{}", gets() - before);
    let stubs: Vec<_> =
        world.fs.files().into_iter().filter(|(path, ..)| path.to_string_lossy().ends_with(".stub.avro")).collect();
    assert_eq!(stubs.len(), 2, "{stubs:?}");
    let mut alone = options.log.clone();
    alone.catalog = Some(Arc::new(MemoryCatalog::new()));
    let log = Log::open(alone).unwrap();
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
    assert_eq!(log.append(&name("B/ü"), numbered(201)).unwrap().first, Sequence(201));
}

/// What is not asked for is known, and stays in the archive.
#[test]
fn a_part_comes_back_and_the_rest_is_not_forgotten() {
    let world = archived();
    let base = options(&world, Arc::default());
    let second = |seconds: i64| Some(Timestamp(seconds * 1_000_000));
    let whole = [SegmentStatus::Evicted, SegmentStatus::Archived];
    for (options, expected) in [
        (RestoreOptions { collections: Some(vec![name("a")]), ..base.clone() }, ([1, 1, 1, 1], [0, 0])),
        (RestoreOptions { from: Some(Sequence(250)), ..base.clone() }, ([0, 0, 1, 1], [0, 0])),
        (RestoreOptions { until: Some(Sequence(100)), ..base.clone() }, ([1, 0, 0, 0], [1, 0])),
        (RestoreOptions { from_time: second(101), until_time: second(250), ..base.clone() }, ([0, 1, 1, 0], [0, 1])),
    ] {
        let (catalog, world) = (Arc::new(MemoryCatalog::new()), world.after_kill());
        let mut options = RestoreOptions { store: world.store.clone(), ..options };
        options.log.fs = Arc::new(world.fs.clone());
        options.log.catalog = Some(catalog);
        let restored = quietly(&options).unwrap();
        let as_expected = |here: &[usize]| here.iter().map(|here| whole[*here]).collect::<Vec<_>>();
        assert_eq!(statuses(&options, "a"), as_expected(&expected.0));
        assert_eq!(statuses(&options, "B/ü"), as_expected(&expected.1));
        assert_eq!(restored.segments + restored.segments_away, 6);
        let log = open(&options, true);
        has_everything(&log);
        assert_eq!(log.append(&name("B/ü"), numbered(201)).unwrap().first, Sequence(201));
        let range = ReadOptions { from: Some(Sequence(50)), until: Some(Sequence(60)), ..ReadOptions::default() };
        assert_eq!(read(&log, "a", range), (50..=60).collect::<Vec<_>>());
        log.close().unwrap();
    }
}

#[test]
fn what_was_sealed_and_not_archived_is_told_as_lost() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    world.archive(&log);
    append(&log, "a", 201..=250);
    log.seal(None).unwrap();
    let store: Arc<dyn ObjectStore> = world.store.clone();
    tell(&world, &store, &log);
    log.close().unwrap();
    let options = options(&world, Arc::default());
    let restored = quietly(&options).unwrap();
    assert_eq!(restored.losses, [(name("a"), Sequence(201), Sequence(250))]);
    let log = open(&options, false);
    let report = log.verify(crate::VerifyOptions::default()).unwrap();
    assert!(!report.ok && report.damaged[0].reason.contains("not archived by then"), "{report:?}");
    assert_eq!(log.append(&name("a"), numbered(251)).unwrap().first, Sequence(251), "no sequence is given out twice");
    log.acknowledge_loss(&name("a"), Sequence(201), Sequence(250), "ops").unwrap();
    assert!(log.verify(crate::VerifyOptions { deep: true }).unwrap().ok);
}

/// Killed, or cut off, before each change of the disk and of the catalog, and run again.
#[test]
fn a_restore_that_was_killed_goes_on() {
    let world = archived();
    let begun = World::with(world.fs.clone(), Arc::default());
    let two = vec![BACK.into(), "/back-too".into()];
    let mut first = options(&begun, begun.catalog.clone());
    (first.threads, first.log.directories) = (1, two.clone());
    let images = begun.at_every_step(|| drop(quietly(&first).unwrap()));
    let (mut from_new, mut resumed, mut whole) = (0, 0, 0);
    let marker = Path::new(BACK).join(".icecore/restore.json");
    let identity = Path::new(BACK).join(".icecore/identity.json");
    for image in images {
        let is_there = |path: &Path| image.fs.read(path).is_ok();
        let has_log = is_there(&identity);
        // A catalog in a file would have been removed with what was begun.
        let catalog = if has_log { image.catalog.clone() } else { Arc::default() };
        let mut options = options(&image, catalog);
        (options.threads, options.log.directories) = (2, two.clone());
        if has_log && !is_there(&marker) {
            whole += 1;
        } else {
            let restored = quietly(&options).unwrap();
            assert_eq!((restored.is_resumed, restored.segments), (has_log, 6));
            if has_log { resumed += 1 } else { from_new += 1 }
        }
        let log = open(&options, false);
        has_everything(&log);
        assert_eq!(statuses(&options, "a"), [SegmentStatus::Archived; 4]);
        log.close().unwrap();
    }
    assert!(from_new > 10 && resumed > 10 && whole > 0, "{from_new} {resumed} {whole}");
}

/// Symptom: a restore that was killed and gone on with told no losses, and a manifest that it was not made from. Cause: it told what it had just read, though the
/// catalog was made by the run before. Fix: it tells what the catalog says.
#[test]
fn a_restore_that_goes_on_tells_what_it_is_of() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    world.archive(&log);
    append(&log, "a", 201..=250);
    log.seal(None).unwrap();
    let store: Arc<dyn ObjectStore> = world.store.clone();
    let mark = tell(&world, &store, &log);
    log.close().unwrap();
    let begun = World::with(world.fs.clone(), Arc::default());
    let first = options(&begun, begun.catalog.clone());
    let mut at = None;
    let images = begun.at_every_step(|| at = quietly(&first).unwrap().manifest_at);
    let is_there = |image: &World, name: &str| image.fs.read(&Path::new(BACK).join(".icecore").join(name)).is_ok();
    let mut resumed = 0;
    for image in images.iter().filter(|image| is_there(image, "identity.json") && is_there(image, "restore.json")) {
        // The machine that is not lost after all wrote on.
        Claim::take(image.store.clone(), log.id(), Epoch(9), image.clock.clone(), None).unwrap();
        let restored = quietly(&options(image, image.catalog.clone())).unwrap();
        assert!(restored.is_resumed);
        assert_eq!((restored.manifest, restored.manifest_at), (Some(mark), at));
        assert_eq!(restored.losses, [(name("a"), Sequence(201), Sequence(250))]);
        resumed += 1;
    }
    assert!(resumed > 5, "{resumed}");
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let world = archived();
    let options = options(&world, Arc::default());
    let refused = |what: &str| {
        let error = quietly(&options).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    };
    let put = |path: &str| {
        let path = Path::new(path);
        crate::fs::durable::create_dir_all(&*options.log.fs, path.parent().unwrap()).unwrap();
        crate::fs::durable::replace_small(&*options.log.fs, path, b"x").unwrap();
    };
    let gone = |path: &str| options.log.fs.remove_file(Path::new(path)).unwrap();
    put("/back/readme.txt");
    refused("readme.txt");
    gone("/back/readme.txt");
    put("/back/.icecore/catalog.sqlite");
    refused("catalog.sqlite");
    gone("/back/.icecore/catalog.sqlite");
    put("/back/.icecore/restore.json");
    refused("restore.json cannot be read");
    gone("/back/.icecore/restore.json");
    // One of another archive that was begun.
    let other = archived();
    let copy = MemoryStore::copy_of(&*other.store);
    copy.hook(|_, operation, _| (operation == "head").then_some(Fault::Refused(ObjectErrorKind::Unavailable)));
    let begun = RestoreOptions { store: copy, ..options.clone() };
    assert_eq!(quietly(&begun).unwrap_err().kind(), ErrorKind::Unavailable);
    refused("an unfinished restore of log");
    // No archive, and nothing is made.
    let nothing = RestoreOptions { store: Arc::new(MemoryStore::default()), ..options.clone() };
    assert_eq!(quietly(&nothing).unwrap_err().kind(), ErrorKind::NotFound);
}

/// A store that comes and goes, and objects that are not what they were.
#[test]
fn a_store_that_fails_ends_it_and_a_bad_object_does_not() {
    let world = archived();
    let store = MemoryStore::copy_of(&*world.store);
    let calls = {
        let options = RestoreOptions { store: store.clone(), ..options(&world, Arc::default()) };
        quietly(&RestoreOptions { threads: 1, ..options }).unwrap();
        store.calls()
    };
    for fails_at in (0..calls).step_by(2) {
        let world = World::with(world.after_kill().fs, Arc::default());
        let mut base = options(&world, Arc::default());
        base.log.directories = vec!["/again".into()];
        let options = RestoreOptions { store: store.clone(), ..base };
        store.hook(move |number, _, _| (number == fails_at).then_some(Fault::Refused(ObjectErrorKind::Unavailable)));
        let error = quietly(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        store.unhook();
        quietly(&options).unwrap();
        has_everything(&open(&options, false));
    }
    let keys: Vec<String> = store.objects().into_keys().filter(|key| key.starts_with("a/")).collect();
    store.remove(&keys[0]);
    let mut longer = store.remove(&keys[1]).unwrap().to_vec();
    longer.push(0);
    store.set(&keys[1], longer);
    let mut other = store.remove(&keys[2]).unwrap().to_vec();
    other[100] ^= 1;
    store.set(&keys[2], other);
    let mut base = options(&world, Arc::default());
    base.log.directories = vec!["/damaged".into()];
    let options = RestoreOptions { store, ..base };
    let restored = quietly(&options).unwrap();
    assert_eq!((restored.segments, restored.segments_away), (3, 3));
    let mut failed: Vec<_> = restored.failed.iter().map(|failed| (failed.first_sequence.0, &*failed.key)).collect();
    failed.sort_unstable();
    assert_eq!(failed, [(1, &*keys[0]), (101, &*keys[1]), (201, &*keys[2])]);
    let log = open(&options, false);
    let range = ReadOptions { from: Some(Sequence(301)), ..ReadOptions::default() };
    assert_eq!(read(&log, "a", range), (301..=400).collect::<Vec<_>>());
    assert_eq!(read_all(&log, "B/ü").len(), 200);
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
}

/// A log in real files with a catalog in one, its store, and what is in the archive only.
#[cfg(feature = "sqlite")]
fn with_catalog_in_a_file(place: &Path) -> (LogOptions, Arc<MemoryStore>) {
    let mut options = LogOptions::new([place.join("log")]);
    options.background = false;
    options.cold_bytes = 4 << 10;
    options.catalog_engines = vec![crate::catalog::Engine::Sqlite];
    let log = Log::open(options.clone()).unwrap();
    fill(&log, "a", 4);
    fill(&log, "b", 1);
    let settings = Mutation::PutCollection { name: name("a"), settings: r#"{"sync":"always"}"#.into() };
    log.change(&[settings], "test").unwrap();
    let store = Arc::new(MemoryStore::default());
    for row in log.catalog().segments(None, None, 100).unwrap() {
        let (key, file) = (ArchivedSegment::from(&row).object_key(), log.segment_file(&row).unwrap());
        store.put_if_absent(&key, &crate::objects::Upload::new(&file, row.bytes, row.sha256)).unwrap();
        let step =
            |from, to| Mutation::Transition { key: row.key.clone(), from, to, archive_key: Some(key.to_string()) };
        let (sealed, archiving) = (SegmentStatus::Sealed, SegmentStatus::Archiving);
        log.change(&[step(sealed, archiving), step(archiving, SegmentStatus::Archived)], "test").unwrap();
    }
    let shared: Arc<dyn ObjectStore> = store.clone();
    tell_by(options.clock.clone(), &shared, &log);
    options.archive = Some(Arc::new(ArchiveReader::new(Some(shared), ReaderOptions::default())));
    (options, store)
}

#[cfg(feature = "sqlite")]
#[test]
fn a_lost_catalog_is_made_anew_from_directories_and_archive() {
    let place = tempfile::tempdir().unwrap();
    let (options, store) = with_catalog_in_a_file(place.path());
    let log = Log::open(options.clone()).unwrap();
    let older_than = Some(Timestamp(250 * 1_000_000));
    let evict = EvictOptions { collections: vec![name("a")], older_than, ..EvictOptions::default() };
    assert_eq!(log.evict(&evict, &mut |_| true).unwrap().segments, 2);
    // Sealed, and not archived.
    append(&log, "b", 101..=150);
    log.seal(None).unwrap();
    log.close().unwrap();
    drop(log);
    let catalog = place.path().join("log/.icecore/catalog.sqlite");
    for suffix in ["", "-wal", "-shm"] {
        let path = Path::new(&format!("{}{suffix}", catalog.display())).to_path_buf();
        let _ = options.fs.remove_file(&path);
    }
    let shared: Arc<dyn ObjectStore> = store.clone();
    let other = RestoreOptions::new(MemoryStore::copy_of(&*archived().store), options.clone());
    let error = rebuild_catalog(&options, &other.store, &BTreeMap::new(), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for dry_run in [true, false] {
        let report = rebuild_catalog(&options, &shared, &BTreeMap::new(), dry_run).unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!((report.segments, report.from_footers, report.from_archive), (6, 4, 5), "{report:?}");
    }
    let log = Log::open(options.clone()).unwrap();
    let statuses = |collection: &str| {
        let rows = log.catalog().segments(Some(&name(collection)), None, 100).unwrap();
        rows.iter().map(|row| row.status).collect::<Vec<_>>()
    };
    use SegmentStatus::{Archived, Evicted, Sealed};
    assert_eq!(statuses("a"), [Evicted, Evicted, Archived, Archived]);
    assert_eq!(statuses("b"), [Archived, Sealed]);
    assert_eq!(log.catalog().collection(&name("a")).unwrap().unwrap().settings, r#"{"sync":"always"}"#);
    assert_eq!(read_all(&log, "a"), (1..=400).collect::<Vec<_>>());
    assert_eq!(read_all(&log, "b"), (1..=150).collect::<Vec<_>>());
    assert!(log.catalog().losses(None).unwrap().is_empty());
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap().first, Sequence(401));
}

/// A copy of the catalog is whole, is found again by who asks for it, and takes the place of the one before.
#[cfg(feature = "sqlite")]
#[test]
fn the_catalog_itself_is_archived() {
    let place = tempfile::tempdir().unwrap();
    let (options, store) = with_catalog_in_a_file(place.path());
    let log = Log::open(options.clone()).unwrap();
    let shared: Arc<dyn ObjectStore> = store.clone();
    let mut claim = Claim::take(shared, log.id(), log.epoch(), options.clock.clone(), None).unwrap();
    let staging = place.path().join("copy.tmp");
    let mut keys = Vec::new();
    for number in 401..403 {
        append(&log, "a", number..=number);
        log.seal(None).unwrap();
        let made = crate::archive::snapshot(&**log.catalog(), &*store, &*options.fs, &staging).unwrap();
        assert!(options.fs.metadata(&staging).unwrap_err().is_not_found(), "nothing is left behind");
        assert_eq!(made.change, log.catalog().change_number().unwrap());
        claim.commit(vec![Entry::Snapshot(made.clone())]).unwrap();
        assert_eq!(chain::state(&*store).unwrap().snapshot(), Some(&made));
        keys.push(made.key.clone());
        let path = place.path().join(format!("back-{number}.sqlite"));
        let file = options.fs.open(&path, crate::fs::OpenMode::CreateNew).unwrap();
        file.write_all_at(&store.objects()[&made.key], 0).unwrap();
        drop(file);
        let copy = made.engine.open(&path, crate::catalog::CatalogMode::ReadOnly).unwrap();
        assert_eq!(copy.change_number().unwrap(), made.change);
        assert!(copy.check().unwrap().is_empty());
    }
    let report =
        crate::archive::verify(&*store, None, &crate::archive::RemoteVerifyOptions::default(), &mut |_| {}).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.orphans.len(), 1);
    assert_eq!(report.orphans[0].key, keys[0]);
    store.remove(&keys[1]);
    let report =
        crate::archive::verify(&*store, None, &crate::archive::RemoteVerifyOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(report.faults[0].key, Some(keys[1].clone()));
    // One that is in no file has no copy.
    let error = crate::archive::snapshot(&MemoryCatalog::new(), &*store, &*options.fs, &staging).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// Nothing local before, nothing local behind.
#[cfg(feature = "sqlite")]
#[test]
fn an_archive_is_read_without_a_log() {
    let place = tempfile::tempdir().unwrap();
    let (_, store) = with_catalog_in_a_file(place.path());
    let folder = place.path().join("alone");
    let options = LogOptions::new([] as [&Path; 0]);
    let shared: Arc<dyn ObjectStore> = store.clone();
    let reader = ReaderOptions::default();
    let only = [name("a")];
    let alone = alone::Alone::open(&shared, BTreeMap::new(), Some(&only), &folder, options.clone(), reader).unwrap();
    let log = alone.log().unwrap();
    assert_eq!(read_all(&log, "a"), (1..=400).collect::<Vec<_>>());
    assert_eq!(log.collections().unwrap().len(), 1);
    assert_eq!(log.append(&name("a"), numbered(401)).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(options.fs.metadata(alone.folder()).is_ok());
    drop((log, alone));
    assert!(options.fs.metadata(&folder).unwrap_err().is_not_found());
    // Also where it could not be opened.
    let nothing: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    assert!(alone::Alone::open(&nothing, BTreeMap::new(), None, &folder, options.clone(), reader).is_err());
    assert!(options.fs.metadata(&folder).unwrap_err().is_not_found());
}
