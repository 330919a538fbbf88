//! An object whose upload was disturbed is there whole or not at all, and is never reported there when it is not.

use icecore::objects::{ObjectErrorKind, Put, Upload};

use super::{Trial, error_of, kind_of, noise, with_every_server};
use crate::admin;
use crate::proxy::Fault;
use crate::servers::Kind;

with_every_server!(
    an_answer_that_was_lost,
    a_connection_that_is_reset,
    bytes_that_are_others_on_the_way,
    somebody_elses_object_at_the_key,
    nobody_listens,
);

fn an_answer_that_was_lost(kind: Kind) {
    for fault in [Fault::LoseAnswer, Fault::TruncateAnswer(0)] {
        let trial = Trial::new(kind);
        let store = trial.store();
        let is_lost = matches!(fault, Fault::LoseAnswer);
        trial.proxy.on(1, trial.makes(), fault);
        if is_lost {
            assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::OutcomeUnknown);
        } else {
            // A head without a body is the whole answer.
            assert_eq!(trial.put(&store).unwrap(), Put::Created);
        }
        assert_eq!(trial.proxy.rules_left(), 0);
        trial.the_object_is_there();
        trial.the_next_try(&store, Put::SameThere);
    }
}

fn a_connection_that_is_reset(kind: Kind) {
    for after in [0, 1, 150_000, 300_006] {
        let trial = Trial::new(kind);
        let store = trial.store();
        trial.proxy.on(1, trial.sends(), Fault::ResetRequest(after));
        assert_eq!(kind_of(trial.put(&store)), trial.in_doubt_while_sending(), "{after}");
        assert_eq!(trial.proxy.rules_left(), 0);
        trial.nothing_is_there();
        trial.the_next_try(&store, Put::Created);
    }
    let trial = Trial::new(kind);
    let store = trial.store();
    trial.proxy.on(1, trial.makes(), Fault::ResetRequest(1));
    assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::OutcomeUnknown);
    trial.nothing_is_there();
    trial.the_next_try(&store, Put::Created);
}

fn bytes_that_are_others_on_the_way(kind: Kind) {
    for at in [1000, 150_000, 300_006] {
        let trial = Trial::new(kind);
        let store = trial.store();
        trial.proxy.on(1, trial.sends(), Fault::CorruptRequest(at));
        assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::Corrupt, "{at}");
        assert_eq!(trial.proxy.rules_left(), 0);
        trial.nothing_is_there();
        trial.the_next_try(&store, Put::Created);
    }
}

/// Made by another client, without any checksum beside it.
fn somebody_elses_object_at_the_key(kind: Kind) {
    let trial = Trial::new(kind);
    let store = trial.store();
    let path = format!("/{}/some/prefix/{}", trial.bucket.name, trial.key.as_str());
    let answer = admin::send(&trial.bucket.server, "PUT", &path, &[], &trial.bytes).unwrap();
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    trial.the_next_try(&store, Put::SameThere);
    // As long, and other bytes.
    let other = noise(trial.bytes.len() - 1).iter().copied().chain([7]).collect();
    let upload = Upload::of_bytes(&other);
    assert_eq!(store.put_if_absent(&trial.key, &upload).unwrap(), Put::OtherThere);
    assert_eq!(kind_of(store.prove(&trial.key, &upload)), ObjectErrorKind::Corrupt);
    trial.the_object_is_there();
}

fn nobody_listens(kind: Kind) {
    let trial = Trial::new(kind);
    let nobody = crate::engine::free_port();
    let store = trial.bucket.store_with(&trial.bucket.options(nobody));
    let error = error_of(trial.put(&store));
    assert_eq!(error.kind, ObjectErrorKind::Unavailable, "{error:?}");
    assert_eq!(kind_of(store.get(&trial.key, 1 << 20)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(store.head(&trial.key)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(store.list("", None, 1)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(store.delete(&trial.key)), ObjectErrorKind::Unavailable);
    trial.nothing_is_there();
}
