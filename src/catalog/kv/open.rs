//! Opening: what is there, what it may become, and that each file is open once in a process.
//!
//! An engine's locks belong to the process, not to whoever opened: a second environment of the same file would take them away
//! from the first when it closes. So every catalog of one file in this process shares one [`Shared`], found by the file's
//! canonical path; the last one closes it, under the same lock under which the next one opens it anew.
//!
//! Order: look at the file; open the environment; compare the length of the file with the last page, so that no look-up runs
//! over its end; read the header. Only then may anything be written.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Access, Environment, OpenError, Options, Read, Write as _};
use super::keys;
use crate::catalog::{CatalogError, CatalogMode, CatalogResult, MAKING};
use crate::fs::{EntryKind, FileSystem as _, FsError, FsResult, OpenMode, OsFileSystem, durable};

/// What a catalog's header begins with.
const MAGIC: [u8; 8] = *b"icecatlg";
/// The newest layout that this program knows.
pub const LAYOUT_MAX: u32 = 1;
/// How large a catalog can grow.
pub const MAP_BYTES: u64 = 64 << 30;
/// Each engine says here what the file is.
const BEGINNING_BYTES: usize = 4096;
/// Two pages of LMDB; MDBX begins with three.
const FILE_BYTES_LEAST: u64 = 8192;

/// An environment and what all its catalogs share.
pub struct Shared<E> {
    pub environment: E,
    access: Access,
    /// Device and inode.
    identity: Identity,
    /// Held from before a transaction that writes begins until its outcome is known.
    pub writing: Mutex<()>,
    /// An earlier commit may have happened or not.
    pub is_outcome_unknown: AtomicBool,
    /// Makes the next commit fail after it happened.
    #[cfg(test)]
    pub fail_commit: AtomicBool,
}

type Identity = (u64, u64);

/// A share in an environment.
pub struct Handle<E: Environment> {
    /// `None` only while it is dropped.
    shared: Option<Arc<Shared<E>>>,
    canonical: PathBuf,
}

impl<E: Environment> std::ops::Deref for Handle<E> {
    type Target = Shared<E>;

    fn deref(&self) -> &Shared<E> {
        self.shared.as_ref().expect("a handle has it until it is dropped")
    }
}

impl<E: Environment> Drop for Handle<E> {
    fn drop(&mut self) {
        let mut registry = locked(E::registry());
        // Closed under the lock: whoever opens next finds it open, or closed, never between.
        drop(self.shared.take());
        if registry.get(&self.canonical).is_some_and(|shared| shared.strong_count() == 0) {
            registry.remove(&self.canonical);
        }
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left nothing half done: transactions are undone when dropped.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable<T>(path: &Path, what: &str) -> CatalogResult<T> {
    Err(CatalogError::Unavailable { path: path.display().to_string(), what: what.to_owned() })
}

fn damaged<T>(path: &Path, what: impl Into<String>) -> CatalogResult<T> {
    Err(CatalogError::Damaged { path: path.display().to_string(), what: what.into() })
}

pub fn fs_failed(path: &Path, operation: &'static str, source: FsError) -> CatalogError {
    CatalogError::Engine { path: path.display().to_string(), operation, source: Box::new(source) }
}

fn identity(path: &Path) -> Option<Identity> {
    let stat = rustix::fs::stat(path).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "systems give them in different widths")]
    Some((stat.st_dev as u64, stat.st_ino as u64))
}

/// The file's one path, whatever links lead to it; that of the file to be made where there is none.
fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(parent.canonicalize()?.join(path.file_name().ok_or(error)?))
        }
        found => found,
    }
}

/// Opens the catalog in the file `path`, sharing the environment with those that have it open.
pub fn open<E: Environment>(path: &Path, mode: CatalogMode, map_bytes: u64) -> CatalogResult<Handle<E>> {
    let not_found = || CatalogError::NotFound { path: path.display().to_string() };
    let canonical = canonical(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => not_found(),
        _ => CatalogError::Engine { path: path.display().to_string(), operation: "look for", source: error.into() },
    })?;
    let mut registry = locked(E::registry());
    let is_there = look_at(path, &canonical)?;
    if !is_there && mode != CatalogMode::Create {
        return Err(not_found());
    }
    if let Some(shared) = registry.get(&canonical).and_then(std::sync::Weak::upgrade) {
        let handle = Handle { shared: Some(shared), canonical };
        // Dropping the handle takes the lock.
        drop(registry);
        if identity(&handle.canonical) != Some(handle.identity) {
            return unavailable(path, "its file was replaced while it is open in this process");
        }
        if mode != CatalogMode::ReadOnly && handle.access != Access::Writing {
            return unavailable(path, "it is open in this process to read only");
        }
        return match header(&handle.environment)? {
            Header::Known => Ok(handle),
            Header::Blank => unavailable(path, "it is being made in this process"),
        };
    }
    let shared = Arc::new(open_file::<E>(&canonical, mode, map_bytes)?);
    registry.insert(canonical.clone(), Arc::downgrade(&shared));
    Ok(Handle { shared: Some(shared), canonical })
}

/// Opens a new file to be filled by a copy, which puts its header last.
pub fn open_new<E: Environment>(path: &Path, map_bytes: u64) -> CatalogResult<Handle<E>> {
    let canonical = canonical(path).map_err(|error| CatalogError::Engine {
        path: path.display().to_string(),
        operation: "look for",
        source: error.into(),
    })?;
    let mut registry = locked(E::registry());
    let is_open = registry.get(&canonical).is_some_and(|shared| shared.strong_count() > 0);
    if is_open || canonical.symlink_metadata().is_ok() {
        return unavailable(path, "something is there: a copy never replaces anything");
    }
    let options = Options { access: Access::Writing, map_bytes, may_rebound: false };
    let shared = Arc::new(share(&canonical, E::open(&canonical, options)?, Access::Writing)?);
    registry.insert(canonical.clone(), Arc::downgrade(&shared));
    Ok(Handle { shared: Some(shared), canonical })
}

/// Whether a file is there; anything else in its place is an error.
fn look_at(path: &Path, canonical: &Path) -> CatalogResult<bool> {
    match OsFileSystem::new().metadata(canonical) {
        Ok(metadata) if metadata.kind == EntryKind::File => Ok(true),
        Ok(_) => damaged(path, "it is not a file"),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(fs_failed(path, "look for", error)),
    }
}

fn open_file<E: Environment>(path: &Path, mode: CatalogMode, map_bytes: u64) -> CatalogResult<Shared<E>> {
    if is_blank(path)? {
        if mode != CatalogMode::Create {
            return damaged(path, "the file holds no catalog");
        }
        make_file::<E>(path, map_bytes)?;
    }
    if is_stump(path)? {
        return damaged(path, "the file is too short for a catalog");
    }
    if is_zeros(path)? {
        return damaged(path, "the file holds only zeros");
    }
    let mut options = Options { access: Access::Writing, map_bytes, may_rebound: false };
    let opened = E::open(path, options).or_else(|error| match error {
        OpenError::Denied(_) if mode == CatalogMode::ReadOnly => {
            options.access = Access::Reading;
            E::open(path, options)
        }
        error => Err(error),
    });
    let opened = opened.or_else(|error| match error {
        // Another's lock file that this process may not use stands for a writer: nothing is read beside it unregistered.
        OpenError::Denied(_) if mode == CatalogMode::ReadOnly && !is_locked::<E>(path) => {
            options.access = Access::Unlocked;
            E::open(path, options)
        }
        error => Err(error),
    });
    let mut environment = opened?;
    check_extent(path, &environment)?;
    match header(&environment)? {
        Header::Known => {}
        Header::Blank if mode == CatalogMode::Create => make(&environment)?,
        Header::Blank => return damaged(path, "the file holds no catalog"),
    }
    if mode == CatalogMode::Create {
        // An earlier run may have been killed after it made the file.
        durable::sync_parent(&OsFileSystem::new(), path)
            .map_err(|error| fs_failed(path, "sync the directory of", error))?;
    }
    if mode != CatalogMode::ReadOnly && environment.extent()?.map_bytes < map_bytes {
        drop(environment);
        options.may_rebound = true;
        environment = E::open(path, options)?;
    }
    share(path, environment, options.access)
}

fn share<E>(path: &Path, environment: E, access: Access) -> CatalogResult<Shared<E>> {
    let Some(identity) = identity(path) else {
        return unavailable(path, "its file was removed while it was opened");
    };
    Ok(Shared {
        environment,
        access,
        identity,
        writing: Mutex::new(()),
        is_outcome_unknown: AtomicBool::new(false),
        #[cfg(test)]
        fail_commit: AtomicBool::new(false),
    })
}

fn is_locked<E: Environment>(path: &Path) -> bool {
    E::ENGINE.companions(path).iter().any(|companion| !matches!(companion.try_exists(), Ok(false)))
}

/// Whether nothing was ever put into the file, or there is none.
fn is_blank(path: &Path) -> CatalogResult<bool> {
    match OsFileSystem::new().metadata(path) {
        Err(error) if error.is_not_found() => Ok(true),
        metadata => Ok(metadata.map_err(|error| fs_failed(path, "look at", error))?.len == 0),
    }
}

/// Whether something is there that is too short to be anything: an engine might take it for nothing, and write over it.
fn is_stump(path: &Path) -> CatalogResult<bool> {
    let metadata = OsFileSystem::new().metadata(path);
    Ok(metadata.is_ok_and(|metadata| (1..FILE_BYTES_LEAST).contains(&metadata.len)))
}

/// Whether the file begins with nothing but zeros: an engine might take it for nothing, and write over it.
fn is_zeros(path: &Path) -> CatalogResult<bool> {
    if is_blank(path)? {
        return Ok(false);
    }
    let fs = OsFileSystem::new();
    let file = fs.open(path, OpenMode::Read).map_err(|error| fs_failed(path, "open", error))?;
    let mut bytes = [0; BEGINNING_BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(|error| fs_failed(path, "read", error))?;
    Ok(bytes[..read].iter().all(|byte| *byte == 0))
}

/// A page beyond the end of the file would kill the process when a look-up reads it.
fn check_extent<E: Environment>(path: &Path, environment: &E) -> CatalogResult<()> {
    let used = environment.extent()?.used_bytes;
    let metadata = OsFileSystem::new().metadata(path).map_err(|error| fs_failed(path, "look at", error))?;
    if metadata.len < used && !environment.is_whole()? {
        return damaged(path, format!("the file is cut short: it has {} bytes of {used}", metadata.len));
    }
    Ok(())
}

enum Header {
    Known,
    Blank,
}

/// Reads the header: which layout the entries have.
fn header<E: Environment>(environment: &E) -> CatalogResult<Header> {
    let read = environment.read()?;
    let path = read.path();
    let Some(value) = read.get(&keys::header())? else {
        let mut is_empty = true;
        read.scan(&keys::header(), &mut |_, _| {
            is_empty = false;
            Ok(false)
        })?;
        return if is_empty { Ok(Header::Blank) } else { damaged(path, "the file is not a catalog of icecore") };
    };
    if !value.starts_with(&MAGIC) {
        return damaged(path, "the file is not a catalog of icecore");
    }
    check_header(path, &value).map(|()| Header::Known)
}

fn check_header(path: &Path, value: &[u8]) -> CatalogResult<()> {
    let Some((content, checksum)) = value.split_last_chunk::<4>() else {
        return damaged(path, "header is cut short");
    };
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return damaged(path, "checksum of the header");
    }
    let Some(version) = content.get(MAGIC.len()..).and_then(|version| version.try_into().ok()) else {
        return damaged(path, "header is of another length");
    };
    match u32::from_le_bytes(version) {
        version if version > LAYOUT_MAX => {
            Err(CatalogError::Newer { path: path.display().to_string(), version, known: LAYOUT_MAX })
        }
        0 => damaged(path, "layout version `0`"),
        _ => Ok(()),
    }
}

/// Checks the header again, for the finding.
pub fn check(read: &dyn Read) -> CatalogResult<()> {
    let value = read.get(&keys::header())?.unwrap_or_default();
    if !value.starts_with(&MAGIC) {
        return damaged(read.path(), "the header is missing or changed");
    }
    check_header(read.path(), &value)
}

/// The header's value, of a layout.
pub fn header_value(layout: u32) -> Vec<u8> {
    let mut value = MAGIC.to_vec();
    value.extend_from_slice(&layout.to_le_bytes());
    let checksum = crc32c::crc32c(&value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value
}

/// Makes an empty catalog in `path`, where there is nothing yet.
///
/// Order: made and closed under a name of its own; synced whole, as engines do not sync every page of a file that they make;
/// given its name; the name synced. A crash leaves a whole catalog or none, and maybe a file under the other name, of no
/// use to anyone. Where another process was faster, its file stays.
fn make_file<E: Environment>(path: &Path, map_bytes: u64) -> CatalogResult<()> {
    let fs = OsFileSystem::new();
    let mut making = path.as_os_str().to_owned();
    making.push(format!("{MAKING}{:016x}", fastrand::u64(..)));
    let making = PathBuf::from(making);
    let made = (|| {
        let environment = E::open(&making, Options { access: Access::Writing, map_bytes, may_rebound: false })?;
        make(&environment)?;
        drop(environment);
        let sync = || -> FsResult<()> {
            fs.open(&making, OpenMode::ReadWrite)?.sync_all()?;
            match fs.metadata(path) {
                // A blank file is in the way of the name.
                Ok(metadata) if metadata.len == 0 => fs.remove_file(path)?,
                _ => {}
            }
            match durable::publish(&fs, &making, path) {
                Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => fs.remove_file(&making),
                published => published,
            }
        };
        sync().map_err(|error| fs_failed(path, "make", error))
    })();
    for companion in E::ENGINE.companions(&making) {
        let _ = fs.remove_file(&companion);
    }
    if made.is_err() {
        let _ = fs.remove_file(&making);
    }
    made
}

fn make<E: Environment>(environment: &E) -> CatalogResult<()> {
    let mut writing = environment.write()?;
    // Again under the lock: another process may have made it in between.
    if writing.get(&keys::header())?.is_none() {
        writing.put(&keys::header(), &header_value(LAYOUT_MAX))?;
        writing.commit()?;
    }
    Ok(())
}
