//! Taking a store over, and remembering who we were there: the catalog's values `archive.claims` and `archive.fenced`, for homes
//! `archive.claims@{remote}` and `archive.fenced@{remote}`.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. Where `archive.fenced` says that another one took the store over, nothing is asked of it: an operator must say so first.
//! 2. The id that the claim will have is added to `archive.claims`. A crash behind it leaves an id that nobody ever used.
//! 3. The newest manifest is looked at, and ours is created behind it ([`Claim::take_with`]). One of a writer that is not on record ends it, and
//!    is noted as in 1; a crash before that is noted finds the same again. A crash behind the claim leaves a manifest of a writer
//!    that is on record.
//! 4. With what else the claim changes, one transaction forgets the ids before it, and that we were fenced. A crash before leaves ids more than
//!    are needed.
//!
//! Why it is judged so is told in [`fence`](crate::archive::fence).

use std::sync::Arc;
use std::time::Duration;

use super::noted::{Noted, name_of};
use crate::archive::fence::{Claim, FencedBy, Taking};
use crate::archive::salvage::anew::Broken;
use crate::archive::{ManifestHead, WriterId};
use crate::catalog::{Catalog, Mutation};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::log::recover::CHANGES_SINCE_EPOCH;
use crate::objects::ObjectStore;
use crate::types::Epoch;

const CLAIMS: &str = "archive.claims";
const FENCED: &str = "archive.fenced";
/// Ids that are kept of claims that never came about; older ones are forgotten.
const WRITERS_MAX: usize = 100;

/// A store to be taken over.
#[derive(Debug)]
pub(in crate::archive) struct Wish<'a> {
    /// The id of the remote that is a home; `None` for the log's archive.
    pub remote: Option<&'a str>,
    /// Where it is; `None` for where it was.
    pub url: Option<&'a str>,
    pub retain: Option<Duration>,
    /// Also from who fenced us.
    pub take_over: bool,
}

/// Who we were.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Claims {
    /// The opening in which a claim was noted last; `None` where none was.
    noted: Option<Epoch>,
    /// Ids of that one and of those begun since, oldest first.
    writers: Vec<WriterId>,
}

/// That we were fenced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Fenced {
    /// Where.
    url: Option<String>,
    #[serde(flatten)]
    by: FencedBy,
}

fn read<T: serde::de::DeserializeOwned>(catalog: &dyn Catalog, name: &str) -> Result<Option<T>> {
    let Some(text) = catalog.meta(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("a value of the catalog cannot be read: name=`{name}`"))
            .with_source(error)
    })
}

/// That a claim was fenced, as the catalog is to know it.
pub(in crate::archive) fn note_fenced(remote: Option<&str>, url: Option<&str>, by: &FencedBy) -> Mutation {
    let fenced = Fenced { url: url.map(str::to_owned), by: by.clone() };
    let value = serde_json::to_string(&fenced).expect("numbers and text");
    Mutation::SetMeta { name: name_of(FENCED, remote), value }
}

/// Step 1; whether it is on record that we were fenced, and nothing follows from that.
///
/// # Errors
/// `Fenced` where it does; what the catalog said.
pub(in crate::archive) fn must_not_be_fenced(catalog: &dyn Catalog, wish: &Wish<'_>, place: &str) -> Result<bool> {
    let Some(fenced) = read::<Fenced>(catalog, &name_of(FENCED, wish.remote))? else { return Ok(false) };
    // A log that was moved to another place is not fenced there.
    let is_there = wish.url.is_none() || fenced.url.is_none() || wish.url == fenced.url.as_deref();
    if is_there && !wish.take_over { Err(fenced.by.error(place)) } else { Ok(true) }
}

/// Whether somebody else took a log's store at `url` over, as far as is on record: then local copies of what is archived there stay, as that one may
/// purge it.
///
/// # Errors
/// `Fenced` where somebody did; what the catalog said.
pub fn must_be_ours(catalog: &dyn Catalog, remote: Option<&str>, url: &str) -> Result<()> {
    let wish = Wish { remote, url: Some(url), retain: None, take_over: false };
    must_not_be_fenced(catalog, &wish, url).map(drop)
}

/// Takes a store over. With the claim, what the catalog is to be told in the same transaction as what else it changes.
///
/// # Errors
/// `Fenced` where another one has it; as [`Claim::take`]; what the catalog said.
pub(in crate::archive) fn claim(
    log: &Log,
    store: Arc<dyn ObjectStore>,
    clock: &Arc<dyn Clock>,
    wish: &Wish<'_>,
) -> Result<(Claim, Vec<Mutation>)> {
    let catalog = &**log.catalog();
    let was_fenced = must_not_be_fenced(catalog, wish, &store.place())?;
    let claims_name = name_of(CLAIMS, wish.remote);
    let mut claims: Claims = read(catalog, &claims_name)?.unwrap_or_default();
    let writer = WriterId(clock.random());
    claims.writers.push(writer);
    let unneeded = claims.writers.len().saturating_sub(WRITERS_MAX);
    claims.writers.drain(..unneeded);
    log.change(&[set(&claims_name, &claims)], "about to claim the archive")?;
    let since: u64 = catalog.meta(CHANGES_SINCE_EPOCH)?.and_then(|text| text.parse().ok()).unwrap_or(0);
    // The catalog knows every writer that this log was.
    let knows_all = claims.noted.is_some_and(|noted| noted.get() >= since);
    let stranger = std::cell::OnceCell::new();
    let may_follow = |head: &ManifestHead| {
        if wish.take_over || !knows_all || claims.writers.contains(&head.writer) {
            return Ok(());
        }
        let by = FencedBy::of(head);
        let error = by.error(&store.place());
        let _ = stranger.set(by);
        Err(error)
    };
    // Where a salvage found manifests that cannot be read, the chain begins anew; what was noted of it before is no hint.
    let broken = Broken::read(catalog, wish.remote)?;
    let anew = match &broken {
        Some(broken) => broken.claim(log, wish.remote, &store, clock, writer, wish.retain)?,
        None => None,
    };
    let noted = if broken.is_some() { None } else { Noted::read(catalog, wish.remote)? };
    let taking = Taking {
        log: log.id(),
        epoch: log.epoch(),
        writer,
        hint: noted.map(|noted| noted.mark),
        retain: wish.retain,
        may_follow: &may_follow,
    };
    let take = || Claim::take_with(Arc::clone(&store), Arc::clone(clock), taking);
    let taken = anew.map_or_else(take, Ok);
    if let (Err(_), Some(by)) = (&taken, stranger.get()) {
        // Found again where this fails.
        log.change(&[note_fenced(wish.remote, wish.url, by)], "fenced")?;
    }
    let claim = taken?;
    let mut settled = vec![set(&claims_name, &Claims { noted: Some(log.epoch()), writers: vec![writer] })];
    settled.extend(broken.map(|_| Broken::done(wish.remote)));
    if was_fenced {
        settled.push(Mutation::SetMeta { name: name_of(FENCED, wish.remote), value: String::new() });
    }
    Ok((claim, settled))
}

fn set(name: &str, claims: &Claims) -> Mutation {
    Mutation::SetMeta { name: name.to_owned(), value: serde_json::to_string(claims).expect("numbers and text") }
}
