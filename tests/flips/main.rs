//! Every single-byte flip in a small data directory is either harmless to content, or reported with the sequences that
//! it cost; never served as data, never a panic.
//!
//! - `place`: the data directory: segments, a cold journal, two hot journals of killed processes
//! - `judge`: what a log says of a directory with one bad byte, and whether that is the truth
//! - `program`: the same by the real program, on real files
//!
//! One bit of every byte, each time another one; `ICECORE_FLIP_BITS=8` turns all around, one after another.

#![allow(clippy::unwrap_used)] // clippy knows tests by their attribute, not the helpers beside them

mod judge;
mod place;
mod program;
#[path = "../util/mod.rs"]
mod util;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use judge::{Verdict, judge, judge_writing};
use place::Place;

/// Of zeros that nothing was written over, each so many-th byte.
const FILLER_STEP: usize = 61;
/// After each so many-th flip, records are read backwards too.
const BACKWARDS_STEP: u64 = 7;
/// How far from a written byte zeros count as written.
const NEAR: usize = 32;

/// What came of the flips of one kind of file.
#[derive(Debug, Default)]
struct Counts {
    flips: u64,
    harmless: u64,
    /// Reported, though every record is served all the same.
    reported: u64,
    /// Costs records that nothing proves synced: an unproven tail.
    unproven: u64,
    costly: u64,
    writing: u64,
}

/// Flips every byte of the files whose names `is_meant` knows, and opens for writing after each `write_step`-th flip.
fn flip_all(kind: &str, is_meant: impl Fn(&Path) -> bool, write_step: u64) -> Counts {
    let place = Place::new();
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    let files: Vec<_> = place.fs.files().into_iter().map(|(path, ..)| path).filter(|path| is_meant(path)).collect();
    assert!(!files.is_empty(), "no {kind} in {:?}", place.fs.files());
    let fresh = judge(&place, true).unwrap();
    assert_eq!(fresh, Verdict::Harmless, "the directory is whole before");
    let bits = std::env::var("ICECORE_FLIP_BITS").map_or(1, |bits| bits.parse().unwrap());
    let changes = place.fs.changes();
    for path in &files {
        for offset in offsets(&place.fs.read(path).unwrap()) {
            for bit in 0..bits {
                let flip = 1u8.rotate_left((offset + bit) as u32);
                place.fs.flip(path, offset, flip).unwrap();
                let judged =
                    told(catch_unwind(AssertUnwindSafe(|| judge(&place, counts.flips.is_multiple_of(BACKWARDS_STEP)))));
                match &judged {
                    Ok(Verdict::Harmless) => counts.harmless += 1,
                    Ok(Verdict::Reported) => counts.reported += 1,
                    Ok(Verdict::Unproven) => counts.unproven += 1,
                    Ok(Verdict::Costly) => counts.costly += 1,
                    Err(_) => {}
                }
                let mut outcome = judged.map(|_| ());
                if outcome.is_ok() && counts.flips.is_multiple_of(write_step) {
                    counts.writing += 1;
                    outcome = told(catch_unwind(AssertUnwindSafe(|| judge_writing(&place))));
                }
                if let Err(what) = outcome {
                    failures.push(format!("{}: offset=`{offset}`, flip=`{flip:#04x}`: {what}", path.display()));
                }
                counts.flips += 1;
                place.fs.flip(path, offset, flip).unwrap();
            }
        }
    }
    assert_eq!(place.fs.changes(), changes, "reading and verifying change nothing");
    println!("{kind}: {} files, {counts:?}", files.len());
    let shown = failures.len().min(30);
    assert!(failures.is_empty(), "{} flips of {kind} failed:\n{}", failures.len(), failures[..shown].join("\n"));
    assert!(counts.costly >= 50, "hardly any flip of {kind} cost anything: {counts:?}");
    counts
}

fn told<T>(outcome: std::thread::Result<Result<T, String>>) -> Result<T, String> {
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// Every byte that was written or is near to one, and some of the rest.
fn offsets(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let near = |at: usize| bytes[at.saturating_sub(NEAR)..bytes.len().min(at + NEAR)].iter().any(|&byte| byte != 0);
    let mut offsets: Vec<u64> = Vec::new();
    offsets.extend((0..bytes.len()).filter(|&at| at % FILLER_STEP == 0 || near(at)).map(|at| at as u64));
    offsets.into_iter()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_journal(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(".journal")) && file_name(path).ends_with(".avro")
}

fn is_cold(path: &Path) -> bool {
    is_journal(path) && file_name(path).starts_with("cold-")
}

fn is_segment(path: &Path) -> bool {
    file_name(path).ends_with(".avro") && !path.starts_with("/log/.journal") && !path.starts_with("/log/.icecore")
}

#[test]
fn in_hot_journals() {
    let counts = flip_all("hot journals", |path| is_journal(path) && !is_cold(path), 97);
    assert!(counts.harmless > 0 && counts.unproven > 0, "filler and an unproven tail were flipped too: {counts:?}");
}

#[test]
fn in_cold_journals() {
    flip_all("cold journals", is_cold, 37);
}

#[test]
fn in_segments() {
    let counts = flip_all("segments", is_segment, 37);
    assert_eq!(counts.harmless + counts.unproven, 0, "a segment's sha-256 covers every byte: {counts:?}");
}
