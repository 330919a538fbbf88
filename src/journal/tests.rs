//! A journal on the real file system: written, read back, damaged, recycled.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use crc32c::crc32c;

use super::file::{HEADER_BYTES, JournalKind, parse_file_name};
use super::*;
use crate::avro::record::{self, Fields, Seed, kind};
use crate::clock::FakeClock;
use crate::fs::{FileSystem, OpenMode, OsFileSystem};
use crate::testing::Sabotage;
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

struct Events {
    name: CollectionName,
    written: Mutex<Vec<(u64, u64, bool)>>,
    durable: Mutex<u64>,
}

impl Events {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: CollectionName::new(name).unwrap(),
            written: Mutex::default(),
            durable: Mutex::default(),
        })
    }
}

impl Member for Events {
    fn name(&self) -> &CollectionName {
        &self.name
    }
    fn written(&self, batch: Written, durable: bool) {
        self.written.lock().unwrap().push((batch.first.0, batch.count, durable));
    }
    fn durable(&self, last: Sequence) {
        *self.durable.lock().unwrap() = last.0;
    }
    fn refused(&self, _: Sequence) {}
}

fn batch(member: &Arc<Events>, first: u64, payloads: &[&str], sync: bool) -> Batch {
    let mut bytes = Vec::new();
    let mut checksums = Vec::new();
    for (sequence, payload) in (first..).zip(payloads) {
        let payload = Some(payload.as_bytes());
        let fields = Fields {
            sequence,
            timestamp_us: 5,
            kind: kind::PUT,
            key: None,
            expires_at_us: None,
            headers: &[],
            payload,
        };
        checksums.extend_from_slice(&record::encode(&mut bytes, Seed::of(&member.name), &fields).to_le_bytes());
    }
    Batch {
        purpose: Purpose::Append,
        member: Arc::clone(member) as Arc<dyn Member>,
        first: Sequence(first),
        count: payloads.len() as u64,
        bytes: Bytes::from(bytes),
        checksum: crc32c(&checksums),
        sync,
        alone: false,
        completion: None,
    }
}

struct Place {
    folder: tempfile::TempDir,
    files: Arc<JournalFiles>,
    journal: Journal,
}

fn start(journal_bytes: u64) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::at(Timestamp(1_000_000)));
    let files = JournalFiles::open(
        Arc::new(OsFileSystem::new()),
        clock.clone(),
        folder.path(),
        (LogId([1; 16]), Epoch(1)),
        (journal_bytes, 0),
    );
    let files = Arc::new(files.unwrap());
    let journal = Journal::start(JournalOptions {
        files: Arc::clone(&files),
        clock,
        change_number: Arc::new(AtomicU64::new(7)),
        predecessors: Vec::new(),
        last_held: Vec::new(),
        periodic: PeriodicSync::NEVER,
        committer: false,
        sabotage: Sabotage::default(),
    });
    Place { folder, files, journal: journal.unwrap() }
}

impl Place {
    fn append(&self, batch: Batch) {
        let ticket = self.journal.push(batch, true).unwrap();
        self.journal.wait(ticket).unwrap();
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = OsFileSystem::new().list(self.folder.path()).unwrap();
        let mut paths: Vec<_> = entries
            .into_iter()
            .filter(|entry| parse_file_name(&entry.name).is_some())
            .map(|entry| self.folder.path().join(entry.name))
            .collect();
        paths.sort();
        paths
    }
}

fn scan_path(path: &Path) -> Scan {
    scan(&*OsFileSystem::new().open(path, OpenMode::Read).unwrap(), None).unwrap()
}

fn sequences(scan: &Scan) -> Vec<(String, u64, u64)> {
    scan.runs.iter().map(|run| (run.collection.to_string(), run.first.0, run.count)).collect()
}

#[test]
fn what_was_appended_is_read_back_before_and_after_close() {
    let place = start(1 << 20);
    let (a, b) = (Events::new("a"), Events::new("b"));
    place.append(batch(&a, 1, &["one", "two"], true));
    place.append(batch(&b, 1, &[""], true));
    place.append(batch(&a, 3, &["three"], false));
    assert_eq!(*a.written.lock().unwrap(), [(1, 2, true), (3, 1, false)]);
    let expected = [("a".to_owned(), 1, 2), ("b".to_owned(), 1, 1), ("a".to_owned(), 3, 1)];
    let open = scan_path(&place.paths()[0]);
    assert_eq!(sequences(&open), expected);
    assert_eq!(open.tail, Tail::Clean);
    assert!(open.damage.is_empty() && open.open.is_some() && !open.closed);
    assert_eq!(open.change_number.0, 7);

    place.journal.sync().unwrap();
    assert_eq!(*a.durable.lock().unwrap(), 3);
    place.journal.mark().unwrap();
    place.journal.mark().unwrap();
    let marked = scan_path(&place.paths()[0]);
    assert_eq!(sequences(&marked), expected);
    assert_eq!((marked.tail, marked.groups), (Tail::Clean, 5), "one MARK, not two");
    assert_eq!(marked.durable_to, open.end);

    place.append(batch(&b, 2, &["behind the mark"], true));
    place.journal.close().unwrap();
    let closed = scan_path(&place.paths()[0]);
    assert_eq!(closed.runs.len(), 4);
    assert!(closed.closed && closed.tail == Tail::Clean && closed.damage.is_empty());
    let refused = place.journal.push(batch(&a, 4, &["late"], true), true);
    assert!(matches!(refused.err(), Some(JournalError::Closed)));
}

#[test]
fn rotation_leaves_nothing_out_and_open_tells_of_the_one_before() {
    let place = start(64 << 10);
    let a = Events::new("a");
    let payload = "x".repeat(1000);
    for sequence in 1..=200 {
        place.append(batch(&a, sequence, &[&payload], true));
    }
    let paths = place.paths();
    assert!(paths.len() > 2, "{paths:?}");
    let scans: Vec<Scan> = paths.iter().map(|path| scan_path(path)).collect();
    let all: Vec<u64> = scans.iter().flat_map(|scan| &scan.runs).map(|run| run.first.0).collect();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    for pair in scans.windows(2) {
        let open = pair[1].open.as_ref().unwrap();
        let before = open.predecessors.last().unwrap();
        assert_eq!((before.end, before.checksum, before.groups), (pair[0].end, pair[0].checksum, pair[0].groups));
    }
}

#[test]
fn a_batch_larger_than_a_journal_gets_a_journal_of_its_own_size() {
    let place = start(64 << 10);
    let a = Events::new("a");
    let big = "y".repeat(300_000);
    place.append(batch(&a, 1, &["small"], true));
    place.append(batch(&a, 2, &[&big, &big], true));
    place.append(batch(&a, 4, &["small"], true));
    let runs: usize = place.paths().iter().map(|path| scan_path(path).runs.len()).sum();
    assert_eq!(runs, 3);
}

#[test]
fn a_recycled_file_shows_nothing_of_its_former_life() {
    let place = start(64 << 10);
    let a = Events::new("a");
    let payload = "z".repeat(900);
    let mut first = 1;
    let mut recycled = 0;
    for _ in 0..6 {
        for _ in 0..60 {
            place.append(batch(&a, first, &[&payload], true));
            first += 1;
        }
        for file in place.journal.finished() {
            let before = file.path.clone();
            while file.live_runs() > 0 {
                file.drop_run(0);
            }
            assert!(file.is_releasable());
            place.files.free(&file).unwrap();
            place.journal.forget(&file);
            assert!(!place.paths().contains(&before));
            recycled += 1;
        }
    }
    assert!(recycled >= 4);
    for path in place.paths() {
        let scan = scan_path(&path);
        assert!(scan.damage.is_empty() && scan.tail == Tail::Clean, "{path:?} {scan:?}");
        assert!(scan.runs.iter().all(|run| run.first.0 > 100), "{path:?}");
    }
}

/// Every flipped byte is harmless to content, or the sequences that it cost are told, or it is an unproven tail; and no
/// other sequence is lost or changed.
#[test]
fn every_flipped_byte_is_told_or_harmless() {
    let place = start(1 << 20);
    let (a, b) = (Events::new("a"), Events::new("b"));
    for sequence in 1..=4 {
        place.append(batch(&a, sequence, &["some payload"], true));
        place.append(batch(&b, sequence * 2 - 1, &["other", "records"], true));
    }
    place.journal.close().unwrap();
    let path = &place.paths()[0];
    let fs = OsFileSystem::new();
    let good = crate::fs::durable::read_small(&fs, path, 1 << 20).unwrap();
    let whole = sequences(&scan_path(path));
    assert_eq!(whole.len(), 8);
    let copy = place.folder.path().join("copy");
    let file = fs.open(&copy, OpenMode::CreateNew).unwrap();
    file.write_all_at(&good, 0).unwrap();
    let mut costly = 0;
    for (at, byte) in good.iter().enumerate() {
        for flip in [0x01, 0x80] {
            file.write_all_at(&[byte ^ flip], at as u64).unwrap();
            let scan = scan(&*file, None).unwrap();
            let kept = sequences(&scan);
            let told: Vec<_> = scan
                .damage
                .iter()
                .flat_map(|damage| &damage.lost)
                .map(|lost| (lost.collection.to_string(), lost.first.0, lost.count))
                .collect();
            for run in &whole {
                assert!(
                    kept.contains(run) || told.contains(run),
                    "byte {at}: {run:?} is neither there nor told: {scan:#?}"
                );
            }
            assert!(kept.iter().all(|run| whole.contains(run)), "byte {at}: invented");
            costly += usize::from(!told.is_empty());
            if kept.len() < whole.len() {
                assert!(!scan.damage.is_empty());
            }
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert!(costly > 100, "the flips must have hit groups: {costly}");
}

/// However full the file is, a MARK fits behind the last group, and one more at close (J5).
#[test]
fn a_full_journal_still_ends_in_a_mark() {
    let a = Events::new("a");
    for payload_len in (2_000..12_000).step_by(61) {
        let payload = "m".repeat(payload_len);
        let append = |place: &Place, sequence| place.append(batch(&a, sequence, &[&payload], true));
        let place = start(64 << 10);
        let rotating = (1..).find(|&sequence| {
            append(&place, sequence);
            place.paths().len() > 2
        });
        // The same again, up to the append before: the second journal is as full as it gets.
        let full = start(64 << 10);
        (1..rotating.unwrap()).for_each(|sequence| append(&full, sequence));
        let paths = full.paths();
        assert_eq!(paths.len(), 2);
        full.journal.mark().unwrap();
        full.journal.close().unwrap();
        assert!(scan_path(&paths[1]).closed, "payload_len={payload_len}, rotating={rotating:?}");
    }
}

#[test]
fn every_cut_leaves_the_groups_before_it() {
    let place = start(1 << 20);
    let a = Events::new("a");
    let mut ends = vec![scan_path(&place.paths()[0]).end];
    for sequence in 1..=3 {
        place.append(batch(&a, sequence, &["payload"], true));
        ends.push(scan_path(&place.paths()[0]).end);
    }
    place.journal.close().unwrap();
    let fs = OsFileSystem::new();
    let path = &place.paths()[0];
    let good = crate::fs::durable::read_small(&fs, path, 1 << 20).unwrap();
    let file = fs.open(&place.folder.path().join("copy"), OpenMode::CreateNew).unwrap();
    file.write_all_at(&good, 0).unwrap();
    for len in (HEADER_BYTES as usize..good.len()).rev() {
        file.set_len(len as u64).unwrap();
        let scan = scan(&*file, None).unwrap();
        let whole = ends.iter().filter(|&&end| end <= len as u64).count().saturating_sub(1);
        assert_eq!(scan.runs.len(), whole, "cut to {len}");
    }
}

#[test]
fn a_cold_name_is_no_hot_one() {
    assert_eq!(parse_file_name("cold-0000000001-0000000002.avro").map(|(kind, _)| kind), Some(JournalKind::Cold));
}
