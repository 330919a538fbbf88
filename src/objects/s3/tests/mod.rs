//! The store against servers on loopback that do what they are told.

#![allow(clippy::disallowed_methods, reason = "a file of certificates for the options")]

mod fake;
mod faults;
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use self::server::{Answer, Request, Server};
use super::super::{S3Options, conformance};
use super::*;
use crate::clock::FakeClock;
use crate::fs::OsFileSystem;
use crate::types::{Secret, Timestamp};

const SECRET: &str = "SecretThatNobodyMaySee";
const TOKEN: &str = "TokenThatNobodyMaySee";

fn options(endpoint: &str) -> StoreOptions {
    StoreOptions {
        request_timeout: Duration::from_secs(20),
        s3: S3Options {
            endpoint: Some(endpoint.to_owned()),
            access_key_id: Some(Secret::new("KEYID")),
            secret_access_key: Some(Secret::new(SECRET)),
            session_token: Some(Secret::new(TOKEN)),
            ..S3Options::default()
        },
        ..StoreOptions::default()
    }
}

fn open(options: &StoreOptions) -> S3ObjectStore {
    let location = Location::S3 { bucket: "bucket".to_owned(), prefix: "some/where".to_owned() };
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000)));
    S3ObjectStore::new(&location, options, &(Arc::new(OsFileSystem::new()) as Arc<dyn FileSystem>), &clock).unwrap()
}

fn of(server: &Server) -> S3ObjectStore {
    open(&options(&server.endpoint()))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn uses(method: &'static str) -> impl Fn(&Request) -> bool {
    move |request| request.method == method
}

fn parts_of(bytes: usize) -> Bytes {
    (0..bytes).map(|at| at.to_le_bytes()[at % 3]).collect()
}

#[test]
fn conformance_over_loopback() {
    let (server, _bucket) = fake::serve();
    conformance::run(&of(&server));
}

#[test]
fn conformance_in_parts() {
    let (server, bucket) = fake::serve();
    let store = open(&StoreOptions { multipart_bytes: 0, ..options(&server.endpoint()) });
    conformance::run(&store);
    assert!(bucket.lock().unwrap().uploads.is_empty(), "nothing unfinished is left");
}

#[test]
fn many_write_one_key() {
    let (server, _bucket) = fake::serve();
    let store: Arc<dyn ObjectStore> = Arc::new(of(&server));
    conformance::races(&store);
}

#[test]
fn the_request_of_a_put() {
    let (server, _bucket) = fake::serve();
    let mut options = options(&server.endpoint());
    options.storage_class = Some("STANDARD_IA".to_owned());
    let store = open(&options);
    let bytes = Bytes::from_static(b"abc");
    let upload = Upload { retain_until: Some(Timestamp(1_800_000_000_500_000)), ..Upload::of_bytes(&bytes) };
    assert_eq!(store.put_if_absent(&key("a b/ö~"), &upload).unwrap(), Put::Created);
    let asked = server.asked();
    let [request] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(request.path, "/bucket/some/where/a b/ö~");
    for (name, value) in [
        ("if-none-match", "*"),
        ("content-length", "3"),
        ("x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2027-01-15T08:00:01Z"),
        ("x-amz-security-token", TOKEN),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let signature = request.header("authorization").unwrap();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=KEYID/"), "{signature}");
    for signed in ["if-none-match", "x-amz-checksum-sha256", "x-amz-object-lock-mode", "host"] {
        assert!(signature.contains(signed), "{signature}");
    }
    assert_eq!(store.meter().usage(RequestKind::Put).requests, 1);
    assert_eq!(store.meter().usage(RequestKind::Put).sent_bytes, 3);
}

#[test]
fn each_request_counts_once() {
    let (server, _bucket) = fake::serve();
    let store = open(&StoreOptions { multipart_bytes: 6 << 20, part_bytes: 0, ..options(&server.endpoint()) });
    let bytes = parts_of(12 << 20);
    store.put_if_absent(&key("parts"), &Upload::of_bytes(&bytes)).unwrap();
    store.put_if_absent(&key("whole"), &Upload::of_bytes(&bytes.slice(..100))).unwrap();
    store.get(&key("whole"), 100).unwrap();
    store.get_range(&key("parts"), 5, 7).unwrap();
    store.head(&key("nothing")).unwrap_err();
    store.list("", None, 10).unwrap();
    store.delete(&key("whole")).unwrap();
    let mut asked = std::collections::BTreeMap::new();
    for request in server.asked() {
        let kind = match request.method.as_str() {
            "PUT" | "POST" => RequestKind::Put,
            "GET" if request.path == "/bucket" || request.path == "/bucket/" => RequestKind::List,
            "GET" => RequestKind::Get,
            "HEAD" => RequestKind::Head,
            _ => RequestKind::Delete,
        };
        *asked.entry(kind).or_insert(0) += 1;
    }
    for usage in store.meter().all() {
        assert_eq!(usage.requests, asked[&usage.kind], "{usage:?}");
        assert_eq!(usage.failed, 0, "{usage:?}");
    }
    let put = store.meter().usage(RequestKind::Put);
    // One, and three parts between the beginning and the end.
    assert_eq!((put.requests, put.sent_bytes), (1 + 2 + 3, (12 << 20) + 100));
    assert_eq!(store.meter().usage(RequestKind::Get).received_bytes, 107);
}

#[test]
fn probing() {
    let (server, bucket) = fake::serve();
    let store = of(&server);
    let abilities = store.probe().unwrap();
    let expected = Abilities {
        conditional_put: true,
        checks_checksums: true,
        tells_checksums: true,
        multipart: true,
        server: Some("fake".to_owned()),
        ..Abilities::default()
    };
    assert_eq!(abilities, expected);
    assert!(bucket.lock().unwrap().objects.is_empty() && bucket.lock().unwrap().uploads.is_empty());
}

/// Of a store that takes any checksum, none is a proof; one that completes parts over an object gets none.
#[test]
fn probing_a_store_that_believes_anything() {
    let (server, bucket) = fake::serve();
    let store = open(&StoreOptions { multipart_bytes: 10, ..options(&server.endpoint()) });
    bucket.lock().unwrap().believes_anything = true;
    bucket.lock().unwrap().completes_anything = true;
    let abilities = store.probe().unwrap();
    assert!(abilities.conditional_put && !abilities.checks_checksums && !abilities.multipart, "{abilities:?}");
    assert!(!abilities.tells_checksums);
    let bytes = parts_of(100);
    store.put_if_absent(&key("a"), &Upload::of_bytes(&bytes)).unwrap();
    assert!(bucket.lock().unwrap().uploads.is_empty());
    assert_eq!(store.head(&key("a")).unwrap().sha256, None);
    assert_eq!(store.prove(&key("a"), &Upload::of_bytes(&bytes)).unwrap(), Proof::ReadBack);
    // What it claims is not what it has.
    bucket.lock().unwrap().objects.get_mut("some/where/a").unwrap().0[50] ^= 1;
    let error = store.prove(&key("a"), &Upload::of_bytes(&bytes)).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Corrupt);
}

#[test]
fn proofs() {
    let (server, bucket) = fake::serve();
    let five = 5 << 20;
    let store = open(&StoreOptions { multipart_bytes: five + 1, part_bytes: five, ..options(&server.endpoint()) });
    let bytes = parts_of((12 << 20) + 1);
    let (whole, parts) = (bytes.slice(..1000), bytes.clone());
    for (name, bytes) in [("whole", &whole), ("parts", &parts)] {
        store.put_if_absent(&key(name), &Upload::of_bytes(bytes)).unwrap();
        server.asked();
        assert_eq!(store.prove(&key(name), &Upload::of_bytes(bytes)).unwrap(), Proof::StoreChecksum);
        assert_eq!(server.asked().len(), 1, "one HEAD");
        let mut other = bytes.to_vec();
        other[900] ^= 1;
        let error = store.prove(&key(name), &Upload::of_bytes(&other.into())).unwrap_err();
        assert_eq!((error.kind, error.operation), (ObjectErrorKind::Corrupt, "prove"));
    }
    assert_eq!(store.head(&key("parts")).unwrap().sha256, None, "a sum over parts is not the object's");
    // Another writer's parts, of another length, which this server does not tell: read back.
    server.asked();
    let other = open(&StoreOptions { multipart_bytes: 0, part_bytes: 6 << 20, ..options(&server.endpoint()) });
    assert_eq!(other.prove(&key("parts"), &Upload::of_bytes(&parts)).unwrap(), Proof::ReadBack);
    assert_eq!(other.put_if_absent(&key("parts"), &Upload::of_bytes(&parts)).unwrap(), Put::SameThere);
    bucket.lock().unwrap().objects.clear();
    let error = store.prove(&key("parts"), &Upload::of_bytes(&parts)).unwrap_err();
    assert!(error.is_not_found());
}

/// An earlier try's parts are not sent again, and only those that are the right ones count.
#[test]
fn an_upload_goes_on() {
    let (server, bucket) = fake::serve();
    let five = 5 << 20;
    let store = open(&StoreOptions { multipart_bytes: 0, part_bytes: five, ..options(&server.endpoint()) });
    let bytes = parts_of((23 << 20) + 1);
    let upload = Upload::of_bytes(&bytes);
    server.fail(
        |request| request.asks("partNumber").as_deref() == Some("4"),
        server::Fault::Refuse(Answer::refusal(503, "SlowDown").with("retry-after", "9")),
    );
    let error = store.put_if_absent(&key("a"), &upload).unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ObjectErrorKind::Unavailable, Some(Duration::from_secs(9))));
    assert!(store.head(&key("a")).unwrap_err().is_not_found());
    {
        let mut bucket = bucket.lock().unwrap();
        let (_, unfinished) = bucket.uploads.first_key_value().unwrap();
        assert_eq!(unfinished.parts.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 5]);
        // One part of somebody else's, as long as ours.
        let wrong = vec![7; 5 << 20];
        let sum = put::base64(&crate::avro::sha256(&wrong));
        bucket.uploads.values_mut().next().unwrap().parts.insert(2, (wrong, sum));
        // And an unfinished upload that is none of ours.
        let other = fake::Upload { key: "some/where/a".to_owned(), parts: [(1, (vec![1], String::new()))].into() };
        bucket.uploads.insert("zzz".to_owned(), other.clone());
        bucket.uploads.insert("beside".to_owned(), fake::Upload { key: "some/where/a-b".to_owned(), ..other });
    }
    server.asked();
    assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap(), Put::Created);
    let sent: Vec<String> = server.asked().iter().filter_map(|request| request.asks("partNumber")).collect();
    assert_eq!(sent, ["2", "4"]);
    assert_eq!(bucket.lock().unwrap().objects["some/where/a"].0, bytes);
    let left: Vec<String> = bucket.lock().unwrap().uploads.keys().cloned().collect();
    assert_eq!(left, ["beside"], "of this key nothing unfinished is left");
}

/// A source that is not read to its end, as by a deadline or a stop, takes nothing away from the next try; what that compares is not paced.
#[test]
fn an_upload_whose_time_was_over_goes_on() {
    struct Ends(bytes::Bytes, AtomicUsize, AtomicUsize);
    impl crate::objects::Source for Ends {
        fn read(&self, offset: u64, bytes: usize) -> crate::fs::FsResult<bytes::Bytes> {
            if self.1.fetch_sub(1, Ordering::Relaxed) == 0 {
                let ended = std::io::Error::other("the time is over");
                return Err(crate::fs::FsError::new("read", std::path::Path::new("segment"), ended));
            }
            self.0.read(offset, bytes)
        }
        fn look(&self, offset: u64, bytes: usize) -> crate::fs::FsResult<bytes::Bytes> {
            self.2.fetch_add(1, Ordering::Relaxed);
            self.0.read(offset, bytes)
        }
    }
    let (server, bucket) = fake::serve();
    let store = open(&StoreOptions { multipart_bytes: 0, part_bytes: 5 << 20, ..options(&server.endpoint()) });
    let bytes = parts_of((23 << 20) + 1);
    // They are sent side by side.
    let sent = || server.asked().iter().filter_map(|request| request.asks("partNumber")).collect::<BTreeSet<String>>();
    let whole = Upload::of_bytes(&bytes);
    let source = Ends(bytes.clone(), AtomicUsize::new(3), AtomicUsize::new(0));
    let upload = Upload::new(&source, whole.bytes, whole.sha256);
    assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap_err().kind, ObjectErrorKind::Corrupt);
    assert_eq!(sent(), ["1", "2", "3"].map(str::to_owned).into());
    let source = Ends(bytes.clone(), AtomicUsize::new(100), AtomicUsize::new(0));
    let upload = Upload::new(&source, whole.bytes, whole.sha256);
    assert_eq!(store.put_if_absent(&key("a"), &upload).unwrap(), Put::Created);
    assert_eq!(sent(), ["4", "5"].map(str::to_owned).into());
    assert_eq!((source.1.into_inner(), source.2.into_inner()), (98, 3), "what the store has is only compared");
    assert_eq!(bucket.lock().unwrap().objects["some/where/a"].0, bytes);
}

#[test]
fn pages_without_anything_of_ours() {
    let pages = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::new(move |_| {
        let body = match pages.fetch_add(1, Ordering::Relaxed) {
            0 => {
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
                 <Contents><Key>elsewhere</Key><Size>1</Size></Contents>"
            }
            _ => "<IsTruncated>false</IsTruncated><Contents><Key>some/where/a</Key><Size>1</Size></Contents>",
        };
        Answer::of(200, format!("<ListBucketResult>{body}</ListBucketResult>"))
    });
    let page = of(&server).list("", None, 5).unwrap();
    assert_eq!((page.objects.len(), page.objects[0].key.as_str(), page.next), (1, "a", None));
    assert_eq!(server.asked()[1].asks("continuation-token").as_deref(), Some("t"));
}

/// A store that keeps keys as folders, and lists `a/b` before `a-b`: nothing is left out, and the order is ours.
#[test]
fn listings_in_another_order() {
    let (server, bucket) = fake::serve();
    bucket.lock().unwrap().lists_as_folders = true;
    conformance::run(&of(&server));
    // The disorder lies between two pages.
    let store = of(&server);
    for name in ["p/a/1", "p/a/2", "p/a-b"] {
        put::put(&store, name, &Upload::of_bytes(&Bytes::from_static(b"abc"))).unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.list("p/", after.as_deref(), 2).unwrap();
        all.extend(page.objects.into_iter().map(|object| object.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, ["p/a-b", "p/a/1", "p/a/2"]);
    // Begun in the middle, by who cannot know: no answer is better than a part of it.
    let error = of(&server).list("p/", Some("p/a/2"), 2).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Failed);
    // Known before the first page, where the store was probed.
    let store = of(&server);
    store.probe().unwrap();
    assert_eq!(store.list("p/", Some("p/a-b"), 1).unwrap().objects[0].key, "p/a/1");
    assert!(bucket.lock().unwrap().objects.keys().all(|key| !key.contains("_probe")));
}

/// The probe knows by name who completes parts twice.
#[test]
fn a_server_known_to_race() {
    let (server, bucket) = fake::serve();
    bucket.lock().unwrap().name = "SeaweedFS 30GB 4.48";
    let abilities = of(&server).probe().unwrap();
    assert_eq!(abilities.server.as_deref(), Some("SeaweedFS 30GB 4.48"));
    assert!(!abilities.multipart && abilities.conditional_put, "{abilities:?}");
}

#[test]
fn versions_newest_first() {
    let server = Server::new(|request| {
        if request.method == "HEAD" {
            let until = "2030-01-01T00:00:00Z";
            return Answer::of(200, "").with("x-amz-object-lock-retain-until-date", until);
        }
        let version = |key: &str, id: &str, at: &str| {
            format!(
                "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>false</IsLatest><Size>3</Size>\
                 <LastModified>2026-01-0{at}T00:00:00Z</LastModified></Version>"
            )
        };
        let marker = "<DeleteMarker><Key>some/where/a</Key><VersionId>m</VersionId><IsLatest>true</IsLatest>\
                      <LastModified>2026-01-02T00:00:00Z</LastModified></DeleteMarker>";
        let versions = [
            version("some/where/a", "v2", "3"),
            version("some/where/a", "null", "1"),
            version("some/where/a-b", "v3", "4"),
        ];
        Answer::of(200, format!("<ListVersionsResult>{}{marker}</ListVersionsResult>", versions.concat()))
    });
    let versions = of(&server).versions(&key("a")).unwrap();
    let told: Vec<_> = versions.iter().map(|version| (version.id.as_str(), version.is_delete_marker)).collect();
    assert_eq!(told, [("m", true), ("v2", false), ("", false)]);
    assert_eq!(versions[1].retain_until, Some(Timestamp(1_893_456_000_000_000)));
    assert_eq!((versions[0].retain_until, versions[1].bytes), (None, 3));
}

#[test]
fn options_that_cannot_be() {
    let location = Location::S3 { bucket: "b".to_owned(), prefix: String::new() };
    let fs = Arc::new(OsFileSystem::new()) as Arc<dyn FileSystem>;
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
    let refused = |change: &dyn Fn(&mut StoreOptions)| {
        let mut options = options("http://127.0.0.1:1");
        change(&mut options);
        S3ObjectStore::new(&location, &options, &fs, &clock).unwrap_err()
    };
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("ca.pem");
    std::fs::write(&pem, "no certificate").unwrap();
    for error in [
        refused(&|options| options.s3.secret_access_key = None),
        refused(&|options| options.s3.access_key_id = None),
        refused(&|options| (options.s3.access_key_id, options.s3.secret_access_key) = (None, None)),
        refused(&|options| options.s3.endpoint = Some("127.0.0.1:9000".to_owned())),
        refused(&|options| options.s3.endpoint = Some(format!("http://user:{SECRET}@host"))),
        refused(&|options| options.ca_file = Some(directory.path().join("absent"))),
        refused(&|options| options.ca_file = Some(pem.clone())),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

/// From a thread of another runtime: it blocks, and neither panics nor waits for ever.
#[test]
fn calls_from_within_a_runtime() {
    let (server, _bucket) = fake::serve();
    let store = of(&server);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { store.head(&key("a")).unwrap_err() });
}

/// `gs://` speaks Google's dialect: the condition that holds there, and nothing of Amazon's beside it.
#[test]
fn the_dialect_of_google() {
    let server = Server::new(|request| match request.method.as_str() {
        "PUT" => Answer::refusal(412, "PreconditionFailed"),
        "HEAD" => Answer::of(200, "").with("content-length", "3").with("x-amz-checksum-sha256", "no proof of Google's"),
        _ => Answer::of(206, "abc").with("content-range", "bytes 0-2/3"),
    });
    let location = Location::Gcs { bucket: "bucket".to_owned(), prefix: String::new() };
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
    let mut options = StoreOptions { multipart_bytes: 0, ..options(&server.endpoint()) };
    options.s3.session_token = None;
    options.storage_class = Some("COLDLINE".to_owned());
    let fs = Arc::new(OsFileSystem::new()) as Arc<dyn FileSystem>;
    let store = S3ObjectStore::new(&location, &options, &fs, &clock).unwrap();
    let bytes = Bytes::from_static(b"abc");
    assert_eq!(store.put_if_absent(&key("a"), &Upload::of_bytes(&bytes)).unwrap(), Put::SameThere);
    assert_eq!(store.prove(&key("a"), &Upload::of_bytes(&bytes)).unwrap(), Proof::ReadBack);
    let asked = server.asked();
    for request in &asked {
        let amazon = request.headers.iter().find(|(name, value)| name.starts_with("x-amz") || value.contains("AWS4"));
        assert_eq!(amazon, None, "{request:?}");
        let signature = request.header("authorization").unwrap();
        assert!(signature.starts_with("GOOG4-HMAC-SHA256 Credential=KEYID/"), "{signature}");
        assert!(signature.contains("/auto/storage/goog4_request, SignedHeaders="), "{signature}");
        assert!(signature.contains("host;x-goog-"), "{signature}");
    }
    assert_eq!(asked[0].header("x-goog-if-generation-match"), Some("0"));
    assert_eq!(asked[0].header("x-goog-storage-class"), Some("COLDLINE"));
    // RFC 3720's CRC-32C of these bytes, big-endian.
    assert_eq!(asked[0].header("x-goog-hash"), Some("crc32c=Nks/tw=="));
    assert_eq!((asked[0].body.as_slice(), asked[0].header("if-none-match")), (&b"abc"[..], None));
}
