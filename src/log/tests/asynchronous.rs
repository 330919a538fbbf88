//! Appending from tasks.

use super::*;

fn threaded(place: &Place) -> Log {
    let mut options = place.options();
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    Log::open(options).unwrap()
}

fn sequences(log: &Log, collection: &CollectionName) -> Vec<u64> {
    everything(log, collection).into_iter().map(|(sequence, _)| sequence).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_get_their_own_sequences_also_under_back_pressure() {
    let place = Place::new();
    let log = threaded(&place);
    let shared = name("shared");
    let payload = vec![7; 4000];
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (log, shared, payload) = (log.clone(), shared.clone(), payload.clone());
            tokio::spawn(async move {
                let mut got = Vec::new();
                for _ in 0..50 {
                    got.push(log.append_async(&shared, put(payload.clone())).await.unwrap().first.0);
                }
                got
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let got = task.await.unwrap();
        assert!(got.is_sorted());
        all.extend(got);
    }
    all.sort_unstable();
    // 800 records of 4000 bytes are twelve times the memory limit.
    assert_eq!(all, (1..=800).collect::<Vec<_>>());
    log.close().unwrap();
    drop(log);
    assert_eq!(sequences(&place.open(), &shared), all);
}

#[tokio::test]
async fn several_collections_in_one_call_come_back_in_order() {
    let place = Place::new();
    let log = threaded(&place);
    let (a, b) = (name("a"), name("b"));
    let (two, one) = ([put("1"), put("2")], [put("3")]);
    let batches: [(&CollectionName, &[NewRecord]); 3] = [(&b, &two), (&a, &one), (&b, &one)];
    let receipts = log.append_many_async(&batches, AppendOptions::default()).await.unwrap();
    let ranges: Vec<_> = receipts.iter().map(|receipt| (receipt.first.0, receipt.last.0)).collect();
    assert_eq!(ranges, [(1, 2), (1, 1), (3, 3)]);
    assert_eq!(log.delete_async(&a, ["k1", "k2"]).await.unwrap().last.0, 3);
    let refused = log.append_batch_async(&a, &[], AppendOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    log.close().unwrap();
    assert_eq!(log.append_async(&a, put("late")).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// A future that is polled once and dropped: its record is there once or not at all, and what is acknowledged
/// before and after it is there once.
#[tokio::test]
async fn a_dropped_append_neither_loses_nor_doubles() {
    let place = Place::new();
    let log = threaded(&place);
    let collection = name("c");
    let mut acknowledged = Vec::new();
    for round in 0..100 {
        let dropped = log.append_async(&collection, put(format!("dropped {round}")));
        let mut dropped = Box::pin(dropped);
        std::future::poll_fn(|context| {
            let _ = dropped.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(dropped);
        let payload = format!("kept {round}");
        let receipt = log.append_async(&collection, put(payload.clone())).await.unwrap();
        acknowledged.push((receipt.first.0, payload.into_bytes()));
    }
    log.close().unwrap();
    drop(log);
    let log = place.open();
    let found = everything(&log, &collection);
    assert!(acknowledged.iter().all(|record| found.contains(record)));
    let mut payloads: Vec<_> = found.iter().map(|(_, payload)| payload.clone()).collect();
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), found.len(), "nothing twice");
    assert_eq!(found.len(), 200, "each was queued before it was dropped");
    // What was reserved is given back with the records.
    log.seal(None).unwrap();
    assert_eq!(log.0.budget.used(), (0, 0));
}

/// Neither a sync nor any other change of the disk is made on the executor's thread, also while limits are reached.
#[tokio::test]
async fn an_executor_thread_touches_no_file() {
    use crate::fs::simulated::SimulatedFileSystem;

    let disk = SimulatedFileSystem::new();
    let place = Place::new();
    let mut options = place.options();
    options.directories = vec!["/data".into()];
    options.fs = Arc::new(disk.clone());
    options.catalog = Some(Arc::new(crate::catalog::memory::MemoryCatalog::new()));
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    let log = Log::open(options).unwrap();
    let (here, elsewhere) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let executor = std::thread::current().id();
    let (on_executor, on_others) = (here.clone(), elsewhere.clone());
    disk.observe(Arc::new(move |_, _| {
        let counter = if std::thread::current().id() == executor { &on_executor } else { &on_others };
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let collection = name("c");
    let records = vec![put(vec![7; 2000]); 10];
    for _ in 0..60 {
        // In all four times the memory limit.
        log.append_batch_async(&collection, &records, AppendOptions::default()).await.unwrap();
    }
    disk.observe_no_more();
    assert_eq!(here.load(Ordering::Relaxed), 0);
    assert!(elsewhere.load(Ordering::Relaxed) > 120, "a write and a sync each");
    log.close().unwrap();
}
