//! The one public error: what went wrong, and what the caller can do about it.

use std::fmt;

use crate::fs::FsError;

/// What to do next, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something needed does not answer now; trying again later may help.
    Unavailable,
    /// The operation may have happened or not; look (or append conditionally) before trying again.
    OutcomeUnknown,
    /// Bytes are not what they were when written.
    Corrupt,
    /// A writer of a newer epoch has taken over.
    Fenced,
    /// Another process has it open for writing.
    Locked,
    /// The state is not the one that the caller expected.
    Conflict,
    /// A limit of space or memory is reached; the message names which.
    Full,
    /// The log, or the reader, was closed.
    Closed,
    /// It is not there. No other kind means absent.
    NotFound,
    /// A newer format, or something that this build does not do.
    Unsupported,
    /// The caller gave something that cannot be used.
    Invalid,
    /// A file operation failed, or a promise of icecore's own was broken.
    Internal,
}

/// An error of the log. [`kind`](Self::kind) says what to do; the text says what it was about; the source says why.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What an operation of the log gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a text: lower case, no trailing stop, values as key=`value`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), hint: None, source: None }) }
    }

    /// Adds why it happened.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// What to do next, in one word.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may succeed later, without risk of doing it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Locked)
    }

    /// What an operator can do about it, where there is more to say than the kind.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(hint) = &self.inner.hint {
            shown.field("hint", hint);
        }
        if let Some(source) = &self.inner.source {
            shown.field("source", source);
        }
        shown.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// A file operation that failed keeps its text and shows the system's reason as its source.
impl From<FsError> for Error {
    fn from(error: FsError) -> Self {
        let kind = if error.is_not_found() {
            ErrorKind::NotFound
        } else if error.is_full() {
            ErrorKind::Full
        } else if error.is_already_exists() {
            ErrorKind::Conflict
        } else {
            ErrorKind::Internal
        };
        Self::new(kind, error.to_string()).with_source(error.source)
    }
}
/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
