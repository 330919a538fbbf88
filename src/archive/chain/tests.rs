//! Manifests that are damaged, missing, or another log's; checkpoints that are done without.

use std::sync::Arc;

use super::*;
use crate::archive::Claim;
use crate::archive::manifest::Entry;
use crate::archive::manifest::tests::segment;
use crate::archive::memory_store::MemoryStore;
use crate::clock::FakeClock;
use crate::types::{Epoch, LogId, Timestamp};

fn claim(store: &Arc<MemoryStore>, log: u8) -> Result<Claim> {
    let clock = Arc::new(FakeClock::at(Timestamp(1_000_000 + store.calls() as i64)));
    Claim::take(Arc::clone(store) as _, LogId([log; 16]), Epoch(1), clock, None)
}

fn added(number: u64) -> Vec<Entry> {
    vec![Entry::Added(segment("a", number * 10 + 1, number * 10 + 10))]
}

/// Manifests 1 to 8, the fifth and the seventh checkpoints.
fn archive() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let mut claim = claim(&store, 1).unwrap();
    for number in 0..3 {
        claim.commit(added(number)).unwrap();
    }
    claim.checkpoint().unwrap();
    claim.commit(added(3)).unwrap();
    claim.checkpoint().unwrap();
    claim.commit(added(4)).unwrap();
    assert_eq!(claim.newest().number, ManifestNumber(8));
    store
}

fn numbers(store: &MemoryStore) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    read(store, None, &mut |manifest| {
        numbers.push(manifest.head.number.0);
        Ok(())
    })?;
    Ok(numbers)
}

fn segments(state: &ArchiveState) -> usize {
    state.segments().count()
}

#[test]
fn a_chain_is_read_from_any_manifest_on() {
    let store = archive();
    assert_eq!(numbers(&store).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(segments(&state(&*store).unwrap()), 5);
    let mut behind = Vec::new();
    read(&*store, Some(ManifestNumber(6)), &mut |manifest| {
        behind.push(manifest.head.number.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(behind, [6, 7, 8]);
    let empty = MemoryStore::default();
    assert!(newest(&empty, None).unwrap().is_none());
    assert_eq!(segments(&state(&empty).unwrap()), 0);
    // What lies among them under another name is not ours.
    store.set("_manifest/readme", "x");
    store.set("_manifest/9", "x");
    assert_eq!(numbers(&store).unwrap().len(), 8);
}

/// The newest checkpoint is what is read, with what stands behind it.
#[test]
fn reading_costs_what_is_behind_the_checkpoint() {
    let store = archive();
    let gets = |store: &MemoryStore| store.meter().usage(crate::objects::RequestKind::Get).requests;
    let before = gets(&store);
    state(&*store).unwrap();
    assert_eq!(gets(&store) - before, 3, "the newest, the checkpoint, the one behind it");
}

#[test]
fn each_hole_and_each_damage_is_named_and_a_checkpoint_is_done_without() {
    for number in 1..=8_u64 {
        for is_hole in [true, false] {
            let store = archive();
            let key = ManifestNumber(number).key();
            let bytes = store.remove(key.as_str()).unwrap();
            if !is_hole {
                let mut bytes = bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                store.set(key.as_str(), bytes);
            }
            let named = |error: &Error| {
                error.kind() == ErrorKind::Corrupt && error.to_string().contains(&format!("manifest=`{number}`"))
            };
            // A newest one that is gone cannot be missed by whoever knows nothing of it.
            let is_missed = !(is_hole && number == 8);
            match numbers(&store) {
                Ok(read) => assert!(!is_missed && read.len() == 7),
                Err(error) => assert!(is_missed && named(&error), "{error}"),
            }
            // A checkpoint tells nothing new: the one before it and what is behind tell the same.
            match state(&*store) {
                Ok(state) => {
                    assert!(number < 8 || !is_missed);
                    assert!(!is_hole || number == 8, "a hole is found in the listing");
                    assert_eq!(segments(&state), if is_missed { 5 } else { 4 });
                    assert!(state.problems().is_empty());
                }
                Err(error) => assert!((is_hole || number == 8) && named(&error), "{number} {error}"),
            }
        }
    }
}

/// With the newest checkpoint damaged, everything from the one before it on must be right.
#[test]
fn without_a_checkpoint_each_manifest_before_it_counts() {
    for other in 1..=6_u64 {
        let store = archive();
        for number in [7, other] {
            let key = ManifestNumber(number).key();
            let mut bytes = store.remove(key.as_str()).unwrap().to_vec();
            bytes[300] ^= 4;
            store.set(key.as_str(), bytes);
        }
        match state(&*store) {
            // Number 5 is a checkpoint too, 1 to 4 are before it.
            Ok(state) => assert!(other <= 5 && segments(&state) == 5, "{other}"),
            Err(error) => assert!(other == 6 && error.to_string().contains("manifest=`6`"), "{other} {error}"),
        }
    }
}

#[test]
fn a_hint_must_be_there_as_it_was() {
    let store = archive();
    let (_, mark) = newest(&*store, None).unwrap().unwrap();
    assert_eq!(newest(&*store, Some(&mark)).unwrap().unwrap().1, mark);
    let mut old = None;
    read(&*store, None, &mut |manifest| {
        old = old.or((manifest.head.number.0 == 3).then_some(manifest.mark));
        Ok(())
    })
    .unwrap();
    assert_eq!(newest(&*store, old.as_ref()).unwrap().unwrap().1, mark);
    // Set back, emptied, another one.
    for store in [Arc::new(MemoryStore::default()), {
        let store = archive();
        store.remove(mark.number.key().as_str());
        store
    }] {
        let error = newest(&*store, Some(&mark)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    let other = ManifestMark { sha256: [0; 32], ..mark };
    assert_eq!(newest(&*store, Some(&other)).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn another_log_is_refused() {
    let store = archive();
    assert_eq!(claim(&store, 2).unwrap_err().kind(), ErrorKind::Conflict);
    // One that somebody put there by hand.
    let other = Arc::new(MemoryStore::default());
    let mut claim = claim(&other, 2).unwrap();
    for number in 0..8 {
        claim.commit(added(number)).unwrap();
    }
    let key = ManifestNumber(9).key();
    store.set(key.as_str(), other.objects()[key.as_str()].clone());
    let error = numbers(&store).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("manifest=`9`"), "{error}");
    assert!(state(&*store).is_err());
}

/// More than a piece of text, with names of every length: what is sent is what a plain encoder writes.
#[test]
fn a_large_checkpoint_is_sent_and_read_in_pieces() {
    let store = Arc::new(MemoryStore::default());
    let mut claim = claim(&store, 1).unwrap();
    let mut entries = Vec::new();
    for collection in 0..60_u64 {
        let name = "x".repeat(1 + collection as usize * 4);
        entries.extend((0..300).map(|at| Entry::Added(segment(&name, at * 10 + 1, at * 10 + 10))));
    }
    for part in entries.chunks(5_000) {
        claim.commit(part.to_vec()).unwrap();
    }
    let mark = claim.checkpoint().unwrap();
    let bytes = store.objects()[mark.number.key().as_str()].clone();
    assert!(bytes.len() as u64 > 2 * PIECE_BYTES, "{}", bytes.len());
    let manifest = read_one(&*store, mark.number).unwrap().unwrap();
    assert_eq!((manifest.mark, manifest.entries.len()), (mark, 18_000));
    assert_eq!(crate::archive::manifest::encode(&manifest.head, &manifest.entries).0, bytes);
    let state = state(&*store).unwrap();
    assert_eq!(segments(&state), 18_000);
    // Any piece, in any order.
    let mut head = manifest.head.clone();
    let checkpoint = crate::archive::checkpoint::Checkpoint::new(&state, &mut head);
    for offset in [0, 1, 400, bytes.len() / 3, bytes.len() - 200, bytes.len() - 1] {
        for length in [0, 1, 100, 70_000] {
            let length = length.min(bytes.len() - offset);
            let piece = checkpoint.upload().source.read(offset as u64, length).unwrap();
            assert!(piece == bytes[offset..offset + length], "{offset} {length}");
        }
    }
    assert!(checkpoint.upload().source.read(bytes.len() as u64 - 1, 2).is_err());
}
