//! What the store's refusals mean.
//!
//! Owns: the kind of each error, by its code, and what is said of it. Texts are made of status, code and request id only: what the SDK and the
//! store say beside them repeats URLs and headers, which may hold a signature. The SDK's own errors are dropped here.
//!
//! | what was under way | nothing happened | it may have happened |
//! |---|---|---|
//! | a read | `Unavailable` | `Unavailable` |
//! | a block that is staged: nobody sees it | `Unavailable` | `Unavailable` |
//! | a commit, a delete | `Unavailable` | `OutcomeUnknown` |

use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};

use super::wire::WireError;
use crate::objects::{ObjectError, ObjectErrorKind, Said, Trouble};
use crate::types::Timestamp;

/// The header that tells an error's code.
pub(super) const CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
/// The header that every answer of the store has.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
/// How far a clock may be off before the store refuses what it signs.
const SKEW_MAX: Duration = Duration::from_mins(15);

/// What an operation does to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or nothing that anybody sees.
    None,
    /// It makes an object, or removes one.
    Change,
}

/// Why something failed, without anything that may not be shown.
#[derive(Debug)]
pub(super) struct Refusal {
    said: Box<Said>,
    /// What it means where there was no answer of the store.
    what: &'static str,
    /// Nothing reached the store, or what did has changed nothing.
    is_certain: bool,
    kind: Option<ObjectErrorKind>,
    retry_after: Option<Duration>,
    /// By how much our clock is ahead of the store's, in seconds; zero where that is not known, or little.
    ahead_s: i64,
}

impl Refusal {
    /// Takes out of an error of the SDK what may be shown.
    pub(super) fn of(error: azure_core::Error, now: Timestamp) -> Self {
        if let ErrorKind::HttpResponse { status, raw_response, .. } = error.kind() {
            let mut said = Box::new(Said { status: (*status).into(), ..Said::default() });
            let (mut retry, mut ahead) = (None, 0);
            if let Some(response) = raw_response {
                let headers = response.headers();
                let body = std::str::from_utf8(response.body()).unwrap_or("");
                let code = headers.get_optional_str(&CODE).or_else(|| between(body, "<Code>", "</Code>"));
                said.code = word(code.unwrap_or(""));
                said.request_id = headers.get_optional_str(&REQUEST_ID).map(word).filter(|id| !id.is_empty());
                (retry, ahead) = (retry_after(headers, now), ahead_s(headers, now));
            }
            said.trouble = trouble(said.status, &said.code, ahead);
            return Self { said, what: "", is_certain: false, kind: None, retry_after: retry, ahead_s: ahead };
        }
        use ObjectErrorKind::{Denied, Failed};
        let kind_of_error = error.kind().clone();
        let (trouble, what, is_certain, kind, message) = match (error.downcast_ref::<WireError>(), &kind_of_error) {
            // What it says is what to do.
            (Some(WireError::Distrusted(said)), _) => (Some(Trouble::Unreachable), *said, true, None, String::new()),
            (Some(WireError::Connect(said)), _) => {
                (Some(Trouble::Unreachable), "no connection comes about", true, None, said.clone())
            }
            (Some(WireError::Hangs(span)), _) => {
                let message = format!("seconds=`{}`", span.as_secs_f32());
                (Some(Trouble::NoAnswer), "no answer in time", false, None, message)
            }
            (Some(WireError::Broken(said)), _) => {
                (Some(Trouble::NoAnswer), "the connection broke off", false, None, said.clone())
            }
            (Some(WireError::TooLong), _) => (
                Some(Trouble::NotAStore),
                "the answer is longer than what was asked for",
                false,
                Some(Failed),
                String::new(),
            ),
            (Some(WireError::NotAStore), _) => {
                (Some(Trouble::NotAStore), "what answers is no azure store", false, Some(Failed), String::new())
            }
            (Some(WireError::Unsendable(said)), _) => {
                (None, "the request cannot be sent", true, Some(Failed), said.clone())
            }
            (None, ErrorKind::Credential) => (
                Some(Trouble::NoCredentials),
                "no token was given for these credentials",
                true,
                Some(Denied),
                String::new(),
            ),
            // What cannot be read is an answer to something that was done.
            (None, ErrorKind::DataConversion) => {
                (Some(Trouble::NotAStore), "the answer cannot be read", false, Some(Failed), String::new())
            }
            _ => (None, "the client failed", false, Some(Failed), String::new()),
        };
        let said = Box::new(Said { trouble, message, ..Said::default() });
        Self { said, what, is_certain, kind, retry_after: None, ahead_s: 0 }
    }

    /// The client itself failed: nobody knows whether anything was sent.
    pub(super) fn of_client() -> Self {
        let (what, kind) = ("the client failed inside", Some(ObjectErrorKind::Failed));
        Self { said: Box::default(), what, is_certain: false, kind, retry_after: None, ahead_s: 0 }
    }

    /// There is no thread to run anything on.
    pub(super) fn of_system(error: &std::io::Error) -> Self {
        let said = Box::new(Said { message: error.to_string(), ..Said::default() });
        Self { said, what: "no threads for it", is_certain: true, kind: None, retry_after: None, ahead_s: 0 }
    }

    /// The store's word for it; empty where what answered gave none.
    pub(super) fn code(&self) -> &str {
        &self.said.code
    }

    /// The status of HTTP; zero where there was no answer.
    pub(super) fn status(&self) -> u16 {
        self.said.status
    }

    /// The kind of error that this is.
    pub(super) fn kind(&self, effect: Effect) -> ObjectErrorKind {
        use ObjectErrorKind::{
            Corrupt, Denied, Failed, Full, Invalid, NotFound, OutcomeUnknown, Unavailable, Unsupported,
        };
        let in_doubt = if effect == Effect::Change { OutcomeUnknown } else { Unavailable };
        match (self.said.status, self.said.code.as_str()) {
            (0, _) if effect == Effect::Change && !self.is_certain => OutcomeUnknown,
            (0, _) => self.kind.unwrap_or(Unavailable),
            (404, "BlobNotFound") => NotFound,
            // No store, or not now: never "there is no such object".
            (_, "ContainerBeingDeleted" | "AccountBeingCreated" | "BlobBeingRehydrated") => Unavailable,
            (_, "Md5Mismatch" | "Crc64Mismatch") => Corrupt,
            (_, code) if is_kept(code) || code.contains("Lease") => Denied,
            (_, "AccountIsDisabled") => Denied,
            (_, code) if code.contains("Quota") || code.contains("CapacityExceeded") => Full,
            (401 | 403, _) => Denied,
            (413 | 416, _) => Invalid,
            (507, _) => Full,
            (501, _)
            | (_, "FeatureNotSupported" | "UnsupportedHeader" | "UnsupportedHttpVerb" | "UnsupportedQueryParameter") => {
                Unsupported
            }
            (429, _) | (503, "ServerBusy") => Unavailable,
            // A proxy's 502 or 504 too: what stands behind it may have done it.
            (408 | 500..600, _) => in_doubt,
            _ => Failed,
        }
    }

    /// What went wrong, for people.
    pub(super) fn what(&self, container: &str) -> String {
        let text = match (self.said.status, self.said.code.as_str()) {
            (0, _) => self.what,
            (_, "BlobNotFound") => "there is no such object",
            (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => {
                return format!("there is no such container: container=`{container}`");
            }
            (_, "AuthenticationFailed") if self.ahead_s != 0 => {
                return format!("the clock of this machine is off: ahead_seconds=`{}`", self.ahead_s);
            }
            (401, _) | (_, "AuthenticationFailed" | "InvalidAuthenticationInfo") => {
                "the credentials are not accepted: a wrong key or signature, one that has expired, or a clock that is off"
            }
            (_, "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions") => {
                "a right is missing: the role `Storage Blob Data Contributor`, or `racwdl` in the permissions of the signature"
            }
            (_, "AuthorizationFailure") => {
                "the store refuses this machine or these credentials: the account's firewall, a missing right, a wrong key"
            }
            (_, "KeyBasedAuthenticationNotPermitted") => {
                "the account takes no keys: use entra id, or a signature of a user's delegation"
            }
            (_, "BlobArchived") => "it lies in the tier `Archive`, where nothing can be read: rehydrate it there first",
            (_, "InvalidHeaderValue") => {
                "a header is refused: the storage class, or the version of the protocol (`azure.service_version`)"
            }
            (_, "InvalidBlobOrBlock") => "somebody else has staged blocks under this key",
            (_, code) if is_kept(code) => "the store keeps it: an immutability policy or a legal hold",
            (_, code) if code.contains("Lease") => "somebody holds a lease on it",
            (403, _) => "the store refuses these credentials",
            (429, _) | (503, "ServerBusy") => "the store asks to be left alone for a while",
            (501, _) => "the store does not do this",
            (500..600, _) => "the store has an error of its own",
            _ => "the store refuses",
        };
        text.to_owned()
    }

    /// The error of an operation.
    pub(super) fn into_error(
        self,
        effect: Effect,
        operation: &'static str,
        place: &str,
        key: &str,
        container: &str,
    ) -> ObjectError {
        ObjectError {
            kind: self.kind(effect),
            operation,
            place: place.into(),
            key: key.into(),
            what: self.what(container).into(),
            retry_after: self.retry_after,
            source: Some(self.said),
        }
    }
}

/// Whether a code says that the store keeps an object from being deleted.
fn is_kept(code: &str) -> bool {
    code.contains("Immutab") || code.contains("LegalHold")
}

fn trouble(status: u16, code: &str, ahead_s: i64) -> Option<Trouble> {
    match (status, code) {
        (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => Some(Trouble::NoBucket),
        (_, "AuthenticationFailed") if ahead_s != 0 => Some(Trouble::ClockSkew),
        (_, "NoAuthenticationInformation") => Some(Trouble::NoCredentials),
        (_, "BlobArchived" | "BlobBeingRehydrated") => Some(Trouble::Cold),
        (401, _) | (_, "AuthenticationFailed" | "InvalidAuthenticationInfo") => Some(Trouble::WrongCredentials),
        (403, _) => Some(Trouble::MissingRight),
        (501, _) => None,
        (408 | 429 | 500..600, _) => Some(Trouble::Busy),
        (_, "") => Some(Trouble::NotAStore),
        _ => None,
    }
}

/// A word of the store's, if it is one: nothing else of what it sends is repeated.
fn word(text: &str) -> String {
    let is_word = text.len() <= 80 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_word { text.to_owned() } else { String::new() }
}

fn between<'a>(text: &'a str, front: &str, back: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(front)?;
    Some(rest.split_once(back)?.0)
}

fn retry_after(headers: &Headers, now: Timestamp) -> Option<Duration> {
    let header = |name| headers.get_optional_str(&HeaderName::from_static(name));
    if let Some(ms) = header("x-ms-retry-after-ms").or_else(|| header("retry-after-ms")) {
        return ms.parse().ok().map(Duration::from_millis);
    }
    let text = header("retry-after")?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let micros = u64::try_from(date(text)?.checked_sub(now.0)?).ok()?;
    Some(Duration::from_micros(micros))
}

/// By how much our clock is ahead of the answer's, where it is more than the store bears.
fn ahead_s(headers: &Headers, now: Timestamp) -> i64 {
    let theirs = headers.get_optional_str(&HeaderName::from_static("date")).and_then(date);
    let ahead = theirs.and_then(|theirs| now.0.checked_sub(theirs)).unwrap_or(0);
    if u128::from(ahead.unsigned_abs()) > SKEW_MAX.as_micros() { ahead / 1_000_000 } else { 0 }
}

/// A date of HTTP, in microseconds.
fn date(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(parsed.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::RawResponse;

    fn refusal(status: u16, code: &'static str, more: &[(&'static str, &'static str)], body: &'static str) -> Refusal {
        let mut headers = Headers::new();
        if !code.is_empty() {
            headers.insert("x-ms-error-code", code);
        }
        for (name, value) in more {
            headers.insert(*name, *value);
        }
        let raw_response = Some(Box::new(RawResponse::from_bytes(status.into(), headers, body)));
        let kind = ErrorKind::HttpResponse { status: status.into(), error_code: None, raw_response };
        Refusal::of(azure_core::Error::with_message(kind, "sig=hunter2"), Timestamp(1_435_361_952_000_000))
    }

    #[test]
    fn each_answer_has_its_kind() {
        use ObjectErrorKind::{
            Corrupt, Denied, Failed, Full, Invalid, NotFound, OutcomeUnknown, Unavailable, Unsupported,
        };
        for (status, code, read, change) in [
            (404, "BlobNotFound", NotFound, NotFound),
            (404, "ContainerNotFound", Failed, Failed),
            (409, "ContainerBeingDeleted", Unavailable, Unavailable),
            (404, "ResourceNotFound", Failed, Failed),
            (404, "", Failed, Failed),
            (403, "AuthenticationFailed", Denied, Denied),
            (403, "AuthorizationPermissionMismatch", Denied, Denied),
            (403, "InsufficientAccountPermissions", Denied, Denied),
            (401, "", Denied, Denied),
            (409, "BlobImmutableDueToPolicy", Denied, Denied),
            (412, "LeaseIdMissing", Denied, Denied),
            (400, "Md5Mismatch", Corrupt, Corrupt),
            (400, "InvalidHeaderValue", Failed, Failed),
            (400, "UnsupportedHeader", Unsupported, Unsupported),
            (416, "InvalidRange", Invalid, Invalid),
            (413, "RequestBodyTooLarge", Invalid, Invalid),
            (507, "", Full, Full),
            (429, "", Unavailable, Unavailable),
            (503, "ServerBusy", Unavailable, Unavailable),
            (503, "", Unavailable, OutcomeUnknown),
            (500, "InternalError", Unavailable, OutcomeUnknown),
            (500, "OperationTimedOut", Unavailable, OutcomeUnknown),
            (502, "", Unavailable, OutcomeUnknown),
            (504, "", Unavailable, OutcomeUnknown),
        ] {
            let refusal = refusal(status, code, &[], "");
            assert_eq!(refusal.kind(Effect::None), read, "{status} {code}");
            assert_eq!(refusal.kind(Effect::Change), change, "{status} {code}");
        }
    }

    #[test]
    fn what_has_no_answer_is_in_doubt_unless_nothing_was_sent() {
        for (wire, read, change) in [
            (WireError::Connect("refused".into()), ObjectErrorKind::Unavailable, ObjectErrorKind::Unavailable),
            (WireError::Broken("reset".into()), ObjectErrorKind::Unavailable, ObjectErrorKind::OutcomeUnknown),
            (WireError::Hangs(SKEW_MAX), ObjectErrorKind::Unavailable, ObjectErrorKind::OutcomeUnknown),
            (WireError::TooLong, ObjectErrorKind::Failed, ObjectErrorKind::OutcomeUnknown),
        ] {
            let refusal = Refusal::of(wire.into(), Timestamp(0));
            assert_eq!((refusal.kind(Effect::None), refusal.kind(Effect::Change)), (read, change), "{refusal:?}");
        }
    }

    #[test]
    fn only_words_of_the_answer_are_repeated() {
        let body = "<Error><Code>AuthenticationFailed</Code><Message>sig=hunter2</Message></Error>";
        let refusal = refusal(403, "", &[("x-ms-request-id", "4a-5"), ("x-ms-meta", "hunter2")], body);
        let shown = refusal.what("box");
        assert!(shown.contains("not accepted"), "{shown}");
        let error = refusal.into_error(Effect::None, "get", "az://a/box", "k", "box");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        let said = error.said().unwrap();
        assert_eq!((said.status, said.code.as_str()), (403, "AuthenticationFailed"));
        assert_eq!((said.request_id.as_deref(), said.message.as_str()), (Some("4a-5"), ""));
        assert_eq!(word("Bearer hunter2"), "");
    }

    #[test]
    fn a_missing_container_and_a_missing_right_are_named() {
        assert!(refusal(404, "ContainerNotFound", &[], "").what("box").contains("container=`box`"));
        let shown = refusal(403, "AuthorizationPermissionMismatch", &[], "").what("box");
        assert!(shown.contains("Storage Blob Data Contributor"), "{shown}");
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_the_stores() {
        let skewed = refusal(403, "AuthenticationFailed", &[("date", "Fri, 26 Jun 2015 22:39:12 GMT")], "");
        assert!(skewed.what("box").contains("ahead_seconds=`3600`"), "{}", skewed.what("box"));
        let right = refusal(403, "AuthenticationFailed", &[("date", "Fri, 26 Jun 2015 23:30:00 GMT")], "");
        assert!(!right.what("box").contains("seconds"), "{}", right.what("box"));
    }

    #[test]
    fn a_wish_to_be_left_alone_is_told_in_each_spelling() {
        let asked = |name, value| refusal(503, "ServerBusy", &[(name, value)], "").retry_after;
        assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("x-ms-retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(asked("retry-after", "Fri, 26 Jun 2015 23:40:12 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(asked("retry-after", "soon"), None);
    }
}
