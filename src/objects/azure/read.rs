//! Get, head, delete, and trying the store out.

use std::num::NonZero;
use std::sync::atomic::Ordering;

use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders,
    BlobContainerClientGetPropertiesResultHeaders, DeleteSnapshotsOptionType, HttpRange,
};
use bytes::Bytes;

use super::AzureObjectStore;
use super::errors::Effect;
use super::put::{is_damaged, name};
use crate::objects::probe::PREFIX;
use crate::objects::{Abilities, ObjectErrorKind, ObjectKey, ObjectResult};
use crate::types::Timestamp;
use crate::types::ids::hex;

/// What the store knows of an object.
pub(super) struct Properties {
    pub(super) bytes: u64,
    pub(super) retain_until: Option<Timestamp>,
}

impl AzureObjectStore {
    /// The first bytes from `offset` on, at most `bytes`, which is at least 1; and the object's length. One request; two for an object of no bytes.
    fn fetch(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        offset: u64,
        bytes: usize,
    ) -> ObjectResult<(Bytes, Option<u64>)> {
        let client = self.blob(operation, key)?;
        self.read(operation, key.as_str(), async move {
            let options = BlobClientDownloadOptions {
                parallel: NonZero::new(1),
                partition_size: NonZero::new(bytes),
                range: Some(HttpRange::new(offset, bytes as u64)),
                ..Default::default()
            };
            let answer = client.download(Some(options)).await?;
            let range = answer.headers.get_optional_str(&HeaderName::from_static("content-range"));
            let total = range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
            Ok((answer.body.collect().await?, total))
        })
    }

    pub(super) fn get_whole(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        // One more than is wanted tells whether there is more.
        let bytes = usize::try_from(bytes_max.saturating_add(1)).unwrap_or(usize::MAX >> 1).min(usize::MAX >> 1);
        let (found, total) = self.fetch("get", key, 0, bytes)?;
        let total = total.unwrap_or(found.len() as u64);
        if total > bytes_max {
            let what = format!("it is larger than expected: bytes=`{total}`, limit=`{bytes_max}`");
            return Err(self.error(ObjectErrorKind::Invalid, "get", key.as_str(), what));
        }
        if found.len() as u64 != total {
            return Err(self.cut_off("get", key, found.len()));
        }
        Ok(found)
    }

    pub(super) fn get_piece(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        offset: u64,
        bytes: usize,
    ) -> ObjectResult<Bytes> {
        let ends_before = |total: u64| {
            let what = format!("it ends before the range: offset=`{offset}`, wanted=`{bytes}`, bytes=`{total}`");
            self.error(ObjectErrorKind::Invalid, operation, key.as_str(), what)
        };
        let end = offset.checked_add(bytes as u64).filter(|end| i64::try_from(*end).is_ok());
        // No range can be written for these; whether the object is there is still told.
        let (Some(end), true) = (end, bytes > 0) else {
            let total = self.properties(operation, key)?.bytes;
            return if bytes == 0 && offset <= total { Ok(Bytes::new()) } else { Err(ends_before(total)) };
        };
        let (found, total) = self.fetch(operation, key, offset, bytes)?;
        if found.len() == bytes {
            return Ok(found);
        }
        match total {
            Some(total) if end <= total => Err(self.cut_off(operation, key, found.len())),
            Some(total) => Err(ends_before(total)),
            // Of an object without bytes the store tells no range.
            None => Err(ends_before(found.len() as u64)),
        }
    }

    fn cut_off(&self, operation: &'static str, key: &ObjectKey, bytes: usize) -> crate::objects::ObjectError {
        let what = format!("the answer is shorter than what was asked for: received_bytes=`{bytes}`");
        self.error(ObjectErrorKind::Unavailable, operation, key.as_str(), what)
    }

    pub(super) fn properties(&self, operation: &'static str, key: &ObjectKey) -> ObjectResult<Properties> {
        let client = self.blob(operation, key)?;
        let (bytes, until) = self.read(operation, key.as_str(), async move {
            let answer = client.get_properties(None).await?;
            Ok((answer.content_length()?, answer.immutability_policy_expires_on().ok().flatten()))
        })?;
        let bytes = bytes.ok_or_else(|| {
            self.error(ObjectErrorKind::Failed, operation, key.as_str(), "the answer tells no length")
        })?;
        let retain_until = until.map(|until| Timestamp(until.unix_timestamp().saturating_mul(1_000_000)));
        Ok(Properties { bytes, retain_until })
    }

    pub(super) fn remove(&self, key: &ObjectKey) -> ObjectResult<()> {
        let client = self.blob("delete", key)?;
        let outcome = self.ask(async move {
            let options = BlobClientDeleteOptions {
                // An object with snapshots, which somebody else made, could not be deleted without them.
                delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
                ..Default::default()
            };
            client.delete(Some(options)).await.map(drop)
        });
        match outcome.map_err(|refusal| self.refused(refusal, Effect::Change, "delete", key.as_str())) {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes the container, for tests; that it is there already is fine.
    ///
    /// # Errors
    /// What the store said.
    #[cfg(any(test, feature = "testing"))]
    pub fn create_container(&self) -> ObjectResult<()> {
        let client = std::sync::Arc::clone(&self.client);
        match self.ask(async move { client.create(None).await.map(drop) }) {
            Err(refusal) if refusal.code() != "ContainerAlreadyExists" => {
                Err(self.refused(refusal, Effect::Change, "create", ""))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn try_out(&self) -> ObjectResult<Abilities> {
        let mut abilities = crate::objects::probe::try_out(self)?;
        // Bytes with the MD5 of others: a block of nobody's, which the store is to refuse.
        let wrong = format!("{PREFIX}{}", hex(&self.clock.random()));
        let wrong = ObjectKey::new(wrong).expect("letters and digits");
        let refused = self.stage_with(&wrong, &name(0, &[0; 32]), Bytes::from_static(b"one"), vec![7; 16]);
        abilities.checks_checksums = refused.is_err_and(|refusal| is_damaged(&refusal));
        abilities.multipart = true;
        abilities.versioned = self.is_versioned.load(Ordering::Relaxed);
        abilities.server = self.server.get().cloned();
        // Who may only touch objects is refused: then nothing is known, and nothing is claimed.
        let client = std::sync::Arc::clone(&self.client);
        let retention = self.ask(async move {
            let answer = client.get_properties(None).await?;
            let by_object = answer.is_immutable_storage_with_versioning_enabled()?.unwrap_or(false);
            Ok(by_object || answer.has_immutability_policy()?.unwrap_or(false))
        });
        abilities.retention = retention.unwrap_or(false);
        Ok(abilities)
    }
}
