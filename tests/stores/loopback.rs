//! A service of our own on the loopback interface, which says what a test wants: what gives credentials out.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::tls::{Identity, Stream};

/// What somebody asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub head: String,
    pub body: String,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// The value of a field of a form, with `%` undone.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(found, value)| (found == name).then(|| plain(value)))
    }
}

fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
            (b'%', [high, low, left @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = left;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

type Answers = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

/// Listens until it is dropped.
pub struct Loopback {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Loopback {
    /// A service that answers so, behind TLS where it has an identity.
    pub fn start(
        identity: Option<Identity>,
        answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a test needs a port");
        let address = listener.local_addr().unwrap();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let (asked, ended) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let answers: Arc<Answers> = Arc::new(answers);
        let listening = std::thread::spawn({
            let (asked, ended) = (Arc::clone(&asked), Arc::clone(&ended));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let (asked, answers, identity) = (Arc::clone(&asked), Arc::clone(&answers), identity.clone());
                    // Who goes away, or does not trust us, ends his own connection.
                    std::thread::spawn(move || {
                        let _ = serve(stream, identity.as_ref(), &asked, &*answers);
                    });
                }
            }
        });
        Self { address, scheme, asked, ended, listening: Some(listening) }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    identity: Option<&Identity>,
    asked: &Mutex<Vec<Asked>>,
    answers: &Answers,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    match identity {
        None => answer(&mut &stream, asked, answers),
        Some(identity) => {
            let mut stream = identity.accept(stream)?;
            answer(&mut stream, asked, answers)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

/// One request, and the end.
fn answer(stream: &mut dyn Stream, asked: &Mutex<Vec<Asked>>, answers: &Answers) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (mut end, mut length) = (None, 0);
    while end.is_none_or(|end| bytes.len() < end + length) {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..read]);
        if end.is_none() {
            end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let head = String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).into_owned();
            length =
                Asked { head, body: String::new() }.header("content-length").map_or(0, |text| text.parse().unwrap());
        }
    }
    let (head, body) = bytes.split_at(end.unwrap_or(0));
    let one = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = Asked { head: one(head), body: one(body) };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let (status, body) = answers(&request);
    let kind = if body.starts_with('<') { "text/xml" } else { "application/json" };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
    stream.flush()
}
