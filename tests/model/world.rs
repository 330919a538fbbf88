//! A log, a list for each of its collections, and what each must answer.

use std::sync::Arc;
use std::time::Duration;

use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::{Clock as _, FakeClock};
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;
use icecore::{
    AppendOptions, CollectionName, Error, ErrorKind, Header, Log, LogOptions, NewRecord, ReadOptions, Reader, Receipt,
    Record, RecordKind, Sequence, SyncMode, Timestamp, VerifyOptions,
};

use crate::steps::{COLLECTIONS, Expect, Setup, Spec, Step};

const NAMES: [&str; COLLECTIONS] = ["audit", "Orders/2024", ".hidden", "ä"];

/// What one collection holds.
#[derive(Debug, Default)]
struct List {
    records: Vec<Record>,
    /// How many of them a power cut must leave.
    durable: usize,
    /// Where batches end.
    ends: Vec<usize>,
    /// Follows from the beginning, with how many records it has given.
    follower: Option<(Reader, usize)>,
}

pub struct World {
    setup: Setup,
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<FakeClock>,
    log: Log,
    mode: SyncMode,
    lists: [List; COLLECTIONS],
    made: u64,
}

fn name(collection: usize) -> CollectionName {
    CollectionName::new(NAMES[collection]).unwrap()
}

fn key(number: u8) -> Vec<u8> {
    // Key 1 is the empty one.
    "key".repeat(usize::from(number != 1)).into_bytes().into_iter().chain((number > 1).then_some(number)).collect()
}

fn open(setup: &Setup, fs: &SimulatedFileSystem, catalog: &Arc<MemoryCatalog>, clock: &Arc<FakeClock>) -> Log {
    let mut options = LogOptions::new(["/one", "/two"].into_iter().take(setup.directories));
    options.sync = setup.sync;
    options.codec = setup.codec;
    options.sabotage = setup.sabotage;
    options.limits.journal_bytes = 32 << 10;
    options.limits.segment_bytes = 6 << 10;
    options.limits.memtable_bytes = 24 << 10;
    options.limits.unsealed_bytes = 96 << 10;
    options.cold_bytes = 2 << 10;
    options.block_bytes = 1 << 10;
    options.fs = Arc::new(fs.clone());
    options.catalog = Some(Arc::clone(catalog) as _);
    options.clock = Arc::clone(clock) as _;
    options.background = false;
    let log = Log::open(options).unwrap();
    let report = log.recovery();
    assert!(report.damaged.is_empty() && report.losses.is_empty() && !report.catalog_is_old, "{report:?}");
    log
}

impl World {
    pub fn new(setup: Setup) -> Self {
        let (fs, catalog) = (SimulatedFileSystem::new(), Arc::new(MemoryCatalog::new()));
        let clock = Arc::new(FakeClock::at(Timestamp(50)));
        let log = open(&setup, &fs, &catalog, &clock);
        Self { setup, fs, catalog, clock, log, mode: setup.sync, lists: Default::default(), made: 0 }
    }

    pub fn act(&mut self, step: &Step) {
        match step {
            Step::Append { collection, records, sync, expect } => self.append(*collection, records, *sync, *expect),
            Step::AppendMany { batches, sync } => self.append_many(batches, *sync),
            Step::Delete { collection, keys } => {
                let records: Vec<_> = keys.iter().map(|&number| NewRecord::delete(key(number))).collect();
                let outcome = self.log.delete(&name(*collection), keys.iter().map(|&number| key(number)));
                self.note(*collection, &records, None, &outcome);
            }
            Step::Sync => {
                self.log.sync().unwrap();
                self.all_durable();
            }
            Step::Seal(Some(collection)) => match self.log.seal(Some(&name(*collection))) {
                Ok(_) => {
                    self.all_durable();
                    assert_eq!(self.log.seal(Some(&name(*collection))).unwrap(), 0, "everything was sealed");
                }
                Err(error) => self.is_unknown(*collection, &error),
            },
            Step::Seal(None) => {
                self.log.seal(None).unwrap();
                self.all_durable();
                assert_eq!(self.log.status().unwrap().unsealed_records, 0);
            }
            Step::Maintain => self.log.maintain().unwrap(),
            Step::Mode(mode) => {
                self.log.set_sync_mode(*mode).unwrap();
                self.mode = *mode;
                if mode.is_synced() {
                    self.all_durable();
                }
            }
            Step::Pause { seconds } => {
                // The wall clock stays where the records' own times are.
                let now = self.clock.now();
                self.clock.advance(Duration::from_secs(*seconds));
                self.clock.set(Timestamp((now.0 + 1) % 100));
            }
            Step::Read { collection, options } => self.read(*collection, *options),
            Step::Follow { collection } => self.follow(*collection),
            Step::Get { collection, key: number, now } => self.get(*collection, &key(*number), Timestamp(*now)),
            Step::Reopen => {
                self.log.close().unwrap();
                self.all_durable();
                self.restart(self.fs.kill_image(), false);
            }
            Step::Kill => self.restart(self.fs.kill_image(), false),
            Step::PowerCut { seed } => self.restart(self.fs.crash_image(Cut::Random { seed: *seed }), true),
            Step::Check => self.check_everything(),
        }
    }

    fn record(&mut self, spec: &Spec) -> NewRecord {
        self.made += 1;
        let payload = spec.bytes.map(|bytes| {
            let mut payload = self.made.to_le_bytes().to_vec();
            payload.resize(8 + bytes, self.made as u8);
            payload.into()
        });
        let headers = (0..spec.headers).map(|at| Header { key: format!("header-{at}"), value: key(at as u8).into() });
        NewRecord {
            kind: if spec.delete { RecordKind::Delete } else { RecordKind::Put },
            key: spec.key.map(|number| key(number).into()),
            payload: if spec.delete { None } else { payload },
            headers: headers.collect(),
            timestamp: spec.timestamp.map(Timestamp),
            expires_at: spec.expires_at.map(Timestamp),
        }
    }

    fn append(&mut self, collection: usize, specs: &[Spec], sync: Option<SyncMode>, expect: Expect) {
        let records: Vec<_> = specs.iter().map(|spec| self.record(spec)).collect();
        let next = self.lists[collection].records.len() as u64 + 1;
        let expected_next = match expect {
            Expect::Nothing => None,
            Expect::Right => Some(Sequence(next)),
            Expect::Wrong(off) => Some(Sequence(next + off)),
        };
        let outcome = self.log.append_batch(&name(collection), &records, AppendOptions { sync, expected_next });
        if records.is_empty() {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid, "an empty batch");
        } else if matches!(expect, Expect::Wrong(_)) {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict, "another sequence was expected");
        } else {
            self.note(collection, &records, sync, &outcome);
        }
    }

    fn append_many(&mut self, batches: &[(usize, Vec<Spec>)], sync: Option<SyncMode>) {
        let batches: Vec<_> = batches
            .iter()
            .map(|(collection, specs)| {
                (*collection, name(*collection), specs.iter().map(|spec| self.record(spec)).collect::<Vec<_>>())
            })
            .collect();
        let given: Vec<_> = batches.iter().map(|(_, name, records)| (name, &records[..])).collect();
        let outcomes = self.log.append_many_each(&given, AppendOptions { sync, ..AppendOptions::default() });
        assert_eq!(outcomes.len(), batches.len());
        for ((collection, _, records), outcome) in batches.iter().zip(&outcomes) {
            self.note(*collection, records, sync, outcome);
        }
    }

    /// An append must have succeeded, and have got the sequences behind those of the list.
    fn note(
        &mut self,
        collection: usize,
        records: &[NewRecord],
        sync: Option<SyncMode>,
        outcome: &Result<Receipt, Error>,
    ) {
        let now = self.clock.now();
        let list = &mut self.lists[collection];
        let receipt = outcome.as_ref().unwrap();
        let first = list.records.len() as u64 + 1;
        assert_eq!((receipt.first.0, receipt.last.0), (first, first + records.len() as u64 - 1));
        list.records.extend(records.iter().zip(first..).map(|(record, sequence)| Record {
            sequence: Sequence(sequence),
            timestamp: record.timestamp.unwrap_or(now),
            kind: record.kind,
            key: record.key.clone(),
            expires_at: record.expires_at,
            headers: record.headers.clone(),
            payload: record.payload.clone(),
        }));
        list.ends.push(list.records.len());
        if sync.unwrap_or(self.mode).is_synced() {
            list.durable = list.records.len();
        }
    }

    fn all_durable(&mut self) {
        self.lists.iter_mut().for_each(|list| list.durable = list.records.len());
    }

    /// The log does not know a collection: fine where it has nothing.
    fn is_unknown(&self, collection: usize, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(self.lists[collection].records.is_empty(), "`{}` has records: {error:?}", NAMES[collection]);
    }

    fn read(&self, collection: usize, options: ReadOptions) {
        let list = &self.lists[collection];
        let reader = match self.log.read(&name(collection), options) {
            Ok(reader) => reader,
            Err(error) => return self.is_unknown(collection, &error),
        };
        let found: Vec<Record> = reader.map(Result::unwrap).collect();
        let is_wanted = |record: &&Record| {
            options.from.is_none_or(|from| record.sequence >= from)
                && options.until.is_none_or(|until| record.sequence <= until)
                && options.from_time.is_none_or(|from| record.timestamp >= from)
                && options.until_time.is_none_or(|until| record.timestamp <= until)
        };
        let mut expected: Vec<&Record> = list.records.iter().filter(is_wanted).collect();
        if options.reverse {
            expected.reverse();
        }
        expected.truncate(options.limit.unwrap_or(u64::MAX) as usize);
        assert!(found.iter().eq(expected.iter().copied()), "found {found:?}\nexpected {expected:?}");
    }

    /// A reader that follows gives what is durable, each record once, in order; and what it gave, no power cut takes.
    fn follow(&mut self, collection: usize) {
        let list = &mut self.lists[collection];
        let (mut reader, mut given) = match list.follower.take() {
            Some(follower) => follower,
            None => match self.log.read(&name(collection), ReadOptions::follow()) {
                Ok(reader) => (reader, 0),
                Err(error) => return self.is_unknown(collection, &error),
            },
        };
        while let Some(record) = reader.try_next().unwrap() {
            assert_eq!(Some(&record), list.records.get(given));
            given += 1;
        }
        assert!(given >= list.durable, "only `{given}` of `{}` durable records were given", list.durable);
        list.durable = given;
        list.follower = Some((reader, given));
    }

    fn get(&self, collection: usize, key: &[u8], now: Timestamp) {
        let found = match self.log.get(&name(collection), key, now) {
            Ok(found) => found,
            Err(error) => return self.is_unknown(collection, &error),
        };
        let newest = self.lists[collection].records.iter().rfind(|record| record.key.as_deref() == Some(key));
        let expected = newest.filter(|record| record.kind == RecordKind::Put && !record.is_expired(now));
        assert_eq!(found.as_ref(), expected);
    }

    /// The next process finds `fs`. Where the power was cut, the end of each list may be gone, but nothing that was durable,
    /// and no batch in part.
    fn restart(&mut self, fs: SimulatedFileSystem, power_was_cut: bool) {
        for list in &mut self.lists {
            list.follower = None;
        }
        self.fs = fs;
        self.catalog = Arc::new(self.catalog.snapshot());
        self.log = open(&self.setup, &self.fs, &self.catalog, &self.clock);
        self.mode = self.setup.sync;
        for (collection, list) in self.lists.iter_mut().enumerate() {
            let found = contents(&self.log, collection).len();
            if power_was_cut {
                let name = NAMES[collection];
                assert!(found >= list.durable, "`{name}`: `{found}` left of `{}` durable records", list.durable);
                assert!(found == 0 || list.ends.contains(&found), "`{name}`: a batch was split at `{found}`");
                list.records.truncate(found);
                list.ends.retain(|&end| end <= found);
            }
            // What recovery found, it has synced.
            list.durable = list.records.len();
        }
        self.check_everything();
    }

    /// The log holds what the lists hold, and can prove it.
    pub fn check_everything(&self) {
        for (collection, list) in self.lists.iter().enumerate() {
            assert_eq!(contents(&self.log, collection), list.records);
            self.read(collection, ReadOptions::default());
        }
        let report = self.log.verify(VerifyOptions { deep: true }).unwrap();
        assert!(report.ok && report.gaps.is_empty() && report.without_row.is_empty(), "{report:?}");
        assert_eq!(report.records, self.lists.iter().map(|list| list.records.len() as u64).sum::<u64>());
    }
}

fn contents(log: &Log, collection: usize) -> Vec<Record> {
    match log.contents(&name(collection)) {
        Err(error) if error.kind() == ErrorKind::NotFound && error.to_string().starts_with("no such") => Vec::new(),
        found => found.unwrap(),
    }
}
