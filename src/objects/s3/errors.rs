//! From what the client says to what a caller may rely on (promises 6, 7, 9).
//!
//! Owns: which failure means what. The client's errors end here: their Debug text holds headers and bodies, so only the code, the
//! sentence and the number of the request are kept ([`Said`]), and of errors of the network the innermost sentence.
//!
//! | what happened | reads | put, complete, delete |
//! |---|---|---|
//! | nothing was sent: name, connection, certificate | `Unavailable` | `Unavailable` |
//! | no answer, half an answer, none in time, connection lost | `Unavailable` | `OutcomeUnknown` |
//! | 500, 502, 504, what is no answer of S3's | `Unavailable` | `OutcomeUnknown` |
//! | 503, 429, 408 and their codes | `Unavailable` | `Unavailable` |
//! | 404 with the code `NoSuchKey` | `NotFound` | `NotFound` |
//! | 404 with another code, or none | `Failed` | `Failed` |
//! | 401, 403, and codes of credentials and clocks | `Denied` | `Denied` |
//! | a checksum of what arrived is another one | `Corrupt` | `Corrupt` |
//! | 507, quota | `Full` | `Full` |

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::date_time::{DateTime, Format};

use super::super::{ObjectError, ObjectErrorKind, Said, Trouble, certificate};
use crate::types::Timestamp;

/// Letters of a service's sentence that are kept.
const MESSAGE_MAX: usize = 300;

/// What of an answer's headers is of use.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub retry_after: Option<String>,
    pub server: Option<String>,
}

/// A request that did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing left this machine.
    NotSent { what: String, trouble: Option<Trouble> },
    /// It may have arrived, and what came of it is not known.
    NoAnswer(String),
    /// The service refused.
    Answer { said: Said, headers: Box<Headers> },
    /// An answer that this room judged itself.
    Judged(ObjectErrorKind, String),
}

impl Failure {
    pub(super) fn status(&self) -> u16 {
        if let Self::Answer { said, .. } = self { said.status } else { 0 }
    }

    pub(super) fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Answer { said, .. } if said.code == code)
    }

    /// Whether the condition of a put did not hold: somebody has the key.
    pub(super) fn is_taken(&self) -> bool {
        self.status() == 412 || self.is_code("PreconditionFailed")
    }

    /// Whether somebody else changes the same key at this moment.
    pub(super) fn is_conflict(&self) -> bool {
        self.is_code("ConditionalRequestConflict") || self.is_code("OperationAborted")
    }

    /// Whether it is no failure for the meter: the service answered what was asked.
    pub(super) fn is_answer(&self) -> bool {
        self.is_taken() || self.status() == 404
    }
}

impl<E: ProvideErrorMetadata + StdError + 'static> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let Some(credentials) = chain(&error).find_map(<dyn StdError>::downcast_ref::<CredentialsError>) {
            return of_credentials(credentials);
        }
        match &error {
            SdkError::ServiceError(answer) => {
                let (raw, meta) = (answer.raw(), answer.err().meta());
                let header = |name| raw.headers().get(name).map(str::to_owned);
                let said = Said {
                    trouble: None,
                    status: raw.status().as_u16(),
                    code: meta.code().unwrap_or("").to_owned(),
                    message: meta.message().unwrap_or("").chars().take(MESSAGE_MAX).collect(),
                    request_id: header("x-amz-request-id").or_else(|| header("x-guploader-uploadid")),
                };
                let headers = Headers { retry_after: header("retry-after"), server: header("server") };
                Self::Answer { said, headers: Box::new(headers) }
            }
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                Self::NoAnswer(format!("the answer is not one of S3's: status=`{status}`"))
            }
            SdkError::TimeoutError(_) => Self::NoAnswer("no whole answer in time".to_owned()),
            SdkError::ConstructionFailure(_) => Self::NotSent { what: innermost(&error), trouble: None },
            SdkError::DispatchFailure(_) => of_network(&error),
            _ => Self::NoAnswer("a failure that this client does not know".to_owned()),
        }
    }
}

/// Everything from an error down to what caused it.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let below = |above: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> { (*above).source() };
    std::iter::successors(Some(error), below)
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default().chars().take(MESSAGE_MAX).collect()
}

fn of_network(error: &(dyn StdError + 'static)) -> Failure {
    let of_client = chain(error).find_map(<dyn StdError>::downcast_ref::<hyper_util::client::legacy::Error>);
    if of_client.is_some_and(hyper_util::client::legacy::Error::is_connect) {
        let what = certificate::distrust(error).map_or_else(|| innermost(error), str::to_owned);
        let what = format!("no connection: {what}");
        return Failure::NotSent { what, trouble: Some(Trouble::Unreachable) };
    }
    Failure::NoAnswer(innermost(error))
}

/// Their causes are not shown: some are the output of other people's programs.
fn of_credentials(error: &CredentialsError) -> Failure {
    let what = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "no credentials were found: not in the settings, the environment, a profile, or a role of this machine"
                .to_owned()
        }
        CredentialsError::InvalidConfiguration(_) => {
            format!("the credentials' configuration cannot be used: {}", innermost(error))
        }
        CredentialsError::ProviderTimedOut(_) => "what gives the credentials did not answer in time".to_owned(),
        _ => {
            "no credentials: none in the settings, the environment or a profile, and what gives those of a role failed"
                .to_owned()
        }
    };
    Failure::NotSent { what, trouble: Some(Trouble::NoCredentials) }
}

/// What was asked, for an error's text and judgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// As errors say it: `put`.
    pub operation: &'static str,
    /// Relative to the store.
    pub key: &'a str,
    /// The right that it takes.
    pub right: &'static str,
    /// An answer that is lost leaves open what happened.
    pub changes: bool,
}

/// The error that a failure is. `now` is for a `Retry-After` that is a date.
pub(super) fn to_error(failure: Failure, asked: Asked<'_>, place: &str, bucket: &str, now: Timestamp) -> ObjectError {
    let lost = if asked.changes { ObjectErrorKind::OutcomeUnknown } else { ObjectErrorKind::Unavailable };
    let mut wait = None;
    let (kind, what, said) = match failure {
        Failure::NotSent { what, trouble } => {
            let kind = match trouble {
                Some(Trouble::NoCredentials) => ObjectErrorKind::Denied,
                Some(_) => ObjectErrorKind::Unavailable,
                None => ObjectErrorKind::Failed,
            };
            (kind, what, Some(Said { trouble, ..Said::default() }))
        }
        Failure::NoAnswer(what) => (lost, what, Some(Said { trouble: Some(Trouble::NoAnswer), ..Said::default() })),
        Failure::Judged(kind, what) => (kind, what, None),
        Failure::Answer { mut said, headers } => {
            wait = headers.retry_after.and_then(|text| span(&text, now));
            let (kind, trouble, what) = judge(&said, lost, asked, bucket);
            said.trouble = trouble;
            (kind, what, Some(said))
        }
    };
    let source = said.map(|said| Box::new(said) as Box<dyn StdError + Send + Sync>);
    let (operation, key) = (asked.operation, asked.key.into());
    ObjectError { kind, operation, place: place.into(), key, what: what.into(), retry_after: wait, source }
}

type Judgement = (ObjectErrorKind, Option<Trouble>, String);

fn judge(said: &Said, lost: ObjectErrorKind, asked: Asked<'_>, bucket: &str) -> Judgement {
    use ObjectErrorKind as Kind;
    let known = |kind, trouble, what: &str| (kind, Some(trouble), what.to_owned());
    match said.code.as_str() {
        "NoSuchKey" | "NoSuchVersion" => (Kind::NotFound, None, "there is no such object".to_owned()),
        "NoSuchBucket" => {
            known(Kind::Failed, Trouble::NoBucket, &format!("there is no such bucket: bucket=`{bucket}`"))
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "TemporaryRedirect" => {
            let what = format!("the bucket is in another region, or behind another endpoint: bucket=`{bucket}`");
            known(Kind::Failed, Trouble::OtherRegion, &what)
        }
        "RequestTimeTooSkewed" => known(
            Kind::Denied,
            Trouble::ClockSkew,
            "this machine's clock and the store's are too far apart: set the clock",
        ),
        "ExpiredToken" | "RequestExpired" | "TokenRefreshRequired" => {
            known(Kind::Denied, Trouble::ExpiredCredentials, "the credentials have expired")
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidTokenId"
        | "InvalidSecurity"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "NotSignedUp"
        | "AuthorizationQueryParametersError" => {
            known(Kind::Denied, Trouble::WrongCredentials, "the store does not accept the credentials")
        }
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "InvalidDigest" => {
            (Kind::Corrupt, None, "what arrived at the store is not what was sent: its checksum differs".to_owned())
        }
        "QuotaExceeded"
        | "InsufficientStorage"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "XMinioStorageQuota" => (Kind::Full, None, "the store has no room, or its quota is used up".to_owned()),
        "InvalidRange" => (Kind::Invalid, None, "the object ends before the range".to_owned()),
        "InvalidObjectState" => known(
            Kind::Unsupported,
            Trouble::Cold,
            "the object lies in a class that must be restored before it can be read",
        ),
        "ConditionalRequestConflict" | "OperationAborted" => {
            known(Kind::Unavailable, Trouble::Conflict, "another change of the same object is under way")
        }
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServiceUnavailable"
        | "Busy"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "RequestTimeout"
        | "IncompleteBody" => known(Kind::Unavailable, Trouble::Busy, "the store asks to be left alone for a while"),
        "NotImplemented" | "MethodNotAllowed" => (Kind::Unsupported, None, "the store does not do this".to_owned()),
        // Before the statuses: completing parts may answer 200 with this in its body.
        "InternalError" => known(lost, Trouble::Busy, "the store failed inside"),
        _ => by_status(said.status, lost, asked),
    }
}

fn by_status(status: u16, lost: ObjectErrorKind, asked: Asked<'_>) -> Judgement {
    use ObjectErrorKind as Kind;
    let known = |kind, trouble, what: &str| (kind, Some(trouble), what.to_owned());
    match status {
        401 | 403 => {
            let also = match asked.operation {
                "get" | "head" | "prove" => {
                    "; without `s3:ListBucket` an object that is not there is refused like this, too"
                }
                "delete" => ", or a retention keeps the object",
                _ => "",
            };
            known(Kind::Denied, Trouble::MissingRight, &format!("refused: right=`{}`{also}", asked.right))
        }
        // Not from S3: what is absent has a code there.
        404 => {
            known(Kind::Failed, Trouble::NotAStore, "what answered does not say what is absent: is the endpoint right?")
        }
        301 | 307 | 308 => known(Kind::Failed, Trouble::OtherRegion, "sent elsewhere: are region and endpoint right?"),
        408 | 429 | 503 => known(Kind::Unavailable, Trouble::Busy, "the store asks to be left alone for a while"),
        405 | 501 => (Kind::Unsupported, None, "the store does not do this".to_owned()),
        416 => (Kind::Invalid, None, "the object ends before the range".to_owned()),
        507 => (Kind::Full, None, "the store has no room".to_owned()),
        500..=599 => known(lost, Trouble::Busy, "the store failed inside"),
        // Whether an error in the body of a good answer undid what was asked, nobody can tell.
        200..=299 => known(lost, Trouble::NoAnswer, "the answer is good and bad at once"),
        _ => (Kind::Failed, None, "the store refused".to_owned()),
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn span(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::from_str(text.trim(), Format::HttpDate).ok()?;
    let micros = until.secs().checked_mul(1_000_000)?.saturating_sub(now.0);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: &str, changes: bool) -> ObjectErrorKind {
        let said = Said { status, code: code.to_owned(), ..Said::default() };
        let asked = Asked { operation: "put", key: "k", right: "s3:PutObject", changes };
        to_error(Failure::Answer { said, headers: Box::default() }, asked, "s3://b", "b", Timestamp(0)).kind
    }

    #[test]
    fn what_each_answer_means() {
        use ObjectErrorKind as Kind;
        for (status, code, read, change) in [
            (404, "NoSuchKey", Kind::NotFound, Kind::NotFound),
            (404, "NoSuchBucket", Kind::Failed, Kind::Failed),
            (404, "", Kind::Failed, Kind::Failed),
            (403, "AccessDenied", Kind::Denied, Kind::Denied),
            (403, "RequestTimeTooSkewed", Kind::Denied, Kind::Denied),
            (400, "ExpiredToken", Kind::Denied, Kind::Denied),
            (401, "", Kind::Denied, Kind::Denied),
            (503, "SlowDown", Kind::Unavailable, Kind::Unavailable),
            (503, "", Kind::Unavailable, Kind::Unavailable),
            (429, "", Kind::Unavailable, Kind::Unavailable),
            (500, "InternalError", Kind::Unavailable, Kind::OutcomeUnknown),
            (200, "InternalError", Kind::Unavailable, Kind::OutcomeUnknown),
            (502, "", Kind::Unavailable, Kind::OutcomeUnknown),
            (504, "", Kind::Unavailable, Kind::OutcomeUnknown),
            (409, "ConditionalRequestConflict", Kind::Unavailable, Kind::Unavailable),
            (400, "BadDigest", Kind::Corrupt, Kind::Corrupt),
            (507, "", Kind::Full, Kind::Full),
            (400, "QuotaExceeded", Kind::Full, Kind::Full),
            (416, "InvalidRange", Kind::Invalid, Kind::Invalid),
            (501, "NotImplemented", Kind::Unsupported, Kind::Unsupported),
            (400, "Whatever", Kind::Failed, Kind::Failed),
        ] {
            assert_eq!((judged(status, code, false), judged(status, code, true)), (read, change), "{status} {code}");
        }
    }

    #[test]
    fn how_long_to_wait() {
        let now = Timestamp(784_111_770_000_000);
        assert_eq!(span("7", now), Some(Duration::from_secs(7)));
        assert_eq!(span("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(span("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(span("soon", now), None);
    }
}
