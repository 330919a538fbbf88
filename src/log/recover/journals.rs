//! What the journals of one directory hold, judged (J4, J5).
//!
//! Owns: the order of judging: newest first, since each journal's OPEN says where those before it end. Only reads.

pub(crate) use crate::error::chain;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::avro::container::SYNC_BYTES;
use crate::error::Result;
use crate::fs::{EntryKind, File, FileSystem, FsResult, OpenMode};
use crate::journal::file::{self, FileId, JournalFile, JournalKind, JournalNumber};
use crate::journal::{self, Predecessor, Scan, ScanError, Tail, Verdict};

/// From so many bytes of journals on, threads are worth their while.
const SCAN_AHEAD_BYTES: u64 = 32 << 20;
/// Threads that scan one directory's journals at most.
const SCAN_THREADS_MAX: usize = 8;

/// A journal as it was found.
#[derive(Debug)]
pub struct FoundJournal {
    /// The handle; no run counts in it yet.
    pub file: Arc<JournalFile>,
    /// What it holds.
    pub scan: Scan,
    /// What a later OPEN said of it.
    pub judged: Option<Predecessor>,
}

/// A journal that cannot be read now.
#[derive(Clone, Debug)]
pub struct UnreadableJournal {
    /// Where it is.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub reason: String,
}

/// Everything in a directory's journal folder.
#[derive(Debug, Default)]
pub struct FoundJournals {
    /// Oldest first.
    pub journals: Vec<FoundJournal>,
    /// Those that cannot be read now.
    pub unreadable: Vec<UnreadableJournal>,
    /// Why its journals can only be read, where that was found.
    pub unwritable: Option<String>,
    /// Why the folder cannot be listed, where it cannot.
    pub unlistable: Option<String>,
}

impl FoundJournal {
    /// How the journal is told of in the next OPEN.
    #[must_use]
    pub fn as_predecessor(&self) -> Predecessor {
        // An end that was judged once stays (J4).
        if let Some(judged) = &self.judged {
            return judged.clone();
        }
        let (verdict, dropped_bytes) = match (self.scan.damage.is_empty(), self.scan.tail) {
            (false, _) => (Verdict::Damaged, 0),
            (true, Tail::Clean) => (Verdict::Whole, 0),
            (true, Tail::Torn { bytes }) => (Verdict::Dropped, bytes),
        };
        Predecessor {
            journal: self.file.journal,
            file_id: self.scan.file_id,
            end: self.scan.end,
            checksum: self.scan.checksum,
            groups: self.scan.groups,
            verdict,
            dropped_bytes,
        }
    }

    /// Whether the file is whole and the one that its name says: not, where it was damaged, or released and used again while it was
    /// read.
    #[must_use]
    pub fn is_itself(&self) -> bool {
        self.scan.damage.is_empty()
            && self.scan.header.as_ref().is_some_and(|header| header.journal == self.file.journal)
    }

    /// Bytes dropped behind the end, by this recovery or an earlier one.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.judged.as_ref().map_or(0, |judged| judged.dropped_bytes)
    }

    /// Bytes behind the end that nobody has judged yet: torn, or damaged before anything proved them synced.
    #[must_use]
    pub const fn unproven_bytes(&self) -> u64 {
        match self.scan.tail {
            Tail::Torn { bytes } => bytes,
            Tail::Clean => 0,
        }
    }
}

/// Reads every journal below `directory`.
///
/// # Errors
/// The folder holds a journal of a newer format. One that cannot be listed is no error here, but part of the result.
pub fn find(fs: &dyn FileSystem, directory: &Path, writable: bool) -> Result<FoundJournals> {
    let folder = directory.join(file::JOURNAL_FOLDER);
    let entries = match fs.list(&folder) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => return Ok(FoundJournals::default()),
        Err(error) => return Ok(FoundJournals { unlistable: Some(chain(&error)), ..FoundJournals::default() }),
    };
    let mut names: Vec<(JournalNumber, JournalKind)> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter_map(|entry| file::parse_file_name(&entry.name).map(|(kind, journal)| (journal, kind)))
        .collect();
    names.sort_unstable();
    let mode = if writable { OpenMode::ReadWrite } else { OpenMode::Read };
    let mut unwritable = None;
    let opened: Vec<Opened> = names
        .iter()
        .rev()
        .map(|&(journal, kind)| {
            let path = folder.join(file::file_name(kind, journal));
            let open = |mode| fs.open(&path, mode).and_then(|file| Ok((file.len()?, file)));
            let handle = match open(mode) {
                Err(error) if writable && error.is_read_only() => open(OpenMode::Read).inspect(|_| {
                    unwritable = Some(chain(&error));
                }),
                handle => handle,
            };
            Opened { journal, kind, path, handle }
        })
        .collect();
    let mut ahead = scan_ahead(&opened);
    let mut judged: HashMap<FileId, Predecessor> = HashMap::new();
    let mut judged_by_number: HashMap<JournalNumber, Predecessor> = HashMap::new();
    let mut found = FoundJournals { unwritable, ..FoundJournals::default() };
    for (index, Opened { journal, kind, path, handle }) in opened.into_iter().enumerate() {
        let (len, handle) = match handle {
            Ok(opened) => opened,
            Err(error) => {
                found.unreadable.push(UnreadableJournal { path, reason: chain(&error) });
                continue;
            }
        };
        let judged_here = judged_by_number.get(&journal);
        let scan = match (ahead.remove(&index), judged_here) {
            (Some(scan), None) => Ok(scan),
            // What a later OPEN says changes nothing for a whole file that ends where it says.
            (Some(mut scan), Some(judged)) if is_as_judged(&scan, judged) => {
                scan.durable_to = scan.durable_to.max(judged.end);
                Ok(scan)
            }
            (_, judged) => scan_file(&*handle, len, (kind, journal), judged),
        };
        let scan = match scan {
            Ok(scan) => scan,
            Err(ScanError::Newer(error)) => {
                let message = format!("a journal cannot be read: path=`{}`, {error}", path.display());
                return Err(crate::Error::new(crate::ErrorKind::Unsupported, message)
                    .with_hint("use the icecore that wrote it, or a newer one"));
            }
            Err(ScanError::Fs(error)) => {
                found.unreadable.push(UnreadableJournal { path, reason: chain(&error) });
                continue;
            }
        };
        if let Some(open) = &scan.open {
            for before in &open.predecessors {
                judged.entry(before.file_id).or_insert_with(|| before.clone());
                judged_by_number.entry(before.journal).or_insert_with(|| before.clone());
            }
        }
        let file = Arc::new(JournalFile::new(kind, journal, scan.file_id, &path, handle));
        file.finish();
        let judged = (kind == JournalKind::Hot).then(|| judged.get(&scan.file_id).cloned()).flatten();
        found.journals.push(FoundJournal { file, scan, judged });
    }
    found.journals.reverse();
    Ok(found)
}

/// A journal's file, opened or not.
struct Opened {
    journal: JournalNumber,
    kind: JournalKind,
    path: PathBuf,
    handle: FsResult<(u64, Arc<dyn File>)>,
}

/// Scans large journals side by side, as far as that can be done without knowing what later ones say of them. Those that
/// could not be read are left out, to be read again in their turn.
fn scan_ahead(opened: &[Opened]) -> HashMap<usize, Scan> {
    let hot = |(index, opened): (usize, &'_ Opened)| match &opened.handle {
        Ok((len, file)) if opened.kind == JournalKind::Hot => Some((index, *len, Arc::clone(file))),
        _ => None,
    };
    let files: Vec<(usize, u64, Arc<dyn File>)> = opened.iter().enumerate().filter_map(hot).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len()).min(SCAN_THREADS_MAX);
    if threads < 2 || files.iter().map(|(_, len, _)| len).sum::<u64>() < SCAN_AHEAD_BYTES {
        return HashMap::new();
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut scans = Vec::new();
            while let Some((index, _, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                scans.extend(journal::scan(&**file, None).ok().map(|scan| (*index, scan)));
            }
            scans
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

fn is_as_judged(scan: &Scan, judged: &Predecessor) -> bool {
    scan.file_id == judged.file_id
        && scan.damage.is_empty()
        && scan.tail == Tail::Clean
        && (scan.end, scan.checksum) == (judged.end, judged.checksum)
}

/// Reads one journal file of `len` bytes. `judged` is what a later journal's OPEN says of it, if one does.
///
/// # Errors
/// As [`journal::scan()`].
pub fn scan_file(
    file: &dyn File,
    len: u64,
    (kind, journal): (JournalKind, JournalNumber),
    judged: Option<&Predecessor>,
) -> std::result::Result<Scan, ScanError> {
    if kind == JournalKind::Hot {
        return journal::scan(file, judged);
    }
    // Its last block ends in its id, which is needed where the header is damaged.
    let mut file_id = FileId([0; SYNC_BYTES]);
    if let Some(last) = len.checked_sub(SYNC_BYTES as u64) {
        file.read_exact_at(&mut file_id.0, last)?;
    }
    // A cold journal was synced whole before it got its name: all of it counts.
    let whole =
        Predecessor { journal, file_id, end: len, checksum: 0, groups: 0, verdict: Verdict::Whole, dropped_bytes: 0 };
    let mut scan = journal::scan(file, Some(&whole))?;
    if !scan.closed {
        let (offset, bytes) = (scan.end.min(len), len.saturating_sub(scan.end));
        let reason = "a cold journal without its last group".into();
        scan.damage.push(journal::Damage { offset, bytes, reason, lost: Vec::new(), unknown_bytes: bytes });
    }
    Ok(scan)
}
