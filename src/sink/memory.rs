//! A sink in memory, for tests: keeps every promise, and fails when it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Batch, Cursor, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Record, Sequence};

/// What it has of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Up to where.
    pub cursor: Option<Cursor>,
    /// The records, in the order in which they came.
    pub records: Vec<Record>,
    /// Nothing before it is there.
    pub floor: Sequence,
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Batches are refused; nothing happened.
    Refuses,
    /// Batches are taken, and the answer is an error.
    TakesAndFails,
    /// It does not even say its cursor.
    Dead,
}

/// A sink in memory.
#[derive(Debug)]
pub struct MemorySink {
    name: String,
    held: Mutex<BTreeMap<CollectionName, Held>>,
    /// What goes wrong, and for which collections; for all where empty.
    fault: Mutex<(Fault, Vec<CollectionName>)>,
    batch_bytes: u64,
    calls: AtomicU64,
}

impl MemorySink {
    /// An empty one, which takes so many bytes of records at once.
    #[must_use]
    pub fn new(name: &str, batch_bytes: u64) -> Self {
        let (held, fault, calls) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Self { name: name.to_owned(), held, fault, batch_bytes, calls }
    }

    /// From now on this goes wrong, for these collections, or for all.
    pub fn set_fault(&self, fault: Fault, of: &[&CollectionName]) {
        let of = of.iter().map(|name| (*name).clone()).collect();
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = (fault, of);
    }

    /// What it has of a collection.
    #[must_use]
    pub fn held(&self, collection: &CollectionName) -> Held {
        self.lock().get(collection).cloned().unwrap_or_default()
    }

    /// Another sink of that name with the same in it: what is left of it behind a crash.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = Self::new(&self.name, self.batch_bytes);
        self.lock().clone_into(&mut fork.lock());
        fork
    }

    /// How often it was asked for anything.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<CollectionName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, collection: &CollectionName) -> Fault {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.1.is_empty() || fault.1.contains(collection) { fault.0 } else { Fault::None }
    }

    fn refusal(&self) -> Error {
        Error::new(ErrorKind::Unavailable, format!("told to fail: sink=`{}`", self.name))
    }
}

impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        if self.fault(collection) == Fault::Dead {
            return Err(self.refusal());
        }
        Ok(self.lock().get(collection).and_then(|held| held.cursor))
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        let fault = self.fault(batch.collection);
        if matches!(fault, Fault::Dead | Fault::Refuses) {
            return Err(self.refusal());
        }
        let mut all = self.lock();
        let held = all.entry(batch.collection.clone()).or_default();
        let fresh = batch.fresh(held.cursor)?;
        held.records.extend(fresh.iter().cloned());
        let through = held.cursor.map_or(Sequence(0), |cursor| cursor.sequence).max(batch.through);
        held.cursor = Some(Cursor { epoch: batch.epoch, sequence: through });
        if fault == Fault::TakesAndFails { Err(self.refusal()) } else { Ok(()) }
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        if self.fault(collection) == Fault::Dead {
            return Err(self.refusal());
        }
        let mut all = self.lock();
        let held = all.entry(collection.clone()).or_default();
        held.floor = held.floor.max(floor);
        held.records.retain(|record| record.sequence >= floor);
        Ok(())
    }

    fn clear(&self, collection: &CollectionName) -> Result<()> {
        if self.fault(collection) == Fault::Dead {
            return Err(self.refusal());
        }
        self.lock().remove(collection);
        Ok(())
    }

    fn batch_bytes(&self) -> u64 {
        self.batch_bytes
    }
}
