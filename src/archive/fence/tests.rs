//! Lost answers at every call, and two writers at every interleaving of their calls.

use std::collections::BTreeMap;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::archive::manifest::tests::segment;
use crate::archive::memory_store::{Fault, MemoryStore};
use crate::archive::state::ArchiveState;
use crate::clock::FakeClock;
use crate::objects::ObjectErrorKind;
use crate::types::Timestamp;

fn take(store: &Arc<MemoryStore>, who: u64, hint: Option<ManifestMark>) -> Result<Claim> {
    let clock = Arc::new(FakeClock::at(Timestamp(1_000 + who as i64)));
    Claim::take(Arc::clone(store) as _, LogId([1; 16]), Epoch(1), clock, hint)
}

fn added(who: &str, number: u64) -> Vec<Entry> {
    vec![Entry::Added(segment(who, number * 10 + 1, number * 10 + 10))]
}

fn firsts(state: &ArchiveState, who: &str) -> Vec<u64> {
    let collection = state.collections().get(who);
    collection.map(|found| found.segments.keys().map(|place| place.first.0).collect()).unwrap_or_default()
}

#[test]
fn who_comes_second_takes_over_and_the_first_is_fenced_for_good() {
    let store = Arc::new(MemoryStore::default());
    let mut one = take(&store, 1, None).unwrap();
    one.commit(added("one", 0)).unwrap();
    let mut two = take(&store, 2, Some(*one.newest())).unwrap();
    assert!(two.epoch() > one.epoch());
    two.commit(added("two", 0)).unwrap();
    let before = store.objects().len();
    for _ in 0..2 {
        let error = one.commit(added("one", 1)).unwrap_err();
        assert!(error.kind() == ErrorKind::Fenced && error.to_string().contains("manifest=`3`"), "{error}");
        assert_eq!(one.still_ours().unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(one.checkpoint().unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(one.commit(Vec::new()).unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!(one.fenced_by().unwrap().manifest, ManifestNumber(3));
    assert_eq!(store.objects().len(), before, "the loser wrote nothing");
    two.still_ours().unwrap();
    two.commit(added("two", 1)).unwrap();
    let state = chain::state(&*store).unwrap();
    assert_eq!((firsts(&state, "one"), firsts(&state, "two")), (vec![1], vec![1, 11]));
    // A loser that starts anew takes over again.
    let mut again = take(&store, 3, None).unwrap();
    again.commit(added("one", 1)).unwrap();
    assert_eq!(two.commit(added("two", 2)).unwrap_err().kind(), ErrorKind::Fenced);
    assert!(chain::state(&*store).unwrap().problems().is_empty());
}

#[test]
fn an_epoch_is_never_below_the_one_asked_for() {
    let store = Arc::new(MemoryStore::default());
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
    let mut epochs = Vec::new();
    for wanted in [7, 3, 20, 20] {
        let claim = Claim::take(Arc::clone(&store) as _, LogId([1; 16]), Epoch(wanted), Arc::clone(&clock), None);
        epochs.push(claim.unwrap().epoch().0);
    }
    assert_eq!(epochs, [7, 8, 20, 21]);
}

/// Every manifest is kept from being deleted, checkpoints and those that only take over too.
#[test]
fn manifests_are_retained_where_that_is_asked_for() {
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(FakeClock::at(Timestamp(5_000_000)));
    let (shared, day) = (Arc::clone(&store) as Arc<dyn ObjectStore>, Duration::from_secs(86_400));
    let log = LogId([1; 16]);
    let mut claim = Claim::take_retained(shared, log, Epoch(1), clock.clone(), None, Some(day)).unwrap();
    claim.commit(added("a", 0)).unwrap();
    clock.advance(day);
    claim.checkpoint().unwrap();
    let until = Timestamp(5_000_000).saturating_add(day);
    assert_eq!(store.retained(), [until, until, until.saturating_add(day)]);
    let mut other = take(&store, 2, None).unwrap();
    other.commit(added("a", 1)).unwrap();
    assert_eq!(store.retained().len(), 3);
}

#[test]
fn idle_writers_write_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut claim = take(&store, 1, None).unwrap();
    let mark = claim.commit(added("a", 0)).unwrap();
    assert_eq!(claim.commit(Vec::new()).unwrap(), mark);
    assert_eq!(store.objects().len(), 2);
    let calls = store.calls();
    claim.commit(added("a", 1)).unwrap();
    assert_eq!(store.calls() - calls, 1, "a commit is one request");
}

/// What a caller does that was told of a failure: it tries again, a few times.
fn insistently<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = None;
    for _ in 0..5 {
        match work() {
            Ok(done) => return Ok(done),
            Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("it was tried"))
}

/// One fault of each kind, and two of every pair, at every call of a run: each commit counts once, in order, without holes.
#[test]
fn lost_answers_lose_nothing_and_count_nothing_twice() {
    const FAULTS: [Fault; 6] = [
        Fault::AnswerLost,
        Fault::RequestLost,
        Fault::Late,
        Fault::Refused(ObjectErrorKind::Unavailable),
        Fault::Refused(ObjectErrorKind::Denied),
        Fault::Refused(ObjectErrorKind::Failed),
    ];
    let run = |faults: &BTreeMap<u64, Fault>| {
        let store = Arc::new(MemoryStore::default());
        let scheduled = faults.clone();
        store.hook(move |number, _, _| scheduled.get(&number).copied());
        let mut claim = insistently(|| take(&store, 1, None)).unwrap();
        for number in 0..3 {
            let mark = insistently(|| claim.commit(added("a", number))).unwrap();
            assert_eq!(mark, *claim.newest());
            // What was told to be there is there, whatever else happened.
            let found = chain::read_one(&*store, mark.number);
            assert!(found.is_err() || found.unwrap().unwrap().mark == mark);
        }
        insistently(|| claim.checkpoint()).unwrap();
        insistently(|| claim.commit(added("a", 3))).unwrap();
        insistently(|| claim.still_ours()).unwrap();
        let calls = store.calls();
        store.unhook();
        let mut manifests = 0;
        chain::read(&*store, None, &mut |_| {
            manifests += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(manifests, store.objects().len());
        let state = chain::state(&*store).unwrap();
        assert_eq!(firsts(&state, "a"), [1, 11, 21, 31]);
        assert!(state.problems().is_empty());
        assert_eq!(chain::newest(&*store, None).unwrap().unwrap().1, *claim.newest());
        (calls, manifests)
    };
    let (calls, manifests) = run(&BTreeMap::new());
    assert_eq!(manifests, 6);
    let mut runs = 0;
    for one in 0..calls + 2 {
        for first in FAULTS {
            run(&BTreeMap::from([(one, first)]));
            for two in one + 1..calls + 4 {
                for second in FAULTS {
                    run(&BTreeMap::from([(one, first), (two, second)]));
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 1_000, "{runs}");
}

/// Lets two threads through one store call at a time, in an order that is given.
struct Gate {
    turns: Mutex<Turns>,
    moved: Condvar,
}

#[derive(Default)]
struct Turns {
    /// Who stands at a call, or is done.
    waiting: [bool; 2],
    done: [bool; 2],
    /// Who may make a call now.
    admitted: Option<usize>,
    /// The order that is wanted; behind its end the lowest goes.
    plan: Vec<usize>,
    /// What was chosen, and whether the other could have been.
    taken: Vec<(usize, bool)>,
}

thread_local! {
    static WHO: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

impl Gate {
    fn choose(&self, turns: &mut Turns) {
        let stands = |who: usize| turns.waiting[who] || turns.done[who];
        if turns.admitted.is_some() || !(stands(0) && stands(1)) {
            return;
        }
        let runnable: Vec<usize> = (0..2).filter(|who| turns.waiting[*who]).collect();
        let Some(first) = runnable.first() else { return };
        let planned = turns.plan.get(turns.taken.len()).copied();
        let who = planned.filter(|who| runnable.contains(who)).unwrap_or(*first);
        turns.taken.push((who, runnable.len() == 2));
        turns.admitted = Some(who);
        self.moved.notify_all();
    }

    fn pass(&self) {
        let Some(who) = WHO.get() else { return };
        let mut turns = self.turns.lock().unwrap();
        turns.waiting[who] = true;
        self.choose(&mut turns);
        turns = self.moved.wait_while(turns, |turns| turns.admitted != Some(who)).unwrap();
        turns.waiting[who] = false;
        turns.admitted = None;
        // The call itself comes now, and nobody is admitted before this thread stands at its next one, or is done.
    }

    fn leave(&self, who: usize) {
        let mut turns = self.turns.lock().unwrap();
        turns.done[who] = true;
        self.choose(&mut turns);
    }
}

/// What became of one writer.
#[derive(Debug)]
struct Outcome {
    committed: Vec<u64>,
    fenced: bool,
}

/// Two writers take over and commit a few times each, their calls in the planned order, with a fault of the first one's `fault.0`th put.
fn race(plan: Vec<usize>, fault: Option<(u64, Fault)>, commits: u64) -> (Vec<(usize, bool)>, [Outcome; 2]) {
    let store = Arc::new(MemoryStore::default());
    let gate = Arc::new(Gate { turns: Mutex::new(Turns { plan, ..Turns::default() }), moved: Condvar::new() });
    let puts = AtomicU64::new(0);
    store.hook({
        let gate = Arc::clone(&gate);
        move |_, operation, _| {
            gate.pass();
            let is_firsts_put = WHO.get() == Some(0) && operation == "put";
            let number = if is_firsts_put { puts.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
            fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault)
        }
    });
    let name = |who: usize| ["one", "two"][who];
    let writers: Vec<_> = (0..2)
        .map(|who| {
            let (store, gate) = (Arc::clone(&store), Arc::clone(&gate));
            std::thread::spawn(move || {
                WHO.set(Some(who));
                let mut outcome = Outcome { committed: Vec::new(), fenced: false };
                let mut claim = insistently(|| take(&store, who as u64, None)).unwrap();
                for number in 0..commits {
                    match insistently(|| claim.commit(added(name(who), number))) {
                        Ok(_) => {
                            assert!(!outcome.fenced, "fenced is for good");
                            outcome.committed.push(number * 10 + 1);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                            outcome.fenced = true;
                        }
                    }
                }
                gate.leave(who);
                outcome
            })
        })
        .collect();
    let outcomes: Vec<Outcome> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let outcomes: [Outcome; 2] = outcomes.try_into().unwrap();
    store.unhook();
    // The chain is whole, each number is there once (a store cannot have two), and exactly what was told to count counts.
    let state = chain::state(&*store).unwrap();
    let mut segments = BTreeMap::<String, u32>::new();
    chain::read(&*store, None, &mut |manifest| {
        for entry in manifest.entries {
            let Entry::Added(added) = entry else { continue };
            *segments.entry(added.object_key().to_string()).or_default() += 1;
        }
        Ok(())
    })
    .unwrap();
    assert!(segments.values().all(|times| *times == 1), "{segments:?}");
    for (who, outcome) in outcomes.iter().enumerate() {
        let counts = firsts(&state, name(who));
        // A commit whose answer was lost, and whose writer then found itself fenced, may count: it was never told not to.
        let is_told = counts == outcome.committed
            || (fault.is_some() && who == 0 && outcome.fenced && counts.starts_with(&outcome.committed));
        assert!(is_told, "{counts:?} {outcome:?}");
    }
    assert!(!(outcomes[0].fenced && outcomes[1].fenced), "one of them has it in the end: {outcomes:?}");
    let taken = gate.turns.lock().unwrap().taken.clone();
    (taken, outcomes)
}

/// All orders, by going back to the last choice that could have been another one.
fn all_orders(fault: Option<(u64, Fault)>, commits: u64) -> (u64, bool, bool) {
    let (mut plan, mut runs) = (Vec::new(), 0);
    let (seen_fenced, seen_both) = (AtomicBool::new(false), AtomicBool::new(false));
    loop {
        let (taken, outcomes) = race(plan, fault, commits);
        runs += 1;
        if outcomes.iter().any(|outcome| outcome.fenced) {
            seen_fenced.store(true, Ordering::SeqCst);
        }
        if outcomes.iter().all(|outcome| !outcome.committed.is_empty()) {
            seen_both.store(true, Ordering::SeqCst);
        }
        let Some(last) = taken.iter().rposition(|(who, had_choice)| *had_choice && *who == 0) else {
            return (runs, seen_fenced.into_inner(), seen_both.into_inner());
        };
        plan = taken[..last].iter().map(|(who, _)| *who).chain([1]).collect();
    }
}

#[test]
fn two_writers_in_every_order_of_their_calls() {
    let (runs, fenced, both) = all_orders(None, 3);
    assert!(runs > 100 && fenced && both, "{runs} {fenced} {both}");
}

#[test]
fn two_writers_in_every_order_with_a_lost_answer() {
    // The first one's claim, and its commits.
    for put in 0..3 {
        for fault in [Fault::AnswerLost, Fault::Late] {
            let (runs, fenced, _) = all_orders(Some((put, fault)), 2);
            assert!(runs > 200 && fenced, "{put} {fault:?} {runs}");
        }
    }
}

#[test]
fn checkpoints_come_when_reading_gets_long_and_a_crash_before_one_is_made_good() {
    let store = Arc::new(MemoryStore::default());
    let mut claim = take(&store, 1, None).unwrap();
    for number in 0..254 {
        claim.commit(added("a", number)).unwrap();
    }
    assert_eq!(claim.newest().number, ManifestNumber(255));
    assert!(!is_due(&claim.newest.0));
    claim.commit(added("a", 254)).unwrap();
    // The commit that makes it due writes it, unless it cannot: it counts all the same.
    store.hook(|_, operation, _| (operation == "get").then_some(Fault::Refused(ObjectErrorKind::Unavailable)));
    let mark = claim.commit(added("a", 255)).unwrap();
    assert_eq!(mark.number, ManifestNumber(257));
    claim.commit(added("a", 256)).unwrap();
    store.unhook();
    assert_eq!(claim.newest().number, ManifestNumber(258), "it is not tried at each commit");
    drop(claim);
    // Whoever comes next makes it good.
    let mut next = take(&store, 2, None).unwrap();
    next.commit(added("a", 257)).unwrap();
    let head = next.newest.0.clone();
    assert!(head.checkpoint && head.base_entries == 258 && head.number == ManifestNumber(261), "{head:?}");
    let state = chain::state(&*store).unwrap();
    assert_eq!(state.segments().count(), 258);
    next.commit(added("a", 258)).unwrap();
    assert_eq!(next.newest.0.base, ManifestNumber(261));
}

#[test]
fn a_checkpoint_hides_nothing_that_is_wrong() {
    let store = Arc::new(MemoryStore::default());
    let mut claim = take(&store, 1, None).unwrap();
    claim.commit(added("a", 0)).unwrap();
    claim.commit(vec![Entry::Added(segment("a", 5, 7))]).unwrap();
    let error = claim.checkpoint().unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("a/5-7.0"), "{error}");
    claim.commit(added("a", 1)).unwrap();
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let store = Arc::new(MemoryStore::default());
    let mut claim = take(&store, 1, None).unwrap();
    let mut entry = crate::archive::manifest::CollectionEntry {
        name: crate::CollectionName::new("a").unwrap(),
        created_at: Timestamp(0),
        floor: crate::Sequence(1),
        sealed_through: crate::Sequence(0),
        settings: "\u{1}".repeat(LINE_BYTES_MAX / 6),
        home: None,
    };
    let error = claim.commit(vec![Entry::Collection(entry.clone())]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    entry.settings.truncate(entry.settings.len() - 100);
    claim.commit(vec![Entry::Collection(entry)]).unwrap();
    assert_eq!(chain::state(&*store).unwrap().collections().len(), 1);
}
