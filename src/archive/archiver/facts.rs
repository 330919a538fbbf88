//! What manifests say besides segments: floors, settings (holds among them), losses and gaps, remotes.
//!
//! Told anew is what the catalog's history shows to be changed since the last manifest: a fact that was told twice counts once.

use std::collections::BTreeSet;

use crate::archive::fence::DELTA_BYTES_MAX;
use crate::archive::{Claim, CollectionEntry, Entry, LossEntry, LossGone, ManifestMark};
use crate::catalog::{Catalog, CollectionRow, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::log::directories::home_row;
use crate::types::{ChangeNumber, CollectionName};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
/// Facts in one manifest, in bytes about: with the segments beside them far below what one may have.
const BYTES_MAX: usize = DELTA_BYTES_MAX / 4;

/// What changed, and up to which change that was looked for.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub entries: Vec<Entry>,
    pub changes: ChangeNumber,
}

/// The facts behind `since`; zero stands for all. `is_wanted` says whose.
pub(super) fn since(
    catalog: &dyn Catalog,
    since: ChangeNumber,
    is_wanted: &mut dyn FnMut(&CollectionName) -> Result<bool>,
) -> Result<Facts> {
    // Before anything is read: what changes meanwhile is told again.
    let changes = catalog.change_number()?;
    let mut facts = Facts { entries: Vec::new(), changes };
    if since.get() == 0 {
        let mut after: Option<CollectionName> = None;
        loop {
            let page = catalog.collections(after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(facts) };
            after = Some(last.name.clone());
            for row in page {
                if is_wanted(&row.name)? {
                    tell(catalog, &row, true, &mut facts.entries)?;
                }
            }
        }
    }
    let (mut rows, mut losses, mut gone) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut at = since;
    loop {
        let page = catalog.changes(at, PAGE_ROWS)?;
        let Some(last) = page.last() else { break };
        at = last.number;
        for change in page {
            match change.kind.as_str() {
                "collection.put" | "floor.raise" | "assign" => {}
                "loss.record" | "gap.acknowledge" | "loss.recover" => {}
                _ => continue,
            }
            let mutation = change.mutation().map_err(|error| {
                let message = format!("a change of the catalog cannot be read: change=`{}`", change.number);
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            })?;
            match mutation {
                Mutation::PutCollection { name, .. }
                | Mutation::RaiseFloor { collection: name, .. }
                | Mutation::Assign { collection: name, .. } => {
                    rows.insert(name);
                }
                Mutation::RecoverLoss { collection, first, last, .. } => {
                    gone.push(LossGone { collection: collection.clone(), first, last });
                    losses.insert(collection);
                }
                Mutation::RecordLoss { collection, .. } | Mutation::AcknowledgeLoss { collection, .. } => {
                    losses.insert(collection);
                }
                _ => {}
            }
        }
    }
    for loss in gone {
        if is_wanted(&loss.collection)? {
            facts.entries.push(Entry::LossGone(loss));
        }
    }
    for name in rows.union(&losses) {
        if !is_wanted(name)? {
            continue;
        }
        if let Some(row) = catalog.collection(name)? {
            tell(catalog, &row, losses.contains(name), &mut facts.entries)?;
        }
    }
    Ok(facts)
}

/// Makes facts count, and with the last of them `rest`: in as many manifests as they need, as there may be more collections than one manifest can name. Where
/// that is cut short, all is told again.
///
/// # Errors
/// As [`Claim::commit`].
pub(super) fn commit(claim: &mut Claim, facts: Vec<Entry>, rest: Vec<Entry>) -> Result<ManifestMark> {
    commit_by(BYTES_MAX, claim, facts, rest)
}

fn commit_by(bytes_max: usize, claim: &mut Claim, facts: Vec<Entry>, rest: Vec<Entry>) -> Result<ManifestMark> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    for fact in facts {
        let len = serde_json::to_string(&fact).expect("text and numbers").len();
        if bytes + len > bytes_max && !group.is_empty() {
            claim.commit(std::mem::take(&mut group))?;
            bytes = 0;
        }
        bytes += len;
        group.push(fact);
    }
    group.extend(rest);
    claim.commit(group)
}

fn tell(catalog: &dyn Catalog, row: &CollectionRow, with_losses: bool, entries: &mut Vec<Entry>) -> Result<()> {
    entries.push(Entry::Collection(CollectionEntry {
        name: row.name.clone(),
        created_at: row.created_at,
        floor: row.floor,
        sealed_through: row.sealed_through,
        settings: row.settings.clone(),
        home: home_row(catalog, &row.name)?,
    }));
    if with_losses {
        let losses = catalog.losses(Some(&row.name))?;
        entries.extend(losses.iter().map(|loss| Entry::Loss(LossEntry::from(loss))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::MemoryCatalog;
    use crate::types::{Sequence, Timestamp};

    fn kinds(facts: &Facts) -> Vec<&'static str> {
        let kind = |entry: &Entry| match entry {
            Entry::Collection(_) => "collection",
            Entry::Loss(_) => "loss",
            Entry::LossGone(_) => "loss_gone",
            _ => "other",
        };
        facts.entries.iter().map(kind).collect()
    }

    #[test]
    fn only_what_changed_is_told_anew() {
        let catalog = MemoryCatalog::new();
        let name = |text: &str| CollectionName::new(text).unwrap();
        let put = |text: &str| Mutation::PutCollection { name: name(text), settings: "{}".into() };
        let (first, last) = (Sequence(5), Sequence(9));
        let apply = |mutations: &[Mutation]| catalog.apply(mutations, Timestamp(0), "test").unwrap();
        apply(&[put("a"), put("b"), Mutation::RecordLoss { collection: name("a"), first, last }]);
        let all = since(&catalog, ChangeNumber(0), &mut |_| Ok(true)).unwrap();
        assert_eq!(kinds(&all), ["collection", "loss", "collection"]);
        assert_eq!(all.changes, ChangeNumber(3));
        assert_eq!(kinds(&since(&catalog, all.changes, &mut |_| Ok(true)).unwrap()), [""; 0]);
        apply(&[Mutation::SetMeta { name: "x".into(), value: "y".into() }]);
        assert_eq!(kinds(&since(&catalog, all.changes, &mut |_| Ok(true)).unwrap()), [""; 0]);
        let (found_first, found_last) = (Sequence(5), Sequence(6));
        let recovered = Mutation::RecoverLoss { collection: name("a"), first, last, found_first, found_last };
        apply(&[recovered, Mutation::RaiseFloor { collection: name("b"), sequence: Sequence(3) }]);
        let new = since(&catalog, all.changes, &mut |_| Ok(true)).unwrap();
        assert_eq!(kinds(&new), ["loss_gone", "collection", "loss", "collection"]);
        let ours = since(&catalog, all.changes, &mut |name| Ok(name.as_str() == "b")).unwrap();
        assert_eq!(kinds(&ours), ["collection"]);
    }

    /// Symptom: a log with more collections than one manifest can name was never archived. Cause: all facts went into one. Fix: into as many as they need,
    /// the segments with the last.
    #[test]
    fn facts_that_are_too_many_for_one_manifest_go_into_several() {
        use crate::archive::memory_store::MemoryStore;
        use crate::archive::{chain, manifest};
        use crate::clock::FakeClock;
        use crate::types::{Epoch, LogId};
        let store = std::sync::Arc::new(MemoryStore::default());
        let clock = std::sync::Arc::new(FakeClock::at(Timestamp(7)));
        let mut claim = Claim::take(store.clone(), LogId([7; 16]), Epoch(1), clock, None).unwrap();
        let catalog = MemoryCatalog::new();
        for number in 0..10 {
            let name = CollectionName::new(&format!("c{number}")).unwrap();
            let put = Mutation::PutCollection { name, settings: "{}".into() };
            catalog.apply(&[put], Timestamp(0), "test").unwrap();
        }
        let facts = since(&catalog, ChangeNumber(0), &mut |_| Ok(true)).unwrap().entries;
        let len = serde_json::to_string(&facts[0]).unwrap().len();
        let segment = Entry::Added(manifest::tests::segment("c3", 1, 10));
        let mark = commit_by(len * 4, &mut claim, facts, vec![segment]).unwrap();
        assert_eq!(mark.number.get(), 4, "one to claim, and three");
        let count = |number| chain::read_one(&*store, manifest::ManifestNumber(number)).unwrap().unwrap().entries.len();
        assert_eq!([2, 3, 4].map(count), [4, 4, 3]);
        let state = chain::state(&*store).unwrap();
        assert_eq!((state.collections().len(), state.segments().count()), (10, 1));
        // None, and nothing but segments, as before.
        assert_eq!(commit_by(1, &mut claim, Vec::new(), Vec::new()).unwrap(), mark);
    }
}
