//! What several targets need: files in memory, valid ones to damage, edits read from the fuzzer's bytes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use icecore::avro::codec::Codec;
use icecore::fs::simulated::SimulatedFileSystem;
use icecore::fs::{File, FileSystem, OpenMode};
use icecore::{CollectionName, Limits, Log, LogOptions, NewRecord, Timestamp};

/// A file in memory with these bytes, under this path.
pub fn file(path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let fs = SimulatedFileSystem::new();
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        for ancestor in folder.ancestors().collect::<Vec<_>>().iter().rev().skip(1) {
            fs.create_dir(ancestor).expect("an empty file system takes a folder");
        }
    }
    let file = fs.open(path, OpenMode::CreateNew).expect("an empty file system takes a file");
    file.write_all_at(bytes, 0).expect("memory takes writes");
    file
}

/// Files of a small log, as they lie on its disk.
#[derive(Debug)]
pub struct Samples {
    /// A closed journal with groups of several collections.
    pub journal: Vec<u8>,
    /// The same before it was closed: with filler, and no MARK.
    pub open_journal: Vec<u8>,
    /// A segment for each codec, with several blocks.
    pub segments: Vec<(String, Vec<u8>)>,
}

/// Made once for each process.
pub fn samples() -> &'static Samples {
    static SAMPLES: OnceLock<Samples> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let mut samples = Samples { journal: Vec::new(), open_journal: Vec::new(), segments: Vec::new() };
        for codec in [Codec::DEFAULT, Codec::Deflate { level: 6 }, Codec::Null] {
            let fs = SimulatedFileSystem::new();
            let log = Log::open(options(&fs, codec)).expect("a log in memory");
            for round in 0..6_i64 {
                for name in ["orders", "ü"] {
                    let name = CollectionName::new(name).expect("a good name");
                    let records: Vec<_> = (0..=round).map(|number| record(round * 10 + number)).collect();
                    log.append_batch(&name, &records, Default::default()).expect("memory takes appends");
                }
            }
            samples.open_journal = only(&fs, "/log/.journal");
            log.seal(None).expect("memory takes segments");
            for (path, ..) in fs.files() {
                let name = path.to_string_lossy().into_owned();
                if name.ends_with(".avro") && !name.contains("/.") {
                    let bytes = fs.read(&path).expect("the file is there");
                    samples.segments.push((name, bytes));
                }
            }
            log.close().expect("memory takes a MARK");
            samples.journal = only(&fs, "/log/.journal");
        }
        assert_eq!(samples.segments.len(), 6);
        samples
    })
}

fn options(fs: &SimulatedFileSystem, codec: Codec) -> LogOptions {
    let mut options = LogOptions::new(["/log"]);
    options.fs = Arc::new(fs.clone());
    options.catalog = Some(Arc::new(icecore::catalog::memory::MemoryCatalog::new()));
    options.background = false;
    options.codec = codec;
    options.block_bytes = 512;
    options.limits = Limits { journal_bytes: 64 << 10, ..Limits::default() };
    options
}

fn record(number: i64) -> NewRecord {
    let text = format!("payload {number} ").repeat(number as usize % 7);
    let record = match number % 4 {
        0 => NewRecord::payload(text),
        1 => NewRecord::delete(format!("key {number}")),
        _ => NewRecord::put(format!("key {number}"), text).with_header("source", "fuzz"),
    };
    record.with_timestamp(Timestamp(1_700_000_000_000_000 - number))
}

fn only(fs: &SimulatedFileSystem, folder: &str) -> Vec<u8> {
    let journals = fs
        .files()
        .into_iter()
        .filter(|(path, ..)| path.starts_with(folder) && path.extension().is_some_and(|extension| extension == "avro"));
    let first = journals.map(|(path, ..)| path).min().expect("a log has a journal");
    fs.read(&first).expect("the journal is there")
}

/// Edits of a file, from the fuzzer's bytes: each is a kind, a place of three bytes, a length, and bytes.
pub fn edit(good: &[u8], mut edits: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    while let [kind, a, b, c, len, rest @ ..] = edits {
        let at = (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)) % (bytes.len() + 1);
        let content = &rest[..rest.len().min(usize::from(*len))];
        edits = &rest[content.len()..];
        let end = (at + content.len()).min(bytes.len());
        match kind % 8 {
            0 => bytes[at..end].iter_mut().zip(content).for_each(|(byte, flip)| *byte ^= flip),
            1 => bytes[at..end].copy_from_slice(&content[..end - at]),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, content.iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => bytes[at..].fill(0),
            // A part of the file stands in another place, as a misdirected write would leave it.
            6 => {
                let from = usize::from(content.first().copied().unwrap_or(0)) * 64 % (bytes.len() + 1);
                let part = bytes[from..(from + 512).min(bytes.len())].to_vec();
                let end = (at + part.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&part[..end - at]);
            }
            _ => bytes.extend_from_slice(content),
        }
    }
    bytes.truncate(1 << 20);
    bytes
}
