//! What is due, by the catalog's word.
//!
//! At first every collection of which the catalog does not know that a sink has all that is sealed; then those that its changes name. The
//! changes are read once, for all sinks. A collection that is due and turns out to have nothing costs one question to the sink.

use super::{Shared, locked};
use crate::catalog::CollectionRow;
use crate::error::Result;
use crate::types::{CollectionName, Sequence};

/// Rows, or changes, read at once.
const PAGE: usize = 1000;
/// Changes behind which a sink may have to be told something.
const KINDS: [&str; 4] = ["segment.insert", "floor.raise", "collection.put", "loss.recover"];

impl Shared {
    /// Tells the lines what has become due since the last time.
    pub(super) fn feed(&self) -> Result<()> {
        let mut fed = locked(&self.fed);
        let catalog = self.log.catalog();
        let Some(mut at) = *fed else {
            // Before the collections are read: what changes meanwhile is seen again.
            let at = catalog.change_number()?;
            let mut after: Option<CollectionName> = None;
            loop {
                let rows = catalog.collections(after.as_ref(), PAGE)?;
                let Some(last) = rows.last() else { break };
                after = Some(last.name.clone());
                for row in &rows {
                    self.look_at(row)?;
                }
            }
            *fed = Some(at);
            return Ok(());
        };
        loop {
            let changes = catalog.changes(at, PAGE)?;
            let Some(last) = changes.last() else { return Ok(()) };
            at = last.number;
            for change in changes.iter().filter(|change| KINDS.contains(&change.kind.as_str())) {
                if let Ok(name) = subject(&change.subject) {
                    self.lines.iter().for_each(|line| line.note(&name));
                }
            }
            *fed = Some(at);
        }
    }

    fn look_at(&self, row: &CollectionRow) -> Result<()> {
        let through = row.sealed_through.max(row.floor.previous());
        if through == Sequence(0) {
            return Ok(());
        }
        let cursors = self.log.catalog().cursors(&row.name)?;
        let back = self.log.came_back(&row.name)?;
        for line in &self.lines {
            let has = cursors.iter().find(|cursor| cursor.sink == line.name()).map(|cursor| cursor.sequence);
            // Whether a sink knows of the floor, only the sink can tell.
            let is_missing = back.as_ref().is_some_and(|back| !back.done.contains(line.name()));
            if has.is_none_or(|has| has < through) || row.floor > Sequence::FIRST || is_missing {
                line.note(&row.name);
            }
        }
        Ok(())
    }
}

/// The collection that a change is about.
fn subject(text: &str) -> std::result::Result<CollectionName, crate::types::InvalidName> {
    CollectionName::new(text)
}
