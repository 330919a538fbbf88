//! One run with both clouds at once, and no secret of either anywhere: not in what is printed, at any level, nor in files, nor in objects.

use std::path::PathBuf;

use icecore::objects::{ObjectKey, StoreOptions};
use icecore::types::Secret;

use super::admin;
use super::bucket::Bucket;
use super::entra::{CLIENT_SECRET, Entra};
use super::loopback::Loopback;
use super::servers::Kind;
use super::util::{Outcome, Workspace};

/// What a container asks for its role with.
const AUTHORIZATION: &str = "what-the-container-may-ask-with";

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files_below(directory: PathBuf) -> Vec<PathBuf> {
    let (mut directories, mut files) = (vec![directory], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn no_secret_of_either_cloud_is_anywhere() {
    let entra = Entra::new("https://storage.azure.com", 3600);
    let minio = Bucket::new(Kind::Minio);
    let keys = admin::keys_for_a_while(&minio.server);
    let service = Loopback::start(None, {
        let keys = keys.clone();
        move |asked| {
            if asked.header("authorization") != Some(AUTHORIZATION) {
                return (401, serde_json::json!({ "code": "no", "message": "what you said is wrong" }).to_string());
            }
            let given = serde_json::json!({
                "AccessKeyId": keys.id, "SecretAccessKey": keys.secret, "Token": keys.token,
                "Expiration": "2099-01-01T00:00:00Z",
            });
            (200, given.to_string())
        }
    });
    let secrets = [
        ("a key's secret", keys.secret.clone()),
        ("a session's token", keys.token.clone()),
        ("what keys are asked for with", AUTHORIZATION.to_owned()),
        ("a client's secret", CLIENT_SECRET.to_owned()),
        ("a bearer's token", entra.token.clone()),
        ("its signature", entra.token.rsplit('.').next().unwrap().to_owned()),
        ("MinIO's own", minio.server.credentials().1.to_owned()),
        ("the emulator's own", admin::AZURE_DEVELOPMENT.1.to_owned()),
    ];
    let workspace = Workspace::new();
    let (archive, home) = (minio.location().to_string(), entra.bucket.location().to_string());
    let mut environment = entra.environment();
    environment.extend([
        ("AZURE_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("ICECORE_S3_ENDPOINT", minio.server.url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("HOME", workspace.path(".").display().to_string()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", service.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", AUTHORIZATION.to_owned()),
    ]);
    let printed = std::cell::RefCell::new(String::new());
    let run = |line: &str, input: &str, others: &[(&str, &str)]| -> Outcome {
        let words = line.split(' ').map(|word| match word {
            "ARCHIVE" => archive.as_str(),
            "HOME" => home.as_str(),
            word => word,
        });
        let mut run = workspace.icecore(["--log-level", "trace"].into_iter().chain(words)).stdin(input);
        for (name, value) in
            environment.iter().map(|(name, value)| (*name, value.as_str())).chain(others.iter().copied())
        {
            run = run.env(name, value);
        }
        let outcome = run.run();
        printed.borrow_mut().push_str(&format!("{}\n{}\n", outcome.stdout, outcome.stderr));
        outcome
    };
    let succeeds = |line: &str, input: &str| run(line, input, &[]).expect_code(0);
    let text: String = (0..500).map(|line| format!("line {line}\n")).collect();
    succeeds("--data d append near", &text);
    succeeds("--data d directory add --remote HOME", "");
    succeeds("--data d collection create far --home HOME", "");
    succeeds("--data d append far", &text);
    succeeds("--data d seal", "");
    let report = succeeds("--data d --archive ARCHIVE --json archive --wait", "").json_lines();
    assert_eq!(report[0]["archived_segments"], 2, "{report:?}");
    for line in ["status --json", "status", "verify --remote --deep", "directory ls", "config", "evict", "doctor"] {
        succeeds(&format!("--data d --archive ARCHIVE {line}"), "");
    }
    for collection in ["near", "far"] {
        let read = succeeds(&format!("--data d --archive ARCHIVE cat {collection} --format raw"), "");
        assert_eq!(read.stdout, text, "{collection}");
    }
    // Refusals say most, and are logged most.
    let wrong = [
        ("AZURE_CLIENT_SECRET", "wrong-and-secret-too"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong-and-secret-too"),
    ];
    for line in ["--archive ARCHIVE doctor", "--archive HOME doctor", "--data d --archive ARCHIVE verify --remote"] {
        let refused = run(line, "", &wrong);
        assert!(!refused.status.success(), "{line}: {refused:?}");
    }
    let printed = printed.into_inner();
    // Or nothing would be shown by what follows.
    assert!(printed.contains("TRACE ") && printed.contains("DEBUG "));
    assert!(!printed.contains("wrong-and-secret-too"));
    for (what, secret) in &secrets {
        assert!(!printed.contains(secret), "{what} was printed");
    }
    let files = files_below(workspace.path("."));
    assert!(files.len() > 5);
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for (what, secret) in &secrets {
            assert!(!holds(&bytes, secret), "{what} is in {}", path.display());
        }
    }
    let trusting =
        StoreOptions { ca_file: Some(entra.authority.file()), ..entra.bucket.options_at(&entra.bucket.server.url()) };
    for store in [minio.store(), entra.bucket.store_with(&trusting)] {
        let listed = store.list("", None, 1000).unwrap().objects;
        assert!(!listed.is_empty(), "{store:?}");
        for object in listed {
            let bytes = store.get(&ObjectKey::new(&*object.key).unwrap(), 64 << 20).unwrap();
            for (what, secret) in &secrets {
                assert!(!holds(&bytes, secret), "{what} is in {}", object.key);
            }
        }
    }
    shown_for_people_who_look_for_faults(&minio, &keys);
}

/// `Debug` of what holds secrets, before and after a request.
fn shown_for_people_who_look_for_faults(minio: &Bucket, keys: &admin::Keys) {
    let mut options = minio.options(minio.server.address());
    options.s3.access_key_id = Some(Secret::new(&*keys.id));
    options.s3.secret_access_key = Some(Secret::new(&*keys.secret));
    options.s3.session_token = Some(Secret::new(&*keys.token));
    let store = minio.store_with(&options);
    store.list("", None, 1).unwrap();
    let shown = format!("{options:?} {store:?}");
    assert!(!shown.contains(&keys.secret) && !shown.contains(&keys.token), "{shown}");
}
