//! Which right is missing, and what else stands between us and a store.
//!
//! Owns: trying each thing by itself (put, list, get, delete, versions), so that one right that is missing hides no other one; saying it in the
//! vendor's words; leaving nothing behind. Does not own: the tries of what a store can do beyond that, which are
//! [`ObjectStore::probe`]'s and come last.
//!
//! Where the store itself is out of reach (no bucket, no credentials, no connection, clocks apart), that is the one finding, and the
//! rest is not tried: every try would say the same.

use bytes::Bytes;
use serde::Serialize;

use super::{Abilities, ObjectError, ObjectErrorKind, ObjectKey, ObjectStore, Put, Trouble, Upload, probe};
use crate::types::ids::hex;

/// What was tried, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Doctor {
    /// Which store.
    pub place: String,
    /// In the order in which they were tried.
    pub findings: Vec<Finding>,
    /// What the store can do; `None` where it could not be tried.
    pub abilities: Option<Abilities>,
}

impl Doctor {
    /// Whether everything that an archive needs is there. What is only advised may be missing.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.outcome, Outcome::Good | Outcome::Advice))
    }
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub check: Check,
    /// What came of it.
    pub outcome: Outcome,
    /// What stands in the way, where that is known.
    pub trouble: Option<Trouble>,
    /// What the store, or the system, said; empty where all is well.
    pub said: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The store is there, and knows us.
    Reach,
    /// Making an object.
    Put,
    /// Listing it.
    List,
    /// Reading it.
    Get,
    /// Seeing its versions; only `verify --remote` and retention need it.
    Versions,
    /// Removing it; only retention needs it, and it may be another account's right.
    Delete,
    /// That a key that is taken stays as it is.
    NeverReplaced,
    /// That bytes which are damaged on the way are refused.
    Checksums,
    /// Nothing of this is left.
    CleanedUp,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It can be done.
    Good,
    /// It can be done without, with a loss that the hint says.
    Advice,
    /// It cannot be done, and must be.
    Bad,
    /// It was not tried, because of what is wrong before it.
    NotTried,
}

/// Tries a store. Errors are findings: this has none of its own.
#[must_use]
pub fn examine(store: &dyn ObjectStore) -> Doctor {
    let name = format!("{}doctor-{}", probe::PREFIX, hex(&fastrand::u128(..).to_le_bytes()));
    let key = ObjectKey::new(name).expect("letters, digits and `-`");
    let mut examination = Examination { store, vendor: Vendor::of(&store.place()), key, findings: Vec::new() };
    let abilities = examination.all();
    Doctor { place: store.place(), findings: examination.findings, abilities }
}

struct Examination<'a> {
    store: &'a dyn ObjectStore,
    vendor: Vendor,
    key: ObjectKey,
    findings: Vec<Finding>,
}

const BY_HAND: &str = "remove it by hand; it is small, and nothing reads it";
const BYTES: Bytes = Bytes::from_static(b"icecore doctor tries this store");

impl Examination<'_> {
    fn all(&mut self) -> Option<Abilities> {
        let put = self.store.put_if_absent(&self.key, &Upload::of_bytes(&BYTES));
        if let Err(error) = &put
            && is_of_all(error)
        {
            self.note(Check::Reach, Some(error));
            for check in [Check::Put, Check::List, Check::Get, Check::Versions, Check::Delete] {
                self.push(check, Outcome::NotTried, None, String::new(), None);
            }
            // It may have arrived all the same.
            if error.kind == ObjectErrorKind::OutcomeUnknown && self.store.delete(&self.key).is_err() {
                let said = format!("an object may be left: key=`{}`", self.key);
                self.push(Check::CleanedUp, Outcome::Advice, None, said, Some(BY_HAND.to_owned()));
            }
            return None;
        }
        self.push(Check::Reach, Outcome::Good, None, String::new(), None);
        let is_there = match &put {
            Ok(Put::Created) => self.note(Check::Put, None),
            Ok(_) => {
                let said = "a key that nobody knows is taken".to_owned();
                self.push(Check::Put, Outcome::Bad, None, said, None);
                false
            }
            Err(error) => self.note(Check::Put, Some(error)),
        };
        // Of an object that is not there these show the right as well: the answer is "absent", and not "denied".
        let listed = self.store.list(self.key.as_str(), None, 1);
        let can_list = self.note(Check::List, listed.err().as_ref());
        let read = self.store.get(&self.key, 1 << 10);
        let can_read = match &read {
            Ok(bytes) if *bytes != BYTES => {
                self.push(Check::Get, Outcome::Bad, None, "what is read is not what was put".to_owned(), None);
                false
            }
            Err(error) if error.is_not_found() && !is_there => self.note(Check::Get, None),
            read => self.note(Check::Get, read.as_ref().err()),
        };
        let versions = self.store.versions(&self.key).err();
        self.advise(Check::Versions, versions.as_ref());
        let deleted = self.store.delete(&self.key).err();
        let is_denied = deleted.as_ref().is_some_and(|error| error.kind == ObjectErrorKind::Denied);
        let can_delete =
            self.add(Check::Delete, deleted.as_ref(), if is_denied { Outcome::Advice } else { Outcome::Bad });
        let may_be_left = is_there || put.is_err_and(|error| error.kind == ObjectErrorKind::OutcomeUnknown);
        if may_be_left && !can_delete {
            let said = format!("an object is left: key=`{}`", self.key);
            self.push(Check::CleanedUp, Outcome::Advice, None, said, Some(BY_HAND.to_owned()));
        }
        if !(is_there && can_list && can_read && (can_delete || is_denied)) {
            return None;
        }
        self.abilities()
    }

    fn abilities(&mut self) -> Option<Abilities> {
        let abilities = match self.store.probe() {
            Ok(abilities) => abilities,
            Err(error) => {
                self.note(Check::NeverReplaced, Some(&error));
                return None;
            }
        };
        if abilities.conditional_put {
            self.push(Check::NeverReplaced, Outcome::Good, None, String::new(), None);
        } else {
            let said = "the store replaces an object that is there".to_owned();
            let hint = "nothing is archived there: use a store, or a version of it, that knows conditional puts";
            self.push(Check::NeverReplaced, Outcome::Bad, None, said, Some(hint.to_owned()));
        }
        if abilities.checks_checksums {
            self.push(Check::Checksums, Outcome::Good, None, String::new(), None);
        } else {
            let said = "the store does not compare what it gets with the SHA-256 that is sent along".to_owned();
            let hint = "every object is read back to prove it, which costs its bytes once more";
            self.push(Check::Checksums, Outcome::Advice, None, said, Some(hint.to_owned()));
        }
        Some(abilities)
    }

    /// Whether it went well.
    fn note(&mut self, check: Check, error: Option<&ObjectError>) -> bool {
        self.add(check, error, Outcome::Bad)
    }

    fn advise(&mut self, check: Check, error: Option<&ObjectError>) {
        self.add(check, error, Outcome::Advice);
    }

    fn add(&mut self, check: Check, error: Option<&ObjectError>, when_not: Outcome) -> bool {
        let Some(error) = error else {
            self.push(check, Outcome::Good, None, String::new(), None);
            return true;
        };
        let trouble = trouble_of(error);
        let said = match (&error.source, error.said()) {
            // Only an answer of the service says more than we do.
            (_, Some(said)) if said.status == 0 => error.what.to_string(),
            (Some(source), _) => format!("{}: {source}", error.what),
            (None, _) => error.what.to_string(),
        };
        self.push(check, when_not, trouble, said, self.vendor.hint(check, trouble));
        false
    }

    fn push(&mut self, check: Check, outcome: Outcome, trouble: Option<Trouble>, said: String, hint: Option<String>) {
        self.findings.push(Finding { check, outcome, trouble, said, hint });
    }
}

/// What stands in the way; of stores that do not say it, as far as the kind of the error tells.
fn trouble_of(error: &ObjectError) -> Option<Trouble> {
    error.trouble().or(match error.kind {
        ObjectErrorKind::Denied => Some(Trouble::MissingRight),
        ObjectErrorKind::Unavailable => Some(Trouble::Unreachable),
        ObjectErrorKind::OutcomeUnknown => Some(Trouble::NoAnswer),
        _ => None,
    })
}

/// Whether every other try would say the same.
fn is_of_all(error: &ObjectError) -> bool {
    !matches!(trouble_of(error), None | Some(Trouble::MissingRight | Trouble::Conflict | Trouble::Cold))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Local,
    S3,
    Google,
    Azure,
}

impl Vendor {
    fn of(place: &str) -> Self {
        match place.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3") => Self::S3,
            Some("gs") => Self::Google,
            Some("az" | "abfss") => Self::Azure,
            _ => Self::Local,
        }
    }

    /// The right that a check takes, in the vendor's words.
    const fn right(self, check: Check) -> Option<&'static str> {
        Some(match (self, check) {
            (Self::S3, Check::Put) => "`s3:PutObject` on the objects below the prefix (and `s3:AbortMultipartUpload`)",
            (Self::S3, Check::List) => "`s3:ListBucket` on the bucket",
            (Self::S3, Check::Get) => "`s3:GetObject` on the objects below the prefix",
            (Self::S3, Check::Versions) => {
                "`s3:ListBucketVersions` on the bucket and `s3:GetObjectVersion` on the objects below the prefix"
            }
            (Self::S3, Check::Delete) => "`s3:DeleteObject` on the objects below the prefix",
            (Self::Google, Check::Put) => "`storage.objects.create` (the role Storage Object Creator)",
            (Self::Google, Check::List | Check::Versions) => "`storage.objects.list` (the role Storage Object Viewer)",
            (Self::Google, Check::Get) => "`storage.objects.get` (the role Storage Object Viewer)",
            (Self::Google, Check::Delete) => "`storage.objects.delete` (the role Storage Object User)",
            (Self::Azure, Check::Put) => "the role Storage Blob Data Contributor, or `c` and `w` in the SAS",
            (Self::Azure, Check::List) => "the role Storage Blob Data Reader, or `l` in a SAS of the container",
            (Self::Azure, Check::Get) => "the role Storage Blob Data Reader, or `r` in the SAS",
            (Self::Azure, Check::Versions) => {
                "the role Storage Blob Data Reader, or `l` and `r` in a SAS of the container"
            }
            (Self::Azure, Check::Delete) => "the role Storage Blob Data Contributor, or `d` in the SAS",
            (Self::Local, Check::Put | Check::Delete) => "permission to write in the directory and below",
            (Self::Local, Check::List | Check::Get) => "permission to read the directory and below",
            _ => return None,
        })
    }

    /// What to do about it.
    fn hint(self, check: Check, trouble: Option<Trouble>) -> Option<String> {
        let bucket = if self == Self::Azure { "container" } else { "bucket" };
        let where_credentials_are = match self {
            Self::S3 => "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, or a role of the machine",
            Self::Google => "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` with an HMAC key of the project",
            Self::Azure => {
                "`AZURE_STORAGE_CONNECTION_STRING`, a SAS, the account's key, or `AZURE_CLIENT_ID` and its companions"
            }
            Self::Local => "the user that icecore runs as",
        };
        Some(match trouble? {
            Trouble::NoBucket => format!("make the {bucket}, or correct its name: icecore makes none"),
            Trouble::OtherRegion => format!("set the region, or the endpoint, that the {bucket} is in"),
            Trouble::NoCredentials => format!("give credentials: {where_credentials_are}"),
            Trouble::WrongCredentials => {
                format!("the credentials are not known, or wrong: check {where_credentials_are}")
            }
            Trouble::ExpiredCredentials => "get new credentials: these have run out".to_owned(),
            Trouble::ClockSkew => "set this machine's clock: signatures hold for minutes only".to_owned(),
            Trouble::MissingRight => {
                let used = match check {
                    Check::Delete => "; without it nothing is ever purged",
                    Check::Versions => "; without it, nothing is told of what a deleted object left",
                    _ => "",
                };
                format!("grant {}{used}", self.right(check)?)
            }
            Trouble::Unreachable if self == Self::Local => "is the disk mounted, and the directory a store?".to_owned(),
            Trouble::Unreachable => {
                "check the endpoint, the network, proxies, and `ca_file` where TLS is trusted by it".to_owned()
            }
            Trouble::NoAnswer | Trouble::Busy => "the store is slow, or in trouble: try again later".to_owned(),
            Trouble::NotAStore => "what answered is no such store: check the endpoint".to_owned(),
            Trouble::Conflict => "others are at work on the same object: try again".to_owned(),
            Trouble::Cold => "restore the object with the vendor's tools, then try again".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
