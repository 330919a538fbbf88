//! Going on behind any key, with marks that only the store understands.

use super::server::{Answer, Server, refusal};
use super::*;
use crate::objects::{ObjectStore, Page};

fn page(names: &[&str], next: &str) -> Answer {
    let blob = |name: &&str| {
        let (name, kind) = name.split_once('|').unwrap_or((name, ""));
        let kind = if kind.is_empty() { String::new() } else { format!("<ResourceType>{kind}</ResourceType>") };
        format!("<Blob><Name>{name}</Name><Properties><Content-Length>3</Content-Length>{kind}</Properties></Blob>")
    };
    items(&names.iter().map(blob).collect::<String>(), next)
}

fn items(blobs: &str, next: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://x/\" ContainerName=\"box\">\
         <Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    Answer::Reply(200, vec![("content-type", "application/xml".into())], body)
}

fn keys(page: &Page) -> Vec<&str> {
    page.objects.iter().map(|object| object.key.as_str()).collect()
}

/// Which marker and how many keys each request asked for.
fn asked(server: &Server) -> Vec<(Option<String>, Option<usize>)> {
    let of = |target: &str, name: &str| {
        let url = azure_core::http::Url::parse(&format!("http://x{target}")).unwrap();
        url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let of_request = |request: super::server::Asked| {
        (of(&request.target, "marker"), of(&request.target, "maxresults").map(|max| max.parse().unwrap()))
    };
    server.asked().into_iter().map(of_request).collect()
}

#[test]
fn the_end_of_a_page_is_gone_on_from_by_its_mark() {
    let server = Server::new([page(&["a", "b"], "m1"), page(&["c"], "")]);
    let store = store(&server);
    let first = store.list("", None, 2).unwrap();
    assert_eq!((keys(&first), first.next.as_deref()), (vec!["a", "b"], Some("b")));
    let second = store.list("", Some("b"), 2).unwrap();
    assert_eq!((keys(&second), second.next.as_deref()), (vec!["c"], None));
    assert_eq!(asked(&server), [(None, Some(2)), (Some("m1".into()), Some(2))]);
}

#[test]
fn behind_a_key_whose_mark_nobody_knows_everything_before_is_passed_over() {
    let server = Server::new([page(&["a", "b"], "m1"), page(&["c", "d"], "m2"), page(&["e"], "")]);
    let page = store(&server).list("", Some("bb"), 3).unwrap();
    assert_eq!((keys(&page), page.next.as_deref()), (vec!["c", "d", "e"], None));
    assert_eq!(asked(&server), [(None, Some(5_000)), (Some("m1".into()), Some(5_000)), (Some("m2".into()), Some(1))]);
}

#[test]
fn a_page_that_had_more_than_was_wanted_is_asked_for_again() {
    let server = Server::new([page(&["a", "b", "c", "d"], "m1"), page(&["a", "b", "c", "d"], "m1"), page(&["e"], "")]);
    let store = store(&server);
    let first = store.list("", Some("a"), 1).unwrap();
    assert_eq!((keys(&first), first.next.as_deref()), (vec!["b"], Some("b")));
    let second = store.list("", first.next.as_deref(), 5).unwrap();
    assert_eq!((keys(&second), second.next.as_deref()), (vec!["c", "d", "e"], None));
}

#[test]
fn a_mark_that_the_store_takes_no_more_is_done_without() {
    let server = Server::new([page(&["a", "b"], "m1"), refusal(400, "OutOfRangeInput"), page(&["a", "b", "c"], "")]);
    let store = store(&server);
    store.list("", None, 2).unwrap();
    assert_eq!(keys(&store.list("", Some("b"), 2).unwrap()), ["c"]);
}

#[test]
fn a_page_without_keys_is_not_the_end() {
    let server = Server::new([page(&[], "m1"), page(&["a"], "m2"), page(&[], "m3"), page(&["b"], "")]);
    let page = store(&server).list("", None, 5).unwrap();
    assert_eq!((keys(&page), page.next.as_deref()), (vec!["a", "b"], None));
}

#[test]
fn newer_versions_begin_in_the_middle() {
    let server = Server::new([page(&["b", "c"], "m1"), page(&["d"], "")]);
    let store = store_with(&server, |options| options.azure.service_version = Some("2026-04-06".into()));
    assert_eq!(keys(&store.list("", Some("b"), 1).unwrap()), ["c"]);
    let asked = server.asked();
    assert!(asked[0].target.contains("startFrom=b") && asked[0].target.contains("maxresults=2"), "{}", asked[0].target);
}

#[test]
fn a_store_of_another_order_is_read_whole_and_put_in_order() {
    let pages = || [page(&["a/1", "a/2", "a-b"], "m1"), page(&["a.c"], "")];
    let server = Server::new([page(&["a/1", "a/2", "a-b"], "m1")]);
    server.then(pages());
    let store = store(&server);
    let first = store.list("a", None, 3).unwrap();
    assert_eq!((keys(&first), first.next.as_deref()), (vec!["a-b", "a.c", "a/1"], Some("a/1")));
    server.then([page(&["a/1", "a/2", "a-b"], "m1")]);
    server.then(pages());
    let second = store.list("a", Some("a/1"), 3).unwrap();
    assert_eq!((keys(&second), second.next.as_deref()), (vec!["a/2"], None));
}

#[test]
fn directories_are_no_objects_and_tell_of_another_order() {
    let whole = || page(&["a|directory", "a/1|file", "a-b|file"], "");
    let server = Server::new([whole(), whole(), whole()]);
    let store = store(&server);
    assert_eq!(keys(&store.list("", None, 9).unwrap()), ["a-b", "a/1"]);
    assert_eq!(keys(&store.list("", Some("a-b"), 9).unwrap()), ["a/1"]);
    // Once it is known, one reading is enough.
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn versions_come_newest_first_and_what_was_deleted_is_seen() {
    let version = |name: &str, id: &str, current: bool, more: &str| {
        let current = if current { "<IsCurrentVersion>true</IsCurrentVersion>" } else { "" };
        format!(
            "<Blob><Name>{name}</Name><VersionId>{id}</VersionId>{current}<Properties><Content-Length>3</Content-Length>\
             {more}</Properties></Blob>"
        )
    };
    let until = "<ImmutabilityPolicyUntilDate>Sun, 17 Mar 2030 17:46:40 GMT</ImmutabilityPolicyUntilDate>";
    let list = version("a", "2026-01-01T00:00:00.0Z", false, until)
        + &version("a", "2026-01-02T00:00:00.0Z", true, "")
        + &version("ab", "2026-01-03T00:00:00.0Z", true, "");
    let server = Server::new([items(&list, "m1")]);
    let versions = store(&server).versions(&key("a")).unwrap();
    let ids: Vec<&str> = versions.iter().map(|version| &version.id[..10]).collect();
    assert_eq!(ids, ["2026-01-02", "2026-01-01"]);
    assert_eq!(versions[1].retain_until, Some(Timestamp(1_900_000_000_000_000)));
    assert!(server.lines()[0].contains("include=versions"));
    // Deleted: none of them is the object.
    let server = Server::new([items(&version("a", "2026-01-01T00:00:00.0Z", false, ""), "")]);
    let versions = store(&server).versions(&key("a")).unwrap();
    assert_eq!(versions.iter().map(|version| version.is_delete_marker).collect::<Vec<_>>(), [true, false]);
    // An account without versions refuses to be asked for them.
    let server = Server::new([refusal(400, "InvalidQueryParameterValue"), page(&["a"], "")]);
    assert_eq!(store(&server).versions(&key("a")).unwrap().len(), 1);
    let server = Server::new([page(&[], "")]);
    assert_eq!(store(&server).versions(&key("a")).unwrap(), []);
}
