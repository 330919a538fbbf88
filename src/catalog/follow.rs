//! One catalog follows another by the numbers of its changes (C3).
//!
//! Owns: replaying a history, whether one may go on from where the follower stands, comparing two catalogs row by row. Does
//! not own: when that happens (`mirror`, migration).
//!
//! A change says all of what it did, when and why, and the state machine makes the same rows of it: the follower ends up
//! with equal rows and an equal history. It must hold a beginning of the other's history; nothing is ever taken back.

mod compare;
#[cfg(test)]
mod tests;

pub use compare::differences;

use super::{Catalog, CatalogError, Change, Group, Mutation};
use crate::types::ChangeNumber;

/// Changes read, and made durable, at once.
pub(super) const PAGE_CHANGES: usize = 4096;

/// Why a catalog does not follow another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The follower has changes that the other has not (C3).
    #[error("the follower is ahead of the catalog that it follows: change_number=`{to}`, newest there=`{from}`")]
    Ahead {
        /// The follower's newest change.
        to: ChangeNumber,
        /// The newest change of the catalog that it follows.
        from: ChangeNumber,
    },
    /// The follower has another history.
    #[error("the follower's history is another one: change_number=`{number}`, what=`{what}`")]
    Diverged {
        /// The change at which that was seen.
        number: ChangeNumber,
        /// How it shows.
        what: String,
    },
    /// The catalog that is followed cannot be read.
    #[error("the catalog that is followed cannot be read")]
    From(#[source] CatalogError),
    /// The follower cannot be read or written.
    #[error("the follower cannot be read or written")]
    To(#[source] CatalogError),
}

/// Whether `to` holds a beginning of `from`'s history, as far as its newest change tells: it is the same change there, with the
/// same time, reason and content. Returns the number of that change.
///
/// # Errors
/// [`FollowError::Ahead`], [`FollowError::Diverged`], or why one of them cannot be read.
pub fn check_follows(from: &dyn Catalog, to: &dyn Catalog) -> Result<ChangeNumber, FollowError> {
    // The follower's first: what it has then, the other had before.
    let number = to.change_number().map_err(FollowError::To)?;
    let newest = from.change_number().map_err(FollowError::From)?;
    if number > newest {
        return Err(FollowError::Ahead { to: number, from: newest });
    }
    if number.0 > 0 {
        let before = ChangeNumber(number.0 - 1);
        let there = from.changes(before, 1).map_err(FollowError::From)?;
        let here = to.changes(before, 1).map_err(FollowError::To)?;
        if there != here {
            let say = |found: &[Change]| {
                found.first().map_or("nothing".to_owned(), |change| {
                    format!("{} of {} at {} ({})", change.kind, change.subject, change.at, change.reason)
                })
            };
            let what = format!("it has {}, and the other has {}", say(&here), say(&there));
            return Err(FollowError::Diverged { number, what });
        }
    }
    Ok(number)
}

/// Makes every change of `from` that `to` does not have in `to`, up to `until` or the newest there is when it begins, in
/// durable transactions of many. `progress` is told the newest change of `to`, and the one to reach, before the first and
/// after each transaction; `false` ends it there, without an error. Returns the newest change of `to`.
///
/// Nobody else may write to `to` meanwhile. A failure leaves `to` with a beginning of the history, to go on from.
///
/// # Errors
/// [`FollowError`]; also `Diverged` where the same change does not make the same rows.
pub fn catch_up(
    from: &dyn Catalog,
    to: &dyn Catalog,
    until: Option<ChangeNumber>,
    progress: &mut dyn FnMut(ChangeNumber, ChangeNumber) -> bool,
) -> Result<ChangeNumber, FollowError> {
    let mut number = check_follows(from, to)?;
    let newest = from.change_number().map_err(FollowError::From)?;
    let until = until.map_or(newest, |until| until.min(newest));
    while progress(number, until) && number < until {
        let wanted = usize::try_from(until.0 - number.0).unwrap_or(usize::MAX).min(PAGE_CHANGES);
        let mut page = from.changes(number, wanted).map_err(FollowError::From)?;
        if (page.len() as u64) < until.0 - number.0 {
            page.truncate(cut(&page));
        }
        number = replay(to, number, &page)?;
    }
    Ok(number)
}

/// How much of a page to take, where more follow: all but its last group, which may go on behind the page; the whole page
/// where it is one group. So what was one transaction stays one wherever it fits.
fn cut(page: &[Change]) -> usize {
    let Some(last) = page.last() else { return 0 };
    match page.iter().rposition(|change| !is_one_group(change, last)) {
        Some(before) => before + 1,
        None => page.len(),
    }
}

fn is_one_group(one: &Change, other: &Change) -> bool {
    one.at == other.at && one.reason == other.reason
}

/// Makes the changes of one page in one transaction; each keeps its time and its reason.
fn replay(to: &dyn Catalog, after: ChangeNumber, page: &[Change]) -> Result<ChangeNumber, FollowError> {
    let diverged = |number, what| FollowError::Diverged { number, what };
    let mut mutations: Vec<Mutation> = Vec::with_capacity(page.len());
    for (change, number) in page.iter().zip(after.0 + 1..) {
        if change.number.0 != number {
            return Err(diverged(change.number, format!("change `{number}` is missing where it is read")));
        }
        let unreadable = |error| FollowError::From(unknown_change(change, &error));
        mutations.push(change.mutation().map_err(unreadable)?);
    }
    let Some(last) = page.last() else {
        return Err(diverged(after.next(), "it is missing where it is read".to_owned()));
    };
    let made = to.apply_groups(&groups(page, &mutations)).map_err(|error| match error {
        CatalogError::Refused(refused) => diverged(after.next(), refused.to_string()),
        error => FollowError::To(error),
    })?;
    if made != last.number {
        return Err(diverged(made, format!("somebody else writes to the follower: expected `{}`", last.number)));
    }
    Ok(made)
}

/// Neighbours with the same time and the same reason, together.
fn groups<'a>(page: &'a [Change], mutations: &'a [Mutation]) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut rest = mutations;
    for run in page.chunk_by(is_one_group) {
        let (own, others) = rest.split_at(run.len());
        groups.push(Group { mutations: own, at: run[0].at, reason: &run[0].reason });
        rest = others;
    }
    groups
}

fn unknown_change(change: &Change, error: &serde_json::Error) -> CatalogError {
    let what = format!("change `{}` of kind `{}` is not what this program knows: {error}", change.number, change.kind);
    CatalogError::Damaged { path: "the catalog that is followed".to_owned(), what }
}
