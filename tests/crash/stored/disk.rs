//! Sinks whose data and cursor lie on the simulated disk of their log.
//!
//! A folder for each collection, with two files. `data/frames`: frames, one for each batch, each with a checksum that goes on from the one before it. `cursor`:
//! where the last frame ends that counts, its checksum, and the cursor. A sink that keeps what it has makes the frame durable, then its name, and then
//! replaces the cursor. One that forgets has no second file: it syncs now and then only, and its cursor is that of the last whole frame.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use icecore::fs::{File, FileSystem, FsError, FsResult, OpenMode, SimulatedFileSystem, durable};
use icecore::sink::{Batch, Cursor, Sink};
use icecore::{CollectionName, Epoch, Error, ErrorKind, Header, Record, RecordKind, Result, Sequence, Timestamp};

use crate::workload::Broken;

/// Keeps every promise, and every collection subscribes to it at all times.
pub const KEEPS: &str = "keeps";
/// Keeps every promise; collections subscribe to it, and do not any more, and do again.
pub const LATE: &str = "late";
/// Loses what it did not sync: of its promises that one is broken.
pub const FORGETS: &str = "forgets";
/// In this order they are delivered to: whoever has something first is not the one that must have it.
pub const NAMES: [&str; 3] = [FORGETS, LATE, KEEPS];

/// Each has a place of its own, of which this is the beginning: nothing is durable for one because another synced it, or not because it did not.
pub const PLACE: &str = "/sink-";
const BATCH_BYTES: u64 = 3 << 10;
/// Of so many batches, one that forgets syncs one.
const SYNC_EVERY: u64 = 3;
const HEAD_BYTES: usize = 8;
const CURSOR_BYTES: usize = 5 * 8;

/// A rule of writing a sink that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkRule {
    /// Its data are durable before the cursor.
    DataBeforeCursor,
    /// The name of its data is durable before the cursor.
    NameBeforeCursor,
}

/// Called once, between the data of a batch and its cursor.
pub type Between = Box<dyn FnOnce() + Send>;

/// One sink.
pub struct DiskSink {
    name: &'static str,
    fs: SimulatedFileSystem,
    broken: Option<SinkRule>,
    pub between: Mutex<Option<Between>>,
}

impl std::fmt::Debug for DiskSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskSink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a sink has of a collection.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub cursor: Option<Cursor>,
    pub records: Vec<Record>,
}

/// Up to where its data count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    epoch: u64,
    sequence: u64,
    floor: u64,
    offset: u64,
    checksum: u64,
}

impl End {
    const fn cursor(self) -> Cursor {
        Cursor { epoch: Epoch(self.epoch), sequence: Sequence(self.sequence) }
    }

    fn encode(self) -> Vec<u8> {
        [self.epoch, self.sequence, self.floor, self.offset, self.checksum]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = bytes;
        let end = Self {
            epoch: number(&mut from)?,
            sequence: number(&mut from)?,
            floor: number(&mut from)?,
            offset: number(&mut from)?,
            checksum: number(&mut from)?,
        };
        from.is_empty().then_some(end)
    }
}

impl DiskSink {
    pub fn new(name: &'static str, fs: &SimulatedFileSystem, broken: Option<SinkRule>) -> Self {
        Self { name, fs: fs.clone(), broken, between: Mutex::default() }
    }

    /// What it durably has, or thinks that it has: only a sink that forgets may have less than its cursor says.
    pub fn held(&self, collection: &CollectionName) -> std::result::Result<Held, Broken> {
        let told = |what: &str| format!("sink `{}`, collection `{collection}`: {what}", self.name);
        let end = self.end(collection).map_err(|error| told(&error.to_string()))?;
        let Some(end) = end else { return Ok(Held::default()) };
        let data = read(&self.fs, &self.folder(collection).join("data/frames"), usize::MAX)
            .map_err(|error| told(&error.to_string()))?
            .unwrap_or_default();
        let (frames, whole) = frames(&data);
        let counted: Vec<&Frame> = frames.iter().filter(|frame| frame.end.offset <= end.offset).collect();
        let last = counted.last().map_or(End::default(), |frame| frame.end);
        if (last.offset, last.checksum) != (end.offset, end.checksum) {
            let cursor = end.sequence;
            return Err(told(&format!(
                "its cursor is `{cursor}`, and its data are whole up to `{}` only",
                whole.sequence
            )));
        }
        let mut records: Vec<Record> = counted.into_iter().flat_map(|frame| frame.records.clone()).collect();
        records.retain(|record| record.sequence.0 >= end.floor);
        Ok(Held { cursor: Some(end.cursor()), records })
    }

    fn folder(&self, collection: &CollectionName) -> PathBuf {
        let hex: String = collection.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
        Path::new(&format!("{PLACE}{}", self.name)).join(hex)
    }

    fn forgets(&self) -> bool {
        self.name == FORGETS
    }

    fn end(&self, collection: &CollectionName) -> Result<Option<End>> {
        let folder = self.folder(collection);
        if self.forgets() {
            let data = read(&self.fs, &folder.join("data/frames"), usize::MAX)?;
            return Ok(data.map(|data| frames(&data).1).filter(|end| end.offset > 0));
        }
        let Some(bytes) = read(&self.fs, &folder.join("cursor"), CURSOR_BYTES)? else { return Ok(None) };
        let why = || Error::new(ErrorKind::Corrupt, format!("no cursor: path=`{}`", folder.display()));
        End::decode(&bytes).ok_or_else(why).map(Some)
    }

    fn put(&self, collection: &CollectionName, before: Option<End>, mut end: End, records: &[Record]) -> Result<()> {
        let folder = self.folder(collection);
        let at = before.unwrap_or_default();
        let frame = encode(&mut end, at, records);
        let path = folder.join("data/frames");
        if self.forgets() {
            return Ok(self.put_somehow(&path, at.offset, &frame, end)?);
        }
        let names = path.parent().unwrap_or(&folder);
        if before.is_none() {
            durable::create_dir_all(&self.fs, names)?;
        }
        let file = create_or_open(&self.fs, &path)?;
        file.write_all_at(&frame, at.offset)?;
        let cursor = || durable::replace_small(&self.fs, &folder.join("cursor"), &end.encode());
        if self.broken == Some(SinkRule::DataBeforeCursor) {
            cursor()?;
        }
        file.sync_data()?;
        if before.is_none() && self.broken != Some(SinkRule::NameBeforeCursor) {
            self.fs.sync_dir(names)?;
        }
        let between = self.between.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(between) = between {
            between();
        }
        if self.broken == Some(SinkRule::DataBeforeCursor) {
            return Ok(());
        }
        Ok(cursor()?)
    }

    fn put_somehow(&self, path: &Path, offset: u64, frame: &[u8], end: End) -> FsResult<()> {
        let folder = path.parent().unwrap_or(path);
        let above: Vec<&Path> = folder.ancestors().filter(|path| path.parent().is_some()).collect();
        for folder in above.into_iter().rev() {
            match self.fs.create_dir(folder) {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        let file = create_or_open(&self.fs, path)?;
        file.write_all_at(frame, offset)?;
        if end.sequence.is_multiple_of(SYNC_EVERY) {
            file.sync_data()?;
            for folder in folder.ancestors() {
                self.fs.sync_dir(folder)?;
            }
        }
        Ok(())
    }
}

impl Sink for DiskSink {
    fn name(&self) -> &str {
        self.name
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        Ok(self.end(collection)?.map(End::cursor))
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        let before = self.end(batch.collection)?;
        let fresh = batch.fresh(before.map(End::cursor))?;
        let at = before.unwrap_or_default();
        let end = End { epoch: batch.epoch.0, sequence: at.sequence.max(batch.through.0), ..at };
        self.put(batch.collection, before, end, fresh)
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        let before = self.end(collection)?;
        let at = before.unwrap_or_default();
        if at.floor >= floor.0 {
            return Ok(());
        }
        self.put(collection, before, End { floor: floor.0, ..at }, &[])
    }

    fn batch_bytes(&self) -> u64 {
        BATCH_BYTES
    }
}

fn read(fs: &SimulatedFileSystem, path: &Path, bytes_max: usize) -> FsResult<Option<Vec<u8>>> {
    match durable::read_small(fs, path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn create_or_open(fs: &SimulatedFileSystem, path: &Path) -> std::result::Result<Arc<dyn File>, FsError> {
    match fs.open(path, OpenMode::CreateNew) {
        Err(error) if error.is_already_exists() => fs.open(path, OpenMode::ReadWrite),
        opened => opened,
    }
}

/// A batch as it lies there.
struct Frame {
    end: End,
    records: Vec<Record>,
}

/// The frames from the front, up to the first that is not whole, and where they end.
fn frames(data: &[u8]) -> (Vec<Frame>, End) {
    let (mut frames, mut end) = (Vec::new(), End::default());
    loop {
        let rest = &data[end.offset as usize..];
        let Some(frame) = decode(rest, end) else { return (frames, end) };
        end = frame.end;
        frames.push(frame);
    }
}

/// Length of the body, its checksum, the body.
fn encode(end: &mut End, at: End, records: &[Record]) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [end.epoch, at.sequence, end.sequence, end.floor, records.len() as u64] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    records.iter().for_each(|record| encode_record(&mut body, record));
    let checksum = crc32c::crc32c_append(at.checksum as u32, &body);
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(&body);
    (end.offset, end.checksum) = (at.offset + frame.len() as u64, checksum.into());
    frame
}

fn decode(rest: &[u8], at: End) -> Option<Frame> {
    let head = rest.get(..HEAD_BYTES)?;
    let len = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(head[4..].try_into().ok()?);
    let body = rest.get(HEAD_BYTES..HEAD_BYTES.checked_add(len)?)?;
    if len == 0 || crc32c::crc32c_append(at.checksum as u32, body) != checksum {
        return None;
    }
    let mut from = body;
    let (epoch, after) = (number(&mut from)?, number(&mut from)?);
    let (sequence, floor, count) = (number(&mut from)?, number(&mut from)?, number(&mut from)?);
    let records = (0..count).map(|_| decode_record(&mut from)).collect::<Option<Vec<_>>>()?;
    let offset = at.offset + (HEAD_BYTES + len) as u64;
    let end = End { epoch, sequence, floor, offset, checksum: checksum.into() };
    (after == at.sequence && from.is_empty()).then_some(Frame { end, records })
}

fn encode_record(out: &mut Vec<u8>, record: &Record) {
    let some = |out: &mut Vec<u8>, bytes: Option<&[u8]>| {
        out.extend_from_slice(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes.unwrap_or_default());
    };
    out.extend_from_slice(&record.sequence.0.to_le_bytes());
    out.extend_from_slice(&record.timestamp.0.to_le_bytes());
    out.extend_from_slice(&u64::from(record.kind == RecordKind::Delete).to_le_bytes());
    some(out, record.key.as_deref());
    some(out, record.expires_at.map(|at| at.0.to_le_bytes()).as_ref().map(|bytes| &bytes[..]));
    out.extend_from_slice(&(record.headers.len() as u64).to_le_bytes());
    for header in &record.headers {
        some(out, Some(header.key.as_bytes()));
        some(out, Some(&header.value));
    }
    some(out, record.payload.as_deref());
}

fn decode_record(from: &mut &[u8]) -> Option<Record> {
    let sequence = Sequence(number(from)?);
    let timestamp = Timestamp(number(from)?.cast_signed());
    let kind = if number(from)? == 1 { RecordKind::Delete } else { RecordKind::Put };
    let key = some(from)?;
    let expires_at = match some(from)? {
        Some(bytes) => Some(Timestamp(i64::from_le_bytes((&*bytes).try_into().ok()?))),
        None => None,
    };
    let headers = (0..number(from)?)
        .map(|_| Some(Header { key: String::from_utf8(some(from)??.to_vec()).ok()?, value: some(from)?? }))
        .collect::<Option<Vec<_>>>()?;
    Some(Record { sequence, timestamp, kind, key, expires_at, headers, payload: some(from)? })
}

fn number(from: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*bytes))
}

fn some(from: &mut &[u8]) -> Option<Option<Bytes>> {
    let len = number(from)?;
    if len == u64::MAX {
        return Some(None);
    }
    let (bytes, rest) = from.split_at_checked(usize::try_from(len).ok()?)?;
    *from = rest;
    Some(Some(Bytes::copy_from_slice(bytes)))
}
