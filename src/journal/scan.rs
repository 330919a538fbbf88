//! Reads a journal file as a crash or a disk left it (J2, J4, J5, J6).
//!
//! Owns: which groups count, what was lost, what was dropped. Writes nothing, and gives up on nothing: behind damage it
//! looks for the next group. Memory is bounded by the largest group and the index of runs; payloads are not kept.
//!
//! How a file is judged. D is the highest `durable_to` in any valid group, or the end that a later journal's OPEN gave.
//! Bad bytes that begin before D are a loss. From D on, groups count up to the first bad byte: what lies behind was never
//! known to be synced, and at most unacknowledged.

use std::collections::HashSet;

use super::file::{FileId, HEADER_BYTES, HeaderError, JournalHeader};
use super::group::{self, Control, DecodedGroup, HeldBefore, Move, Open, Predecessor};
use crate::avro::container::SYNC_BYTES;
use crate::avro::record;
use crate::fs::{File, FsResult};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Enough to decode a block's header, or a PAD's.
const PROBE_BYTES: usize = 64;

/// A run of one collection's records in a journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRun {
    /// The collection.
    pub collection: CollectionName,
    /// First sequence.
    pub first: Sequence,
    /// How many records.
    pub count: u64,
    /// Where the first one lies in the file.
    pub offset: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// When its group was written, by the clock then.
    pub written_at: Timestamp,
}

/// Bytes that were acknowledged and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the bad bytes begin.
    pub offset: u64,
    /// How many there are, as far as can be told.
    pub bytes: u64,
    /// What is wrong with the first of them.
    pub reason: String,
    /// What the neighbours' tables say was there.
    pub lost: Vec<HeldBefore>,
    /// Bytes of groups of which no table tells: what they held is unknown (J6).
    pub unknown_bytes: u64,
}

/// What lies behind the last group that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The filler, or nothing.
    Clean,
    /// Bytes that are no whole group: a write that a crash cut short, or a group that was damaged before anything
    /// proved it synced.
    Torn {
        /// How many, as far as can be told.
        bytes: u64,
    },
}

/// What a journal file holds.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The header, where it is whole.
    pub header: Option<JournalHeader>,
    /// Which life of the file; from the file's last bytes where the header is damaged.
    pub file_id: FileId,
    /// The runs that count, in order.
    pub runs: Vec<ScannedRun>,
    /// How many groups count.
    pub groups: u64,
    /// Where the last group that counts ends.
    pub end: u64,
    /// Its checksum; 0 where there is none.
    pub checksum: u32,
    /// What it held.
    pub last_held: Vec<HeldBefore>,
    /// D: what is known to be synced.
    pub durable_to: u64,
    /// Losses.
    pub damage: Vec<Damage>,
    /// What lies behind the end.
    pub tail: Tail,
    /// The OPEN record, where it counts.
    pub open: Option<Open>,
    /// The MOVE records that count, in order.
    pub moves: Vec<Move>,
    /// The newest change of the catalog that OPEN and MARK tell of (C3).
    pub change_number: ChangeNumber,
    /// The last group says that the log was closed in good order.
    pub closed: bool,
}

/// Why a file cannot be scanned at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Reading failed.
    #[error(transparent)]
    Fs(#[from] crate::fs::FsError),
    /// A newer format: refused by name, nothing is guessed (F3).
    #[error(transparent)]
    Newer(HeaderError),
}

/// Scans `file`. `judged` is what a later journal's OPEN says of it, if one does.
///
/// # Errors
/// [`ScanError`]; damage is no error but part of the result.
pub fn scan(file: &dyn File, judged: Option<&Predecessor>) -> Result<Scan, ScanError> {
    let len = file.len()?;
    let mut window = Window { file, len, start: 0, bytes: Vec::new() };
    let header = match JournalHeader::decode(window.at(0, HEADER_BYTES as usize)?) {
        Ok(header) => Some(header),
        Err(HeaderError::Damaged) => None,
        Err(newer) => return Err(ScanError::Newer(newer)),
    };
    let file_id = match (&header, judged) {
        (Some(header), _) => header.file_id,
        (None, Some(judged)) => judged.file_id,
        (None, None) => {
            let mut last = [0; SYNC_BYTES];
            if len >= HEADER_BYTES {
                file.read_exact_at(&mut last, len - SYNC_BYTES as u64)?;
            }
            FileId(last)
        }
    };
    let mut scanner = Scanner { window, file_id, names: HashSet::new(), pieces: Vec::new(), durable_to: HEADER_BYTES };
    if len > HEADER_BYTES {
        scanner.walk()?;
    }
    let mut scan = scanner.judge(judged)?;
    scan.header = header;
    if scan.header.is_none() {
        scan.damage.insert(
            0,
            Damage {
                offset: 0,
                bytes: HEADER_BYTES.min(len),
                reason: "the header is damaged".into(),
                lost: Vec::new(),
                unknown_bytes: 0,
            },
        );
    }
    Ok(scan)
}

/// A group that was found, or a stretch that is none.
enum Piece {
    Group(FoundGroup),
    Bad { offset: u64, reason: &'static str },
}

struct FoundGroup {
    offset: u64,
    end: u64,
    number: u64,
    checksum: u32,
    runs: Vec<ScannedRun>,
    held_before: Vec<HeldBefore>,
    open: Option<Open>,
    moves: Vec<Move>,
    change_number: Option<ChangeNumber>,
    closed: bool,
}

struct Scanner<'a> {
    window: Window<'a>,
    file_id: FileId,
    names: HashSet<CollectionName>,
    pieces: Vec<Piece>,
    durable_to: u64,
}

impl Scanner<'_> {
    /// Finds every valid group, also behind damage, up to the filler or the end of the file.
    fn walk(&mut self) -> FsResult<()> {
        let mut at = HEADER_BYTES;
        while at < self.window.len {
            match self.block_at(at)? {
                Ok(Found::Group(found)) => {
                    at = found.end;
                    self.pieces.push(Piece::Group(found));
                }
                Ok(Found::Pad { span }) => at += span,
                Err(reason) => {
                    let next = self.next_group(at)?;
                    self.pieces.push(Piece::Bad { offset: at, reason });
                    let Some(found) = next else { break };
                    at = found.end;
                    self.pieces.push(Piece::Group(found));
                }
            }
        }
        Ok(())
    }

    fn block_at(&mut self, at: u64) -> FsResult<Result<Found, &'static str>> {
        let len = self.window.len;
        let probe = self.window.at(at, PROBE_BYTES)?;
        if let Some(span) = group::decode_pad(probe, self.file_id) {
            return Ok(if at + span <= len { Ok(Found::Pad { span }) } else { Err("filler ends behind the file") });
        }
        let span = match group::block_span(probe) {
            Ok((_, span)) if at.saturating_add(span) <= len => span,
            Ok(_) => return Ok(Err("block ends behind the file")),
            Err(_) => return Ok(Err("no block header")),
        };
        let bytes = self.window.at(at, span as usize)?;
        match group::decode_group(bytes, self.file_id, at) {
            Ok(decoded) => {
                let found = found_group(&decoded, at, &mut self.names);
                self.durable_to = self.durable_to.max(decoded.head.durable_to.min(at));
                Ok(found.map(Found::Group))
            }
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// The first valid group that begins behind the bad block at `at`: every block ends in the sync marker, so one begins
    /// behind each; and where only the marker itself is damaged, where the block's header says that it ends.
    fn next_group(&mut self, at: u64) -> FsResult<Option<FoundGroup>> {
        if let Ok((_, span)) = group::block_span(self.window.at(at, PROBE_BYTES)?)
            && at.saturating_add(span) < self.window.len
            && let Ok(Found::Group(found)) = self.block_at(at + span)?
        {
            return Ok(Some(found));
        }
        let mut from = at;
        while let Some(marker) = self.window.find(&self.file_id.0, from)? {
            let behind = marker + SYNC_BYTES as u64;
            if let Ok(Found::Group(found)) = self.block_at(behind)? {
                return Ok(Some(found));
            }
            from = marker + 1;
        }
        Ok(None)
    }

    fn judge(mut self, judged: Option<&Predecessor>) -> FsResult<Scan> {
        let durable_to = judged.map_or(self.durable_to, |judged| judged.end.max(self.durable_to));
        let mut scan = Scan {
            header: None,
            file_id: self.file_id,
            runs: Vec::new(),
            groups: 0,
            end: HEADER_BYTES,
            checksum: 0,
            last_held: Vec::new(),
            durable_to,
            damage: Vec::new(),
            tail: Tail::Clean,
            open: None,
            moves: Vec::new(),
            change_number: ChangeNumber(0),
            closed: false,
        };
        let mut expected_number = 0;
        let mut bad: Option<(u64, &'static str)> = None;
        for piece in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Group(found) if judged.is_some_and(|judged| found.offset >= judged.end) => break,
                Piece::Group(found) => {
                    if let Some((offset, reason)) = bad.take() {
                        scan.damage.push(damage_between(offset, reason, expected_number, &found));
                        if found.offset > durable_to {
                            // Part of the bad stretch is behind D: from there on nothing was known to be synced.
                            scan.tail = Tail::Torn { bytes: self.tail_bytes(durable_to)? };
                            return Ok(scan);
                        }
                    }
                    expected_number = found.number + 1;
                    accept(&mut scan, found);
                }
                Piece::Bad { offset, reason } if offset < durable_to => bad = Some((offset, reason)),
                Piece::Bad { offset, .. } => {
                    // Behind a judged end the tail was dropped already, and is not looked at again (J4).
                    if judged.is_none() {
                        scan.tail = Tail::Torn { bytes: self.tail_bytes(offset)? };
                    }
                    return Ok(scan);
                }
            }
        }
        if let Some((offset, reason)) = bad {
            let bytes = durable_to - offset;
            let reason = reason.into();
            scan.damage.push(Damage { offset, bytes, reason, lost: Vec::new(), unknown_bytes: bytes });
        } else if scan.end < durable_to && judged.is_some_and(|judged| scan.end < judged.end) {
            let (offset, bytes) = (scan.end, durable_to - scan.end);
            let reason = "the file is shorter than the next journal says".into();
            scan.damage.push(Damage { offset, bytes, reason, lost: Vec::new(), unknown_bytes: bytes });
        }
        Ok(scan)
    }

    /// How far the bytes of a torn tail go: to the last marker of this life, or to the last byte that is not zero in
    /// what the block's header claims.
    fn tail_bytes(&mut self, from: u64) -> FsResult<u64> {
        let data_end = self.window.len.saturating_sub(SYNC_BYTES as u64);
        let mut end = from;
        let mut at = from;
        while let Some(marker) = self.window.find(&self.file_id.0, at)? {
            if marker < data_end {
                end = marker + SYNC_BYTES as u64;
            }
            at = marker + 1;
        }
        if end == from {
            let claimed = group::block_span(self.window.at(from, PROBE_BYTES)?).map_or(4096, |(_, span)| span);
            let claimed = claimed.clamp(1, data_end.saturating_sub(from).max(1)).min(64 << 20);
            let bytes = self.window.at(from, claimed as usize)?;
            end = from + bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last as u64 + 1);
        }
        Ok(end - from)
    }
}

enum Found {
    Group(FoundGroup),
    Pad { span: u64 },
}

fn accept(scan: &mut Scan, found: FoundGroup) {
    scan.groups += 1;
    scan.end = found.end;
    scan.checksum = found.checksum;
    scan.last_held = found
        .runs
        .iter()
        .map(|run| HeldBefore { collection: run.collection.clone(), first: run.first, count: run.count })
        .collect();
    scan.runs.extend(found.runs);
    scan.open = scan.open.take().or(found.open);
    scan.moves.extend(found.moves);
    scan.change_number = scan.change_number.max(found.change_number.unwrap_or_default());
    scan.closed = found.closed;
}

/// What was lost between the last group that counted and `found`. Its table tells what the group right before it held;
/// of groups further back nothing is known.
fn damage_between(offset: u64, reason: &str, expected_number: u64, found: &FoundGroup) -> Damage {
    let missing = found.number.saturating_sub(expected_number);
    let bytes = found.offset - offset;
    Damage {
        offset,
        bytes,
        reason: reason.into(),
        lost: if missing > 0 { found.held_before.clone() } else { Vec::new() },
        unknown_bytes: if missing > 1 { bytes } else { 0 },
    }
}

fn found_group(
    decoded: &DecodedGroup<'_>,
    at: u64,
    names: &mut HashSet<CollectionName>,
) -> Result<FoundGroup, &'static str> {
    let mut found = FoundGroup {
        offset: at,
        end: at + decoded.span,
        number: decoded.head.group,
        checksum: decoded.head.checksum,
        runs: Vec::with_capacity(decoded.head.holds.len()),
        held_before: decoded.head.held_before.clone(),
        open: None,
        moves: Vec::new(),
        change_number: None,
        closed: false,
    };
    let mut offset = at + decoded.records_at;
    let mut records = decoded.records;
    for held in &decoded.head.holds {
        let (run, rest) = records.split_at(held.bytes as usize);
        if let Some(name) = &held.collection {
            let collection = match names.get(name) {
                Some(known) => known.clone(),
                None => {
                    names.insert(name.clone());
                    name.clone()
                }
            };
            found.runs.push(ScannedRun {
                collection,
                first: held.first,
                count: held.count,
                offset,
                bytes: held.bytes,
                written_at: Timestamp(decoded.head.timestamp_us),
            });
        } else {
            let view = record::decode(run).map_err(|_| "a control record cannot be decoded")?;
            match Control::decode(&view).map_err(|_| "a control record cannot be decoded")? {
                Some(Control::Open(open)) => {
                    found.change_number = Some(open.change_number);
                    found.open = Some(open);
                }
                Some(Control::Mark(mark)) => {
                    found.change_number = Some(mark.change_number);
                    found.closed = mark.closed;
                }
                Some(Control::Move(moved)) => found.moves.push(moved),
                None => {}
            }
        }
        offset += held.bytes;
        records = rest;
    }
    Ok(found)
}

/// A stretch of the file in memory.
struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `offset` on, at least `want` of them where the file has so many.
    fn at(&mut self, offset: u64, want: usize) -> FsResult<&[u8]> {
        let want = want.min(usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + want as u64 > end {
            let take = want.max(WINDOW_BYTES).min(usize::try_from(self.len - offset).unwrap_or(usize::MAX));
            self.bytes.clear();
            self.start = offset;
            self.bytes.resize(take, 0);
            self.file.read_exact_at(&mut self.bytes, offset)?;
        }
        Ok(&self.bytes[(offset - self.start) as usize..])
    }

    /// The first place at or behind `from` where `needle` stands.
    fn find(&mut self, needle: &[u8; SYNC_BYTES], from: u64) -> FsResult<Option<u64>> {
        let mut at = from;
        while at + SYNC_BYTES as u64 <= self.len {
            let bytes = self.at(at, WINDOW_BYTES)?;
            if let Some(found) = bytes.windows(SYNC_BYTES).position(|window| window == needle) {
                return Ok(Some(at + found as u64));
            }
            at += (bytes.len() - (SYNC_BYTES - 1)) as u64;
        }
        Ok(None)
    }
}
