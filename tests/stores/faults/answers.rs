//! Errors that the server says, and answers that do not come whole.

use std::time::Duration;

use icecore::objects::{ObjectErrorKind, ObjectResult, Put, Upload};

use super::{Trial, error_of, kind_of, with_every_server};
use crate::proxy::{Fault, Request};
use crate::servers::Kind;

with_every_server!(
    a_busy_server_is_left_alone,
    a_server_that_failed_may_have_done_it,
    reads_of_a_failing_server_find_nothing_absent,
    half_an_answer_is_none,
    a_delete_whose_answer_was_lost,
    every_request_is_counted_once,
);

const BUSY: [(Option<&str>, Option<Duration>); 2] = [(None, None), (Some("7"), Some(Duration::from_secs(7)))];

fn says(kind: Kind, status: u16, retry_after: Option<&'static str>) -> Fault {
    let body = match (kind, status) {
        (Kind::Azurite, 503) => "<?xml version=\"1.0\"?><Error><Code>ServerBusy</Code><Message>m</Message></Error>",
        (Kind::Azurite, _) => "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>",
        (_, 503) => "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message></Error>",
        (..) => "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>",
    };
    Fault::Answer { status, retry_after, body }
}

type Read<'a> = (&'static str, Box<dyn Fn() -> ObjectResult<()> + 'a>);

/// The calls that read, each by its name.
fn reads(trial: &Trial) -> [Read<'_>; 5] {
    let store = trial.store();
    let all = trial.bytes.len() as u64;
    let (a, b, c, d, e) = (store.clone(), store.clone(), store.clone(), store.clone(), store);
    [
        ("get", Box::new(move || a.get(&trial.key, all).map(|read| assert_eq!(read, trial.bytes)))),
        (
            "get_range",
            Box::new(move || b.get_range(&trial.key, 7, 100_000).map(|read| assert_eq!(read, trial.bytes[7..100_007]))),
        ),
        ("head", Box::new(move || c.head(&trial.key).map(|head| assert_eq!(head.bytes, all)))),
        ("list", Box::new(move || d.list("", None, 10).map(|page| assert_eq!(page.objects.len(), 1)))),
        ("prove", Box::new(move || e.prove(&trial.key, &Upload::of_bytes(&trial.bytes)).map(drop))),
    ]
}

fn any(_: &Request) -> bool {
    true
}

fn a_busy_server_is_left_alone(kind: Kind) {
    for (sent, expected) in BUSY {
        let trial = Trial::new(kind);
        let store = trial.store();
        for request in [trial.sends(), trial.makes()] {
            trial.proxy.on(1, request, says(kind, 503, sent));
            let error = error_of(trial.put(&store));
            assert_eq!((error.kind, error.retry_after), (ObjectErrorKind::Unavailable, expected), "{error:?}");
            trial.nothing_is_there();
        }
        trial.the_next_try(&store, Put::Created);
        assert_eq!(trial.proxy.rules_left(), 0);
        for (name, read) in reads(&trial) {
            trial.proxy.on(1, any, says(kind, 503, sent));
            let error = error_of(read());
            assert_eq!((error.kind, error.retry_after), (ObjectErrorKind::Unavailable, expected), "{name}: {error:?}");
            read().unwrap();
        }
        trial.proxy.on(1, any, says(kind, 503, sent));
        let error = error_of(store.delete(&trial.key));
        assert_eq!((error.kind, error.retry_after), (ObjectErrorKind::Unavailable, expected), "{error:?}");
        trial.the_object_is_there();
    }
}

fn a_server_that_failed_may_have_done_it(kind: Kind) {
    for fault in [says(kind, 500, None), Fault::status(500), Fault::status(502)] {
        let trial = Trial::new(kind);
        let store = trial.store();
        trial.proxy.on(1, trial.sends(), fault.clone());
        assert_eq!(kind_of(trial.put(&store)), trial.in_doubt_while_sending(), "{fault:?}");
        trial.proxy.on(1, trial.makes(), fault.clone());
        assert_eq!(kind_of(trial.put(&store)), ObjectErrorKind::OutcomeUnknown, "{fault:?}");
        trial.nothing_is_there();
        trial.the_next_try(&store, Put::Created);
        trial.proxy.next("DELETE", fault.clone());
        assert_eq!(kind_of(store.delete(&trial.key)), ObjectErrorKind::OutcomeUnknown, "{fault:?}");
        store.delete(&trial.key).unwrap();
        trial.nothing_is_there();
        assert_eq!(trial.proxy.rules_left(), 0);
    }
}

fn reads_of_a_failing_server_find_nothing_absent(kind: Kind) {
    let trial = Trial::new(kind);
    trial.the_next_try(&trial.store(), Put::Created);
    let proxy_error = "<html><body>who knows</body></html>";
    let faults = [
        says(kind, 500, None),
        Fault::status(500),
        Fault::Answer { status: 502, retry_after: None, body: proxy_error },
        Fault::LoseAnswer,
    ];
    for fault in faults {
        for (name, read) in reads(&trial) {
            trial.proxy.on(1, any, fault.clone());
            assert_eq!(kind_of(read()), ObjectErrorKind::Unavailable, "{name}: {fault:?}");
            read().unwrap();
        }
    }
    // What is not from the store says nothing of what is absent.
    for (name, read) in reads(&trial) {
        trial.proxy.on(usize::MAX, any, Fault::Answer { status: 404, retry_after: None, body: proxy_error });
        let kind = kind_of(read());
        assert!(matches!(kind, ObjectErrorKind::Failed | ObjectErrorKind::Unavailable), "{name}: {kind:?}");
        trial.proxy.clear();
        read().unwrap();
    }
    trial.the_object_is_there();
}

fn half_an_answer_is_none(kind: Kind) {
    let trial = Trial::new(kind);
    trial.the_next_try(&trial.store(), Put::Created);
    for after in [0, 1, 60_000] {
        for fault in [Fault::TruncateAnswer(after), Fault::ResetAnswer(after)] {
            for (name, read) in
                reads(&trial).into_iter().filter(|(name, _)| matches!(*name, "get" | "get_range" | "list"))
            {
                if name == "list" && after > 1 {
                    continue;
                }
                trial.proxy.next("GET", fault.clone());
                assert_eq!(kind_of(read()), ObjectErrorKind::Unavailable, "{name}: {fault:?}");
                read().unwrap();
            }
        }
    }
    assert_eq!(trial.proxy.rules_left(), 0);
}

fn a_delete_whose_answer_was_lost(kind: Kind) {
    let trial = Trial::new(kind);
    let store = trial.store();
    trial.the_next_try(&store, Put::Created);
    trial.proxy.next("DELETE", Fault::LoseAnswer);
    assert_eq!(kind_of(store.delete(&trial.key)), ObjectErrorKind::OutcomeUnknown);
    trial.nothing_is_there();
    store.delete(&trial.key).unwrap();
    trial.the_next_try(&store, Put::Created);
}

/// What is paid for is what was on the wire.
fn every_request_is_counted_once(kind: Kind) {
    let trial = Trial::new(kind);
    let store = trial.store();
    assert_eq!(trial.put(&store).unwrap(), Put::Created);
    assert_eq!(trial.put(&store).unwrap(), Put::SameThere);
    trial.proxy.next("GET", Fault::status(500));
    kind_of(store.get(&trial.key, 1 << 20));
    store.get(&trial.key, 1 << 20).unwrap();
    store.head(&trial.key).unwrap();
    store.prove(&trial.key, &Upload::of_bytes(&trial.bytes)).unwrap();
    store.list("", None, 10).unwrap();
    store.delete(&trial.key).unwrap();
    assert_eq!(kind_of(store.head(&trial.key)), ObjectErrorKind::NotFound);
    let counted: u64 = store.meter().all().iter().map(|usage| usage.requests).sum();
    assert_eq!(counted, trial.proxy.requests().len() as u64, "{:?} {:?}", store.meter().all(), trial.proxy.methods());
    assert_eq!(store.meter().all().iter().map(|usage| usage.failed).sum::<u64>(), 1);
}
