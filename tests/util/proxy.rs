//! A proxy between a client and a real HTTP server, on the loopback interface, that does wrong what it was told to.
//!
//! Owns: what happens to the bytes between the two. Does not own: either of them, or TLS. Each request of a connection is looked at on
//! its own: the first rule that fits it says what becomes of it, and without one it passes as it is. Nothing here takes time by a
//! clock: what is held is held until the test lets it go.
//!
//! Positions count the bytes of a body as they are on the wire, with the framing of `chunked` and `aws-chunked` where there is one.
#![allow(dead_code, reason = "every test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It passes.
    Pass,
    /// The connections to both sides are reset when so many bytes of the request's body have gone to the server. With 0, the server has the head alone.
    ResetRequest(u64),
    /// The connections are reset when so many bytes of the answer's body have gone to the client.
    ResetAnswer(u64),
    /// So many bytes of the answer's body come, then a clean end of the connection, whatever length was promised.
    TruncateAnswer(u64),
    /// The request stays here after so many bytes of its body, until the gate opens. Where the client gives up meanwhile, the rest of it is lost.
    HoldRequest(u64, Gate),
    /// The whole request comes, and the server hears of it when the gate opens, whether the client still waits or not.
    DelayRequest(Gate),
    /// The server handles it; its answer stays here until the gate opens.
    HoldAnswer(Gate),
    /// So many bytes of the answer's body come, the others when the gate opens.
    StallAnswer(u64, Gate),
    /// The server handles it; its answer never comes: the connection is reset.
    LoseAnswer,
    /// The byte there of the request's body is another one when it reaches the server.
    CorruptRequest(u64),
    /// The byte there of the answer's body is another one when it reaches the client.
    CorruptAnswer(u64),
    /// The proxy itself says this; the server hears of nothing.
    Answer { status: u16, retry_after: Option<&'static str>, body: &'static str },
}

impl Fault {
    /// An answer with this status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, retry_after: None, body: "" }
    }
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In order of arrival, from 0 on.
    pub number: usize,
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The head, as sent.
    pub head: String,
}

impl Request {
    /// Whether the query has this parameter, with this value where one is named.
    pub fn asks(&self, parameter: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .any(|found| found == parameter || found.split_once('=').is_some_and(|(name, _)| name == parameter))
    }

    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// Closed until it is opened, then open for ever.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    arrived: usize,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything go that is held, now and later.
    pub fn open(&self) {
        lock(&self.0.0).open = true;
        self.0.1.notify_all();
    }

    /// Returns when something is held, or was.
    #[track_caller]
    pub fn wait_until_reached(&self) {
        let reached = |state: &GateState| state.arrived > 0;
        assert!(wait(&self.0.0, &self.0.1, reached), "nothing came to the gate in {DEADLINE:?}");
    }

    fn pass(&self) {
        let mut state = lock(&self.0.0);
        state.arrived += 1;
        self.0.1.notify_all();
        // As long as the test likes; the proxy's end opens it.
        drop(self.0.1.wait_while(state, |state| !state.open).unwrap());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn wait<T>(mutex: &Mutex<T>, changed: &Condvar, mut holds: impl FnMut(&T) -> bool) -> bool {
    let (state, _) = changed.wait_timeout_while(lock(mutex), DEADLINE, |state| !holds(state)).unwrap();
    holds(&state)
}

type Fits = Box<dyn Fn(&Request) -> bool + Send>;

struct Rule {
    fits: Fits,
    left: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Request>,
    /// Statuses of the answers that the server gave, by the request's number.
    answers: BTreeMap<usize, u16>,
    gates: Vec<Gate>,
    /// Both sides of all connections, for the end. A connection is reset by closing it: nobody else may hold one.
    streams: Vec<Weak<TcpStream>>,
    connections: usize,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    ended: AtomicBool,
}

/// Listens on a port of its own until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before a server, which need not be there yet.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a test needs a port");
        let address = listener.local_addr().unwrap();
        let (state, changed, ended) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { server, state, changed, ended });
        let listening = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next `times` requests that fit have this fault. Rules are asked in the order in which they were made.
    pub fn on(&self, times: usize, fits: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        let mut state = lock(&self.shared.state);
        if let Fault::HoldRequest(_, gate)
        | Fault::DelayRequest(gate)
        | Fault::HoldAnswer(gate)
        | Fault::StallAnswer(_, gate) = &fault
        {
            state.gates.push(gate.clone());
        }
        state.rules.push(Rule { fits: Box::new(fits), left: times, fault });
    }

    /// The next request of this method has this fault.
    pub fn next(&self, method: &'static str, fault: Fault) {
        self.on(1, move |request| request.method == method, fault);
    }

    /// No rule from here on; what is held stays held.
    pub fn clear(&self) {
        lock(&self.shared.state).rules.clear();
    }

    /// Rules that were made and did not come to act as often as they were to.
    pub fn rules_left(&self) -> usize {
        lock(&self.shared.state).rules.iter().filter(|rule| rule.left > 0).count()
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.state).seen.clone()
    }

    /// How often each method was asked for.
    pub fn methods(&self) -> BTreeMap<String, usize> {
        let mut methods = BTreeMap::new();
        for request in &lock(&self.shared.state).seen {
            *methods.entry(request.method.clone()).or_default() += 1;
        }
        methods
    }

    /// How many requests of a method came.
    pub fn count(&self, method: &str) -> usize {
        self.methods().get(method).copied().unwrap_or(0)
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        lock(&self.shared.state).connections
    }

    /// What the server said to a request, also where the client never heard it.
    pub fn answer_to(&self, number: usize) -> Option<u16> {
        lock(&self.shared.state).answers.get(&number).copied()
    }

    /// Returns when the server has answered so many requests that fit.
    #[track_caller]
    pub fn wait_until_answered(&self, times: usize, fits: impl Fn(&Request) -> bool) {
        let enough = |state: &State| {
            state.answers.keys().filter(|number| state.seen.get(**number).is_some_and(&fits)).count() >= times
        };
        assert!(wait(&self.shared.state, &self.shared.changed, enough), "the server did not answer in {DEADLINE:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        {
            let state = lock(&self.shared.state);
            state.gates.iter().for_each(Gate::open);
            for stream in state.streams.iter().filter_map(Weak::upgrade) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((client, _)) = listener.accept() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        lock(&shared.state).connections += 1;
        let shared = Arc::clone(shared);
        connections.push(std::thread::spawn(move || {
            // A side that goes away ends the connection, and is nobody's fault here.
            let _ = Side::new(client, &shared)
                .and_then(|client| Connection { shared: &shared, client, server: None }.run());
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Ends a connection so that the other side sees a reset.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Bytes that come from one side.
struct Side {
    stream: Arc<TcpStream>,
    /// Read, and not looked at yet.
    buffer: Vec<u8>,
}

impl Side {
    fn new(stream: TcpStream, shared: &Shared) -> io::Result<Self> {
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
    fn is_over(&self) -> bool {
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
    fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
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
    fn body(&mut self, mut framing: Framing, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
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
enum Framing {
    Length(u64),
    Chunked(Chunked),
    UntilEnd,
}

impl Framing {
    fn of_request(head: &str) -> Self {
        Self::named(head).unwrap_or(Self::Length(0))
    }

    fn of_answer(head: &str, status: u16, method: &str) -> Self {
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
struct Chunked {
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

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It can take another request.
    Open,
    Close,
    Reset,
}

struct Connection<'a> {
    shared: &'a Shared,
    client: Side,
    server: Option<Side>,
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<()> {
        while let Some(head) = self.client.head()? {
            let (request, fault) = self.arrived(&head);
            let end = match fault {
                Fault::Answer { status, retry_after, body } => self.answer(&request, status, retry_after, body)?,
                fault => self.exchange(&request, &head, &fault)?,
            };
            match end {
                End::Open => {}
                End::Close => break,
                End::Reset => {
                    reset(&self.client.stream);
                    self.server.iter().for_each(|server| reset(&server.stream));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes a request down, and says what becomes of it.
    fn arrived(&self, head: &[u8]) -> (Request, Fault) {
        let head = String::from_utf8(head.to_vec()).expect("a head is text");
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let mut state = lock(&self.shared.state);
        let request = Request { number: state.seen.len(), method, target, head };
        let rule = state.rules.iter_mut().find(|rule| rule.left > 0 && (rule.fits)(&request));
        let fault = rule.map_or(Fault::Pass, |rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        state.seen.push(request.clone());
        self.shared.changed.notify_all();
        (request, fault)
    }

    /// Answers in the place of the server.
    fn answer(&mut self, request: &Request, status: u16, retry_after: Option<&str>, body: &str) -> io::Result<End> {
        // Who waits for the word to go on has not sent its body, and will not.
        let waits = request.header("expect").is_some();
        if !waits {
            self.client.body(Framing::of_request(&request.head), |_| Ok(()))?;
        }
        let retry_after = retry_after.map_or(String::new(), |value| format!("Retry-After: {value}\r\n"));
        let connection = if waits { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let body = if request.method == "HEAD" { "" } else { body };
        let answer = format!(
            "HTTP/1.1 {status} Said by the proxy\r\n{retry_after}{connection}Content-Length: {length}\r\n\r\n{body}"
        );
        write_all(&self.client.stream, answer.as_bytes())?;
        Ok(if waits { End::Close } else { End::Open })
    }

    /// Hands a request to the server, and its answer to the client, at the same time: a server may answer before it has read everything.
    fn exchange(&mut self, request: &Request, head: &[u8], fault: &Fault) -> io::Result<End> {
        let shared = self.shared;
        let mut delayed = None;
        if let Fault::DelayRequest(gate) = fault {
            let mut body = Vec::new();
            self.client.body(Framing::of_request(&request.head), |piece| {
                body.extend_from_slice(piece);
                Ok(())
            })?;
            gate.pass();
            delayed = Some(body);
        }
        // A server that was started anew has ended the connections of before; a client's own would notice, and make a new one.
        if self.server.as_ref().is_none_or(Side::is_over) {
            // A server that is not there looks as it would without a proxy: like no connection.
            let Ok(server) = TcpStream::connect(shared.server) else { return Ok(End::Reset) };
            self.server = Some(Side::new(server, shared)?);
        }
        let Some(server) = &mut self.server else { return Ok(End::Reset) };
        let (to_server, to_client) = (Arc::clone(&server.stream), Arc::clone(&self.client.stream));
        write_all(&to_server, head)?;
        let client = &mut self.client;
        let (sent, answered) = std::thread::scope(|scope| {
            let answering = scope.spawn(|| {
                let outcome = hand_back(shared, request, server, &to_client, fault);
                if !matches!(outcome, Ok(End::Open)) {
                    // The client's side is read no longer either, whatever it still sends.
                    let _ = to_client.shutdown(Shutdown::Read);
                }
                outcome
            });
            let sent = match &delayed {
                Some(body) => write_all(&to_server, body).map(|()| End::Open),
                None => hand_on(request, client, &to_server, fault),
            };
            if !matches!(sent, Ok(End::Open)) {
                let _ = to_server.shutdown(Shutdown::Both);
            }
            (sent, answering.join().expect("it does not panic"))
        });
        match (sent, answered) {
            (Ok(End::Reset), _) | (_, Ok(End::Reset)) => Ok(End::Reset),
            (Ok(sent), Ok(answered)) => Ok(if sent == End::Open { answered } else { sent }),
            // The server has answered without reading everything.
            (Err(_), Ok(_)) => Ok(End::Close),
            // One side went away: the other one sees the same.
            (Err(_), _) | (_, Err(_)) => Ok(End::Reset),
        }
    }
}

/// The request's body, to the server.
fn hand_on(request: &Request, client: &mut Side, server: &TcpStream, fault: &Fault) -> io::Result<End> {
    let (mut at, mut end) = (0, End::Open);
    let framing = Framing::of_request(&request.head);
    if matches!(fault, Fault::ResetRequest(0)) {
        return Ok(End::Reset);
    }
    if let Fault::HoldRequest(0, gate) = fault {
        gate.pass();
    }
    client
        .body(framing, |piece| {
            let begins = at;
            at += piece.len() as u64;
            match fault {
                Fault::ResetRequest(after) if at >= *after => {
                    end = End::Reset;
                    let _ = write_all(server, &piece[..(*after).saturating_sub(begins) as usize]);
                    Err(io::ErrorKind::ConnectionReset.into())
                }
                Fault::HoldRequest(after, gate) if (begins + 1..=at).contains(after) => {
                    let (before, behind) = piece.split_at((after - begins) as usize);
                    write_all(server, before)?;
                    gate.pass();
                    write_all(server, behind)
                }
                Fault::CorruptRequest(there) => write_all(server, &flipped(piece, begins, *there)),
                _ => write_all(server, piece),
            }
        })
        .map(|()| end)
        .or_else(|error| if end == End::Reset { Ok(end) } else { Err(error) })
}

/// The server's answer, to the client.
fn hand_back(
    shared: &Shared,
    request: &Request,
    server: &mut Side,
    client: &TcpStream,
    fault: &Fault,
) -> io::Result<End> {
    loop {
        let Some(head) = server.head()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let text = String::from_utf8(head.clone()).expect("a head is text");
        let status: u16 =
            text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
        if (100..200).contains(&status) {
            write_all(client, &head)?;
            continue;
        }
        let framing = Framing::of_answer(&text, status, &request.method);
        let keeps = !matches!(framing, Framing::UntilEnd)
            && !header(&text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let answered = || {
            lock(&shared.state).answers.insert(request.number, status);
            shared.changed.notify_all();
        };
        if let Fault::LoseAnswer | Fault::HoldAnswer(_) = fault {
            let mut whole = head;
            server.body(framing, |piece| {
                whole.extend_from_slice(piece);
                Ok(())
            })?;
            answered();
            let Fault::HoldAnswer(gate) = fault else { return Ok(End::Reset) };
            gate.pass();
            write_all(client, &whole)?;
            return Ok(if keeps { End::Open } else { End::Close });
        }
        answered();
        write_all(client, &head)?;
        return match hand_back_body(server, framing, client, fault)? {
            End::Open if !keeps => Ok(End::Close),
            end => Ok(end),
        };
    }
}

fn hand_back_body(server: &mut Side, framing: Framing, client: &TcpStream, fault: &Fault) -> io::Result<End> {
    let (mut at, mut end) = (0, End::Open);
    let cut = match fault {
        Fault::ResetAnswer(after) => Some((*after, End::Reset)),
        Fault::TruncateAnswer(after) => Some((*after, End::Close)),
        _ => None,
    };
    if let Some((0, how)) = cut {
        return Ok(how);
    }
    if let Fault::StallAnswer(0, gate) = fault {
        gate.pass();
    }
    server
        .body(framing, |piece| {
            let begins = at;
            at += piece.len() as u64;
            match (fault, cut) {
                (_, Some((after, how))) if at >= after => {
                    end = how;
                    write_all(client, &piece[..(after - begins) as usize])?;
                    Err(io::ErrorKind::ConnectionReset.into())
                }
                (Fault::StallAnswer(after, gate), _) if (begins + 1..=at).contains(after) => {
                    let (before, behind) = piece.split_at((after - begins) as usize);
                    write_all(client, before)?;
                    gate.pass();
                    write_all(client, behind)
                }
                (Fault::CorruptAnswer(there), _) => write_all(client, &flipped(piece, begins, *there)),
                _ => write_all(client, piece),
            }
        })
        .map(|()| end)
        .or_else(|error| if end == End::Open { Err(error) } else { Ok(end) })
}

/// A piece that begins at `begins` with one bit of the byte at `there` turned, where that lies in it.
fn flipped(piece: &[u8], begins: u64, there: u64) -> Vec<u8> {
    let mut piece = piece.to_vec();
    let at = there.checked_sub(begins).and_then(|at| usize::try_from(at).ok());
    if let Some(byte) = at.and_then(|at| piece.get_mut(at)) {
        *byte ^= 1;
    }
    piece
}
