//! A sync comes before every return: counted in the system calls of a process that makes changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::child::{Said, Task, act};
use crate::place::{catalog_in, on_disk};
use crate::trace::{Event, is_possible, is_transient, record};
use crate::{engines, seed};

const TRANSACTIONS: u64 = 150;
const REOPEN_EVERY: u64 = 60;

/// What was seen between one return and the next, added up.
#[derive(Debug, Default)]
struct Counts {
    transactions: u64,
    writes: u64,
    bytes: u64,
    syncs: u64,
    synchronous_writes: u64,
    directory_syncs: u64,
    /// Of one transaction: how many syncs and synchronous writes, and how often so many.
    each: BTreeMap<u64, u64>,
}

/// Whether whatever was written is synced when `apply` returns.
fn judge(events: &[Event]) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let (mut unsynced, mut syncs) = (BTreeSet::new(), 0);
    for event in events {
        match event {
            Event::Write { name, bytes, synchronous, .. } if !is_transient(name) => {
                counts.writes += 1;
                counts.bytes += bytes.len() as u64;
                counts.synchronous_writes += u64::from(*synchronous);
                syncs += u64::from(*synchronous);
                if !synchronous {
                    unsynced.insert(name);
                }
            }
            Event::Sync { name } if !is_transient(name) => {
                counts.syncs += 1;
                syncs += 1;
                unsynced.remove(name);
            }
            Event::SyncDirectory => counts.directory_syncs += 1,
            Event::Said(Said::Returned(number)) => {
                counts.transactions += 1;
                *counts.each.entry(syncs).or_default() += 1;
                if syncs == 0 {
                    return Err(format!("change `{number}` was returned without any sync"));
                }
                if let Some(name) = unsynced.first() {
                    return Err(format!("change `{number}` was returned, and `{name}` was not synced"));
                }
                syncs = 0;
            }
            // What opening or copying leaves unsynced is a matter of power cuts.
            Event::Said(_) => {
                syncs = 0;
                unsynced.clear();
            }
            _ => {}
        }
    }
    Ok(counts)
}

#[test]
fn every_change_is_synced_before_it_returns() {
    if act() || !is_possible() {
        return;
    }
    let test = "syscalls::every_change_is_synced_before_it_returns";
    let seed = seed(test);
    for engine in engines() {
        let directory = on_disk();
        let path = catalog_in(directory.path(), engine);
        let task = Task::Write { seed, until: TRANSACTIONS, reopen_every: REOPEN_EVERY };
        let events = record(test, engine, &path, &task);
        let events = events.unwrap_or_else(|what| panic!("{engine}: {what}"));
        let counts = judge(&events).unwrap_or_else(|what| panic!("{engine}, seed {seed}: {what}"));
        println!("{engine}: {counts:?}");
        assert_eq!(counts.transactions, TRANSACTIONS);
        // The judge can say no: of each kind of sync, one is taken away.
        let last = |is: fn(&Event) -> bool| events.iter().rposition(is);
        for at in [
            last(|event| matches!(event, Event::Sync { name } if !is_transient(name))),
            last(|event| matches!(event, Event::Write { synchronous: true, .. })),
        ]
        .into_iter()
        .flatten()
        {
            let mut broken = events[..at].to_vec();
            if let Event::Write { name, offset, bytes, .. } = &events[at] {
                let (name, offset, bytes) = (name.clone(), *offset, bytes.clone());
                broken.push(Event::Write { name, offset, bytes, synchronous: false });
            }
            broken.push(Event::Said(Said::Returned(icecore::ChangeNumber(0))));
            assert!(judge(&broken).is_err(), "{engine}: a sync less is not noticed");
        }
    }
}
