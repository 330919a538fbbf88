//! The index and the log together give what the log alone gives.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::FakeClock;
use crate::log::LogOptions;
use crate::log::compact::CompactOptions;
use crate::sink::{Sinks, SinksOptions};
use crate::types::NewRecord;

/// In microseconds: the clock's beginning.
const BEGIN: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;

struct World {
    place: tempfile::TempDir,
    clock: Arc<FakeClock>,
}

struct Opened {
    log: Log,
    kv: Arc<KvStore>,
    sinks: Sinks,
}

impl World {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap(), clock: Arc::new(FakeClock::at(Timestamp(BEGIN))) }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.data()]);
        options.background = false;
        options.clock = self.clock.clone();
        options.cold_bytes = 0;
        options.sinks = vec![NAME.to_owned()];
        options
    }

    fn open(&self) -> Opened {
        let log = Log::open(self.options()).unwrap();
        let kv = Arc::new(store(&self.data()));
        let options = SinksOptions { clock: self.clock.clone(), ..SinksOptions::default() };
        let sinks = Sinks::new(&log, vec![kv.clone() as Arc<dyn Sink>], options).unwrap();
        Opened { log, kv, sinks }
    }

    /// As another process without a writer does it.
    fn look_up(&self, collection: &CollectionName, key: &[u8]) -> (Option<Option<Record>>, Option<Record>) {
        let log = Log::open_read_only(self.options()).unwrap();
        let now = crate::clock::Clock::now(&*self.clock);
        let found = look_up(&self.data(), &log, collection, key, now).unwrap();
        (found, log.get(collection, key, now).unwrap())
    }
}

impl Opened {
    fn flush(&self) {
        assert_eq!(self.sinks.flush(None, &mut |_| true).unwrap().failed, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is appended, deleted, expired, flushed, compacted, left in the middle and opened again: the newest version is found, in the index
    /// and beyond it, by who writes and by who only reads; and it is what the log alone finds.
    #[test]
    fn the_newest_version_is_found(
        steps in prop::collection::vec((0u8..12, 0u8..6, prop::bool::weighted(0.3), 0i64..3), 1..60)
    ) {
        let (world, audit) = (World::new(), name("audit"));
        let mut opened = Some(world.open());
        let mut model: BTreeMap<u8, Option<(u64, i64)>> = BTreeMap::new();
        let mut last = 0;
        for (what, key, is_delete, expiry) in steps {
            let here = opened.as_ref().unwrap();
            match what {
                0 => here.flush(),
                1 | 2 => {
                    let Opened { log, kv, sinks } = opened.take().unwrap();
                    drop((sinks, kv));
                    if what == 1 {
                        log.close().unwrap();
                    }
                    // Without closing, what is in no segment is in journals only.
                    drop(log);
                    if last > 0 {
                        for key in model.keys() {
                            let (found, wanted) = world.look_up(&audit, &[*key]);
                            prop_assert!(found.is_none_or(|found| found == wanted));
                        }
                    }
                    opened = Some(world.open());
                }
                3 if last > 0 => {
                    let set = |settings: &mut crate::CollectionSettings| {
                        settings.set("compact.keep_versions", "1").unwrap();
                        settings.set("compact.tombstone_grace", "1s").unwrap();
                    };
                    here.log.set_collection_settings(&audit, set).unwrap();
                    here.flush();
                    here.log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
                }
                4 => world.clock.advance(std::time::Duration::from_secs(1)),
                _ => {
                    let now = crate::clock::Clock::now(&*world.clock).0;
                    let new = if is_delete { NewRecord::delete(vec![key]) } else { NewRecord::put(vec![key], "v") };
                    let expires = if expiry > 0 { now + expiry * SECOND } else { i64::MAX };
                    let new = if expiry > 0 { new.with_expiry(Timestamp(expires)) } else { new };
                    last = here.log.append(&audit, new).unwrap().last.get();
                    model.insert(key, (!is_delete).then_some((last, expires)));
                }
            }
            if last > 0 {
                let here = opened.as_ref().unwrap();
                let now = crate::clock::Clock::now(&*world.clock);
                for (key, newest) in &model {
                    let found = here.kv.newest(&here.log, &audit, &[*key], now).unwrap();
                    let wanted = newest.filter(|(_, expires)| *expires > now.0).map(|(sequence, _)| sequence);
                    prop_assert_eq!(found.as_ref().map(|record| record.sequence.get()), wanted);
                    prop_assert_eq!(found, here.log.get(&audit, &[*key], now).unwrap());
                }
            }
        }
    }
}

#[test]
fn what_was_compacted_by_age_is_not_found_in_the_index_either() {
    let (world, audit) = (World::new(), name("audit"));
    let opened = world.open();
    opened.log.append(&audit, NewRecord::put("old", "v")).unwrap();
    opened.log.append(&audit, NewRecord::put("kept", "v").with_timestamp(Timestamp(BEGIN + 7200 * SECOND))).unwrap();
    opened.flush();
    opened.log.set_collection_settings(&audit, |settings| settings.set("compact.ttl", "1h").unwrap()).unwrap();
    opened.log.close().unwrap();
    drop(opened);
    world.clock.advance(std::time::Duration::from_secs(3600));
    let opened = world.open();
    opened.flush();
    let report = opened.log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
    assert_eq!(report.removed().expired, 1, "{report:?}");
    assert!(opened.kv.get(&audit, b"old", Timestamp(0)).unwrap().is_some(), "the index alone has it still");
    opened.log.close().unwrap();
    drop(opened);
    assert_eq!(world.look_up(&audit, b"old"), (Some(None), None));
    let (found, wanted) = world.look_up(&audit, b"kept");
    assert!(wanted.is_some());
    assert_eq!(found, Some(wanted));
}

#[test]
fn what_was_purged_is_not_found_before_the_index_knows() {
    let (world, audit) = (World::new(), name("audit"));
    let opened = world.open();
    opened.log.append(&audit, NewRecord::put("a", "v")).unwrap();
    opened.flush();
    opened.log.delete_collection(&audit).unwrap();
    opened.log.append(&audit, NewRecord::put("b", "v")).unwrap();
    let now = Timestamp(BEGIN);
    assert!(opened.kv.get(&audit, b"a", now).unwrap().is_some(), "nobody delivered since");
    assert_eq!(opened.kv.newest(&opened.log, &audit, b"a", now).unwrap(), None);
    assert!(opened.kv.newest(&opened.log, &audit, b"b", now).unwrap().is_some());
}

#[test]
fn where_there_is_no_index_nothing_is_made_and_one_that_is_open_is_left_alone() {
    let (world, audit) = (World::new(), name("audit"));
    let opened = world.open();
    opened.log.append(&audit, NewRecord::put("a", "v")).unwrap();
    opened.log.sync().unwrap();
    let (found, wanted) = world.look_up(&audit, b"a");
    assert!(found.is_none() && wanted.is_some() && !world.data().join(FOLDER).exists());
    opened.flush();
    let log = Log::open_read_only(world.options()).unwrap();
    let busy = look_up(&world.data(), &log, &audit, b"a", Timestamp(0)).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Locked);
    // Of a collection that the tree has nothing of, it says nothing.
    let other = name("other");
    opened.log.append(&other, NewRecord::put("a", "v")).unwrap();
    opened.log.close().unwrap();
    drop(opened);
    assert_eq!(world.look_up(&other, b"a").0, None);
    assert!(world.look_up(&audit, b"a").0.is_some());
}

/// Bytes that this thread has read, by the system's count.
#[cfg(target_os = "linux")]
fn bytes_read() -> u64 {
    let fs = crate::fs::OsFileSystem::new();
    let file = crate::fs::FileSystem::open(&fs, Path::new("/proc/thread-self/io"), crate::fs::OpenMode::Read).unwrap();
    let mut text = vec![0; 4096];
    let len = file.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8(text[..len].to_vec()).unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_look_up_reads_few_bytes() {
    let (world, audit) = (World::new(), name("audit"));
    let opened = world.open();
    for segment in 0..40_u64 {
        for number in 0..50_u64 {
            let key = format!("key-{segment}-{number}");
            let mut payload = vec![0; 2000];
            fastrand::Rng::with_seed(segment * 100 + number).fill(&mut payload);
            opened.log.append(&audit, NewRecord::put(key, payload)).unwrap();
        }
        opened.flush();
    }
    opened.log.close().unwrap();
    drop(opened);
    let now = Timestamp(BEGIN);
    let kv = store(&world.data());
    kv.cursor(&audit).unwrap();
    let read = |key: &str| {
        let log = Log::open_read_only(world.options()).unwrap();
        let before = bytes_read();
        let found = kv.newest(&log, &audit, key.as_bytes(), now).unwrap();
        let indexed = bytes_read() - before;
        let log = Log::open_read_only(world.options()).unwrap();
        let before = bytes_read();
        assert_eq!(log.get(&audit, key.as_bytes(), now).unwrap(), found);
        (indexed, bytes_read() - before)
    };
    for key in ["key-0-7", "key-20-1", "key-never"] {
        let (indexed, scanned) = read(key);
        println!("{key}: {indexed} bytes by the index, {scanned} by the log alone");
        assert!(indexed < 16 << 10 && indexed * 4 < scanned, "{key}: {indexed} of {scanned}");
    }
}
