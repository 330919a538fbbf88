//! Files without a row: adopted, once, or set aside. What a compaction that was cut short made, and what one was made from, is a copy.

use std::path::{Path, PathBuf};

use super::super::COMPONENT;
use super::super::table::{Action, Elsewhere, FileState, decide, decide_copy};
use super::compacted::Compacted;
use super::compare::{Comparison, HeldFile, Holders, best, note};
use super::judge::Judgement;
use super::{Claim, SegmentFinding, segment_path, strongest};
use crate::catalog::{SegmentKey, SegmentStatus};
use crate::error::Result;
use crate::fs::OpenMode;
use crate::segment::{Footer, Input, SegmentName, SegmentReader, SequenceRange};

impl Comparison<'_> {
    pub(super) fn rowless(&mut self) -> Result<()> {
        let mut rowless: Vec<(SegmentKey, Holders)> = std::mem::take(&mut self.files).into_iter().collect();
        // Longer ones first where they begin alike: a seal whose row failed is tried again later, with what came since; and what compaction
        // made covers what it was made from. Of one range, the one that was written last.
        rowless.sort_by(|(one, _), (other, _)| {
            let place = |of: &SegmentKey, long: &SegmentKey| (of.first, long.last, long.generation);
            (&one.collection, place(one, other)).cmp(&(&other.collection, place(other, one)))
        });
        for (key, holders) in rowless {
            let listed = holders.iter().collect::<Vec<_>>();
            let is_alone = listed.len() == 1;
            let mut files = self.read_copies(&key, None, listed);
            if files.is_empty() {
                continue;
            }
            // Not before: a name alone makes no collection, where the file is none of ours.
            for HeldFile { directory, judgement } in &files {
                let name = SegmentName::of_key(&key);
                let of = note(&mut self.found.collections, &key.collection, *directory, name);
                if let Judgement::Whole(whole) = judgement {
                    of.note_epoch(*directory, key.last, whole.epoch);
                }
            }
            let home = if is_alone { files[0].directory } else { self.home_of(&key, &files)? };
            let own = files.iter().position(|file| file.directory == home).map(|at| files.remove(at));
            self.rowless_segment(&key, (home, own), &files)?;
        }
        Ok(())
    }

    /// The own place of a segment without a row that several directories have: the collection's directory. Where it is assigned to
    /// none, that of the newest whole file.
    fn home_of(&self, key: &SegmentKey, files: &[HeldFile]) -> Result<usize> {
        let assigned = self.catalog.assignment(COMPONENT, &key.collection)?;
        if let Some(home) =
            assigned.and_then(|found| self.directories.iter().position(|(id, _)| *id == found.directory))
        {
            return Ok(home);
        }
        let claim = |file: &HeldFile| match &file.judgement {
            Judgement::Whole(whole) => Some(Claim { directory: file.directory, epoch: whole.epoch, last: key.last }),
            _ => None,
        };
        Ok(strongest(files.iter().filter_map(claim)).map_or(files[0].directory, |winner| winner.directory))
    }

    fn rowless_segment(
        &mut self,
        key: &SegmentKey,
        (home, own): (usize, Option<HeldFile>),
        copies: &[HeldFile],
    ) -> Result<()> {
        let digest_of = |copy: &HeldFile| match &copy.judgement {
            Judgement::Whole(whole) => Some(whole.content_digest),
            _ => None,
        };
        let (file, mut reason) = match own.as_ref().map(|own| &own.judgement) {
            None | Some(Judgement::Absent | Judgement::Foreign(_)) => (FileState::Absent, "no file".to_owned()),
            Some(Judgement::Whole(_)) => (FileState::Present, "a whole file without a row".to_owned()),
            Some(Judgement::Flawed { reason, .. } | Judgement::Broken(reason)) => (FileState::Damaged, reason.clone()),
            Some(Judgement::Unreadable(reason)) => (FileState::Unreadable, reason.clone()),
        };
        let whole_copies = copies.iter().filter_map(|copy| match &copy.judgement {
            Judgement::Whole(whole) => Some(Claim { directory: copy.directory, epoch: whole.epoch, last: key.last }),
            _ => None,
        });
        // The one whose records the segment has: its own, or the newest whole copy.
        let chosen = match file {
            FileState::Present => own.as_ref(),
            _ => {
                let winner = strongest(whole_copies);
                winner.and_then(|winner| copies.iter().find(|copy| copy.directory == winner.directory))
            }
        };
        let wanted = chosen.and_then(digest_of);
        let of_copy = |copy: &HeldFile| match &copy.judgement {
            Judgement::Unreadable(_) => Elsewhere::Unreadable,
            Judgement::Whole(whole) if Some(whole.content_digest) == wanted => Elsewhere::Same,
            _ => Elsewhere::Other,
        };
        let mut action = decide(None, file, best(copies.iter().map(of_copy)), false);
        let mut is_superseded = false;
        let mut beside = None;
        let directory = chosen.filter(|_| action == Action::Adopt).map_or(home, |chosen| chosen.directory);
        if action == Action::Adopt {
            if let Some(other) = self.overlapping(key)? {
                let file = segment_path(&self.directories[directory].1, key);
                let is_planned = self.planned.get(&(other.collection.clone(), other.first)) == Some(&other);
                let compacted = if is_planned { Compacted::No } else { self.compacted(key, (directory, &file))? };
                // Without a row it released no journal: whatever it holds and the other does not is still there.
                action = Action::SetAside;
                is_superseded = true;
                reason = format!("another segment has its records: segment=`{other}`");
                if compacted == Compacted::Counts {
                    action = Action::Adopt;
                    is_superseded = false;
                    reason = "a compaction of which the catalog, an older copy, does not know".to_owned();
                    self.planned.insert((key.collection.clone(), key.first), key.clone());
                } else if compacted == Compacted::Waits {
                    action = Action::Report;
                    reason = "what it was compacted from cannot be read now, or is in a directory that is missing"
                        .to_owned();
                } else if self.is_unfinished_compaction(&file)? {
                    action = Action::RemoveCopy;
                    reason = "a compaction was cut short; what it was made from is there".to_owned();
                } else if let Some(kept) = self.compacted_into(key, wanted, &other) {
                    action = Action::RemoveCopy;
                    reason = format!("it was compacted: segment=`{other}`");
                    beside = Some(kept);
                }
            } else {
                self.planned.insert((key.collection.clone(), key.first), key.clone());
                if directory != home {
                    reason = "a whole file without a row, in another directory than the collection's".to_owned();
                }
            }
        }
        let path = segment_path(&self.directories[directory].1, key);
        let shown = if action == Action::Adopt || is_superseded { FileState::Present } else { file };
        if !matches!(action, Action::Keep | Action::Nothing) {
            self.found.findings.push(SegmentFinding {
                key: key.clone(),
                directory,
                path: path.clone(),
                row: None,
                file: shown,
                action,
                reason,
                beside,
                differs: false,
            });
        }
        if is_superseded && action == Action::Report {
            return Ok(());
        }
        let others = copies.iter().chain(own.iter().filter(|_| action != Action::SetAside || is_superseded));
        for copy in others.filter(|copy| copy.directory != directory) {
            let mut of = decide_copy(file, of_copy(copy));
            if is_superseded && of == Action::RemoveCopy {
                // The one that stays is not a segment's.
                of = Action::SetAside;
            }
            let differs = !is_superseded && digest_of(copy).is_some() && digest_of(copy) != wanted;
            self.copy(key, None, copy, (of, Some((directory, path.clone())), differs));
        }
        Ok(())
    }

    /// Whether a file, which was read and is whole, was made by compaction from segments that are all there, or were replaced by others: then
    /// it holds nothing that is wanted and nobody else has.
    fn is_unfinished_compaction(&self, path: &Path) -> Result<bool> {
        let Some(footer) = self.footer(path) else { return Ok(false) };
        for input in &footer.inputs {
            let SequenceRange { first, last } = input.covers;
            let collection = footer.collection.clone();
            let row = self.catalog.segment(&SegmentKey { collection, first, last, generation: input.generation })?;
            let Some(row) = row.filter(|row| row.content_digest == input.content_digest) else { return Ok(false) };
            if row.status == SegmentStatus::Replaced {
                // Another compaction was not: what has these sequences now has its row.
                continue;
            }
            if !row.status.is_local() {
                return Ok(false);
            }
            let home = self.directories.iter().find(|(id, _)| *id == row.directory);
            let file = home.map(|(_, home)| self.fs.metadata(&segment_path(home, &row.key)));
            if !file.is_some_and(|file| file.is_ok_and(|file| file.len == row.bytes)) {
                return Ok(false);
            }
        }
        Ok(!footer.inputs.is_empty())
    }

    /// Where the segment `other`, which is adopted, lies, if its footer says that it was made from this one.
    fn compacted_into(
        &self,
        key: &SegmentKey,
        digest: Option<[u8; 32]>,
        other: &SegmentKey,
    ) -> Option<(usize, PathBuf)> {
        let is_it = |finding: &&SegmentFinding| finding.key == *other && finding.action == Action::Adopt;
        let adopted = self.found.findings.iter().find(is_it)?;
        let range = SequenceRange { first: key.first, last: key.last };
        let made_from = |input: &Input| {
            input.covers == range && input.generation == key.generation && Some(input.content_digest) == digest
        };
        let footer = self.footer(&adopted.path)?;
        footer.inputs.iter().any(made_from).then(|| (adopted.directory, adopted.path.clone()))
    }

    pub(super) fn footer(&self, path: &Path) -> Option<Footer> {
        let file = self.fs.open(path, OpenMode::Read).ok()?;
        Some(SegmentReader::open(file).ok()?.footer().clone())
    }
}
