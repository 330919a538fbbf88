use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::catalog::conformance::{Answers, insert, name, one_of_each, run_on};
use crate::catalog::follow::differences;
use crate::catalog::{MemoryCatalog, Mutation};
use crate::types::{Sequence, Timestamp};

fn value(text: &str) -> Mutation {
    Mutation::SetMeta { name: "v".to_owned(), value: text.to_owned() }
}

/// Two in memory, and the mirror over them; after a failure it waits for a change.
fn two() -> (Arc<MemoryCatalog>, Arc<MemoryCatalog>) {
    Default::default()
}

fn mirrored(first: &Arc<MemoryCatalog>, second: &Arc<MemoryCatalog>) -> MirroredCatalog {
    try_mirrored(first, second).unwrap()
}

fn try_mirrored(first: &Arc<MemoryCatalog>, second: &Arc<MemoryCatalog>) -> Result<MirroredCatalog, FollowError> {
    MirroredCatalog::start_with(first.clone(), second.clone(), Engine::Sqlite, Arc::new(|_| Duration::MAX))
}

/// Makes a catalog's applies wait until it is opened; says when one waits.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, bool)>, Condvar)>);

impl Gate {
    fn before_applies_of(catalog: &MemoryCatalog) -> Self {
        let gate = Self::default();
        let for_observer = gate.clone();
        catalog.observe(move |_| {
            let (state, changed) = &*for_observer.0;
            let mut state = state.lock().unwrap();
            state.1 = true;
            changed.notify_all();
            drop(changed.wait_while(state, |(open, _)| !*open).unwrap());
        });
        gate
    }

    fn wait_until_somebody_waits(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |(_, waits)| !*waits).unwrap());
    }

    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }
}

#[test]
fn a_blocked_mirror_holds_up_nothing() {
    let (first, second) = two();
    let gate = Gate::before_applies_of(&second);
    let catalog = mirrored(&first, &second);
    assert_eq!(catalog.apply(&[value("0")], Timestamp(0), "x").unwrap(), ChangeNumber(1));
    // From here on the mirror stands still within its first transaction, for as long as this test likes.
    gate.wait_until_somebody_waits();
    for number in 1..=1000_u64 {
        let sequence = number * 10;
        let made = catalog.apply(&[insert("a", sequence, sequence + 9)], Timestamp(1), "x").unwrap();
        assert_eq!(made, ChangeNumber(number + 1));
        assert_eq!(catalog.sequence_max(&name("a")).unwrap(), Sequence(sequence + 9));
        let status = catalog.mirror().unwrap();
        assert_eq!((status.change_number, status.lag, status.error), (ChangeNumber(0), number + 1, None));
    }
    assert_eq!(second.change_number().unwrap(), ChangeNumber(0));
    gate.open();
    let status = catalog.wait_until(|status| status.lag == 0);
    assert_eq!((status.change_number, status.error), (ChangeNumber(1001), None));
    assert_eq!(Answers::of(&*second), Answers::of(&catalog));
}

#[test]
fn a_failing_mirror_is_told_and_catches_up_at_the_next_change() {
    let (first, second) = two();
    second.set_unavailable(Some("the disk is away"));
    let catalog = mirrored(&first, &second);
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap();
    let status = catalog.wait_until(|status| status.error.is_some());
    assert_eq!((status.change_number, status.lag), (ChangeNumber(0), 1));
    assert!(status.error.unwrap().contains("the disk is away"));
    second.set_unavailable(None);
    catalog.apply(&[value("2")], Timestamp(2), "x").unwrap();
    catalog.wait_until(|status| status.lag == 0 && status.error.is_none());
    assert_eq!(differences(&*first, &*second).unwrap(), Vec::<String>::new());
}

#[test]
fn a_failing_mirror_is_tried_again_by_itself_with_growing_waits() {
    let (first, second) = two();
    let failing = || CatalogError::Full { path: "mirror".to_owned() };
    (0..5).for_each(|_| second.fail_next(failing()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let for_retry = Arc::clone(&asked);
    let retry: Retry = Arc::new(move |failures| {
        for_retry.lock().unwrap().push(failures);
        Duration::ZERO
    });
    let catalog = MirroredCatalog::start_with(first.clone(), second.clone(), Engine::Mdbx, retry).unwrap();
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap();
    catalog.wait_until(|status| status.lag == 0 && status.error.is_none());
    assert_eq!(*asked.lock().unwrap(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_change_of_unknown_outcome_is_not_made_twice() {
    let (first, second) = two();
    second.fail_next_but_keep(CatalogError::OutcomeUnknown { path: "mirror".to_owned(), source: "a test".into() });
    let catalog = mirrored(&first, &second);
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap();
    catalog.wait_until(|status| status.error.is_some());
    // It had happened.
    catalog.apply(&[value("2")], Timestamp(2), "x").unwrap();
    let status = catalog.wait_until(|status| status.lag == 0 && status.error.is_none());
    assert_eq!(status.change_number, ChangeNumber(2));
    assert_eq!(differences(&*first, &*second).unwrap(), Vec::<String>::new());
}

#[test]
fn a_mirror_ahead_or_of_another_history_is_refused_at_start() {
    let (first, second) = two();
    second.apply(&[value("1")], Timestamp(1), "x").unwrap();
    let error = try_mirrored(&first, &second).unwrap_err();
    assert!(matches!(error, FollowError::Ahead { to: ChangeNumber(1), from: ChangeNumber(0) }), "{error}");
    first.apply(&[value("1")], Timestamp(2), "x").unwrap();
    let error = try_mirrored(&first, &second).unwrap_err();
    assert!(matches!(error, FollowError::Diverged { number: ChangeNumber(1), .. }), "{error}");
    assert_eq!(second.change_number().unwrap(), ChangeNumber(1), "nothing was overwritten");
}

#[test]
fn a_mirror_far_behind_does_not_hold_up_the_start_and_stops_between_transactions() {
    let (first, second) = two();
    let changes = 40 * 4096;
    let group: Vec<_> = (0..4096).map(|number| value(&number.to_string())).collect();
    for at in 0..40 {
        first.apply(&group, Timestamp(at), "x").unwrap();
    }
    let gate = Gate::before_applies_of(&second);
    let catalog = mirrored(&first, &second);
    let status = catalog.mirror().unwrap();
    assert_eq!((status.change_number, status.lag), (ChangeNumber(0), changes));
    gate.wait_until_somebody_waits();
    // Told to stop while it waits within its first transaction: it ends after a few, with a beginning.
    std::thread::scope(|scope| {
        scope.spawn(|| catalog.stop());
        while !catalog.shared.lock().stop {
            std::thread::yield_now();
        }
        gate.open();
    });
    let reached = second.change_number().unwrap().0;
    assert_eq!(reached, u64::from(TRANSACTIONS_AT_STOP) * 4096);
    assert_eq!(catalog.mirror().unwrap().lag, changes - reached);
    // It goes on from there when it is opened anew.
    drop(catalog);
    let catalog = mirrored(&first, &second);
    catalog.wait_until(|status| status.lag == 0);
    assert_eq!(differences(&*first, &*second).unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_near_is_caught_up_at_the_stop() {
    for round in 0..50 {
        let (first, second) = two();
        let catalog = mirrored(&first, &second);
        for _ in 0..=round {
            catalog.apply(&one_of_each()[..1], Timestamp(round), "x").unwrap();
        }
        drop(catalog);
        assert_eq!(differences(&*first, &*second).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_failing_mirror_does_not_hold_up_the_stop() {
    let (first, second) = two();
    second.set_unavailable(Some("the disk is away"));
    let catalog = mirrored(&first, &second);
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap();
    catalog.wait_until(|status| status.error.is_some());
    catalog.stop();
    catalog.stop();
    catalog.apply(&[value("2")], Timestamp(2), "x").unwrap();
    assert_eq!(catalog.mirror().unwrap().lag, 2);
}

#[test]
fn an_apply_that_failed_does_not_reach_the_mirror() {
    let (first, second) = two();
    let catalog = mirrored(&first, &second);
    first.fail_next(CatalogError::Full { path: "first".to_owned() });
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap_err();
    assert_eq!(catalog.mirror().unwrap().lag, 0);
    catalog.apply(&[value("2")], Timestamp(2), "x").unwrap();
    catalog.stop();
    assert_eq!(second.change_number().unwrap(), ChangeNumber(1));
}

#[test]
fn a_panic_shows() {
    let (first, second) = two();
    let is_armed = Arc::new(AtomicBool::new(true));
    second.observe(move |_| assert!(!is_armed.load(Ordering::SeqCst), "on purpose"));
    let catalog = mirrored(&first, &second);
    catalog.apply(&[value("1")], Timestamp(1), "x").unwrap();
    let status = catalog.wait_until(|status| status.error.is_some());
    assert!(status.error.unwrap().contains("panicked"));
    catalog.apply(&[value("2")], Timestamp(2), "x").unwrap();
}

#[test]
fn nobody_is_asked_while_nothing_changes() {
    // Retries are the only timed waits: without failures there is none.
    let (first, second) = two();
    let asked = Arc::new(AtomicU32::new(0));
    let for_retry = Arc::clone(&asked);
    let retry: Retry = Arc::new(move |_| {
        for_retry.fetch_add(1, Ordering::SeqCst);
        Duration::MAX
    });
    let catalog = MirroredCatalog::start_with(first, second, Engine::Mdbx, retry).unwrap();
    for number in 0..20 {
        catalog.apply(&[value("1")], Timestamp(number), "x").unwrap();
        catalog.wait_until(|status| status.lag == 0);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// After each test of the suite the mirror must hold the same.
struct Compared(Arc<dyn Catalog>, Arc<dyn Catalog>, Option<tempfile::TempDir>);

impl Drop for Compared {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(differences(&*self.0, &*self.1).unwrap(), Vec::<String>::new());
            assert_eq!(Answers::of(&*self.0), Answers::of(&*self.1));
        }
    }
}

fn compared(first: Arc<dyn Catalog>, second: Arc<dyn Catalog>, engine: Engine) -> (Compared, Box<MirroredCatalog>) {
    let catalog = MirroredCatalog::start(first.clone(), second.clone(), engine).unwrap();
    (Compared(first, second, None), Box::new(catalog))
}

mod in_memory {
    use super::*;

    run_on! { compared(Arc::new(MemoryCatalog::new()), Arc::new(MemoryCatalog::new()), Engine::Lmdb) }
}

#[cfg(any(feature = "sqlite", feature = "mdbx", feature = "lmdb"))]
fn on(first: Engine, second: Engine) -> (Compared, Box<MirroredCatalog>) {
    let directory = tempfile::tempdir().unwrap();
    let at = |engine: Engine, name| {
        engine.open(&directory.path().join(engine.file_name(name)), crate::catalog::CatalogMode::Create).unwrap()
    };
    let (mut keep, catalog) = compared(at(first, "first"), at(second, "second"), second);
    keep.2 = Some(directory);
    (keep, catalog)
}

#[cfg(feature = "sqlite")]
mod sqlite_to_itself {
    use super::*;

    run_on! { on(Engine::Sqlite, Engine::Sqlite) }
}

#[cfg(all(feature = "sqlite", feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
mod mdbx_to_sqlite {
    use super::*;

    run_on! { on(Engine::Mdbx, Engine::Sqlite) }
}

#[cfg(all(feature = "sqlite", feature = "lmdb"))]
mod sqlite_to_lmdb {
    use super::*;

    run_on! { on(Engine::Sqlite, Engine::Lmdb) }
}
