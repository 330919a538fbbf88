//! Where the files of a test lie.

use std::path::{Path, PathBuf};

use icecore::catalog::Engine;
use tempfile::TempDir;

/// A directory in memory where there is one: a kill loses nothing that was written, wherever it was written to, and
/// thousands of openings should not wait for a disk.
pub fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| on_disk())
}

/// A directory on a disk: engines may leave out the syncs where they see that there is none.
pub fn on_disk() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// An engine's catalog in a directory.
pub fn catalog_in(directory: &Path, engine: Engine) -> PathBuf {
    directory.join(engine.file_name("catalog"))
}

/// How many bytes an engine's files have together.
pub fn size(path: &Path, engine: Engine) -> u64 {
    let files = engine.companions(path).into_iter().chain([path.to_path_buf()]);
    files.filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}
