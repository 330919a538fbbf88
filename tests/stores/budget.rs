//! Memory of uploads: never more than the budget, counted at the bytes themselves, wherever a store keeps them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use icecore::archive::{Archiver, ArchiverOptions, TargetStore};
use icecore::fs::FsResult;
use icecore::log::{AppendOptions, Log, LogOptions};
use icecore::objects::{
    Abilities, Head, Meter, ObjectKey, ObjectResult, ObjectStore, Page, Proof, Put, Source, StoreOptions, Upload,
    Version,
};
use icecore::types::{CollectionName, NewRecord};

use super::bucket::Bucket;
use super::servers::Kind;

const BUDGET: u64 = 32 << 20;

/// Bytes that were read to be sent and are not let go yet: now, and at most.
#[derive(Debug, Default)]
struct Held {
    now: AtomicU64,
    most: AtomicU64,
}

/// Bytes that are counted until the last who holds them lets go.
struct Counted {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

struct CountingSource<'a> {
    source: &'a dyn Source,
    held: Arc<Held>,
}

impl Source for CountingSource<'_> {
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        let now = self.held.now.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64;
        self.held.most.fetch_max(now, Ordering::SeqCst);
        let read = self.source.read(offset, bytes);
        let read = read.inspect_err(|_| {
            self.held.now.fetch_sub(bytes as u64, Ordering::SeqCst);
        })?;
        Ok(Bytes::from_owner(Counted { bytes: read, held: Arc::clone(&self.held) }))
    }
}

/// A real store, whose sources are counted.
#[derive(Debug)]
struct Counting {
    store: Arc<dyn ObjectStore>,
    held: Arc<Held>,
}

impl Counting {
    fn with<T>(&self, upload: &Upload<'_>, call: impl FnOnce(&Upload<'_>) -> T) -> T {
        let source = CountingSource { source: upload.source, held: Arc::clone(&self.held) };
        call(&Upload { source: &source, ..*upload })
    }
}

impl ObjectStore for Counting {
    fn place(&self) -> String {
        self.store.place()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.with(upload, |upload| self.store.put_if_absent(key, upload))
    }

    fn put_memory(&self, bytes: u64) -> u64 {
        self.store.put_memory(bytes)
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.store.get(key, bytes_max)
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.store.get_range(key, offset, bytes)
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.store.head(key)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.store.list(prefix, after, limit)
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.store.delete(key)
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        self.with(upload, |upload| self.store.prove(key, upload))
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.store.versions(key)
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        self.store.probe()
    }

    fn meter(&self) -> &Meter {
        self.store.meter()
    }
}

/// 20 segments of 15 MiB, as many at once as there are.
fn never_more_than_the_budget(kind: Kind, parts: bool) {
    let (bucket, directory) = (Bucket::new(kind), tempfile::tempdir().unwrap());
    let mut options = LogOptions::new([directory.path().join("log")]);
    options.limits.segment_bytes = 16 << 20;
    options.background = false;
    let log = Log::open(options).unwrap();
    let (name, mut noise) = (CollectionName::new("c").unwrap(), fastrand::Rng::with_seed(3));
    for _ in 0..20 {
        let mut record = || {
            let mut payload = vec![0; 1 << 20];
            noise.fill(&mut payload);
            NewRecord::payload(payload)
        };
        let records: Vec<_> = (0..15).map(|_| record()).collect();
        log.append_batch(&name, &records, AppendOptions::default()).unwrap();
        log.seal(Some(&name)).unwrap();
    }
    let mut options = bucket.options(bucket.server.address());
    if parts {
        options = StoreOptions { multipart_bytes: 5 << 20, part_bytes: 5 << 20, ..options };
    }
    let held = Arc::<Held>::default();
    let store = Arc::new(Counting { store: bucket.store_with(&options), held: Arc::clone(&held) });
    let target = TargetStore { remote: None, url: bucket.location().to_string(), store };
    let options = ArchiverOptions { parallel: 20, memory_bytes: BUDGET, ..ArchiverOptions::default() };
    let report = Archiver::new(&log, vec![target], options).unwrap().run_once(&mut |_| true).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let (now, most) = (held.now.load(Ordering::SeqCst), held.most.load(Ordering::SeqCst));
    assert_eq!(now, 0);
    assert!(most <= BUDGET, "{most} bytes were held");
    // Two at once, or it would say nothing.
    assert!(most > BUDGET / 2, "{most} bytes were held");
    println!("at most {most} bytes of {BUDGET} were held");
    log.close().unwrap();
}

#[test]
fn whole_objects_to_minio() {
    never_more_than_the_budget(Kind::Minio, false);
}

#[test]
fn parts_to_minio() {
    never_more_than_the_budget(Kind::Minio, true);
}

#[test]
fn whole_objects_to_azurite() {
    never_more_than_the_budget(Kind::Azurite, false);
}

#[test]
fn blocks_to_azurite() {
    never_more_than_the_budget(Kind::Azurite, true);
}
