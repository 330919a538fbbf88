//! Random changes, and all answers of a catalog to compare.

use proptest::prelude::*;

use super::{key, name, row};
use crate::catalog::model::{Assignment, Change, CollectionRow, CursorRow, LossRow};
use crate::catalog::{
    Catalog, CatalogError, CatalogMode, CatalogResult, Engine, MemoryCatalog, Mutation, SegmentRow, SegmentStatus,
};
use crate::types::{ChangeNumber, Epoch, Sequence, Timestamp};

const COLLECTIONS: [&str; 3] = ["b", "a", "ab"];
const COMPONENTS: [&str; 2] = ["wal", "index"];

/// What a catalog answers to every question, over the small world of [`mutations`].
#[derive(Debug, PartialEq)]
pub struct Answers {
    changes: Vec<Change>,
    segments: Vec<SegmentRow>,
    lists: Vec<Vec<String>>,
    holding: Vec<Option<SegmentRow>>,
    collections: Vec<CollectionRow>,
    sequence_max: Vec<Sequence>,
    assignments: Vec<Assignment>,
    losses: Vec<LossRow>,
    cursors: Vec<CursorRow>,
    meta: Vec<Option<String>>,
    counts: Vec<(SegmentStatus, u64)>,
}

impl Answers {
    pub fn of(catalog: &dyn Catalog) -> Self {
        Self::try_of(catalog).unwrap()
    }

    pub fn try_of(catalog: &dyn Catalog) -> CatalogResult<Self> {
        let keys = |rows: Vec<SegmentRow>| super::keys(&rows);
        let segments = catalog.segments(None, None, usize::MAX)?;
        let mut lists = Vec::new();
        for status in SegmentStatus::ALL {
            lists.push(keys(catalog.segments_by_status(status, None, usize::MAX)?));
        }
        for after in &segments {
            lists.push(keys(catalog.segments_by_status(after.status, Some(&after.key), 2)?));
            lists.push(keys(catalog.segments_unflushed(Some(&after.key), 2)?));
            lists.push(keys(catalog.segments(None, Some(&after.key), 2)?));
            assert_eq!(catalog.segment(&after.key)?.as_ref(), Some(after));
        }
        lists.push(keys(catalog.segments_unflushed(None, usize::MAX)?));
        let (mut holding, mut sequence_max, mut cursors, mut meta) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for text in COLLECTIONS {
            let name = name(text);
            for at in 0..40 {
                holding.push(catalog.segment_holding(&name, Sequence(at))?);
            }
            for at in [0, 1, 7, 15, 30, 100] {
                for limit in [1, 3, 1000] {
                    lists.push(keys(catalog.segments_from(&name, Sequence(at), limit)?));
                    lists.push(keys(catalog.segments_back(&name, Sequence(at), limit)?));
                }
                // Beyond what is read in order of sequence, the index of times answers.
                for (from, limit) in [(0, 2), (5, 5000)] {
                    let (from, until) = (Timestamp(from), Timestamp(at.cast_signed()));
                    lists.push(keys(catalog.segments_by_time(&name, from, until, Sequence(at / 2), limit)?));
                }
            }
            lists.push(keys(catalog.segments(Some(&name), None, 1000)?));
            sequence_max.push(catalog.sequence_max(&name)?);
            cursors.extend(catalog.cursors(&name)?);
            meta.push(catalog.meta(text)?);
            for component in COMPONENTS {
                let one = catalog.assignment(component, &name)?;
                lists.push(one.into_iter().map(|row| row.directory).collect());
            }
        }
        meta.push(catalog.meta("epoch")?);
        Ok(Self {
            changes: catalog.changes(ChangeNumber(0), usize::MAX)?,
            segments,
            lists,
            holding,
            collections: catalog.collections(None, usize::MAX)?,
            sequence_max,
            assignments: catalog.assignments(None, None, usize::MAX)?,
            losses: catalog.losses(None)?,
            cursors,
            meta,
            counts: catalog.counts()?,
        })
    }
}

fn segment() -> impl Strategy<Value = SegmentRow> {
    let status = prop_oneof![
        6 => Just(SegmentStatus::Sealed),
        1 => Just(SegmentStatus::Evicted),
        1 => Just(SegmentStatus::Quarantined)
    ];
    let times = (-3_i64..40, prop_oneof![0_i64..3, Just(300), Just(i64::MAX - 100)]);
    (prop::sample::select(&COLLECTIONS[..]), 0_u64..3, 1_u64..3, 0_u32..2, status, times).prop_map(
        |(collection, place, length, generation, status, (min, span))| {
            let (first, last) = (place * 5 + 1, (place + length) * 5);
            SegmentRow {
                key: key(collection, first, last, generation),
                status,
                timestamp_min: Timestamp(min),
                timestamp_max: Timestamp(min + span),
                ..row(collection, first, last)
            }
        },
    )
}

/// A mutation in a small world, so that many meet what others left; many are refused.
pub fn mutation() -> impl Strategy<Value = Mutation> {
    let collection = || prop::sample::select(&COLLECTIONS[..]).prop_map(name);
    let sequence = || (0_u64..45).prop_map(Sequence);
    let range = || (0_u64..4, 0_u64..3).prop_map(|(first, more)| (Sequence(first * 3), Sequence(first * 3 + more)));
    let epoch = || (0_u64..4).prop_map(Epoch);
    let listed = prop::sample::select(&crate::catalog::state::TRANSITIONS[..]);
    let any = (prop::sample::select(&SegmentStatus::ALL[..]), prop::sample::select(&SegmentStatus::ALL[..]));
    let archive_key = prop::option::of("[a-z]{1,3}");
    prop_oneof![
        5 => segment().prop_map(Mutation::InsertSegment),
        9 => (segment(), prop_oneof![9 => listed, 1 => any], archive_key).prop_map(|(row, (from, to), archive_key)| {
            Mutation::Transition { key: row.key, from, to, archive_key }
        }),
        2 => segment().prop_map(|row| Mutation::SetFlushed(row.key)),
        3 => (segment(), prop_oneof![Just("/disk-1"), Just("/2")], prop_oneof![Just("/2"), Just("/disk-1")]).prop_map(
            |(row, from, to)| Mutation::RelocateSegment { key: row.key, from: from.to_owned(), to: to.to_owned() }
        ),
        1 => (collection(), "[{}]{0,2}").prop_map(|(name, settings)| Mutation::PutCollection { name, settings }),
        1 => (prop::sample::select(&COMPONENTS[..]), collection(), "/[12]", epoch(), sequence()).prop_map(
            |(component, collection, directory, epoch, from)| {
                Mutation::Assign { component: component.to_owned(), collection, directory, epoch, from }
            }
        ),
        1 => (collection(), sequence())
            .prop_map(|(collection, sequence)| Mutation::RaiseSealedThrough { collection, sequence }),
        1 => (collection(), sequence()).prop_map(|(collection, sequence)| Mutation::RaiseFloor { collection, sequence }),
        1 => (collection(), range())
            .prop_map(|(collection, (first, last))| Mutation::RecordLoss { collection, first, last }),
        1 => (collection(), range(), "[a-z]").prop_map(|(collection, (first, last), by)| {
            Mutation::AcknowledgeLoss { collection, first, last, by }
        }),
        1 => (collection(), range(), range()).prop_map(|(collection, (first, last), (found_first, found_last))| {
            Mutation::RecoverLoss { collection, first, last, found_first, found_last }
        }),
        1 => (collection(), range(), 0_u64..2, 0_u64..2).prop_map(|(collection, (first, last), before, behind)| {
            let (found_first, found_last) = (Sequence(first.get() + before), Sequence(last.get().saturating_sub(behind)));
            Mutation::RecoverLoss { collection, first, last, found_first, found_last }
        }),
        1 => (collection(), "[st]", epoch(), sequence()).prop_map(|(collection, sink, epoch, sequence)| {
            Mutation::SetCursor(CursorRow { collection, sink, epoch, sequence })
        }),
        1 => (prop::sample::select(&COLLECTIONS[..]), ".{0,3}")
            .prop_map(|(name, value)| Mutation::SetMeta { name: name.to_owned(), value }),
    ]
}

/// Groups of mutations; most groups of several are refused.
pub fn mutations() -> impl Strategy<Value = Vec<Vec<Mutation>>> {
    prop::collection::vec(
        prop_oneof![4 => prop::collection::vec(mutation(), 1), 1 => prop::collection::vec(mutation(), 2..4)],
        1..300,
    )
}

fn told(result: CatalogResult<ChangeNumber>) -> Result<ChangeNumber, String> {
    match result {
        Ok(number) => Ok(number),
        Err(CatalogError::Refused(refused)) => Err(refused.what),
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Every engine of this build, side by side with the model: the same results, the same answers, also after closing.
    #[test]
    fn every_engine_answers_as_the_model_does_across_reopening(groups in mutations(), reopen_every in 1_usize..20) {
        let engines: Vec<Engine> = Engine::ALL.into_iter().filter(|engine| engine.is_built()).collect();
        let places: Vec<_> = engines.iter().map(|engine| super::files::Place::new(*engine)).collect();
        let mut open: Vec<_> = places.iter().map(|place| Some(place.create())).collect();
        let model = MemoryCatalog::new();
        for (step, group) in groups.iter().enumerate() {
            let at = Timestamp(i64::try_from(step).unwrap());
            let expected = told(model.apply(group, at, "random"));
            for (place, open) in places.iter().zip(&mut open) {
                if step % reopen_every == 0 {
                    // Closed before it is opened again.
                    *open = None;
                }
                let catalog = open.get_or_insert_with(|| place.open(CatalogMode::ReadWrite).unwrap());
                prop_assert_eq!(&told(catalog.apply(group, at, "random")), &expected, "{:?}", catalog);
            }
        }
        drop(open);
        let expected = Answers::of(&model);
        for place in &places {
            let catalog = place.open(CatalogMode::ReadOnly).unwrap();
            prop_assert_eq!(&Answers::of(&*catalog), &expected, "{:?}", catalog);
            prop_assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
            // The history alone makes the same catalog again.
            let copy = MemoryCatalog::new();
            for change in catalog.changes(ChangeNumber(0), usize::MAX).unwrap() {
                copy.apply(&[change.mutation().unwrap()], change.at, &change.reason).unwrap();
            }
            prop_assert_eq!(&Answers::of(&copy), &expected);
        }
    }
}

#[test]
fn the_random_world_reaches_what_it_is_meant_to() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let model = MemoryCatalog::new();
    let mut kinds = std::collections::BTreeSet::new();
    let mut statuses = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let model = model.snapshot();
        for group in mutations().new_tree(&mut runner).unwrap().current() {
            if model.apply(&group, Timestamp(0), "").is_ok() {
                kinds.extend(group.iter().map(Mutation::kind));
            }
        }
        statuses.extend(model.segments(None, None, usize::MAX).unwrap().into_iter().map(|row| row.status));
    }
    assert_eq!(kinds.len(), Mutation::KINDS.len(), "{kinds:?}");
    assert_eq!(statuses.len(), SegmentStatus::ALL.len(), "{statuses:?}");
}
