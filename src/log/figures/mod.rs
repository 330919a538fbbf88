//! How a log that is open does: times of appends, who had to wait. For `status`, also of another process.
//!
//! - [`histogram`]: spans of time
//!
//! Owns: the figures of appends, and small files below `.icecore/figures/` in which the process that writes tells others what it counts. They
//! are no evidence and are not synced: each is replaced as a whole, and one that is missing, torn or old says nothing. The
//! catalog keeps none of it, since its history is kept for ever.

pub mod histogram;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::histogram::{Histogram, Spans};
use super::{Inner, Log, identity};
use crate::error::Result;
use crate::fs::OpenMode;
use crate::types::{Epoch, Timestamp};

/// The folder below [`identity::FOLDER`].
const FOLDER: &str = "figures";
/// The file of appends.
const APPENDS: &str = "appends";
/// A file is not read beyond this.
const BYTES_MAX: u64 = 1 << 20;

/// What is counted of appends.
#[derive(Debug, Default)]
pub(super) struct Counters {
    memory: Histogram,
    disk: Histogram,
    total: Histogram,
    slowed: AtomicU64,
    slowed_us: AtomicU64,
    held: AtomicU64,
    held_us: AtomicU64,
    refused: AtomicU64,
}

/// Appends since the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AppendFigures {
    /// From the call to a place in the queue: checks, waiting for memory, encoding.
    pub memory: Spans,
    /// From there to the acknowledgement: waiting for the group, writing, syncing.
    pub disk: Spans,
    /// Both.
    pub total: Spans,
    /// Appends that were slowed, because unsealed records came near a limit.
    pub slowed: u64,
    /// How long, together.
    pub slowed_us: u64,
    /// Appends that were held until something was sealed.
    pub held: u64,
    /// How long, together.
    pub held_us: u64,
    /// Appends that were refused as `Full`.
    pub refused: u64,
}

/// Figures that a process left for others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told<T> {
    /// The opening that they are of.
    pub epoch: Epoch,
    /// When they were written.
    pub at: Timestamp,
    /// The figures.
    #[serde(flatten)]
    pub figures: T,
}

impl Counters {
    /// An append was acknowledged: its times on the monotonic clock.
    pub fn acknowledged(&self, begin: Duration, queued: Duration, end: Duration) {
        self.memory.add(queued.saturating_sub(begin));
        self.disk.add(end.saturating_sub(queued));
        self.total.add(end.saturating_sub(begin));
    }

    pub fn slowed(&self, span: Duration) {
        self.slowed.fetch_add(1, Ordering::Relaxed);
        self.slowed_us.fetch_add(micros(span), Ordering::Relaxed);
    }

    pub fn held(&self, span: Duration, is_refused: bool) {
        self.held.fetch_add(1, Ordering::Relaxed);
        self.held_us.fetch_add(micros(span), Ordering::Relaxed);
        self.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
    }

    fn figures(&self) -> AppendFigures {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AppendFigures {
            memory: self.memory.spans(),
            disk: self.disk.spans(),
            total: self.total.spans(),
            slowed: count(&self.slowed),
            slowed_us: count(&self.slowed_us),
            held: count(&self.held),
            held_us: count(&self.held_us),
            refused: count(&self.refused),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Log {
    /// How long appends took since this log was opened, and who had to wait.
    #[must_use]
    pub fn append_figures(&self) -> AppendFigures {
        self.0.counters.figures()
    }

    /// What the process that writes, or wrote last, told of its appends; `None` where it told nothing that can be read.
    #[must_use]
    pub fn told_append_figures(&self) -> Option<Told<AppendFigures>> {
        self.told_figures(APPENDS)
    }

    /// Tells other processes `figures` under a name. Nothing depends on it: what goes wrong is only logged.
    pub(crate) fn tell_figures<T: serde::Serialize>(&self, name: &str, figures: T) {
        self.0.tell_figures(name, figures);
    }

    /// What was told under a name.
    pub(crate) fn told_figures<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<Told<T>> {
        let file = self.0.fs.open(&self.0.figures_path(name), OpenMode::Read).ok()?;
        let bytes = file.len().ok().filter(|bytes| *bytes <= BYTES_MAX)?;
        let mut text = vec![0; usize::try_from(bytes).ok()?];
        file.read_exact_at(&mut text, 0).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Inner {
    fn figures_path(&self, name: &str) -> PathBuf {
        self.directories[0].path.join(identity::FOLDER).join(FOLDER).join(format!("{name}.json"))
    }

    pub(super) fn tell_append_figures(&self) {
        self.tell_figures(APPENDS, self.counters.figures());
    }

    fn tell_figures<T: serde::Serialize>(&self, name: &str, figures: T) {
        let told = Told { epoch: self.epoch, at: self.clock.now(), figures };
        let path = self.figures_path(name);
        let staging = self.directories[0].staging().join(format!("figures-{}.tmp", self.next_temporary()));
        let write = || -> Result<()> {
            let text = serde_json::to_vec(&told).expect("figures are plain text and numbers");
            let folder = path.parent().unwrap_or(&path);
            if self.fs.metadata(folder).is_err_and(|error| error.is_not_found()) {
                self.fs.create_dir(folder)?;
            }
            self.fs.open(&staging, OpenMode::CreateNew)?.write_all_at(&text, 0)?;
            Ok(self.fs.replace(&staging, &path)?)
        };
        if let Err(error) = write() {
            let _ = self.fs.remove_file(&staging);
            tracing::debug!(%error, name, "figures could not be told");
        }
    }
}
