//! The vendor's own ways to credentials of S3, by the real program: what stands in its environment and files, against MinIO, which gives
//! out keys for a while itself.

use icecore::objects::{ObjectErrorKind, Trouble};
use icecore::types::Secret;

use super::admin::{self, Keys};
use super::bucket::Bucket;
use super::loopback::Loopback;
use super::proxy::{Fault, Proxy, Request};
use super::servers::Kind;
use super::util::{Outcome, Workspace};

/// MinIO behind a proxy, and a program without any credentials but what a test gives it.
struct Place {
    bucket: Bucket,
    proxy: Proxy,
    workspace: Workspace,
}

impl Place {
    fn new() -> Self {
        let bucket = Bucket::new(Kind::Minio);
        let proxy = bucket.proxy();
        Self { bucket, proxy, workspace: Workspace::new() }
    }

    /// Tries everything that an archive needs.
    fn doctor(&self, environment: &[(&str, String)]) -> Outcome {
        let url = self.bucket.location().to_string();
        let mut run = self.workspace.icecore(["--archive", &url, "doctor"]);
        let base = [
            ("ICECORE_S3_ENDPOINT", format!("http://{}", self.proxy.address())),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", self.workspace.path(".").display().to_string()),
        ];
        for (name, value) in base.iter().chain(environment) {
            run = run.env(name, value);
        }
        run.run()
    }

    fn write(&self, name: &str, text: &str) -> String {
        self.workspace.write(name, text).display().to_string()
    }

    /// The credentials file of the vendor with a profile that may do everything, `team`.
    fn team(&self) -> (&'static str, String) {
        let (key, secret) = self.bucket.server.credentials();
        let text = format!("[team]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        ("AWS_SHARED_CREDENTIALS_FILE", self.write("credentials", &text))
    }

    fn config(&self, text: &str) -> (&'static str, String) {
        ("AWS_CONFIG_FILE", self.write("config", text))
    }

    /// The tokens that requests carried, each once, in order.
    fn tokens(&self) -> Vec<String> {
        let mut tokens: Vec<String> = Vec::new();
        for request in self.proxy.requests() {
            let token = request.header("x-amz-security-token").unwrap_or("none").to_owned();
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }
}

fn profile(name: &str) -> (&'static str, String) {
    ("AWS_PROFILE", name.to_owned())
}

#[test]
fn a_profile() {
    let place = Place::new();
    place.doctor(&[place.team(), profile("team")]).expect_code(0);
    place.doctor(&[place.team(), ("ICECORE_S3_PROFILE", "team".to_owned())]).expect_code(0);
    assert_eq!(place.tokens(), ["none"]);
    let refused = place.doctor(&[place.team(), profile("nobody")]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(format!("{refused:?}").contains("no credentials"), "{refused:?}");
}

/// One profile takes a role with the keys of another. MinIO gives out keys so, but names no role in its answer, which the client wants: a
/// service between them adds the name.
#[test]
fn a_role() {
    let place = Place::new();
    let keys = admin::keys_for_a_while(&place.bucket.server);
    let service = Loopback::start(None, {
        let (keys, team) = (keys.clone(), place.bucket.server.credentials().0);
        move |asked| {
            let is_of_team =
                asked.header("authorization").is_some_and(|text| text.contains(&format!("Credential={team}/")));
            let wants = (asked.field("Action"), asked.field("RoleArn"));
            let is_right = is_of_team && wants == (Some("AssumeRole".to_owned()), Some(ARN.to_owned()));
            if is_right { (200, given("AssumeRole", &keys)) } else { (403, refused("AccessDenied")) }
        }
    });
    let config = place.config(
        "[profile archive]\nrole_arn = arn:aws:iam::123456789012:role/archive\nsource_profile = team\nregion = us-east-1\n",
    );
    let sts = ("AWS_ENDPOINT_URL_STS", service.url());
    place.doctor(&[place.team(), config, sts.clone(), profile("archive")]).expect_code(0);
    assert_eq!(place.tokens(), [keys.token]);
    let config = place.config(
        "[profile archive]\nrole_arn = arn:aws:iam::123456789012:role/other\nsource_profile = team\nregion = us-east-1\n",
    );
    let refused = place.doctor(&[place.team(), config, sts, profile("archive")]);
    assert!(!refused.status.success() && refused.stdout.contains("no credentials"), "{refused:?}");
}

const ARN: &str = "arn:aws:iam::123456789012:role/archive";

/// What Amazon's token service says where it gives keys.
fn given(action: &str, keys: &Keys) -> String {
    let inner = format!(
        "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration>",
        keys.id, keys.secret, keys.token
    );
    let role = format!("<AssumedRoleUser><Arn>{ARN}</Arn><AssumedRoleId>A:icecore</AssumedRoleId></AssumedRoleUser>");
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{role}\
         <Credentials>{inner}</Credentials></{action}Result></{action}Response>"
    )
}

fn refused(code: &str) -> String {
    format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>")
}

/// What a service that gives out keys says: those of MinIO's, and how long they hold.
fn document(keys: &Keys, seconds: i64) -> String {
    let until = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap();
    serde_json::json!({
        "Version": 1, "AccessKeyId": keys.id, "SecretAccessKey": keys.secret, "SessionToken": keys.token,
        "Token": keys.token, "Expiration": until.to_string(),
    })
    .to_string()
}

#[test]
fn a_token_of_another_identity() {
    const TOKEN: &str = "a-token-of-somebody-elses-identity";
    let place = Place::new();
    let keys = admin::keys_for_a_while(&place.bucket.server);
    let service = Loopback::start(None, {
        let keys = keys.clone();
        move |asked| {
            let field = |name| asked.field(name).unwrap_or_default();
            let is_right = field("Action") == "AssumeRoleWithWebIdentity"
                && field("WebIdentityToken") == TOKEN
                && field("RoleArn") == ARN;
            if is_right {
                (200, given("AssumeRoleWithWebIdentity", &keys))
            } else {
                (400, refused("InvalidIdentityToken"))
            }
        }
    });
    let environment = |file: &str, token: &str| {
        [
            ("AWS_ENDPOINT_URL_STS", service.url()),
            ("AWS_ROLE_ARN", ARN.to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", place.write(file, token)),
        ]
    };
    place.doctor(&environment("token", TOKEN)).expect_code(0);
    assert_eq!(place.tokens(), [keys.token]);
    let refused = place.doctor(&environment("other", "another token"));
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(!refused.status.success() && told.contains("no credentials") && !told.contains("another token"), "{told}");
    assert!(service.asked().len() >= 2);
}

#[test]
fn a_program_that_tells() {
    let place = Place::new();
    let keys = admin::keys_for_a_while(&place.bucket.server);
    let told = place.write("told.json", &document(&keys, 3600));
    let config = place.config(&format!("[profile tool]\ncredential_process = cat {told}\n"));
    place.doctor(&[config, profile("tool")]).expect_code(0);
    assert_eq!(place.tokens(), [keys.token]);
    // What it says where it fails may hold anything: it is not repeated.
    let config = place.config("[profile tool]\ncredential_process = echo hunter2; exit 1\n");
    let refused = place.doctor(&[config, profile("tool")]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
}

/// What gives containers their role, asked again when the keys are about to end: a run outlives them.
#[test]
fn keys_that_end_are_renewed() {
    const AUTHORIZATION: &str = "what-the-container-may-ask-with";
    let place = Place::new();
    let all: Vec<Keys> = (0..3).map(|_| admin::keys_for_a_while(&place.bucket.server)).collect();
    let given = std::sync::atomic::AtomicUsize::new(0);
    let service = Loopback::start(None, {
        let all = all.clone();
        move |asked| {
            if asked.header("authorization") != Some(AUTHORIZATION) {
                return (401, "{}".to_owned());
            }
            let number = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // Soon over: the client asks for others before each of its requests.
            (200, document(&all[number.min(2)], 1))
        }
    });
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", service.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", AUTHORIZATION.to_owned()),
    ];
    place.doctor(&environment).expect_code(0);
    let expected: Vec<String> = all.into_iter().map(|keys| keys.token).collect();
    assert_eq!(place.tokens(), expected);
}

#[test]
fn keys_that_have_ended_are_told_as_such() {
    let place = Place::new();
    let keys = admin::keys_for_a_while(&place.bucket.server);
    let mut options = place.bucket.options(place.proxy.address());
    options.s3.access_key_id = Some(Secret::new(&*keys.id));
    options.s3.secret_access_key = Some(Secret::new(&*keys.secret));
    options.s3.session_token = Some(Secret::new(&*keys.token));
    place.bucket.store_with(&options).list("", None, 1).unwrap();
    // MinIO's hold for a quarter of an hour at least: it is Amazon's answer to one that is over.
    let body = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let is_list: fn(&Request) -> bool = |request| request.asks("list-type=2");
    place.proxy.on(1, is_list, Fault::Answer { status: 400, retry_after: None, body });
    let error = place.bucket.store_with(&options).list("", None, 1).unwrap_err();
    assert_eq!((error.kind, error.trouble()), (ObjectErrorKind::Denied, Some(Trouble::ExpiredCredentials)), "{error}");
    assert!(error.what.contains("have expired"), "{error}");
    // Another one's token, which MinIO itself refuses.
    options.s3.session_token = Some(Secret::new("no token of anybody's"));
    let error = place.bucket.store_with(&options).list("", None, 1).unwrap_err();
    assert_eq!((error.kind, error.trouble()), (ObjectErrorKind::Denied, Some(Trouble::WrongCredentials)), "{error}");
    assert!(!format!("{error} {error:?}").contains("no token of anybody's"), "{error:?}");
}
