//! A directory that is not there: verify, check and rebuild name it, and judge the rest.
#![cfg(feature = "sqlite")]
#![allow(clippy::disallowed_methods, reason = "takes directories away below a log on the real file system")]

use std::path::PathBuf;

use icecore::log::catalog::{CatalogReport, Source};
use icecore::{ErrorKind, Log, LogOptions, NewRecord, Sequence, Verified, VerifyOptions};

use crate::world::name;

/// A log of two directories with two collections, one in each; sealed, but for one record of each.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let log = place.open();
        for collection in ["a", "b"] {
            log.append(&name(collection), NewRecord::payload("sealed")).unwrap();
        }
        log.seal(None).unwrap();
        for collection in ["a", "b"] {
            log.append(&name(collection), NewRecord::payload("unsealed")).unwrap();
        }
        log.close().unwrap();
        place
    }

    fn path(&self, directory: &str) -> PathBuf {
        self.folder.path().join(directory)
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.path("one"), self.path("two")]);
        options.background = false;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    fn take_away(&self) {
        std::fs::rename(self.path("two"), self.path("elsewhere")).unwrap();
        // An empty mount point.
        std::fs::create_dir(self.path("two")).unwrap();
    }

    fn bring_back(&self) {
        std::fs::remove_dir_all(self.path("two")).unwrap();
        std::fs::rename(self.path("elsewhere"), self.path("two")).unwrap();
    }

    fn catalog(&self) -> PathBuf {
        let report = CatalogReport::of(&self.options()).unwrap();
        report.path
    }
}

#[test]
fn verify_names_it_and_judges_the_rest() {
    let place = Place::new();
    place.take_away();
    let log = place.open();
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert_eq!(report.damaged, []);
    assert_eq!((report.verdict, report.ok), (Verified::Incomplete, false));
    let [missing] = &report.missing_directories[..] else { panic!("{:?}", report.missing_directories) };
    assert_eq!((&missing.path, missing.segments, missing.collections), (&place.path("two"), 1, 1));
    assert_eq!((report.segments, report.records), (1, 2));
    let status = log.status().unwrap();
    assert_eq!(status.directories.iter().map(|of| of.state.as_str()).collect::<Vec<_>>(), ["healthy", "missing"]);
    assert!(status.directories[1].reason.is_some());
    assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
    assert_eq!(log.recovery().missing_directories.len(), 1);
    log.close().unwrap();
    drop(log);

    place.bring_back();
    let log = place.open();
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert_eq!((report.verdict, report.records, report.missing_directories.len()), (Verified::Ok, 4, 0));
}

#[test]
fn check_names_it_and_judges_the_rest() {
    let place = Place::new();
    assert!(CatalogReport::of(&place.options()).unwrap().findings.is_empty());
    place.take_away();
    let report = CatalogReport::of(&place.options()).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|found| (found.kind, found.damage)).collect();
    assert_eq!(kinds, [("missing-directory", true)], "{:?}", report.findings);
    assert!(!report.ok);
}

#[test]
fn a_rebuild_keeps_what_the_old_catalog_says_of_it() {
    let place = Place::new();
    place.take_away();
    let report = Log::rebuild_catalog(&place.options(), false).unwrap();
    assert_eq!(report.source, Source::History);
    assert_eq!((report.segments, report.missing_directories.len()), (2, 1));
    assert_eq!((report.losses, report.not_carried), (vec![], vec![]));
    place.bring_back();
    let log = place.open();
    assert_eq!(log.verify(VerifyOptions { deep: true }).unwrap().verdict, Verified::Ok);
    for collection in ["a", "b"] {
        let receipt = log.append(&name(collection), NewRecord::payload("next")).unwrap();
        assert_eq!(receipt.last, Sequence(3), "{collection}");
    }
}

/// What is only in the missing directory would be forgotten, and its sequences given out again.
#[test]
fn a_rebuild_without_an_old_catalog_is_refused_while_it_is_missing() {
    let place = Place::new();
    let catalog = place.catalog();
    std::fs::remove_file(&catalog).unwrap();
    place.take_away();
    let error = Log::rebuild_catalog(&place.options(), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("a directory of the log is missing") && error.hint().is_some(), "{error}");
    place.bring_back();
    let report = Log::rebuild_catalog(&place.options(), false).unwrap();
    assert_eq!((report.source, report.segments, report.missing_directories.len()), (Source::Absent, 2, 0));
    assert_eq!(place.open().verify(VerifyOptions { deep: true }).unwrap().verdict, Verified::Ok);
}
