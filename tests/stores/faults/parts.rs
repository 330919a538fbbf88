//! Objects that are sent in parts.

use std::sync::Arc;

use icecore::objects::{ObjectErrorKind, ObjectStore, Put, StoreOptions};

use super::{Trial, kind_of, noise, with_every_server};
use crate::bucket::Bucket;
use crate::proxy::{Fault, Gate, Request};
use crate::servers::Kind;
use crate::wait_for;

with_every_server!(
    they_come_and_go,
    a_part_that_is_disturbed,
    a_completion_whose_answer_was_lost,
    a_completion_that_arrives_late,
);

const PART_BYTES: u64 = 5 << 20;

/// Three parts and a bit.
fn trial(kind: Kind) -> (Trial, Arc<dyn ObjectStore>) {
    let mut trial = Trial::of(Bucket::new(kind));
    trial.bytes = noise(3 * PART_BYTES as usize + 7);
    let options = StoreOptions { multipart_bytes: PART_BYTES, part_bytes: PART_BYTES, ..trial.options() };
    let store = trial.bucket.store_with(&options);
    (trial, store)
}

fn is_part(request: &Request) -> bool {
    request.method == "PUT" && (request.asks("partNumber") || request.asks("comp=block"))
}

/// They may come in any order: not the last one, of seven bytes.
fn is_whole_part(request: &Request) -> bool {
    is_part(request)
        && request.header("content-length").is_some_and(|bytes| bytes.parse::<u64>().unwrap() >= PART_BYTES)
}

/// After it the object is there.
fn completes(request: &Request) -> bool {
    let is_s3 = request.method == "POST" && request.asks("uploadId");
    is_s3 || request.method == "PUT" && request.asks("comp=blocklist")
}

fn they_come_and_go(kind: Kind) {
    let (trial, store) = trial(kind);
    trial.the_next_try(&store, Put::Created);
    let parts = |trial: &Trial| trial.proxy.requests().iter().filter(|request| is_part(request)).count();
    assert_eq!(parts(&trial), 4);
    assert_eq!(trial.proxy.requests().iter().filter(|request| completes(request)).count(), 1);
    trial.the_next_try(&store, Put::SameThere);
    let mut other = trial.bytes.to_vec();
    other[PART_BYTES as usize] ^= 1;
    let other = other.into();
    assert_eq!(store.put_if_absent(&trial.key, &icecore::objects::Upload::of_bytes(&other)).unwrap(), Put::OtherThere);
    trial.the_object_is_there();
    // One put could not have brought as much.
    let direct = trial.direct();
    assert_eq!(direct.get_range(&trial.key, PART_BYTES - 3, 6).unwrap(), trial.bytes[PART_BYTES as usize - 3..][..6]);
}

fn a_part_that_is_disturbed(kind: Kind) {
    let faults = [
        (Fault::ResetRequest(1 << 20), ObjectErrorKind::Unavailable),
        (Fault::LoseAnswer, ObjectErrorKind::Unavailable),
        (Fault::status(500), ObjectErrorKind::Unavailable),
        (Fault::CorruptRequest(1 << 20), ObjectErrorKind::Corrupt),
    ];
    for (fault, expected) in faults {
        let (trial, store) = trial(kind);
        // Not the first one.
        trial.proxy.on(1, is_whole_part, Fault::Pass);
        trial.proxy.on(1, is_whole_part, fault.clone());
        assert_eq!(kind_of(trial.put(&store)), expected, "{fault:?}");
        assert_eq!(trial.proxy.rules_left(), 0);
        trial.nothing_is_there();
        trial.the_next_try(&store, Put::Created);
    }
}

fn a_completion_whose_answer_was_lost(kind: Kind) {
    let (trial, store) = trial(kind);
    trial.proxy.on(1, completes, Fault::LoseAnswer);
    assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::OutcomeUnknown);
    assert_eq!(trial.proxy.rules_left(), 0);
    trial.the_object_is_there();
    trial.the_next_try(&store, Put::SameThere);
}

fn a_completion_that_arrives_late(kind: Kind) {
    let (trial, _) = trial(kind);
    let options = StoreOptions {
        multipart_bytes: PART_BYTES,
        part_bytes: PART_BYTES,
        request_timeout: std::time::Duration::from_secs(10),
        ..trial.options()
    };
    let store = trial.bucket.store_with(&options);
    let gate = Gate::new();
    trial.proxy.on(1, completes, Fault::DelayRequest(gate.clone()));
    assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::OutcomeUnknown);
    trial.nothing_is_there();
    gate.open();
    let direct = trial.direct();
    wait_for("the late completion", || direct.head(&trial.key).ok());
    trial.the_next_try(&store, Put::SameThere);
}
