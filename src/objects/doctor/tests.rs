//! The doctor's findings, over a store that lacks what it is told to lack.

use std::sync::Arc;

use super::*;
use crate::fs::OsFileSystem;
use crate::objects::{Head, LocalObjectStore, Meter, ObjectResult, Page, Proof, Said, Version};

/// A store of the vendor's name that refuses some operations.
#[derive(Debug)]
struct Lacking {
    inner: LocalObjectStore,
    place: &'static str,
    refused: &'static [&'static str],
    trouble: Option<Trouble>,
    kind: ObjectErrorKind,
}

impl Lacking {
    fn check<T>(&self, operation: &'static str, otherwise: impl FnOnce() -> ObjectResult<T>) -> ObjectResult<T> {
        if !self.refused.contains(&operation) {
            return otherwise();
        }
        if self.kind == ObjectErrorKind::OutcomeUnknown && operation == "put" {
            // It happened, and the answer was lost.
            otherwise()?;
        }
        let said = Said { trouble: self.trouble, status: 403, code: "No".to_owned(), ..Said::default() };
        Err(ObjectError {
            kind: self.kind,
            operation,
            place: self.place.into(),
            key: "".into(),
            what: "refused".into(),
            retry_after: None,
            source: Some(Box::new(said)),
        })
    }
}

impl ObjectStore for Lacking {
    fn place(&self) -> String {
        self.place.to_owned()
    }
    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.check("put", || self.inner.put_if_absent(key, upload))
    }
    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.check("get", || self.inner.get(key, bytes_max))
    }
    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.check("get", || self.inner.get_range(key, offset, bytes))
    }
    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.check("get", || self.inner.head(key))
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.check("list", || self.inner.list(prefix, after, limit))
    }
    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.check("delete", || self.inner.delete(key))
    }
    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        self.inner.prove(key, upload)
    }
    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.check("versions", || self.inner.versions(key))
    }
    fn probe(&self) -> ObjectResult<Abilities> {
        probe::try_out(self)
    }
    fn meter(&self) -> &Meter {
        self.inner.meter()
    }
}

fn store(
    place: &'static str,
    refused: &'static [&'static str],
    trouble: Option<Trouble>,
) -> (tempfile::TempDir, Lacking) {
    let directory = tempfile::tempdir().unwrap();
    let inner = LocalObjectStore::create(Arc::new(OsFileSystem::new()), directory.path().join("store")).unwrap();
    let kind = ObjectErrorKind::Denied;
    (directory, Lacking { inner, place, refused, trouble, kind })
}

fn finding(doctor: &Doctor, check: Check) -> &Finding {
    doctor.findings.iter().find(|finding| finding.check == check).unwrap()
}

#[test]
fn a_store_that_is_well() {
    let (_kept, store) = store("file:///store", &[], None);
    let doctor = examine(&store);
    assert!(doctor.is_well(), "{doctor:?}");
    assert!(doctor.abilities.as_ref().is_some_and(|abilities| abilities.conditional_put));
    // What it only advises is said with what it costs.
    assert_eq!(finding(&doctor, Check::Checksums).outcome, Outcome::Advice);
    assert!(store.inner.list(probe::PREFIX, None, 1).unwrap().objects.is_empty());
}

#[test]
fn each_missing_right_is_named_and_hides_no_other() {
    for (place, refused, check, right) in [
        ("s3://b", "put", Check::Put, "s3:PutObject"),
        ("s3://b", "list", Check::List, "s3:ListBucket"),
        ("s3://b", "get", Check::Get, "s3:GetObject"),
        ("s3://b", "versions", Check::Versions, "s3:ListBucketVersions"),
        ("s3://b", "delete", Check::Delete, "s3:DeleteObject"),
        ("gs://b", "list", Check::List, "storage.objects.list"),
        ("az://a/c", "put", Check::Put, "Storage Blob Data Contributor"),
        ("az://a/c", "delete", Check::Delete, "`d` in the SAS"),
        ("file:///store", "put", Check::Put, "permission to write"),
    ] {
        let refused: &'static [&'static str] = vec![refused].leak();
        let (_kept, store) = store(place, refused, Some(Trouble::MissingRight));
        let doctor = examine(&store);
        let found = finding(&doctor, check);
        assert_ne!(found.outcome, Outcome::Good, "{doctor:?}");
        assert!(found.hint.as_ref().unwrap().contains(right), "{found:?}");
        assert_eq!(doctor.is_well(), matches!(check, Check::Versions | Check::Delete), "{doctor:?}");
        let is_other = |finding: &&Finding| finding.check != check && finding.outcome == Outcome::Bad;
        assert_eq!(doctor.findings.iter().find(is_other), None, "{doctor:?}");
        // What else is tried needs no right to delete.
        assert_eq!(doctor.abilities.is_some(), doctor.is_well());
        let left = store.inner.list("_probe/doctor-", None, 10).unwrap().objects;
        assert_eq!(left.len(), usize::from(check == Check::Delete), "what cannot be removed is told");
        let is_told = |finding: &Finding| finding.said.contains(&left.first().unwrap().key);
        assert!(left.is_empty() || is_told(finding(&doctor, Check::CleanedUp)));
    }
}

#[test]
fn every_missing_right_at_once() {
    let (_kept, store) = store("s3://b", &["put", "list", "get", "versions", "delete"], Some(Trouble::MissingRight));
    let doctor = examine(&store);
    let bad = doctor.findings.iter().filter(|finding| finding.outcome == Outcome::Bad).count();
    assert_eq!(bad, 3, "{doctor:?}");
    assert!(doctor.abilities.is_none());
}

#[test]
fn what_is_wrong_with_the_whole_store_is_said_once() {
    for (trouble, hint) in [
        (Trouble::NoBucket, "make the bucket"),
        (Trouble::NoCredentials, "AWS_ACCESS_KEY_ID"),
        (Trouble::WrongCredentials, "not known, or wrong"),
        (Trouble::ClockSkew, "clock"),
        (Trouble::Unreachable, "endpoint"),
        (Trouble::OtherRegion, "region"),
    ] {
        let (_kept, store) = store("s3://b", &["put", "list", "get", "versions", "delete"], Some(trouble));
        let doctor = examine(&store);
        assert_eq!((doctor.findings[0].check, doctor.findings[0].outcome), (Check::Reach, Outcome::Bad));
        assert!(doctor.findings[0].hint.as_ref().unwrap().contains(hint), "{doctor:?}");
        assert!(doctor.findings[1..].iter().all(|finding| finding.outcome == Outcome::NotTried));
        assert!(!doctor.is_well());
        assert!(serde_json::to_string(&doctor).is_ok());
    }
}

#[test]
fn a_directory_that_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let doctor = examine(&LocalObjectStore::new(Arc::new(OsFileSystem::new()), directory.path().join("absent")));
    assert_eq!(doctor.findings[0].trouble, Some(Trouble::Unreachable));
    assert!(doctor.findings[0].hint.as_ref().unwrap().contains("mounted"));
}

/// Symptom: where the answer to the first put was lost, the doctor left its object behind and did not say so. Cause: it was done with the store before its
/// delete. Fix: it deletes, and says what may be left where that fails too.
#[test]
fn a_put_whose_answer_was_lost_leaves_nothing_or_says_so() {
    for (refused, is_left) in [(&["put"][..], false), (&["put", "delete"], true)] {
        let (_kept, mut store) = store("s3://b", refused, Some(Trouble::Unreachable));
        store.kind = ObjectErrorKind::OutcomeUnknown;
        let doctor = examine(&store);
        assert_eq!((doctor.findings[0].check, doctor.findings[0].outcome), (Check::Reach, Outcome::Bad));
        let left = store.inner.list(probe::PREFIX, None, 10).unwrap().objects;
        assert_eq!(left.len(), usize::from(is_left), "{left:?}");
        let said = doctor.findings.iter().find(|finding| finding.check == Check::CleanedUp);
        assert_eq!(said.is_some_and(|finding| finding.said.contains(&left[0].key)), is_left, "{doctor:?}");
    }
}
