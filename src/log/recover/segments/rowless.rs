//! Files without a row: adopted, once, or set aside.

use super::super::COMPONENT;
use super::super::table::{Action, Elsewhere, FileState, decide, decide_copy};
use super::compare::{Comparison, HeldFile, Holders, best, note};
use super::judge::Judgement;
use super::{Claim, SegmentFinding, segment_path, strongest};
use crate::catalog::SegmentKey;
use crate::error::Result;
use crate::segment::SegmentName;

impl Comparison<'_> {
    pub(super) fn rowless(&mut self) -> Result<()> {
        let mut rowless: Vec<(SegmentKey, Holders)> = std::mem::take(&mut self.files).into_iter().collect();
        // Longer ones first where they begin alike: a seal whose row failed is tried again later, with what came since.
        rowless.sort_by(|(one, _), (other, _)| {
            (&one.collection, one.first, other.last).cmp(&(&other.collection, other.first, one.last))
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
        let directory = chosen.filter(|_| action == Action::Adopt).map_or(home, |chosen| chosen.directory);
        if action == Action::Adopt {
            if let Some(other) = self.overlapping(key)? {
                // Without a row it released no journal: whatever it holds and the other does not is still there.
                action = Action::SetAside;
                is_superseded = true;
                reason = format!("another segment has its records: segment=`{other}`");
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
                beside: None,
                differs: false,
            });
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
}
