//! What the journals say of themselves, and of each other.
//!
//! Beside a writer, a group that was half-written when its page was read looks bad, and a journal may be released while it
//! is read. Damage stays where it is: only what is found again at the same place counts.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Verifier;
use crate::error::Result;
use crate::log::damage::Damaged;
use crate::log::recover::journals::{self, FoundJournal, FoundJournals};

/// How often damage must be found.
const LOOKS: usize = 3;

/// Where whole groups end and something else begins (J5), with how many bytes that is.
fn torn_tails(found: &FoundJournals) -> HashMap<(PathBuf, u64), u64> {
    let torn = found.journals.iter().filter(|journal| journal.unproven_bytes() > 0);
    torn.map(|journal| ((journal.file.path.clone(), journal.scan.end), journal.unproven_bytes())).collect()
}

impl Verifier<'_> {
    pub(super) fn check_journals(&mut self) -> Result<()> {
        let places: Vec<PathBuf> = self.log.0.directories.iter().map(|directory| directory.path.clone()).collect();
        for (index, place) in places.into_iter().enumerate() {
            if self.missing(index).is_some() {
                continue;
            }
            let mut found = journals::find(&*self.log.0.fs, &place, false)?;
            if let Some(why) = found.unlistable {
                let reason = format!("its journals cannot be listed: {why}");
                let (collection, first_sequence, last_sequence) = (None, None, None);
                self.report.damaged.push(Damaged { path: place, collection, first_sequence, last_sequence, reason });
                continue;
            }
            let mut faults = self.faults(&found);
            let mut tails = torn_tails(&found);
            for _ in 1..LOOKS {
                if faults.is_empty() && tails.is_empty() {
                    break;
                }
                found = journals::find(&*self.log.0.fs, &place, false)?;
                let tails_again = torn_tails(&found);
                tails.retain(|tail, bytes| {
                    let again = tails_again.get(tail);
                    *bytes = again.copied().unwrap_or(0);
                    again.is_some()
                });
                let again = self.faults(&found);
                let places: HashSet<(&Path, u64)> =
                    again.iter().map(|(offset, fault)| (fault.path.as_path(), *offset)).collect();
                faults.retain(|(offset, fault)| places.contains(&(fault.path.as_path(), *offset)));
            }
            self.report.damaged.extend(faults.into_iter().map(|(_, fault)| fault));
            self.report.journals += found.journals.len() as u64;
            self.report.unproven_tail_bytes += tails.values().sum::<u64>();
            self.report.dropped_tail_bytes += found.journals.iter().map(FoundJournal::dropped_bytes).sum::<u64>();
        }
        Ok(())
    }

    /// Damage, with its place in the file.
    fn faults(&self, found: &FoundJournals) -> Vec<(u64, Damaged)> {
        let mut faults = Vec::new();
        for unreadable in &found.unreadable {
            let reason = format!("cannot be read: {}", unreadable.reason);
            let path = unreadable.path.clone();
            faults.push((0, Damaged { path, collection: None, first_sequence: None, last_sequence: None, reason }));
        }
        for journal in &found.journals {
            for damage in &journal.scan.damage {
                let reason = format!("{}, offset=`{}`, bytes=`{}`", damage.reason, damage.offset, damage.bytes);
                let path = journal.file.path.clone();
                if damage.lost.is_empty() {
                    let fault = Damaged { path, collection: None, first_sequence: None, last_sequence: None, reason };
                    faults.push((damage.offset, fault));
                    continue;
                }
                for lost in &damage.lost {
                    let acknowledged = self.losses.get(&lost.collection).is_some_and(|losses| {
                        losses.iter().any(|loss| {
                            loss.acknowledged.is_some() && loss.first <= lost.first && lost.last() <= loss.last
                        })
                    });
                    if !acknowledged {
                        let fault = Damaged {
                            path: path.clone(),
                            collection: Some(lost.collection.clone()),
                            first_sequence: Some(lost.first),
                            last_sequence: Some(lost.last()),
                            reason: reason.clone(),
                        };
                        faults.push((damage.offset, fault));
                    }
                }
            }
        }
        faults
    }
}
