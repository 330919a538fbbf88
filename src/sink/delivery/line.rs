//! One sink: what is due for it, who works on what, and what became of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::deliver::Delivered;
use super::options::SinksOptions;
use super::status::{SinkFailure, SinkStatus};
use super::{Sink, locked};
use crate::error::{Error, chain};
use crate::types::{ChangeNumber, CollectionName, Sequence};

/// After so many collections failed one after another, with none delivered between, the whole sink rests: it is the sink that fails.
const SINK_FAILS: u32 = 3;

#[derive(Debug)]
pub(super) struct Line {
    pub sink: Arc<dyn Sink>,
    state: Mutex<State>,
    /// Somebody stopped working on a collection.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<CollectionName, Due>,
    working: HashSet<CollectionName>,
    /// The collection that was taken last: the next in order is next.
    last: Option<CollectionName>,
    /// Collections that are delivered anew, from the beginning, by this process.
    anew: HashMap<CollectionName, Anew>,
    /// Failures one after another, of whatever collection.
    in_a_row: u32,
    rests_until: Duration,
    figures: Figures,
    last_failure: Option<SinkFailure>,
}

/// A collection that the sink lost, and gets again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anew {
    /// The newest change when it began.
    pub since: ChangeNumber,
    /// How far it has come.
    pub reached: Sequence,
}

#[derive(Clone, Copy, Debug, Default)]
struct Due {
    failures: u32,
    /// On the monotonic clock.
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    attempts: u64,
    failures: u64,
    batches: u64,
    records: u64,
    bytes: u64,
}

/// The right to deliver a collection to a sink: nobody else does meanwhile.
#[derive(Debug)]
pub(super) struct Work<'a> {
    line: &'a Line,
    pub collection: CollectionName,
    failures: u32,
}

impl Line {
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, state: Mutex::default(), freed: Condvar::new() }
    }

    pub fn name(&self) -> &str {
        self.sink.name()
    }

    /// There is more of a collection, or may be. One that rests goes on resting.
    pub fn note(&self, collection: &CollectionName) {
        let mut state = locked(&self.state);
        if !state.due.contains_key(collection) {
            state.due.insert(collection.clone(), Due::default());
        }
    }

    /// Takes what is due now: each collection in its turn. Where many failed one after another, the turn goes to any other one, by `random`: those of
    /// a directory that is away may be neighbours, and must not keep the others waiting.
    pub fn take_due(&self, now: Duration, random: u64) -> Option<Work<'_>> {
        let mut state = locked(&self.state);
        if state.rests_until > now {
            return None;
        }
        let is_ready =
            |state: &State, name: &CollectionName, due: &Due| due.not_before <= now && !state.working.contains(name);
        let mut last = state.last.clone();
        if state.in_a_row >= SINK_FAILS {
            let ready = || state.due.iter().filter(|(name, due)| is_ready(&state, name, due)).map(|(name, _)| name);
            let place = random.checked_rem(ready().count() as u64).unwrap_or(0);
            last = ready().nth(usize::try_from(place).unwrap_or(0)).cloned();
        }
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = state.due.range((behind, Bound::Unbounded)).chain(state.due.iter());
        let next = next.filter(|(name, due)| is_ready(&state, name, due)).map(|(name, _)| name.clone()).next()?;
        let due = state.due.remove(&next).unwrap_or_default();
        state.last = Some(next.clone());
        Some(self.begin(&mut state, next, due))
    }

    /// Takes one collection, whether or not it rests, waiting while somebody else works on it.
    pub fn take(&self, collection: &CollectionName) -> Work<'_> {
        let state = locked(&self.state);
        let mut state = self
            .freed
            .wait_while(state, |state| state.working.contains(collection))
            .unwrap_or_else(PoisonError::into_inner);
        let due = state.due.remove(collection).unwrap_or_default();
        self.begin(&mut state, collection.clone(), due)
    }

    fn begin(&self, state: &mut State, collection: CollectionName, due: Due) -> Work<'_> {
        state.working.insert(collection.clone());
        state.figures.attempts += 1;
        Work { line: self, collection, failures: due.failures }
    }

    /// Whether nothing is worked on, and nothing is due that does not rest.
    pub fn is_settled(&self, now: Duration) -> bool {
        let state = locked(&self.state);
        let rests = |due: &Due| due.not_before > now || state.rests_until > now;
        state.working.is_empty() && state.due.values().all(rests)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let state = locked(&self.state);
        state.working.is_empty() && state.due.is_empty()
    }

    /// Until somebody stops working on a collection, but no longer than `longest`, where somebody works or something is due.
    pub fn wait_a_little(&self, longest: Duration) {
        let state = locked(&self.state);
        if !(state.working.is_empty() && state.due.is_empty()) {
            drop(self.freed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// How long until something is due; `None` where nothing waits.
    pub fn rest(&self, now: Duration) -> Option<Duration> {
        let state = locked(&self.state);
        let first = state.due.iter().filter(|(name, _)| !state.working.contains(*name));
        let first = first.map(|(_, due)| due.not_before).min()?;
        Some(first.max(state.rests_until).saturating_sub(now))
    }

    pub fn status(&self, now: Duration) -> SinkStatus {
        let rest = self.rest(now).filter(|rest| !rest.is_zero());
        let state = locked(&self.state);
        let Figures { attempts, failures, batches, records, bytes } = state.figures;
        let ended = attempts - state.working.len() as u64;
        SinkStatus {
            sink: self.name().to_owned(),
            attempts,
            failures,
            success_rate: (ended > 0).then(|| (ended - failures.min(ended)) as f64 / ended as f64),
            batches,
            records,
            bytes,
            waiting_collections: (state.due.len() + state.working.len()) as u64,
            failing_collections: state.due.values().filter(|due| due.failures > 0).count() as u64,
            last_failure: state.last_failure.clone(),
            retry_in_ms: rest.map(|rest| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl Work<'_> {
    /// A batch arrived.
    pub fn took(&self, records: u64, bytes: u64) {
        let figures = &mut locked(&self.line.state).figures;
        figures.batches += 1;
        figures.records += records;
        figures.bytes += bytes;
    }

    /// It failed: the collection rests, and where others failed before it, the sink; unless a directory is away, which explains it.
    pub fn failed(mut self, error: &Error, cursor: Option<Sequence>, options: &SinksOptions, is_directory_away: bool) {
        self.failures = self.failures.saturating_add(1);
        let now = options.clock.monotonic();
        let mut state = locked(&self.line.state);
        state.figures.failures += 1;
        if !is_directory_away {
            state.in_a_row = state.in_a_row.saturating_add(1);
            if state.in_a_row >= SINK_FAILS {
                state.rests_until = now + options.rest(state.in_a_row - SINK_FAILS + 1);
            }
        }
        state.last_failure = Some(SinkFailure {
            collection: self.collection.clone(),
            cursor,
            error: chain(error),
            at: options.clock.now(),
            times: self.failures,
        });
        let due = Due { failures: self.failures, not_before: now + options.rest(self.failures) };
        state.due.insert(self.collection.clone(), due);
        drop(state);
        if self.failures.is_power_of_two() {
            let (sink, times) = (self.line.name(), self.failures);
            tracing::warn!(sink, collection = %self.collection, times, error = chain(error), "a sink did not take records");
        }
    }

    /// How far this process has come with delivering the collection anew; `None` where it does not.
    pub fn anew(&self) -> Option<Anew> {
        locked(&self.line.state).anew.get(&self.collection).copied()
    }

    /// It is delivered anew, and has come so far; or it is not any more.
    pub fn set_anew(&self, anew: Option<Anew>) {
        let mut state = locked(&self.line.state);
        match anew {
            Some(anew) => drop(state.anew.insert(self.collection.clone(), anew)),
            None => drop(state.anew.remove(&self.collection)),
        }
    }

    /// Everything that was there arrived. What came meanwhile is due already.
    pub fn done(self, delivered: &Delivered) {
        if delivered.asked {
            let mut state = locked(&self.line.state);
            state.in_a_row = 0;
            state.rests_until = Duration::ZERO;
        }
    }

    /// It was not ended: it is due again.
    pub fn left(self) {
        self.line.note(&self.collection);
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        locked(&self.line.state).working.remove(&self.collection);
        self.line.freed.notify_all();
    }
}
