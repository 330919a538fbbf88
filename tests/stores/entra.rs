//! Tokens of Entra ID: a token service of our own gives them out, and Azurite looks at everything in them but the signature.

use std::sync::Arc;

use azure_core::base64;

use super::bucket::Bucket;
use super::loopback::Loopback;
use super::servers::{Kind, own_with_tls};
use super::tls::Authority;
use super::util::{Outcome, Workspace};

pub const TENANT: &str = "2f1c9a52-5a3e-4d7f-9d0e-6f2d5f6d3c11";
pub const CLIENT: &str = "7b0f0f6d-1f5b-4d57-8a3c-0d3b3a5a9e42";
pub const CLIENT_SECRET: &str = "what-only-the-client-knows~1";
pub const FEDERATED: &str = "a-token-that-the-cluster-signed";

/// Azurite behind TLS, and the service that gives tokens for it.
pub struct Entra {
    pub authority: Arc<Authority>,
    pub bucket: Bucket,
    pub service: Loopback,
    pub token: String,
}

impl Entra {
    /// A service whose tokens are for this audience, and hold for so many seconds.
    pub fn new(audience: &str, seconds: i64) -> Self {
        let authority = Authority::new();
        let bucket = Bucket::of(own_with_tls(Kind::Azurite, &authority, "127.0.0.1"));
        let token = token(audience, seconds);
        let service = Loopback::start(Some(authority.issue(&["127.0.0.1"])), {
            let token = token.clone();
            move |asked| {
                let field = |name| asked.field(name).unwrap_or_default();
                let is_known = field("client_secret") == CLIENT_SECRET || field("client_assertion") == FEDERATED;
                let is_right = asked.head.starts_with(&format!("POST /{TENANT}/oauth2/v2.0/token "))
                    && field("client_id") == CLIENT
                    && field("scope").contains("https://storage.azure.com/.default");
                if !(is_known && is_right) {
                    let said = format!("never to be shown: {}", field("client_secret"));
                    return (
                        401,
                        serde_json::json!({ "error": "invalid_client", "error_description": said }).to_string(),
                    );
                }
                let given = serde_json::json!({ "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token });
                (200, given.to_string())
            }
        });
        Self { authority, bucket, service, token }
    }

    /// What the program needs to know of it, without the secret.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let account = self.bucket.server.credentials().0;
        vec![
            ("ICECORE_AZURE_ENDPOINT", format!("{}/{account}", self.bucket.server.url())),
            ("ICECORE_ARCHIVE_CA_FILE", self.authority.file().display().to_string()),
            ("AZURE_AUTHORITY_HOST", format!("{}/", self.service.url())),
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", CLIENT.to_owned()),
        ]
    }

    fn doctor(&self, more: &[(&str, String)]) -> Outcome {
        let workspace = Workspace::new();
        let url = self.bucket.location().to_string();
        let mut run = workspace.icecore(["--archive", &url, "doctor"]);
        for (name, value) in self.environment().iter().chain(more) {
            run = run.env(name, value);
        }
        run.run()
    }
}

/// A token as Entra ID makes them (RFC 7519), with a signature that is none.
fn token(audience: &str, seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    let claims = serde_json::json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{TENANT}/"), "iat": now - 60, "nbf": now - 60,
        "exp": now + seconds, "appid": CLIENT, "tid": TENANT, "ver": "1.0",
    });
    let part = |text: String| base64::encode(text).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
    let head = serde_json::json!({ "typ": "JWT", "alg": "RS256", "kid": "none" });
    format!("{}.{}.{}", part(head.to_string()), part(claims.to_string()), part("a signature that is none".to_owned()))
}

#[test]
fn a_client_with_a_secret() {
    let entra = Entra::new("https://storage.azure.com", 3600);
    let secret = |text: &str| [("AZURE_CLIENT_SECRET", text.to_owned())];
    entra.doctor(&secret(CLIENT_SECRET)).expect_code(0);
    // One token is enough for a whole run.
    assert_eq!(entra.service.asked().len(), 1);
    let refused = entra.doctor(&secret("another-secret-that-is-wrong"));
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(!refused.status.success() && told.contains("no token was given"), "{told}");
    assert!(!told.contains("another-secret") && !told.contains("never to be shown"), "{told}");
}

#[test]
fn an_identity_of_a_workload() {
    let entra = Entra::new("https://storage.azure.com", 3600);
    let files = Workspace::new();
    let file = |text: &str| [("AZURE_FEDERATED_TOKEN_FILE", files.write("federated", text).display().to_string())];
    entra.doctor(&file(FEDERATED)).expect_code(0);
    let asked = entra.service.asked();
    assert_eq!(asked[0].field("client_assertion").as_deref(), Some(FEDERATED));
    assert!(!entra.doctor(&file("what no cluster signed")).status.success());
}

/// The store looks at what it is given: who may ask elsewhere may not ask here.
#[test]
fn a_token_that_is_not_for_this() {
    for (audience, seconds) in [("https://graph.microsoft.com", 3600), ("https://storage.azure.com", -30)] {
        let entra = Entra::new(audience, seconds);
        let refused = entra.doctor(&[("AZURE_CLIENT_SECRET", CLIENT_SECRET.to_owned())]);
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(!refused.status.success() && told.contains("the credentials are not accepted"), "{audience}: {told}");
        assert!(!told.contains(&entra.token), "{told}");
    }
}
