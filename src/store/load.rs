//! Finds the state of a collection that counts.
//!
//! It is the one with the highest number that can be read. One that is damaged is told, and the one before it counts, whose files are all
//! there still: a state from which files were taken out is the only one that is kept.

use std::sync::Arc;

use super::file::StoreFile;
use super::footers::Footers;
use super::homes::Home;
use super::names::{Folder, StateNumber};
use super::state::{STATE_BYTES_MAX, State};
use super::view::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, LogId};

/// Keys in one page of a listing.
const PAGE: usize = 1000;
/// States that others take away between listing and reading, before we give up.
const RACES_MAX: u32 = 8;

/// A collection as it is in its home.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub home: Home,
    pub folder: Folder,
    /// The highest number that a state has, readable or not; 0 where there is none.
    pub newest: StateNumber,
    /// What counts; `None` where the store has nothing of the collection.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// Whose collection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub log: LogId,
    pub collection: &'a CollectionName,
    /// For the footers of its files.
    pub footers: &'a Arc<Footers>,
}

impl Loaded {
    /// Looks into the home. Files that `before` has too are the same ones.
    pub fn load(home: Home, whose: Whose<'_>, before: Option<&Snapshot>) -> Result<Self> {
        let folder = Folder::new(home.prefix(), whose.collection);
        for _ in 0..RACES_MAX {
            let numbers = list_states(&home, &folder)?;
            let newest = numbers.last().copied().unwrap_or_default();
            match read_newest(&home, &folder, whose, &numbers) {
                Ok(state) => {
                    let snapshot = state.map(|state| Arc::new(snapshot(&home, &folder, state, before, whose.footers)));
                    return Ok(Self { home, folder, newest, snapshot });
                }
                // Another process went on between the listing and the reading.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let message =
            format!("the state of a collection is always gone when it is read: collection=`{}`", whose.collection);
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}

/// The files of a state, those of `before` again where they are the same: what is known of them stays known.
pub(super) fn snapshot(
    home: &Home,
    folder: &Folder,
    state: State,
    before: Option<&Snapshot>,
    footers: &Arc<Footers>,
) -> Snapshot {
    let file = |entry: &super::state::FileEntry| {
        let known = before.and_then(|before| {
            let at = before.files.binary_search_by_key(&entry.first, |file| file.entry().first).ok()?;
            before.files.get(at).filter(|file| file.entry() == entry)
        });
        known.cloned().unwrap_or_else(|| {
            Arc::new(StoreFile::new(Arc::clone(&home.store), folder.file(&entry.name()), entry.clone(), footers))
        })
    };
    let files = state.files.iter().map(file).collect();
    Snapshot { state, files }
}

/// The numbers of the states that are there, in order.
pub(super) fn list_states(home: &Home, folder: &Folder) -> Result<Vec<StateNumber>> {
    let mut numbers = Vec::new();
    list(home, &folder.states_prefix(), |key| numbers.extend(folder.parse_state(key)))?;
    Ok(numbers)
}

/// Calls `each` with every key that begins with `prefix`, in order.
pub(super) fn list(home: &Home, prefix: &str, mut each: impl FnMut(&str)) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = home.store.list(prefix, after.as_deref(), PAGE)?;
        page.objects.iter().for_each(|object| each(&object.key));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn read_newest(home: &Home, folder: &Folder, whose: Whose<'_>, numbers: &[StateNumber]) -> Result<Option<State>> {
    let mut damaged: Option<Error> = None;
    for number in numbers.iter().rev() {
        let key = folder.state(*number);
        let bytes = home.store.get(&key, STATE_BYTES_MAX)?;
        match State::decode(&bytes).and_then(|state| check(state, *number, whose)) {
            Ok(state) => return Ok(Some(state)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let place = home.store.place();
                tracing::warn!(place, %key, %error, "a state of the columnar store is damaged");
                let message = format!("the state of a collection is damaged: store=`{place}`, key=`{key}`");
                let hint = "clear the collection in the store: its records are delivered again from the log";
                damaged.get_or_insert(Error::new(ErrorKind::Corrupt, message).with_source(error).with_hint(hint));
            }
            Err(error) => return Err(error),
        }
    }
    // Something was there once: that is no empty collection.
    damaged.map_or(Ok(None), Err)
}

fn check(state: State, number: StateNumber, whose: Whose<'_>) -> Result<State> {
    let refuse = |kind, what: &str, found: &str| {
        let message = format!(
            "a state of the columnar store is of another {what}: collection=`{}`, found=`{found}`",
            whose.collection
        );
        Err(Error::new(kind, message))
    };
    if state.number != number {
        return refuse(ErrorKind::Corrupt, "number", &state.number.to_string());
    }
    if state.log != whose.log.to_string() {
        return refuse(ErrorKind::Conflict, "log", &state.log)
            .map_err(|error: Error| error.with_hint("give each log a store of its own: another directory or prefix"));
    }
    if &state.collection != whose.collection {
        return refuse(ErrorKind::Conflict, "collection", state.collection.as_str());
    }
    Ok(state)
}
