//! Rendezvous hashing (D. G. Thaler and C. V. Ravishankar, "Using name-based mappings to increase hit rates", 1998): each
//! directory gets a weight for the collection, and the heaviest is chosen.
//!
//! A weight depends on one directory and the collection only. So a directory that is added takes only those collections
//! for which it is the heaviest, from all others alike, and one that goes gives away only its own.
//!
//! The weight, fixed for ever: the first eight bytes, big end first, of SHA-256 over the directory's id, a zero byte and the
//! collection's name in UTF-8. Of equal weights the greater id is chosen, whatever the order. Anyone can recompute it:
//! `printf '%s\0%s' ID NAME | sha256sum`.

use ring::digest::{Context, SHA256};

use crate::types::CollectionName;

/// Which of `ids` is the heaviest for a collection.
pub(super) fn highest<'a>(collection: &CollectionName, ids: impl Iterator<Item = &'a str>) -> Option<usize> {
    ids.enumerate().max_by_key(|(_, id)| (weight(id, collection), *id)).map(|(index, _)| index)
}

pub(super) fn weight(id: &str, collection: &CollectionName) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(id.as_bytes());
    context.update(&[0]);
    context.update(collection.as_str().as_bytes());
    let digest = context.finish();
    let (first, _) = digest.as_ref().split_first_chunk().expect("a SHA-256 digest is longer than eight bytes");
    u64::from_be_bytes(*first)
}
