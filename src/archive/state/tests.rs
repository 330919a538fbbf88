//! What manifests say together.

use super::*;
use crate::archive::manifest::tests::{head, segment};
use crate::archive::manifest::{Entry, LossGone, ManifestNumber, WriterId, decode, encode};

/// The next manifest with these entries.
fn next(state: &ArchiveState, entries: Vec<Entry>) -> Manifest {
    let number = state.mark.map_or(1, |mark| mark.number.0 + 1);
    let mut head = head(number, entries.len() as u64);
    head.previous = state.mark.map(|mark| mark.sha256);
    let (bytes, _) = encode(&head, &entries);
    decode(head.number, &bytes).unwrap()
}

fn state_of(entries: Vec<Entry>) -> ArchiveState {
    let mut state = ArchiveState::new();
    state.apply(next(&state, Vec::new())).unwrap();
    for entry in entries {
        state.apply(next(&state, vec![entry])).unwrap();
    }
    state
}

fn keys(state: &ArchiveState) -> Vec<String> {
    state.segments().map(|segment| segment.segment.to_string()).collect()
}

fn collection(name: &str, floor: u64, sealed_through: u64) -> Entry {
    Entry::Collection(CollectionEntry {
        name: CollectionName::new(name).unwrap(),
        created_at: Timestamp(1),
        floor: Sequence(floor),
        sealed_through: Sequence(sealed_through),
        settings: format!("{{\"x\":{floor}}}"),
        home: None,
    })
}

#[test]
fn a_fact_told_twice_counts_once() {
    let (one, two) = (segment("a", 1, 10), segment("a", 11, 20));
    let entries = vec![
        Entry::Added(one.clone()),
        Entry::Added(two.clone()),
        Entry::Added(one.clone()),
        Entry::Added(one.clone()),
    ];
    let mut state = state_of(entries);
    assert_eq!(keys(&state), ["a/1-10.0", "a/11-20.0"]);
    for _ in 0..2 {
        state.apply(next(&state, vec![Entry::Removed(RemovedSegment::from(&one))])).unwrap();
    }
    assert_eq!(keys(&state), ["a/11-20.0"]);
    assert!(state.problems().is_empty(), "{:?}", state.problems());
    assert_eq!(state.segment(&two.segment), Some(&two));
    assert_eq!(state.collections().values().next().unwrap().last_sequence(), Sequence(20));
}

#[test]
fn what_shares_sequences_is_told_and_the_first_counts() {
    let other_bytes = ArchivedSegment { sha256: [1; 32], ..segment("a", 11, 20) };
    let rewritten = {
        let mut rewritten = segment("a", 5, 25);
        rewritten.segment.generation = Generation(1);
        rewritten
    };
    for (second, is_problem) in [
        (segment("a", 1, 10), false),
        (segment("a", 21, 30), false),
        (segment("b", 11, 20), false),
        (rewritten, false),
        (segment("a", 1, 11), true),
        (segment("a", 20, 30), true),
        (segment("a", 1, 99), true),
        (segment("a", 15, 15), true),
        (segment("a", 11, 12), true),
        (other_bytes, true),
    ] {
        let mut state = state_of(vec![Entry::Added(segment("a", 11, 20))]);
        state.apply(next(&state, vec![Entry::Added(second.clone())])).unwrap();
        assert_eq!(state.problems().len(), usize::from(is_problem), "{second:?}: {:?}", state.problems());
        assert_eq!(keys(&state).len(), if is_problem { 1 } else { 2 });
        if is_problem {
            assert!(state.problems()[0].contains("manifest=`3`"), "{:?}", state.problems());
            assert_eq!(state.segments().next(), Some(&segment("a", 11, 20)));
        }
    }
}

#[test]
fn a_removal_of_another_object_removes_nothing() {
    let mut state = state_of(vec![Entry::Added(segment("a", 1, 10))]);
    let other = ArchivedSegment { sha256: [1; 32], ..segment("a", 1, 10) };
    state.apply(next(&state, vec![Entry::Removed(RemovedSegment::from(&other))])).unwrap();
    assert_eq!((keys(&state).len(), state.problems().len()), (1, 1));
}

#[test]
fn floors_never_go_back_and_settings_are_the_newest() {
    let state = state_of(vec![collection("a", 5, 90), collection("a", 3, 95), collection("b", 1, 0)]);
    let entry = state.collections()["a"].entry.clone().unwrap();
    assert_eq!((entry.floor, entry.sealed_through, &*entry.settings), (Sequence(5), Sequence(95), "{\"x\":3}"));
    assert_eq!(state.collections()["a"].last_sequence(), Sequence(95));
    assert_eq!(state.collections()["b"].last_sequence(), Sequence(0));
}

#[test]
fn losses_are_told_changed_and_taken_back() {
    let loss = |reason: &str| {
        Entry::Loss(LossEntry {
            collection: CollectionName::new("a").unwrap(),
            first: Sequence(3),
            last: Sequence(4),
            reason: reason.into(),
            found_at: Timestamp(1),
            acknowledged: None,
        })
    };
    let mut state = state_of(vec![loss("one"), loss("two")]);
    let reasons: Vec<_> = state.collections()["a"].losses.values().map(|loss| &*loss.reason).collect();
    assert_eq!(reasons, ["two"]);
    let collection = CollectionName::new("a").unwrap();
    let gone = LossGone { collection, first: Sequence(3), last: Sequence(4) };
    state.apply(next(&state, vec![Entry::LossGone(gone)])).unwrap();
    assert!(state.collections()["a"].losses.is_empty());
}

#[test]
fn only_the_next_manifest_is_taken() {
    let state = state_of(vec![Entry::Added(segment("a", 1, 10))]);
    let good = || {
        let entries = vec![Entry::Added(segment("a", 11, 20))];
        next(&state, entries)
    };
    type Change = fn(&mut ManifestHead);
    let wrong: [(Change, ErrorKind, &str); 7] = [
        (|head| head.number = ManifestNumber(4), ErrorKind::Corrupt, "the number before"),
        (|head| head.number = ManifestNumber(2), ErrorKind::Corrupt, "the number before"),
        (|head| head.previous = Some([8; 32]), ErrorKind::Corrupt, "not the one that was there"),
        (|head| head.previous = None, ErrorKind::Corrupt, "not the one that was there"),
        (|head| head.epoch = Epoch(2), ErrorKind::Corrupt, "not above"),
        (|head| head.writer = WriterId([6; 16]), ErrorKind::Corrupt, "not above"),
        (|head| head.log = LogId([1; 16]), ErrorKind::Conflict, "another log"),
    ];
    for (change, kind, part) in wrong {
        let mut state = state.clone();
        let mut manifest = good();
        change(&mut manifest.head);
        let error = state.apply(manifest).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(part), "{part}: {error}");
        assert_eq!(keys(&state), ["a/1-10.0"], "nothing changed");
        state.apply(good()).unwrap();
    }
    let mut taken_over = good();
    (taken_over.head.writer, taken_over.head.epoch) = (WriterId([6; 16]), Epoch(4));
    state.clone().apply(taken_over).unwrap();
    let error = ArchiveState::new().apply(good()).unwrap_err();
    assert!(error.to_string().contains("no checkpoint"), "{error}");
}

/// A checkpoint makes the same state; one in the middle that tells something else is found.
#[test]
fn a_checkpoint_tells_what_was_told() {
    let mut state = state_of(vec![
        collection("a", 5, 90),
        Entry::Added(segment("a", 1, 10)),
        Entry::Added(segment("b", 1, 10)),
        Entry::Remote(RemoteEntry { directory: "ab".into(), url: "s3://b".into(), gone: false }),
    ]);
    let checkpoint = |state: &ArchiveState, entries: Vec<Entry>| {
        let mut head = next(state, Vec::new()).head;
        (head.checkpoint, head.base, head.base_entries) = (true, head.number, entries.len() as u64);
        decode(head.number, &encode(&head, &entries).0).unwrap()
    };
    let all: Vec<Entry> = state.entries_from(None).collect();
    let good = checkpoint(&state, all.clone());
    let mut fresh = ArchiveState::new();
    fresh.apply(good.clone()).unwrap();
    assert_eq!((&fresh.collections, &fresh.remotes), (&state.collections, &state.remotes));
    state.apply(good).unwrap();
    assert!(state.problems().is_empty());
    for without in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(without);
        let mut state = state.clone();
        state.apply(checkpoint(&state, fewer)).unwrap();
        assert_eq!(state.problems().len(), 1, "without {without}");
    }
}
