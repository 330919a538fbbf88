//! Servers behind TLS, with certificates of an authority that only who was told knows.

use icecore::objects::{ObjectErrorKind, StoreOptions, Trouble, conformance};

use super::bucket::Bucket;
use super::servers::{Kind, own_with_tls};
use super::tls::Authority;
use super::util::Workspace;

fn a_private_authority(kind: Kind) {
    let authority = Authority::new();
    let bucket = Bucket::of(own_with_tls(kind, &authority, "127.0.0.1"));
    let options = bucket.options_at(&bucket.server.url());
    let told = StoreOptions { ca_file: Some(authority.file()), ..options.clone() };
    conformance::run(&*bucket.store_with(&told));
    let other_authority = Authority::new();
    let another = StoreOptions { ca_file: Some(other_authority.file()), ..options.clone() };
    for wrong in [options, another] {
        let error = bucket.store_with(&wrong).list("", None, 1).unwrap_err();
        assert_eq!(
            (error.kind, error.trouble()),
            (ObjectErrorKind::Unavailable, Some(Trouble::Unreachable)),
            "{error}"
        );
        assert!(
            error.what.contains("of no authority that is trusted here") && error.what.contains("`ca_file`"),
            "{error}"
        );
    }
    the_program_is_told(&bucket, &authority);
}

/// By its settings, where vendors' own ways give the credentials.
fn the_program_is_told(bucket: &Bucket, authority: &Authority) {
    let workspace = Workspace::new();
    let url = bucket.location().to_string();
    let doctor = |settings: &[(&str, String)]| {
        let mut run = workspace.icecore(["--archive", &url, "doctor"]);
        for (name, value) in bucket.environment_at(&bucket.server.url()).iter().map(|(name, value)| (*name, value)) {
            run = run.env(name, value);
        }
        for (name, value) in settings {
            run = run.env(name, value);
        }
        run.run()
    };
    doctor(&[("ICECORE_ARCHIVE_CA_FILE", authority.file().display().to_string())]).expect_code(0);
    let refused = doctor(&[]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("ca_file"), "{refused:?}");
}

#[test]
fn minio_with_a_private_authority() {
    a_private_authority(Kind::Minio);
}

#[test]
fn azurite_with_a_private_authority() {
    a_private_authority(Kind::Azurite);
}

/// Whoever holds a certificate of the same authority is not therefore the store.
fn another_name(kind: Kind) {
    let authority = Authority::new();
    let server = own_with_tls(kind, &authority, "elsewhere.test");
    let bucket = Bucket::of(server);
    let options = StoreOptions { ca_file: Some(authority.file()), ..bucket.options_at(&bucket.server.url()) };
    let store = bucket.store_with(&options);
    let key = icecore::objects::ObjectKey::new("object").unwrap();
    let bytes = bytes::Bytes::from_static(b"bytes");
    let put = store.put_if_absent(&key, &icecore::objects::Upload::of_bytes(&bytes)).map(drop);
    for outcome in [put, store.list("", None, 1).map(drop)] {
        let error = outcome.unwrap_err();
        // Nothing was sent: nothing is in doubt.
        assert_eq!(
            (error.kind, error.trouble()),
            (ObjectErrorKind::Unavailable, Some(Trouble::Unreachable)),
            "{error}"
        );
        assert!(error.what.contains("is of another name than the endpoint"), "{error}");
    }
}

#[test]
fn minio_with_the_certificate_of_another() {
    another_name(Kind::Minio);
}

#[test]
fn azurite_with_the_certificate_of_another() {
    another_name(Kind::Azurite);
}
