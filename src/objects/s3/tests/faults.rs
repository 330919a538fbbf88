//! What each fault is told as, and that nothing is there, or told, that is not.

use std::error::Error as _;

use super::super::super::Trouble;
use super::server::Fault;
use super::*;

type Kind = ObjectErrorKind;

/// No text that anybody might print holds a secret.
fn shows_no_secret(error: &ObjectError) {
    let mut texts = vec![format!("{error} {error:?} {error:#?}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(format!("{error} {error:?}"));
        cause = error.source();
    }
    for text in texts {
        for secret in [SECRET, TOKEN, "AWS4-HMAC-SHA256", "Signature="] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn failed<T: std::fmt::Debug>(outcome: ObjectResult<T>) -> ObjectError {
    let error = outcome.unwrap_err();
    shows_no_secret(&error);
    assert!(&*error.place == "s3://bucket/some/where", "{error:?}");
    error
}

static BYTES: Bytes = Bytes::from_static(b"some bytes");

fn put(store: &S3ObjectStore) -> ObjectResult<Put> {
    store.put_if_absent(&key("a"), &Upload::of_bytes(&BYTES))
}

/// Each fault on a put: what is told, whether it is there, and what the next try finds.
#[test]
fn faults_of_a_put() {
    let refuse = |status, code| Fault::Refuse(Answer::refusal(status, code));
    for (fault, kind, next) in [
        (Fault::Reset, Kind::OutcomeUnknown, Put::Created),
        (Fault::LoseAnswer, Kind::OutcomeUnknown, Put::SameThere),
        (Fault::Damage, Kind::Corrupt, Put::Created),
        (refuse(500, "InternalError"), Kind::OutcomeUnknown, Put::Created),
        (refuse(503, "SlowDown"), Kind::Unavailable, Put::Created),
        (refuse(403, "AccessDenied"), Kind::Denied, Put::Created),
        (refuse(403, "RequestTimeTooSkewed"), Kind::Denied, Put::Created),
        (refuse(404, "NoSuchBucket"), Kind::Failed, Put::Created),
        (refuse(507, "XMinioStorageFull"), Kind::Full, Put::Created),
        (refuse(409, "ConditionalRequestConflict"), Kind::Unavailable, Put::Created),
        (Fault::Refuse(Answer::of(502, "<html>no gateway</html>")), Kind::OutcomeUnknown, Put::Created),
        (Fault::Refuse(Answer::of(404, "<html>nothing here</html>")), Kind::Failed, Put::Created),
    ] {
        let (server, _bucket) = fake::serve();
        let store = of(&server);
        server.fail(uses("PUT"), fault.clone());
        assert_eq!(failed(put(&store)).kind, kind, "{fault:?}");
        assert_eq!(server.unmet(), 0);
        assert_eq!(put(&store).unwrap(), next, "{fault:?}");
        assert_eq!(store.get(&key("a"), 100).unwrap(), *BYTES);
        let requests = server.asked().iter().filter(|request| request.method == "PUT").count();
        assert_eq!(requests, 2, "nothing is tried again by itself: {fault:?}");
    }
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let (server, _bucket) = fake::serve();
    let store = open(&StoreOptions { request_timeout: Duration::from_millis(300), ..options(&server.endpoint()) });
    server.fail(uses("PUT"), Fault::Hang);
    let error = failed(put(&store));
    assert_eq!((error.kind, error.trouble()), (Kind::OutcomeUnknown, Some(Trouble::NoAnswer)));
    server.fail(uses("GET"), Fault::Hang);
    assert_eq!(failed(store.get(&key("a"), 100)).kind, Kind::Unavailable);
    server.fail(uses("DELETE"), Fault::Hang);
    assert_eq!(failed(store.delete(&key("a"))).kind, Kind::OutcomeUnknown);
    server.fail(uses("GET"), Fault::Hang);
    assert_eq!(failed(store.list("", None, 1)).kind, Kind::Unavailable);
}

#[test]
fn a_taken_key_that_cannot_be_looked_at() {
    let (server, bucket) = fake::serve();
    let store = of(&server);
    put(&store).unwrap();
    server.fail(uses("HEAD"), Fault::Refuse(Answer::refusal(403, "")));
    server.fail(uses("GET"), Fault::Refuse(Answer::refusal(403, "AccessDenied")));
    let error = failed(put(&store));
    assert_eq!((error.kind, error.operation, error.trouble()), (Kind::Denied, "put", Some(Trouble::MissingRight)));
    // Taken at the condition, and gone when looked at.
    bucket.lock().unwrap().objects.clear();
    server.fail(uses("PUT"), Fault::Refuse(Answer::refusal(412, "PreconditionFailed")));
    assert_eq!(failed(put(&store)).kind, Kind::Unavailable);
    // A conflict with somebody who then has it.
    put(&store).unwrap();
    server.fail(uses("PUT"), Fault::Refuse(Answer::refusal(409, "ConditionalRequestConflict")));
    assert_eq!(put(&store).unwrap(), Put::SameThere);
}

#[test]
fn answers_that_are_cut_off_are_none() {
    let (server, _bucket) = fake::serve();
    let store = of(&server);
    put(&store).unwrap();
    for fault in [Fault::CutOff, Fault::Reset, Fault::LoseAnswer] {
        server.fail(uses("GET"), fault.clone());
        assert_eq!(failed(store.get(&key("a"), 100)).kind, Kind::Unavailable, "{fault:?}");
        server.fail(uses("GET"), fault.clone());
        assert_eq!(failed(store.get_range(&key("a"), 1, 8)).kind, Kind::Unavailable, "{fault:?}");
        server.fail(uses("GET"), fault.clone());
        assert_eq!(failed(store.list("", None, 9)).kind, Kind::Unavailable, "{fault:?}");
    }
    // Fewer bytes than asked for, in an answer that is whole.
    let short = Answer::of(206, "ome").with("content-range", "bytes 1-3/10");
    server.fail(uses("GET"), Fault::Refuse(short));
    assert_eq!(failed(store.get_range(&key("a"), 1, 8)).kind, Kind::Failed);
    // All of it instead of a range.
    server.fail(uses("GET"), Fault::Refuse(Answer::of(200, "some bytes")));
    assert_eq!(failed(store.get_range(&key("a"), 0, 3)).kind, Kind::Failed);
    assert_eq!(server.unmet(), 0);
}

#[test]
fn what_rots_in_the_store_is_no_answer() {
    let (server, bucket) = fake::serve();
    let store = of(&server);
    put(&store).unwrap();
    bucket.lock().unwrap().objects.get_mut("some/where/a").unwrap().0[3] ^= 1;
    assert_eq!(failed(store.get(&key("a"), 100)).kind, Kind::Corrupt);
}

#[test]
fn only_an_object_is_absent() {
    let server =
        Server::new(
            |request| {
                if request.method == "HEAD" { Answer::of(404, "") } else { Answer::refusal(404, "NoSuchBucket") }
            },
        );
    let store = of(&server);
    let error = failed(store.head(&key("a")));
    assert_eq!((error.kind, error.trouble()), (Kind::Failed, Some(Trouble::NoBucket)));
    assert!(error.what.contains("bucket=`bucket`"), "{error}");
    for error in [
        failed(store.get(&key("a"), 9)),
        failed(store.list("", None, 9)),
        failed(store.prove(&key("a"), &Upload::of_bytes(&BYTES))),
        failed(store.delete(&key("a"))),
    ] {
        assert_eq!((error.kind, error.trouble()), (Kind::Failed, Some(Trouble::NoBucket)));
    }
    // A web server that is no store at all.
    let server = Server::new(|_| Answer::of(404, "<html>not found</html>"));
    let store = of(&server);
    for error in [failed(store.head(&key("a"))), failed(store.get(&key("a"), 9)), failed(store.list("", None, 9))] {
        assert_eq!((error.kind, error.trouble()), (Kind::Failed, Some(Trouble::NotAStore)), "{error}");
    }
}

/// HEAD has no body: why it was refused is asked for once more.
#[test]
fn why_a_head_was_refused() {
    for (code, trouble) in [
        ("RequestTimeTooSkewed", Trouble::ClockSkew),
        ("InvalidAccessKeyId", Trouble::WrongCredentials),
        ("SignatureDoesNotMatch", Trouble::WrongCredentials),
        ("ExpiredToken", Trouble::ExpiredCredentials),
        ("AccessDenied", Trouble::MissingRight),
    ] {
        let server = Server::new(move |_| Answer::refusal(403, code));
        let error = failed(of(&server).head(&key("a")));
        assert_eq!((error.kind, error.trouble(), error.operation), (Kind::Denied, Some(trouble), "head"));
        assert_eq!(error.said().unwrap().request_id.as_deref(), Some("R1"));
    }
}

#[test]
fn nobody_there() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = open(&options(&format!("http://{port}")));
    for error in [failed(put(&store)), failed(store.delete(&key("a"))), failed(store.get(&key("a"), 1))] {
        assert_eq!((error.kind, error.trouble()), (Kind::Unavailable, Some(Trouble::Unreachable)), "{error:?}");
    }
    let store = open(&options("http://no-such-host.invalid"));
    assert_eq!(failed(put(&store)).trouble(), Some(Trouble::Unreachable));
}

#[test]
fn retention_that_cannot_be_had() {
    let (server, bucket) = fake::serve();
    let store = of(&server);
    server.fail(uses("PUT"), Fault::Refuse(Answer::refusal(400, "InvalidRequest")));
    let upload = Upload { retain_until: Some(Timestamp(1)), ..Upload::of_bytes(&BYTES) };
    assert_eq!(failed(store.put_if_absent(&key("a"), &upload)).kind, Kind::Unsupported);
    put(&store).unwrap();
    bucket.lock().unwrap().locked.push("some/where/a".to_owned());
    assert_eq!(failed(store.delete(&key("a"))).kind, Kind::Denied);
}

/// Each fault at each request of an upload in parts: what is told is so, and the next try ends well.
#[test]
fn faults_of_an_upload_in_parts() {
    let bytes = parts_of((10 << 20) + 1);
    let upload = Upload::of_bytes(&bytes);
    let is = |name: &'static str| {
        move |request: &Request| {
            let step = match (request.method.as_str(), request.asks("uploadId").is_some()) {
                ("HEAD", _) => "look",
                ("GET", false) if request.asks("uploads").is_some() => "find",
                ("POST", false) => "create",
                ("PUT", true) => "part",
                ("POST", true) => "complete",
                _ => "other",
            };
            step == name
        }
    };
    for step in ["look", "find", "create", "part", "complete"] {
        for fault in [
            Fault::Reset,
            Fault::LoseAnswer,
            Fault::Refuse(Answer::refusal(500, "InternalError")),
            Fault::Refuse(Answer::refusal(503, "SlowDown")),
            Fault::Refuse(Answer::refusal(200, "InternalError")),
        ] {
            let (server, bucket) = fake::serve();
            let options = StoreOptions { multipart_bytes: 0, part_bytes: 5 << 20, ..options(&server.endpoint()) };
            let store = open(&options);
            server.fail(is(step), fault.clone());
            let first = store.put_if_absent(&key("a"), &upload);
            assert_eq!(server.unmet(), 0, "{step} {fault:?}");
            let is_there = bucket.lock().unwrap().objects.contains_key("some/where/a");
            match first {
                Ok(put) => assert_eq!((put, is_there), (Put::Created, true), "{step} {fault:?}"),
                Err(error) => {
                    shows_no_secret(&error);
                    let is_open = error.kind == Kind::OutcomeUnknown;
                    assert!(matches!(error.kind, Kind::OutcomeUnknown | Kind::Unavailable | Kind::Failed), "{error:?}");
                    assert!(!is_there || is_open, "{step} {fault:?} {error:?}");
                    assert!(!is_open || step == "complete", "{step} {fault:?} {error:?}");
                }
            }
            let expected = if is_there { Put::SameThere } else { Put::Created };
            assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap(), expected, "{step} {fault:?}");
            assert_eq!(bucket.lock().unwrap().objects["some/where/a"].0, bytes, "{step} {fault:?}");
            assert_eq!(store.prove(&key("a"), &upload).unwrap(), Proof::StoreChecksum);
        }
    }
}

/// A source that is found out only at its end: nothing is stored, and nothing unfinished stays.
#[test]
fn parts_of_a_source_that_is_another_one() {
    let (server, bucket) = fake::serve();
    let options = StoreOptions { multipart_bytes: 0, part_bytes: 5 << 20, ..options(&server.endpoint()) };
    let bytes = parts_of(6 << 20);
    let upload = Upload::new(&bytes, bytes.len() as u64, [3; 32]);
    assert_eq!(failed(open(&options).put_if_absent(&key("a"), &upload)).kind, Kind::Corrupt);
    let bucket = bucket.lock().unwrap();
    assert!(bucket.objects.is_empty() && bucket.uploads.is_empty());
}
