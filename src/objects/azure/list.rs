//! Listings, and versions.
//!
//! Owns: going on behind any key with a store that pages by marks of its own, and the order of keys where the store has another. Which requests that costs
//! is told in the story of the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem};
use bytes::Bytes;
use futures::TryStreamExt;
use serde::Deserialize;

use super::AzureObjectStore;
use super::errors::{Effect, Refusal};
use crate::objects::{Listed, ObjectKey, ObjectResult, Page, Version};
use crate::types::Timestamp;

/// The most that the store lists at once.
const PAGE_MAX: usize = 5_000;
/// The first version of the protocol here taken to begin a listing in the middle.
const BEGINS_ANYWHERE: &str = "2026-04-06";
/// Ends of listings that are remembered.
const MARKS_MAX: usize = 64;

/// Where the last listings stood.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<Mark>);

#[derive(Clone, Debug)]
struct Mark {
    prefix: String,
    after: String,
    /// The store's: from it on come all keys behind `after`, and perhaps some before. `None` is the beginning.
    from: Option<String>,
}

/// A page as the store gave it.
struct StorePage {
    items: Vec<BlobItem>,
    /// Of each item: it is a directory, which only a hierarchical namespace has. Empty where that has not been told.
    directories: Vec<bool>,
    next: Option<String>,
}

impl StorePage {
    fn read(body: &Bytes, items: Vec<BlobItem>, next: Option<String>) -> azure_core::Result<Self> {
        // Its model is empty too for what is no listing at all.
        if !contains(body, b"<EnumerationResults") {
            return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::DataConversion, "no listing"));
        }
        // The SDK's model leaves it out.
        let directories = if contains(body, b"<ResourceType>") {
            let types: Types = azure_core::xml::from_xml(body)?;
            types.blobs.blob.iter().map(|blob| blob.properties.resource_type.as_deref() == Some("directory")).collect()
        } else {
            Vec::new()
        };
        Ok(Self { items, directories, next: next.filter(|next| !next.is_empty()) })
    }

    /// Objects and their lengths; directories are none.
    fn objects(&self) -> impl Iterator<Item = (&str, u64)> {
        self.items.iter().enumerate().filter_map(|(at, item)| {
            let is_directory = self.directories.get(at).copied().unwrap_or(false);
            let bytes = item.properties.as_ref().and_then(|properties| properties.content_length).unwrap_or(0);
            item.name.as_deref().filter(|_| !is_directory).map(|name| (name, bytes))
        })
    }
}

pub(super) fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|found| found == text)
}

#[derive(Deserialize)]
struct Types {
    #[serde(rename = "Blobs", default)]
    blobs: TypesOfBlobs,
}

#[derive(Default, Deserialize)]
struct TypesOfBlobs {
    #[serde(rename = "Blob", default)]
    blob: Vec<TypeOfBlob>,
}

#[derive(Deserialize)]
struct TypeOfBlob {
    #[serde(rename = "Properties", default)]
    properties: TypeProperties,
}

#[derive(Default, Deserialize)]
struct TypeProperties {
    #[serde(rename = "ResourceType")]
    resource_type: Option<String>,
}

impl AzureObjectStore {
    fn page(&self, options: BlobContainerClientListBlobsOptions<'static>) -> Result<StorePage, Refusal> {
        let pages = match self.client.list_blobs(Some(options)) {
            Ok(pager) => pager.into_pages(),
            Err(error) => return Err(Refusal::of(error, self.clock.now())),
        };
        self.ask(async move {
            let mut pages = pages;
            // Of the client's paging only the first page is taken: its mark is ours to keep.
            let Some(page) = pages.try_next().await? else {
                return Ok(StorePage { items: Vec::new(), directories: Vec::new(), next: None });
            };
            let body = Bytes::copy_from_slice(page.body());
            let model = page.into_model()?;
            StorePage::read(&body, model.blob_items, model.next_marker)
        })
    }

    pub(super) fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        if self.is_hierarchical.load(Ordering::Relaxed) {
            return self.list_sorted(prefix, after, limit);
        }
        let refused = |refusal| self.refused(refusal, Effect::None, "list", prefix);
        let known = after.and_then(|after| self.mark(prefix, after));
        let mut start_from = None;
        // Whether what comes may be before `after`, and is passed over.
        let mut is_exact = after.is_none() || known.as_ref().is_some_and(|mark| mark.from.is_some());
        let mut from = known.and_then(|mark| mark.from);
        if let Some(after) = after
            && from.is_none()
            && self.version.as_str() >= BEGINS_ANYWHERE
        {
            (start_from, is_exact) = (Some(format!("{}{after}", self.prefix)), true);
        }
        let mut is_remembered = from.is_some();
        let mut found: Vec<Listed> = Vec::new();
        let mut last: Option<String> = None;
        loop {
            let wanted = if is_exact {
                (limit - found.len()).saturating_add(usize::from(start_from.is_some()))
            } else {
                PAGE_MAX
            };
            let page = match self.page(BlobContainerClientListBlobsOptions {
                marker: from.clone(),
                maxresults: Some(i32::try_from(wanted.min(PAGE_MAX)).expect("at most 5,000")),
                prefix: Some(format!("{}{prefix}", self.prefix)),
                start_from: start_from.take(),
                ..Default::default()
            }) {
                Ok(page) => page,
                // The store takes its mark no more: from the beginning.
                Err(refusal) if is_remembered && refusal.status() == 400 => {
                    (from, is_remembered, is_exact) = (None, false, false);
                    continue;
                }
                Err(refusal) => return Err(refused(refusal)),
            };
            is_remembered = false;
            if !page.directories.is_empty() {
                self.is_hierarchical.store(true, Ordering::Relaxed);
                return self.list_sorted(prefix, after, limit);
            }
            for (name, bytes) in page.objects() {
                let Some(key) = name.strip_prefix(&self.prefix) else { continue };
                if last.as_deref().is_some_and(|last| key <= last) {
                    // Not in order of bytes: what was not seen yet may belong before what was.
                    return self.list_sorted(prefix, after, limit);
                }
                last = Some(key.to_owned());
                if after.is_some_and(|after| key <= after) {
                    continue;
                }
                if found.len() == limit {
                    return Ok(self.page_of(prefix, found, from));
                }
                found.push(Listed { key: key.to_owned(), bytes });
            }
            let Some(next) = page.next else { return Ok(Page { objects: found, next: None }) };
            if found.len() == limit {
                return Ok(self.page_of(prefix, found, Some(next)));
            }
            // Behind the first page that was passed over, pages are as long as what is still wanted.
            is_exact |= !found.is_empty();
            from = Some(next);
        }
    }

    /// A page behind which there is more, from a mark of the store's on.
    fn page_of(&self, prefix: &str, objects: Vec<Listed>, from: Option<String>) -> Page {
        let next = objects.last().map(|last| last.key.clone());
        if let Some(after) = &next {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.0.retain(|mark| mark.prefix != prefix || mark.after != *after);
            marks.0.push_back(Mark { prefix: prefix.to_owned(), after: after.clone(), from });
            if marks.0.len() > MARKS_MAX {
                marks.0.pop_front();
            }
        }
        Page { objects, next }
    }

    fn mark(&self, prefix: &str, after: &str) -> Option<Mark> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.0.iter().find(|mark| mark.prefix == prefix && mark.after == after).cloned()
    }

    /// The same for a store with another order: all of it is read, and the first `limit` are kept.
    fn list_sorted(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        let mut first: BTreeMap<String, u64> = BTreeMap::new();
        let mut is_more = false;
        let mut marker = None;
        loop {
            let page = self
                .page(BlobContainerClientListBlobsOptions {
                    marker,
                    prefix: Some(format!("{}{prefix}", self.prefix)),
                    ..Default::default()
                })
                .map_err(|refusal| self.refused(refusal, Effect::None, "list", prefix))?;
            for (name, bytes) in page.objects() {
                let Some(key) = name.strip_prefix(&self.prefix) else { continue };
                if after.is_none_or(|after| key > after) {
                    first.insert(key.to_owned(), bytes);
                    if first.len() > limit {
                        first.pop_last();
                        is_more = true;
                    }
                }
            }
            match page.next {
                Some(next) => marker = Some(next),
                None => break,
            }
        }
        let objects: Vec<Listed> = first.into_iter().map(|(key, bytes)| Listed { key, bytes }).collect();
        let next = objects.last().filter(|_| is_more).map(|last| last.key.clone());
        Ok(Page { objects, next })
    }

    pub(super) fn list_versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        use ListBlobsIncludeItem::{Deleted, ImmutabilityPolicy, Versions};
        // Not every account knows all of these: one with a hierarchical namespace has no versions.
        let mut refused = None;
        for include in [vec![Versions, Deleted, ImmutabilityPolicy], vec![Deleted], Vec::new()] {
            match self.items_of(key, &include) {
                Ok(items) => return Ok(versions_of(items)),
                Err(refusal) if matches!(refusal.status(), 400 | 409 | 501) => refused = Some(refusal),
                Err(refusal) => return Err(self.refused(refusal, Effect::None, "versions", key.as_str())),
            }
        }
        let refusal = refused.expect("the last one was refused too");
        Err(self.refused(refusal, Effect::None, "versions", key.as_str()))
    }

    fn items_of(&self, key: &ObjectKey, include: &[ListBlobsIncludeItem]) -> Result<Vec<BlobItem>, Refusal> {
        let name = format!("{}{key}", self.prefix);
        let (mut items, mut marker) = (Vec::new(), None);
        loop {
            let page = self.page(BlobContainerClientListBlobsOptions {
                marker,
                include: (!include.is_empty()).then(|| include.to_vec()),
                prefix: Some(name.clone()),
                ..Default::default()
            })?;
            // The name itself is the first of all that begin with it, in any order.
            let is_over = page.items.last().is_some_and(|last| last.name.as_deref() != Some(&name));
            items.extend(page.items.into_iter().filter(|item| item.name.as_deref() == Some(&name)));
            match page.next {
                Some(next) if !is_over => marker = Some(next),
                _ => return Ok(items),
            }
        }
    }
}

/// Newest first. The store has no delete markers: where there are versions and none of them is the object, one is put before them.
fn versions_of(items: Vec<BlobItem>) -> Vec<Version> {
    let is_live = |item: &BlobItem| {
        item.deleted != Some(true)
            && item.snapshot.is_none()
            && (item.version_id.is_none() || item.is_current_version == Some(true))
    };
    let is_there = items.iter().any(is_live);
    let mut versions: Vec<(bool, Version)> = items
        .into_iter()
        .map(|item| {
            let live = is_live(&item);
            let properties = item.properties.unwrap_or_default();
            let until = properties.immutability_policy_expires_on;
            let version = Version {
                id: item.version_id.unwrap_or_default(),
                bytes: properties.content_length.unwrap_or(0),
                is_delete_marker: false,
                retain_until: until.map(|until| Timestamp(until.unix_timestamp().saturating_mul(1_000_000))),
            };
            (live, version)
        })
        .collect();
    // The names of versions are times.
    versions.sort_by(|(live, one), (other_live, other)| (other_live, &other.id).cmp(&(live, &one.id)));
    let mut versions: Vec<Version> = versions.into_iter().map(|(_, version)| version).collect();
    if !is_there && !versions.is_empty() {
        let marker = Version { id: String::new(), bytes: 0, is_delete_marker: true, retain_until: None };
        versions.insert(0, marker);
    }
    versions
}
