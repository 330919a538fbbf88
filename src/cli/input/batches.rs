//! Makes batches of an input that may be fast or slow.
//!
//! Owns: a thread that reads ahead, and when a batch is closed. A batch is closed when it is full, when the input ends or
//! breaks, or 5 ms after its first record arrived: a slow pipe is acknowledged promptly, a fast file in full batches.
//!
//! What always holds: every record read before an error is in a batch before the error is told; what is read ahead is at most
//! three batches, or one record where records are that large.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Input, InputError, InputRecord};
use crate::cli::Interrupt;
use crate::clock::Clock;
use crate::config::ByteSize;

/// How long the first record of a batch waits for more.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long Ctrl-C may wait for an input that gives nothing.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// Bytes that a header counts beside its key and value, at most.
pub const HEADER_OVERHEAD_BYTES: usize = 20;

/// What comes next of an input.
#[derive(Debug)]
pub enum Next {
    /// At least one record.
    Batch(Vec<InputRecord>),
    /// Nothing is left.
    End,
    /// The user wants to end. Records that were read and are in no batch yet are dropped: they were never acknowledged.
    Interrupted,
}

/// An input in batches.
pub struct Batches {
    chunks: Receiver<Result<Vec<InputRecord>, InputError>>,
    /// Received and in no batch yet.
    waiting: VecDeque<InputRecord>,
    /// The input is over, by its end (`None`) or an error.
    over: Option<Option<InputError>>,
    limit: Limit,
    clock: Arc<dyn Clock>,
    interrupt: Interrupt,
}

#[derive(Clone, Copy)]
struct Limit {
    records: usize,
    bytes: usize,
    overhead: usize,
}

impl Batches {
    /// Reads `input` in a thread of its own, into batches of at most `records` records whose payloads, keys and headers have
    /// at most `bytes` together (a single record may have more), `overhead` bytes added to each record.
    ///
    /// The thread ends with the input, or when this is dropped and the input gives its next record; a process may end while
    /// it waits for one.
    #[must_use]
    pub fn start<R: Read + Send + 'static>(
        input: Input<R>,
        records: usize,
        (bytes, overhead): (ByteSize, usize),
        clock: Arc<dyn Clock>,
        interrupt: Interrupt,
    ) -> Self {
        let limit = Limit { records: records.max(1), bytes: bytes.as_len(), overhead };
        let (sender, chunks) = sync_channel(1);
        std::thread::spawn(move || read_ahead(input, limit, &sender));
        Self { chunks, waiting: VecDeque::new(), over: None, limit, clock, interrupt }
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// [`InputError`], once, after every record before it was in a batch.
    pub fn next_batch(&mut self) -> Result<Next, InputError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut close_at: Option<Duration> = None;
        loop {
            if self.interrupt.is_wanted() {
                return Ok(Next::Interrupted);
            }
            while let Some(record) = self.waiting.front() {
                let more = size(record, self.limit.overhead);
                if !batch.is_empty() && bytes + more > self.limit.bytes || batch.len() == self.limit.records {
                    return Ok(Next::Batch(batch));
                }
                bytes += more;
                batch.extend(self.waiting.pop_front());
            }
            if batch.len() == self.limit.records || self.over.is_some() && !batch.is_empty() {
                return Ok(Next::Batch(batch));
            }
            if let Some(over) = self.over.as_mut() {
                return over.take().map_or(Ok(Next::End), Err);
            }
            let wait = if batch.is_empty() {
                INTERRUPT_POLL
            } else {
                let now = self.clock.monotonic();
                close_at.get_or_insert(now + PATIENCE).saturating_sub(now)
            };
            match self.chunks.recv_timeout(wait) {
                Ok(Ok(chunk)) => self.waiting.extend(chunk),
                Ok(Err(error)) => self.over = Some(Some(error)),
                Err(RecvTimeoutError::Disconnected) => self.over = Some(None),
                Err(RecvTimeoutError::Timeout) if batch.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => return Ok(Next::Batch(batch)),
            }
        }
    }
}

/// At least as much as the record counts against the limit of a batch.
fn size(record: &InputRecord, overhead: usize) -> usize {
    let len = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers =
        record.record.headers.iter().map(|header| header.key.len() + header.value.len() + HEADER_OVERHEAD_BYTES);
    len(&record.record.payload) + len(&record.record.key) + headers.sum::<usize>() + overhead
}

/// Hands over what was read whenever it fills a batch or the input would have to be waited for: one hand-over for many
/// records of a file, and none withheld of a pipe.
fn read_ahead<R: Read>(mut input: Input<R>, limit: Limit, sender: &SyncSender<Result<Vec<InputRecord>, InputError>>) {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some(next) = input.next() {
        let failed = match next {
            Ok(record) => {
                bytes += size(&record, limit.overhead);
                chunk.push(record);
                None
            }
            Err(error) => Some(error),
        };
        let is_full = chunk.len() >= limit.records || bytes >= limit.bytes;
        if !chunk.is_empty() && (failed.is_some() || is_full || !input.has_buffered()) {
            bytes = 0;
            if sender.send(Ok(std::mem::take(&mut chunk))).is_err() {
                return;
            }
        }
        if let Some(error) = failed {
            let _ = sender.send(Err(error));
            return;
        }
    }
    if !chunk.is_empty() {
        let _ = sender.send(Ok(chunk));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::{InputFormat, InputOptions};
    use super::*;
    use crate::clock::SystemClock;

    fn batches<R: Read + Send + 'static>(reader: R, records: usize, bytes: u64) -> Batches {
        let options = InputOptions {
            format: InputFormat::Lines,
            key: None,
            timestamp: None,
            record_bytes_max: ByteSize(100),
            key_bytes_max: ByteSize(100),
            collection: None,
        };
        let input = Input::new(reader, options).unwrap();
        Batches::start(input, records, (ByteSize(bytes), 0), Arc::new(SystemClock::new()), Interrupt::default())
    }

    fn next(batches: &mut Batches) -> Option<Vec<String>> {
        match batches.next_batch().unwrap() {
            Next::Batch(batch) => {
                assert!(!batch.is_empty());
                Some(
                    batch
                        .iter()
                        .map(|record| String::from_utf8(record.record.payload.as_deref().unwrap().to_vec()).unwrap())
                        .collect(),
                )
            }
            Next::End => None,
            Next::Interrupted => panic!("nobody did"),
        }
    }

    fn all(mut batches: Batches) -> Vec<Vec<String>> {
        std::iter::from_fn(|| next(&mut batches)).collect()
    }

    #[test]
    fn a_batch_holds_as_many_as_it_may() {
        assert_eq!(all(batches(&b"a\nb\nc\nd\ne"[..], 2, 100)), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(
            all(batches(&b"aa\nbb\ncc\nddddddd\ne"[..], 9, 4)),
            [vec!["aa", "bb"], vec!["cc"], vec!["ddddddd"], vec!["e"]]
        );
        assert_eq!(all(batches(&b""[..], 2, 4)), [[""; 0]; 0]);
        assert_eq!(all(batches(&b"\n\n\n"[..], 2, 4)), [vec!["", ""], vec![""]]);
    }

    #[test]
    fn a_slow_pipe_is_not_waited_for_to_fill_a_batch() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut batches = batches(reader, 1000, 1000);
        for word in ["a", "b"] {
            // The pipe stays open and gives nothing more: only patience can close the batch.
            writeln!(writer, "{word}").unwrap();
            assert_eq!(next(&mut batches), Some(vec![word.to_owned()]));
        }
        drop(writer);
        assert_eq!(next(&mut batches), None);
        assert_eq!(next(&mut batches), None, "and it stays at its end");
    }

    #[test]
    fn an_error_comes_after_every_record_before_it() {
        let mut batches = batches(std::io::Cursor::new(format!("a\nb\n{}\nc", "x".repeat(101))), 1000, 1000);
        assert_eq!(next(&mut batches), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert!(matches!(batches.next_batch(), Err(InputError::TooLarge { .. })));
        assert!(matches!(batches.next_batch(), Ok(Next::End)));
    }
}
