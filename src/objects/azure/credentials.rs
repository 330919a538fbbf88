//! Who we are, and where the account is.
//!
//! Owns: the order in which credentials are looked for. The first that is there counts, also where it is wrong:
//!
//! 1. what was set: connection string, account key, SAS ([`AzureOptions`](crate::objects::options::AzureOptions));
//! 2. `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN`; passed over where they, or `AZURE_STORAGE_ACCOUNT`
//!    beside them, name another account: one log may have homes in two;
//! 3. Entra ID, which needs https: `AZURE_TENANT_ID` and `AZURE_CLIENT_ID` with `AZURE_CLIENT_SECRET`, or with `AZURE_FEDERATED_TOKEN_FILE` (workload
//!    identity); else the machine's managed identity (`AZURE_CLIENT_ID` chooses one), else the developer tools `az` and `azd`.
//!
//! No error repeats a secret, nor any part of what might hold one.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, DeveloperToolsCredential,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

use super::connection::{self, Connection, InvalidConnection};
use crate::error::{Error, ErrorKind, Result};
use crate::objects::options::AzureOptions;
use crate::types::Secret;

/// A machine's metadata service answers at once, or is not there: a laptop is not to wait for it.
const MACHINE_IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// What tells the value of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What requests are authorized with.
pub(super) enum Access {
    /// Signed with the account's key, decoded.
    Key(Vec<u8>),
    /// A shared access signature, as a query without `?`.
    Sas(Secret),
    /// A token of Entra ID.
    Token(Arc<dyn TokenCredential>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Sas(_) => "Sas",
            Self::Token(_) => "Token",
        })
    }
}

/// An account, and how to get in.
#[derive(Debug)]
pub(super) struct Account {
    /// Of the Blob service, without a query; a path is the account of an emulator.
    pub(super) endpoint: Url,
    /// What requests are authorized with.
    pub(super) access: Access,
}

/// What was found before the endpoint is known to fit.
struct Found {
    access: Access,
    endpoint: Option<String>,
}

impl Account {
    /// Looks for the credentials of `account`. Nothing is sent; tokens will be fetched by `transport`.
    pub(super) fn find(
        account: &str,
        options: &AzureOptions,
        environment: Environment<'_>,
        transport: &Transport,
        timeout: Duration,
    ) -> Result<Self> {
        let found = match set(account, options)? {
            Some(found) => Some(found),
            None => environs(account, environment)?,
        };
        let from_string = found.as_ref().and_then(|found| found.endpoint.clone());
        let endpoint = options
            .endpoint
            .clone()
            .or(from_string)
            .unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let endpoint = endpoint_of(&endpoint)?;
        let access = match found {
            Some(found) => found.access,
            None if endpoint.scheme() != "https" => {
                return Err(invalid("no credentials were found but those of entra id, which need an https endpoint")
                    .with_hint("set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"));
            }
            None => Access::Token(entra(environment, transport, timeout)?),
        };
        Ok(Self { endpoint, access })
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("the azure store cannot be reached: what=`{what}`"))
}

impl From<InvalidConnection> for Error {
    fn from(error: InvalidConnection) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string())
    }
}

/// An endpoint that holds no secret.
fn endpoint_of(text: &str) -> Result<Url> {
    let mut url = Url::parse(text).map_err(|_| invalid("the endpoint is no url"))?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !is_plain || url.fragment().is_some() {
        return Err(invalid("the endpoint holds credentials or a query, which belong into settings of their own"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid("the endpoint is neither http nor https"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn set(account: &str, options: &AzureOptions) -> Result<Option<Found>> {
    if let Some(text) = &options.connection_string {
        let connection = connection::parse(text.reveal())?;
        if !is_of(&connection, account) {
            return Err(invalid("the connection string is of another account than the url"));
        }
        return Ok(Some(of_connection(connection)?));
    }
    if let Some(key) = &options.account_key {
        return Ok(Some(Found { access: of_key(key.reveal())?, endpoint: None }));
    }
    let sas = options.sas.as_ref().map(|sas| of_sas(sas.reveal())).transpose()?;
    Ok(sas.map(|access| Found { access, endpoint: None }))
}

fn environs(account: &str, environment: Environment<'_>) -> Result<Option<Found>> {
    if let Some(text) = environment("AZURE_STORAGE_CONNECTION_STRING") {
        let connection = connection::parse(&text)?;
        if is_of(&connection, account) {
            return Ok(Some(of_connection(connection)?));
        }
    }
    if environment("AZURE_STORAGE_ACCOUNT").is_some_and(|named| named != account) {
        return Ok(None);
    }
    if let Some(key) = environment("AZURE_STORAGE_KEY") {
        return Ok(Some(Found { access: of_key(&key)?, endpoint: None }));
    }
    let sas = environment("AZURE_STORAGE_SAS_TOKEN").map(|sas| of_sas(&sas)).transpose()?;
    Ok(sas.map(|access| Found { access, endpoint: None }))
}

/// Where a connection string names no account, its endpoint does: in its host, or behind it.
fn is_of(connection: &Connection, account: &str) -> bool {
    if let Some(named) = &connection.account {
        return named == account;
    }
    let Some(url) = connection.endpoint.as_deref().and_then(|text| Url::parse(text).ok()) else { return true };
    let in_host = url.host_str().and_then(|host| host.split('.').next()) == Some(account);
    // A name of its own (private link, a proxy) says nothing.
    let is_vendors = url.host_str().is_some_and(|host| host.contains(".blob."));
    in_host || !is_vendors
}

fn of_connection(connection: Connection) -> Result<Found> {
    let access = match (&connection.key, &connection.sas) {
        (Some(key), _) => of_key(key.reveal())?,
        (None, Some(sas)) => of_sas(sas.reveal())?,
        (None, None) => return Err(invalid("the connection string has neither a key nor a signature")),
    };
    Ok(Found { access, endpoint: connection.endpoint })
}

fn of_key(text: &str) -> Result<Access> {
    // The decoder's error would repeat a byte of the key.
    let key = azure_core::base64::decode(text.trim()).map_err(|_| invalid("the account's key is not base64"))?;
    Ok(Access::Key(key))
}

fn of_sas(text: &str) -> Result<Access> {
    let text = text.trim().trim_start_matches('?');
    let is_query =
        text.is_ascii() && !text.contains(['#', ' ']) && text.split('&').any(|part| part.starts_with("sig="));
    if !is_query {
        return Err(invalid("the shared access signature is no query with a `sig`"));
    }
    Ok(Access::Sas(Secret::new(text)))
}

fn entra(environment: Environment<'_>, transport: &Transport, timeout: Duration) -> Result<Arc<dyn TokenCredential>> {
    let client_options = || ClientOptions {
        transport: Some(transport.clone()),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    };
    let refused =
        |what: &str| invalid(what).with_hint("check AZURE_TENANT_ID, AZURE_CLIENT_ID and what goes with them");
    let (tenant, client) = (environment("AZURE_TENANT_ID"), environment("AZURE_CLIENT_ID"));
    let chosen: Arc<dyn TokenCredential> = match (&tenant, &client) {
        (Some(tenant), Some(client)) if environment("AZURE_CLIENT_SECRET").is_some() => {
            let secret = environment("AZURE_CLIENT_SECRET").unwrap_or_default();
            let options = ClientSecretCredentialOptions { client_options: client_options() };
            ClientSecretCredential::new(tenant, client.clone(), secret.into(), Some(options))
                .map_err(|_| refused("the tenant, client or secret of entra id cannot be one"))?
        }
        (Some(tenant), Some(client)) if environment("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: client_options() },
                client_id: Some(client.clone()),
                tenant_id: Some(tenant.clone()),
                token_file_path: environment("AZURE_FEDERATED_TOKEN_FILE").map(Into::into),
            };
            WorkloadIdentityCredential::new(Some(options))
                .map_err(|_| refused("the workload identity of entra id cannot be one"))?
        }
        _ => {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client.map(UserAssignedId::ClientId),
                client_options: client_options(),
            };
            let machine = ManagedIdentityCredential::new(Some(options)).ok();
            let tools = DeveloperToolsCredential::new(None).map_err(|_| refused("no credentials were found"))?;
            Arc::new(Chain {
                machine: machine.map(|one| one as Arc<dyn TokenCredential>),
                tools,
                chosen: OnceLock::new(),
            })
        }
    };
    Ok(Arc::new(Bounded { credential: chosen, timeout }))
}

/// The machine's identity, or the developer's; the first that gives a token stays.
struct Chain {
    machine: Option<Arc<dyn TokenCredential>>,
    tools: Arc<dyn TokenCredential>,
    chosen: OnceLock<Arc<dyn TokenCredential>>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenCredential for Chain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.get_token(scopes, options).await;
        }
        if let Some(machine) = &self.machine {
            let asked = machine.get_token(scopes, options.clone());
            if let Ok(Ok(token)) = tokio::time::timeout(MACHINE_IDENTITY_TIMEOUT, asked).await {
                let _ = self.chosen.set(Arc::clone(machine));
                return Ok(token);
            }
        }
        let token = self.tools.get_token(scopes, options).await?;
        let _ = self.chosen.set(Arc::clone(&self.tools));
        Ok(token)
    }
}

/// A credential that comes to an end (promise 10 of a store).
struct Bounded {
    credential: Arc<dyn TokenCredential>,
    timeout: Duration,
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenCredential for Bounded {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let hangs = |_| azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, "no token in time");
        let outcome =
            tokio::time::timeout(self.timeout, self.credential.get_token(scopes, options)).await.map_err(hangs)?;
        // What the client of the token service says may hold anything: its kind is enough, and the log has the rest.
        outcome.map_err(|_| {
            azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, "no token was given")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::new_http_client;

    fn find(account: &str, options: &AzureOptions, environment: &[(&str, &str)]) -> Result<Account> {
        let look =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let transport = Transport::new(new_http_client(None));
        Account::find(account, options, &look, &transport, Duration::from_secs(1))
    }

    fn kind(account: &Account) -> String {
        format!("{:?} {}", account.access, account.endpoint)
    }

    const STRING: &str = "AccountName=acct;AccountKey=aHVudGVyMg==";

    #[test]
    fn what_was_set_comes_before_the_environment() {
        let environment = [("AZURE_STORAGE_CONNECTION_STRING", STRING), ("AZURE_STORAGE_SAS_TOKEN", "sig=x")];
        let set = AzureOptions { sas: Some(Secret::new("?sv=1&sig=y")), ..Default::default() };
        assert_eq!(kind(&find("acct", &set, &environment).unwrap()), "Sas https://acct.blob.core.windows.net/");
        let none = AzureOptions::default();
        assert_eq!(kind(&find("acct", &none, &environment).unwrap()), "Key https://acct.blob.core.windows.net/");
        assert_eq!(kind(&find("acct", &none, &environment[1..]).unwrap()), "Sas https://acct.blob.core.windows.net/");
        let both = [("AZURE_STORAGE_KEY", "aHVudGVyMg=="), ("AZURE_STORAGE_SAS_TOKEN", "sig=x")];
        assert_eq!(kind(&find("acct", &none, &both).unwrap()), "Key https://acct.blob.core.windows.net/");
    }

    #[test]
    fn credentials_of_another_account_are_passed_over_or_refused() {
        let none = AzureOptions::default();
        let environment = [("AZURE_STORAGE_CONNECTION_STRING", STRING)];
        assert_eq!(kind(&find("other", &none, &environment).unwrap()), "Token https://other.blob.core.windows.net/");
        let named = [("AZURE_STORAGE_ACCOUNT", "acct"), ("AZURE_STORAGE_KEY", "aHVudGVyMg==")];
        assert_eq!(kind(&find("other", &none, &named).unwrap()), "Token https://other.blob.core.windows.net/");
        assert_eq!(kind(&find("acct", &none, &named).unwrap()), "Key https://acct.blob.core.windows.net/");
        let set = AzureOptions { connection_string: Some(Secret::new(STRING)), ..Default::default() };
        assert_eq!(find("other", &set, &[]).unwrap_err().kind(), ErrorKind::Invalid);
        let by_host = "BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature=sig=x";
        let set = AzureOptions { connection_string: Some(Secret::new(by_host)), ..Default::default() };
        assert!(find("other", &set, &[]).is_err());
        assert!(find("acct", &set, &[]).is_ok());
    }

    #[test]
    fn an_endpoint_may_be_an_emulators_and_holds_no_secret() {
        let emulator =
            AzureOptions { connection_string: Some(Secret::new("UseDevelopmentStorage=true")), ..Default::default() };
        let found = find("devstoreaccount1", &emulator, &[]).unwrap();
        assert_eq!(kind(&found), "Key http://127.0.0.1:10000/devstoreaccount1");
        let moved = AzureOptions { endpoint: Some("http://127.0.0.1:7/devstoreaccount1/".into()), ..emulator };
        assert_eq!(kind(&find("devstoreaccount1", &moved, &[]).unwrap()), "Key http://127.0.0.1:7/devstoreaccount1");
        for wrong in
            ["http://u:hunter2@h/", "https://h/?sig=hunter2", "ftp://hunter2/", "hunter2", "https://h/#hunter2"]
        {
            let options = AzureOptions { endpoint: Some(wrong.into()), ..Default::default() };
            let error = find("acct", &options, &[]).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn tokens_need_https() {
        let options = AzureOptions { endpoint: Some("http://127.0.0.1:1/acct".into()), ..Default::default() };
        let environment =
            [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hunter2hunter2")];
        let error = find("acct", &options, &environment).unwrap_err();
        assert!(error.to_string().contains("https"), "{error}");
        let found = find("acct", &AzureOptions::default(), &environment).unwrap();
        assert_eq!(kind(&found), "Token https://acct.blob.core.windows.net/");
        let Access::Token(credential) = found.access else { panic!("a token") };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for options in [
            AzureOptions { account_key: Some(Secret::new("hunter2!")), ..Default::default() },
            AzureOptions { sas: Some(Secret::new("hunter2")), ..Default::default() },
            AzureOptions { sas: Some(Secret::new("sig=hunter2 x")), ..Default::default() },
            AzureOptions {
                connection_string: Some(Secret::new("AccountName=acct;AccountKey=hunter2!")),
                ..Default::default()
            },
        ] {
            let error = find("acct", &options, &[]).unwrap_err();
            assert!(!format!("{error:?} {error} {options:?}").contains("hunter2"), "{error}");
        }
    }
}
