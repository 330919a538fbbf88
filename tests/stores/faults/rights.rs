//! Who may do what, and where.

use std::sync::Arc;

use icecore::objects::{ObjectErrorKind, ObjectResult, ObjectStore, Put, Upload};
use icecore::types::Secret;

use super::{Trial, error_of, kind_of, with_every_server};
use crate::admin;
use crate::bucket::Bucket;
use crate::proxy::Fault;
use crate::seaweed;
use crate::servers::Kind;

with_every_server!(wrong_credentials, a_bucket_that_is_not_there, a_clock_that_is_off);

/// Every call, by its name.
fn calls(trial: &Trial, store: &Arc<dyn ObjectStore>) -> Vec<(&'static str, ObjectResult<()>)> {
    let upload = Upload::of_bytes(&trial.bytes);
    vec![
        ("put", store.put_if_absent(&trial.key, &upload).map(drop)),
        ("get", store.get(&trial.key, 1 << 20).map(drop)),
        ("get_range", store.get_range(&trial.key, 0, 1).map(drop)),
        ("head", store.head(&trial.key).map(drop)),
        ("list", store.list("", None, 1).map(drop)),
        ("prove", store.prove(&trial.key, &upload).map(drop)),
        ("probe", store.probe().map(drop)),
        ("delete", store.delete(&trial.key)),
    ]
}

fn wrong_credentials(kind: Kind) {
    let trial = Trial::new(kind);
    trial.the_next_try(&trial.store(), Put::Created);
    let mut options = trial.options();
    options.s3.secret_access_key = Some(Secret::new("not the right one"));
    options.azure.account_key = Some(Secret::new("bm90IHRoZSByaWdodCBvbmU="));
    for (name, outcome) in calls(&trial, &trial.bucket.store_with(&options)) {
        assert_eq!(kind_of(outcome), ObjectErrorKind::Denied, "{name}");
    }
    trial.the_object_is_there();
}

fn a_bucket_that_is_not_there(kind: Kind) {
    let trial = Trial::new(kind);
    for (name, outcome) in calls(&trial, &trial.bucket.missing()) {
        let error = error_of(outcome);
        assert_eq!(error.kind, ObjectErrorKind::Failed, "{name}: {error:?}");
        assert!(error.what.contains("icecore-test-that-nobody-made"), "{name}: {error:?}");
    }
}

/// What the servers of the vendors say to it; of these here not all look at the time.
fn a_clock_that_is_off(kind: Kind) {
    let trial = Trial::new(kind);
    let body = match kind {
        Kind::Azurite => "<Error><Code>AuthenticationFailed</Code><Message>m</Message></Error>",
        _ => "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>",
    };
    trial.proxy.on(usize::MAX, |_| true, Fault::Answer { status: 403, retry_after: None, body });
    for (name, outcome) in calls(&trial, &trial.store()) {
        assert_eq!(kind_of(outcome), ObjectErrorKind::Denied, "{name}");
    }
    trial.proxy.clear();
    trial.the_next_try(&trial.store(), Put::Created);
}

/// May write, and not read: nothing that cannot be seen is absent.
fn who_may_only_write(trial: &Trial, store: &Arc<dyn ObjectStore>) {
    assert_eq!(trial.put(store).unwrap(), Put::Created);
    for (name, outcome) in calls(trial, store) {
        if matches!(name, "get" | "get_range" | "head" | "prove") {
            assert_eq!(kind_of(outcome), ObjectErrorKind::Denied, "{name}");
        }
    }
}

#[test]
fn seaweedfs_lets_a_writer_not_read() {
    let trial = Trial::of(Bucket::new(Kind::Seaweed));
    let mut options = trial.options();
    options.s3.access_key_id = Some(Secret::new(seaweed::WRITER.0));
    options.s3.secret_access_key = Some(Secret::new(seaweed::WRITER.1));
    who_may_only_write(&trial, &trial.bucket.store_with(&options));
}

#[test]
fn azurite_lets_a_writer_not_read() {
    let trial = Trial::of(Bucket::new(Kind::Azurite));
    let mut options = trial.options();
    options.azure.account_key = None;
    options.azure.sas =
        Some(Secret::new(admin::shared_access_signature(&trial.bucket.server, &trial.bucket.name, "cw")));
    who_may_only_write(&trial, &trial.bucket.store_with(&options));
}
