//! The client of a store: where it is, who we are, whom we trust.
//!
//! Owns: turning [`StoreOptions`] into a client, at the first request and not before. Retries are off (`archive` retries, with the whole
//! picture), as is the client's own watch over slow streams: there is one deadline for a request, in [`runtime`](super::runtime).
//!
//! Credentials that are not in the options come from the first of these that has any: `AWS_ACCESS_KEY_ID` and its
//! companions; the profile (keys, SSO, another role, a program); a web identity token; the container's role (ECS, EKS); the machine's (IMDS).

use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use super::super::StoreOptions;
use super::errors::Failure;
use super::google::Google;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FileSystem;

/// Where Google's stores speak the protocol.
pub(super) const GOOGLE: &str = "https://storage.googleapis.com";
/// What signatures name where nobody set a region, and the endpoint is not the vendor's own.
const REGION: &str = "us-east-1";
/// The largest file of certificates, in bytes.
const CA_BYTES_MAX: u64 = 4 << 20;

/// Options that are possible, with the certificates read.
pub(super) struct Plan {
    options: StoreOptions,
    is_google: bool,
    authorities: Option<Vec<u8>>,
}

impl Plan {
    /// # Errors
    /// `Invalid` for what cannot be.
    pub(super) fn new(options: &StoreOptions, is_google: bool, fs: &Arc<dyn FileSystem>) -> Result<Self> {
        let invalid = |what: String| Error::new(ErrorKind::Invalid, what);
        if options.s3.access_key_id.is_some() != options.s3.secret_access_key.is_some() {
            return Err(invalid("an access key is its id and its secret: one of them is missing".to_owned()));
        }
        if options.s3.session_token.is_some() && options.s3.access_key_id.is_none() {
            return Err(invalid("a session token belongs to an access key, which is missing".to_owned()));
        }
        if let Some(endpoint) = &options.s3.endpoint {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' '])) {
                // Not shown: whoever writes `user:password@` into it has written a secret.
                return Err(invalid("an endpoint is `https://HOST[:PORT]` or `http://HOST[:PORT]`".to_owned()));
            }
        }
        let authorities = match &options.ca_file {
            None => None,
            Some(path) => {
                let unusable =
                    |what: &str| invalid(format!("no certificates: ca_file=`{}`, what=`{what}`", path.display()));
                let len = fs.metadata(path).map_err(|error| unusable("it cannot be read").with_source(error))?.len;
                let len = usize::try_from(len.min(CA_BYTES_MAX + 1)).expect("megabytes fit memory");
                if len as u64 > CA_BYTES_MAX {
                    return Err(unusable("it is too large"));
                }
                let mut text = vec![0; len];
                fs.open(path, crate::fs::OpenMode::Read)
                    .and_then(|file| file.read_exact_at(&mut text, 0))
                    .map_err(|error| unusable("it cannot be read").with_source(error))?;
                check_pem(&text).map_err(unusable)?;
                Some(text)
            }
        };
        Ok(Self { options: options.clone(), is_google, authorities })
    }

    /// The client. Reads the vendor's files and environment; asks the machine for a region where there is none.
    pub(super) fn connect(
        &self,
    ) -> impl Future<Output = std::result::Result<aws_sdk_s3::Client, Failure>> + Send + 'static {
        let (options, authorities, is_google) = (self.options.clone(), self.authorities.clone(), self.is_google);
        async move {
            let s3 = &options.s3;
            let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http(authorities));
            if let Some(profile) = &s3.profile {
                loader = loader.profile_name(profile);
            }
            if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
                let token = s3.session_token.as_ref().map(|token| token.reveal().to_owned());
                let keys = Credentials::new(id.reveal(), secret.reveal(), token, None, "icecore settings");
                loader = loader.credentials_provider(keys);
            }
            // Asked for only where it matters: without one the machine's service is asked, for seconds.
            let set = s3.region.clone().or_else(|| is_google.then(|| "auto".to_owned()));
            if let Some(region) = set.or_else(|| s3.endpoint.is_some().then(region_of_environment)) {
                loader = loader.region(Region::new(region));
            }
            let shared = loader.load().await;
            let dialect = match (is_google, shared.http_client(), shared.credentials_provider()) {
                (true, Some(http), Some(credentials)) => Some(Google::over(http, credentials)),
                _ => None,
            };
            let endpoint = s3.endpoint.clone().or_else(|| is_google.then(|| GOOGLE.to_owned()));
            let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).build();
            let endpoint = endpoint.or_else(|| shared.endpoint_url().map(str::to_owned));
            let mut config = aws_sdk_s3::config::Builder::from(&shared)
                .force_path_style(s3.path_style.unwrap_or(endpoint.is_some()))
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                // Checksums are sent and asked for where this room does so, and nowhere else: not every store knows all of them.
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
            config.set_endpoint_url(endpoint);
            if let Some(dialect) = dialect {
                config = config.http_client(dialect);
            }
            if shared.region().is_none() {
                let what = "no region: set `region`, `AWS_REGION`, or one in the profile".to_owned();
                return Err(Failure::NotSent { what, trouble: None });
            }
            Ok(aws_sdk_s3::Client::from_conf(config.build()))
        }
    }
}

/// For other vendors' servers any name will do, but one that is set is meant.
fn region_of_environment() -> String {
    let set = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).unwrap_or_else(|| REGION.to_owned())
}

/// Certificates of the system, and those.
fn http(authorities: Option<Vec<u8>>) -> SharedHttpClient {
    let mut trusted = TrustStore::default();
    if let Some(pem) = authorities {
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().expect("only other providers refuse");
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https()
}

/// Whether it is certificates: the client would panic at the first request over what is not (RFC 7468).
fn check_pem(text: &[u8]) -> std::result::Result<(), &'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(text).map_err(|_| "it is no PEM")?;
    let mut blocks = text.split(BEGIN).skip(1).peekable();
    if blocks.peek().is_none() {
        return Err("it holds no certificate");
    }
    for block in blocks {
        let (body, _) = block.split_once(END).ok_or("a certificate without an end")?;
        let letters: String = body.split_ascii_whitespace().collect();
        let der = aws_smithy_types::base64::decode(letters).map_err(|_| "a certificate that is no base64")?;
        // A sequence of DER with a length of two bytes, which every certificate is.
        let len = match der.get(..4) {
            Some(&[0x30, 0x82, high, low]) => usize::from(high) << 8 | usize::from(low),
            _ => return Err("a certificate that is none"),
        };
        if der.len() != len + 4 {
            return Err("a certificate that is cut off");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes();
        let der = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let good = aws_smithy_types::base64::encode(&der);
        assert_eq!(check_pem(&pem(&good)), Ok(()));
        assert_eq!(check_pem(&[pem(&good), pem(&good)].concat()), Ok(()));
        assert!(check_pem(b"").is_err());
        assert!(check_pem(b"\xff").is_err());
        assert!(check_pem(&pem("no base64!")).is_err());
        assert!(check_pem(&pem(&aws_smithy_types::base64::encode(&der[..200]))).is_err());
        assert!(check_pem(&pem(&good)[..100]).is_err());
        assert!(check_pem(&pem("")).is_err());
    }
}
