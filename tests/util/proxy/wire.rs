//! The bytes of one side of a connection, and where a body in them ends.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, lock};

pub(super) fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Ends a connection so that the other side sees a reset.
pub(super) fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Bytes that come from one side.
pub(super) struct Side {
    pub(super) stream: Arc<TcpStream>,
    /// Read, and not looked at yet.
    buffer: Vec<u8>,
}

impl Side {
    pub(super) fn new(stream: TcpStream, shared: &Shared) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let mut state = lock(&shared.state);
        if shared.ended.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.streams.retain(|stream| stream.strong_count() > 0);
        state.streams.push(Arc::downgrade(&stream));
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The other side has ended the connection, or said what nobody asked for.
    pub(super) fn is_over(&self) -> bool {
        let waits = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            peeked
        };
        !matches!(waits(&self.stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// More bytes into the buffer; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 << 10];
        let bytes = (&*self.stream).read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..bytes]);
        Ok(bytes)
    }

    /// A head with its empty line; `None` where the connection ends before one.
    pub(super) fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..end + 4).collect()));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Hands on a body, piece by piece.
    pub(super) fn body(&mut self, mut framing: Framing, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let bytes = framing.take(&self.buffer);
            if bytes > 0 {
                let piece: Vec<u8> = self.buffer.drain(..bytes).collect();
                to(&piece)?;
            }
            if framing.is_done() {
                return Ok(());
            }
            if self.fill()? == 0 {
                let ends_early = !matches!(framing, Framing::UntilEnd);
                return if ends_early { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
            }
        }
    }
}

/// How a body's end is found.
pub(super) enum Framing {
    Length(u64),
    Chunked(Chunked),
    UntilEnd,
}

impl Framing {
    pub(super) fn of_request(head: &str) -> Self {
        Self::named(head).unwrap_or(Self::Length(0))
    }

    pub(super) fn of_answer(head: &str, status: u16, method: &str) -> Self {
        if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
            return Self::Length(0);
        }
        Self::named(head).unwrap_or(Self::UntilEnd)
    }

    fn named(head: &str) -> Option<Self> {
        if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Some(Self::Chunked(Chunked::default()));
        }
        header(head, "content-length").map(|length| Self::Length(length.parse().unwrap()))
    }

    /// How many of these bytes belong to the body.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                taken
            }
            Self::Chunked(chunked) => chunked.take(bytes),
            Self::UntilEnd => bytes.len(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.done,
            Self::UntilEnd => false,
        }
    }
}

/// Follows `Transfer-Encoding: chunked` (RFC 9112, section 7.1) line by line.
#[derive(Default)]
pub(super) struct Chunked {
    /// Of the chunk's data and the line end behind it.
    left: u64,
    /// The line so far, where no data is due.
    line: Vec<u8>,
    /// The last chunk was seen: lines are trailers, until an empty one.
    trailers: bool,
    done: bool,
}

impl Chunked {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.done {
            if self.left > 0 {
                let data = (bytes.len() - taken).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= data as u64;
                taken += data;
                continue;
            }
            let byte = bytes[taken];
            taken += 1;
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
            if self.trailers {
                self.done = line.trim().is_empty();
            } else {
                let size = line.split(';').next().unwrap_or_default().trim();
                match u64::from_str_radix(size, 16).expect("a chunk begins with its size") {
                    0 => self.trailers = true,
                    size => self.left = size + 2,
                }
            }
        }
        taken
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
}
