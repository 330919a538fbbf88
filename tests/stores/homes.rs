//! Homes of segments in real servers (A5): placed evenly, known after everything local is lost; homes in S3 and in Azure in one log.

use std::collections::BTreeMap;

use icecore::avro::sha256;
use serde_json::Value;

use super::bucket::Bucket;
use super::servers::Kind;
use super::util::{Outcome, Run, Workspace};
use super::wait_for;

const COLLECTIONS: usize = 100;
const RECORDS: usize = 160;
/// Of a record. With these, a collection has 10 MiB, and all together 1 GB.
const RECORD_BYTES: usize = 64 << 10;

/// A log on some disks whose homes are in buckets, and whose archive is in one, too.
struct Log {
    workspace: Workspace,
    buckets: Vec<Bucket>,
    disks: usize,
    archive: String,
}

impl Log {
    /// With a first collection. Homes are all buckets but the last, which is the archive.
    #[track_caller]
    fn new(disks: usize, first: &str, buckets: Vec<Bucket>) -> Self {
        let archive = buckets.last().unwrap().location().to_string();
        let log = Self { workspace: Workspace::new(), buckets, disks, archive };
        // It is local, as by its turn it would be.
        log.succeeds(&format!("collection create {first}"));
        for bucket in &log.buckets[..log.buckets.len() - 1] {
            log.succeeds(&format!("directory add {}", bucket.location()));
        }
        log
    }

    /// The program on this log, with the credentials of every server.
    fn icecore(&self, line: &str) -> Run {
        let disks: String = (0..self.disks).map(|disk| format!("--data d{disk} ")).collect();
        self.elsewhere(&format!("{disks}--archive {} {line}", self.archive))
    }

    /// The program with nothing but the credentials.
    fn elsewhere(&self, line: &str) -> Run {
        let mut run = self.workspace.icecore(line.split_whitespace());
        for bucket in &self.buckets {
            for (name, value) in bucket.environment(bucket.server.address()) {
                run = run.env(name, value);
            }
        }
        run
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> Outcome {
        let outcome = self.icecore(line).run();
        assert_eq!(outcome.status.code(), Some(0), "{line}: {}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }

    #[track_caller]
    fn json(&self, line: &str) -> Vec<Value> {
        self.succeeds(&format!("--json {line}")).json_lines()
    }

    /// Appends lines, and sends nothing: the archiver beside it has nothing that is sealed.
    #[track_caller]
    fn append(&self, collection: &str, lines: String) {
        let outcome = self.icecore(&format!("append {collection}")).stdin(lines).run();
        assert_eq!(outcome.status.code(), Some(0), "{collection}: {}", outcome.stderr);
    }

    /// By collection, where its journal lies, or where it is at home.
    fn assigned(&self, component: &str) -> BTreeMap<String, String> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = self.json(&format!("ls assignments --component {component}"));
        rows.iter().map(|row| (text(row, "collection"), text(row, "directory_id"))).collect()
    }

    fn remove_catalog(&self) {
        let catalog = self.workspace.path("d0/.icecore/catalog.sqlite");
        assert!(catalog.exists());
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", catalog.display()));
        }
    }

    #[track_caller]
    fn cat(&self, collection: &str) -> String {
        self.succeeds(&format!("cat {collection} --format raw")).stdout
    }
}

/// Lines that do not get small when they are compressed.
fn lines(collection: usize, count: usize, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(collection as u64);
    let mut text = String::with_capacity(count * (bytes + 1));
    for _ in 0..count {
        text.extend((0..bytes).map(|_| random.alphanumeric()));
        text.push('\n');
    }
    text
}

fn counts(of: &BTreeMap<String, String>) -> Vec<usize> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    of.values().for_each(|place| *counts.entry(place).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

/// A gigabyte on two local and two S3 directories; killed while it is sent, the catalog gone, and everything is back.
#[test]
fn a_hundred_collections_on_two_local_and_two_s3_directories() {
    let log = Log::new(
        2,
        "collection-000",
        vec![Bucket::new(Kind::Minio), Bucket::new(Kind::Minio), Bucket::new(Kind::Minio)],
    );
    let name = |number: usize| format!("collection-{number:03}");
    let mut digests = Vec::new();
    for number in 0..COLLECTIONS {
        let text = lines(number, RECORDS, RECORD_BYTES);
        digests.push(sha256(text.as_bytes()));
        log.append(&name(number), text);
    }
    let (homes, journals) = (log.assigned("home"), log.assigned("wal"));
    assert_eq!((counts(&homes), counts(&journals)), (vec![25, 25], vec![50, 50]), "so 25 are local in each disk");
    let local: BTreeMap<String, String> =
        journals.iter().filter(|(name, _)| !homes.contains_key(*name)).map(|(a, b)| (a.clone(), b.clone())).collect();
    assert_eq!(counts(&local), [25, 25]);
    log.succeeds("seal");

    // Killed with some of it sent, whenever that is.
    let mut child = log.icecore("archive --wait").spawn();
    let store = log.buckets[0].store();
    wait_for("something is sent", || {
        let sent = store.list("", None, 1000).ok()?.objects;
        sent.iter().any(|object| object.key.starts_with("collection-")).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    log.remove_catalog();
    // Without asking any store: the archive may not have begun yet.
    log.succeeds("catalog rebuild");
    assert_eq!((log.assigned("home"), log.assigned("wal")), (homes.clone(), journals));

    log.succeeds("archive --wait");
    log.succeeds("verify --remote --deep");
    for (index, bucket) in log.buckets[..2].iter().enumerate() {
        let objects = bucket.store().list("", None, 1000).unwrap().objects;
        let mut there: Vec<_> = objects.iter().filter_map(|object| object.key.split('/').next()).collect();
        there.retain(|folder| folder.starts_with("collection-"));
        there.dedup();
        assert_eq!(there.len(), 25, "in home {index}: {there:?}");
    }
    log.succeeds("evict");
    for (number, digest) in digests.iter().enumerate() {
        assert!(sha256(log.cat(&name(number)).as_bytes()) == *digest, "{} is not what was appended", name(number));
    }

    // Without the catalog, and with nothing but stubs here.
    log.remove_catalog();
    log.succeeds("catalog rebuild --from-archive");
    assert_eq!(log.assigned("home"), homes);
    for number in [0, 1, 2, 3, 50, 97, 98, 99] {
        assert!(sha256(log.cat(&name(number)).as_bytes()) == digests[number], "{}", name(number));
    }
}

/// One log with a home in S3 and one in Azure: each keeps its own, and everything comes back from nothing.
#[test]
fn homes_in_s3_and_in_azure_at_once() {
    let log = Log::new(
        1,
        "collection-0",
        vec![Bucket::new(Kind::Minio), Bucket::new(Kind::Azurite), Bucket::new(Kind::Minio)],
    );
    let name = |number: usize| format!("collection-{number}");
    let text = |number: usize| lines(number, 20, 4 << 10);
    (0..6).for_each(|number| log.append(&name(number), text(number)));
    let homes = log.assigned("home");
    assert_eq!(counts(&homes), [2, 2], "and two are local");
    log.succeeds("seal");
    log.succeeds("archive --wait");
    let folders = |bucket: &Bucket| {
        let objects = bucket.store().list("", None, 1000).unwrap().objects;
        objects.iter().filter(|object| object.key.starts_with("collection-")).count()
    };
    assert_eq!(log.buckets.iter().map(folders).collect::<Vec<_>>(), [2, 2, 2]);
    log.succeeds("verify --remote --deep");
    log.succeeds("evict");
    (0..6).for_each(|number| assert_eq!(log.cat(&name(number)), text(number), "read through"));

    std::fs::remove_dir_all(log.workspace.path("d0")).unwrap();
    log.elsewhere(&format!("restore {} --to d0", log.archive)).run().expect_code(0);
    assert_eq!(log.assigned("home"), homes, "restored");
    for number in 0..6 {
        assert_eq!(log.cat(&name(number)), text(number), "restored");
        log.append(&name(number), lines(100 + number, 20, 4 << 10));
    }
    log.succeeds("seal");
    log.succeeds("archive --wait");
    assert_eq!(log.buckets.iter().map(folders).collect::<Vec<_>>(), [4, 4, 4], "each goes on where it is at home");
    log.succeeds("verify --remote --deep");
}
