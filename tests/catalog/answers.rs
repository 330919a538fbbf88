//! What a catalog answers, to compare with the model.

use icecore::catalog::{
    Assignment, Catalog, CatalogResult, Change, CollectionRow, CursorRow, LossRow, Mutation, SegmentKey, SegmentRow,
    SegmentStatus,
};
use icecore::{ChangeNumber, Sequence, Timestamp};

use crate::workload::{COLLECTIONS, COMPONENTS, Model, STEP, name};

/// The answers to every question.
#[derive(Debug, PartialEq)]
pub struct Answers {
    changes: Vec<Change>,
    segments: Vec<SegmentRow>,
    lists: Vec<Vec<SegmentKey>>,
    holding: Vec<Option<SegmentRow>>,
    collections: Vec<CollectionRow>,
    sequence_max: Vec<Sequence>,
    assignments: Vec<Assignment>,
    losses: Vec<LossRow>,
    cursors: Vec<CursorRow>,
    meta: Option<String>,
    counts: Vec<(SegmentStatus, u64)>,
}

fn keys(rows: Vec<SegmentRow>) -> Vec<SegmentKey> {
    rows.into_iter().map(|row| row.key).collect()
}

impl Answers {
    pub fn of(catalog: &dyn Catalog) -> CatalogResult<Self> {
        let changes = catalog.changes(ChangeNumber(0), usize::MAX)?;
        let segments = catalog.segments(None, None, usize::MAX)?;
        let mut lists = vec![keys(catalog.segments_unflushed(None, usize::MAX)?)];
        for status in SegmentStatus::ALL {
            lists.push(keys(catalog.segments_by_status(status, None, usize::MAX)?));
        }
        let mut holding = Vec::new();
        // A few places in the whole: the first, the last, some between.
        for row in segments.iter().step_by(segments.len() / 16 + 1).chain(segments.last()) {
            let (collection, at) = (&row.key.collection, row.key.first.next());
            holding.extend([catalog.segment(&row.key)?, catalog.segment_holding(collection, at)?]);
            lists.extend([
                keys(catalog.segments_from(collection, at, 5)?),
                keys(catalog.segments_back(collection, at, 5)?),
                keys(catalog.segments(Some(collection), Some(&row.key), 5)?),
                keys(catalog.segments_by_status(row.status, Some(&row.key), 5)?),
                keys(catalog.segments_by_time(collection, row.timestamp_min, row.timestamp_max, at, 5)?),
            ]);
        }
        let (mut sequence_max, mut cursors, mut assignments) = (Vec::new(), Vec::new(), Vec::new());
        for collection in COLLECTIONS.map(name) {
            sequence_max.push(catalog.sequence_max(&collection)?);
            cursors.extend(catalog.cursors(&collection)?);
            for component in COMPONENTS {
                assignments.extend(catalog.assignment(component, &collection)?);
            }
            lists.push(keys(catalog.segments_from(&collection, Sequence(0), usize::MAX)?));
            lists.push(keys(catalog.segments_by_time(
                &collection,
                Timestamp(0),
                Timestamp(i64::MAX),
                Sequence(0),
                9,
            )?));
        }
        assignments.extend(catalog.assignments(None, None, usize::MAX)?);
        Ok(Self {
            changes,
            segments,
            lists,
            holding,
            collections: catalog.collections(None, usize::MAX)?,
            sequence_max,
            assignments,
            losses: catalog.losses(None)?,
            cursors,
            meta: catalog.meta(STEP)?,
            counts: catalog.counts()?,
        })
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

/// Whether a catalog answers every question as the model does, which must be at the same change, and finds nothing wrong
/// with itself.
pub fn compare_all(catalog: &dyn Catalog, model: &Model) -> Result<(), String> {
    compare_with(catalog, model.number, &Answers::of(&model.catalog).map_err(|error| told(&error))?)
}

/// The same, where the answers of the model are at hand.
pub fn compare_with(catalog: &dyn Catalog, number: ChangeNumber, expected: &Answers) -> Result<(), String> {
    let found = Answers::of(catalog).map_err(|error| told(&error))?;
    same("change number", &catalog.change_number().map_err(|error| told(&error))?, &number)?;
    if found != *expected {
        // The first difference says more than all answers.
        for (found, expected) in found.changes.iter().zip(&expected.changes) {
            same("change", found, expected)?;
        }
        for (found, expected) in found.segments.iter().zip(&expected.segments) {
            same("segment", found, expected)?;
        }
        return Err(format!("answers: found {found:?}, expected {expected:?}"));
    }
    same("check", &catalog.check().map_err(|error| told(&error))?, &Vec::new())
}

/// Whether the newest rows, the counts and the changes since a number are the model's.
pub fn compare_newest(catalog: &dyn Catalog, model: &Model, since: ChangeNumber) -> Result<(), String> {
    let compare = || -> CatalogResult<Result<(), String>> {
        let expected = model.catalog.changes(since, usize::MAX)?;
        let mut outcome = same("change number", &catalog.change_number()?, &model.number);
        outcome = outcome.and(same("changes", &catalog.changes(since, usize::MAX)?, &expected));
        outcome = outcome.and(same("counts", &catalog.counts()?, &model.catalog.counts()?));
        outcome = outcome.and(same("meta", &catalog.meta(STEP)?, &model.catalog.meta(STEP)?));
        for change in expected {
            let key = match change.mutation().unwrap() {
                Mutation::InsertSegment(row) => row.key,
                Mutation::Transition { key, .. }
                | Mutation::SetFlushed(key)
                | Mutation::RelocateSegment { key, .. } => key,
                Mutation::SetMeta { .. } => continue,
                _ => {
                    let name = name(&change.subject);
                    outcome = outcome
                        .and(same("collection", &catalog.collection(&name)?, &model.catalog.collection(&name)?))
                        .and(same("cursors", &catalog.cursors(&name)?, &model.catalog.cursors(&name)?))
                        .and(same("losses", &catalog.losses(Some(&name))?, &model.catalog.losses(Some(&name))?));
                    continue;
                }
            };
            outcome = outcome.and(same("segment", &catalog.segment(&key)?, &model.catalog.segment(&key)?));
        }
        Ok(outcome)
    };
    compare().map_err(|error| told(&error))?
}

/// A word for what the newest changes left, the same for the same answers: a child prints it, the parent asks the model.
pub fn digest(catalog: &dyn Catalog) -> CatalogResult<u32> {
    let number = catalog.change_number()?;
    let changes = catalog.changes(ChangeNumber(number.0.saturating_sub(20)), usize::MAX)?;
    let mut text = format!("{number} {changes:?} {:?} {:?}", catalog.counts()?, catalog.meta(STEP)?);
    for change in changes {
        if let Ok(
            Mutation::InsertSegment(SegmentRow { key, .. })
            | Mutation::Transition { key, .. }
            | Mutation::RelocateSegment { key, .. },
        ) = change.mutation()
        {
            text += &format!("{:?}", catalog.segment(&key)?);
        }
    }
    text += &format!("{:?}", catalog.collections(None, usize::MAX)?);
    Ok(crc32c::crc32c(text.as_bytes()))
}

/// An error with its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}
