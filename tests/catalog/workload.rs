//! The changes that are made: step number `n` of a seed is always the same group, whoever makes it, and always allowed
//! after the steps before it. So a process that goes on needs to know nothing but how many steps are there already.
//!
//! A segment's whole life is drawn when it is born, as a walk along the allowed transitions; each later step does what is due.

use icecore::catalog::state::TRANSITIONS;
use icecore::catalog::{
    Catalog, CatalogResult, CursorRow, MemoryCatalog, Mutation, SegmentKey, SegmentRow, SegmentStatus,
};
use icecore::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

pub const COLLECTIONS: [&str; 5] = ["audit", "Orders/2024", ".hidden", "b", "日本語"];
pub const COMPONENTS: [&str; 2] = ["wal", "index"];
/// The value that says how many steps are done.
pub const STEP: &str = "step";

/// No segment's life is longer, in steps.
const LIFE: u64 = 24;
/// Each step has so many sequences of every collection for itself.
const SEQUENCES: u64 = 100;

/// What happens to a segment, so many steps after its birth.
struct Event {
    after: u64,
    mutation: Mutation,
}

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn random(seed: u64, step: u64, salt: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed ^ (step.wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ salt.rotate_left(48))
}

fn any_collection(random: &mut fastrand::Rng) -> CollectionName {
    name(COLLECTIONS[random.usize(..COLLECTIONS.len())])
}

fn born(random: &mut fastrand::Rng, step: u64, slot: u64) -> SegmentRow {
    let first = step * SEQUENCES + slot * 10 + 1;
    let last = first + random.u64(0..10);
    let collection = any_collection(random);
    let status = match random.u8(0..10) {
        0 => SegmentStatus::Evicted,
        1 => SegmentStatus::Quarantined,
        _ => SegmentStatus::Sealed,
    };
    let time = 1_700_000_000_000_000 + step.cast_signed() * 1000 + random.i64(0..5000);
    SegmentRow {
        path: format!("{collection}/{first}-{last}.0.avro"),
        key: SegmentKey { collection, first: Sequence(first), last: Sequence(last), generation: Generation(0) },
        status,
        epoch: Epoch(step / 50 + 1),
        directory: "/data/".repeat(random.usize(1..30)),
        records: last - first + 1,
        bytes: random.u64(0..1 << 40),
        sha256: [random.u8(..); 32],
        content_digest: [random.u8(..); 32],
        timestamp_min: Timestamp(time),
        timestamp_max: Timestamp(time + random.i64(0..10_000)),
        sealed_at: Timestamp(time + 1),
        sealed_change: ChangeNumber(0),
        flushed_at: None,
        archive_key: (status == SegmentStatus::Evicted).then(|| format!("restored/{first}")),
    }
}

/// The whole life of a segment born in `step`, its birth first.
fn life(random: &mut fastrand::Rng, step: u64, slot: u64) -> Vec<Event> {
    let row = born(random, step, slot);
    let (key, mut status, mut after) = (row.key.clone(), row.status, 0);
    let mut directory = row.directory.clone();
    let mut events = vec![Event { after, mutation: Mutation::InsertSegment(row.clone()) }];
    let flushed = random.bool().then(|| random.u64(0..LIFE));
    for _ in 0..random.usize(0..7) {
        let ways: Vec<_> = TRANSITIONS.iter().filter(|(from, _)| *from == status).collect();
        let Some(&&(from, to)) = ways.get(random.usize(..ways.len().max(1))) else { break };
        after = (after + random.u64(0..4)).min(LIFE - 1);
        let archive_key = (to == SegmentStatus::Archived).then(|| format!("{key}/{after}"));
        events.push(Event { after, mutation: Mutation::Transition { key: key.clone(), from, to, archive_key } });
        if to == SegmentStatus::Replaced {
            let compacted = SegmentRow {
                key: SegmentKey { generation: Generation(1), ..key.clone() },
                status: SegmentStatus::Sealed,
                directory: directory.clone(),
                ..row.clone()
            };
            events.push(Event { after, mutation: Mutation::InsertSegment(compacted) });
        }
        status = to;
        if (status.is_local() || status == SegmentStatus::Quarantined) && random.u8(0..4) == 0 {
            let (from, to) = (directory.clone(), format!("/moved/{}", random.u32(..)));
            directory.clone_from(&to);
            events.push(Event { after, mutation: Mutation::RelocateSegment { key: key.clone(), from, to } });
        }
    }
    events.extend(flushed.map(|after| Event { after, mutation: Mutation::SetFlushed(key) }));
    events
}

fn lives(seed: u64, step: u64) -> Vec<Event> {
    let mut random = random(seed, step, 1);
    let births = match random.u8(0..16) {
        0 => 6,
        1..=4 => 1,
        5..=6 => 2,
        _ => 0,
    };
    (0..births).flat_map(|slot| life(&mut random, step, slot)).collect()
}

fn loss(seed: u64, step: u64) -> Option<(CollectionName, Sequence, Sequence)> {
    let mut random = random(seed, step, 2);
    let first = step * SEQUENCES + 90;
    (random.u8(0..8) == 0).then(|| (any_collection(&mut random), Sequence(first), Sequence(first + random.u64(0..10))))
}

/// The mutations of a step, from 1 on: one to about thirty.
pub fn group(seed: u64, step: u64) -> Vec<Mutation> {
    let mut group: Vec<_> = (step.saturating_sub(LIFE - 1).max(1)..=step)
        .flat_map(|birth| lives(seed, birth).into_iter().filter(move |event| birth + event.after == step))
        .map(|event| event.mutation)
        .collect();
    let mut random = random(seed, step, 3);
    let sequence = Sequence(step * SEQUENCES);
    let collection = any_collection(&mut random);
    let epoch = Epoch(step / 50 + 1);
    match random.u8(0..12) {
        0..=2 => {
            let sink = ["s", "t"][random.usize(..2)].to_owned();
            group.push(Mutation::SetCursor(CursorRow { collection, sink, epoch, sequence }));
        }
        3 | 4 => group.push(Mutation::RaiseSealedThrough { collection, sequence }),
        5 => group.push(Mutation::RaiseFloor { collection, sequence: Sequence(step * SEQUENCES / 2 + 1) }),
        6 | 7 => {
            let component = COMPONENTS[random.usize(..2)].to_owned();
            let directory = format!("/data/{}", random.u8(..));
            group.push(Mutation::Assign { component, collection, directory, epoch, from: sequence });
        }
        8 => group.push(Mutation::PutCollection { name: collection, settings: format!("{{\"step\":{step}}}") }),
        _ => {}
    }
    group.extend(loss(seed, step).map(|(collection, first, last)| Mutation::RecordLoss { collection, first, last }));
    if let Some((collection, first, last)) = step.checked_sub(5).filter(|&step| step > 0).and_then(|at| loss(seed, at))
    {
        group.push(Mutation::AcknowledgeLoss { collection, first, last, by: format!("operator {step}") });
    }
    if let Some((collection, first, last)) = step.checked_sub(9).filter(|&step| step > 0).and_then(|at| loss(seed, at))
    {
        let found_first = Sequence(random.u64(first.get()..=last.get()));
        let found_last = Sequence(random.u64(found_first.get()..=last.get()));
        group.push(Mutation::RecoverLoss { collection, first, last, found_first, found_last });
    }
    group.push(Mutation::SetMeta { name: STEP.to_owned(), value: step.to_string() });
    group
}

/// Does a step.
pub fn apply(catalog: &dyn Catalog, seed: u64, step: u64) -> CatalogResult<ChangeNumber> {
    let at = Timestamp(1_700_000_000_000_000 + step.cast_signed() * 1_000_000);
    catalog.apply(&group(seed, step), at, &format!("step {step}"))
}

/// How many steps a catalog has.
pub fn steps(catalog: &dyn Catalog) -> CatalogResult<u64> {
    Ok(catalog.meta(STEP)?.map_or(0, |text| text.parse().unwrap()))
}

/// The model: a catalog in memory that did the same steps.
pub struct Model {
    seed: u64,
    pub catalog: MemoryCatalog,
    pub step: u64,
    pub number: ChangeNumber,
}

impl Model {
    pub fn new(seed: u64) -> Self {
        Self { seed, catalog: MemoryCatalog::new(), step: 0, number: ChangeNumber(0) }
    }

    /// Whose steps they are.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The model as it is now.
    pub fn snapshot(&self) -> Self {
        Self { seed: self.seed, catalog: self.catalog.snapshot(), step: self.step, number: self.number }
    }

    /// Does the next step.
    pub fn advance(&mut self) -> ChangeNumber {
        self.step += 1;
        self.number = apply(&self.catalog, self.seed, self.step).unwrap_or_else(|error| {
            panic!("the workload is not allowed: seed {}, step {}: {error}", self.seed, self.step)
        });
        self.number
    }

    /// Goes on to the step that ends with this change.
    ///
    /// # Errors
    /// There is none: a group is there in part, or the number went back.
    pub fn advance_to(&mut self, number: ChangeNumber) -> Result<(), String> {
        let before = self.number;
        while self.number < number {
            self.advance();
        }
        if self.number == number {
            return Ok(());
        }
        Err(format!(
            "change `{number}` ends no group: the model was at `{before}`, step {} ends with `{}`",
            self.step, self.number
        ))
    }
}

#[test]
fn every_transition_and_every_kind_of_change_is_made() {
    let mut model = Model::new(7);
    let mut seen = std::collections::BTreeSet::new();
    let mut lengths = std::collections::BTreeSet::new();
    for step in 1..=1500 {
        for mutation in group(7, step) {
            seen.insert(match mutation {
                Mutation::Transition { from, to, .. } => format!("{from} -> {to}"),
                mutation => mutation.kind().to_owned(),
            });
        }
        lengths.insert(group(7, step).len());
        model.advance();
    }
    assert_eq!(seen.len(), TRANSITIONS.len() + Mutation::KINDS.len() - 1, "{seen:?}");
    assert!((1..=15).all(|length| lengths.contains(&length)) && lengths.last() >= Some(&20), "{lengths:?}");
}
