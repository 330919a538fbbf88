//! What only the archive knows (C7): the last sequence of a collection of which neither a directory nor the catalog tells any more.
//!
//! Owns: when the archive is asked at an opening, that it is asked in bounded time, and that a start never waits for it longer. A catalog that was
//! there all along knows every archived segment, and nothing is asked. One that is an older copy (C3), or was made anew, does not; with it, a
//! segment that has no file on this machine is known to the archive alone, and its sequences would be given out again.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. That the archive must be asked is noted in the catalog ([`ARCHIVE_UNASKED`]), before recovery makes the older copy the catalog: behind that, nothing
//!    else would tell.
//! 2. The archive is asked. Where it does not answer, the log opens all the same, says so, and the next opening asks again.
//! 3. Recovery goes by what it said: what is missing is on record, the next sequence is behind it.
//! 4. The note goes. A crash before asks once more.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use super::journals::chain;
use super::{ARCHIVE_UNASKED, ArchiveAsked, Examination};
use crate::catalog::{Catalog, Mutation};
use crate::error::Result;
use crate::log::LogOptions;
use crate::types::{CollectionName, Sequence};

/// What the archive said.
#[derive(Debug, Default)]
pub(in crate::log) struct Word {
    /// Last sequences of collections that go on behind what was found.
    pub last: BTreeMap<CollectionName, Sequence>,
    /// Whether it was asked, where it had to be; for the report.
    pub asked: Option<ArchiveAsked>,
}

/// Steps 1 and 2, where the archive must be asked.
///
/// # Errors
/// What the catalog said.
pub(in crate::log) fn archive(
    options: &LogOptions,
    catalog: &dyn Catalog,
    examination: &Examination,
    was_missing: bool,
) -> Result<Word> {
    let is_noted = is_noted(catalog)?;
    if !is_noted && !was_missing && !examination.report.catalog_is_old {
        return Ok(Word::default());
    }
    if !is_noted {
        let note = Mutation::SetMeta { name: ARCHIVE_UNASKED.into(), value: "1".into() };
        catalog.apply(&[note], options.clock.now(), "the archive may know more")?;
    }
    let Some(archive) = &options.archive else { return Ok(Word::default()) };
    let (told, answer) = mpsc::channel();
    let asked = Arc::clone(archive);
    let thread = std::thread::Builder::new().name("icecore-ask".into());
    // Nobody waits for it behind the deadline; it ends when the store's request does.
    let begun = thread.spawn(move || drop(told.send(asked.last_sequences())));
    let answer = match begun {
        Err(error) => Err(format!("the system gives no thread: {error}")),
        Ok(_) => match answer.recv_timeout(options.archive_wait) {
            Ok(Ok(last)) => Ok(last),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        },
    };
    Ok(match answer {
        Ok(last) => {
            let goes_on = |name: &CollectionName, last: Sequence| {
                examination.standings.get(name).map_or(Sequence(0), |standing| standing.merged.last) < last
            };
            let last: BTreeMap<_, _> = last.into_iter().filter(|(name, last)| goes_on(name, *last)).collect();
            let asked = ArchiveAsked { answered: true, collections: last.len() as u64, error: None };
            Word { last, asked: Some(asked) }
        }
        Err(error) => {
            tracing::warn!(error, "the archive could not be asked what it has; the next opening asks again");
            let asked = ArchiveAsked { answered: false, collections: 0, error: Some(error) };
            Word { last: BTreeMap::new(), asked: Some(asked) }
        }
    })
}

/// Step 4.
///
/// # Errors
/// What the catalog said.
pub(in crate::log) fn answered(options: &LogOptions, catalog: &dyn Catalog, word: &Word) -> Result<()> {
    if word.asked.as_ref().is_some_and(|asked| asked.answered) && is_noted(catalog)? {
        let note = Mutation::SetMeta { name: ARCHIVE_UNASKED.into(), value: String::new() };
        catalog.apply(&[note], options.clock.now(), "the archive was asked")?;
    }
    Ok(())
}

fn is_noted(catalog: &dyn Catalog) -> Result<bool> {
    Ok(catalog.meta(ARCHIVE_UNASKED)?.is_some_and(|value| !value.is_empty()))
}
