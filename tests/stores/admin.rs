//! Requests that are signed here: what makes buckets and looks from outside shares no code with the stores that are tested.
//!
//! Written from "Signature Version 4" of Amazon and "Authorize with Shared Key" of Microsoft.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use azure_core::base64;
use ring::{digest, hmac};

use super::servers::{Kind, Server};
use super::tls::read_to_end;

/// The account of the emulator, and its key, which its makers publish.
pub const AZURE_DEVELOPMENT: (&str, &str) =
    ("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==");

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One line of a query: names and values as they are sent, in order of the names.
type Query<'a> = &'a [(&'a str, &'a str)];

/// What there is.
pub fn list_buckets(server: &Server) -> io::Result<Answer> {
    match server.kind {
        Kind::Azurite => send(server, "GET", "", &[("comp", "list")], b""),
        _ => send(server, "GET", "/", &[], b""),
    }
}

/// Makes a bucket or a container.
#[track_caller]
pub fn create_bucket(server: &Server, name: &str) {
    let query: Query<'_> = if server.kind == Kind::Azurite { &[("restype", "container")] } else { &[] };
    // Some take a moment between answering and being ready for that.
    super::wait_for(&format!("{:?} makes a bucket", server.kind), || {
        let answer = send(server, "PUT", &format!("/{name}"), query, b"").ok()?;
        matches!(answer.status, 200 | 201 | 409).then_some(())
    });
}

/// Sends a request in the name of who may do everything.
pub fn send(server: &Server, method: &str, path: &str, query: Query<'_>, body: &[u8]) -> io::Result<Answer> {
    let parameters: Vec<String> = query
        .iter()
        .map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") })
        .collect();
    let mut target = match server.kind {
        Kind::Azurite => format!("/{}{path}", AZURE_DEVELOPMENT.0),
        _ => path.to_owned(),
    };
    let signature = match server.kind {
        Kind::Azurite => sign_azure(server, method, &target, query, body),
        _ => sign_s3(server, method, &target, query, body),
    };
    if !parameters.is_empty() {
        write!(target, "?{}", parameters.join("&")).unwrap();
    }
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    for (name, value) in signature {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
    exchange(server, &head, body)
}

/// Keys for a while, with a token, as MinIO's own token service gives them.
#[derive(Clone, Debug)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: String,
}

/// Asks MinIO for keys that hold for a quarter of an hour.
#[track_caller]
pub fn keys_for_a_while(server: &Server) -> Keys {
    let body = b"Action=AssumeRole&Version=2011-06-15&DurationSeconds=900";
    let host = server.address().to_string();
    let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    let signed = Signed {
        keys: server.credentials(),
        service: "sts",
        method: "POST",
        host: &host,
        path: "/",
        query: vec![],
        hash,
    };
    let mut head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in sign(&signed) {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    // It listens and lists before it knows who is who.
    let answer = super::wait_for("MinIO gives out keys", || {
        exchange(server, &head, body).ok().filter(|answer| answer.status == 200)
    });
    let text = |name: &str| {
        let (_, behind) = answer.body.split_once(&format!("<{name}>")).expect("it says so");
        behind.split('<').next().unwrap().to_owned()
    };
    Keys { id: text("AccessKeyId"), secret: text("SecretAccessKey"), token: text("SessionToken") }
}

fn exchange(server: &Server, head: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = server.connect()?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    let answer = read_to_end(&mut *stream)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: String::from_utf8_lossy(&answer[end + 4..]).into_owned() })
}

fn sign_s3(server: &Server, method: &str, path: &str, query: Query<'_>, body: &[u8]) -> Vec<(&'static str, String)> {
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    let host = server.address().to_string();
    sign(&Signed { keys: server.credentials(), service: "s3", method, host: &host, path, query, hash })
}

/// What of a request is signed.
pub struct Signed<'a> {
    pub keys: (&'a str, &'a str),
    pub service: &'a str,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    /// `name=value`, in order.
    pub query: Vec<String>,
    /// The SHA-256 of the body, or `UNSIGNED-PAYLOAD`.
    pub hash: String,
}

/// Signature Version 4: the headers that carry it.
pub fn sign(what: &Signed<'_>) -> Vec<(&'static str, String)> {
    let Signed { keys: (key, secret), service, method, host, path, query, hash } = what;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let request = format!(
        "{method}\n{path}\n{}\nhost:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{time}\n\n{signed}\n{hash}",
        query.join("&"),
    );
    let scope = format!("{day}/us-east-1/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref())
    );
    let mut signing = format!("AWS4{secret}").into_bytes();
    for part in [day, "us-east-1", service, "aws4_request", &text] {
        signing = hmac_sha256(&signing, part.as_bytes());
    }
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={signed}, Signature={}", hex(&signing));
    vec![("x-amz-content-sha256", hash.clone()), ("x-amz-date", time), ("Authorization", authorization)]
}

fn sign_azure(server: &Server, method: &str, path: &str, query: Query<'_>, body: &[u8]) -> Vec<(&'static str, String)> {
    let (account, key) = server.credentials();
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2021-12-02";
    let length = if body.is_empty() { String::new() } else { body.len().to_string() };
    let mut text = format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n");
    let mut headers = vec![("x-ms-date", date), ("x-ms-version", version.to_owned())];
    if method == "PUT" && !query.iter().any(|(name, _)| *name == "restype") {
        headers.insert(0, ("x-ms-blob-type", "BlockBlob".to_owned()));
    }
    for (name, value) in &headers {
        writeln!(text, "{name}:{value}").unwrap();
    }
    write!(text, "/{account}{path}").unwrap();
    for (name, value) in query {
        write!(text, "\n{name}:{value}").unwrap();
    }
    let signature = base64::encode(hmac_sha256(&base64::decode(key).unwrap(), text.as_bytes()));
    headers.push(("Authorization", format!("SharedKey {account}:{signature}")));
    headers
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A signature that gives these rights on a container, for a day.
pub fn shared_access_signature(server: &Server, container: &str, rights: &str) -> String {
    let (account, key) = server.credentials();
    let until = (jiff::Timestamp::now() + Duration::from_secs(24 * 60 * 60)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let version = "2021-12-02";
    // Rights, start, end, resource, identifier, addresses, protocol, version, kind, snapshot, scope, and five headers.
    let text = format!("{rights}\n\n{until}\n/blob/{account}/{container}\n\n\n\n{version}\nc\n\n\n\n\n\n\n");
    let signature = base64::encode(hmac_sha256(&base64::decode(key).unwrap(), text.as_bytes()));
    let encoded: String = signature
        .chars()
        .map(|letter| match letter {
            '+' => "%2B".to_owned(),
            '/' => "%2F".to_owned(),
            '=' => "%3D".to_owned(),
            letter => letter.to_string(),
        })
        .collect();
    format!("sv={version}&sr=c&sp={rights}&se={}&sig={encoded}", until.replace(':', "%3A"))
}
