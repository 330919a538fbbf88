//! Tries out what every store must be able to do, on one object of its own.
//!
//! Owns: the order of the tries, and that nothing of them stays: the object is removed whatever fails between, as far as the right to
//! delete is there. Who may not delete archives all the same: only retention needs that right, and it can be another account's. What only one vendor has (parts, versions, retention) its implementation tries itself.

use bytes::Bytes;

use super::{Abilities, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Put, Upload};
use crate::types::ids::hex;

/// What the keys of tried objects begin with.
pub const PREFIX: &str = "_probe/";

/// Puts an object, puts another one under the same key, lists, reads and deletes.
///
/// # Errors
/// The first try that failed; its operation and key tell which.
pub fn try_out(store: &dyn ObjectStore) -> ObjectResult<Abilities> {
    let name = format!("{PREFIX}{}", hex(&fastrand::u128(..).to_le_bytes()));
    let key = ObjectKey::new(name).expect("letters and digits");
    let outcome = try_all(store, &key);
    let removed = store.delete(&key);
    let abilities = outcome?;
    if !is_removed(removed)? {
        return Ok(abilities);
    }
    match store.head(&key) {
        Err(error) if error.is_not_found() => Ok(abilities),
        Err(error) => Err(error),
        Ok(_) => Err(wrong(store, "delete", &key, "what was deleted is still there")),
    }
}

/// Whether an object of a try is gone; not where the right to delete is missing.
///
/// # Errors
/// Any other reason.
pub(super) fn is_removed(removed: ObjectResult<()>) -> ObjectResult<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind == ObjectErrorKind::Denied => Ok(false),
        Err(error) => Err(error),
    }
}

fn try_all(store: &dyn ObjectStore, key: &ObjectKey) -> ObjectResult<Abilities> {
    let (one, other) = (Bytes::from_static(b"icecore tries this store"), Bytes::from_static(b"another object"));
    let upload = Upload::of_bytes(&one);
    if store.put_if_absent(key, &upload)? != Put::Created {
        return Err(wrong(store, "put", key, "a key that nobody knows is taken"));
    }
    let conditional_put = store.put_if_absent(key, &Upload::of_bytes(&other))? == Put::OtherThere;
    let listed = store.list(key.as_str(), None, 10)?;
    if !listed.objects.iter().any(|object| object.key == key.as_str()) {
        return Err(wrong(store, "list", key, "what was put is not listed"));
    }
    let read = store.get(key, 1 << 10)?;
    if conditional_put && read != one {
        return Err(wrong(store, "get", key, "what was put is not what is read"));
    }
    let tells_checksums = store.head(key)?.sha256.is_some();
    Ok(Abilities { conditional_put, tells_checksums, ..Abilities::default() })
}

fn wrong(store: &dyn ObjectStore, operation: &'static str, key: &ObjectKey, what: &str) -> ObjectError {
    let (place, key, what) = (store.place().into(), key.as_str().into(), what.into());
    ObjectError { kind: ObjectErrorKind::Failed, operation, place, key, what, retry_after: None, source: None }
}
