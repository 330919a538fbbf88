//! A journal with edits anywhere: nothing is invented, and what is missing before its end is told.
#![no_main]

use std::collections::HashSet;
use std::sync::OnceLock;

use icecore::journal::{Predecessor, Scan, Verdict, scan};
use icecore_fuzz::{edit, file, samples};
use libfuzzer_sys::fuzz_target;

type Runs = HashSet<(String, u64, u64, Vec<u8>)>;

fn runs(bytes: &[u8], scan: &Scan) -> Runs {
    let content = |offset: u64, len: u64| bytes[offset as usize..(offset + len) as usize].to_vec();
    let run = scan.runs.iter();
    run.map(|run| (run.collection.to_string(), run.first.get(), run.count, content(run.offset, run.bytes))).collect()
}

struct Whole {
    runs: Runs,
    judged: Predecessor,
}

fn whole(bytes: &[u8]) -> Whole {
    let scan = scan(&*file("/journal", bytes), None).expect("memory reads");
    assert!(scan.damage.is_empty() && scan.groups > 10);
    let header = scan.header.clone().expect("a whole journal has a header");
    let judged = Predecessor {
        journal: header.journal,
        file_id: header.file_id,
        end: scan.end,
        checksum: scan.checksum,
        groups: scan.groups,
        verdict: Verdict::Whole,
        dropped_bytes: 0,
    };
    Whole { runs: runs(bytes, &scan), judged }
}

fuzz_target!(|bytes: &[u8]| {
    static WHOLE: OnceLock<[(Whole, &[u8]); 2]> = OnceLock::new();
    let both = WHOLE.get_or_init(|| {
        let samples = samples();
        [&samples.journal, &samples.open_journal].map(|bytes| (whole(bytes), bytes.as_slice()))
    });
    let [which, edits @ ..] = bytes else { return };
    if which & 4 != 0 {
        let _ = scan(&*file("/journal", edits), None);
        return;
    }
    let (whole, good) = &both[usize::from(which & 1)];
    let edited = edit(good, edits);
    let judged = (which & 2 != 0).then_some(&whole.judged);
    // A newer format is refused, with a right checksum only: that takes more than edits.
    let found = scan(&*file("/journal", &edited), judged).expect("no edit makes a newer format");
    let kept = runs(&edited, &found);
    assert!(kept.is_subset(&whole.runs), "invented: {found:?}");
    assert!(found.end as usize <= edited.len().max(4096) && found.durable_to >= 4096);
    if judged.is_some() && kept.len() < whole.runs.len() {
        assert!(!found.damage.is_empty(), "a run is missing before the judged end, and nothing tells: {found:?}");
    }
});
