//! The system calls of a child, done again on the simulated disk, which knows what of it a power cut may take away.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore::fs::simulated::{Cut, SECTOR_BYTES};
use icecore::fs::{EntryKind, File, FileSystem, OpenMode, SimulatedFileSystem};

use crate::trace::{Event, is_transient};

const DIRECTORY: &str = "/catalog";

/// The files of a directory, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The disk that the child wrote to.
pub struct Disk {
    fs: SimulatedFileSystem,
    open: BTreeMap<String, Arc<dyn File>>,
    /// Files with writes that no sync covers.
    dirty: BTreeSet<String>,
    /// Sectors that were durable when the write to them returned, while others of the same file were not: any power cut
    /// leaves them, and maybe nothing else.
    alone: Vec<(String, u64, Vec<u8>)>,
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

impl Disk {
    /// A disk with these files, all durable.
    pub fn with(files: &Files) -> Result<Self, String> {
        let fs = SimulatedFileSystem::new();
        fs.create_dir(Path::new(DIRECTORY)).and_then(|()| fs.sync_dir(Path::new("/"))).map_err(text)?;
        let mut disk = Self { fs, open: BTreeMap::new(), dirty: BTreeSet::new(), alone: Vec::new() };
        for (name, bytes) in files {
            disk.event(&Event::Open { name: name.clone(), creates: true, empties: false })?;
            if !bytes.is_empty() {
                disk.file(name)?.write_all_at(bytes, 0).map_err(text)?;
            }
            disk.file(name)?.sync_all().map_err(text)?;
        }
        disk.event(&Event::SyncDirectory)?;
        Ok(disk)
    }

    fn file(&self, name: &str) -> Result<&dyn File, String> {
        self.open.get(name).map(|file| &**file).ok_or_else(|| format!("`{name}` is used, and was never opened"))
    }

    /// Does one event.
    ///
    /// # Errors
    /// It cannot have happened here.
    pub fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Open { name, .. }
            | Event::Write { name, .. }
            | Event::SetLen { name, .. }
            | Event::Sync { name }
            | Event::Remove { name }
                if is_transient(name) => {}
            Event::Open { name, creates, empties } => {
                let there = self.fs.metadata(&path(name)).is_ok();
                if !there && !creates {
                    return Err(format!("`{name}` was opened, and is not there"));
                }
                if !there || !self.open.contains_key(name) {
                    let mode = if there { OpenMode::ReadWrite } else { OpenMode::CreateNew };
                    self.open.insert(name.clone(), self.fs.open(&path(name), mode).map_err(text)?);
                }
                if *empties && there {
                    self.file(name)?.set_len(0).map_err(text)?;
                    self.dirty.insert(name.clone());
                }
            }
            Event::Write { name, offset, bytes, synchronous } => {
                self.file(name)?.write_all_at(bytes, *offset).map_err(text)?;
                if !synchronous {
                    self.dirty.insert(name.clone());
                } else if self.dirty.contains(name) {
                    // As they stand: a sector is never written without the earlier writes to it.
                    let first = offset / SECTOR_BYTES * SECTOR_BYTES;
                    let end = (offset + bytes.len() as u64).div_ceil(SECTOR_BYTES) * SECTOR_BYTES;
                    let file = self.file(name)?;
                    let end = end.min(file.len().map_err(text)?);
                    let mut sectors = vec![0; (end - first) as usize];
                    file.read_exact_at(&mut sectors, first).map_err(text)?;
                    self.alone.push((name.clone(), first, sectors));
                } else {
                    self.file(name)?.sync_data().map_err(text)?;
                }
            }
            Event::SetLen { name, len, only_longer } => {
                let file = self.file(name)?;
                let set = if *only_longer { file.preallocate(*len) } else { file.set_len(*len) };
                set.map_err(text)?;
                self.dirty.insert(name.clone());
            }
            Event::Sync { name } => {
                self.file(name)?.sync_data().map_err(text)?;
                self.dirty.remove(name);
                self.alone.retain(|(of, ..)| of != name);
            }
            Event::SyncDirectory => self.fs.sync_dir(Path::new(DIRECTORY)).map_err(text)?,
            Event::Remove { name } => {
                self.fs.remove_file(&path(name)).map_err(text)?;
                self.forget(name);
            }
            Event::Rename { from, to } => {
                self.fs.replace(&path(from), &path(to)).map_err(text)?;
                self.forget(from);
                self.forget(to);
            }
            Event::Said(_) => {}
        }
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        self.open.remove(name);
        self.dirty.remove(name);
        self.alone.retain(|(of, ..)| of != name);
    }

    /// How many changes no sync covers.
    pub fn pending(&self) -> usize {
        self.fs.pending()
    }

    /// What a power cut leaves.
    pub fn after(&self, cut: Cut) -> Files {
        let mut files = files_of(&self.fs.crash_image(cut));
        for (name, offset, bytes) in &self.alone {
            if let Some(content) = files.get_mut(name) {
                let range = *offset as usize..*offset as usize + bytes.len();
                content.resize(content.len().max(range.end), 0);
                content[range].copy_from_slice(bytes);
            }
        }
        files
    }

    /// What can be seen now.
    pub fn now(&self) -> Files {
        files_of(&self.fs)
    }
}

fn text(error: icecore::fs::FsError) -> String {
    crate::answers::told(&error)
}

fn files_of(fs: &SimulatedFileSystem) -> Files {
    let files = fs.files().into_iter().filter(|(_, kind, _)| *kind == EntryKind::File);
    files.map(|(path, ..)| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs.read(&path).unwrap())).collect()
}

/// Tells states apart.
pub fn fingerprint(files: &Files) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

/// The files that lie in a directory, but those that no power cut leaves.
pub fn read(directory: &Path) -> Files {
    let mut files = Files::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !is_transient(&name) {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Puts files into a directory; pages of zeros are left out, as the files of some engines are mostly that.
pub fn write(files: &Files, directory: &Path) {
    use std::os::unix::fs::FileExt as _;
    const ZEROS: [u8; 4096] = [0; 4096];
    for (name, bytes) in files {
        let file = std::fs::File::create(directory.join(name)).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (at, page) in bytes.chunks(ZEROS.len()).enumerate() {
            if page != &ZEROS[..page.len()] {
                file.write_all_at(page, (at * ZEROS.len()) as u64).unwrap();
            }
        }
    }
}
