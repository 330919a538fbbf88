//! Why a server's certificate is not trusted, in words that say what to do.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

/// What is wrong with the certificate of who answered, where that is why there is no connection.
pub(super) fn distrust(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error of the system holds others inside, and does not name them as its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn StdError + 'static));
        if let Some(found) = inner.and_then(distrust).or_else(|| error.downcast_ref().and_then(said)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn said(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(reason) = error else { return None };
    Some(match reason {
        // The second: an authority of the same name with another key, as one that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is of no authority that is trusted here: name the authority's with `ca_file`"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is of another name than the endpoint"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired, or this machine's clock is off"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet, or this machine's clock is off"
        }
        _ => "the server's certificate cannot be used",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_inside_of_others() {
        let of = |reason| io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(reason)));
        assert!(distrust(&of(CertificateError::UnknownIssuer)).unwrap().contains("`ca_file`"));
        assert!(distrust(&of(CertificateError::BadSignature)).unwrap().contains("`ca_file`"));
        assert!(distrust(&of(CertificateError::NotValidForName)).unwrap().contains("another name"));
        assert!(distrust(&of(CertificateError::Expired)).unwrap().contains("expired"));
        assert_eq!(distrust(&io::Error::other(rustls::Error::DecryptError)), None);
        assert_eq!(distrust(&io::Error::other("invalid peer certificate: UnknownIssuer")), None);
    }
}
