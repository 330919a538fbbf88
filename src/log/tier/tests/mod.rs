//! Segments on their way between tiers, on a simulated machine.

mod crashes;
mod evict;
mod faults;
mod rehydrate;

use super::*;
use crate::archive::world::{World, append, fill, name, read_all};
use crate::types::Timestamp;

fn always(_: TierProgress) -> bool {
    true
}

fn evict(log: &Log) -> Evicted {
    log.evict(&EvictOptions::default(), &mut always).unwrap()
}

fn rehydrate(log: &Log) -> Rehydrated {
    log.rehydrate(&RehydrateOptions::default(), &mut always).unwrap()
}

fn reasons(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|kept| kept.reason.as_str()).collect()
}
