//! What the suite needs of a catalog: to be seen before each change, and to be found by the next process as it was left.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use icecore::catalog::{
    Assignment, Catalog, CatalogError, CatalogMode, CatalogResult, Change, CollectionRow, CursorRow, Engine, Group,
    LossRow, MemoryCatalog, SegmentKey, SegmentRow, SegmentStatus,
};
use icecore::{ChangeNumber, CollectionName, Sequence, Timestamp};
use tempfile::TempDir;

/// A catalog that can be killed.
pub trait Kept: Catalog + Sized + 'static {
    /// What the next process would find, if this one were killed now.
    fn snapshot(&self) -> Self;

    /// Calls `observer` before each apply from now on.
    fn observe(&self, observer: impl Fn(&Self) + Send + Sync + 'static);
}

impl Kept for MemoryCatalog {
    fn snapshot(&self) -> Self {
        self.snapshot()
    }

    fn observe(&self, observer: impl Fn(&Self) + Send + Sync + 'static) {
        self.observe(observer);
    }
}

type Observer = Arc<dyn Fn(&EngineCatalog) + Send + Sync>;

/// A catalog of a real engine, in a directory of its own.
pub struct EngineCatalog {
    // Closed before its directory goes.
    catalog: Arc<dyn Catalog>,
    directory: TempDir,
    engine: Engine,
    observer: Mutex<Option<Observer>>,
}

impl std::fmt::Debug for EngineCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineCatalog").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

/// Memory where there is some to put files in: a kill loses nothing that was written, wherever it was written to.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Copies a file where it is there; pages of zeros are left out, as the files of some engines are mostly that.
#[allow(clippy::disallowed_methods, reason = "the engines write to real files")]
fn copy(from: &Path, to: &Path) {
    use std::io::{Seek as _, SeekFrom, Write as _};
    static ZEROS: [u8; 65_536] = [0; 65_536];
    let Ok(bytes) = std::fs::read(from) else { return };
    let mut file = std::fs::File::create(to).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, page) in bytes.chunks(ZEROS.len()).enumerate() {
        if *page != ZEROS[..page.len()] {
            file.seek(SeekFrom::Start((at * ZEROS.len()) as u64)).unwrap();
            file.write_all(page).unwrap();
        }
    }
}

impl EngineCatalog {
    /// An empty one.
    pub fn new(engine: Engine) -> Self {
        Self::open(engine, directory())
    }

    fn open(engine: Engine, directory: TempDir) -> Self {
        let opened = engine.open(&directory.path().join(engine.file_name("catalog")), CatalogMode::Create);
        let catalog = opened.unwrap_or_else(|error| panic!("the catalog `{engine}` does not open: {}", told(&error)));
        Self { catalog, directory, engine, observer: Mutex::default() }
    }
}

fn told(error: &CatalogError) -> String {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

impl Kept for EngineCatalog {
    /// Copied between two changes: whoever observes is called there, and no other thread makes any.
    fn snapshot(&self) -> Self {
        let copied = directory();
        let path = self.directory.path().join(self.engine.file_name("catalog"));
        for file in self.engine.companions(&path).into_iter().chain([path]) {
            // Locks and shared memory are of processes that are not there any more.
            if !["-shm", "-lck", "-lock"].iter().any(|suffix| file.to_string_lossy().ends_with(suffix)) {
                copy(&file, &copied.path().join(file.file_name().expect("a file has a name")));
            }
        }
        let found = Self::open(self.engine, copied);
        assert_eq!(found.change_number().unwrap(), self.change_number().unwrap(), "a change was lost by a kill");
        assert_eq!(found.counts().unwrap(), self.counts().unwrap(), "the counts after a kill");
        found
    }

    fn observe(&self, observer: impl Fn(&Self) + Send + Sync + 'static) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(observer));
    }
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $found:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> CatalogResult<$found> {
            self.catalog.$name($($argument),*)
        })*
    };
}

impl Catalog for EngineCatalog {
    fn apply_groups(&self, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber> {
        // Called without the lock: the observer may take snapshots.
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observer) = observer.filter(|_| groups.iter().any(|group| !group.mutations.is_empty())) {
            observer(self);
        }
        self.catalog.apply_groups(groups)
    }

    delegate! {
        change_number() -> ChangeNumber;
        changes(since: ChangeNumber, limit: usize) -> Vec<Change>;
        segment(key: &SegmentKey) -> Option<SegmentRow>;
        segment_holding(collection: &CollectionName, sequence: Sequence) -> Option<SegmentRow>;
        segments_from(collection: &CollectionName, from: Sequence, limit: usize) -> Vec<SegmentRow>;
        segments_back(collection: &CollectionName, until: Sequence, limit: usize) -> Vec<SegmentRow>;
        segments(collection: Option<&CollectionName>, after: Option<&SegmentKey>, limit: usize) -> Vec<SegmentRow>;
        segments_by_status(status: SegmentStatus, after: Option<&SegmentKey>, limit: usize) -> Vec<SegmentRow>;
        segments_unflushed(after: Option<&SegmentKey>, limit: usize) -> Vec<SegmentRow>;
        segments_by_time(
            collection: &CollectionName, from: Timestamp, until: Timestamp, from_sequence: Sequence, limit: usize
        ) -> Vec<SegmentRow>;
        sequence_max(collection: &CollectionName) -> Sequence;
        collection(name: &CollectionName) -> Option<CollectionRow>;
        collections(after: Option<&CollectionName>, limit: usize) -> Vec<CollectionRow>;
        assignment(component: &str, collection: &CollectionName) -> Option<Assignment>;
        assignments(component: Option<&str>, after: Option<(&str, &CollectionName)>, limit: usize) -> Vec<Assignment>;
        losses(collection: Option<&CollectionName>) -> Vec<LossRow>;
        cursors(collection: &CollectionName) -> Vec<CursorRow>;
        meta(name: &str) -> Option<String>;
        values() -> Vec<(String, String)>;
        counts() -> Vec<(SegmentStatus, u64)>;
        check() -> Vec<String>;
        copy_to(path: &Path) -> ChangeNumber;
    }

    fn engine(&self) -> Option<Engine> {
        self.catalog.engine()
    }
}
