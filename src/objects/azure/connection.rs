//! Connection strings: `Key=Value;...`, as the portal and the command-line tools of the vendor print them.
//!
//! Owns: which keys count, and that no error repeats anything of the string but a key that is known. Values may hold `=`
//! (base64, signatures); keys are read in any case.

use crate::types::Secret;

/// The account of the emulators, and its key, which the vendor publishes: it opens nothing but an emulator.
pub(super) const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
pub(super) const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What a connection string says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Connection {
    /// `AccountName`.
    pub(super) account: Option<String>,
    /// `AccountKey`.
    pub(super) key: Option<Secret>,
    /// `SharedAccessSignature`.
    pub(super) sas: Option<Secret>,
    /// `BlobEndpoint`, or what `DefaultEndpointsProtocol`, `AccountName` and `EndpointSuffix` make.
    pub(super) endpoint: Option<String>,
}

/// Why a text is no connection string. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection string of azure storage: what=`{0}`")]
pub(super) struct InvalidConnection(&'static str);

/// Reads a connection string.
pub(super) fn parse(text: &str) -> Result<Connection, InvalidConnection> {
    let mut found = Connection::default();
    let (mut protocol, mut suffix, mut is_emulator, mut proxy) = (None, None, false, None);
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or(InvalidConnection("a part without a `=`"))?;
        let value = value.trim();
        let taken = match key.trim().to_ascii_lowercase().as_str() {
            "accountname" => found.account.replace(value.to_owned()).is_some(),
            "accountkey" => found.key.replace(Secret::new(value)).is_some(),
            "sharedaccesssignature" => found.sas.replace(Secret::new(value)).is_some(),
            "blobendpoint" => found.endpoint.replace(value.to_owned()).is_some(),
            "defaultendpointsprotocol" => protocol.replace(value).is_some(),
            "endpointsuffix" => suffix.replace(value).is_some(),
            "developmentstorageproxyuri" => proxy.replace(value).is_some(),
            "usedevelopmentstorage" => std::mem::replace(&mut is_emulator, value.eq_ignore_ascii_case("true")),
            // Endpoints of other services, and what comes in future.
            _ => false,
        };
        if taken {
            return Err(InvalidConnection("a key that stands there twice"));
        }
    }
    if is_emulator {
        return Ok(Connection {
            account: Some(EMULATOR_ACCOUNT.to_owned()),
            key: Some(Secret::new(EMULATOR_KEY)),
            sas: None,
            endpoint: Some(match proxy {
                Some(proxy) => format!("{}:10000/{EMULATOR_ACCOUNT}", proxy.trim_end_matches('/')),
                None => EMULATOR_ENDPOINT.to_owned(),
            }),
        });
    }
    if found.endpoint.is_none()
        && let Some(account) = &found.account
    {
        let protocol = protocol.unwrap_or("https");
        if !matches!(protocol, "http" | "https") {
            return Err(InvalidConnection("`DefaultEndpointsProtocol` is neither `http` nor `https`"));
        }
        found.endpoint = Some(format!("{protocol}://{account}.blob.{}", suffix.unwrap_or("core.windows.net")));
    }
    match (&found.key, &found.sas, &found.endpoint) {
        (None, None, _) => Err(InvalidConnection("neither `AccountKey` nor `SharedAccessSignature`")),
        (_, _, None) => Err(InvalidConnection("neither `AccountName` nor `BlobEndpoint`")),
        (Some(_), _, _) if found.account.is_none() => Err(InvalidConnection("an `AccountKey` without `AccountName`")),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_portal_prints_is_read() {
        let found = parse(
            "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=a2V5PT0=;EndpointSuffix=core.windows.net",
        )
        .unwrap();
        assert_eq!(found.account.as_deref(), Some("acct"));
        assert_eq!(found.key.unwrap().reveal(), "a2V5PT0=");
        assert_eq!(found.endpoint.as_deref(), Some("https://acct.blob.core.windows.net"));
        assert_eq!(found.sas, None);
    }

    #[test]
    fn keys_come_in_any_case_and_any_order_and_other_services_are_passed_over() {
        let found =
            parse(" accountkey=YQ==; QueueEndpoint=x ;blobendpoint=http://h:1/acct/;ACCOUNTNAME=acct;;").unwrap();
        assert_eq!(found.endpoint.as_deref(), Some("http://h:1/acct/"));
        assert_eq!(found.key.unwrap().reveal(), "YQ==");
    }

    #[test]
    fn a_signature_may_hold_equal_signs() {
        let found =
            parse("BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature=sv=1&sig=a%3D").unwrap();
        assert_eq!(found.sas.unwrap().reveal(), "sv=1&sig=a%3D");
        assert_eq!(found.account, None);
    }

    #[test]
    fn the_emulator_is_known() {
        let found = parse("UseDevelopmentStorage=true").unwrap();
        assert_eq!(found.endpoint.as_deref(), Some(EMULATOR_ENDPOINT));
        assert_eq!(found.account.as_deref(), Some(EMULATOR_ACCOUNT));
        let found = parse("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://store/").unwrap();
        assert_eq!(found.endpoint.as_deref(), Some("http://store:10000/devstoreaccount1"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_string() {
        for wrong in [
            "",
            "hunter2",
            "AccountName=acct",
            "AccountKey=hunter2",
            "AccountName=hunter2;AccountName=b;AccountKey=hunter2",
            "DefaultEndpointsProtocol=hunter2;AccountName=a;AccountKey=hunter2",
            "SharedAccessSignature=hunter2",
            "UseDevelopmentStorage=false",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let shown = format!("{:?}", parse("AccountName=a;AccountKey=hunter2;SharedAccessSignature=hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
