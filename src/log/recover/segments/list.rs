//! What lies in the folders of a directory.
//!
//! Owns: which names are segments and stubs, whose they are, and which files are none of ours. A folder that cannot be listed hides
//! its own collection and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::journals::chain;
use crate::avro::AvroError;
use crate::avro::container::{FileHeader, HEADER_BYTES_MAX, decode_header};
use crate::catalog::SegmentKey;
use crate::error::Result;
use crate::fs::{EntryKind, File, FileSystem, OpenMode};
use crate::segment::{FileKind, SegmentName, SegmentReader};
use crate::types::CollectionName;

/// A file below a log's directory that has the name of a segment or a stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Listed {
    /// Which segment, by its name.
    pub key: SegmentKey,
    /// The segment, or the stub that was left in its place.
    pub kind: FileKind,
    /// Which of the log's directories.
    pub directory: usize,
}

/// A folder that cannot be listed now: what it holds of its collection, and so maybe the collection's end, is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlistable {
    /// Which of the log's directories.
    pub directory: usize,
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

/// What a directory holds beside segments and stubs.
#[derive(Debug, Default)]
pub(in crate::log) struct Listing {
    /// Folders with segments of an unknown collection.
    pub unknown: Vec<PathBuf>,
    /// Folders that cannot be listed.
    pub unlistable: Vec<Unlistable>,
    /// Avro files under names that are none of ours.
    pub foreign: Vec<PathBuf>,
    /// Collections whose folder is empty.
    pub empty: Vec<CollectionName>,
}

/// Calls `visit` for each segment and each stub below a directory.
///
/// # Errors
/// The directory itself cannot be listed.
pub(in crate::log) fn list(
    fs: &dyn FileSystem,
    index: usize,
    directory: &Path,
    visit: &mut dyn FnMut(Listed),
) -> Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs.list(directory)? {
        if entry.name.starts_with('.') {
            continue;
        }
        let folder = directory.join(&entry.name);
        if entry.kind == EntryKind::File && is_avro(&entry.name) {
            listing.foreign.push(folder);
            continue;
        }
        if entry.kind != EntryKind::Directory {
            continue;
        }
        let files = match fs.list(&folder) {
            Ok(files) => files,
            // Beside a writer it may have gone meanwhile.
            Err(error) if error.is_not_found() => continue,
            Err(error) => {
                listing.unlistable.push(Unlistable { directory: index, path: folder, reason: chain(&error) });
                continue;
            }
        };
        if files.is_empty() {
            listing.empty.extend(CollectionName::from_directory_name(&entry.name));
        }
        let mut names: Vec<(String, SegmentName)> = Vec::new();
        for file in files.into_iter().filter(|file| file.kind == EntryKind::File) {
            match SegmentName::parse(&file.name) {
                Some(name) => names.push((file.name, name)),
                None if is_avro(&file.name) => listing.foreign.push(folder.join(file.name)),
                None => {}
            }
        }
        let Some(collection) = collection_of(fs, &folder, &entry.name, &names) else {
            if !names.is_empty() {
                tracing::warn!(folder = %folder.display(), "segments of an unknown collection are left alone");
                listing.unknown.push(folder);
            }
            continue;
        };
        for (_, name) in names {
            let key = SegmentKey {
                collection: collection.clone(),
                first: name.covers.first,
                last: name.covers.last,
                generation: name.generation,
            };
            visit(Listed { key, kind: name.kind, directory: index });
        }
    }
    Ok(listing)
}

fn is_avro(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("avro"))
}

/// The collection behind a folder: from its name, or, where that is cut, from a file's metadata (F5).
fn collection_of(
    fs: &dyn FileSystem,
    folder: &Path,
    name: &str,
    files: &[(String, SegmentName)],
) -> Option<CollectionName> {
    CollectionName::from_directory_name(name).or_else(|| {
        files.iter().find_map(|(file, _)| {
            let file = fs.open(&folder.join(file), OpenMode::Read).ok()?;
            // Stubs and torn files have it in their header, a file with a damaged header in its footer.
            let told = header(&*file).and_then(|header| CollectionName::new(header.text("icecore.collection")?).ok());
            told.into_iter()
                .chain(SegmentReader::open(Arc::clone(&file)).ok().map(|reader| reader.footer().collection.clone()))
                .find(|collection| collection.directory_name() == name)
        })
    })
}

/// The header of an Avro file; `None` where it is none, or cannot be read.
pub(super) fn header(file: &dyn File) -> Option<FileHeader> {
    let len = usize::try_from(file.len().ok()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.min(8 << 10)];
    loop {
        file.read_exact_at(&mut bytes, 0).ok()?;
        match decode_header(&bytes) {
            Ok(header) => return Some(header),
            Err(AvroError::Truncated) if bytes.len() < len.min(HEADER_BYTES_MAX) => {
                bytes.resize((bytes.len() * 8).min(len).min(HEADER_BYTES_MAX), 0);
            }
            Err(_) => return None,
        }
    }
}
