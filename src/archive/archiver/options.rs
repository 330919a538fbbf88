//! How the archiver works.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::log::tier::EvictRules;
use crate::objects::{ObjectStore, Patience};

/// A store that segments go to.
#[derive(Clone, Debug)]
pub struct TargetStore {
    /// The id of the remote directory that is the home of collections (A5); `None` for the log's archive.
    pub remote: Option<String>,
    /// Where it is, as the log knows it: never with a secret.
    pub url: String,
    /// What talks to it.
    pub store: Arc<dyn ObjectStore>,
}

/// How the archiver works.
#[derive(Clone, Debug)]
pub struct ArchiverOptions {
    /// Uploads at the same time, at least one. With one, everything happens in a fixed order.
    pub parallel: usize,
    /// Memory that uploads may take together, in bytes: of each, what its store says that it holds
    /// ([`ObjectStore::put_memory`]). One that takes more than all of it is on its way alone.
    pub memory_bytes: u64,
    /// Bytes of segments per second, over all uploads; `None` for as many as go.
    pub bytes_per_second: Option<u64>,
    /// How long an attempt may send, from its intent on; its proof and its manifest have as long again, so that what was sent in time counts. What
    /// hangs longer is given up, and tried again.
    pub attempt: Duration,
    /// Segments that one manifest names at most.
    pub manifest_segments: usize,
    /// A manifest is written at the latest so long after the first segment that it names arrived.
    pub manifest_age: Duration,
    /// A copy of the catalog is archived when the last one is older than this, and something changed; `None` for never.
    pub snapshot_age: Option<Duration>,
    /// For how long a store is to refuse to delete a segment, from its upload on (Object Lock, immutability).
    pub retain: Option<Duration>,
    /// How patient to be with a store.
    pub patience: Patience,
    /// Waits before what failed for good is tried again: from this, twice as long each time...
    pub retry_first: Duration,
    /// ... up to this.
    pub retry_longest: Duration,
    /// Length of a part, as the stores were told, in bytes.
    pub part_bytes: u64,
    /// Takes stores over that another machine took over from this log before ([`fence`](crate::archive::fence)).
    pub take_over: bool,
    /// Which local copies go, and when.
    pub evict: EvictRules,
    /// How long objects stay behind the manifest by which they count no more: purged ones, and copies of the catalog; `None`: nobody deletes
    /// anything but [`retention`](crate::archive::retention) when it is called.
    pub grace: Option<Duration>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for ArchiverOptions {
    fn default() -> Self {
        let store = crate::objects::StoreOptions::default();
        Self {
            parallel: 4,
            memory_bytes: 256 << 20,
            bytes_per_second: None,
            attempt: Duration::from_hours(1),
            manifest_segments: 256,
            manifest_age: Duration::from_mins(1),
            snapshot_age: None,
            retain: None,
            patience: Patience::default(),
            retry_first: Duration::from_secs(10),
            retry_longest: Duration::from_mins(5),
            part_bytes: store.part_bytes,
            take_over: false,
            evict: EvictRules::default(),
            grace: None,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl ArchiverOptions {
    /// The wait behind the `times`th failure.
    pub(super) fn retry(&self, times: u32) -> Duration {
        let doubled = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
        self.retry_first.saturating_mul(doubled).min(self.retry_longest)
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = if self.parallel == 0 {
            "uploads at the same time are none"
        } else if self.manifest_segments == 0 {
            "segments of a manifest are none"
        } else if self.manifest_age >= self.attempt {
            "an attempt ends before the manifest that names it is written"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Invalid, format!("the archiver cannot work so: what=`{wrong}`")))
    }
}
