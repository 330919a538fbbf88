//! An object store in memory that goes wrong when told to.
//!
//! Every call of the trait has a number, from 1; a [`Fault`] is set for a number. Without one it is a store like any other
//! (the suite of all stores runs on it).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::avro::sha256;
use crate::clock::Clock;
use crate::objects::{
    Abilities, Head, Listed, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof,
    Put, RequestKind, Upload, Version,
};
use crate::types::Timestamp;

/// Bytes of a source read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// How one call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens.
    Before(ObjectErrorKind),
    /// Nothing happens; `Unavailable`, and the store asks to be left alone for so long.
    Busy(Duration),
    /// It happens, and the answer is lost.
    LostAnswer,
    /// It does not happen, and nobody is told so: an unknown outcome.
    LostRequest,
    /// An unknown outcome; the object appears when so many further calls have begun. Of a read or a delete: the request is lost.
    Late(u64),
    /// So much time passes, then the deadline of the call: it happened, or not.
    Hang {
        /// How long.
        span: Duration,
        /// Whether it happens.
        happens: bool,
    },
    /// What is read ends early.
    Truncated,
    /// What is read has a wrong bit.
    Flipped,
    /// The store says another length than the object has.
    WrongLength,
    /// The store says another checksum than the object has.
    WrongChecksum,
    /// Somebody else's object is at the key before this put.
    Taken,
    /// Nothing happens in this call, nor in any after it, until [`FaultyStore::heal`]: a bucket that is gone, credentials that ended.
    Down(ObjectErrorKind),
}

impl Fault {
    /// Whether it makes a difference to such a call.
    #[must_use]
    pub fn concerns(self, call: &Call) -> bool {
        match self {
            Self::Before(_)
            | Self::Busy(_)
            | Self::LostAnswer
            | Self::LostRequest
            | Self::Hang { .. }
            | Self::Down(_) => true,
            Self::Late(_) | Self::Taken => call.operation == "put",
            Self::Truncated | Self::Flipped => matches!(call.operation, "get" | "get range" | "prove"),
            Self::WrongLength | Self::WrongChecksum => matches!(call.operation, "head" | "prove"),
        }
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// From 1.
    pub number: u64,
    /// `put`, `get`, `get range`, `head`, `list`, `delete`, `prove`, `versions`, `probe`.
    pub operation: &'static str,
    /// The key, or prefix.
    pub key: String,
}

/// When an [observer](FaultyStore::observe) is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the call happened yet.
    Before,
    /// All of it happened; nobody was told.
    After,
}

type Observer = Arc<dyn Fn(&FaultyStore, &Call, Moment) + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    bytes: Bytes,
    retain_until: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    calls: Vec<Call>,
    faults: BTreeMap<u64, Fault>,
    down: Option<ObjectErrorKind>,
    /// No right to read.
    is_unreadable: bool,
    /// Puts that appear when the call of that number begins.
    late: Vec<(u64, String, Object)>,
    /// How often each key was created.
    created: BTreeMap<String, u64>,
    observer: Option<Observer>,
}

/// A store in memory. See the module.
pub struct FaultyStore {
    clock: Arc<dyn Clock>,
    place: String,
    abilities: Abilities,
    state: Mutex<State>,
    meter: Meter,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What a call is to do.
struct Turn {
    number: u64,
    fault: Option<Fault>,
}

impl FaultyStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let abilities = Abilities {
            conditional_put: true,
            checks_checksums: true,
            tells_checksums: true,
            retention: true,
            server: Some("memory".into()),
            ..Abilities::default()
        };
        Self { clock, place: "memory".into(), abilities, state: Mutex::default(), meter: Meter::default() }
    }

    /// The same with other abilities: what [`probe`](ObjectStore::probe) answers. Without `conditional_put` a put replaces what is there.
    #[must_use]
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        self.abilities = abilities;
        self
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, place: &str) -> Self {
        place.clone_into(&mut self.place);
        self
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another store with the objects that are there now, and those that are late; nothing goes wrong there, and no call was made.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let state = self.state();
        let made = state.calls.len() as u64;
        let late = state.late.iter().map(|(at, key, object)| (at.saturating_sub(made), key.clone(), object.clone()));
        let copy = State {
            objects: state.objects.clone(),
            late: late.collect(),
            created: state.created.clone(),
            ..State::default()
        };
        Self {
            clock: Arc::clone(&self.clock),
            place: self.place.clone(),
            abilities: self.abilities.clone(),
            state: Mutex::new(copy),
            meter: Meter::default(),
        }
    }

    /// Lets the call of this number (from 1) go wrong.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.state().faults.insert(number, fault);
    }

    /// Lets the next call go wrong.
    pub fn fail_next(&self, fault: Fault) {
        let mut state = self.state();
        let next = state.calls.len() as u64 + 1;
        state.faults.insert(next, fault);
    }

    /// Every call fails from now on.
    pub fn go_down(&self, kind: ObjectErrorKind) {
        self.state().down = Some(kind);
    }

    /// Whether there is a right to read: get, head, prove.
    pub fn set_readable(&self, is_readable: bool) {
        self.state().is_unreadable = !is_readable;
    }

    /// Nothing goes wrong from now on. What is late stays late.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.down, state.is_unreadable) = (None, false);
        state.faults.clear();
    }

    /// Calls `observer` before each call, and after what it did.
    pub fn observe(&self, observer: impl Fn(&Self, &Call, Moment) + Send + Sync + 'static) {
        self.state().observer = Some(Arc::new(observer));
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Every object, by key.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.state().objects.iter().map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
    }

    /// How often each key was created, also of objects that are gone, also in the stores that this is a snapshot of.
    #[must_use]
    pub fn created(&self) -> BTreeMap<String, u64> {
        self.state().created.clone()
    }

    /// Puts an object there, behind everybody's back, or replaces it.
    pub fn plant(&self, key: &str, bytes: Bytes) {
        self.state().objects.insert(key.to_owned(), Object { bytes, retain_until: None });
    }

    /// Takes an object away, behind everybody's back.
    pub fn lose(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// Everything late appears now, where its key is free.
    pub fn settle(&self) {
        let mut state = self.state();
        for (_, key, object) in std::mem::take(&mut state.late) {
            create(&mut state, &key, object);
        }
    }

    fn error(&self, kind: ObjectErrorKind, operation: &'static str, key: &str, what: &str) -> ObjectError {
        ObjectError {
            kind,
            operation,
            place: self.place.as_str().into(),
            key: key.into(),
            what: what.into(),
            retry_after: None,
            source: None,
        }
    }

    fn observed(&self, number: u64, moment: Moment) {
        let (observer, call) = {
            let state = self.state();
            let call = usize::try_from(number - 1).ok().and_then(|at| state.calls.get(at)).cloned();
            (state.observer.clone(), call)
        };
        if let (Some(observer), Some(call)) = (observer, call) {
            observer(self, &call, moment);
        }
    }

    /// Begins a call. An error is one before anything happens.
    fn begin(&self, sent_bytes: u64, operation: &'static str, key: &str) -> ObjectResult<Turn> {
        self.meter.begin(kind_of(operation), sent_bytes);
        let number = {
            let mut state = self.state();
            let number = state.calls.len() as u64 + 1;
            state.calls.push(Call { number, operation, key: key.to_owned() });
            let (due, late) = std::mem::take(&mut state.late).into_iter().partition(|(at, ..)| *at <= number);
            state.late = late;
            for (_, key, object) in due {
                create(&mut state, &key, object);
            }
            number
        };
        self.observed(number, Moment::Before);
        let fault = {
            let mut state = self.state();
            let fault = state.faults.remove(&number);
            if let Some(Fault::Down(kind)) = fault {
                state.down = Some(kind);
            }
            if let Some(kind) = state.down {
                self.meter.failed(kind_of(operation));
                return Err(self.error(kind, operation, key, "everything fails"));
            }
            if state.is_unreadable && matches!(operation, "get" | "get range" | "head" | "prove") {
                return Err(self.error(ObjectErrorKind::Denied, operation, key, "there is no right to read"));
            }
            fault
        };
        let failed = |kind, what| {
            self.meter.failed(kind_of(operation));
            Err(self.error(kind, operation, key, what))
        };
        let is_write = matches!(operation, "put" | "delete");
        match fault {
            Some(Fault::Before(kind)) => failed(kind, "nothing happened"),
            Some(Fault::Busy(span)) => {
                self.meter.failed(kind_of(operation));
                let error = self.error(ObjectErrorKind::Unavailable, operation, key, "slow down");
                Err(ObjectError { retry_after: Some(span), ..error })
            }
            Some(Fault::Hang { span, .. }) => {
                self.clock.sleep(span);
                match fault {
                    Some(Fault::Hang { happens: true, .. }) if is_write => Ok(Turn { number, fault }),
                    _ if is_write => failed(ObjectErrorKind::OutcomeUnknown, "no answer within the deadline"),
                    _ => failed(ObjectErrorKind::Unavailable, "no answer within the deadline"),
                }
            }
            Some(Fault::LostRequest | Fault::LostAnswer) if !is_write => {
                failed(ObjectErrorKind::Unavailable, "the connection was reset")
            }
            Some(Fault::LostRequest) => failed(ObjectErrorKind::OutcomeUnknown, "the connection was reset"),
            Some(Fault::Late(_)) if operation != "put" => failed(
                if is_write { ObjectErrorKind::OutcomeUnknown } else { ObjectErrorKind::Unavailable },
                "no answer within the deadline",
            ),
            _ => Ok(Turn { number, fault }),
        }
    }

    /// Ends a write that happened.
    fn end<T>(&self, turn: &Turn, operation: &'static str, key: &str, value: T) -> ObjectResult<T> {
        self.observed(turn.number, Moment::After);
        match turn.fault {
            Some(Fault::LostAnswer | Fault::Hang { happens: true, .. }) => {
                self.meter.failed(kind_of(operation));
                Err(self.error(ObjectErrorKind::OutcomeUnknown, operation, key, "the answer was lost"))
            }
            _ => Ok(value),
        }
    }

    fn found(&self, operation: &'static str, key: &ObjectKey) -> ObjectResult<Object> {
        let found = self.state().objects.get(key.as_str()).cloned();
        found.ok_or_else(|| self.error(ObjectErrorKind::NotFound, operation, key.as_str(), "there is no such object"))
    }

    /// What arrives of what was read.
    fn read(&self, turn: &Turn, bytes: Bytes) -> Bytes {
        let bytes = match turn.fault {
            Some(Fault::Truncated) => bytes.slice(..bytes.len() / 2),
            Some(Fault::Flipped) => flipped(&bytes),
            _ => bytes,
        };
        self.meter.received(RequestKind::Get, bytes.len() as u64);
        self.observed(turn.number, Moment::After);
        bytes
    }

    /// All bytes of the source, checked.
    fn receive(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Bytes> {
        let corrupt = |what| self.error(ObjectErrorKind::Corrupt, "put", key.as_str(), what);
        let mut received = BytesMut::new();
        while (received.len() as u64) < upload.bytes {
            let at = received.len() as u64;
            let piece = usize::try_from((upload.bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
            let piece = upload.source.read(at, piece).map_err(|error| ObjectError {
                source: Some(Box::new(error)),
                ..corrupt("the source cannot be read")
            })?;
            received.extend_from_slice(&piece);
        }
        let received = received.freeze();
        if sha256(&received) != upload.sha256 {
            return Err(corrupt("the source is not what it should be: its SHA-256 differs"));
        }
        Ok(received)
    }
}

fn kind_of(operation: &str) -> RequestKind {
    match operation {
        "put" | "probe" => RequestKind::Put,
        "delete" => RequestKind::Delete,
        "list" | "versions" => RequestKind::List,
        "head" | "prove" => RequestKind::Head,
        _ => RequestKind::Get,
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

/// Whether the key was free.
fn create(state: &mut State, key: &str, object: Object) -> bool {
    if state.objects.contains_key(key) {
        return false;
    }
    state.objects.insert(key.to_owned(), object);
    *state.created.entry(key.to_owned()).or_default() += 1;
    true
}

impl ObjectStore for FaultyStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        let turn = self.begin(upload.bytes, "put", key.as_str())?;
        let bytes = self.receive(key, upload)?;
        let object = Object { bytes, retain_until: upload.retain_until };
        let put = {
            let mut state = self.state();
            if turn.fault == Some(Fault::Taken) {
                let bytes = flipped(&object.bytes);
                state.objects.entry(key.as_str().to_owned()).or_insert(Object { bytes, retain_until: None });
            }
            if let Some(Fault::Late(calls)) = turn.fault {
                let at = turn.number + calls;
                state.late.push((at, key.as_str().to_owned(), object));
                self.meter.failed(RequestKind::Put);
                let what = "no answer within the deadline";
                return Err(self.error(ObjectErrorKind::OutcomeUnknown, "put", key.as_str(), what));
            }
            if !self.abilities.conditional_put {
                state.objects.remove(key.as_str());
            }
            let is_same = state.objects.get(key.as_str()).is_some_and(|there| there.bytes == object.bytes);
            match create(&mut state, key.as_str(), object) {
                true => Put::Created,
                false if is_same => Put::SameThere,
                false => Put::OtherThere,
            }
        };
        self.end(&turn, "put", key.as_str(), put)
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        let turn = self.begin(0, "get", key.as_str())?;
        let bytes = self.found("get", key)?.bytes;
        if bytes.len() as u64 > bytes_max {
            return Err(self.error(ObjectErrorKind::Invalid, "get", key.as_str(), "it is larger than asked for"));
        }
        Ok(self.read(&turn, bytes))
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        let turn = self.begin(0, "get range", key.as_str())?;
        let object = self.found("get range", key)?.bytes;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.checked_add(bytes).filter(|end| *end <= object.len());
        let Some(end) = end else {
            return Err(self.error(ObjectErrorKind::Invalid, "get range", key.as_str(), "it ends before that"));
        };
        Ok(self.read(&turn, object.slice(begin..end)))
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        let turn = self.begin(0, "head", key.as_str())?;
        let object = self.found("head", key)?.bytes;
        let (mut bytes, mut sha256) = (object.len() as u64, sha256(&object));
        match turn.fault {
            Some(Fault::WrongLength) => bytes += 1,
            Some(Fault::WrongChecksum) => sha256[0] ^= 1,
            _ => {}
        }
        self.observed(turn.number, Moment::After);
        Ok(Head { bytes, sha256: Some(sha256) })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        let turn = self.begin(0, "list", prefix)?;
        let state = self.state();
        let is_wanted = |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
        let mut objects: Vec<Listed> = state
            .objects
            .iter()
            .filter(|(key, _)| is_wanted(key))
            .take(limit + 1)
            .map(|(key, object)| Listed { key: key.clone(), bytes: object.bytes.len() as u64 })
            .collect();
        drop(state);
        let has_more = objects.len() > limit;
        objects.truncate(limit);
        let next = objects.last().filter(|_| has_more).map(|last| last.key.clone());
        self.observed(turn.number, Moment::After);
        Ok(Page { objects, next })
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        let turn = self.begin(0, "delete", key.as_str())?;
        {
            let mut state = self.state();
            let until = state.objects.get(key.as_str()).and_then(|object| object.retain_until);
            if until.is_some_and(|until| until > self.clock.now()) {
                return Err(self.error(ObjectErrorKind::Denied, "delete", key.as_str(), "it is retained"));
            }
            state.objects.remove(key.as_str());
        }
        self.end(&turn, "delete", key.as_str(), ())
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        let turn = self.begin(0, "prove", key.as_str())?;
        let object = self.found("prove", key)?.bytes;
        let lies =
            matches!(turn.fault, Some(Fault::Truncated | Fault::Flipped | Fault::WrongLength | Fault::WrongChecksum));
        if lies || object.len() as u64 != upload.bytes || sha256(&object) != upload.sha256 {
            return Err(self.error(ObjectErrorKind::Corrupt, "prove", key.as_str(), "it is another object"));
        }
        self.observed(turn.number, Moment::After);
        Ok(Proof::StoreChecksum)
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        let turn = self.begin(0, "versions", key.as_str())?;
        let object = self.state().objects.get(key.as_str()).cloned();
        self.observed(turn.number, Moment::After);
        Ok(object
            .map(|object| Version {
                id: String::new(),
                bytes: object.bytes.len() as u64,
                is_delete_marker: false,
                retain_until: object.retain_until,
            })
            .into_iter()
            .collect())
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        let turn = self.begin(0, "probe", "")?;
        self.observed(turn.number, Moment::After);
        Ok(self.abilities.clone())
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[cfg(test)]
mod tests;
