//! Reads the manifests of an archive in their order.
//!
//! Owns: finding the newest one, fetching, that none is missing and each stands behind the one that it names. Does not own: what they
//! say together ([`state`](super::state)), what can be had where that is not so ([`salvage`](super::salvage)).
//!
//! A chain begins with the first manifest, or **anew** with a checkpoint written behind manifests that could not be read: each head says with
//! which. What stands before that counts no more, whether it is there or not.
//!
//! Requests: one listing for each thousand manifests behind where looking begins, one get for each manifest that is read.

use super::manifest::decode::{Decoder, MANIFEST_BYTES_MAX};
use super::manifest::{Manifest, ManifestHead, ManifestMark, ManifestNumber, PREFIX, decode};
use super::state::{ArchiveState, check_next};
use crate::error::{Error, ErrorKind, Result};
use crate::objects::{ObjectErrorKind, ObjectStore};

/// Manifests up to this length come with one request; longer ones piece by piece.
const PIECE_BYTES: u64 = 4 << 20;
/// Keys asked for at once; what stores give at most.
const PAGE: usize = 1_000;
/// What can be done about a manifest that is damaged or missing.
pub(super) const HINT: &str = "a versioned bucket may still have it as it was; `verify --remote` tells what else is wrong, and \
    `restore --salvage`, or `catalog rebuild --from-archive --salvage`, brings back what can be proven without it";

/// The newest manifest of an archive, read and found right; `None` where there is none. With a `hint`, those behind it are looked for, and it
/// must be there as it was.
///
/// # Errors
/// `Conflict` where the hint's manifest is not there, or another one: the store is not the one that it was, or was set back. As
/// [`read_one`] otherwise; `Corrupt` for a manifest that is missing behind the hint.
pub fn newest(store: &dyn ObjectStore, hint: Option<&ManifestMark>) -> Result<Option<(ManifestHead, ManifestMark)>> {
    let mut last = hint.map(|hint| hint.number);
    let mut expected = last.map_or(ManifestNumber::FIRST, ManifestNumber::next);
    // First and last number of each. What is missing before the beginning of the chain is no matter.
    let mut holes: Vec<(ManifestNumber, ManifestNumber)> = Vec::new();
    list(store, last, &mut |number, _| {
        if number != expected {
            holes.push((expected, number.previous().unwrap_or(expected)));
        }
        (last, expected) = (Some(number), number.next());
        Ok(())
    })?;
    let Some(number) = last else { return Ok(None) };
    let hinted = hint.map(|hint| read_hinted(store, hint)).transpose()?;
    let newest = match hinted {
        Some(hinted) if hinted.head.number == number => hinted,
        _ => read_one(store, number)?.ok_or_else(|| missing(store, number))?,
    };
    let begins = newest.head.begins;
    match holes.iter().find(|(_, last)| *last >= begins) {
        Some((first, _)) => Err(missing(store, begins.max(*first))),
        None => Ok(Some((newest.head, newest.mark))),
    }
}

fn read_hinted(store: &dyn ObjectStore, hint: &ManifestMark) -> Result<Manifest> {
    let found = match read_one(store, hint.number)? {
        Some(found) if found.mark == *hint => return Ok(found),
        found => found,
    };
    let (place, number) = (store.place(), hint.number);
    let what = if found.is_some() { "another one is there" } else { "it is not there" };
    let message = format!(
        "an archive is not the one that it was: store=`{place}`, newest known manifest=`{number}`, what=`{what}`"
    );
    Err(Error::new(ErrorKind::Conflict, message).with_hint(
        "is the url right? was the bucket emptied, or set back? nothing is archived there before that is cleared up",
    ))
}

/// The keys of manifests behind `after`, in order, with their lengths. What lies among them under another name is left out.
pub(super) fn list(
    store: &dyn ObjectStore,
    after: Option<ManifestNumber>,
    visit: &mut dyn FnMut(ManifestNumber, u64) -> Result<()>,
) -> Result<()> {
    let mut after = after.map(|number| number.key().as_str().to_owned());
    loop {
        let page = store.list(PREFIX, after.as_deref(), PAGE)?;
        for listed in &page.objects {
            if let Some(number) = ManifestNumber::parse(&listed.key) {
                visit(number, listed.bytes)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// One manifest; `None` where there is none of this number.
///
/// # Errors
/// `Corrupt`, `Unsupported` for a newer format, or what the store said.
pub fn read_one(store: &dyn ObjectStore, number: ManifestNumber) -> Result<Option<Manifest>> {
    match store.get(&number.key(), PIECE_BYTES) {
        Ok(bytes) => decode(number, &bytes).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.kind == ObjectErrorKind::Invalid => read_long(store, number).map(Some),
        Err(error) => Err(error.into()),
    }
}

fn read_long(store: &dyn ObjectStore, number: ManifestNumber) -> Result<Manifest> {
    let key = number.key();
    let bytes = store.head(&key)?.bytes;
    if bytes > MANIFEST_BYTES_MAX {
        let message =
            format!("a manifest is too long: manifest=`{number}`, bytes=`{bytes}`, limit=`{MANIFEST_BYTES_MAX}`");
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let mut decoder = Decoder::new(number);
    let mut at = 0;
    while at < bytes {
        let piece = (bytes - at).min(PIECE_BYTES);
        decoder.push(&store.get_range(&key, at, usize::try_from(piece).expect("a piece fits memory"))?)?;
        at += piece;
    }
    decoder.finish()
}

pub(super) fn missing(store: &dyn ObjectStore, number: ManifestNumber) -> Error {
    let message = format!("a manifest is missing: store=`{}`, manifest=`{number}`", store.place());
    Error::new(ErrorKind::Corrupt, message).with_hint(HINT)
}

/// Gives the manifests from `from` on (from the first on, where `None`) to `visit`, in order, each checked against the one before. Behind one
/// that cannot be read it goes on where the chain begins anew.
///
/// # Errors
/// `Corrupt` for one that is damaged, missing, or not behind the one before, and no chain begins behind it; `Conflict` for one of another log;
/// all name its number. What `visit` and the store said.
pub fn read(
    store: &dyn ObjectStore,
    from: Option<ManifestNumber>,
    visit: &mut dyn FnMut(Manifest) -> Result<()>,
) -> Result<()> {
    let mut expected = from.unwrap_or(ManifestNumber::FIRST);
    let mut before: Option<(ManifestHead, ManifestMark)> = None;
    // The first that could not be read, until the chain begins anew.
    let mut broken: Option<Error> = None;
    list(store, expected.previous(), &mut |listed, _| {
        if listed != expected {
            broken.get_or_insert_with(|| missing(store, expected));
        }
        expected = listed.next();
        let found = read_one(store, listed).and_then(|found| found.ok_or_else(|| missing(store, listed)));
        let checked = found.and_then(|manifest| {
            if let Some((head, mark)) = before.as_ref().filter(|_| broken.is_none() || manifest.head.begins_anew()) {
                check_next(head, mark, &manifest.head)?;
            }
            Ok(manifest)
        });
        match checked {
            Ok(manifest) if manifest.head.begins_anew() || broken.is_none() => {
                broken = None;
                before = Some((manifest.head.clone(), manifest.mark));
                visit(manifest)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                broken.get_or_insert(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    })?;
    broken.map_or(Ok(()), Err)
}

/// What an archive has: its manifests from the newest checkpoint on. One that is damaged is done without: reading then begins at the
/// checkpoint before. Without any manifest it is empty.
///
/// # Errors
/// As [`read`].
pub fn state(store: &dyn ObjectStore) -> Result<ArchiveState> {
    match newest(store, None)? {
        None => Ok(ArchiveState::new()),
        Some((head, mark)) => state_at(store, &head, &mark),
    }
}

/// What an archive had at one manifest, which is there.
///
/// # Errors
/// As [`read`].
pub fn state_at(store: &dyn ObjectStore, head: &ManifestHead, mark: &ManifestMark) -> Result<ArchiveState> {
    let mut base = head.base;
    loop {
        match read_one(store, base) {
            Ok(Some(checkpoint)) if !checkpoint.head.checkpoint => {
                let message = format!("a manifest should be a checkpoint and is none: manifest=`{base}`");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            Ok(Some(checkpoint)) => return fold(store, checkpoint, mark),
            outcome => {
                let error = outcome.err().unwrap_or_else(|| missing(store, base));
                if error.kind() != ErrorKind::Corrupt {
                    return Err(error);
                }
                // What the chain begins with told what nobody had told before.
                let before = match base.previous().filter(|_| base != head.begins) {
                    Some(before) => read_one(store, before)?,
                    None => None,
                };
                let Some(before) = before else { return Err(error) };
                tracing::warn!(manifest = %base, %error, "a checkpoint cannot be read; the one before it is used");
                base = before.head.base;
            }
        }
    }
}

/// Reads on from a checkpoint, up to the manifest `until`.
fn fold(store: &dyn ObjectStore, checkpoint: Manifest, until: &ManifestMark) -> Result<ArchiveState> {
    let mut number = checkpoint.head.number;
    let mut state = ArchiveState::new();
    state.apply(checkpoint)?;
    // A checkpoint that could not be read, until the one behind it tells which bytes it had.
    let mut skipped: Option<Error> = None;
    while number < until.number {
        number = number.next();
        let manifest = match read_one(store, number).and_then(|found| found.ok_or_else(|| missing(store, number))) {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == ErrorKind::Corrupt && skipped.is_none() && number < until.number => {
                skipped = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(error) = skipped.take() {
            let head = &manifest.head;
            // Only a checkpoint told nothing new; that it was one is told by the one behind it.
            let before = number.previous().filter(|before| head.base == *before && head.begins != *before);
            let (Some(number), Some(sha256)) = (before, head.previous) else { return Err(error) };
            state.skip_checkpoint(ManifestMark { number, epoch: head.epoch, writer: head.writer, sha256 });
        }
        state.apply(manifest)?;
    }
    match state.mark() {
        Some(mark) if mark == until => Ok(state),
        _ => {
            let message = format!("a manifest is not the one that it was: manifest=`{}`", until.number);
            Err(Error::new(ErrorKind::Corrupt, message).with_hint(HINT))
        }
    }
}

#[cfg(test)]
mod tests;
