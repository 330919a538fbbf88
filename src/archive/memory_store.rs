//! A store in memory, for tests of this room: every call can be held up, made to fail, or made to lie about what it did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::objects::{
    Abilities, Head, Listed, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof,
    Put, RequestKind, Upload, Version,
};
use crate::types::Timestamp;

/// How a call ends that does not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not happen, and the error says so.
    Refused(ObjectErrorKind),
    /// It did happen; the answer was lost.
    AnswerLost,
    /// It did not happen; nobody knows.
    RequestLost,
    /// It happens when the next call comes, before that one; nobody knows.
    Late,
}

type Hook = dyn Fn(u64, &'static str, &str) -> Option<Fault> + Send + Sync;

/// Objects by their keys.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    late: Mutex<Vec<(String, Bytes)>>,
    /// Under a delete marker.
    hidden: Mutex<BTreeMap<String, Bytes>>,
    retained: Mutex<Vec<Timestamp>>,
    hook: Mutex<Option<Arc<Hook>>>,
    calls: AtomicU64,
    meter: Meter,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl MemoryStore {
    /// Called before each call with its number (from 0), its name and its key; says whether it fails.
    pub fn hook(&self, hook: impl Fn(u64, &'static str, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
        self.calls.store(0, Ordering::SeqCst);
    }

    pub fn unhook(&self) {
        *self.hook.lock().unwrap() = None;
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects.lock().unwrap().clone()
    }

    pub fn set(&self, key: &str, bytes: impl Into<Bytes>) {
        self.objects.lock().unwrap().insert(key.to_owned(), bytes.into());
    }

    pub fn remove(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().unwrap().remove(key)
    }

    /// Until when what was put is to stay, where that was asked for.
    pub fn retained(&self) -> Vec<Timestamp> {
        self.retained.lock().unwrap().clone()
    }

    /// Puts a delete marker over an object, as a versioned bucket does.
    pub fn hide(&self, key: &str) {
        let bytes = self.remove(key).unwrap();
        self.hidden.lock().unwrap().insert(key.to_owned(), bytes);
    }

    /// With everything that another store has.
    pub fn copy_of(other: &dyn ObjectStore) -> Arc<Self> {
        let copy = Self::default();
        for object in other.list("", None, 100_000).unwrap().objects {
            let bytes = other.get(&ObjectKey::new(object.key.clone()).unwrap(), 1 << 30).unwrap();
            copy.set(&object.key, bytes);
        }
        Arc::new(copy)
    }

    fn begin(&self, operation: &'static str, key: &str) -> ObjectResult<Option<Fault>> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let hook = self.hook.lock().unwrap().clone();
        let fault = hook.and_then(|hook| hook(number, operation, key));
        for (key, bytes) in self.late.lock().unwrap().drain(..) {
            self.objects.lock().unwrap().entry(key).or_insert(bytes);
        }
        match fault {
            Some(Fault::Refused(kind)) => Err(error(kind, operation, key)),
            Some(_) if operation != "put" => Err(error(ObjectErrorKind::Unavailable, operation, key)),
            fault => Ok(fault),
        }
    }
}

fn error(kind: ObjectErrorKind, operation: &'static str, key: &str) -> ObjectError {
    let what = format!("{kind:?}");
    ObjectError {
        kind,
        operation,
        place: "memory".into(),
        key: key.into(),
        what: what.into(),
        retry_after: None,
        source: None,
    }
}

impl ObjectStore for MemoryStore {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.meter.begin(RequestKind::Put, upload.bytes);
        // In odd pieces, as a client that sends parts.
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < upload.bytes {
            let piece = (upload.bytes - bytes.len() as u64).min(99_991) as usize;
            bytes.extend_from_slice(&upload.source.read(bytes.len() as u64, piece).unwrap());
        }
        assert_eq!(crate::avro::sha256(&bytes), upload.sha256);
        let bytes = Bytes::from(bytes);
        self.retained.lock().unwrap().extend(upload.retain_until);
        let fault = self.begin("put", key.as_str())?;
        let unknown = || error(ObjectErrorKind::OutcomeUnknown, "put", key.as_str());
        match fault {
            Some(Fault::RequestLost) => return Err(unknown()),
            Some(Fault::Late) => {
                self.late.lock().unwrap().push((key.to_string(), bytes));
                return Err(unknown());
            }
            _ => {}
        }
        let mut objects = self.objects.lock().unwrap();
        let put = match objects.get(key.as_str()) {
            None => {
                objects.insert(key.to_string(), bytes);
                Put::Created
            }
            Some(there) if *there == bytes => Put::SameThere,
            Some(_) => Put::OtherThere,
        };
        if fault.is_some() { Err(unknown()) } else { Ok(put) }
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.meter.begin(RequestKind::Get, 0);
        self.begin("get", key.as_str())?;
        let found = self.objects.lock().unwrap().get(key.as_str()).cloned();
        let found = found.ok_or_else(|| error(ObjectErrorKind::NotFound, "get", key.as_str()))?;
        if found.len() as u64 > bytes_max {
            return Err(error(ObjectErrorKind::Invalid, "get", key.as_str()));
        }
        Ok(found)
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.meter.begin(RequestKind::Get, 0);
        self.begin("get", key.as_str())?;
        let found = self.objects.lock().unwrap().get(key.as_str()).cloned();
        let found = found.ok_or_else(|| error(ObjectErrorKind::NotFound, "get", key.as_str()))?;
        let begin = offset as usize;
        if begin + bytes > found.len() {
            return Err(error(ObjectErrorKind::Invalid, "get", key.as_str()));
        }
        Ok(found.slice(begin..begin + bytes))
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.meter.begin(RequestKind::Head, 0);
        self.begin("head", key.as_str())?;
        let objects = self.objects.lock().unwrap();
        let found = objects.get(key.as_str()).ok_or_else(|| error(ObjectErrorKind::NotFound, "head", key.as_str()))?;
        Ok(Head { bytes: found.len() as u64, sha256: None })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.meter.begin(RequestKind::List, 0);
        self.begin("list", prefix)?;
        let objects = self.objects.lock().unwrap();
        let fitting = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut fitting = fitting.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let page: Vec<Listed> = fitting
            .by_ref()
            .take(limit)
            .map(|(key, bytes)| Listed { key: key.clone(), bytes: bytes.len() as u64 })
            .collect();
        let next = fitting.next().and(page.last()).map(|last| last.key.clone());
        Ok(Page { objects: page, next })
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.meter.begin(RequestKind::Delete, 0);
        self.begin("delete", key.as_str())?;
        self.objects.lock().unwrap().remove(key.as_str());
        Ok(())
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        crate::objects::prove(self, key, upload.bytes, &upload.sha256)
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        let version = |id: &str, bytes: usize, is_delete_marker| Version {
            id: id.to_owned(),
            bytes: bytes as u64,
            is_delete_marker,
            retain_until: None,
        };
        let found = self.objects.lock().unwrap().get(key.as_str()).map(Bytes::len);
        let hidden = self.hidden.lock().unwrap().get(key.as_str()).map(Bytes::len);
        let mut versions: Vec<Version> = found.map(|bytes| version("v2", bytes, false)).into_iter().collect();
        versions.extend(hidden.into_iter().flat_map(|bytes| [version("m", 0, true), version("v1", bytes, false)]));
        Ok(versions)
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        Ok(Abilities { conditional_put: true, ..Abilities::default() })
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}
