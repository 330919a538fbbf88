//! What comes after we gave up.

use icecore::objects::{ObjectErrorKind, Put, Upload};

use super::{Trial, kind_of, noise, with_every_server};
use crate::proxy::{Fault, Gate};
use crate::servers::Kind;
use crate::wait_for;

with_every_server!(
    a_put_that_succeeds_late,
    a_put_that_arrives_behind_the_next_try,
    a_put_that_arrives_behind_another_object,
    a_read_that_hangs,
    an_answer_that_comes_late,
);

/// The request waits on its way, we give up, and then the server does it after all.
fn a_put_that_succeeds_late(kind: Kind) {
    let trial = Trial::new(kind);
    let gate = Gate::new();
    trial.proxy.on(1, trial.makes(), Fault::DelayRequest(gate.clone()));
    assert_eq!(kind_of(trial.put(&trial.impatient())), ObjectErrorKind::OutcomeUnknown);
    trial.nothing_is_there();
    gate.open();
    let direct = trial.direct();
    wait_for("the late put", || direct.head(&trial.key).ok());
    trial.the_next_try(&trial.store(), Put::SameThere);
}

fn a_put_that_arrives_behind_the_next_try(kind: Kind) {
    let trial = Trial::new(kind);
    let gate = Gate::new();
    trial.proxy.on(1, trial.makes(), Fault::DelayRequest(gate.clone()));
    assert_eq!(kind_of(trial.put(&trial.impatient())), ObjectErrorKind::OutcomeUnknown);
    trial.the_next_try(&trial.store(), Put::Created);
    let held = trial.proxy.requests().into_iter().find(|request| trial.makes()(request)).unwrap().number;
    gate.open();
    let answer = wait_for("the server answers the late put", || trial.proxy.answer_to(held));
    assert!((400..500).contains(&answer), "{answer}");
    trial.the_object_is_there();
}

/// Somebody else has used the key meanwhile: what is there stays.
fn a_put_that_arrives_behind_another_object(kind: Kind) {
    let trial = Trial::new(kind);
    let gate = Gate::new();
    trial.proxy.on(1, trial.makes(), Fault::DelayRequest(gate.clone()));
    assert_eq!(kind_of(trial.put(&trial.impatient())), ObjectErrorKind::OutcomeUnknown);
    let other = noise(1000);
    assert_eq!(trial.direct().put_if_absent(&trial.key, &Upload::of_bytes(&other)).unwrap(), Put::Created);
    let held = trial.proxy.requests().into_iter().find(|request| trial.makes()(request)).unwrap().number;
    gate.open();
    let answer = wait_for("the server answers the late put", || trial.proxy.answer_to(held));
    assert!((400..500).contains(&answer), "{answer}");
    assert_eq!(trial.direct().get(&trial.key, 1 << 20).unwrap(), other);
    assert_eq!(trial.put(&trial.store()).unwrap(), Put::OtherThere);
}

/// The server did it at once; only its answer is late.
fn an_answer_that_comes_late(kind: Kind) {
    let trial = Trial::new(kind);
    let gate = Gate::new();
    trial.proxy.on(1, trial.makes(), Fault::HoldAnswer(gate.clone()));
    assert_eq!(kind_of(trial.put(&trial.impatient())), ObjectErrorKind::OutcomeUnknown);
    gate.open();
    trial.the_object_is_there();
    trial.the_next_try(&trial.store(), Put::SameThere);
    let gate = Gate::new();
    trial.proxy.next("DELETE", Fault::HoldAnswer(gate.clone()));
    assert_eq!(kind_of(trial.impatient().delete(&trial.key)), ObjectErrorKind::OutcomeUnknown);
    gate.open();
    trial.nothing_is_there();
}

fn a_read_that_hangs(kind: Kind) {
    let trial = Trial::new(kind);
    trial.the_next_try(&trial.store(), Put::Created);
    let store = trial.impatient();
    for hang in [
        Fault::HoldAnswer as fn(Gate) -> Fault,
        |gate| Fault::StallAnswer(0, gate),
        |gate| Fault::StallAnswer(60_000, gate),
    ] {
        let gate = Gate::new();
        trial.proxy.next("GET", hang(gate.clone()));
        assert_eq!(kind_of(store.get(&trial.key, 1 << 20)), ObjectErrorKind::Unavailable);
        gate.open();
        assert_eq!(trial.store().get(&trial.key, 1 << 20).unwrap(), trial.bytes);
    }
    let gate = Gate::new();
    trial.proxy.next("HEAD", Fault::HoldAnswer(gate.clone()));
    assert_eq!(kind_of(store.head(&trial.key)), ObjectErrorKind::Unavailable);
    trial.proxy.next("GET", Fault::HoldAnswer(gate));
    assert_eq!(kind_of(store.list("", None, 1)), ObjectErrorKind::Unavailable);
}
