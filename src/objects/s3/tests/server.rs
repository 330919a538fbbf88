//! A server of HTTP on loopback that keeps what it was asked and answers as it is told.
//!
//! Not a store: what is in it is in memory, and it checks no signature. It stands in for what no real server does on demand: lost answers,
//! answers cut off, connections that end, silence.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What a client asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn asks(&self, name: &str) -> Option<String> {
        let of = |pair: &str| {
            let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
            (known == name).then(|| decoded(value))
        };
        self.query.split('&').find_map(of)
    }
}

pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What it answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Of a body this long only `body` is sent; then the connection ends.
    pub promised: Option<usize>,
}

impl Answer {
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn refusal(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>in words</Message></Error>");
        Self::of(status, body).with("x-amz-request-id", "R1")
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The connection ends before anything was done.
    Reset,
    /// It is done, and the connection ends without an answer.
    LoseAnswer,
    /// Nothing is ever answered.
    Hang,
    /// This is answered, and nothing done.
    Refuse(Answer),
    /// It is done, and half of the answer's body is sent.
    CutOff,
    /// The body's first byte is another one when it arrives.
    Damage,
}

type Handler = Box<dyn Fn(&Request) -> Answer + Send + Sync>;
type Matcher = Box<dyn Fn(&Request) -> bool + Send + Sync>;

struct Shared {
    handler: Handler,
    asked: Mutex<Vec<Request>>,
    faults: Mutex<Vec<(Matcher, Fault)>>,
    open: Mutex<Vec<TcpStream>>,
    is_over: (Mutex<bool>, Condvar),
}

pub(super) struct Server {
    pub address: std::net::SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            asked: Mutex::default(),
            faults: Mutex::default(),
            open: Mutex::default(),
            is_over: Default::default(),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), false) = (stream, *of_thread.is_over.0.lock().unwrap()) else { return };
                of_thread.open.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || serve(&shared, &stream));
            }
        });
        Self { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request that fits ends like this.
    pub fn fail(&self, fits: impl Fn(&Request) -> bool + Send + Sync + 'static, fault: Fault) {
        self.shared.faults.lock().unwrap().push((Box::new(fits), fault));
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Faults that nothing met.
    pub fn unmet(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.shared.is_over.0.lock().unwrap() = true;
        self.shared.is_over.1.notify_all();
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read(&mut reader) {
        shared.asked.lock().unwrap().push(request.clone());
        let fault = {
            let mut faults = shared.faults.lock().unwrap();
            faults.iter().position(|(fits, _)| fits(&request)).map(|at| faults.remove(at).1)
        };
        let answer = match &fault {
            Some(Fault::Reset) => break,
            Some(Fault::Refuse(answer)) => answer.clone(),
            Some(Fault::Hang) => {
                let (over, told) = &shared.is_over;
                drop(told.wait_while(over.lock().unwrap(), |over| !*over).unwrap());
                break;
            }
            Some(Fault::Damage) => {
                request.body[0] ^= 1;
                (shared.handler)(&request)
            }
            _ => (shared.handler)(&request),
        };
        match fault {
            Some(Fault::LoseAnswer) => break,
            Some(Fault::CutOff) => {
                let (all, half) = (answer.body.len(), answer.body.len() / 2);
                let cut = Answer { body: answer.body[..half].to_vec(), promised: Some(all), ..answer };
                write(stream, &request, &cut);
                break;
            }
            _ if answer.promised.is_some() => {
                write(stream, &request, &answer);
                break;
            }
            _ => write(stream, &request, &answer),
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request = Request { method, path: decoded(path), query: query.to_owned(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("expect").is_some() {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let bytes = request.header("content-length").map_or(0, |bytes| bytes.parse().unwrap());
    request.body = vec![0; bytes];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn write(mut stream: &TcpStream, request: &Request, answer: &Answer) {
    let bytes = answer.promised.unwrap_or(answer.body.len());
    let mut text = format!("HTTP/1.1 {} said\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| name == "content-length") && answer.status != 204 {
        text += &format!("content-length: {bytes}\r\n");
    }
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut all = text.into_bytes();
    if request.method != "HEAD" {
        all.extend_from_slice(&answer.body);
    }
    let _ = stream.write_all(&all);
}
