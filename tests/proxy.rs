//! The proxy that the tests of object stores put before real servers does exactly the wrong that it was told to, and nothing else.
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

#[path = "util/proxy/mod.rs"]
mod proxy;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use proxy::{Fault, Gate, Proxy};

type Handled = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Answers each request with the body that it came with, as long as anybody asks. What it read to the end is in the list.
fn echo() -> (SocketAddr, Handled) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, handled) = (listener.local_addr().unwrap(), Handled::default());
    let all = Arc::clone(&handled);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let handled = Arc::clone(&all);
            std::thread::spawn(move || serve(client.unwrap(), &handled));
        }
    });
    (address, handled)
}

/// One connection, to its end.
fn serve(client: TcpStream, handled: &Handled) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    loop {
        let head = read_head(&mut reader)?;
        let (method, target) = head.split_once(' ').unwrap();
        let target = target.split(' ').next().unwrap();
        if head.contains("Expect: 100-continue") {
            reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = read_body(&mut reader, &head)?;
        handled.lock().unwrap().push((method.to_owned(), body.clone()));
        let client = reader.get_mut();
        match (method, target) {
            ("HEAD", _) => client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?,
            ("DELETE", _) => client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
            (_, "/chunked") => {
                let pieces = body
                    .chunks(1000)
                    .map(|piece| [format!("{:x};a=b\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
                client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                client.write_all(&pieces.flatten().collect::<Vec<u8>>())?;
                client.write_all(b"0\r\nTrailer: yes\r\n\r\n")?;
            }
            (_, "/to-the-end") => {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                client.write_all(&body)?;
                return Ok(());
            }
            _ => {
                client.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
                client.write_all(&body)?;
            }
        }
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn read_body(reader: &mut BufReader<TcpStream>, head: &str) -> io::Result<Vec<u8>> {
    let named = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let mut body = Vec::new();
    if named("Transfer-Encoding: chunked").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line)?;
                }
                return Ok(body);
            }
            let mut piece = vec![0; size + 2];
            reader.read_exact(&mut piece)?;
            body.extend_from_slice(&piece[..size]);
        }
    }
    match named("Content-Length: ") {
        Some(length) => {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body)?;
        }
        None if head.starts_with("HTTP/1.1 200") => {
            reader.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

/// One connection of a client.
struct Client(BufReader<TcpStream>);

impl Client {
    fn of(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.address()).unwrap()))
    }

    /// What the server said: the status, and the body.
    fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.send(
            format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        )?;
        let sent = self.send(body);
        // Where the other side has hung up, what it said before can still be read. A reset is told once: to whoever calls first.
        self.answer(method).map_err(|error| sent.err().unwrap_or(error))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn answer(&mut self, method: &str) -> io::Result<(u16, Vec<u8>)> {
        let head = read_head(&mut self.0)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if method == "HEAD" || status == 204 { Vec::new() } else { read_body(&mut self.0, &head)? };
        Ok((status, body))
    }
}

fn before_echo() -> (Proxy, Handled) {
    let (server, handled) = echo();
    (Proxy::before(server), handled)
}

/// Not two bytes of it alike next to each other, and more than any buffer here.
fn large() -> Vec<u8> {
    (0..300_007_u32).map(|at| (at % 251) as u8).collect()
}

#[test]
fn everything_passes_and_is_counted() {
    let (proxy, handled) = before_echo();
    let mut client = Client::of(&proxy);
    for target in ["/a?b=c", "/chunked", "/a"] {
        assert_eq!(client.ask("PUT", target, &large()).unwrap(), (200, large()), "{target}");
    }
    assert_eq!(client.ask("GET", "/", b"").unwrap(), (200, vec![]));
    assert_eq!(client.ask("HEAD", "/", b"").unwrap(), (200, vec![]));
    assert_eq!(client.ask("DELETE", "/", b"").unwrap(), (204, vec![]));
    assert_eq!(client.ask("PUT", "/to-the-end", &large()).unwrap(), (200, large()));
    assert_eq!(client.ask("GET", "/", b"").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let expected =
        [("DELETE", 1), ("GET", 1), ("HEAD", 1), ("PUT", 4)].map(|(method, times)| (method.to_owned(), times));
    assert_eq!(proxy.methods(), BTreeMap::from(expected));
    assert_eq!(proxy.connections(), 1);
    assert_eq!(handled.lock().unwrap().len(), 7);
    assert_eq!(proxy.requests()[0].target, "/a?b=c");
    assert_eq!(proxy.requests()[0].header("host"), Some("a"));
    let asks = |parameter| proxy.requests()[0].asks(parameter);
    assert!(asks("b") && asks("b=c") && !asks("b=") && !asks("c") && !asks("/a?b=c"));
    assert_eq!(proxy.answer_to(5), Some(204));
}

#[test]
fn bodies_in_chunks_pass_and_so_does_the_word_to_go_on() {
    let (proxy, handled) = before_echo();
    let mut client = Client::of(&proxy);
    client.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(read_head(&mut client.0).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"5\r\nhello\r\n1;x=\"y\"\r\n\n\r\n0\r\nTrailer: 1\r\n\r\n").unwrap();
    assert_eq!(client.answer("PUT").unwrap(), (200, b"hello\n".to_vec()));
    // The end was found where it is.
    assert_eq!(client.ask("PUT", "/", b"next").unwrap(), (200, b"next".to_vec()));
    assert_eq!(handled.lock().unwrap().len(), 2);
}

#[test]
fn rules_act_in_order_and_as_often_as_they_say() {
    let (proxy, handled) = before_echo();
    proxy.on(2, |request| request.target == "/a", Fault::status(503));
    proxy.on(1, |request| request.method == "PUT", Fault::Answer { status: 500, retry_after: Some("7"), body: "no" });
    let mut client = Client::of(&proxy);
    let mut statuses = Vec::new();
    for target in ["/b", "/a", "/a", "/a", "/b"] {
        statuses.push(client.ask("PUT", target, b"body").unwrap().0);
    }
    assert_eq!(statuses, [500, 503, 503, 200, 200]);
    assert_eq!((handled.lock().unwrap().len(), proxy.rules_left()), (2, 0));
    assert_eq!((proxy.answer_to(0), proxy.answer_to(3)), (None, Some(200)));
    proxy.next("PUT", Fault::Answer { status: 500, retry_after: Some("7"), body: "no" });
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(read_head(&mut client.0).unwrap().contains("\r\nRetry-After: 7\r\n"));
    proxy.next("GET", Fault::LoseAnswer);
    assert_eq!(proxy.rules_left(), 1);
    proxy.clear();
    assert_eq!(proxy.rules_left(), 0);
}

#[test]
fn an_answer_of_the_proxy_needs_no_server_and_no_body_that_waits() {
    let proxy = Proxy::before("127.0.0.1:1".parse().unwrap());
    proxy.next("PUT", Fault::status(500));
    let mut client = Client::of(&proxy);
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(client.answer("PUT").unwrap(), (500, vec![]));
    assert_eq!(client.answer("PUT").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    // Without a rule there is no server to talk to.
    assert_eq!(Client::of(&proxy).ask("GET", "/", b"").unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_request_is_reset_where_it_was_to_be_and_the_server_has_not_all_of_it() {
    for after in [0, 1, 20_000, large().len() as u64 - 1] {
        let (proxy, handled) = before_echo();
        proxy.next("PUT", Fault::ResetRequest(after));
        let error = Client::of(&proxy).ask("PUT", "/", &large()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{after}");
        assert_eq!(Client::of(&proxy).ask("PUT", "/", b"again").unwrap(), (200, b"again".to_vec()));
        assert_eq!(*handled.lock().unwrap(), [("PUT".to_owned(), b"again".to_vec())]);
    }
}

#[test]
fn an_answer_is_reset_or_cut_where_it_was_to_be() {
    for (after, fault, kind) in [
        (0, Fault::ResetAnswer(0), io::ErrorKind::ConnectionReset),
        (20_000, Fault::ResetAnswer(20_000), io::ErrorKind::ConnectionReset),
        (0, Fault::TruncateAnswer(0), io::ErrorKind::UnexpectedEof),
        (20_000, Fault::TruncateAnswer(20_000), io::ErrorKind::UnexpectedEof),
    ] {
        let (proxy, handled) = before_echo();
        proxy.next("PUT", fault.clone());
        let mut client = Client::of(&proxy);
        client.send(format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", large().len()).as_bytes()).unwrap();
        client.send(&large()).unwrap();
        let mut came = Vec::new();
        let outcome = client.0.read_to_end(&mut came);
        match kind {
            // A reset may overtake what was sent before it.
            io::ErrorKind::ConnectionReset => assert_eq!(outcome.unwrap_err().kind(), kind, "{fault:?}"),
            _ => {
                let begins = came.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
                assert_eq!(came[begins..], large()[..after], "{fault:?}");
            }
        }
        assert_eq!(handled.lock().unwrap().len(), 1);
        assert_eq!(proxy.answer_to(0), Some(200));
    }
}

#[test]
fn a_lost_answer_was_handled() {
    let (proxy, handled) = before_echo();
    proxy.next("PUT", Fault::LoseAnswer);
    let error = Client::of(&proxy).ask("PUT", "/", b"body").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(*handled.lock().unwrap(), [("PUT".to_owned(), b"body".to_vec())]);
    assert_eq!(proxy.answer_to(0), Some(200));
}

#[test]
fn one_byte_is_another_one() {
    let (proxy, _) = before_echo();
    let mut client = Client::of(&proxy);
    let mut expected = large();
    expected[123_456] ^= 1;
    for fault in [Fault::CorruptRequest(123_456), Fault::CorruptAnswer(123_456)] {
        proxy.next("PUT", fault);
        assert_eq!(client.ask("PUT", "/", &large()).unwrap(), (200, expected.clone()));
    }
    assert_eq!(client.ask("PUT", "/", &large()).unwrap(), (200, large()));
}

#[test]
fn what_is_held_goes_on_when_the_gate_opens() {
    type Holds = fn(Gate) -> Fault;
    let holds: [(Holds, usize); 6] = [
        (Fault::DelayRequest, 0),
        (|gate| Fault::HoldRequest(0, gate), 0),
        (|gate| Fault::HoldRequest(200_000, gate), 0),
        (Fault::HoldAnswer, 1),
        (|gate| Fault::StallAnswer(0, gate), 1),
        (|gate| Fault::StallAnswer(200_000, gate), 1),
    ];
    for (hold, handled_before) in holds {
        let (proxy, handled) = before_echo();
        let gate = Gate::new();
        proxy.next("PUT", hold(gate.clone()));
        let mut client = Client::of(&proxy);
        let asking = std::thread::spawn(move || client.ask("PUT", "/", &large()).unwrap());
        gate.wait_until_reached();
        assert_eq!(handled.lock().unwrap().len(), handled_before);
        assert!(!asking.is_finished());
        gate.open();
        assert_eq!(asking.join().unwrap(), (200, large()));
    }
}

#[test]
fn a_client_that_gave_up_may_have_succeeded() {
    let (proxy, handled) = before_echo();
    let gate = Gate::new();
    proxy.next("PUT", Fault::DelayRequest(gate.clone()));
    let mut client = Client::of(&proxy);
    client.send(format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", large().len()).as_bytes()).unwrap();
    client.send(&large()).unwrap();
    gate.wait_until_reached();
    drop(client);
    assert!(handled.lock().unwrap().is_empty());
    gate.open();
    proxy.wait_until_answered(1, |request| request.method == "PUT");
    assert_eq!(*handled.lock().unwrap(), [("PUT".to_owned(), large())]);
}

#[test]
fn its_end_ends_what_is_held() {
    let (proxy, _) = before_echo();
    let gate = Gate::new();
    proxy.next("PUT", Fault::HoldAnswer(gate.clone()));
    let mut client = Client::of(&proxy);
    client.send(b"PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    gate.wait_until_reached();
    drop(proxy);
    assert!(client.answer("PUT").is_err());
}
