//! Does what an examination decided.
//!
//! Owns: the order in which rows and files change. Every step can be repeated: a crash leaves the rest to be decided again.
//!
//! - Adopt: only a row is added, and in the same transaction `sealed_through` raised and a loss that it fills recovered. Before, the
//!   file is there and whole, and its records are still in the journals, or on record as lost.
//! - Adopt what a compaction made, of which an older copy of the catalog does not know: in the same transaction the rows of what it was made
//!   from become Replaced. Then their files go, where some are still there. A crash between leaves files that their rows do not want.
//! - Relocate, put back: the file and its name are synced, then one transaction changes the row (its directory, its status, its loss). A
//!   crash before it decides the same again; one behind it leaves a damaged file in the old place, which is then a copy with other
//!   bytes, and is set aside as one.
//! - Set aside: the file moves to the quarantine. No row names it: it is damaged, or another segment has its records. Last of all, behind
//!   the losses: its name may be all that tells of its sequences.
//! - Quarantine, read from the archive: the file moves first, then the row. A crash between leaves a row whose file is absent, of which
//!   the same is decided. The other order would leave a damaged file under a row that does not want it, to be removed unseen.
//! - Remove a copy: last of what is done for its segment, and after the file that stays was read whole and synced, with its name: a power
//!   cut may take neither. A crash before leaves the copy, which is decided again.
//! - Remove: the row says already that the file is not wanted.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journals::FoundJournal;
use super::segments::{SegmentFinding, recovered};
use super::table::{Action, FileState};
use super::{COMPONENT, Examination, Standing};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::Result;
use crate::fs::{FileSystem, OpenMode, durable};
use crate::journal::JournalKind;
use crate::log::identity;
use crate::segment::{self, SegmentReader};
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

/// Mutations given to the catalog at once.
const GROUP: usize = 1000;
/// Pieces in which parts of a journal are copied.
const COPY_BYTES: usize = 1 << 20;

/// What acting needs.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where files are.
    pub fs: &'a dyn FileSystem,
    /// Ids and paths.
    pub directories: &'a [(String, PathBuf)],
    /// Which of them are written to. In others nothing is done: it is decided again when they are.
    pub writable: &'a [bool],
    /// The catalog.
    pub catalog: &'a dyn Catalog,
    /// This opening.
    pub epoch: Epoch,
    /// Now.
    pub now: Timestamp,
    /// Which directory did not take what had to be written, where that is why acting failed.
    pub at: &'a Cell<Option<usize>>,
}

impl Context<'_> {
    /// Notes which directory it was, where a file operation failed.
    fn in_directory<T>(&self, index: usize, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| {
            if std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>) {
                self.at.set(Some(index));
            }
        })
    }
}

/// Does it.
///
/// # Errors
/// The catalog or the disk refuses something that cannot be done without.
pub fn act(context: &Context<'_>, examination: &mut Examination) -> Result<()> {
    sync_journals(context, examination)?;
    act_on_segments(context, examination, |action| action != Action::SetAside)?;
    set_tails_aside(context, examination);
    note_collections(context, examination)?;
    // Last: a file's name may be all that tells of sequences that were there. Before they are on record as lost, it stays.
    act_on_segments(context, examination, |action| action == Action::SetAside)
}

fn act_on_segments(context: &Context<'_>, examination: &Examination, chosen: impl Fn(Action) -> bool) -> Result<()> {
    for finding in examination.segments.findings.iter().filter(|finding| chosen(finding.action)) {
        if !context.writable[finding.directory] {
            continue;
        }
        let standing = examination.standings.get(&finding.key.collection);
        let replaced = |replaced: &&SegmentFinding| {
            replaced.action == Action::Replace
                && replaced.beside.as_ref().is_some_and(|(directory, path)| {
                    (*directory, path) == (finding.directory, &finding.path) && finding.action == Action::Adopt
                })
        };
        // Few: a compaction is adopted after an older copy of the catalog was put back, and never else.
        let is_compacted = finding.action == Action::Adopt && finding.key.generation > Generation(0);
        let inputs: Vec<_> = match is_compacted {
            true => examination.segments.findings.iter().filter(replaced).collect(),
            false => Vec::new(),
        };
        context.in_directory(finding.directory, act_on_segment(context, finding, standing, &inputs))?;
    }
    Ok(())
}

/// What a killed process wrote may be in the page cache only; before it counts, it is synced. A power cut later could
/// otherwise take what was judged to be there (J4).
///
/// And it is written again before, as it is: where the process ended because of a failed sync, the system may show bytes
/// that it gave up writing, and say "good" to any later sync.
fn sync_journals(context: &Context<'_>, examination: &Examination) -> Result<()> {
    let journals = examination.journals.iter().enumerate();
    for (index, journal) in
        journals.flat_map(|(index, found)| found.journals.iter().map(move |journal| (index, journal)))
    {
        if !context.writable[index] {
            // Its collections move to another directory, with what it holds of them: there it is synced.
            continue;
        }
        if journal.judged.is_none() && journal.file.kind == JournalKind::Hot {
            context.in_directory(index, write_unproven_again(journal))?;
        }
        context.in_directory(index, journal.file.file().sync_data().map_err(Into::into))?;
        if !journal.scan.damage.is_empty() {
            journal.file.note_damage();
        }
    }
    Ok(())
}

/// The groups that count though nothing proves them synced: what lies from D to the end (J5).
fn write_unproven_again(journal: &FoundJournal) -> Result<()> {
    let file = journal.file.file();
    let mut at = journal.scan.durable_to;
    let mut piece = Vec::new();
    while at < journal.scan.end {
        piece.resize(usize::try_from(journal.scan.end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES), 0);
        file.read_exact_at(&mut piece, at)?;
        file.write_all_at(&piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// `standing`: how far segments reach, those without a row included, and what is missing between them.
/// And of a file that is adopted: the rows that it takes the place of.
fn act_on_segment(
    context: &Context<'_>,
    finding: &SegmentFinding,
    standing: Option<&Standing>,
    inputs: &[&SegmentFinding],
) -> Result<()> {
    let transition = |from, to| Mutation::Transition { key: finding.key.clone(), from, to, archive_key: None };
    let apply = |mutations: &[Mutation]| {
        context.catalog.apply(mutations, context.now, &format!("recovery: {}", finding.action.label()))
    };
    tracing::info!(action = finding.action.label(), path = %finding.path.display(), reason = finding.reason, "recovery");
    let status = finding.row.as_ref().map(|row| row.status);
    match finding.action {
        // A row is replaced where its file's successor is adopted.
        Action::Keep | Action::Nothing | Action::Report | Action::Replace => {}
        Action::Adopt => {
            let mut mutations: Vec<Mutation> = inputs.iter().flat_map(|input| to_replaced(input)).collect();
            mutations.push(Mutation::InsertSegment(adopted_row(context, finding)?));
            // In one step, as when sealing: between the two, the journals' copies would count beside the segment.
            let (collection, sequence) = (finding.key.collection.clone(), finding.key.last);
            let on_record = context.catalog.collection(&collection)?.map_or(Sequence(0), |row| row.sealed_through);
            let sealed_through = standing.map_or(Sequence(0), |standing| standing.known.sealed_through);
            if (on_record.next()..=sealed_through).contains(&sequence) {
                // With what is missing before it: behind `sealed_through` nobody looks for it again.
                let holes = standing.iter().flat_map(|standing| &standing.holes);
                for &(first, last) in holes.filter(|hole| on_record < hole.0 && hole.1 < finding.key.first) {
                    mutations.push(Mutation::RecordLoss { collection: collection.clone(), first, last });
                }
                mutations.push(Mutation::RaiseSealedThrough { collection: collection.clone(), sequence });
            }
            mutations.extend(recovered(&mut context.catalog.losses(Some(&collection))?, &finding.key));
            apply(&mutations)?;
            for input in inputs.iter().filter(|input| context.writable[input.directory]) {
                match input.file {
                    FileState::Damaged => set_aside(context, input.directory, &input.path)?,
                    _ => remove(context.fs, &input.path)?,
                }
            }
        }
        Action::Relocate => {
            sync_file(context.fs, &finding.path)?;
            let mut mutations = Vec::new();
            if status == Some(SegmentStatus::Archiving) {
                mutations.push(transition(SegmentStatus::Archiving, SegmentStatus::Sealed));
            }
            mutations.extend(relocation(context, finding));
            apply(&mutations)?;
            set_beside_aside(context, finding)?;
        }
        Action::PutBack => {
            sync_file(context.fs, &finding.path)?;
            let mut mutations: Vec<Mutation> = relocation(context, finding).into_iter().collect();
            mutations.push(transition(SegmentStatus::Quarantined, SegmentStatus::Sealed));
            mutations.extend(recovered(&mut context.catalog.losses(Some(&finding.key.collection))?, &finding.key));
            apply(&mutations)?;
            set_beside_aside(context, finding)?;
        }
        Action::SetAside => set_aside(context, finding.directory, &finding.path)?,
        Action::BackToSealed => {
            apply(&[transition(SegmentStatus::Archiving, SegmentStatus::Sealed)])?;
        }
        Action::ReadFromArchive => {
            set_aside(context, finding.directory, &finding.path)?;
            apply(&to_evicted(status, transition))?;
        }
        Action::Quarantine => {
            let mut mutations = Vec::new();
            if status == Some(SegmentStatus::Archiving) {
                mutations.push(transition(SegmentStatus::Archiving, SegmentStatus::Sealed));
            }
            let from =
                if status == Some(SegmentStatus::Archived) { SegmentStatus::Archived } else { SegmentStatus::Sealed };
            mutations.push(transition(from, SegmentStatus::Quarantined));
            let SegmentKey { collection, first, last, .. } = finding.key.clone();
            let on_record = context.catalog.losses(Some(&collection))?;
            if !on_record.iter().any(|loss| (loss.first, loss.last) == (first, last)) {
                mutations.push(Mutation::RecordLoss { collection, first, last });
            }
            set_aside(context, finding.directory, &finding.path)?;
            apply(&mutations)?;
        }
        Action::RemoveCopy => {
            if let Some((directory, kept)) = &finding.beside {
                // One that stays where nothing can be made durable is no reason to remove another.
                if !context.writable[*directory] {
                    return Ok(());
                }
                context.in_directory(*directory, sync_file(context.fs, kept))?;
            }
            remove(context.fs, &finding.path)?;
        }
        Action::RemoveFile => remove(context.fs, &finding.path)?,
        Action::FinishPurge => {
            remove(context.fs, &finding.path)?;
            if finding.row.as_ref().is_some_and(|row| row.archive_key.is_none()) {
                apply(&[transition(SegmentStatus::Purging, SegmentStatus::Purged)])?;
            }
        }
    }
    Ok(())
}

/// A file that somebody copied here may be in the page cache only, and so may its name.
fn sync_file(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    fs.open(path, OpenMode::Read)?.sync_all()?;
    Ok(durable::sync_parent(fs, path)?)
}

/// The row names the directory of the finding's file, where it does not yet.
fn relocation(context: &Context<'_>, finding: &SegmentFinding) -> Option<Mutation> {
    let from = finding.row.as_ref()?.directory.clone();
    let to = context.directories[finding.directory].0.clone();
    (from != to).then(|| Mutation::RelocateSegment { key: finding.key.clone(), from, to })
}

fn set_beside_aside(context: &Context<'_>, finding: &SegmentFinding) -> Result<()> {
    match &finding.beside {
        // Elsewhere it is a copy with other bytes, when it can be written to again.
        Some((directory, path)) if context.writable[*directory] => set_aside(context, *directory, path),
        _ => Ok(()),
    }
}

fn to_evicted(
    status: Option<SegmentStatus>,
    transition: impl Fn(SegmentStatus, SegmentStatus) -> Mutation,
) -> Vec<Mutation> {
    use SegmentStatus::{Archived, Archiving, Evicted, Quarantined, Sealed};
    match status {
        Some(Archived) => vec![transition(Archived, Evicted)],
        Some(Archiving) => {
            vec![transition(Archiving, Sealed), transition(Sealed, Quarantined), transition(Quarantined, Evicted)]
        }
        _ => vec![transition(Sealed, Quarantined), transition(Quarantined, Evicted)],
    }
}

/// What takes a live row to Replaced: compaction had it as Sealed.
fn to_replaced(input: &SegmentFinding) -> Vec<Mutation> {
    use SegmentStatus::{Archived, Archiving, Evicted, Replaced, Sealed};
    let steps: &[SegmentStatus] = match input.row.as_ref().map(|row| row.status) {
        Some(Sealed) => &[Sealed, Replaced],
        Some(Archiving) => &[Archiving, Sealed, Replaced],
        Some(Archived) => &[Archived, Sealed, Replaced],
        Some(Evicted) => &[Evicted, Archived, Sealed, Replaced],
        _ => &[],
    };
    let step = |step: &[SegmentStatus]| Mutation::Transition {
        key: input.key.clone(),
        from: step[0],
        to: step[1],
        archive_key: None,
    };
    steps.windows(2).map(step).collect()
}

fn adopted_row(context: &Context<'_>, finding: &SegmentFinding) -> Result<SegmentRow> {
    row_of_file(context.fs, &context.directories[finding.directory].0, &finding.path)
}

/// The row of a segment's file that lies in the directory `id`; reads all of it. File and name are durable afterwards.
pub(in crate::log) fn row_of_file(fs: &dyn FileSystem, id: &str, path: &Path) -> Result<SegmentRow> {
    let file = fs.open(path, OpenMode::Read)?;
    let source = Arc::new(segment::FileRange(Arc::clone(&file)));
    let sha256 = segment::file_sha256(&*source)?;
    let bytes = file.len()?;
    // The name may not be durable yet: the rename is older than the crash, its sync maybe not.
    file.sync_all()?;
    durable::sync_parent(fs, path)?;
    let reader = SegmentReader::open(file)?;
    Ok(crate::log::seal::row(id, reader.footer(), bytes, sha256))
}

fn remove(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    match durable::remove(fs, path) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => Ok(removed?),
    }
}

/// Moves a file to its directory's quarantine, under a name that tells where it was; absent is fine.
///
/// # Errors
/// What the system said; the file is where it was.
pub fn set_aside(context: &Context<'_>, directory: usize, path: &Path) -> Result<()> {
    let root = &context.directories[directory].1;
    let quarantine = root.join(identity::FOLDER).join("quarantine");
    durable::create_dir_all(context.fs, &quarantine)?;
    let flat = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace(['/', '\\'], "+");
    for number in 0..1000 {
        let name = if number == 0 { flat.clone() } else { format!("{flat}.{number}") };
        match context.fs.rename_new(path, &quarantine.join(name)) {
            Ok(()) => {
                context.fs.sync_dir(&quarantine)?;
                return Ok(durable::sync_parent(context.fs, path)?);
            }
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(crate::Error::new(crate::ErrorKind::Conflict, format!("the quarantine is full of `{flat}`")))
}

/// Copies dropped tails to the quarantine, as far as there is room: evidence, not needed to go on.
fn set_tails_aside(context: &Context<'_>, examination: &Examination) {
    for (directory, found) in examination.journals.iter().enumerate() {
        for journal in &found.journals {
            let bytes = journal.unproven_bytes();
            if bytes == 0 || journal.judged.is_some() || !context.writable[directory] {
                continue;
            }
            if let Err(error) = copy_tail(context, directory, journal, bytes) {
                tracing::warn!(%error, path = %journal.file.path.display(), "a dropped tail could not be set aside");
            }
        }
    }
}

fn copy_tail(context: &Context<'_>, directory: usize, journal: &FoundJournal, bytes: u64) -> Result<()> {
    let quarantine = context.directories[directory].1.join(identity::FOLDER).join("quarantine");
    durable::create_dir_all(context.fs, &quarantine)?;
    let name = format!("{}.tail-{}", journal.file.journal, journal.scan.end);
    let (path, temporary) = (quarantine.join(&name), quarantine.join(format!("{name}.tmp")));
    if context.fs.metadata(&path).is_ok() {
        return Ok(());
    }
    remove(context.fs, &temporary)?;
    let copy = context.fs.open(&temporary, OpenMode::CreateNew)?;
    let mut piece = vec![0; COPY_BYTES];
    let mut done = 0;
    while done < bytes {
        let want = usize::try_from(bytes - done).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        journal.file.file().read_exact_at(&mut piece[..want], journal.scan.end + done)?;
        copy.write_all_at(&piece[..want], done)?;
        done += want as u64;
    }
    copy.sync_all()?;
    Ok(durable::publish(context.fs, &temporary, &path)?)
}

/// Writes down what the catalog did not know: collections, assignments, losses.
fn note_collections(context: &Context<'_>, examination: &mut Examination) -> Result<()> {
    let mut mutations = Vec::new();
    for (name, standing) in &mut examination.standings {
        if !standing.catalogued {
            // Its row too, where there is none; settings stay as they are.
            mutations.push(Mutation::Assign {
                component: COMPONENT.into(),
                collection: name.clone(),
                directory: context.directories[standing.directory].0.clone(),
                epoch: if standing.home_epoch == Epoch(0) { context.epoch } else { standing.home_epoch },
                from: standing.home_from,
            });
            standing.catalogued = true;
        }
        mutations.extend(recoveries(name, &mut standing.known.on_record, &standing.merged.recovered));
        for &(first, last) in &standing.merged.losses {
            mutations.push(Mutation::RecordLoss { collection: name.clone(), first, last });
        }
        if mutations.len() >= GROUP {
            apply_group(context, &mut mutations)?;
        }
    }
    apply_group(context, &mut mutations)?;
    if let Some(value) = examination.unknown_note.take() {
        mutations.push(Mutation::SetMeta { name: super::UNKNOWN_DIRECTORIES.into(), value });
        apply_group(context, &mut mutations)?;
    }
    // Behind the losses: a crash before it leaves the same room to be found on record.
    if let Some(note) = examination.damage_note.take() {
        mutations.push(Mutation::SetMeta { name: super::DAMAGE_NOTE.into(), value: note });
        apply_group(context, &mut mutations)?;
    }
    // Last: from here on the older copy is the catalog, and what journals say of the other one counts no more.
    if examination.report.catalog_is_old {
        let (name, value) = (super::CHANGES_SINCE_EPOCH.into(), context.epoch.to_string());
        mutations.push(Mutation::SetMeta { name, value });
        apply_group(context, &mut mutations)?;
    }
    Ok(())
}

/// Says of losses on record that parts of them are there after all. `missing`: the ranges on record, which are kept true.
pub(in crate::log) fn recoveries(
    collection: &CollectionName,
    missing: &mut Vec<(Sequence, Sequence)>,
    found: &[(Sequence, Sequence)],
) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for &(found_first, found_last) in found {
        while let Some(place) = missing.iter().position(|&(first, last)| first <= found_last && found_first <= last) {
            let (first, last) = missing[place];
            let (from, until) = (first.max(found_first), last.min(found_last));
            mutations.push(Mutation::RecoverLoss {
                collection: collection.clone(),
                first,
                last,
                found_first: from,
                found_last: until,
            });
            let left = [(first, from.previous()), (until.next(), last)];
            missing.splice(place..=place, left.into_iter().filter(|(first, last)| first <= last));
        }
    }
    mutations
}

fn apply_group(context: &Context<'_>, mutations: &mut Vec<Mutation>) -> Result<ChangeNumber> {
    let number = context.catalog.apply(mutations, context.now, "recovery")?;
    mutations.clear();
    Ok(number)
}
