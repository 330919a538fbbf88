//! Verification and status, alone and beside a writer.
#![allow(clippy::disallowed_methods)] // tests damage files behind the log's back

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::catalog::{Catalog, MemoryCatalog, Mutation, SegmentStatus};
use crate::clock::FakeClock;
use crate::log::LogOptions;
use crate::segment::SegmentReader;
use crate::types::{NewRecord, Timestamp};

struct Place {
    folder: tempfile::TempDir,
    catalog: Arc<MemoryCatalog>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), catalog: Arc::default() }
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.folder.path().join("data")]);
        options.clock = Arc::new(FakeClock::at(Timestamp(1_000_000)));
        options.catalog = Some(self.catalog.clone());
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 32 << 10;
        options.limits.memtable_bytes = 256 << 10;
        options.limits.unsealed_bytes = 512 << 10;
        options.cold_bytes = 4 << 10;
        options.block_bytes = 1 << 10;
        options
    }
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn append(log: &Log, collection: &str, count: u64) {
    for number in 0..count {
        log.append(&name(collection), NewRecord::put("key", format!("{number} {}", "x".repeat(50)))).unwrap();
    }
}

/// Two collections, of one two segments and a rest, of the other unsealed records only; closed.
fn filled(place: &Place) -> Log {
    let log = Log::open(place.options()).unwrap();
    for _ in 0..2 {
        append(&log, "a", 60);
        log.seal(None).unwrap();
    }
    append(&log, "a", 10);
    append(&log, "b", 20);
    log
}

const SHALLOW: VerifyOptions = VerifyOptions { deep: false };
const DEEP: VerifyOptions = VerifyOptions { deep: true };

fn costs(report: &VerifyReport) -> Vec<(Option<&str>, u64, u64)> {
    let of = |sequence: Option<Sequence>| sequence.map_or(0, |sequence| sequence.0);
    let costs = report.damaged.iter().map(|damaged| {
        (damaged.collection.as_ref().map(CollectionName::as_str), of(damaged.first_sequence), of(damaged.last_sequence))
    });
    costs.collect()
}

#[test]
fn a_whole_log_is_ok_open_closed_and_from_beside() {
    let place = Place::new();
    let log = filled(&place);
    let check = |log: &Log, journals: u64| {
        for options in [SHALLOW, DEEP] {
            let mut told = Vec::new();
            let report = log.verify_with(options, &mut |progress| told.push(progress)).unwrap();
            assert_eq!(report.damaged, []);
            assert_eq!((report.ok, report.verdict), (true, Verified::Ok));
            assert_eq!((report.records, report.segments, report.journals), (150, 2, journals));
            assert_eq!(told.len(), 2);
            assert_eq!((told[1].segments, told[1].segments_total), (2, 2));
        }
    };
    check(&log, 1);
    check(&Log::open_read_only(place.options()).unwrap(), 1);
    log.close().unwrap();
    check(&Log::open_read_only(place.options()).unwrap(), 1);
    check(&Log::open(place.options()).unwrap(), 2);
}

#[test]
fn the_report_has_the_words_of_the_contract() {
    let place = Place::new();
    let json = serde_json::to_value(filled(&place).verify(SHALLOW).unwrap()).unwrap();
    for word in [
        "ok",
        "records",
        "segments",
        "journals",
        "damaged",
        "gaps",
        "unproven_tail_bytes",
        "dropped_tail_bytes",
        "verdict",
    ] {
        assert!(json.get(word).is_some(), "{word}: {json}");
    }
    assert_eq!(json["verdict"], "OK");
}

#[test]
fn each_damage_of_a_segment_is_named_with_what_it_costs() {
    let place = Place::new();
    let log = filled(&place);
    let row = log.catalog().segments(None, None, 1).unwrap().remove(0);
    let path = log.0.path_of(&row).unwrap();
    let good = std::fs::read(&path).unwrap();
    let entry =
        SegmentReader::open(log.0.fs.open(&path, crate::fs::OpenMode::Read).unwrap()).unwrap().footer().blocks[1];

    let mut flipped = good.clone();
    flipped[entry.offset as usize + 30] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(log.verify(SHALLOW).unwrap().ok, "shallow reads no blocks");
    let report = log.verify(DEEP).unwrap();
    assert_eq!((report.ok, report.verdict), (false, Verified::Damaged));
    assert_eq!(costs(&report), [(Some("a"), entry.held.first.0, entry.held.last.0)]);
    assert_eq!(report.damaged[0].path, path);

    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(costs(&log.verify(SHALLOW).unwrap()), [(Some("a"), 1, 60)], "cut");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(costs(&log.verify(SHALLOW).unwrap()), [(Some("a"), 1, 60)], "missing");
    let other = log.0.path_of(&log.catalog().segments(None, None, 2).unwrap()[1]).unwrap();
    std::fs::copy(other, &path).unwrap();
    assert_eq!(costs(&log.verify(SHALLOW).unwrap()), [(Some("a"), 1, 60)], "another segment's bytes");
    std::fs::write(&path, &good).unwrap();
    assert!(log.verify(DEEP).unwrap().ok);

    let stranger = path.with_file_name("00000000000000000500-00000000000000000510.0.avro");
    std::fs::copy(&path, &stranger).unwrap();
    assert_eq!(log.verify(SHALLOW).unwrap().without_row, [stranger]);
}

#[test]
fn a_hole_is_damage_a_loss_too_and_a_gap_is_not() {
    let place = Place::new();
    let log = filled(&place);
    let row = log.catalog().segments(None, None, 1).unwrap().remove(0);
    let apply = |mutation: Mutation| {
        place.catalog.apply(&[mutation], Timestamp(5), "the disk broke").unwrap();
    };
    let (from, to) = (SegmentStatus::Sealed, SegmentStatus::Quarantined);
    apply(Mutation::Transition { key: row.key, from, to, archive_key: None });
    let report = log.verify(SHALLOW).unwrap();
    assert_eq!(costs(&report), [(Some("a"), 1, 60)]);
    assert!(report.damaged[0].reason.contains("no loss is on record"));
    let (collection, first, last) = (name("a"), Sequence(1), Sequence(60));
    apply(Mutation::RecordLoss { collection: collection.clone(), first, last });
    let report = log.verify(SHALLOW).unwrap();
    assert_eq!(costs(&report), [(Some("a"), 1, 60)]);
    assert!(report.damaged[0].reason.contains("the disk broke"));
    assert_eq!(log.status().unwrap().losses.len(), 1);
    apply(Mutation::AcknowledgeLoss { collection, first, last, by: "ann".into() });
    let report = log.verify(DEEP).unwrap();
    assert_eq!((report.ok, report.verdict, report.damaged.len()), (true, Verified::OkWithGaps, 0));
    assert_eq!(report.gaps[0].acknowledged_by.as_deref(), Some("ann"));
    assert_eq!((log.status().unwrap().losses.len(), log.status().unwrap().gaps.len()), (0, 1));
}

#[test]
fn a_flipped_byte_in_a_journal_is_told_with_its_sequences() {
    let place = Place::new();
    filled(&place).close().unwrap();
    let beside = || Log::open_read_only(place.options()).unwrap();
    let (path, offset) = {
        let log = beside();
        let known = log.0.collection(&name("b")).unwrap();
        let state = known.state();
        let run = state.unsealed.at_or_after(Sequence(7)).unwrap();
        (run.file.path.clone(), run.offset + 20)
    };
    let log = beside();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = log.verify(SHALLOW).unwrap();
    assert!(!report.ok);
    assert!(costs(&report).contains(&(Some("b"), 7, 7)), "{:?}", report.damaged);
    assert!(report.damaged.iter().any(|damaged| damaged.path == path));
}

/// Whatever the writer moves while we look, nothing that is there may be called missing or damaged.
#[test]
fn no_false_alarm_beside_a_busy_writer() {
    let place = Place::new();
    let mut options = place.options();
    options.background = true;
    options.limits.memtable_bytes = 64 << 10;
    let writer = Log::open(options).unwrap();
    append(&writer, "a", 1);
    let beside = Log::open_read_only(place.options()).unwrap();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..12 {
                append(&writer, ["a", "b", "c"][round % 3], 150);
                writer.seal(Some(&name("a"))).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        for (log, options) in [(&writer, SHALLOW), (&beside, DEEP)] {
            scope.spawn(move || {
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Acquire);
                    let report = log.verify(options).unwrap();
                    assert!(report.ok, "{:?}", report.damaged);
                }
            });
        }
    });
    assert_eq!(writer.verify(DEEP).unwrap().records, 1 + 12 * 150);
}

#[test]
fn status_tells_what_keeps_a_journal() {
    let place = Place::new();
    let log = filled(&place);
    let status = log.status().unwrap();
    assert!(status.writing && status.epoch == 1 && status.collections == 2);
    assert_eq!(status.segments.get("sealed"), Some(&2));
    assert_eq!(status.unsealed_records, 30);
    assert!(status.unsealed_bytes > 0 && status.unsealed_bytes_max == 512 << 10);
    assert_eq!((status.refusing.len(), status.sealing_fails.as_ref()), (0, None));
    assert!(status.directories[0].free_bytes.is_some() && !status.directories[0].poisoned);
    let [journal] = &status.journals[..] else { panic!("one journal: {:?}", status.journals) };
    assert_eq!(journal.kind, crate::log::JournalUse::Active);
    assert_eq!(journal.kept_by, [name("b"), name("a")], "most bytes first");
    assert_eq!((journal.live_runs, journal.kept_by_count), (30, 2));
    log.seal(None).unwrap();
    assert_eq!(log.status().unwrap().journals[0].kept_by, []);
    let beside = Log::open_read_only(place.options()).unwrap().status().unwrap();
    assert!(!beside.writing && beside.sync_mode.is_none() && beside.epoch == 1);
    serde_json::to_string(&beside).unwrap();
}
