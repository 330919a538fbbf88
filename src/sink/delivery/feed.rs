//! What is due, by the catalog's word.
//!
//! At first every collection of which the catalog does not know that a sink has all that is sealed, and every one that was assigned to another
//! directory since a sink had it last: what was given up with a directory is not there. Then those that its changes name. The
//! changes are read once, for all sinks. A collection that is due and turns out to have nothing costs one question to the sink.

use super::{Shared, locked};
use crate::catalog::CollectionRow;
use crate::error::Result;
use crate::log::assign::is_kept_apart;
use crate::types::{CollectionName, Sequence};

/// Rows, or changes, read at once.
const PAGE: usize = 1000;
/// Changes behind which a sink may have to be told something.
const KINDS: [&str; 4] = ["segment.insert", "floor.raise", "collection.put", "assign"];

impl Shared {
    /// Tells the lines what has become due since the last time.
    pub(super) fn feed(&self) -> Result<()> {
        let mut fed = locked(&self.fed);
        let catalog = self.log.catalog();
        let Some(mut at) = *fed else {
            // Before the collections are read: what changes meanwhile is seen again.
            let at = catalog.change_number()?;
            self.look_at_assignments()?;
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

    /// Which sink keeps what under which component, only the sinks know: all of a collection's are asked. It costs each a question.
    fn look_at_assignments(&self) -> Result<()> {
        let catalog = self.log.catalog();
        let mut after: Option<(String, CollectionName)> = None;
        loop {
            let page = after.as_ref().map(|(component, collection)| (component.as_str(), collection));
            let rows = catalog.assignments(None, page, PAGE)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.component.clone(), last.collection.clone()));
            for row in rows.into_iter().filter(|row| is_kept_apart(&row.component)) {
                let cursors = catalog.cursors(&row.collection)?;
                for cursor in cursors.into_iter().filter(|cursor| cursor.epoch < row.epoch) {
                    if let Some(line) = self.line(&cursor.sink) {
                        line.note(&row.collection);
                    }
                }
            }
        }
    }

    fn look_at(&self, row: &CollectionRow) -> Result<()> {
        let through = row.sealed_through.max(row.floor.previous());
        if through == Sequence(0) {
            return Ok(());
        }
        let cursors = self.log.catalog().cursors(&row.name)?;
        for line in &self.lines {
            let has = cursors.iter().find(|cursor| cursor.sink == line.name()).map(|cursor| cursor.sequence);
            // Whether a sink knows of the floor, only the sink can tell.
            if has.is_none_or(|has| has < through) || row.floor > Sequence::FIRST {
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
