//! What is sent and what arrives: one request at a time, under the SDK's pipeline.
//!
//! Owns: deadlines, counting, the bound on what an answer may hold, and that no error knows a URL: with a shared access signature that URL opens
//! the store. The signature is put behind the URL here, below everything of the SDK that logs or remembers one. Retries nothing.
//!
//! An answer is read to its end here, within the deadline of its request; whoever is above sees all of it or an error.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use bytes::{Bytes, BytesMut};

use crate::objects::{Meter, RequestKind, certificate};
use crate::types::Secret;

/// The longest answer that is no range of an object: a page of a listing, a list of blocks.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why a request had no answer. What it says is of the system, never a URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// Nothing was sent.
    #[error("no connection comes about: {0}")]
    Connect(String),
    /// Nothing was sent: the server's certificate cannot be trusted.
    #[error("no connection comes about: {0}")]
    Distrusted(&'static str),
    /// The deadline passed; it may have arrived.
    #[error("no answer within {0:?}")]
    Hangs(Duration),
    /// It broke off, before or in the answer; it may have arrived.
    #[error("the connection broke off: {0}")]
    Broken(String),
    /// The store sent more than was asked for.
    #[error("the answer is longer than what was asked for")]
    TooLong,
    /// Something else answered: a page to log in at, a proxy.
    #[error("what answers is no azure store")]
    NotAStore,
    /// It could not be sent.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
}

impl From<WireError> for azure_core::Error {
    fn from(error: WireError) -> Self {
        let kind = match error {
            WireError::Connect(_) | WireError::Distrusted(_) => azure_core::error::ErrorKind::Connection,
            _ => azure_core::error::ErrorKind::Io,
        };
        Self::new(kind, error)
    }
}

/// Sends requests, and counts them.
pub(super) struct Wire {
    client: reqwest::Client,
    timeout: Duration,
    sas: Option<Secret>,
    /// `None` for requests that are none of the store's, such as those for tokens.
    meter: Option<Arc<Meter>>,
    /// What the store says that it is, once it has answered.
    server: Arc<OnceLock<String>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A client with these timeouts, that trusts the authorities in `ca`, PEM, besides the system's.
pub(super) fn client(connect_timeout: Duration, ca: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        // Shorter than servers keep an idle connection: one that they have just closed would cost an unknown outcome.
        .pool_idle_timeout(Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    builder.build()
}

impl Wire {
    /// Requests to the store, counted.
    pub(super) fn new(
        client: reqwest::Client,
        timeout: Duration,
        sas: Option<Secret>,
        meter: Arc<Meter>,
        server: Arc<OnceLock<String>>,
    ) -> Self {
        Self { client, timeout, sas, meter: Some(meter), server }
    }

    /// Requests for tokens.
    pub(super) fn uncounted(client: reqwest::Client, timeout: Duration) -> Self {
        Self { client, timeout, sas: None, meter: None, server: Arc::default() }
    }

    async fn exchange(&self, request: &Request) -> Result<(u16, Headers, Bytes), WireError> {
        let mut url = request.url().clone();
        if let Some(sas) = &self.sas {
            let query = match url.query() {
                Some(query) if !query.is_empty() => format!("{query}&{}", sas.reveal()),
                _ => sas.reveal().to_owned(),
            };
            url.set_query(Some(&query));
        }
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| WireError::Unsendable("a method that http does not know".to_owned()))?;
        let mut sent = self.client.request(method, url);
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let Body::Bytes(body) = request.body().clone() else {
            return Err(WireError::Unsendable("a body that is not in memory".to_owned()));
        };
        let mut answer = sent.body(body).send().await.map_err(failed)?;
        let status = answer.status();
        let bytes_max = if status.is_success() { asked(request).unwrap_or(ANSWER_BYTES_MAX) } else { ANSWER_BYTES_MAX };
        let mut bytes = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if (bytes.len() + piece.len()) as u64 > bytes_max {
                return Err(WireError::TooLong);
            }
            if bytes.is_empty() {
                let left = answer.content_length().unwrap_or(0).min(bytes_max);
                bytes.reserve(usize::try_from(left).unwrap_or(0).max(piece.len()));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((status.as_u16(), headers(answer.headers()), bytes.freeze()))
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let kind = kind(request);
        let is_block = request.method() == Method::Put && has(request, "comp", "block");
        let sent_bytes = if is_block { request.body().len().unwrap_or(0) } else { 0 };
        let meter = self.meter.as_deref();
        meter.inspect(|meter| meter.begin(kind, sent_bytes));
        let outcome = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(WireError::Hangs(self.timeout)),
        };
        let (status, headers, bytes) = outcome.inspect_err(|_| {
            meter.inspect(|meter| meter.failed(kind));
        })?;
        if let Some(server) = headers.get_optional_str(&HeaderName::from_static("server")) {
            self.server.get_or_init(|| server.chars().filter(|one| !one.is_control()).take(100).collect());
        }
        let is_of_store = meter.is_none() || headers.get_optional_str(&super::errors::REQUEST_ID).is_some();
        if (200..300).contains(&status) && !is_of_store {
            meter.inspect(|meter| meter.failed(kind));
            return Err(WireError::NotAStore.into());
        }
        // That something is not there, or is there already, is an answer.
        match status {
            200..300 if kind == RequestKind::Get => {
                meter.inspect(|meter| meter.received(kind, bytes.len() as u64));
            }
            200..300 | 404 | 412 | 416 => {}
            409 if headers.get_optional_str(&super::errors::CODE) == Some("BlobAlreadyExists") => {}
            _ => {
                meter.inspect(|meter| meter.failed(kind));
            }
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, bytes))
    }
}

fn has(request: &Request, name: &str, value: &str) -> bool {
    request.url().query_pairs().any(|(known, found)| known == name && found == value)
}

fn kind(request: &Request) -> RequestKind {
    match request.method() {
        Method::Delete => RequestKind::Delete,
        Method::Head => RequestKind::Head,
        Method::Get if has(request, "comp", "list") || has(request, "comp", "blocklist") => RequestKind::List,
        Method::Get if request.url().query_pairs().any(|(name, _)| name == "restype") => RequestKind::Head,
        Method::Get => RequestKind::Get,
        _ => RequestKind::Put,
    }
}

/// How many bytes a request for a range asks for.
fn asked(request: &Request) -> Option<u64> {
    let headers = request.headers();
    let range = headers
        .get_optional_str(&HeaderName::from_static("x-ms-range"))
        .or_else(|| headers.get_optional_str(&HeaderName::from_static("range")))?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    (last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?).checked_add(1)
}

fn headers(map: &reqwest::header::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        // Of an object without bytes the emulator tells a range that is none, `bytes 0--1/0`, which the SDK cannot read.
        if let Ok(value) = value.to_str().map(str::to_owned)
            && !(name == "content-range" && value.contains("--"))
        {
            headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value));
        }
    }
    headers
}

/// What the system said, without the URL that the client knows.
fn failed(error: reqwest::Error) -> WireError {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let what = innermost.to_string();
    if let Some(distrust) = certificate::distrust(&error).filter(|_| error.is_connect()) {
        WireError::Distrusted(distrust)
    } else if error.is_connect() {
        WireError::Connect(what)
    } else if error.is_builder() {
        WireError::Unsendable(what)
    } else {
        WireError::Broken(what)
    }
}
