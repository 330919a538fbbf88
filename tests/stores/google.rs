//! Google's dialect before a server that stores: SeaweedFS, behind a proxy that takes the dialect and speaks S3's.
//!
//! What this shows: that the store does all that a store promises by requests of that dialect alone. What it does not: that Google's own
//! servers read the dialect so; the signature is not looked at here (`src/objects/s3` has one that is known), nor is `x-goog-hash`.

use std::fmt::Write as _;

use icecore::objects::{Location, ObjectErrorKind, ObjectKey, Upload, conformance};

use super::admin::{Signed, sign};
use super::bucket::{self, Bucket};
use super::proxy::{Proxy, Request};
use super::servers::Kind;

/// The request in S3's words, in the name of who may do everything.
fn in_s3(request: &Request, host: &str, keys: (&str, &str)) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    let what = Signed {
        keys,
        service: "s3",
        method: &request.method,
        host,
        path,
        query: pairs,
        hash: "UNSIGNED-PAYLOAD".to_owned(),
    };
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", request.method, request.target);
    for line in request.head.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        assert!(!name.starts_with("x-amz-") && name != "if-none-match", "Google's takes no {name}");
        if !(name == "host" || name == "authorization" || name.starts_with("x-goog-")) {
            write!(head, "{line}\r\n").unwrap();
        }
    }
    if let Some(generation) = request.header("x-goog-if-generation-match") {
        assert_eq!(generation, "0");
        head.push_str("If-None-Match: *\r\n");
    }
    for (name, value) in sign(&what) {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head + "\r\n"
}

struct Google {
    bucket: Bucket,
    proxy: Proxy,
}

impl Google {
    fn new() -> Self {
        let bucket = Bucket::new(Kind::Seaweed);
        let (address, keys) = (bucket.server.address(), bucket.server.credentials());
        let proxy = Proxy::translating(address, move |request| in_s3(request, &address.to_string(), keys));
        Self { bucket, proxy }
    }

    fn store(&self, prefix: &str) -> std::sync::Arc<dyn icecore::objects::ObjectStore> {
        let location: Location = format!("gs://{}/{prefix}", self.bucket.name).parse().unwrap();
        bucket::open(&location, &self.bucket.options(self.proxy.address()))
    }
}

#[test]
fn every_promise_in_googles_dialect() {
    let google = Google::new();
    conformance::run(&*google.store("one"));
    conformance::races(&google.store("two"));
    let requests = google.proxy.requests();
    assert!(
        requests.iter().all(|request| request.header("authorization").is_some_and(|text| text.starts_with("GOOG4-")))
    );
    let puts: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    // No parts, no checksum of Amazon's, and each under the condition.
    assert!(!puts.is_empty());
    assert!(puts.iter().all(|put| put.header("x-goog-if-generation-match") == Some("0")));
    assert!(puts.iter().all(|put| put.header("x-goog-hash").is_some_and(|hash| hash.starts_with("crc32c="))));
}

/// Above the length from which others get parts it is one request, held in memory, which the store says beforehand.
#[test]
fn a_large_object_in_googles_dialect() {
    let google = Google::new();
    let location: Location = format!("gs://{}/large", google.bucket.name).parse().unwrap();
    let mut options = google.bucket.options(google.proxy.address());
    options.multipart_bytes = 5 << 20;
    let store = bucket::open(&location, &options);
    let bytes: bytes::Bytes = fastrand::Rng::with_seed(7).choose_multiple(0..=255_u8, 256).repeat(12 << 12).into();
    assert_eq!(store.put_memory(bytes.len() as u64), bytes.len() as u64);
    let key = ObjectKey::new("object").unwrap();
    let upload = Upload::of_bytes(&bytes);
    store.put_if_absent(&key, &upload).unwrap();
    assert_eq!(google.proxy.count("PUT"), 1);
    store.prove(&key, &upload).unwrap();
    assert_eq!(store.get_range(&key, bytes.len() as u64 - 7, 7).unwrap(), bytes.slice(bytes.len() - 7..));
    let other = bytes::Bytes::from_static(b"other bytes");
    assert_eq!(store.prove(&key, &Upload::of_bytes(&other)).unwrap_err().kind, ObjectErrorKind::Corrupt);
}
