//! Manifests: what an archive has, in objects that never change (O1).
//!
//! - [`head`]: which manifest it is, of which log, by whom, behind which
//! - [`entry`]: what it says
//! - [`mod@encode`], [`mod@decode`]: its bytes
//!
//! Owns: the format of one manifest. Does not own: the order of several ([`chain`](super::chain)), what they say together
//! ([`state`](super::state)), who may write the next ([`fence`](super::fence)).
//!
//! A manifest is UTF-8 text, a JSON object on each line, each line ended by `\n`. The first line is the head, the last one
//! `{"end":{"lines":N,"sha256":"..."}}`: how many lines stand before it, and the SHA-256 of all of their bytes. Those between are entries. The last
//! line has one spelling only, so there is no byte in a manifest that could change unseen. `docs/format.md` has the fields.
//!
//! An entry is a fact: told twice, it counts once. So nobody has to know whether an earlier try to tell it arrived.
//!
//! A **delta** tells what is new. A **checkpoint** tells everything anew that the manifests before it told together, and nothing else:
//! whoever wants to know what an archive has reads from the newest checkpoint on, and one that was damaged is bridged by the manifests before it.

pub mod decode;
pub mod encode;
pub mod entry;
pub mod head;
mod text;

pub use decode::{MANIFEST_BYTES_MAX, Manifest, decode};
pub use encode::{Encoder, encode};
pub use entry::{
    Acknowledged, ArchivedSegment, CatalogSnapshot, CollectionEntry, Entry, LossEntry, LossGone, RemoteEntry,
    RemovedSegment,
};
pub use head::{ManifestHead, ManifestMark, ManifestNumber, WriterId};

/// What the keys of all manifests begin with.
pub const PREFIX: &str = "_manifest/";

/// The version of the format that this program writes, and the newest that it knows.
pub const FORMAT: u32 = 1;

/// The longest line in bytes. The settings of a collection are the only entry that could come near.
pub const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
pub(crate) mod tests;
