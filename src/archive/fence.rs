//! Who may write the next manifest (O2).
//!
//! Owns: taking an archive over, writing manifests, noticing that somebody else took it over. Does not own: what is written.
//!
//! A manifest is created under the next number, by a store that never replaces an object: of all who try, one succeeds. Who takes an archive over
//! creates a manifest of a higher epoch, which says nothing. From then on the number that the writer before tries next is taken by a manifest
//! that is not its own: it is fenced, until an operator says otherwise. What it put into the store besides manifests counts for nothing, as no manifest names it.
//!
//! # Whatever a store answers
//!
//! A put that failed, in whatever way, may have happened, may happen later (a request that still travels), or not. So nothing is concluded from
//! the failure: what is under the number is looked at, and where nothing is there, the number is tried again, never the next one. So the chain
//! has no holes, and of all tries under one number the store keeps one. Who finds a manifest of its own there, of a try that it gave up, counts it.
//!
//! # Who was fenced stays so
//!
//! Two machines that are configured alike would take the archive from each other for ever, at each start. So who was fenced needs an operator's word
//! ([`take_over`](super::ArchiverOptions::take_over)), also when it is started anew: the catalog's value `archive.fenced` keeps by whom. And a machine
//! that was away while another one took over, and noticed nothing, needs it too: it finds that the newest manifest is of a writer that it
//! never was. `archiver::claims` decides that:
//!
//! - **Which writers it was** is in the catalog's value `archive.claims`: an id is drawn for each claim, and is durable there *before* the first
//!   request that has it leaves. A crash behind a claim, an answer that was lost, a put that came late: whatever of ours is in the archive
//!   has an id that is on record. Were it noted behind the claim, `kill -9` between the two would make us strangers to ourselves.
//! - Once a claim is noted, earlier ids are forgotten. Their processes are gone, or their claims are; a late request of theirs is for a number that is
//!   taken by now, and is refused.
//! - **No claim noted, no judgement**: a log that never archived there itself takes over without a word. So does one that was restored onto a new
//!   machine, whose catalog is made new from manifests, and one whose catalog was rebuilt: the first start of a second machine
//!   takes over with a higher epoch, and fences the first. That is what the machine before wants that is to be replaced.
//! - **An older copy of the catalog** that was put back (C3) does not know the writers that this log was since. The opening finds
//!   that it is old, by journals, and notes the epoch ([`CHANGES_SINCE_EPOCH`](crate::log::recover::CHANGES_SINCE_EPOCH)): claims before that prove
//!   nothing, and it takes over without a word.
//! - A whole machine that was put back to an earlier day (disks and catalog), or a copy of its disks that is older than its last claim, looks exactly as
//!   one that was away. It needs the word, which is right: its records behind that day are other ones than those that the archive has. A copy that is as
//!   new as the last claim takes over without: all that is in the archive is in it.
//!
//! # Checkpoints
//!
//! One is written behind a manifest when reading everything since the last one costs more than reading it ([`is_due`]). It is a manifest like
//! any other, and tells nothing new: a crash before it leaves an archive that takes longer to read, and whoever commits next writes it, because the
//! heads of the manifests say that it is due. A checkpoint that cannot be written makes no commit fail.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::chain;
use super::checkpoint::Checkpoint;
use super::manifest::{
    Entry, FORMAT, LINE_BYTES_MAX, Manifest, ManifestHead, ManifestMark, ManifestNumber, WriterId, encode,
};
use super::state::{ArchiveState, check_next};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::{ObjectStore, Put, Upload};
use crate::types::{Epoch, LogId, Timestamp};

/// What who is fenced can do.
pub const TAKE_OVER: &str =
    "only one machine may archive to a place: stop the other one, then say `archive --take-over` on this one";

/// The most bytes of one manifest that is no checkpoint.
pub const DELTA_BYTES_MAX: usize = 64 << 20;
/// A checkpoint stands behind so many manifests at the earliest.
const MANIFESTS_MIN: u64 = 256;
/// What fetching a manifest costs, in entries that could be read instead.
const ENTRIES_PER_GET: u64 = 128;
/// How often others may be first before we give up.
const RACES_MAX: usize = 100;

/// Whether a checkpoint should be written behind the manifest with this head.
#[must_use]
pub const fn is_due(head: &ManifestHead) -> bool {
    let manifests = head.manifests_since();
    let cost = head.entries_since.saturating_add(manifests.saturating_mul(ENTRIES_PER_GET));
    manifests >= MANIFESTS_MIN && cost >= head.base_entries
}

/// Who took an archive over, as its first manifest says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FencedBy {
    /// That manifest.
    pub manifest: ManifestNumber,
    /// Its epoch.
    pub epoch: Epoch,
    /// Who wrote it.
    pub writer: WriterId,
    /// When, by the clock there.
    pub at: Timestamp,
}

impl FencedBy {
    /// By the head of a manifest that is not ours.
    #[must_use]
    pub const fn of(head: &ManifestHead) -> Self {
        Self { manifest: head.number, epoch: head.epoch, writer: head.writer, at: head.at }
    }

    /// The error of who writes there no more.
    #[must_use]
    pub fn error(&self, place: &str) -> Error {
        let Self { manifest, epoch, writer, at } = self;
        let message = format!(
            "another writer took the archive over: store=`{place}`, manifest=`{manifest}`, its epoch=`{epoch}`, its writer=`{writer}`, at=`{at}`"
        );
        Error::new(ErrorKind::Fenced, message).with_hint(TAKE_OVER)
    }
}

/// How to take an archive over.
pub struct Taking<'a> {
    /// Whose archive it must be.
    pub log: LogId,
    /// The lowest epoch of the new manifests.
    pub epoch: Epoch,
    /// Who writes: an id that nobody else ever has.
    pub writer: WriterId,
    /// The newest manifest that is known.
    pub hint: Option<ManifestMark>,
    /// How long the store is to refuse to delete each manifest.
    pub retain: Option<Duration>,
    /// Whether one may be written behind the manifest with this head. Asked of the newest one before each try.
    pub may_follow: &'a dyn Fn(&ManifestHead) -> Result<()>,
}

/// The right to write an archive's manifests, until somebody else takes it.
#[derive(Debug)]
pub struct Claim {
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    writer: WriterId,
    newest: (ManifestHead, ManifestMark),
    /// How long the store is to refuse to delete a manifest.
    retain: Option<Duration>,
    fenced: OnceLock<FencedBy>,
    /// Before this number no checkpoint is tried: one failed.
    no_checkpoint_before: ManifestNumber,
}

impl Claim {
    /// Takes an archive over: creates its next manifest, with an epoch above all before it, and not below `epoch`. Where there is no archive
    /// one begins. `hint` is the newest manifest that is known.
    ///
    /// # Errors
    /// `Conflict` where it is another log's archive, or not the one of `hint` ([`chain::newest`]); `Unavailable` where others are always first;
    /// `Corrupt` where its newest manifest is damaged; what the store said. Nothing is concluded from a failure; it can be called again.
    pub fn take(
        store: Arc<dyn ObjectStore>,
        log: LogId,
        epoch: Epoch,
        clock: Arc<dyn Clock>,
        hint: Option<ManifestMark>,
    ) -> Result<Self> {
        Self::take_retained(store, log, epoch, clock, hint, None)
    }

    /// As [`take`](Self::take); the store is to refuse to delete each manifest of ours for so long.
    ///
    /// # Errors
    /// As there; `Unsupported` where the store cannot.
    pub fn take_retained(
        store: Arc<dyn ObjectStore>,
        log: LogId,
        epoch: Epoch,
        clock: Arc<dyn Clock>,
        hint: Option<ManifestMark>,
        retain: Option<Duration>,
    ) -> Result<Self> {
        let writer = WriterId(clock.random());
        Self::take_with(store, clock, Taking { log, epoch, writer, hint, retain, may_follow: &|_| Ok(()) })
    }

    /// As [`take`](Self::take), with everything said.
    ///
    /// # Errors
    /// As there; `Unsupported` where the store cannot retain; what `may_follow` said.
    pub fn take_with(store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, taking: Taking<'_>) -> Result<Self> {
        let Taking { log, epoch, writer, mut hint, retain, may_follow } = taking;
        for _ in 0..RACES_MAX {
            let before = chain::newest(&*store, hint.as_ref())?;
            if let Some((head, _)) = &before {
                if head.log != log {
                    return Err(other_log(&*store, head, log));
                }
                may_follow(head)?;
            }
            hint = before.as_ref().map(|(_, mark)| *mark).or(hint);
            let epoch = before.as_ref().map_or(epoch, |(head, _)| epoch.max(head.epoch.next()));
            let head = match &before {
                Some((before, mark)) => next(before, mark, epoch, writer, clock.now(), 0),
                None => first(log, epoch, writer, clock.now()),
            };
            let (bytes, mark) = encode(&head, &[]);
            let bytes = Bytes::from(bytes);
            let upload = retained(Upload::of_bytes(&bytes), &*clock, retain);
            match store.put_if_absent(&head.number.key(), &upload) {
                Ok(Put::Created | Put::SameThere) => {
                    return Ok(Self::new(store, clock, writer, (head, mark), retain));
                }
                Ok(Put::OtherThere) => {}
                Err(error) => match chain::read_one(&*store, head.number) {
                    // It did happen.
                    Ok(Some(found)) if found.mark == mark => {
                        return Ok(Self::new(store, clock, writer, (head, mark), retain));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Err(error.into()),
                },
            }
        }
        let message = format!("others always write the next manifest first: store=`{}`", store.place());
        Err(Error::new(ErrorKind::Unavailable, message).with_hint("does another machine archive to the same place?"))
    }

    /// Begins the chain anew with a checkpoint of `state`, under a number behind all that were ever listed
    /// ([`salvage::anew`](super::salvage::anew)).
    ///
    /// # Errors
    /// `Unavailable` where somebody else wrote a manifest under this number; what the store said. It can be called again.
    pub(super) fn anew(
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        (log, number, epoch, writer): (LogId, ManifestNumber, Epoch, WriterId),
        retain: Option<Duration>,
        state: &ArchiveState,
    ) -> Result<Self> {
        let mut head = first(log, epoch, writer, clock.now());
        (head.number, head.base, head.begins) = (number, number, number);
        let checkpoint = Checkpoint::new(state, &mut head);
        let mark = checkpoint.mark(&head);
        let upload = retained(checkpoint.upload(), &*clock, retain);
        match store.put_if_absent(&number.key(), &upload) {
            Ok(Put::Created | Put::SameThere) => {}
            Ok(Put::OtherThere) => {
                let message =
                    format!("somebody else wrote the manifest first: store=`{}`, manifest=`{number}`", store.place());
                return Err(Error::new(ErrorKind::Unavailable, message)
                    .with_hint("does another machine archive to the same place?"));
            }
            // Did it happen?
            Err(error) => match chain::read_one(&*store, number) {
                Ok(Some(found)) if found.mark == mark => {}
                _ => return Err(error.into()),
            },
        }
        Ok(Self::new(store, clock, writer, (head, mark), retain))
    }

    const fn new(
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        writer: WriterId,
        newest: (ManifestHead, ManifestMark),
        retain: Option<Duration>,
    ) -> Self {
        Self { store, clock, writer, newest, retain, fenced: OnceLock::new(), no_checkpoint_before: ManifestNumber(0) }
    }

    /// The newest manifest that is known to be ours.
    #[must_use]
    pub const fn newest(&self) -> &ManifestMark {
        &self.newest.1
    }

    /// The epoch of our manifests.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.newest.0.epoch
    }

    /// Who we are.
    #[must_use]
    pub const fn writer(&self) -> WriterId {
        self.writer
    }

    /// Who took the archive over, once that was seen.
    #[must_use]
    pub fn fenced_by(&self) -> Option<&FencedBy> {
        self.fenced.get()
    }

    /// Makes `entries` count: writes them as the next manifest, and returns the one that has them. Without entries it writes nothing, and
    /// says whether the archive is still ours.
    ///
    /// # Errors
    /// `Fenced`, for good, once somebody else took the archive over: nothing of `entries` counts, unless an earlier call with the same told of
    /// an unknown outcome. `Invalid` for more than one manifest can have. What the store said: then `entries` may count or
    /// not; call again, with these or others.
    pub fn commit(&mut self, entries: Vec<Entry>) -> Result<ManifestMark> {
        if entries.is_empty() {
            self.catch_up(&[])?;
            return Ok(self.newest.1);
        }
        self.must_not_be_fenced()?;
        for tries in 0.. {
            if tries == RACES_MAX {
                // It takes no manifest, and shows none.
                let (place, number) = (self.store.place(), self.newest.0.number.next());
                let message = format!(
                    "a store says that a manifest is there, and shows none: store=`{place}`, manifest=`{number}`"
                );
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            let count = entries.len() as u64;
            let (before, mark) = &self.newest;
            let head = next(before, mark, before.epoch, self.writer, self.clock.now(), count);
            let (bytes, mark) = encode(&head, &entries);
            if bytes.len() > DELTA_BYTES_MAX {
                return Err(too_many(bytes.len()));
            }
            check_lines(&bytes)?;
            let bytes = Bytes::from(bytes);
            let upload = retained(Upload::of_bytes(&bytes), &*self.clock, self.retain);
            match self.store.put_if_absent(&head.number.key(), &upload) {
                Ok(Put::Created | Put::SameThere) => {
                    self.newest = (head, mark);
                    break;
                }
                // Ours, of a try that was given up, or another's. Where it is ours and not this, the next number is tried.
                Ok(Put::OtherThere) => {
                    if self.catch_up(&entries)? {
                        break;
                    }
                }
                Err(error) => match self.catch_up(&entries) {
                    Ok(true) => break,
                    Err(fenced) if fenced.kind() == ErrorKind::Fenced => return Err(fenced),
                    Ok(false) | Err(_) => return Err(error.into()),
                },
            }
        }
        let mark = self.newest.1;
        self.checkpoint_if_due();
        Ok(mark)
    }

    /// Looks whether somebody else took the archive over.
    ///
    /// # Errors
    /// `Fenced`, for good; what the store said, which tells nothing.
    pub fn still_ours(&self) -> Result<()> {
        self.must_not_be_fenced()?;
        let (mut head, mut mark) = (self.newest.0.clone(), self.newest.1);
        while let Some(found) = self.behind(&head, &mark)? {
            (head, mark) = (found.head, found.mark);
        }
        Ok(())
    }

    /// Takes in manifests of ours behind the newest one known: tries that were given up. Whether one of them has exactly `entries`.
    fn catch_up(&mut self, entries: &[Entry]) -> Result<bool> {
        self.must_not_be_fenced()?;
        let mut has_them = false;
        while let Some(found) = self.behind(&self.newest.0, &self.newest.1)? {
            has_them |= !found.head.checkpoint && found.entries == entries;
            self.newest = (found.head, found.mark);
        }
        Ok(has_them)
    }

    /// The manifest behind one of ours, which is ours; `None` where there is none.
    fn behind(&self, head: &ManifestHead, mark: &ManifestMark) -> Result<Option<Manifest>> {
        let Some(found) = chain::read_one(&*self.store, head.number.next())? else { return Ok(None) };
        let is_anew = found.head.log == head.log && found.head.begins > head.begins && found.head.epoch > head.epoch;
        // A chain that begins anew may do so with an older number, where manifests of ours could not be read.
        if !is_anew {
            check_next(head, mark, &found.head)?;
        }
        if found.head.writer != self.writer {
            let _ = self.fenced.set(FencedBy::of(&found.head));
            self.must_not_be_fenced()?;
        }
        Ok(Some(found))
    }

    fn must_not_be_fenced(&self) -> Result<()> {
        self.fenced.get().map_or(Ok(()), |by| Err(by.error(&self.store.place())))
    }

    fn checkpoint_if_due(&mut self) {
        let number = self.newest.0.number;
        if !is_due(&self.newest.0) || number < self.no_checkpoint_before {
            return;
        }
        if let Err(error) = self.checkpoint() {
            // Not at each commit: it reads all since the last one.
            self.no_checkpoint_before = ManifestNumber(number.0 + MANIFESTS_MIN / 4);
            tracing::warn!(store = self.store.place(), manifest = %number, %error, "a checkpoint could not be written");
        }
    }

    /// Writes a checkpoint now. It fetches and folds all manifests since the last one.
    ///
    /// # Errors
    /// `Corrupt` where manifests since the last checkpoint are damaged, or say things against each other, which a checkpoint must not hide;
    /// as [`commit`](Self::commit) otherwise.
    pub fn checkpoint(&mut self) -> Result<ManifestMark> {
        self.must_not_be_fenced()?;
        let (before, mark) = &self.newest;
        let state = chain::state_at(&*self.store, before, mark)?;
        if let Some(problem) = state.problems().first() {
            let message = format!("manifests say things against each other: store=`{}`, {problem}", self.store.place());
            return Err(Error::new(ErrorKind::Corrupt, message).with_hint("`verify --remote` tells all"));
        }
        let mut head = next(before, mark, before.epoch, self.writer, self.clock.now(), 0);
        (head.checkpoint, head.base, head.entries_since) = (true, head.number, 0);
        let checkpoint = Checkpoint::new(&state, &mut head);
        let mark = checkpoint.mark(&head);
        let upload = retained(checkpoint.upload(), &*self.clock, self.retain);
        match self.store.put_if_absent(&head.number.key(), &upload) {
            Ok(Put::Created | Put::SameThere) => {
                self.newest = (head, mark);
                Ok(mark)
            }
            // Somebody else's: we are fenced. Ours, of a try that was given up: it may be a commit or a checkpoint, and is taken in.
            Ok(Put::OtherThere) => self.catch_up(&[]).map(|_| self.newest.1),
            Err(error) => match self.catch_up(&[]) {
                Ok(_) if self.newest.1 == mark => Ok(mark),
                Err(fenced) if fenced.kind() == ErrorKind::Fenced => Err(fenced),
                Ok(_) | Err(_) => Err(error.into()),
            },
        }
    }
}

fn retained<'a>(upload: Upload<'a>, clock: &dyn Clock, retain: Option<Duration>) -> Upload<'a> {
    Upload { retain_until: retain.map(|span| clock.now().saturating_add(span)), ..upload }
}

fn first(log: LogId, epoch: Epoch, writer: WriterId, at: Timestamp) -> ManifestHead {
    ManifestHead {
        format: FORMAT,
        log,
        number: ManifestNumber::FIRST,
        epoch,
        writer,
        begins: ManifestNumber::FIRST,
        previous: None,
        at,
        checkpoint: true,
        base: ManifestNumber::FIRST,
        base_entries: 0,
        entries_since: 0,
    }
}

fn next(
    before: &ManifestHead,
    mark: &ManifestMark,
    epoch: Epoch,
    writer: WriterId,
    at: Timestamp,
    entries: u64,
) -> ManifestHead {
    ManifestHead {
        number: before.number.next(),
        epoch,
        writer,
        previous: Some(mark.sha256),
        at,
        checkpoint: false,
        entries_since: before.entries_since + entries,
        ..before.clone()
    }
}

/// A line that nobody reads back must not be written.
fn check_lines(bytes: &[u8]) -> Result<()> {
    let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
    if longest < LINE_BYTES_MAX {
        return Ok(());
    }
    let message =
        format!("settings or a text are too long for a manifest: bytes=`{longest}`, limit=`{LINE_BYTES_MAX}`");
    Err(Error::new(ErrorKind::Invalid, message))
}

fn too_many(bytes: usize) -> Error {
    let message = format!("too much for one manifest: bytes=`{bytes}`, limit=`{DELTA_BYTES_MAX}`");
    Error::new(ErrorKind::Invalid, message)
}

fn other_log(store: &dyn ObjectStore, head: &ManifestHead, log: LogId) -> Error {
    let (place, theirs) = (store.place(), head.log);
    let message = format!("the archive is of another log: store=`{place}`, its log=`{theirs}`, this log=`{log}`");
    Error::new(ErrorKind::Conflict, message).with_hint("give each log an archive of its own: another prefix of the url")
}

#[cfg(test)]
mod tests;
