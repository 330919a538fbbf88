//! A server on loopback that answers as it was told, in order, and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What the next request gets.
pub(super) enum Answer {
    /// Something that is no store.
    Page(&'static str),
    /// Status, headers, body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// The request is read, and nothing is said before the server ends.
    Hang,
    /// The request is read, and the connection closed: what it asked for may have been done.
    Close,
    /// A length of this many bytes is told, and this is sent before the connection is closed.
    Truncated(usize, String),
}

/// An answer without a body.
pub(super) fn status(status: u16) -> Answer {
    Answer::Reply(status, Vec::new(), String::new())
}

/// An error as the service tells one; the message repeats what it should not.
pub(super) fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>of {SECRET}</Message></Error>");
    Answer::Reply(status, vec![("x-ms-error-code", code.to_owned()), ("x-ms-request-id", "4711-a".to_owned())], body)
}

/// What must show nowhere.
pub(super) const SECRET: &str = "hunter2hunter2";

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Names in small letters.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Asked>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.answers.lock().unwrap().extend(answers);
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *of_thread.is_over.lock().unwrap() {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&of_thread));
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { address, shared }
    }

    /// What was asked since the last call of this.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// The methods and targets of what was asked since, without the container and the signature.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |asked: Asked| {
            let target = asked.target.split("&sv=").next().unwrap_or("").split("?sv=").next().unwrap_or("").to_owned();
            format!("{} {}", asked.method, target.strip_prefix("/acct/box/").unwrap_or(&target))
        };
        self.asked().into_iter().map(line).collect()
    }

    pub(super) fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().unwrap().extend(answers);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.shared.is_over.lock().unwrap() = true;
        self.shared.over.notify_all();
        // The listener looks up once more, and goes.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(asked) = read(&mut reader) {
        let is_head = asked.method == "HEAD";
        shared.asked.lock().unwrap().push(asked);
        let answer = shared.answers.lock().unwrap().pop_front();
        match answer.unwrap_or_else(|| refusal(400, "Unscripted")) {
            Answer::Reply(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} x\r\n");
                for (name, value) in headers {
                    text += &format!("{name}: {value}\r\n");
                }
                if !text.contains("x-ms-request-id") {
                    text += "x-ms-request-id: 4711\r\n";
                }
                if !text.contains("content-length") {
                    text += &format!("content-length: {}\r\n", body.len());
                }
                text += "\r\n";
                if !is_head {
                    text += &body;
                }
                if writer.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Page(body) => {
                let _ = write!(writer, "HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
            Answer::Hang => {
                let over = shared.is_over.lock().unwrap();
                drop(shared.over.wait_while(over, |over| !*over).unwrap());
                return;
            }
            Answer::Close => return,
            Answer::Truncated(length, body) => {
                let _ = write!(writer, "HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{body}");
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let (method, rest) = line.split_once(' ')?;
    let (method, target) = (method.to_owned(), rest.split_once(' ')?.0.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut asked = Asked { method, target, headers, body: Vec::new() };
    asked.body = vec![0; asked.header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
