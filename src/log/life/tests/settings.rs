//! Creating, and settings: in force at once, and after opening again.

use std::time::Duration;

use super::*;
use crate::catalog::{Catalog as _, CatalogError, Mutation};
use crate::fs::simulated::OperationKind;
use crate::journal::PeriodicSync;
use crate::{AppendOptions, CollectionSettings, ErrorKind, SettingFrom, SyncMode};

fn with_sync(mode: SyncMode) -> CollectionSettings {
    CollectionSettings { sync: Some(mode), ..CollectionSettings::default() }
}

/// How many syncs of data `work` makes.
fn syncs(machine: &Machine, work: impl FnOnce()) -> usize {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    machine.fs.observe(Arc::new(move |operation: &Operation, _: &SimulatedFileSystem| {
        if operation.kind == OperationKind::SyncData {
            *counted.lock().unwrap() += 1;
        }
    }));
    work();
    machine.fs.observe_no_more();
    Arc::into_inner(count).unwrap().into_inner().unwrap()
}

#[test]
fn a_created_collection_is_durable_with_settings_assignment_and_folder() {
    let machine = Machine::new();
    let log = machine.open();
    log.create_collection(&name("a/B"), &with_sync(SyncMode::Always)).unwrap();
    let error = log.create_collection(&name("a/B"), &CollectionSettings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(log.collections().unwrap().len(), 1);
    let next = machine.after_power_cut();
    assert!(next.fs.files().iter().any(|(path, ..)| path == Path::new("/data/a~2f~42")), "{:?}", next.fs.files());
    let log = next.open_whole();
    assert_eq!(log.collection_settings(&name("a/B")).unwrap(), with_sync(SyncMode::Always));
    let assigned = next.catalog.assignment("wal", &name("a/B")).unwrap().unwrap();
    assert_eq!((assigned.directory, assigned.from.0), (log.directories()[0].0.clone(), 1));
    assert_eq!(append(&log, "a/B", 10), 1);
}

#[test]
fn a_creation_that_fails_leaves_nothing_and_can_be_tried_again() {
    for retries in [false, true] {
        let machine = Machine::new();
        let log = machine.open();
        machine.catalog.fail_next(CatalogError::Full { path: "memory".into() });
        let error = log.create_collection(&name("c"), &with_sync(SyncMode::Never)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!((log.collections().unwrap(), log.deleted_collections().unwrap()), (vec![], vec![]));
        assert_eq!(machine.after_kill().open_whole().collections().unwrap(), []);
        if retries {
            log.create_collection(&name("c"), &with_sync(SyncMode::Never)).unwrap();
            assert_eq!(log.collection_settings(&name("c")).unwrap(), with_sync(SyncMode::Never));
        }
        // Else an append makes it, as any other.
        assert_eq!(append(&log, "c", 1), 1);
        log.maintain().unwrap();
        assert!(machine.catalog.assignment("wal", &name("c")).unwrap().is_some());
        assert_eq!(sequences(&log, "c"), [1]);
    }
}

/// Behind each step there is nothing, or a collection with its settings; and it can be used.
#[test]
fn a_crash_while_a_collection_is_created_leaves_it_whole_or_not_at_all() {
    let machine = Machine::new();
    let log = machine.open();
    let images = machine.at_every_step(|| log.create_collection(&name("c"), &with_sync(SyncMode::Always)).unwrap());
    let mut there = 0;
    assert!(images.len() > 3);
    for image in &images {
        let log = image.open_whole();
        match log.collection_settings(&name("c")) {
            Ok(settings) => {
                assert_eq!(settings, with_sync(SyncMode::Always));
                there += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                log.create_collection(&name("c"), &with_sync(SyncMode::Always)).unwrap();
            }
        }
        assert_eq!(append(&log, "c", 1), 1);
    }
    assert!(there > 0, "{} images", images.len());
}

#[test]
fn an_appends_own_mode_wins_over_the_collections_which_wins_over_the_logs() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 1);
    let one = |sync| {
        let options = AppendOptions { sync, ..AppendOptions::default() };
        syncs(&machine, || assert!(log.append_batch(&name("c"), &[put("x")], options).is_ok()))
    };
    assert_eq!(one(None), 1, "the log's mode is per-batch");
    log.set_collection_settings(&name("c"), |settings| settings.sync = Some(SyncMode::Never)).unwrap();
    assert_eq!(one(None), 0);
    assert_eq!(one(Some(SyncMode::Always)), 1);
    assert_eq!(one(None), 0);
    // A stronger mode syncs what was written in the weaker one (D2).
    let before = log.collection_info(&name("c")).unwrap();
    assert!(before.durable < before.written, "{before:?}");
    log.set_collection_settings(&name("c"), |settings| settings.sync = Some(SyncMode::Always)).unwrap();
    assert_eq!(log.collection_info(&name("c")).unwrap().durable, before.written);
    assert_eq!(one(None), 1);
    log.set_collection_settings(&name("c"), |settings| settings.sync = Some(SyncMode::Never)).unwrap();
    log.close().unwrap();
    let log = machine.open();
    assert_eq!(syncs(&machine, || assert!(append(&log, "c", 1) > 0)), 0, "opened again");
    log.set_collection_settings(&name("c"), |settings| settings.sync = None).unwrap();
    assert_eq!(syncs(&machine, || assert!(append(&log, "c", 1) > 0)), 1);
}

#[test]
fn size_and_age_of_its_own_decide_when_a_collection_is_sealed() {
    let machine = Machine::new();
    let mut options = machine.options();
    options.limits.segment_bytes = 1 << 20;
    options.limits.memtable_bytes = 8 << 20;
    options.limits.unsealed_bytes = 16 << 20;
    let log = Log::open(options).unwrap();
    let (small, young) = (name("small"), name("young"));
    let sized = CollectionSettings { seal_bytes: Some(64 << 10), ..CollectionSettings::default() };
    log.create_collection(&small, &sized).unwrap();
    for _ in 0..5 {
        append(&log, "small", 16 << 10);
        append(&log, "other", 16 << 10);
        append(&log, "young", 10);
    }
    log.0.maintain().unwrap();
    let segments = |log: &Log, of: &CollectionName| log.collection_info(of).unwrap().segments;
    assert_eq!((segments(&log, &small), segments(&log, &name("other")), segments(&log, &young)), (2, 0, 0));
    for row in machine.catalog.segments(Some(&small), None, 9).unwrap() {
        assert!(row.records <= 4, "64 KiB at most: {row:?}");
    }
    log.set_collection_settings(&young, |settings| settings.seal_age = Some(Duration::from_secs(60))).unwrap();
    machine.clock.advance(Duration::from_secs(59));
    log.maintain().unwrap();
    assert_eq!(segments(&log, &young), 0);
    machine.clock.advance(Duration::from_secs(2));
    log.maintain().unwrap();
    assert_eq!((segments(&log, &young), segments(&log, &name("other"))), (1, 0));
}

/// Without it, a collection with a size of its own would be looked at once a second only.
#[test]
fn an_append_beyond_its_own_size_wakes_the_sealer() {
    let machine = Machine::new();
    let log = machine.open();
    let sized = CollectionSettings { seal_bytes: Some(64 << 10), ..CollectionSettings::default() };
    log.create_collection(&name("c"), &sized).unwrap();
    let _ = log.0.budget.take_large();
    append(&log, "c", 40 << 10);
    assert!(!log.0.budget.take_large(), "more than the log's size, less than its own");
    append(&log, "c", 40 << 10);
    assert!(log.0.budget.take_large());
    append(&log, "d", 40 << 10);
    assert!(log.0.budget.take_large());
    append(&log, "e", 10);
    assert!(!log.0.budget.take_large());
}

#[test]
fn what_this_program_does_not_know_is_kept_and_shown() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 1);
    log.maintain().unwrap();
    let put_settings = |text: &str| {
        let settings = Mutation::PutCollection { name: name("c"), settings: text.into() };
        machine.catalog.apply(&[settings], Timestamp(1), "a newer program").unwrap();
    };
    put_settings(r#"{"retention.age":"7y","seal.age":"1h"}"#);
    log.set_collection_settings(&name("c"), |settings| settings.seal_bytes = Some(1 << 20)).unwrap();
    let row = machine.catalog.collection(&name("c")).unwrap().unwrap();
    assert_eq!(row.settings, r#"{"retention.age":"7y","seal.age":"1h","seal.bytes":1048576}"#);
    let effective = log.effective_settings(&name("c")).unwrap();
    let shown: Vec<_> = effective.iter().map(|one| (one.key.as_str(), one.value.as_str(), one.from)).collect();
    assert_eq!(
        shown,
        [
            ("sync", "per-batch", SettingFrom::Log),
            ("seal.bytes", "1MiB", SettingFrom::Collection),
            ("seal.age", "1h", SettingFrom::Collection),
            ("retention.bytes", "none", SettingFrom::Log),
            ("retention.records", "none", SettingFrom::Log),
            ("vector.dimensions", "any", SettingFrom::Log),
            ("compact.keep_versions", "all", SettingFrom::Log),
            ("compact.ttl", "none", SettingFrom::Log),
            ("compact.tombstone_grace", "none", SettingFrom::Log),
            ("compact.target_bytes", "16MiB", SettingFrom::Log),
            ("retention.age", "\"7y\"", SettingFrom::NotUnderstood),
        ]
    );
    // A durability that nobody here knows must not silently become a weaker one.
    put_settings(r#"{"sync":"twice"}"#);
    log.close().unwrap();
    let log = machine.open();
    assert_eq!(log.append(&name("c"), put("x")).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(log.effective_settings(&name("c")).unwrap()[9].from, SettingFrom::NotUnderstood);
    let always = AppendOptions { sync: Some(SyncMode::Always), ..AppendOptions::default() };
    log.append_batch(&name("c"), &[put("x")], always).unwrap();
    log.set_collection_settings(&name("c"), |settings| settings.set("sync", "").unwrap()).unwrap();
    assert_eq!(append(&log, "c", 1), 3);
}

#[test]
fn settings_beyond_their_limits_change_nothing() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 1);
    let before = machine.catalog.change_number().unwrap();
    let error = log.set_collection_settings(&name("c"), |settings| settings.seal_bytes = Some(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(log.collection_settings(&name("c")).unwrap(), CollectionSettings::default());
    assert_eq!(machine.catalog.change_number().unwrap(), before);
    let tiny = CollectionSettings { seal_bytes: Some(1), ..CollectionSettings::default() };
    assert_eq!(log.create_collection(&name("d"), &tiny).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(log.set_collection_settings(&name("d"), |_| {}).unwrap_err().kind(), ErrorKind::NotFound);
}

/// The first seal, and recovery, told the catalog of a collection "without settings".
#[test]
fn nobody_overwrites_settings_that_are_there() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 10);
    log.set_collection_settings(&name("c"), |settings| settings.sync = Some(SyncMode::Always)).unwrap();
    log.seal(None).unwrap();
    log.maintain().unwrap();
    let log = machine.after_kill().open_whole();
    assert_eq!(log.collection_settings(&name("c")).unwrap(), with_sync(SyncMode::Always));
}

#[test]
fn without_auto_create_only_created_collections_take_appends() {
    let machine = Machine::new();
    let mut options = machine.options();
    options.auto_create = false;
    let log = Log::open(options).unwrap();
    let error = log.append(&name("c"), put("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hint = error.hint().unwrap();
    assert!(hint.contains("`collection create`") && hint.contains("collections.auto_create"), "{hint}");
    log.create_collection(&name("c"), &CollectionSettings::default()).unwrap();
    assert_eq!(append(&log, "c", 1), 1);
    log.delete_collection(&name("c")).unwrap();
    let error = log.append(&name("c"), put("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("deleted=`"), "{error}");
    log.create_collection(&name("c"), &CollectionSettings::default()).unwrap();
    assert_eq!(append(&log, "c", 1), 2);
}

/// A collection that asks for periodic syncs gets them, though the log itself asks for none.
#[test]
fn one_periodic_collection_makes_journals_sync() {
    let machine = Machine::new();
    let mut options = machine.options();
    options.sync = SyncMode::Never;
    let log = Log::open(options.clone()).unwrap();
    let periodic = |log: &Log| log.0.directories[0].journal.as_ref().unwrap().periodic();
    append(&log, "c", 1);
    assert_eq!(periodic(&log), PeriodicSync::NEVER);
    log.set_collection_settings(&name("c"), |settings| settings.sync = Some(SyncMode::Periodic)).unwrap();
    assert_eq!(periodic(&log), options.periodic);
    log.set_sync_mode(SyncMode::Never).unwrap();
    assert_eq!(periodic(&log), options.periodic);
    log.close().unwrap();
    assert_eq!(periodic(&Log::open(options.clone()).unwrap()), options.periodic);
}

#[test]
fn a_log_that_is_open_to_read_changes_nothing() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 1);
    log.maintain().unwrap();
    let reader = Log::open_read_only(machine.options()).unwrap();
    let kinds = [
        reader.create_collection(&name("d"), &CollectionSettings::default()).unwrap_err().kind(),
        reader.set_collection_settings(&name("c"), |_| {}).unwrap_err().kind(),
        reader.delete_collection(&name("c")).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Invalid; 3]);
    assert_eq!(reader.plan_deletion(&name("c")).unwrap().records, 1);
}
