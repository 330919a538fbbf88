//! What is different at Google's: the same requests, in its own dialect and with its own signature.
//!
//! Its stores take requests of S3 as they are, but look at no `If-None-Match` of a put. The condition that they do hold to,
//! `x-goog-if-generation-match: 0`, they refuse beside any header of Amazon's. So each request is translated, whole, behind the client:
//! names of headers, and the signature, which is made like Amazon's (Signature Version 4) with other words in it
//! (`GOOG4-HMAC-SHA256`). The SHA-256 of a body has no place there; its CRC-32C has (`x-goog-hash`), and is checked.
//!
//! Keys are HMAC keys of the project.

use std::fmt::Write as _;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{Credentials, HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use ring::hmac;

use crate::avro::sha256;
use crate::types::ids::hex;

/// A client of HTTP that speaks Google's dialect.
#[derive(Debug)]
pub(super) struct Google {
    inner: SharedHttpClient,
    credentials: SharedCredentialsProvider,
}

impl Google {
    pub(super) fn over(inner: SharedHttpClient, credentials: SharedCredentialsProvider) -> SharedHttpClient {
        SharedHttpClient::new(Self { inner, credentials })
    }
}

impl HttpClient for Google {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Translator { inner, credentials: self.credentials.clone() })
    }
}

#[derive(Debug)]
struct Translator {
    inner: SharedHttpConnector,
    credentials: SharedCredentialsProvider,
}

impl HttpConnector for Translator {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let (inner, credentials) = (self.inner.clone(), self.credentials.clone());
        HttpConnectorFuture::new(async move {
            let keys = credentials.provide_credentials().await.map_err(|error| ConnectorError::user(error.into()))?;
            translate(&mut request, &keys).map_err(|what| ConnectorError::user(what.into()))?;
            inner.call(request).await
        })
    }
}

/// Headers of Amazon's that Google has under another name. Others mean nothing there, and are left out.
const NAMES: [(&str, &str); 5] = [
    ("x-amz-date", "x-goog-date"),
    ("x-amz-content-sha256", "x-goog-content-sha256"),
    ("x-amz-storage-class", "x-goog-storage-class"),
    ("x-amz-object-lock-mode", "x-goog-object-lock-mode"),
    ("x-amz-object-lock-retain-until-date", "x-goog-object-lock-retain-until-date"),
];

fn translate(request: &mut HttpRequest, keys: &Credentials) -> Result<(), &'static str> {
    let known: Vec<(String, String)> =
        request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let is_put = request.method() == "PUT";
    for (name, value) in &known {
        if let Some((_, google)) = NAMES.iter().find(|(amazon, _)| amazon == name) {
            request.headers_mut().insert(*google, value.clone());
        }
        if is_put && name == "if-none-match" {
            // "No generation of it": it is not there.
            request.headers_mut().insert("x-goog-if-generation-match", "0");
            request.headers_mut().remove("if-none-match");
        }
        if name.starts_with("x-amz-") || name == "authorization" {
            request.headers_mut().remove(name.clone());
        }
    }
    if is_put {
        let body = request.body().bytes().ok_or("a body that is not in memory")?;
        let hash = format!("crc32c={}", aws_smithy_types::base64::encode(crc32c::crc32c(body).to_be_bytes()));
        request.headers_mut().insert("x-goog-hash", hash);
    }
    let uri = request.uri().to_owned();
    let (_, rest) = uri.split_once("://").ok_or("an address without a scheme")?;
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let date = request.headers().get("x-goog-date").ok_or("a request without a date")?.to_owned();
    let payload = request.headers().get("x-goog-content-sha256").ok_or("a request without a digest")?.to_owned();
    let mut signed: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.starts_with("x-goog-") || *name == "content-type")
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    signed.push(("host".to_owned(), host.to_owned()));
    let what = Signed { method: request.method(), path, query, headers: signed, payload: &payload, date: &date };
    let header = what.authorization(&GOOGLE, keys.access_key_id(), keys.secret_access_key(), "auto");
    request.headers_mut().insert("authorization", header);
    Ok(())
}

/// The words in a signature.
struct Words {
    algorithm: &'static str,
    key: &'static str,
    service: &'static str,
    end: &'static str,
}

const GOOGLE: Words = Words { algorithm: "GOOG4-HMAC-SHA256", key: "GOOG4", service: "storage", end: "goog4_request" };

/// What of a request is signed.
struct Signed<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Vec<(String, String)>,
    payload: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    date: &'a str,
}

impl Signed<'_> {
    /// Signature Version 4: the canonical request, what is signed of it, the key for the day, the header.
    fn authorization(mut self, words: &Words, id: &str, secret: &str, region: &str) -> String {
        self.headers.sort();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let mut query: Vec<String> = self.query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
        for pair in &mut query {
            if !pair.contains('=') {
                pair.push('=');
            }
        }
        query.sort();
        let mut request = format!("{}\n{}\n{}\n", self.method, self.path, query.join("&"));
        for (name, value) in &self.headers {
            let _ = writeln!(request, "{name}:{value}");
        }
        let _ = write!(request, "\n{names}\n{}", self.payload);
        let day = self.date.get(..8).unwrap_or(self.date);
        let scope = format!("{day}/{region}/{}/{}", words.service, words.end);
        let text = format!("{}\n{}\n{scope}\n{}", words.algorithm, self.date, hex(&sha256(request.as_bytes())));
        let first = format!("{}{secret}", words.key).into_bytes();
        let key =
            [day, region, words.service, words.end].into_iter().fold(first, |key, word| mac(&key, word.as_bytes()));
        let signature = hex(&mac(&key, text.as_bytes()));
        format!("{} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}", words.algorithm)
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Amazon's documentation, "Signature Calculations for the Authorization Header", GET Object: the method is the same one.
    #[test]
    fn a_known_signature() {
        const AMAZON: Words = Words { algorithm: "AWS4-HMAC-SHA256", key: "AWS4", service: "s3", end: "aws4_request" };
        let empty = hex(&sha256(b""));
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", &empty),
        ];
        let signed = Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            payload: &empty,
            date: "20130524T000000Z",
        };
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let header = signed.authorization(&AMAZON, "AKIAIOSFODNN7EXAMPLE", secret, "us-east-1");
        let expected = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(header, expected);
    }
}
