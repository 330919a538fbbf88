//! The real file system.
/// The real one.
#[derive(Debug)]
pub struct OsFileSystem;
