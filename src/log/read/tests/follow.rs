//! Tails: over seals and under back-pressure, in threads and tasks, and how they end.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::log::Limits;

/// The writers run into the memory limit, seals go on behind them, eight readers of different speed come and go: each
/// of them sees every record once, in order.
#[test]
fn eight_readers_and_sixteen_writers_under_back_pressure() {
    const WRITERS: u64 = 16;
    const BATCHES: u64 = 60;
    const PER_BATCH: u64 = 5;
    let place = Place::new();
    let mut options = place.options();
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    options.cold_bytes = 8 << 10;
    options.limits = Limits {
        journal_bytes: 256 << 10,
        segment_bytes: 64 << 10,
        memtable_bytes: 96 << 10,
        unsealed_bytes: 1 << 20,
        ..Limits::default()
    };
    let log = Log::open(options).unwrap();
    let streams = [name("one"), name("two"), name("three")];
    for stream in &streams {
        log.append(stream, NewRecord::put("first", "first")).unwrap();
    }
    let of_stream = |stream: usize| (0..WRITERS).filter(|writer| *writer as usize % 3 == stream).count() as u64;
    let expected: Vec<u64> = (0..3).map(|stream| 1 + of_stream(stream) * BATCHES * PER_BATCH).collect();
    let written: Mutex<HashMap<(usize, u64), bytes::Bytes>> = Mutex::default();
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for reader in 0..8_u64 {
            let (log, streams, expected) = (&log, &streams, &expected);
            readers.push(scope.spawn(move || {
                let stream = reader as usize % 3;
                let mut seen: Vec<Record> = Vec::new();
                let follow = |from: u64| {
                    let options = ReadOptions { from: Some(Sequence(from)), ..ReadOptions::follow() };
                    log.read(&streams[stream], options).unwrap()
                };
                let mut tail = follow(1);
                while (seen.len() as u64) < expected[stream] {
                    // Some give up waiting now and then, and ask again.
                    let patience = (reader % 2 == 0).then(|| std::time::Duration::from_micros(50 * reader));
                    let Some(record) = tail.next_wait(patience).unwrap() else { continue };
                    seen.push(record);
                    for _ in 0..reader * 40 {
                        std::hint::black_box(&seen);
                        std::thread::yield_now();
                    }
                    if (seen.len() as u64).is_multiple_of(20 + reader * 7) {
                        tail = follow(seen.len() as u64 + 1);
                    }
                }
                (stream, seen)
            }));
        }
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let (log, streams, written) = (&log, &streams, &written);
            writers.push(scope.spawn(move || {
                let stream = writer as usize % 3;
                for batch in 0..BATCHES {
                    let records: Vec<NewRecord> = (0..PER_BATCH)
                        .map(|index| {
                            NewRecord::put(format!("{writer}"), format!("{writer}/{batch}/{index} {}", "·".repeat(150)))
                        })
                        .collect();
                    let receipt =
                        log.append_batch(&streams[stream], &records, crate::log::AppendOptions::default()).unwrap();
                    let mut written = written.lock().unwrap();
                    for (sequence, record) in (receipt.first.0..).zip(records) {
                        assert!(written.insert((stream, sequence), record.payload.unwrap()).is_none());
                    }
                }
            }));
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        for reader in readers {
            let (stream, seen) = reader.join().unwrap();
            let sequences: Vec<u64> = seen.iter().map(|record| record.sequence.0).collect();
            assert_eq!(sequences, (1..=expected[stream]).collect::<Vec<_>>());
            let written = written.lock().unwrap();
            for record in seen.iter().skip(1) {
                assert_eq!(record.payload.as_ref(), written.get(&(stream, record.sequence.0)));
            }
        }
    });
    let segments: u64 = log.collections().unwrap().iter().map(|info| info.segments).sum();
    assert!(segments > 10, "the readers went over seals: {segments}");
    log.close().unwrap();
}

#[test]
fn only_a_reader_that_follows_can_wait() {
    let place = Place::new();
    let log = place.open();
    append(&log, &name("a"), 1..=3);
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    assert_eq!(reader.next_wait(None).unwrap_err().kind(), ErrorKind::Invalid);
    let mut tail = log.read(&name("a"), ReadOptions { limit: Some(4), ..ReadOptions::follow() }).unwrap();
    for expected in 1..=3 {
        assert_eq!(tail.next_wait(None).unwrap().unwrap().sequence.0, expected);
    }
    assert!(tail.next_wait(Some(std::time::Duration::ZERO)).unwrap().is_none());
    assert!(!tail.is_finished());
    append(&log, &name("a"), 4..=5);
    assert_eq!(tail.next_wait(None).unwrap().unwrap().sequence.0, 4);
    assert!(tail.next_wait(None).unwrap().is_none() && tail.is_finished(), "the limit");
}

#[test]
fn closing_wakes_a_tail_which_first_gets_everything_durable() {
    let place = Place::new();
    let mut options = place.options();
    options.sync = crate::log::SyncMode::Never;
    let log = Log::open(options).unwrap();
    let a = name("a");
    append(&log, &a, 1..=1);
    log.sync().unwrap();
    let mut tail = log.read(&a, ReadOptions::follow()).unwrap();
    assert_eq!(tail.next_wait(None).unwrap().unwrap().sequence.0, 1);
    append(&log, &a, 2..=4);
    assert!(tail.try_next().unwrap().is_none(), "written is not durable");
    assert_eq!(read(&log, &a, ReadOptions::default()), [1, 2, 3, 4]);
    assert_eq!(read(&log, &a, ReadOptions { durable: true, ..ReadOptions::default() }), [1]);
    let seen = std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut seen = Vec::new();
            loop {
                match tail.next_wait(None) {
                    Ok(Some(record)) => seen.push(record.sequence.0),
                    Ok(None) => panic!("neither limit nor end was given"),
                    Err(error) => return (seen, error.kind()),
                }
            }
        });
        log.close().unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(seen, (vec![2, 3, 4], ErrorKind::Closed));
}

#[cfg(feature = "tokio")]
mod tasks {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_waits_without_a_thread() {
        let place = Place::new();
        let log = place.open();
        let a = name("a");
        append(&log, &a, 1..=2);
        let mut tail = log.read(&a, ReadOptions { until: Some(Sequence(40)), ..ReadOptions::follow() }).unwrap();
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(record) = tail.next_async().await.unwrap() {
                seen.push(record.sequence.0);
            }
            seen
        });
        append(&log, &a, 3..=20);
        log.seal(Some(&a)).unwrap();
        append(&log, &a, 21..=45);
        assert_eq!(task.await.unwrap(), (1..=40).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn dropping_a_wait_loses_nothing() {
        let place = Place::new();
        let log = place.open();
        let a = name("a");
        append(&log, &a, 1..=1);
        let mut tail = log.read(&a, ReadOptions::follow()).unwrap();
        assert_eq!(tail.next_async().await.unwrap().unwrap().sequence.0, 1);
        for next in 2..=10 {
            {
                let waiting = std::pin::pin!(tail.next_async());
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(waiting.poll(&mut context).is_pending());
            }
            append(&log, &a, next..=next);
            assert_eq!(tail.next_async().await.unwrap().unwrap().sequence.0, next);
        }
        let mut reader = log.read(&a, ReadOptions::default()).unwrap();
        assert_eq!(reader.next_async().await.unwrap_err().kind(), ErrorKind::Invalid);
        log.close().unwrap();
        assert_eq!(tail.next_async().await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
