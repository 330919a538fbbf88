//! Which engine keeps the catalog, and what mirrors it.

use std::sync::Arc;

use super::*;
use crate::catalog::follow::differences;
use crate::catalog::{Catalog, CatalogMode, Engine};
use crate::log::catalog::choose::catalog_file;

pub fn built() -> Vec<Engine> {
    Engine::ALL.into_iter().filter(|engine| engine.is_built()).collect()
}

/// Every two of the engines that this program was built with.
pub fn pairs() -> Vec<(Engine, Engine)> {
    let engines = built();
    let pairs: Vec<_> = engines.iter().flat_map(|one| engines.iter().map(|other| (*one, *other))).collect();
    let pairs: Vec<_> = pairs.into_iter().filter(|(one, other)| one != other).collect();
    if pairs.is_empty() {
        eprintln!("built with one engine: there is no pair of engines to test");
    }
    pairs
}

impl Place {
    pub fn with(&self, engines: &[Engine]) -> LogOptions {
        LogOptions { catalog_engines: engines.to_vec(), ..self.options() }
    }

    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn identity(&self) -> identity::Identity {
        identity::Identity::read(&*self.options().fs, &self.directory()).unwrap().unwrap()
    }

    pub fn file(&self, engine: Engine) -> PathBuf {
        let log = self.identity().log_id(&self.directory()).unwrap();
        catalog_file(&self.options(), &self.directory(), log, engine)
    }

    pub fn open_catalog(&self, engine: Engine) -> Arc<dyn Catalog> {
        engine.open(&self.file(engine), CatalogMode::ReadWrite).unwrap()
    }

    /// Removes an engine's files; whether the catalog's own was there.
    pub fn remove(&self, engine: Engine) -> bool {
        let fs = self.options().fs;
        for companion in engine.companions(&self.file(engine)) {
            let _ = fs.remove_file(&companion);
        }
        fs.remove_file(&self.file(engine)).is_ok()
    }
}

/// Appends `count` records to each of two collections, and seals one of them.
pub fn fill(log: &Log, count: u64) {
    for text in ["a", "b"] {
        let name = name(text);
        let next = log.0.collection(&name).map_or(1, |known| known.state().next.0);
        let batch: Vec<_> = (next..next + count).map(|at| put(format!("{text}-{at}"))).collect();
        assert_eq!(log.append_batch(&name, &batch, AppendOptions::default()).unwrap().first.0, next);
    }
    log.seal(Some(&name("a"))).unwrap();
}

/// Whether everything that [`fill`] appended is there, and nothing else.
pub fn assert_filled(log: &Log, count: u64) {
    let report = log.recovery();
    assert!(report.damaged.is_empty() && report.losses.is_empty(), "{report:?}");
    for text in ["a", "b"] {
        let wanted: Vec<_> = (1..=count).map(|at| (at, format!("{text}-{at}").into_bytes())).collect();
        assert_eq!(everything(log, &name(text)), wanted);
    }
}

fn refused(options: LogOptions) -> Error {
    Log::open(options).map(|_| ()).unwrap_err()
}

#[test]
fn the_engine_of_a_log_is_on_record_and_another_is_refused() {
    for engine in built() {
        let place = Place::new();
        let log = Log::open(place.with(&[engine])).unwrap();
        fill(&log, 3);
        assert_eq!(log.status().unwrap().catalog, Some(engine));
        log.close().unwrap();
        drop(log);
        assert_eq!(place.identity().catalog, engine);
        assert!(place.options().fs.metadata(&place.file(engine)).is_ok());
        for other in Engine::ALL.into_iter().filter(|other| *other != engine) {
            for error in [refused(place.with(&[other])), Log::open_read_only(place.with(&[other])).unwrap_err()] {
                if !other.is_built() {
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                    continue;
                }
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                let wanted = format!("engine=`{engine}`, asked for=`{other}`");
                assert!(error.to_string().ends_with(&wanted), "{error}");
                assert!(error.hint().unwrap().contains(&format!("`icecore catalog migrate --to {other}`")));
            }
            assert!(
                place.options().fs.metadata(&place.file(other)).is_err(),
                "no catalog is made beside the one in use"
            );
        }
        for options in [place.options(), place.with(&[engine])] {
            assert_filled(&Log::open_read_only(options.clone()).unwrap(), 3);
            let log = Log::open(options).unwrap();
            assert_filled(&log, 3);
            assert!(!log.recovery().catalog_was_missing);
        }
        assert_eq!(place.identity().catalog, engine, "a new epoch keeps it");
    }
}

#[test]
fn a_new_log_without_a_wish_gets_the_first_engine_there_is() {
    let place = Place::new();
    drop(place.open());
    assert_eq!(Some(place.identity().catalog), built().first().copied());
}

#[cfg(feature = "sqlite")]
#[test]
fn an_identity_from_before_there_were_engines_says_sqlite() {
    let place = Place::new();
    let log = place.open();
    fill(&log, 3);
    log.close().unwrap();
    drop(log);
    let path = identity::Identity::path(&place.directory());
    let fs = place.options().fs;
    let bytes = crate::fs::durable::read_small(&*fs, &path, 1 << 20).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json.as_object_mut().unwrap().remove("catalog"), Some("sqlite".into()));
    crate::fs::durable::replace_small(&*fs, &path, json.to_string().as_bytes()).unwrap();
    assert_filled(&place.open(), 3);
    assert_eq!(place.identity().catalog, Engine::Sqlite);
    // What no program knows is an error, not SQLite.
    json["catalog"] = "oracle".into();
    crate::fs::durable::replace_small(&*fs, &path, json.to_string().as_bytes()).unwrap();
    assert_eq!(refused(place.options()).kind(), ErrorKind::Corrupt);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let engine = built()[0];
    let mut wrong = vec![
        (vec![engine, engine], ErrorKind::Invalid, "another engine than its own"),
        (vec![engine, engine, engine], ErrorKind::Invalid, "one mirror at most"),
    ];
    for engine in Engine::ALL.into_iter().filter(|engine| !engine.is_built()) {
        wrong.push((vec![engine], ErrorKind::Unsupported, Engine::WORDS[engine as usize]));
        wrong.push((vec![built()[0], engine], ErrorKind::Unsupported, Engine::WORDS[engine as usize]));
    }
    for (engines, kind, what) in wrong {
        let place = Place::new();
        let error = refused(place.with(&engines));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(place.options().fs.metadata(&place.directory()).is_err());
        if kind == ErrorKind::Unsupported {
            assert!(error.hint().unwrap().contains(&format!("the feature `{what}`")));
        }
    }
}

#[test]
fn a_missing_catalog_is_made_anew_with_every_record_and_that_is_said() {
    for engine in built() {
        let place = Place::new();
        let log = Log::open(place.with(&[engine])).unwrap();
        fill(&log, 20);
        fill(&log, 20);
        let epoch = log.epoch();
        log.close().unwrap();
        drop(log);
        assert!(place.remove(engine));
        let error = Log::open_read_only(place.options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "nobody makes one to read");
        let log = place.open();
        assert!(log.recovery().catalog_was_missing && log.recovery().catalog_is_old, "{:?}", log.recovery());
        assert_filled(&log, 40);
        assert_eq!(log.epoch(), epoch.next());
        assert_eq!(log.catalog().engine(), Some(engine));
        fill(&log, 5);
        log.close().unwrap();
        drop(log);
        let log = place.open();
        assert!(!log.recovery().catalog_was_missing);
        assert_filled(&log, 45);
    }
}

#[test]
fn a_mirror_holds_the_same_when_the_log_is_closed_and_catches_up_when_it_was_away() {
    for (first, second) in pairs() {
        let place = Place::new();
        let log = Log::open(place.with(&[first, second])).unwrap();
        fill(&log, 20);
        log.close().unwrap();
        assert_eq!(log.status().unwrap().mirror.map(|mirror| (mirror.engine, mirror.lag)), Some((second, 0)));
        drop(log);
        // Without its mirror, the log goes on; a reader sees how far that is behind.
        let log = Log::open(place.with(&[first])).unwrap();
        fill(&log, 10);
        assert_eq!(log.status().unwrap().mirror, None);
        log.close().unwrap();
        drop(log);
        let log = Log::open_read_only(place.with(&[first, second])).unwrap();
        let behind = log.status().unwrap().mirror.unwrap();
        assert!(behind.lag > 0 && behind.error.is_none(), "{behind:?}");
        assert_eq!(behind.change_number.0 + behind.lag, log.status().unwrap().change_number.0);
        drop(log);
        let log = Log::open(place.with(&[first, second])).unwrap();
        assert_filled(&log, 30);
        fill(&log, 1);
        log.close().unwrap();
        drop(log);
        let (one, other) = (place.open_catalog(first), place.open_catalog(second));
        assert_eq!(differences(&*one, &*other).unwrap(), Vec::<String>::new());
        assert!(other.change_number().unwrap() > behind.change_number);
        assert_eq!(other.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_mirror_that_is_none_is_refused_and_stays_as_it_is() {
    for (first, second) in pairs() {
        let place = Place::new();
        let log = Log::open(place.with(&[first, second])).unwrap();
        fill(&log, 5);
        log.close().unwrap();
        drop(log);
        let mirror = place.open_catalog(second);
        let value = Mutation::SetMeta { name: "n".to_owned(), value: "1".to_owned() };
        let ahead = mirror.apply(&[value], crate::Timestamp(1), "alone").unwrap();
        drop(mirror);
        let error = refused(place.with(&[first, second]));
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.hint().unwrap().contains(&format!("`icecore catalog migrate --to {second}`")));
        assert_eq!(place.open_catalog(second).change_number().unwrap(), ahead);
        let status = Log::open_read_only(place.with(&[first, second])).unwrap().status().unwrap();
        assert!(status.mirror.unwrap().error.unwrap().contains("ahead"));
        // Without it, or with a new one, the log opens.
        assert_filled(&Log::open(place.with(&[first])).unwrap(), 5);
        assert!(place.remove(second));
        let log = Log::open(place.with(&[first, second])).unwrap();
        assert_filled(&log, 5);
        log.close().unwrap();
        assert_eq!(log.status().unwrap().mirror.map(|mirror| mirror.lag), Some(0));
    }
}

#[test]
fn a_damaged_mirror_does_not_keep_the_log_from_opening() {
    for (first, second) in pairs() {
        let place = Place::new();
        drop(Log::open(place.with(&[first])).unwrap());
        let garbage = [b"no catalog ".repeat(1000), vec![0xa5; 50_000]].concat();
        crate::fs::durable::replace_small(&*place.options().fs, &place.file(second), &garbage).unwrap();
        let log = Log::open(place.with(&[first, second])).unwrap();
        fill(&log, 5);
        let status = log.status().unwrap();
        let mirror = status.mirror.unwrap();
        assert_eq!((mirror.engine, mirror.lag), (second, status.change_number.0));
        assert!(mirror.error.is_some());
        assert_filled(&log, 5);
        let bytes = crate::fs::durable::read_small(&*place.options().fs, &place.file(second), 1 << 20).unwrap();
        assert_eq!(bytes, garbage, "nothing was overwritten");
    }
}
