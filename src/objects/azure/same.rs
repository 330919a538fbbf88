//! Whether what is there are the bytes of an upload (O4).
//!
//! Owns: reading the committed blocks, and making their names again from the source. The store checked each block against its MD5 when it came, and
//! its name was made of the same bytes: the same names in the same order are the same content. A list of other names says nothing: every
//! byte is read back.

use azure_storage_blob::models::{BlockList, BlockListType};

use super::AzureObjectStore;
use super::put::{NAME_BYTES, name};
use crate::avro::{Sha256, sha256};
use crate::objects::{ObjectKey, ObjectResult, Proof, Upload};

/// Bytes read back at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Blocks under a key: their names and lengths.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Of the object that is there, in its order. Empty too where there is none, and where an object was made in another way.
    pub(super) committed: Vec<(Vec<u8>, u64)>,
    /// That nobody has committed.
    pub(super) uncommitted: Vec<(Vec<u8>, u64)>,
}

impl AzureObjectStore {
    pub(super) fn blocks(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        which: BlockListType,
    ) -> ObjectResult<Blocks> {
        let client = self.blob(operation, key)?;
        let list: BlockList = self.read(operation, key.as_str(), async move {
            let answer = client.block_blob_client().get_block_list(which, None).await?;
            // The SDK's model is empty for what is no list at all.
            if !super::list::contains(answer.body(), b"<BlockList") {
                let what = "no list of blocks";
                return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::DataConversion, what));
            }
            answer.into_model()
        })?;
        let blocks = |list: Option<Vec<azure_storage_blob::models::Block>>| {
            let known = |block: azure_storage_blob::models::Block| {
                Some((block.name.unwrap_or_default(), u64::try_from(block.size?).ok()?))
            };
            list.unwrap_or_default().into_iter().filter_map(known).collect()
        };
        Ok(Blocks { committed: blocks(list.committed_blocks), uncommitted: blocks(list.uncommitted_blocks) })
    }

    /// Whether the object has the bytes of `upload`, and how that is known; `None` where it has others.
    pub(super) fn compare(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        upload: &Upload<'_>,
    ) -> ObjectResult<Option<Proof>> {
        let committed = match self.blocks(operation, key, BlockListType::Committed) {
            Ok(blocks) => blocks.committed,
            Err(error) if error.is_not_found() => return Err(error),
            // An object of another kind has no blocks.
            Err(error) if error.said().is_some_and(|said| said.code == "InvalidBlobType") => Vec::new(),
            Err(error) => return Err(error),
        };
        if !committed.is_empty() {
            if committed.iter().map(|(_, bytes)| bytes).sum::<u64>() != upload.bytes {
                return Ok(None);
            }
            let is_ours = |(index, (name, _)): (usize, &(Vec<u8>, u64))| {
                name.len() == NAME_BYTES && u32::try_from(index).is_ok_and(|index| name[..4] == index.to_be_bytes())
            };
            if committed.iter().enumerate().all(is_ours) {
                return self.compare_names(operation, key, upload, &committed);
            }
        }
        // No blocks: no bytes, or an object that somebody made in one request; or nothing at all, which only this tells.
        let there = self.properties(operation, key)?.bytes;
        if there != upload.bytes {
            return Ok(None);
        }
        let mut whole = Sha256::new();
        let mut at = 0;
        while at < there {
            let bytes = usize::try_from(PIECE_BYTES.min(there - at)).expect("a piece fits memory");
            whole.update(&self.get_piece(operation, key, at, bytes)?);
            at += bytes as u64;
        }
        Ok((whole.finish() == upload.sha256).then_some(Proof::ReadBack))
    }

    fn compare_names(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        upload: &Upload<'_>,
        committed: &[(Vec<u8>, u64)],
    ) -> ObjectResult<Option<Proof>> {
        // One block: the upload's own SHA-256 names it, and the source need not be read.
        if let [(only, _)] = committed {
            return Ok((*only == name(0, &upload.sha256)).then_some(Proof::StoreChecksum));
        }
        let (mut whole, mut at, mut is_same) = (Sha256::new(), 0, true);
        for (index, (known, bytes)) in (0..).zip(committed) {
            let block = self.source(operation, key, upload, at, *bytes, false)?;
            whole.update(&block);
            is_same &= *known == name(index, &sha256(&block));
            at += bytes;
        }
        if whole.finish() != upload.sha256 {
            return Err(self.not_promised(operation, key));
        }
        Ok(is_same.then_some(Proof::StoreChecksum))
    }
}
