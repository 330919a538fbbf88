//! What each refusal, and each lack of an answer, is told as.

use std::time::Duration;

use super::server::{Answer, Server, refusal, status};
use super::*;
use crate::objects::{ObjectErrorKind, ObjectStore, Trouble, Upload};

use ObjectErrorKind::{Corrupt, Denied, Failed, Invalid, OutcomeUnknown, Unavailable};

/// A put whose block gets the first answer, and whose commit, if there is one, gets the second.
fn put(answers: Vec<Answer>) -> crate::objects::ObjectError {
    let server = Server::new(answers);
    let store = store_with(&server, |options| options.request_timeout = Duration::from_millis(500));
    store.put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abc"))).unwrap_err()
}

#[test]
fn a_commit_that_may_have_happened_is_of_unknown_outcome() {
    for answer in [
        refusal(500, "InternalError"),
        refusal(500, "OperationTimedOut"),
        status(502),
        status(503),
        Answer::Close,
        Answer::Hang,
    ] {
        assert_eq!(put(vec![status(201), answer]).kind, OutcomeUnknown);
    }
}

#[test]
fn a_commit_that_was_refused_has_not_happened() {
    for (answer, kind) in [
        (refusal(503, "ServerBusy"), Unavailable),
        (refusal(429, "TooManyRequests"), Unavailable),
        (refusal(403, "AuthorizationPermissionMismatch"), Denied),
        (refusal(404, "ContainerNotFound"), Failed),
        (refusal(400, "InvalidHeaderValue"), Failed),
    ] {
        assert_eq!(put(vec![status(201), answer]).kind, kind);
    }
}

#[test]
fn a_block_is_seen_by_nobody_so_nothing_is_in_doubt() {
    for (answer, kind) in [
        (refusal(500, "InternalError"), Unavailable),
        (Answer::Close, Unavailable),
        (Answer::Hang, Unavailable),
        (refusal(400, "Md5Mismatch"), Corrupt),
        (refusal(403, "AuthenticationFailed"), Denied),
        (refusal(413, "RequestBodyTooLarge"), Invalid),
    ] {
        assert_eq!(put(vec![answer]).kind, kind);
    }
}

#[test]
fn a_delete_may_have_happened_or_was_refused() {
    for (answer, kind) in [
        (status(202), None),
        (refusal(404, "BlobNotFound"), None),
        (refusal(404, "ContainerNotFound"), Some(Failed)),
        (refusal(409, "BlobImmutableDueToPolicy"), Some(Denied)),
        (refusal(412, "LeaseIdMissing"), Some(Denied)),
        (refusal(500, "InternalError"), Some(OutcomeUnknown)),
        (Answer::Close, Some(OutcomeUnknown)),
    ] {
        let server = Server::new([answer]);
        assert_eq!(store(&server).delete(&key("a")).err().map(|error| error.kind), kind);
    }
}

#[test]
fn a_server_that_is_not_there_has_done_nothing() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = Server::new([]);
    let store = store_with(&server, |options| options.azure.endpoint = Some(format!("http://{address}/acct")));
    for error in [
        store.delete(&key("a")).unwrap_err(),
        store.put_if_absent(&key("a"), &Upload::of_bytes(&bytes(""))).unwrap_err(),
        store.head(&key("a")).unwrap_err(),
    ] {
        assert_eq!((error.kind, error.trouble()), (Unavailable, Some(Trouble::Unreachable)), "{error:?}");
    }
}

#[test]
fn only_a_missing_object_is_not_found() {
    for (answer, is_absent) in [
        (refusal(404, "BlobNotFound"), true),
        (refusal(404, "ContainerNotFound"), false),
        (refusal(404, "ResourceNotFound"), false),
        (status(404), false),
    ] {
        let server = Server::new([answer]);
        let error = store(&server).get(&key("a"), 10).unwrap_err();
        assert_eq!(error.is_not_found(), is_absent, "{error:?}");
    }
    let server = Server::new([refusal(404, "ContainerNotFound")]);
    let error = store(&server).head(&key("a")).unwrap_err();
    assert!(error.what.contains("container=`box`"), "{error}");
    assert_eq!(error.trouble(), Some(Trouble::NoBucket));
}

#[test]
fn how_long_the_store_wants_to_be_left_alone_is_told() {
    let busy =
        Answer::Reply(503, vec![("x-ms-error-code", "ServerBusy".into()), ("retry-after", "3".into())], String::new());
    let server = Server::new([busy]);
    let error = store(&server).list("", None, 1).unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Unavailable, Some(Duration::from_secs(3))));
}

#[test]
fn an_answer_that_is_cut_off_or_too_long_is_an_error() {
    let range = |range: &str, body: &str| Answer::Reply(206, vec![("content-range", range.into())], body.into());
    for (answer, kind) in [
        (Answer::Truncated(10, "abc".into()), Unavailable),
        (range("bytes 0-9/100", "abc"), Unavailable),
        (range("bytes 0-9/100", "abcabcabcabc"), Failed),
        (range("bytes 0-2/3", "abc"), Invalid),
        (refusal(416, "InvalidRange"), Invalid),
    ] {
        // An object of no bytes is asked for once more without a range.
        let server = Server::new([answer, refusal(416, "InvalidRange")]);
        let error = store(&server).get_range(&key("a"), 0, 10).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    }
    let server = Server::new([range("bytes 0-2/3", "ab")]);
    assert_eq!(store(&server).get(&key("a"), 10).unwrap_err().kind, Unavailable);
    let server = Server::new([range("bytes 0-9/10", "abcdefghij")]);
    assert_eq!(store(&server).get_range(&key("a"), 0, 10).unwrap(), "abcdefghij");
}

#[test]
fn what_is_no_store_is_told_so() {
    let page = "<html><body>Log in</body></html>";
    let answers = [Answer::Page(page), Answer::Page(page), Answer::Page(page), Answer::Page(page), status(201)];
    let server = Server::new(answers);
    let store = store(&server);
    for error in [
        store.list("", None, 1).unwrap_err(),
        store.head(&key("a")).unwrap_err(),
        store.get(&key("a"), 100).unwrap_err(),
    ] {
        assert_eq!((error.kind, error.trouble()), (Failed, Some(Trouble::NotAStore)), "{error:?}");
    }
    // What was sent may have come further.
    assert_eq!(store.delete(&key("a")).unwrap_err().kind, OutcomeUnknown);
    let server = Server::new([Answer::Reply(200, Vec::new(), "not at all".into())]);
    assert_eq!(self::store(&server).list("", None, 1).unwrap_err().kind, Failed);
}

#[test]
fn every_request_is_counted_and_those_that_failed() {
    let server = Server::new([
        status(201),
        refusal(409, "BlobAlreadyExists"),
        refusal(500, "InternalError"),
        refusal(404, "BlobNotFound"),
        Answer::Close,
    ]);
    let store = store(&server);
    store.put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abc"))).unwrap_err();
    store.head(&key("a")).unwrap_err();
    store.delete(&key("a")).unwrap_err();
    let counts: Vec<_> =
        store.meter().all().iter().map(|usage| (usage.requests, usage.failed, usage.sent_bytes)).collect();
    // Put: the block and the commit. List: the blocks of what was there.
    assert_eq!(counts, [(2, 0, 3), (0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 0)]);
}
