//! The servers, started when a test wants one.
//!
//! Tests that run at the same time share one of each kind: it ends with the last that holds it. A test that kills or pauses has its own.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::admin::{self, Answer};
use super::engine::Container;
use super::seaweed::{self, Seaweed};
use super::tls::{Authority, Stream};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Minio,
    Azurite,
    Seaweed,
}

enum Runs {
    Container(Box<Container>),
    Process(Seaweed),
    /// Somebody else's.
    Elsewhere(SocketAddr),
}

/// A server that answers.
pub struct Server {
    pub kind: Kind,
    runs: Runs,
    tls: Option<Tls>,
}

/// How a server is reached that speaks TLS alone.
struct Tls {
    authority: Arc<Authority>,
    /// The name in its certificate.
    name: String,
}

static SHARED: [Mutex<Weak<Server>>; 3] = [const { Mutex::new(Weak::new()) }; 3];

/// The one that tests share.
#[track_caller]
pub fn shared(kind: Kind) -> Arc<Server> {
    // Where one failed to start, the next test tries again, and says so too.
    let mut shared = SHARED[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = own(kind);
        *shared = Arc::downgrade(&server);
        server
    })
}

/// How often a server is started, and how long it may take to answer before another is tried. Its ports were free when they were
/// looked for, and another program may have taken one since.
const STARTS: usize = 3;
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// One for a test alone.
#[track_caller]
pub fn own(kind: Kind) -> Arc<Server> {
    let started = (0..STARTS).find_map(|_| {
        let server = start(kind);
        match server.answers_within(ANSWERS_WITHIN) {
            Ok(()) => Some(server),
            Err(state) => {
                eprintln!("{kind:?} at {} is started anew: {state}", server.address());
                None
            }
        }
    });
    Arc::new(started.unwrap_or_else(|| panic!("{kind:?} does not answer, started {STARTS} times: see above")))
}

#[track_caller]
fn start(kind: Kind) -> Server {
    let runs = match kind {
        Kind::Minio => {
            let command = ["server", "/data"];
            Runs::Container(Box::new(Container::start(&image(kind), 9000, &MINIO_ENVIRONMENT, &command)))
        }
        Kind::Azurite => Runs::Container(Box::new(Container::start(&image(kind), 10_000, &[], &AZURITE_COMMAND))),
        Kind::Seaweed => Runs::Process(Seaweed::start()),
    };
    Server { kind, runs, tls: None }
}

/// One that speaks TLS alone, with a certificate of this name. Azurite takes tokens of Entra ID there, too.
#[track_caller]
pub fn own_with_tls(kind: Kind, authority: &Arc<Authority>, name: &str) -> Arc<Server> {
    let identity = authority.issue(&[name]);
    let (certificate, key) = (identity.certificate.as_str(), identity.key.as_str());
    let container = match kind {
        Kind::Minio => {
            let files = [("/certs/public.crt", certificate), ("/certs/private.key", key)];
            let command = ["server", "--certs-dir", "/certs", "/data"];
            Container::start_with(&image(kind), 9000, &MINIO_ENVIRONMENT, &command, &files)
        }
        Kind::Azurite => {
            let files = [("/certs/cert.pem", certificate), ("/certs/key.pem", key)];
            let mut command = AZURITE_COMMAND.to_vec();
            command.extend(["--cert", "/certs/cert.pem", "--key", "/certs/key.pem", "--oauth", "basic"]);
            Container::start_with(&image(kind), 10_000, &[], &command, &files)
        }
        Kind::Seaweed => unreachable!("nobody asked for it"),
    };
    let tls = Some(Tls { authority: Arc::clone(authority), name: name.to_owned() });
    let server = Arc::new(Server { kind, runs: Runs::Container(Box::new(container)), tls });
    server.wait_until_it_answers();
    server
}

const MINIO_ENVIRONMENT: [(&str, &str); 3] =
    [("MINIO_ROOT_USER", "minioadmin"), ("MINIO_ROOT_PASSWORD", "minio-secret"), ("MINIO_UPDATE", "off")];
const AZURITE_COMMAND: [&str; 6] =
    ["azurite-blob", "--location", "/data", "--blobHost", "0.0.0.0", "--disableTelemetry"];

fn image(kind: Kind) -> String {
    let (variable, public) = match kind {
        Kind::Minio => ("MINIO_IMAGE", "minio/minio:RELEASE.2025-09-07T16-13-09Z"),
        Kind::Azurite => ("AZURITE_IMAGE", "mcr.microsoft.com/azure-storage/azurite:3.35.0"),
        Kind::Seaweed => unreachable!("it is no container"),
    };
    std::env::var(variable).unwrap_or_else(|_| public.to_owned())
}

impl Server {
    /// One that was started by other means.
    pub fn elsewhere(kind: Kind, address: SocketAddr) -> Self {
        Self { kind, runs: Runs::Elsewhere(address), tls: None }
    }

    pub fn address(&self) -> SocketAddr {
        match &self.runs {
            Runs::Container(container) => container.address(),
            Runs::Process(process) => process.address(),
            Runs::Elsewhere(address) => *address,
        }
    }

    /// A connection to it.
    pub fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.authority.connect(stream, &tls.name)?),
        })
    }

    /// `http://HOST:PORT`, or `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address())
    }

    /// The account, and its secret, that may do everything.
    pub fn credentials(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Minio => ("minioadmin", "minio-secret"),
            Kind::Azurite => admin::AZURE_DEVELOPMENT,
            Kind::Seaweed => seaweed::ALL,
        }
    }

    pub fn kill(&self) {
        match &self.runs {
            Runs::Container(container) => container.kill(),
            Runs::Process(process) => process.kill(),
            Runs::Elsewhere(_) => unreachable!("it is not ours"),
        }
    }

    /// After a kill; returns when it answers.
    #[track_caller]
    pub fn restart(&self) {
        match &self.runs {
            Runs::Container(container) => container.restart(),
            Runs::Process(process) => process.restart(),
            Runs::Elsewhere(_) => unreachable!("it is not ours"),
        }
        self.wait_until_it_answers();
    }

    pub fn pause(&self) {
        match &self.runs {
            Runs::Container(container) => container.pause(),
            Runs::Process(process) => process.pause(),
            Runs::Elsewhere(_) => unreachable!("it is not ours"),
        }
    }

    pub fn unpause(&self) {
        match &self.runs {
            Runs::Container(container) => container.unpause(),
            Runs::Process(process) => process.unpause(),
            Runs::Elsewhere(_) => unreachable!("it is not ours"),
        }
    }

    #[track_caller]
    fn wait_until_it_answers(&self) {
        self.answers_within(DEADLINE)
            .unwrap_or_else(|state| panic!("{:?} answers: not in {DEADLINE:?}: {state}", self.kind));
    }

    /// A listing of its buckets succeeds: its port alone may be open long before. Else what it said last.
    fn answers_within(&self, time: Duration) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let listed = admin::list_buckets(self);
            // What keeps the bytes may join later than what keeps the names.
            let answer = match listed {
                Ok(answer) if answer.status == 200 && self.kind == Kind::Seaweed => self.stores_and_reads(),
                listed => listed,
            };
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if begin.elapsed() < time && !self.has_ended() => std::thread::sleep(Duration::from_millis(20)),
                answer => {
                    let log = match &self.runs {
                        Runs::Process(process) => process.log(),
                        Runs::Container(_) | Runs::Elsewhere(_) => String::new(),
                    };
                    return Err(format!("{answer:?}; it has ended: {}\n{log}", self.has_ended()));
                }
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(&self.runs, Runs::Process(process) if process.has_ended())
    }

    fn stores_and_reads(&self) -> io::Result<Answer> {
        admin::send(self, "PUT", "/is-ready", &[], b"")?;
        let put = admin::send(self, "PUT", "/is-ready/object", &[], b"bytes")?;
        if put.status != 200 {
            return Ok(put);
        }
        let get = admin::send(self, "GET", "/is-ready/object", &[], b"")?;
        if get.status == 200 && get.body != "bytes" {
            return Err(io::Error::other(format!("what was stored reads as `{}`", get.body)));
        }
        Ok(get)
    }
}
