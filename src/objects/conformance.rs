//! What every store does alike: one suite, run on every implementation.
//!
//! [`run`] needs an empty store; [`races`] too. Both panic with what is wrong, as tests do. What a crash leaves is tested where a disk can
//! be cut off: beside the local store.

#![allow(clippy::unwrap_used, reason = "a suite of tests, which stores outside this crate can run")]

use std::sync::{Arc, Barrier};

use bytes::Bytes;

use super::{ObjectErrorKind, ObjectKey, ObjectStore, Put, Upload, prove};
use crate::avro::sha256;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn put(store: &dyn ObjectStore, name: &str, bytes: &'static [u8]) -> Put {
    store.put_if_absent(&key(name), &Upload::of_bytes(&Bytes::from_static(bytes))).unwrap()
}

/// All calls, one after another.
pub fn run(store: &dyn ObjectStore) {
    absence(store);
    contents(store);
    never_replaced(store);
    nothing_but_what_was_promised(store);
    listings(store);
}

#[track_caller]
fn kind_of<T: std::fmt::Debug>(outcome: super::ObjectResult<T>) -> ObjectErrorKind {
    outcome.unwrap_err().kind
}

fn absence(store: &dyn ObjectStore) {
    let absent = key("nowhere/to/be-found");
    assert_eq!(kind_of(store.get(&absent, 10)), ObjectErrorKind::NotFound);
    assert_eq!(kind_of(store.get_range(&absent, 0, 1)), ObjectErrorKind::NotFound);
    assert_eq!(kind_of(store.head(&absent)), ObjectErrorKind::NotFound);
    assert_eq!(kind_of(prove(store, &absent, 1, &[0; 32])), ObjectErrorKind::NotFound);
    store.delete(&absent).unwrap();
    assert_eq!(store.list("nowhere", None, 10).unwrap(), super::Page::default());
    let error = store.head(&absent).unwrap_err();
    assert!(*error.place == *store.place() && &*error.key == absent.as_str() && error.operation == "head", "{error:?}");
}

fn contents(store: &dyn ObjectStore) {
    assert_eq!(put(store, "contents/empty", b""), Put::Created);
    assert_eq!(store.get(&key("contents/empty"), 0).unwrap(), "");
    // Larger than one piece of any implementation that sends in pieces of a MiB.
    let large: Bytes = (0..(5 << 19) + 7_u32).map(|at| at.to_le_bytes()[usize::from(at % 3 == 1)]).collect();
    let name = key("contents/large.b~2eb");
    assert_eq!(store.put_if_absent(&name, &Upload::of_bytes(&large)).unwrap(), Put::Created);
    assert_eq!(store.get(&name, large.len() as u64).unwrap(), large);
    assert_eq!(kind_of(store.get(&name, large.len() as u64 - 1)), ObjectErrorKind::Invalid);
    let head = store.head(&name).unwrap();
    assert_eq!(head.bytes, large.len() as u64);
    assert!(head.sha256.is_none_or(|known| known == sha256(&large)));
    prove(store, &name, head.bytes, &sha256(&large)).unwrap();
    assert_eq!(kind_of(prove(store, &name, head.bytes, &[7; 32])), ObjectErrorKind::Corrupt);
    assert_eq!(kind_of(prove(store, &name, 7, &sha256(&large))), ObjectErrorKind::Corrupt);
    for (offset, bytes) in [(0, 1), (1_048_570, 20), (large.len() - 1, 1), (0, large.len())] {
        assert_eq!(store.get_range(&name, offset as u64, bytes).unwrap(), large[offset..offset + bytes]);
    }
    for (offset, bytes) in [(large.len() as u64, 1), (large.len() as u64 - 1, 2), (u64::MAX, 2)] {
        assert_eq!(kind_of(store.get_range(&name, offset, bytes)), ObjectErrorKind::Invalid, "{offset} {bytes}");
    }
}

fn never_replaced(store: &dyn ObjectStore) {
    assert_eq!(put(store, "kept/a", b"first"), Put::Created);
    assert_eq!(put(store, "kept/a", b"first"), Put::SameThere);
    assert_eq!(put(store, "kept/a", b"other"), Put::OtherThere);
    assert_eq!(put(store, "kept/a", b"longer than the first"), Put::OtherThere);
    assert_eq!(put(store, "kept/a", b""), Put::OtherThere);
    assert_eq!(store.get(&key("kept/a"), 100).unwrap(), "first");
    store.delete(&key("kept/a")).unwrap();
    store.delete(&key("kept/a")).unwrap();
    assert_eq!(kind_of(store.head(&key("kept/a"))), ObjectErrorKind::NotFound);
    assert_eq!(put(store, "kept/a", b"second"), Put::Created);
    assert_eq!(store.get(&key("kept/a"), 100).unwrap(), "second");
}

/// A source that changes under the upload, or ends early, stores nothing.
fn nothing_but_what_was_promised(store: &dyn ObjectStore) {
    let bytes = Bytes::from_static(b"not what was promised");
    for upload in [
        Upload::new(&bytes, bytes.len() as u64, [1; 32]),
        Upload::new(&bytes, bytes.len() as u64 + 1, sha256(&bytes)),
        Upload::new(&bytes, bytes.len() as u64 - 1, sha256(&bytes)),
    ] {
        assert_eq!(kind_of(store.put_if_absent(&key("promised/a"), &upload)), ObjectErrorKind::Corrupt);
        assert_eq!(kind_of(store.head(&key("promised/a"))), ObjectErrorKind::NotFound);
    }
    assert_eq!(store.list("promised", None, 10).unwrap(), super::Page::default());
}

fn listings(store: &dyn ObjectStore) {
    // In order of bytes, `-` and `.` come before `/`.
    let names = ["l/A", "l/a-b", "l/a.b/x", "l/a/1", "l/a/2/3", "l/a0", "l/b/c", "l/b/d", "l/~2e", "l2/a", "l~/a"];
    for name in names.iter().rev() {
        assert_eq!(put(store, name, b"abc"), Put::Created);
    }
    let listed = |prefix: &str, after: Option<&str>, limit: usize| {
        let page = store.list(prefix, after, limit).unwrap();
        assert!(page.objects.iter().all(|object| object.bytes == 3));
        assert!(page.objects.len() <= limit);
        (page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(listed("l", None, 100), (names.map(str::to_owned).to_vec(), None));
    for prefix in ["l/", "l/a", "l/a/", "l/a/2", "l/a/2/", "l/b/c", "l2", "l~/", "x", "l/aa"] {
        let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
        assert_eq!(listed(prefix, None, 100).0, expected, "{prefix}");
        for limit in 1..=4 {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = listed(prefix, after.as_deref(), limit);
                assert!(next.is_none() || !page.is_empty(), "a page that leads on is not empty");
                all.extend(page);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(all, expected, "{prefix} by {limit}");
        }
    }
    // `after` need not be there.
    for after in ["l/a", "l/a-", "l/a/", "l/a/1", "l/a/2/4", "l/a/~", "l/az", "l", "m"] {
        let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with('l') && *name > after).collect();
        assert_eq!(listed("l", Some(after), 100).0, expected, "{after}");
    }
    store.delete(&key("l/a-b")).unwrap();
    assert_eq!(listed("l/a", None, 1).0, ["l/a.b/x"]);
}

/// Sixteen callers put one key, half of them other bytes than the other half: one creates, and what it wrote stays.
pub fn races(store: &Arc<dyn ObjectStore>) {
    for round in 0..10 {
        let name = key(&format!("race/{round}"));
        let barrier = Arc::new(Barrier::new(16));
        let callers: Vec<_> = (0..16_u8)
            .map(|caller| {
                let (store, name, barrier) = (Arc::clone(store), name.clone(), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    let bytes = Bytes::from(vec![caller % 2; 10_000]);
                    barrier.wait();
                    (caller % 2, store.put_if_absent(&name, &Upload::of_bytes(&bytes)).unwrap())
                })
            })
            .collect();
        let outcomes: Vec<(u8, Put)> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let created: Vec<u8> = outcomes.iter().filter(|(_, put)| *put == Put::Created).map(|(byte, _)| *byte).collect();
        assert_eq!(created.len(), 1, "{outcomes:?}");
        for (byte, put) in outcomes {
            assert_eq!(byte == created[0], put != Put::OtherThere);
        }
        assert_eq!(store.get(&name, 10_000).unwrap(), vec![created[0]; 10_000]);
    }
}
