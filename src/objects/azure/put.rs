//! Objects from staged blocks.
//!
//! Owns: the cut into blocks and their names; that nothing is committed but what the upload promised.
//!
//! # Crash safety of a put
//!
//! 1. Above one block: the blocks that the store has under the key. Those of an earlier try with the same name have the same bytes.
//! 2. Each other block is sent with its MD5. A crash leaves blocks that nobody sees, and that the store drops after a week.
//! 3. The list of blocks is committed where the key is free. The object is there now, or nothing has changed.
//!
//! A commit that found the key taken, or blocks gone because another one's commit took them, looks at what is there.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use azure_core::http::RequestContent;
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    AccessTier, BlockBlobClientCommitBlockListOptions, BlockBlobClientCommitBlockListResultHeaders,
    BlockBlobClientStageBlockOptions, BlockListType, BlockLookupList, ImmutabilityPolicyMode,
};
use bytes::Bytes;
use md5::{Digest, Md5};

use super::AzureObjectStore;
use super::errors::{Effect, Refusal};
use crate::avro::{Sha256, sha256};
use crate::objects::{ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, Put, Upload};
use crate::types::Timestamp;

/// The most blocks that an object may have.
const BLOCKS_MAX: u64 = 50_000;
/// The longest block that the store takes.
const BLOCK_BYTES_MAX: u64 = 4_000 << 20;
/// The length of every name: the block's place, and the SHA-256 of its bytes.
pub(super) const NAME_BYTES: usize = 36;

/// The name of a block, which tells its content.
pub(super) fn name(index: u32, sha256: &[u8; 32]) -> Vec<u8> {
    let mut name = index.to_be_bytes().to_vec();
    name.extend_from_slice(sha256);
    name
}

/// The blocks' length; the last one may be shorter.
pub(super) fn block_bytes(bytes: u64, multipart_bytes: u64, part_bytes: u64) -> u64 {
    if bytes <= multipart_bytes.min(BLOCK_BYTES_MAX) {
        return bytes.max(1);
    }
    part_bytes.clamp(1, BLOCK_BYTES_MAX).max(bytes.div_ceil(BLOCKS_MAX))
}

impl AzureObjectStore {
    pub(super) fn put(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        let put = self.put_blocks(key, upload)?;
        let Some(until) = upload.retain_until else { return Ok(put) };
        match self.retain(key, until, put) {
            Ok(()) => Ok(put),
            Err(error) if put != Put::Created => Err(error),
            // After such an error the object is not there by this call (promise 7).
            Err(error) if error.kind == ObjectErrorKind::Unsupported && self.remove(key).is_ok() => Err(error),
            Err(error) => Err(ObjectError { kind: ObjectErrorKind::OutcomeUnknown, ..error }),
        }
    }

    fn put_blocks(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        let block_bytes = block_bytes(upload.bytes, self.multipart_bytes, self.part_bytes);
        if upload.bytes.div_ceil(block_bytes) > BLOCKS_MAX {
            let what = format!("it is longer than an object may be: bytes=`{}`", upload.bytes);
            return Err(self.error(ObjectErrorKind::Invalid, "put", key.as_str(), what));
        }
        let mut staged = HashSet::new();
        if upload.bytes > block_bytes {
            match self.blocks("put", key, BlockListType::All) {
                Ok(blocks) if !blocks.committed.is_empty() => return self.look(key, upload),
                Ok(blocks) => staged = blocks.uncommitted.into_iter().collect(),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let (mut names, mut whole, mut at) = (Vec::new(), Sha256::new(), 0);
        while at < upload.bytes {
            let bytes = block_bytes.min(upload.bytes - at);
            let index = u32::try_from(names.len()).expect("at most 50,000 blocks");
            let may_be_staged = staged.iter().any(|(name, _)| name.starts_with(&index.to_be_bytes()));
            let mut block = self.source("put", key, upload, at, bytes, !may_be_staged)?;
            let digest = sha256(&block);
            if bytes < upload.bytes {
                whole.update(&block);
            } else if digest != upload.sha256 {
                return Err(self.not_promised("put", key));
            }
            let name = name(index, &digest);
            if !staged.contains(&(name.clone(), bytes)) {
                if may_be_staged {
                    block = self.source("put", key, upload, at, bytes, true)?;
                }
                match self.stage(key, &name, block) {
                    Ok(()) => {}
                    // The store takes no block where an object is that it keeps, or one of another kind.
                    Err(refusal) if is_taken(&refusal) => return self.look(key, upload),
                    Err(refusal) => {
                        let is_damaged = is_damaged(&refusal);
                        let error = self.refused(refusal, Effect::None, "put", key.as_str());
                        let kind = if is_damaged { ObjectErrorKind::Corrupt } else { error.kind };
                        return Err(ObjectError { kind, ..error });
                    }
                }
            }
            names.push(name);
            at += bytes;
        }
        // One block is the whole, and was compared.
        if names.len() != 1 && whole.finish() != upload.sha256 {
            return Err(self.not_promised("put", key));
        }
        match self.commit(key, names, upload.retain_until) {
            Ok(()) => Ok(Put::Created),
            Err(refusal) if is_taken(&refusal) => self.look(key, upload),
            Err(refusal) => {
                let wants = upload.retain_until.is_some() && matches!(refusal.status(), 400 | 409);
                let error = self.refused(refusal, Effect::Change, "put", key.as_str());
                Err(if wants && error.kind == ObjectErrorKind::Failed { self.no_retention(key, error) } else { error })
            }
        }
    }

    /// An object as the client makes it by itself, over whatever is there: for who measures what that costs.
    #[cfg(feature = "cli")]
    pub(crate) fn bare_put(&self, key: &ObjectKey, body: Bytes) -> ObjectResult<()> {
        let client = self.blob("put", key)?;
        self.ask(async move { client.block_blob_client().upload(body.into(), None).await.map(drop) })
            .map_err(|refusal| self.refused(refusal, Effect::Change, "put", key.as_str()))
    }

    fn no_retention(&self, key: &ObjectKey, error: ObjectError) -> ObjectError {
        let what = "the container takes no retention of single objects: it needs version-level immutability";
        ObjectError { source: error.source, ..self.error(ObjectErrorKind::Unsupported, "put", key.as_str(), what) }
    }

    /// Sends a block, which the store compares with its MD5.
    pub(super) fn stage(&self, key: &ObjectKey, name: &[u8], block: Bytes) -> Result<(), Refusal> {
        let md5 = Md5::digest(&block).to_vec();
        self.stage_with(key, name, block, md5)
    }

    pub(super) fn stage_with(&self, key: &ObjectKey, name: &[u8], block: Bytes, md5: Vec<u8>) -> Result<(), Refusal> {
        let Ok(client) = self.blob("put", key) else { return Err(Refusal::of_client()) };
        let name = name.to_vec();
        self.ask(async move {
            let options =
                BlockBlobClientStageBlockOptions { transactional_content_md5: Some(md5), ..Default::default() };
            let bytes = block.len() as u64;
            client.block_blob_client().stage_block(&name, bytes, block.into(), Some(options)).await.map(drop)
        })
    }

    fn commit(&self, key: &ObjectKey, names: Vec<Vec<u8>>, retain_until: Option<Timestamp>) -> Result<(), Refusal> {
        let Ok(client) = self.blob("put", key) else { return Err(Refusal::of_client()) };
        let mode = if self.is_unlocked { ImmutabilityPolicyMode::Unlocked } else { ImmutabilityPolicyMode::Locked };
        let expiry = retain_until.and_then(until);
        let options = BlockBlobClientCommitBlockListOptions {
            if_none_match: Some("*".into()),
            tier: self.storage_class.as_deref().map(|class| class.parse().unwrap_or(AccessTier::Hot)),
            immutability_policy_mode: expiry.map(|_| mode),
            immutability_policy_expiry: expiry,
            ..Default::default()
        };
        let is_versioned = std::sync::Arc::clone(&self.is_versioned);
        self.ask(async move {
            let list = BlockLookupList { latest: Some(names), ..Default::default() };
            let list: RequestContent<_, _> = list.try_into()?;
            let answer = client.block_blob_client().commit_block_list(list, Some(options)).await?;
            if answer.version_id().is_ok_and(|version| version.is_some()) {
                is_versioned.store(true, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    /// What is under a key that is taken.
    fn look(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        match self.compare("put", key, upload) {
            Ok(Some(_)) => Ok(Put::SameThere),
            Ok(None) => Ok(Put::OtherThere),
            Err(error) if error.is_not_found() => {
                let what = "the key was taken a moment ago, and is free again";
                Err(self.error(ObjectErrorKind::Unavailable, "put", key.as_str(), what))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the store keeps an object until then: one that was there may have no retention, and a store that has none may pass
    /// over what it was asked for.
    fn retain(&self, key: &ObjectKey, wanted: Timestamp, put: Put) -> ObjectResult<()> {
        if put == Put::OtherThere {
            return Ok(());
        }
        // The store keeps whole seconds.
        let wanted_s = wanted.0.div_euclid(1_000_000);
        let is_kept =
            |retained: Option<Timestamp>| retained.is_some_and(|until| until.0.div_euclid(1_000_000) >= wanted_s);
        if is_kept(self.properties("put", key)?.retain_until) {
            return Ok(());
        }
        let Some(expiry) = until(wanted) else {
            return Err(self.error(ObjectErrorKind::Invalid, "put", key.as_str(), "a retention that no calendar has"));
        };
        let mode = if self.is_unlocked { ImmutabilityPolicyMode::Unlocked } else { ImmutabilityPolicyMode::Locked };
        let client = self.blob("put", key)?;
        let set = self.ask(async move {
            let options = azure_storage_blob::models::BlobClientSetImmutabilityPolicyOptions {
                immutability_policy_mode: Some(mode),
                ..Default::default()
            };
            client.set_immutability_policy(&expiry, Some(options)).await.map(drop)
        });
        match set {
            Ok(()) => Ok(()),
            Err(refusal) => {
                let error = self.refused(refusal, Effect::Change, "put", key.as_str());
                Err(if error.kind == ObjectErrorKind::Failed { self.no_retention(key, error) } else { error })
            }
        }
    }

    /// A piece of the source.
    pub(super) fn source(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        upload: &Upload<'_>,
        at: u64,
        bytes: u64,
        is_sent: bool,
    ) -> ObjectResult<Bytes> {
        let bytes = usize::try_from(bytes).map_err(|_| {
            self.error(ObjectErrorKind::Invalid, operation, key.as_str(), "a block that does not fit memory")
        })?;
        let read = if is_sent { upload.source.read(at, bytes) } else { upload.source.look(at, bytes) };
        read.map_err(|error| ObjectError {
            source: Some(Box::new(error)),
            ..self.error(ObjectErrorKind::Corrupt, operation, key.as_str(), "the source cannot be read")
        })
    }

    pub(super) fn not_promised(&self, operation: &'static str, key: &ObjectKey) -> ObjectError {
        let what = "the source is not what it should be: its SHA-256 differs";
        self.error(ObjectErrorKind::Corrupt, operation, key.as_str(), what)
    }
}

/// Whether a refusal says that there is something under the key already.
fn is_taken(refusal: &Refusal) -> bool {
    // Where another one's commit came first it has taken the blocks with it: that list is invalid now.
    matches!(
        refusal.code(),
        "BlobAlreadyExists" | "ConditionNotMet" | "UnmodifiedBlob" | "InvalidBlockList" | "InvalidBlobType"
    ) || (refusal.status() == 409 && refusal.code().contains("Immutab"))
        || (refusal.status() == 412 && refusal.code().is_empty())
}

/// Whether a refusal of a block says that its bytes are not those of its MD5. The emulator has another word for it.
pub(super) fn is_damaged(refusal: &Refusal) -> bool {
    refusal.status() == 400 && matches!(refusal.code(), "Md5Mismatch" | "InvalidOperation")
}

fn until(time: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(time.0.div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_few_as_the_settings_and_the_store_allow() {
        assert_eq!(block_bytes(0, 80, 16), 1);
        assert_eq!(block_bytes(80, 80, 16), 80);
        assert_eq!(block_bytes(81, 80, 16), 16);
        assert_eq!(block_bytes(81, 0, 0), 1);
        assert_eq!(block_bytes(5_000 << 20, u64::MAX, 16 << 20), 16 << 20);
        let huge = 100_000 * 16;
        assert!(huge / block_bytes(huge, 80, 16) <= BLOCKS_MAX);
    }

    #[test]
    fn names_tell_place_and_content_and_have_one_length() {
        assert_ne!(name(1, &[7; 32]), name(2, &[7; 32]));
        assert_eq!(name(u32::MAX, &[7; 32]).len(), NAME_BYTES);
    }
}
