//! Rates of the codec on this machine: records encoded and decoded, segments sealed and read back by codec, digests.
//!
//! `cargo bench --bench codec`. A plain program: it prints one line for each measurement, the best of several runs. All of
//! it happens in memory, so that the rates are the processor's and not the disk's.

use std::hint::black_box;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use icecore::avro::codec::{Codec, Compressor};
use icecore::avro::record::{Fields, Seed, decode, encode, kind};
use icecore::avro::sha256;
use icecore::clock::{Clock as _, SystemClock};
use icecore::fs::{Entry, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode};
use icecore::segment::{SegmentMeta, SegmentReader, SegmentWriter, WriteOptions};
use icecore::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

const RUNS: usize = 5;
const RECORDS: u64 = 200_000;

/// The shortest time that `work` takes in several runs.
fn best(mut work: impl FnMut()) -> Duration {
    let clock = SystemClock::new();
    let times = (0..RUNS).map(|_| {
        let start = clock.monotonic();
        work();
        clock.monotonic() - start
    });
    times.min().unwrap_or_default()
}

fn print(what: &str, time: Duration, records: u64, bytes: usize) {
    let seconds = time.as_secs_f64();
    let (millions, rate) = (records as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    println!("{what:<44} {millions:>8.2} M records/s {rate:>9.0} MB/s");
}

/// Lines like those of a service's log: words that repeat, numbers that do not.
fn log_line(number: u64, random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: [&str; 8] = ["request", "accepted", "from", "upstream", "cache", "miss", "timeout", "retry"];
    let mut line = format!("2026-11-21T10:{:02}:{:02}Z level=info seq={number}", number / 60 % 60, number % 60);
    while line.len() < 256 {
        line.push(' ');
        line.push_str(WORDS[random.usize(..WORDS.len())]);
        if random.u8(..4) == 0 {
            line.push_str(&format!("={}", random.u32(..)));
        }
    }
    line.truncate(256);
    line.into_bytes()
}

fn main() {
    let mut random = fastrand::Rng::with_seed(7);
    let collection = CollectionName::new("bench").expect("a name");
    let seed = Seed::of(&collection);
    let payloads: Vec<_> = (0..RECORDS).map(|number| log_line(number, &mut random)).collect();
    let keys: Vec<_> = (0..RECORDS).map(|number| format!("key-{}", number % 50_000)).collect();
    let fields = |at: usize| Fields {
        sequence: at as u64 + 1,
        timestamp_us: 1_700_000_000_000_000 + at as i64,
        kind: kind::PUT,
        key: Some(keys[at].as_bytes()),
        expires_at_us: None,
        headers: &[],
        payload: Some(&payloads[at]),
    };

    let mut encoded = Vec::new();
    let time = best(|| {
        encoded.clear();
        for at in 0..payloads.len() {
            encode(&mut encoded, seed, &fields(at));
        }
    });
    print("encode, 256-byte payloads, CRC32C", time, RECORDS, encoded.len());

    let walk = |verify: bool| {
        let mut at = 0;
        while at < encoded.len() {
            let record = decode(&encoded[at..]).expect("just encoded");
            assert!(!verify || record.is_intact(seed));
            at += black_box(record.encoded.len());
        }
    };
    print("decode, not verified", best(|| walk(false)), RECORDS, encoded.len());
    print("decode, verified", best(|| walk(true)), RECORDS, encoded.len());
    let time = best(|| {
        black_box(sha256(&encoded));
    });
    print("SHA-256", time, 0, encoded.len());

    for codec in [
        Codec::Null,
        Codec::Zstandard { level: 1 },
        Codec::Zstandard { level: 3 },
        Codec::Zstandard { level: 9 },
        Codec::Deflate { level: 1 },
        Codec::Deflate { level: 6 },
    ] {
        let file = Arc::new(Memory::default());
        let mut sealed_bytes = 0;
        let time = best(|| {
            file.0.lock().expect("no panic elsewhere").clear();
            let meta = SegmentMeta {
                log: LogId([1; 16]),
                collection: collection.clone(),
                epoch: Epoch(1),
                generation: Generation(0),
                first: Sequence(1),
                inputs: Vec::new(),
                created_at: Timestamp(0),
            };
            let options = WriteOptions { codec, ..WriteOptions::default() };
            let mut writer =
                SegmentWriter::create(&One(file.clone()), Path::new("memory"), meta, options).expect("nothing to fail");
            let mut at = 0;
            while at < encoded.len() {
                let record = decode(&encoded[at..]).expect("just encoded");
                writer.push(&record).expect("in order and intact");
                at += record.encoded.len();
            }
            sealed_bytes = writer.finish().expect("in memory").bytes;
        });
        let ratio = encoded.len() as f64 / sealed_bytes as f64;
        print(&format!("seal, {codec:?}, ratio {ratio:.2}"), time, RECORDS, encoded.len());
        let reader = SegmentReader::open(file).expect("just sealed");
        let packed: Vec<_> = (0..reader.blocks())
            .map(|number| {
                let (mut scratch, block) = (Vec::new(), reader.block(number).expect("intact"));
                let mut compressor = Compressor::new(codec).expect("used before");
                let packed = compressor.compress(block.bytes(), &mut scratch).expect("done before");
                (Bytes::copy_from_slice(packed), block.bytes().len())
            })
            .collect();
        let bare = best(|| {
            for (packed, limit) in &packed {
                black_box(codec.decompress(packed, *limit).expect("just compressed"));
            }
        });
        print("    decompress alone", bare, 0, encoded.len());
        let blocks =
            best(|| (0..reader.blocks()).for_each(|number| drop(black_box(reader.block(number).expect("intact")))));
        print("    read back, blocks verified", blocks, RECORDS, encoded.len());
        let records = best(|| {
            let read =
                reader.records_from(Sequence::FIRST).inspect(|record| assert!(black_box(record).is_ok())).count();
            assert_eq!(read as u64, RECORDS);
        });
        print("    read back, as records", records, RECORDS, encoded.len());
    }
}

/// One file in memory, and nothing else.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<u8>>);

/// A file system that always gives the same file.
#[derive(Debug)]
struct One(Arc<Memory>);

impl File for Memory {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        let bytes = self.0.lock().expect("no panic elsewhere");
        let from = &bytes[usize::try_from(offset).expect("in memory").min(bytes.len())..];
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], _: u64) -> FsResult<usize> {
        let mut bytes = self.0.lock().expect("no panic elsewhere");
        buffers.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn preallocate(&self, _: u64) -> FsResult<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> FsResult<()> {
        Ok(())
    }

    fn sync_data(&self) -> FsResult<()> {
        Ok(())
    }

    fn sync_all(&self) -> FsResult<()> {
        Ok(())
    }

    fn len(&self) -> FsResult<u64> {
        Ok(self.0.lock().expect("no panic elsewhere").len() as u64)
    }
}

/// Sealing in memory needs a file to write, and nothing else of a file system.
fn not_asked<T>(path: &Path) -> FsResult<T> {
    Err(FsError::new("use more than one file for", path, std::io::ErrorKind::Unsupported.into()))
}

impl FileSystem for One {
    fn open(&self, _: &Path, _: OpenMode) -> FsResult<Arc<dyn File>> {
        Ok(self.0.clone())
    }

    fn rename_new(&self, path: &Path, _: &Path) -> FsResult<()> {
        not_asked(path)
    }

    fn replace(&self, path: &Path, _: &Path) -> FsResult<()> {
        not_asked(path)
    }

    fn copy_new(&self, path: &Path, _: &Path) -> FsResult<u64> {
        not_asked(path)
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        not_asked(path)
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        not_asked(path)
    }

    fn list(&self, path: &Path) -> FsResult<Vec<Entry>> {
        not_asked(path)
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        not_asked(path)
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        not_asked(path)
    }

    fn sync_dir(&self, _: &Path) -> FsResult<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        not_asked(path)
    }

    fn free_bytes(&self, _: &Path) -> FsResult<u64> {
        Ok(u64::MAX)
    }
}
