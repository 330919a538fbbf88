//! Scenario of the catalog: a million segments in each engine, and the questions that a running log asks.
//!
//! Most segments are evicted, as in a log that has run for years; a few wait to be archived. Look-ups are warm: what a
//! process that serves does, not what the first after a reboot does.

use std::time::Duration;

use super::measure::{Latencies, median, rate};
use super::{Bench, Figure, Target, Unit};
use crate::catalog::model::Refused;
use crate::catalog::state::{self, CollectionState, RowWrite, Rows};
use crate::catalog::{
    Assignment, Catalog, CatalogMode, CatalogResult, CursorRow, Engine, Group, LossRow, Mutation, SegmentKey,
    SegmentRow, SegmentStatus,
};
use crate::error::Result;
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

const SEGMENTS: u64 = 1_000_000;
const COLLECTIONS: u64 = 1_000;
const GROUP: u64 = 1_000;
/// One segment of so many waits to be archived.
const SEALED_EVERY: u64 = 40;
/// Records in a segment, a second apart.
const RECORDS: u64 = 1_000;
const LOOK_UPS: u64 = 1_000;
const TRANSITIONS: usize = 1_000;
const SECOND: i64 = 1_000_000;

pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for engine in Engine::ALL.into_iter().filter(|engine| engine.is_built()) {
        figures.extend(measure(bench, engine)?);
    }
    Ok(figures)
}

fn name(number: u64) -> CollectionName {
    CollectionName::new(&format!("collection-{number:04}")).expect("a plain name")
}

/// The segment of this number: collections take turns.
fn row(number: u64) -> SegmentRow {
    let (collection, place) = (number % COLLECTIONS, number / COLLECTIONS);
    let (first, last) = (place * RECORDS + 1, (place + 1) * RECORDS);
    let key = SegmentKey {
        collection: name(collection),
        first: Sequence(first),
        last: Sequence(last),
        generation: Generation(0),
    };
    let at = |sequence: u64| Timestamp(sequence.cast_signed() * SECOND);
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    SegmentRow {
        status: if number.is_multiple_of(SEALED_EVERY) { SegmentStatus::Sealed } else { SegmentStatus::Evicted },
        epoch: Epoch(1),
        directory: "7f3a90c1".to_owned(),
        path: format!("collection-{collection:04}/{first:020}-{last:020}.1.{:08x}.avro", number as u32),
        records: RECORDS,
        bytes: 1 << 20,
        sha256,
        content_digest: sha256,
        timestamp_min: at(first),
        timestamp_max: at(last),
        sealed_at: at(last),
        sealed_change: ChangeNumber(0),
        flushed_at: None,
        archive_key: None,
        key,
    }
}

fn measure(bench: &Bench, engine: Engine) -> Result<Vec<Figure>> {
    let path = bench.folder.join(engine.file_name("catalog"));
    let at = Timestamp(SECOND);
    let catalog = engine.open(&path, CatalogMode::Create)?;
    let (_, load) = bench.timed(|| {
        for group in 0..SEGMENTS / GROUP {
            let rows = (group * GROUP..(group + 1) * GROUP).map(|number| Mutation::InsertSegment(row(number)));
            catalog.apply(&rows.collect::<Vec<_>>(), at, "bench")?;
        }
        Ok(())
    })?;
    drop(catalog);
    let mut opens = Latencies::default();
    for _ in 0..5 {
        opens.push(bench.timed(|| Ok(engine.open(&path, CatalogMode::ReadWrite)?.change_number()?))?.1);
    }
    let catalog = engine.open(&path, CatalogMode::ReadWrite)?;
    let catalog = &*catalog;
    let mut random = fastrand::Rng::with_seed(7);
    let per_collection = SEGMENTS / COLLECTIONS;
    let mut any = || (name(random.u64(..COLLECTIONS)), random.u64(..per_collection * RECORDS) + 1);
    let mut next =
        look_ups(bench, || catalog.segments_by_status(SegmentStatus::Sealed, None, 1).map(|rows| rows.len()))?;
    let mut by_time = look_ups(bench, || {
        let (collection, second) = any();
        let from = Timestamp(second.cast_signed() * SECOND);
        catalog.segments_by_time(&collection, from, from, Sequence::FIRST, 1).map(|rows| rows.len())
    })?;
    let mut holding = look_ups(bench, || {
        let (collection, sequence) = any();
        catalog.segment_holding(&collection, Sequence(sequence)).map(|row| usize::from(row.is_some()))
    })?;
    let (mut ours, mut bare) = transitions(bench, engine, catalog)?;
    let mut grouped = Vec::new();
    let waiting = catalog.segments_by_status(SegmentStatus::Sealed, None, 5 * 100)?;
    for rows in waiting.chunks(100) {
        let group: Vec<_> = rows.iter().map(archiving).collect();
        let (_, took) = bench.timed(|| Ok(catalog.apply(&group, at, "bench")?))?;
        grouped.push(rate(group.len() as u64, took));
    }
    let (_, check) = bench.timed(|| {
        let findings = catalog.check()?;
        assert!(findings.is_empty(), "a bench of a damaged catalog measures nothing: {findings:?}");
        Ok(())
    })?;
    let bytes = bench.fs.metadata(&path)?.len;
    let figure = |what: &str, unit, icecore, limit, target| Figure {
        scenario: "catalog",
        what: format!("{engine}: {what}").into(),
        unit,
        icecore,
        limit,
        target,
    };
    let seconds = |what, took: Duration, target: Option<f64>| {
        figure(what, Unit::Seconds, took.as_secs_f64(), None, target.map(Target::AtMost))
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    Ok(vec![
        figure("insert 1,000,000 segments, 1,000 in a transaction", Unit::Records, rate(SEGMENTS, load), None, None),
        seconds("open", opens.quantile(500), Some(0.1)),
        seconds("next to archive, median", next.quantile(500), Some(0.001)),
        seconds("next to archive, 99 of 100", next.quantile(990), Some(0.001)),
        seconds("by time, median", by_time.quantile(500), Some(0.001)),
        seconds("by time, 99 of 100", by_time.quantile(990), Some(0.001)),
        seconds("by sequence, median", holding.quantile(500), Some(0.001)),
        figure(
            "one durable transition, median, beside the bare engine",
            Unit::Seconds,
            ours.quantile(500).as_secs_f64(),
            Some(bare.quantile(500).as_secs_f64()),
            Some(Target::RatioAtMost(1.2)),
        ),
        figure("transitions, 100 in a transaction", Unit::Records, median(grouped), None, None),
        seconds("check everything", check, None),
        figure("file", Unit::Memory, bytes, None, None),
    ])
}

fn look_ups(bench: &Bench, mut look_up: impl FnMut() -> CatalogResult<usize>) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for turn in 0..LOOK_UPS + 10 {
        let (found, took) = bench.timed(|| Ok(look_up()?))?;
        assert_eq!(found, 1, "a look-up that finds nothing measures nothing");
        if turn >= 10 {
            latencies.push(took);
        }
    }
    Ok(latencies)
}

fn archiving(row: &SegmentRow) -> Mutation {
    Mutation::Transition {
        key: row.key.clone(),
        from: SegmentStatus::Sealed,
        to: SegmentStatus::Archiving,
        archive_key: None,
    }
}

/// Takes down what the rules would keep, and keeps nothing.
struct Recorder<'a> {
    rows: &'a mut dyn Rows,
    writes: Vec<RowWrite>,
}

impl Rows for Recorder<'_> {
    fn change_number(&mut self) -> CatalogResult<ChangeNumber> {
        self.rows.change_number()
    }

    fn segment(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        self.rows.segment(key)
    }

    fn live_overlap(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
        self.rows.live_overlap(key)
    }

    fn collection(&mut self, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
        self.rows.collection(name)
    }

    fn assignment(&mut self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        self.rows.assignment(component, collection)
    }

    fn loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<Option<LossRow>> {
        self.rows.loss(collection, first, last)
    }

    fn cursor(&mut self, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
        self.rows.cursor(collection, sink)
    }

    fn count(&mut self, status: SegmentStatus) -> CatalogResult<u64> {
        self.rows.count(status)
    }

    fn put(&mut self, write: RowWrite) -> CatalogResult<()> {
        self.writes.push(write);
        Ok(())
    }
}

/// Single transitions, and beside each the same rows put by the engine alone into a copy: without the rules, and without
/// what they read.
fn transitions(bench: &Bench, engine: Engine, catalog: &dyn Catalog) -> Result<(Latencies, Latencies)> {
    let path = bench.folder.join(engine.file_name("bare"));
    catalog.copy_to(&path)?;
    let bare = engine.open_to_transact(&path)?;
    let at = Timestamp(SECOND);
    let (mut ours, mut theirs) = (Latencies::default(), Latencies::default());
    for row in catalog.segments_by_status(SegmentStatus::Sealed, None, TRANSITIONS)? {
        let change = [archiving(&row)];
        ours.push(bench.timed(|| Ok(catalog.apply(&change, at, "bench")?))?.1);
        let mut writes = Vec::new();
        let undone = bare.transact(&mut |rows| {
            let mut recorder = Recorder { rows, writes: Vec::new() };
            state::apply(&mut recorder, &[Group { mutations: &change, at, reason: "bench" }])?;
            writes = recorder.writes;
            Err(Refused { what: "only to be taken down".to_owned() }.into())
        });
        assert!(undone.is_err() && writes.len() > 2, "a transition keeps its row, its change and two counts");
        let mut writes = writes.into_iter();
        let mut put = |rows: &mut dyn Rows| {
            writes.by_ref().try_for_each(|write| rows.put(write))?;
            Ok(ChangeNumber(0))
        };
        theirs.push(bench.timed(|| Ok(bare.transact(&mut put)?))?.1);
    }
    Ok((ours, theirs))
}
