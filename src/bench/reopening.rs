//! Scenarios of many collections, and of opening and reading.

use super::measure::{median, rate};
use super::raw::Raw;
use super::{Bench, Figure, Target, Unit};
use crate::error::Result;
use crate::log::{AppendOptions, Log, ReadOptions, SyncMode};
use crate::types::{CollectionName, NewRecord};

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).expect("a plain name")
}

pub(super) fn reopen(bench: &Bench) -> Result<Vec<Figure>> {
    const RECORDS: u64 = 512 << 10;
    let mut options = bench.options("log");
    // All of it stays unsealed.
    options.limits.memtable_bytes = 4 << 30;
    options.limits.unsealed_bytes = 4 << 30;
    options.limits.segment_bytes = 4 << 30;
    options.sync = SyncMode::Never;
    let collection = name("c");
    let log = Log::open(options.clone())?;
    let mut line = String::new();
    for batch in 0..RECORDS / 256 {
        let records: Vec<_> = (0..256)
            .map(|at| {
                line.clear();
                for word in 0..64_u64 {
                    let number = (batch * 256 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(word as u32);
                    std::fmt::Write::write_fmt(&mut line, format_args!("{:015x} ", number & 0xfff_ffff_ffff))
                        .expect("a string grows");
                }
                NewRecord::payload(line.clone().into_bytes())
            })
            .collect();
        log.append_batch(&collection, &records, AppendOptions::default())?;
    }
    log.sync()?;
    log.close()?;
    drop(log);
    let raw = Raw::create(&*bench.fs, &bench.folder.join("raw"), RECORDS << 10)?;
    let (mut bare, mut unsealed, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let (bytes, took) = bench.timed(|| Ok(raw.read_through()?))?;
        bare.push(rate(bytes, took));
        let (log, took) = bench.timed(|| {
            let log = Log::open(options.clone())?;
            read_all(&log, &collection, RECORDS)?;
            Ok(log)
        })?;
        unsealed.push(rate(RECORDS << 10, took));
        log.close()?;
    }
    let mut options = bench.options("log");
    options.limits.memtable_bytes = 4 << 30;
    options.limits.unsealed_bytes = 4 << 30;
    let log = Log::open(options.clone())?;
    log.seal(None)?;
    log.close()?;
    drop(log);
    for _ in 0..3 {
        let (log, took) = bench.timed(|| {
            let log = Log::open(options.clone())?;
            read_all(&log, &collection, RECORDS)?;
            Ok(log)
        })?;
        sealed.push(rate(RECORDS << 10, took));
        log.close()?;
    }
    let figure = |what: &'static str, values: Vec<f64>, limit, target| Figure {
        scenario: "reopen",
        what: what.into(),
        unit: Unit::Bytes,
        icecore: median(values),
        limit,
        target,
    };
    let bare = Some(median(bare));
    Ok(vec![
        figure("unsealed, beside a bare read", unsealed, bare, Some(Target::AtLeast(2.5e9))),
        figure("sealed", sealed, None, None),
    ])
}

fn read_all(log: &Log, collection: &CollectionName, expected: u64) -> Result<()> {
    let mut count = 0;
    for record in log.read(collection, ReadOptions::default())? {
        std::hint::black_box(record?);
        count += 1;
    }
    assert_eq!(count, expected, "a bench that reads less than was written measures nothing");
    Ok(())
}

pub(super) fn collections(bench: &Bench) -> Result<Vec<Figure>> {
    const COLLECTIONS: usize = 100_000;
    let log = bench.open("log")?;
    let count = bench.scaled(COLLECTIONS);
    let names: Vec<_> = (0..count).map(|number| name(&format!("collection-{number}"))).collect();
    let payload = bytes::Bytes::from(vec![7; 256]);
    let (_, append) = bench.timed(|| {
        for _ in 0..10 {
            for names in names.chunks(1000) {
                let record = [NewRecord::payload(payload.clone())];
                let batches: Vec<_> = names.iter().map(|name| (name, &record[..])).collect();
                log.append_many(&batches, AppendOptions::default())?;
            }
        }
        Ok(())
    })?;
    log.close()?;
    drop(log);
    let (log, open) = bench.timed(|| bench.open("log"))?;
    let folder = crate::journal::writer::folder(&bench.folder.join("log"));
    let journals = bench.fs.list(&folder)?.iter().filter(|entry| entry.name.ends_with(".avro")).count();
    log.close()?;
    let figure = |what: &'static str, unit, icecore| Figure {
        scenario: "collections",
        what: what.into(),
        unit,
        icecore,
        limit: None,
        target: None,
    };
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let mut figures = vec![
        figure("appended, all durable", Unit::Records, rate(10 * count as u64, append)),
        figure("opened again in", Unit::Seconds, open.as_secs_f64()),
        figure("journals left", Unit::Count, journals as f64),
    ];
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    if let Some(peak) = super::memory_peak(&*bench.fs, std::process::id()) {
        figures.push(figure("peak memory of this process", Unit::Memory, peak as f64));
    }
    Ok(figures)
}
