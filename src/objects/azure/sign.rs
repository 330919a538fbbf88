//! Shared Key: signs each request with the account's key.
//!
//! Owns: what is signed, as the vendor's "Authorize with Shared Key" describes it for the Blob service from version 2015-02-21 on. The SDK has no
//! such policy. The key is held as an HMAC key, which shows in no text.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, Url};
use ring::hmac;

use crate::clock::Clock;
use crate::types::Timestamp;

/// Signs what is sent.
pub(super) struct SharedKey {
    account: String,
    key: hmac::Key,
    clock: Arc<dyn Clock>,
}

impl SharedKey {
    /// Signs for `account` with its key, decoded.
    pub(super) fn new(account: &str, key: &[u8], clock: Arc<dyn Clock>) -> Self {
        Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, key), clock }
    }

    fn authorization(&self, method: Method, url: &Url, headers: &Headers, body_bytes: u64) -> String {
        let text = string_to_sign(method, url, headers, body_bytes, &self.account);
        let signature = hmac::sign(&self.key, text.as_bytes());
        format!("SharedKey {}:{}", self.account, azure_core::base64::encode(signature))
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header("x-ms-date", http_date(self.clock.now()));
        let body_bytes = request.body().len().unwrap_or(0);
        let value = self.authorization(request.method(), request.url(), request.headers(), body_bytes);
        request.insert_header("authorization", value);
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// As HTTP writes dates: `Fri, 26 Jun 2015 23:39:12 GMT`.
pub(super) fn http_date(now: Timestamp) -> String {
    let now = jiff::Timestamp::from_microsecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&now).unwrap_or_default()
}

/// The standard headers that are signed, in their order; the length stands between `content-language` and `content-md5`.
const SIGNED: [&str; 10] = [
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

fn string_to_sign(method: Method, url: &Url, headers: &Headers, body_bytes: u64, account: &str) -> String {
    let value = |name: &str| {
        let found = headers.iter().find(|(header, _)| header.as_str().eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str().trim())
    };
    let mut text = format!("{}\n", method.as_ref());
    for name in SIGNED {
        if name == "content-md5" {
            // Since 2015-02-21 a length of zero is signed as nothing.
            text += &if body_bytes == 0 { String::new() } else { body_bytes.to_string() };
            text.push('\n');
        }
        // The time is told by `x-ms-date`.
        text += if name == "date" { "" } else { value(name) };
        text.push('\n');
    }
    let mut vendor: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    vendor.sort_unstable();
    for (name, value) in vendor {
        text += &format!("{name}:{value}\n");
    }
    text += &format!("/{account}{}", url.path());
    let mut query: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect();
    query.sort_unstable();
    // Values of one name stand behind it, in order, with commas between them.
    for group in query.chunk_by(|one, other| one.0 == other.0) {
        let values: Vec<&str> = group.iter().map(|(_, value)| value.as_str()).collect();
        text += &format!("\n{}:{}", group[0].0, values.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        headers
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    // The examples of the vendor's "Authorize with Shared Key".

    #[test]
    fn the_vendors_example_of_container_metadata() {
        let text = string_to_sign(
            Method::Get,
            &url("https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20"),
            &headers(&[("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")]),
            0,
            "myaccount",
        );
        assert_eq!(
            text,
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    #[test]
    fn the_vendors_example_of_a_listing_with_many_includes() {
        let text = string_to_sign(
            Method::Get,
            &url(
                "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=list&include=snapshots&include=metadata&include=uncommittedblobs",
            ),
            &headers(&[]),
            0,
            "myaccount",
        );
        assert!(
            text.ends_with(
                "\n/myaccount/mycontainer\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\nrestype:container"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_vendors_example_of_a_put_with_a_body() {
        // A request of 11 bytes, as in the vendor's example of a blob that is put, with its metadata.
        let text = string_to_sign(
            Method::Put,
            &url("http://myaccount/mycontainer/hello.txt"),
            &headers(&[
                ("x-ms-blob-type", "BlockBlob"),
                ("x-ms-version", "2015-02-21"),
                ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
                ("x-ms-meta-m2", "v2"),
                ("x-ms-meta-m1", " v1 "),
                ("content-type", "text/plain; charset=UTF-8"),
                ("if-none-match", "*"),
            ]),
            11,
            "myaccount",
        );
        assert_eq!(
            text,
            "PUT\n\n\n11\n\ntext/plain; charset=UTF-8\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n\
             x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-meta-m1:v1\nx-ms-meta-m2:v2\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer/hello.txt"
        );
    }

    #[test]
    fn an_emulators_account_stands_there_twice() {
        let text = string_to_sign(
            Method::Head,
            &url("http://127.0.0.1:10000/devstoreaccount1/box/a%20b"),
            &headers(&[]),
            0,
            "devstoreaccount1",
        );
        assert!(text.ends_with("\n/devstoreaccount1/devstoreaccount1/box/a%20b"), "{text}");
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(Timestamp(1_435_361_952_000_000)), "Fri, 26 Jun 2015 23:39:12 GMT");
        assert_eq!(http_date(Timestamp(1_255_297_753_999_999)), "Sun, 11 Oct 2009 21:49:13 GMT");
    }

    /// The signatures of the texts above under the emulators' published key, by another implementation of HMAC.
    #[test]
    fn signatures_are_those_of_another_implementation() {
        let key = azure_core::base64::decode(super::super::connection::EMULATOR_KEY).unwrap();
        let signer = SharedKey::new("myaccount", &key, Arc::new(FakeClock::at(Timestamp(0))));
        let place =
            url("https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20");
        let sent = headers(&[("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")]);
        assert_eq!(
            signer.authorization(Method::Get, &place, &sent, 0),
            "SharedKey myaccount:1u9lui2jDxj0+fpbHjQ5m5NnastJRSYM+PSmfi8TXx4="
        );
        assert_eq!(format!("{signer:?}"), "SharedKey { account: \"myaccount\", .. }");
    }

    /// RFC 4231, test case 2: the building block itself.
    #[test]
    fn the_hash_is_the_one_of_the_rfc() {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"Jefe"), b"what do ya want for nothing?");
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(crate::types::ids::hex(tag.as_ref()), known);
    }
}
