//! Which requests a put makes, and what it makes of the answers.

use azure_core::base64;
use md5::{Digest, Md5};

use super::server::{Answer, Server, refusal, status};
use super::*;
use crate::avro::sha256;
use crate::objects::azure::put::name;
use crate::objects::{ObjectErrorKind, ObjectStore, Proof, Put, Upload};

fn blocks(committed: &[(Vec<u8>, usize)], uncommitted: &[(Vec<u8>, usize)]) -> Answer {
    let list = |blocks: &[(Vec<u8>, usize)]| -> String {
        let block = |(name, bytes): &(Vec<u8>, usize)| {
            format!("<Block><Name>{}</Name><Size>{bytes}</Size></Block>", base64::encode(name))
        };
        blocks.iter().map(block).collect()
    };
    let (committed, uncommitted) = (list(committed), list(uncommitted));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><CommittedBlocks>{committed}</CommittedBlocks>\
         <UncommittedBlocks>{uncommitted}</UncommittedBlocks></BlockList>"
    );
    Answer::Reply(200, vec![("content-type", "application/xml".into())], body)
}

fn length(bytes: u64) -> Answer {
    Answer::Reply(200, vec![("content-length", bytes.to_string())], String::new())
}

fn named(index: u32, text: &str) -> (Vec<u8>, usize) {
    (name(index, &sha256(text.as_bytes())), text.len())
}

#[test]
fn a_put_is_a_block_and_its_commit() {
    let server = Server::new([status(201), status(201)]);
    let store = store_with(&server, |options| options.storage_class = Some("Cool".into()));
    assert_eq!(store.put_if_absent(&key("a/b c"), &Upload::of_bytes(&bytes("abc"))).unwrap(), Put::Created);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let id = base64::encode(named(0, "abc").0);
    let escaped: String =
        azure_core::http::Url::parse_with_params("http://x", [("id", &id)]).unwrap().query().unwrap()[3..].into();
    assert!(asked[0].target.starts_with("/acct/box/a/b%20c?"), "{}", asked[0].target);
    assert!(asked[0].target.contains(&escaped), "{} {escaped}", asked[0].target);
    assert_eq!(asked[0].body, b"abc");
    assert_eq!(asked[0].header("content-md5").unwrap(), base64::encode(Md5::digest(b"abc")));
    assert_eq!(asked[0].header("if-none-match"), None);
    assert!(asked[1].target.contains("comp=blocklist"), "{}", asked[1].target);
    assert_eq!(asked[1].header("if-none-match"), Some("*"));
    assert_eq!(asked[1].header("x-ms-access-tier"), Some("Cool"));
    assert_eq!(asked[1].header("x-ms-version"), Some(crate::objects::azure::SERVICE_VERSION));
    assert!(String::from_utf8_lossy(&asked[1].body).contains(&id));
}

#[test]
fn an_object_of_no_bytes_is_a_commit_alone() {
    let server = Server::new([status(201)]);
    assert_eq!(store(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes(""))).unwrap(), Put::Created);
    assert_eq!(server.lines(), ["PUT a?comp=blocklist"]);
}

#[test]
fn the_names_of_the_committed_blocks_tell_what_is_there() {
    for (there, put) in [
        (vec![named(0, "abc")], Put::SameThere),
        (vec![named(0, "abd")], Put::OtherThere),
        (vec![named(0, "abcd")], Put::OtherThere),
        (vec![named(1, "abc")], Put::OtherThere),
    ] {
        let server = Server::new([status(201), refusal(409, "BlobAlreadyExists"), blocks(&there, &[])]);
        // A name at another place is none of ours: it is read back.
        server.then([length(3), Answer::Reply(206, vec![("content-range", "bytes 0-2/3".into())], "abd".into())]);
        assert_eq!(
            store(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abc"))).unwrap(),
            put,
            "{there:?}"
        );
    }
}

#[test]
fn what_was_made_in_another_way_is_read_back() {
    for (there, proof) in [("abc", Some(Proof::ReadBack)), ("abd", None)] {
        let whole = Answer::Reply(206, vec![("content-range", "bytes 0-2/3".into())], there.into());
        let server = Server::new([blocks(&[], &[]), length(3), whole]);
        let text = bytes("abc");
        let proven = store(&server).prove(&key("a"), &Upload::of_bytes(&text));
        assert_eq!(proven.as_ref().ok(), proof.as_ref());
        assert_eq!(proven.err().map(|error| error.kind), proof.is_none().then_some(ObjectErrorKind::Corrupt));
    }
}

#[test]
fn blocks_that_nobody_committed_are_no_object() {
    // Such a key has a list of blocks, and no object: also an upload of no bytes is not there.
    let server = Server::new([blocks(&[], &[]), refusal(404, "BlobNotFound")]);
    let text = bytes("");
    assert!(store(&server).prove(&key("a"), &Upload::of_bytes(&text)).unwrap_err().is_not_found());
}

#[test]
fn a_put_whose_answer_was_lost_is_found_by_the_next() {
    let server = Server::new([status(201), Answer::Close]);
    let store = store(&server);
    let text = bytes("abc");
    let upload = Upload::of_bytes(&text);
    assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap_err().kind, ObjectErrorKind::OutcomeUnknown);
    server.then([status(201), refusal(409, "BlobAlreadyExists"), blocks(&[named(0, "abc")], &[])]);
    assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap(), Put::SameThere);
}

#[test]
fn another_ones_commit_takes_the_blocks_with_it() {
    let server = Server::new([status(201), refusal(400, "InvalidBlockList"), blocks(&[named(0, "xyz")], &[])]);
    assert_eq!(store(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abc"))).unwrap(), Put::OtherThere);
    // And where it is gone again: nothing happened, try again.
    let server = Server::new([status(201), refusal(400, "InvalidBlockList"), refusal(404, "BlobNotFound")]);
    let error = store(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abc"))).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Unavailable);
}

fn in_parts(server: &Server) -> AzureObjectStore {
    store_with(server, |options| (options.multipart_bytes, options.part_bytes) = (4, 3))
}

#[test]
fn blocks_of_an_earlier_try_are_not_sent_again() {
    let old = [named(0, "abc"), named(1, "xyz"), (name(2, &sha256(b"g")), 2)];
    let server = Server::new([blocks(&[], &old), status(201), status(201), status(201)]);
    assert_eq!(in_parts(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abcdefg"))).unwrap(), Put::Created);
    let asked = server.asked();
    let sent: Vec<_> =
        asked.iter().map(|asked| String::from_utf8_lossy(&asked.body[..asked.body.len().min(3)])).collect();
    assert_eq!(sent, ["", "def", "g", "<?x"]);
    // The list of what is committed names all of them.
    let list = String::from_utf8_lossy(&asked[3].body);
    for (index, text) in [(0, "abc"), (1, "def"), (2, "g")] {
        assert!(list.contains(&base64::encode(named(index, text).0)), "{list}");
    }
}

#[test]
fn an_object_in_blocks_that_is_there_is_not_sent() {
    let same = [named(0, "abc"), named(1, "def"), named(2, "g")];
    let server = Server::new([blocks(&same, &[]), blocks(&same, &[])]);
    assert_eq!(
        in_parts(&server).put_if_absent(&key("a"), &Upload::of_bytes(&bytes("abcdefg"))).unwrap(),
        Put::SameThere
    );
    assert_eq!(server.asked().len(), 2);
    // Cut in another way, by other settings of then: the same bytes all the same.
    let cut = [named(0, "abcde"), named(1, "fg")];
    let server = Server::new([blocks(&cut, &[])]);
    let text = bytes("abcdefg");
    assert_eq!(in_parts(&server).prove(&key("a"), &Upload::of_bytes(&text)).unwrap(), Proof::StoreChecksum);
}

#[test]
fn a_source_that_is_not_what_was_promised_is_never_committed() {
    let text = bytes("abcdefg");
    let upload = Upload::new(&text, 7, [1; 32]);
    let server = Server::new([]);
    let error = store(&server).put_if_absent(&key("a"), &upload).unwrap_err();
    assert_eq!((error.kind, server.asked().len()), (ObjectErrorKind::Corrupt, 0));
    let server = Server::new([refusal(404, "BlobNotFound"), status(201), status(201), status(201)]);
    let error = in_parts(&server).put_if_absent(&key("a"), &upload).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Corrupt);
    let lines = server.lines();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.starts_with("GET") || !line.contains("comp=blocklist")), "{lines:?}");
    let server = Server::new([blocks(&[named(0, "abcde"), named(1, "fg")], &[])]);
    assert_eq!(store(&server).prove(&key("a"), &upload).unwrap_err().kind, ObjectErrorKind::Corrupt);
}

#[test]
fn retention_is_asked_for_and_looked_at() {
    let until = |date: &str| {
        Answer::Reply(
            200,
            vec![("content-length", "3".into()), ("x-ms-immutability-policy-until-date", date.into())],
            String::new(),
        )
    };
    let text = bytes("abc");
    let retained = Upload { retain_until: Some(Timestamp(1_900_000_000_500_000)), ..Upload::of_bytes(&text) };
    let server = Server::new([status(201), status(201), until("Sun, 17 Mar 2030 17:46:40 GMT")]);
    assert_eq!(store(&server).put_if_absent(&key("a"), &retained).unwrap(), Put::Created);
    let asked = server.asked();
    assert_eq!(asked[1].header("x-ms-immutability-policy-until-date"), Some("Sun, 17 Mar 2030 17:46:40 GMT"));
    assert_eq!(asked[1].header("x-ms-immutability-policy-mode"), Some("locked"));
    // Where the store has no retention of single objects, nothing is made.
    let server = Server::new([status(201), refusal(409, "ContainerImmutableStorageWithVersioningIsNotEnabled")]);
    assert!(store(&server).put_if_absent(&key("a"), &retained).is_err());
    // One that was there is retained too, and one that the store will not retain is not said to be.
    let server = Server::new([
        status(201),
        refusal(409, "BlobAlreadyExists"),
        blocks(&[named(0, "abc")], &[]),
        length(3),
        status(200),
    ]);
    assert_eq!(store(&server).put_if_absent(&key("a"), &retained).unwrap(), Put::SameThere);
    assert!(server.lines()[4].contains("comp=immutabilityPolicies"));
    let server = Server::new([status(201), status(201), length(3), refusal(501, "APINotImplemented"), status(202)]);
    let error = store(&server).put_if_absent(&key("a"), &retained).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Unsupported, "{error:?}");
    // And it is not left there: nobody was told of it.
    assert_eq!(server.lines()[4], "DELETE a");
}
