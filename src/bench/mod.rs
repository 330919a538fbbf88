//! Measures a disk, and icecore on it, side by side in one run.
//!
//! Owns: the scenarios and their limits. Every figure stands beside what the bare disk did a moment before or after, so that
//! the ratio holds on a noisy machine too. Nothing is asserted: who runs it reads the ratios.
//!
//! - [`raw`]: the limit
//! - `appending`, `reopening`, `memory`, `catalog`, `directories`, `archive`, `archive_memory`, `compaction`, `flushing`, `search`: what is measured
//! - [`measure`]: medians and quantiles

mod appending;
mod archive;
mod archive_memory;
mod catalog;
mod compaction;
mod directories;
#[cfg(feature = "store")]
mod flushing;
pub mod measure;
mod memory;
pub mod raw;
mod reopening;
#[cfg(feature = "store")]
mod search;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{EntryKind, FileSystem};
use crate::log::{Log, LogOptions};
use crate::objects::{Location, StoreOptions};

/// A sync faster than this reaches no medium that keeps its bytes without power.
pub const SYNC_PLAUSIBLE_MIN: Duration = Duration::from_micros(8);

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds of one operation.
    Seconds,
    /// Records a second.
    Records,
    /// Bytes a second.
    Bytes,
    /// Bytes, of memory or on disk.
    Memory,
    /// How many.
    Count,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The ratio to the limit is at most this.
    RatioAtMost(f64),
    /// The ratio to the limit is at least this.
    RatioAtLeast(f64),
    /// The value itself is at most this.
    AtMost(f64),
    /// The value itself is at least this.
    AtLeast(f64),
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Which scenario.
    pub scenario: &'static str,
    /// What was measured.
    pub what: Cow<'static, str>,
    /// In what.
    pub unit: Unit,
    /// What icecore did.
    pub icecore: f64,
    /// What the bare disk did, where there is such a thing.
    pub limit: Option<f64>,
    /// What is aimed at.
    pub target: Option<Target>,
}

impl Figure {
    /// icecore's figure by the limit.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.limit.filter(|limit| *limit > 0.0).map(|limit| self.icecore / limit)
    }

    /// Whether the target is reached; `None` where there is none.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        self.target.map(|target| match target {
            Target::RatioAtMost(most) => ratio <= most,
            Target::RatioAtLeast(least) => ratio >= least,
            Target::AtMost(most) => self.icecore <= most,
            Target::AtLeast(least) => self.icecore >= least,
        })
    }
}

/// A scenario: its name, what it does, and how.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    run: fn(&Bench) -> Result<Vec<Figure>>,
}

/// Every scenario, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one-writer",
        help: "one writer, one 256-byte record per durable append: latency",
        run: appending::one_writer,
    },
    Scenario {
        name: "many-writers",
        help: "64 writers over 1,000 collections, 256-byte records, each append durable: records a second",
        run: appending::many_writers,
    },
    Scenario {
        name: "bandwidth",
        help: "64 KiB records in durable batches of 16: bytes a second",
        run: appending::bandwidth,
    },
    Scenario {
        name: "unsynced",
        help: "256-byte records in batches of 100, not synced: records a second",
        run: appending::unsynced,
    },
    Scenario {
        name: "reopen",
        help: "open and read back 512 MiB of 1 KiB records, unsealed and sealed: bytes a second",
        run: reopening::reopen,
    },
    Scenario {
        name: "collections",
        help: "100,000 collections with 10 records each: append, reopen, memory",
        run: reopening::collections,
    },
    Scenario {
        name: "memory",
        help: "4 GiB through a memtable limit of 256 MiB, and recovery after a kill: peak memory",
        run: memory::run,
    },
    Scenario {
        name: "catalog",
        help: "1,000,000 segments in each catalog engine: open, look up, change, size",
        run: catalog::run,
    },
    Scenario {
        name: "directories",
        help: "100 collections of 10 MB over 4 directories, beside 1; 10,000 collections: open and recover, time and memory",
        run: directories::run,
    },
    Scenario {
        name: "archive",
        help: "256 MiB of segments to a store (--archive, or a directory here), beside bare puts; reading out of the middle",
        run: archive::run,
    },
    Scenario {
        name: "compaction",
        help: "16 writers, each append durable, while 384 MiB of old versions are compacted at 16 MiB/s, beside appending alone",
        run: compaction::run,
    },
    #[cfg(feature = "store")]
    Scenario {
        name: "flush",
        help: "384 MiB of vectors go to the columnar store, with and without 16 writers beside, each append durable",
        run: flushing::run,
    },
    #[cfg(feature = "store")]
    Scenario {
        name: "search",
        help: "the 10 nearest of 100,000 vectors of 128 dimensions, exactly, beside a bare scan of the same numbers",
        run: search::run,
    },
];

/// What a scenario has a process of its own do.
const PARTS: &[Scenario] = &[
    Scenario { name: directories::FILL, help: "a part of `directories`", run: directories::fill },
    Scenario { name: directories::OPEN, help: "a part of `directories`", run: directories::open },
    Scenario { name: archive_memory::PART, help: "a part of `archive`", run: archive_memory::part },
    #[cfg(feature = "store")]
    Scenario { name: search::SMALL, help: "a part of `search`", run: search::small },
];

/// Where to measure.
pub struct Bench {
    /// Where files are.
    pub fs: Arc<dyn FileSystem>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// A folder of its own, removed afterwards.
    pub folder: PathBuf,
    /// The store that the scenario `archive` uses, and how it is reached; a directory of its own without one.
    pub archive: Option<(Location, StoreOptions)>,
    /// The memory that uploads may take together, in bytes (`archive.memory_bytes`).
    pub archive_memory_bytes: u64,
    /// How much of the work is done, in percent, by the scenarios that can do less.
    pub scale: u32,
}

impl Bench {
    /// Makes a folder of its own below `dir`.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(fs: Arc<dyn FileSystem>, clock: Arc<dyn Clock>, dir: &Path) -> Result<Self> {
        let unique = crate::types::ids::hex(&clock.random()[..4]);
        let folder = dir.join(format!("icecore-bench-{unique}"));
        crate::fs::durable::create_dir_all(&*fs, &folder)?;
        Ok(Self { fs, clock, folder, archive: None, archive_memory_bytes: 256 << 20, scale: 100 })
    }

    /// This many, by the scale; at least one.
    fn scaled(&self, full: usize) -> usize {
        (full * self.scale as usize / 100).max(1)
    }

    /// Runs one scenario in an empty folder.
    ///
    /// # Errors
    /// What the disk or the log said.
    pub fn run(&self, scenario: &Scenario) -> Result<Vec<Figure>> {
        let figures = (scenario.run)(self);
        remove_all(&*self.fs, &self.folder, false)?;
        figures
    }

    /// The median time of a bare write of 256 bytes and `fdatasync`, of 200.
    ///
    /// # Errors
    /// What the system said.
    pub fn bare_sync(&self) -> Result<Duration> {
        let raw = raw::Raw::create(&*self.fs, &self.folder.join("probe"), 8 << 20)?;
        let mut latencies = measure::Latencies::default();
        for _ in 0..200 {
            let before = self.clock.monotonic();
            raw.write(&[1; 256], true)?;
            latencies.push(self.clock.monotonic() - before);
        }
        remove_all(&*self.fs, &self.folder, false)?;
        Ok(latencies.quantile(500))
    }

    fn options(&self, name: &str) -> LogOptions {
        let mut options = LogOptions::new([self.folder.join(name)]);
        options.fs = Arc::clone(&self.fs);
        options.clock = Arc::clone(&self.clock);
        options
    }

    fn open(&self, name: &str) -> Result<Log> {
        Log::open(self.options(name))
    }

    fn timed<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
        let before = self.clock.monotonic();
        let done = work()?;
        Ok((done, self.clock.monotonic() - before))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&*self.fs, &self.folder, true) {
            tracing::warn!(%error, path = %self.folder.display(), "what was measured with could not be removed");
        }
    }
}

fn remove_all(fs: &dyn FileSystem, folder: &Path, itself: bool) -> Result<()> {
    for entry in fs.list(folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Directory => remove_all(fs, &path, true)?,
            _ => fs.remove_file(&path)?,
        }
    }
    if itself {
        fs.remove_dir(folder)?;
    }
    Ok(())
}

/// The peak of a process's resident memory so far, in bytes; `None` where the system does not tell.
#[must_use]
pub fn memory_peak(fs: &dyn FileSystem, process: u32) -> Option<u64> {
    memory(fs, process, "VmHWM:")
}

/// A process's resident memory now, in bytes; `None` where the system does not tell.
#[must_use]
pub fn memory_now(fs: &dyn FileSystem, process: u32) -> Option<u64> {
    memory(fs, process, "VmRSS:")
}

fn memory(fs: &dyn FileSystem, process: u32, what: &str) -> Option<u64> {
    let file = fs.open(Path::new(&format!("/proc/{process}/status")), crate::fs::OpenMode::Read).ok()?;
    // Such a file has no length: one read gives all of it.
    let mut status = vec![0; 1 << 16];
    let len = file.read_at(&mut status, 0).ok()?;
    let status = std::str::from_utf8(&status[..len]).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Which scenarios `names` name; all where there are none.
///
/// # Errors
/// `Invalid` for a name that there is not.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        SCENARIOS.iter().chain(PARTS).find(|scenario| scenario.name == name).ok_or_else(|| {
            let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            Error::new(ErrorKind::Invalid, format!("no such scenario: scenario=`{name}`"))
                .with_hint(format!("one of {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}
