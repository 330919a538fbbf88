//! How delivery goes, for people and for tools.

use crate::log::Log;
use crate::log::figures::Told;
use crate::types::{CollectionName, Sequence, Timestamp};

/// How one sink does, since delivery began.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub sink: String,
    /// How often a collection's records were offered to it.
    pub attempts: u64,
    /// How many of these failed.
    pub failures: u64,
    /// The share of attempts that did not fail, from 0 to 1; `None` before the first.
    pub success_rate: Option<f64>,
    /// Batches that it took.
    pub batches: u64,
    /// Records that it took.
    pub records: u64,
    /// Bytes of keys and payloads of these.
    pub bytes: u64,
    /// Collections of which it does not have everything that is sealed.
    pub waiting_collections: u64,
    /// How many of these rest behind a failure.
    pub failing_collections: u64,
    /// What went wrong last.
    pub last_failure: Option<SinkFailure>,
    /// How long until it is asked again, where everything that is due rests, in milliseconds.
    pub retry_in_ms: Option<u64>,
}

/// A failed delivery.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SinkFailure {
    /// Of which collection.
    pub collection: CollectionName,
    /// Up to where the sink had it, where that is known.
    pub cursor: Option<Sequence>,
    /// What the sink said.
    pub error: String,
    /// When.
    pub at: Timestamp,
    /// How often in a row.
    pub times: u32,
}

/// What a flush did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FlushReport {
    /// Collections that were dealt with.
    pub collections: u64,
    /// Segments that were sealed for it.
    pub segments: u64,
    /// Records that sinks took, each sink's counted.
    pub records: u64,
    /// Bytes of keys and payloads of these.
    pub bytes: u64,
    /// What a sink does not have yet: it is tried again.
    pub failed: Vec<FlushFailure>,
    /// It was interrupted: more may be left to do.
    pub is_interrupted: bool,
}

/// A sink that does not have a collection's records yet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FlushFailure {
    /// Which collection.
    pub collection: CollectionName,
    /// Which sink.
    pub sink: String,
    /// Why.
    pub error: String,
}

/// The name under which the process that delivers tells how it goes.
const FIGURES: &str = "sinks";

/// How the sinks of a log do, as the process that delivers told it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ToldSinks {
    /// One for each sink.
    pub sinks: Vec<SinkStatus>,
}

impl ToldSinks {
    /// What the process that writes, or wrote last, told of its sinks; `None` where it told nothing that can be read.
    #[must_use]
    pub fn of(log: &Log) -> Option<Told<Self>> {
        log.told_figures(FIGURES)
    }

    pub(super) fn tell(self, log: &Log) {
        log.tell_figures(FIGURES, self);
    }
}
