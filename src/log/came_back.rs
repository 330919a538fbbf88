//! Records that came back: they were on record as missing below what is sealed, and were found after all (A4).
//!
//! Owns: the note that the catalog keeps of them, of each collection. A sink whose cursor passed the loss does not have them, and ignores what
//! lies at or below its cursor; so it is given the collection anew (`sink::delivery`). Until then nothing of them counts as flushed (C2).
//!
//! The note is written in the transaction that brings the records back: a crash leaves both or neither. It stays: a sink that is away for long
//! finds it when it is back.

use std::collections::BTreeSet;

use crate::avro::sha256;
use crate::catalog::{Catalog, CatalogResult, Mutation};
use crate::types::ids::hex;
use crate::types::{CollectionName, Sequence};

/// The note of what came back of one collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct CameBack {
    collection: CollectionName,
    /// The first that came back.
    pub first: Sequence,
    /// The last.
    pub last: Sequence,
    /// Sinks that stood before the first when they were asked, or were cleared: they are given the records in their turn.
    pub begun: BTreeSet<String>,
    /// Sinks that have them.
    pub done: BTreeSet<String>,
}

impl CameBack {
    /// What is on record of a collection.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn of(catalog: &dyn Catalog, collection: &CollectionName) -> CatalogResult<Option<Self>> {
        let text = catalog.meta(&name_of(collection))?;
        // A note that cannot be understood is of a newer program, and is not this one's to change.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).filter(|it: &Self| it.collection == *collection))
    }

    /// Notes that these records came back, beside what is on record: no sink is known to have them all.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn note(
        catalog: &dyn Catalog,
        collection: &CollectionName,
        first: Sequence,
        last: Sequence,
    ) -> CatalogResult<Mutation> {
        let known = Self::of(catalog, collection)?;
        let (first, last) = known.map_or((first, last), |known| (known.first.min(first), known.last.max(last)));
        let (begun, done) = Default::default();
        Ok(Self { collection: collection.clone(), first, last, begun, done }.mutation())
    }

    /// Whether a sink that stands here has passed over them.
    pub fn is_missed(&self, sink: &str, has: Sequence) -> bool {
        has >= self.first && !self.begun.contains(sink)
    }

    /// Keeps the note as it is now.
    pub fn mutation(&self) -> Mutation {
        let value = serde_json::to_string(self).expect("names and numbers are text");
        Mutation::SetMeta { name: name_of(&self.collection), value }
    }
}

/// By its digest: a collection's name may be longer than that of a value.
fn name_of(collection: &CollectionName) -> String {
    format!("came_back/{}", hex(&sha256(collection.as_str().as_bytes())[..16]))
}
