//! Two archivers, opened from copies of the same data, race for one prefix: each is paused and resumed at every call (O2).

use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

use icecore::ErrorKind;
use icecore::archive::archiver::{Archiver, ArchiverOptions};
use icecore::catalog::{MemoryCatalog, SegmentStatus};
use icecore::testing::faulty_store::Moment;

use crate::world::{HASTY, World, options, run};

/// Who may make the next call.
#[derive(Default)]
struct Baton {
    state: Mutex<State>,
    passed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whose turn, and for how many calls.
    plan: Vec<(usize, usize)>,
    threads: Vec<(ThreadId, usize)>,
    ended: [bool; 2],
}

impl Baton {
    fn new(plan: &[(usize, usize)]) -> Self {
        let plan = plan.iter().rev().copied().collect();
        Self { state: Mutex::new(State { plan, ..State::default() }), passed: Condvar::new() }
    }

    fn join(&self, who: usize) {
        self.state.lock().unwrap().threads.push((std::thread::current().id(), who));
    }

    fn wait(&self) {
        let thread = std::thread::current().id();
        let mut state = self.state.lock().unwrap();
        let Some(&(_, who)) = state.threads.iter().find(|(id, _)| *id == thread) else { return };
        loop {
            let ended = state.ended;
            match state.plan.last_mut() {
                None => return,
                Some((turn, left)) if *left == 0 || ended[*turn] => {
                    state.plan.pop();
                    self.passed.notify_all();
                }
                Some((turn, left)) if *turn == who => {
                    *left -= 1;
                    return;
                }
                Some(_) => state = self.passed.wait(state).unwrap(),
            }
        }
    }

    fn end(&self, who: usize) {
        self.state.lock().unwrap().ended[who] = true;
        self.passed.notify_all();
    }
}

/// What became of one of the two.
struct Side {
    world: World<MemoryCatalog>,
    is_fenced: bool,
    is_complete: bool,
}

fn race(base: &World<MemoryCatalog>, number: u64, plan: &[(usize, usize)]) -> (Vec<Side>, [usize; 2]) {
    let (one, other) = (base.image(2 * number), base.image(2 * number + 1));
    let worlds = [World { store: Arc::clone(&one.store), ..other }, one];
    let store = Arc::clone(&worlds[0].store);
    let baton = Arc::new(Baton::new(plan));
    let calls: Arc<Mutex<[usize; 2]>> = Arc::default();
    let (seen, counted) = (Arc::clone(&baton), Arc::clone(&calls));
    store.observe(move |_, _, moment| {
        if moment == Moment::Before {
            let thread = std::thread::current().id();
            let who = seen.state.lock().unwrap().threads.iter().find(|(id, _)| *id == thread).map(|(_, who)| *who);
            if let Some(who) = who {
                counted.lock().unwrap()[who] += 1;
            }
            seen.wait();
        }
    });
    let sides = std::thread::scope(|scope| {
        let runs: Vec<_> = worlds
            .into_iter()
            .enumerate()
            .map(|(who, world)| {
                let baton = Arc::clone(&baton);
                scope.spawn(move || {
                    baton.join(who);
                    let log = world.open();
                    let archiver: Archiver = world.archiver(&log, HASTY);
                    let report = run(&archiver).unwrap();
                    baton.end(who);
                    let status = archiver.status().unwrap();
                    let is_fenced = status.targets[0].fenced.is_some();
                    let says_so = report.errors.iter().any(|error| error.kind == ErrorKind::Fenced);
                    assert_eq!(is_fenced, says_so, "{report:?}");
                    let is_complete = report.is_complete();
                    assert!(is_complete || is_fenced || !report.errors.is_empty(), "{report:?}");
                    log.close().unwrap();
                    (world, is_fenced, is_complete)
                })
            })
            .collect();
        runs.into_iter()
            .map(|run| run.join().unwrap())
            .map(|(world, is_fenced, is_complete)| Side { world, is_fenced, is_complete })
            .collect()
    });
    let calls = *calls.lock().unwrap();
    (sides, calls)
}

#[test]
fn the_loser_is_fenced_and_nothing_counts_twice() {
    races(&World::new(MemoryCatalog::new(), [2, 1]));
}

/// Every pair of pauses; `base` has three segments that nobody archived.
pub fn races(base: &World<MemoryCatalog>) {
    let (_, [alone, _]) = race(base, 0, &[(0, usize::MAX), (1, usize::MAX)]);
    let (mut races, mut fenced, mut both) = (0, 0, 0);
    for first in 0..=alone {
        for second in 0..=alone + 4 {
            races += 1;
            let plan = [(0, first), (1, second), (0, usize::MAX), (1, usize::MAX)];
            let what = format!("{first} calls, then {second} of the other");
            let (sides, _) = race(base, races, &plan);
            let state = sides[0].world.archived();
            assert_eq!(state.problems(), [""; 0], "{what}");
            for side in &sides {
                side.world.must_be_sound(&what);
            }
            let complete = sides.iter().filter(|side| side.is_complete).count();
            assert!(complete >= 1, "{what}: neither came through");
            assert!(!sides.iter().all(|side| side.is_fenced), "{what}: both are fenced");
            fenced += usize::from(sides.iter().any(|side| side.is_fenced));
            both += usize::from(complete == 2);
            // The one who is fenced has nothing `Archiving`, and what he put counts by the other's word only.
            for side in sides.iter().filter(|side| side.is_fenced) {
                assert!(!side.world.counts().contains_key(&SegmentStatus::Archiving), "{what}");
            }
            assert_eq!(state.segments().count(), 3, "{what}");
        }
    }
    println!("{races} races: {fenced} fenced one, in {both} both came through one after the other");
    assert!(fenced > races as usize / 4 && both > 0, "{fenced} {both}");
}

#[test]
fn who_is_fenced_stays_so_and_asks_no_more() {
    let base = World::new(MemoryCatalog::new(), [2, 0]);
    let (first, other) = (base.image(0), base.image(1));
    let second = World { store: Arc::clone(&first.store), ..other };
    let (log, other_log) = (first.open(), second.open());
    let (archiver, taker) = (first.archiver(&log, HASTY), second.archiver(&other_log, HASTY));
    assert!(run(&archiver).unwrap().is_complete());
    assert!(run(&taker).unwrap().is_complete());
    crate::world::seal(&log, "audit");
    let report = run(&archiver).unwrap();
    assert_eq!(report.errors[0].kind, ErrorKind::Fenced, "{report:?}");
    assert_eq!(report.archived_segments, 0);
    let calls = first.store.calls().len();
    for _ in 0..3 {
        let report = run(&archiver).unwrap();
        assert_eq!((report.errors[0].kind, report.left), (ErrorKind::Fenced, 1), "{report:?}");
    }
    assert_eq!(first.store.calls().len(), calls);
    assert!(archiver.status().unwrap().targets[0].fenced.is_some());
    // What it sealed since is other than what the one who took over has: it is told, and not mixed in.
    crate::world::seal(&other_log, "audit");
    crate::world::seal(&other_log, "audit");
    assert!(run(&taker).unwrap().is_complete());
    // An operator says that it is to have it back.
    drop(archiver);
    let word = ArchiverOptions { take_over: true, ..options(&first.clock, HASTY) };
    let again = Archiver::new(&log, vec![first.target()], word).unwrap();
    let report = run(&again).unwrap();
    assert!(report.failed.iter().all(|failed| failed.reason.contains("other bytes for its sequences")), "{report:?}");
    assert_eq!((report.failed.len(), report.archived_segments), (1, 0), "{report:?}");
    assert_eq!(first.archived().problems(), [""; 0]);
}
