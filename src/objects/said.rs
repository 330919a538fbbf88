//! What a store's service said when it refused something, so far as anybody may see it.
//!
//! Owns: what is kept of an answer. Clients' own errors hold headers, among them the signature of the request: they go no further than the
//! implementation that got them. It is the [`source`](super::ObjectError::source) of an [`ObjectError`], where the service, or the lack of one, was the reason.

use std::fmt;

use super::ObjectError;

/// What stands in the way, where that is known: what people can do about it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Trouble {
    /// There is no such bucket or container.
    NoBucket,
    /// The bucket is in another region, or behind another endpoint.
    OtherRegion,
    /// No credentials were found, or what should give them failed.
    NoCredentials,
    /// The service does not know the credentials, or the signature is wrong.
    WrongCredentials,
    /// They have run out.
    ExpiredCredentials,
    /// This machine's clock and the service's are too far apart.
    ClockSkew,
    /// The credentials are known, and lack a right.
    MissingRight,
    /// Nothing could be sent: no such host, no connection, no trust in its certificate.
    Unreachable,
    /// No whole answer came in time.
    NoAnswer,
    /// What answered does not speak the protocol.
    NotAStore,
    /// The service is busy, or has an error of its own.
    Busy,
    /// Other changes of the same object are under way.
    Conflict,
    /// It lies in a class that is not read at once.
    Cold,
}

/// What a service said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What stands in the way, where that is known.
    pub trouble: Option<Trouble>,
    /// The status of HTTP; zero where there was no answer.
    pub status: u16,
    /// The service's word for it: `AccessDenied`; empty where it gave none.
    pub code: String,
    /// The service's sentence about it.
    pub message: String,
    /// Its number of the request, for its support.
    pub request_id: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store's service said")?;
        let mut before = ":";
        let mut field = |name: &str, value: &dyn fmt::Display| {
            write!(f, "{before} {name}=`{value}`")?;
            before = ",";
            Ok(())
        };
        if self.status != 0 {
            field("status", &self.status)?;
        }
        if !self.code.is_empty() {
            field("code", &self.code)?;
        }
        if !self.message.is_empty() {
            field("message", &self.message)?;
        }
        if let Some(id) = &self.request_id {
            field("request", id)?;
        }
        Ok(())
    }
}

impl std::error::Error for Said {}

impl ObjectError {
    /// What the store's service said, where this is from one.
    #[must_use]
    pub fn said(&self) -> Option<&Said> {
        self.source.as_ref()?.downcast_ref()
    }

    /// What stands in the way, where that is known.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.said()?.trouble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_shown() {
        assert_eq!(Said::default().to_string(), "the store's service said");
        let said = Said { status: 403, code: "AccessDenied".into(), request_id: Some("7".into()), ..Said::default() };
        assert_eq!(said.to_string(), "the store's service said: status=`403`, code=`AccessDenied`, request=`7`");
    }
}
