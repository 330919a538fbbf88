//! A proxy between a client and a real HTTP server, on the loopback interface, that does wrong what it was told to.
//!
//! Owns: what happens to the bytes between the two. Does not own: either of them, or TLS. Each request of a connection is looked at on
//! its own: the first rule that fits it says what becomes of it, and without one it passes as it is. Nothing here takes time by a
//! clock: what is held is held until the test lets it go.
//!
//! - `wire`: the bytes of one side, and where a body ends
//! - `exchange`: requests and answers on their way
//!
//! Positions count the bytes of a body as they are on the wire, with the framing of `chunked` and `aws-chunked` where there is one.
#![allow(dead_code, reason = "every test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]
mod exchange;
mod wire;

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use exchange::Connection;
use wire::{Side, header};

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

type Translates = Box<dyn Fn(&Request) -> String + Send + Sync>;

struct Shared {
    server: SocketAddr,
    /// What the server is told in the place of a request's head.
    translates: Option<Translates>,
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
        Self::start(server, None)
    }

    /// The same, with other heads of requests than the client's: for a server of another dialect.
    pub fn translating(server: SocketAddr, translates: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        Self::start(server, Some(Box::new(translates)))
    }

    fn start(server: SocketAddr, translates: Option<Translates>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a test needs a port");
        let address = listener.local_addr().unwrap();
        let (state, changed, ended) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { server, translates, state, changed, ended });
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
            // Before the gates: what was held reaches nobody.
            for stream in state.streams.iter().filter_map(Weak::upgrade) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            state.gates.iter().for_each(Gate::open);
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
