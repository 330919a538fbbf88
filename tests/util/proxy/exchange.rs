//! One request after another, from a client to the server, and the answers back, with what was to go wrong.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::wire::{Framing, Side, header, reset, write_all};
use super::{Fault, Request, Shared, lock};

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It can take another request.
    Open,
    Close,
    Reset,
}

pub(super) struct Connection<'a> {
    pub(super) shared: &'a Shared,
    pub(super) client: Side,
    pub(super) server: Option<Side>,
}

impl Connection<'_> {
    pub(super) fn run(&mut self) -> io::Result<()> {
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
        match &shared.translates {
            Some(translates) => write_all(&to_server, translates(request).as_bytes())?,
            None => write_all(&to_server, head)?,
        }
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
