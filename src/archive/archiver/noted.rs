//! What the catalog knows of a store's manifests: the value `archive.manifest`, for homes `archive.manifest@{remote}`.
//!
//! It is a [`ManifestMark`] with two more fields, which may be missing: up to which change the catalog's facts went out, and up to which
//! manifest the catalog has every segment that the manifests name. Beside it stands `archive.url`, the store that this is about.

use crate::archive::{ManifestMark, ManifestNumber};
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::types::ChangeNumber;

/// The name of the value, of the log's archive.
pub const MANIFEST: &str = "archive.manifest";
/// The name of the value with the store's URL.
pub const URL: &str = "archive.url";

/// The newest manifest that the catalog knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Which manifest.
    pub mark: ManifestMark,
    /// The facts of collections up to this change are in manifests; zero where none are.
    pub changes: ChangeNumber,
    /// Every segment that manifests up to this one name has a row that says so.
    pub settled: ManifestNumber,
}

/// The name of a value about a store.
#[must_use]
pub fn name_of(value: &str, remote: Option<&str>) -> String {
    remote.map_or_else(|| value.to_owned(), |remote| format!("{value}@{remote}"))
}

impl Noted {
    /// What the catalog knows; `None` where nothing was archived to the store.
    ///
    /// # Errors
    /// `Corrupt` where the value cannot be read; what the catalog said.
    pub fn read(catalog: &dyn Catalog, remote: Option<&str>) -> Result<Option<Self>> {
        let name = name_of(MANIFEST, remote);
        let Some(text) = catalog.meta(&name)? else { return Ok(None) };
        Self::parse(&text).map(Some).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("a value of the catalog cannot be read: name=`{name}`"))
                .with_source(error)
        })
    }

    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
        let (changes, settled) = (fields.remove("changes"), fields.remove("settled"));
        let mark: ManifestMark = serde_json::from_value(fields.into())?;
        let changes = changes.map_or(Ok(ChangeNumber(0)), serde_json::from_value)?;
        let settled = settled.map_or(Ok(mark.number), serde_json::from_value)?;
        Ok(Self { mark, changes, settled })
    }

    /// The change that notes it.
    pub(super) fn mutation(&self, remote: Option<&str>) -> Mutation {
        let mut value = serde_json::to_value(self.mark).expect("a mark is strings and numbers");
        value["changes"] = self.changes.get().into();
        value["settled"] = self.settled.get().into();
        Mutation::SetMeta { name: name_of(MANIFEST, remote), value: value.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::WriterId;
    use crate::types::Epoch;

    #[test]
    fn a_bare_mark_is_read_too() {
        let mark =
            ManifestMark { number: ManifestNumber(7), epoch: Epoch(3), writer: WriterId([5; 16]), sha256: [9; 32] };
        let noted = Noted { mark, changes: ChangeNumber(90), settled: ManifestNumber(6) };
        let Mutation::SetMeta { name, value } = noted.mutation(Some("d1")) else { panic!() };
        assert_eq!(name, "archive.manifest@d1");
        assert_eq!(Noted::parse(&value).unwrap(), noted);
        let bare = serde_json::to_string(&mark).unwrap();
        let expected = Noted { mark, changes: ChangeNumber(0), settled: ManifestNumber(7) };
        assert_eq!(Noted::parse(&bare).unwrap(), expected);
        assert!(Noted::parse("{}").is_err());
    }
}
