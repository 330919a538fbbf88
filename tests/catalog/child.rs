//! What the other processes do. A test begins with [`act`]: run again by [`Child::spawn`], it is the child, and does what it
//! is told.
//!
//! A child says each thing on a line of its own, in one write that is done before the next thing begins.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use icecore::ChangeNumber;
use icecore::catalog::{Catalog, CatalogMode, Engine};

use crate::{answers, workload};

const TOLD: &str = "ICECORE_CATALOG_CHILD";
/// What a copy of the catalog is called.
pub const COPY: &str = "copy";
/// Before each line, to tell it from what the test harness prints.
const MARK: &str = "@ ";

/// What a child is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Goes on with the steps of a seed, up to `until`, and opens anew behind every `reopen_every`; half the way it makes a
    /// copy.
    Write { seed: u64, until: u64, reopen_every: u64 },
    /// Reads all the time.
    Read,
    /// Opens, reads and checks everything, and makes one more change.
    Check { seed: u64 },
}

/// What a child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It opens the catalog now.
    Opening,
    /// The catalog is open; the newest change, and what [`answers::digest`] gives.
    Opened(ChangeNumber, u32),
    /// `apply` returned this number.
    Returned(ChangeNumber),
    /// It has read everything so many times.
    Looked(u64),
    /// `copy_to` returned this number.
    Copied(ChangeNumber),
    /// It has closed the catalog.
    Closed,
}

impl Said {
    fn line(self) -> String {
        match self {
            Self::Opening => format!("\n{MARK}opening\n"),
            Self::Opened(number, digest) => format!("\n{MARK}opened {number} {digest}\n"),
            Self::Returned(number) => format!("\n{MARK}returned {number}\n"),
            Self::Looked(times) => format!("\n{MARK}looked {times}\n"),
            Self::Copied(number) => format!("\n{MARK}copied {number}\n"),
            Self::Closed => format!("\n{MARK}closed\n"),
        }
    }
}

impl FromStr for Said {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.strip_prefix(MARK).ok_or(())?.split(' ');
        let word = words.next().ok_or(())?;
        let mut number = || words.next().and_then(|text| text.parse::<u64>().ok()).ok_or(());
        match word {
            "opening" => Ok(Self::Opening),
            "opened" => Ok(Self::Opened(ChangeNumber(number()?), number()?.try_into().map_err(|_| ())?)),
            "returned" => Ok(Self::Returned(ChangeNumber(number()?))),
            "looked" => Ok(Self::Looked(number()?)),
            "copied" => Ok(Self::Copied(ChangeNumber(number()?))),
            "closed" => Ok(Self::Closed),
            _ => Err(()),
        }
    }
}

fn say(said: Said) {
    // Past the buffer of `stdout`: whoever reads it knows that the thing is done.
    let mut out = std::io::stdout().lock();
    out.write_all(said.line().as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

/// Does what a child is told; `false` in the test itself, which then goes on.
pub fn act() -> bool {
    let Ok(told) = std::env::var(TOLD) else { return false };
    let mut words = told.splitn(6, ' ');
    let mut word = || words.next().expect("six words");
    let kind = word().to_owned();
    let engine: Engine = word().parse().unwrap();
    let (seed, until, reopen_every) = (word().parse(), word().parse(), word().parse());
    let path = PathBuf::from(word());
    match kind.as_str() {
        "write" => write(engine, &path, seed.unwrap(), until.unwrap(), reopen_every.unwrap()),
        "check" => check(engine, &path, seed.unwrap()),
        _ => read(engine, &path),
    }
    true
}

fn open(engine: Engine, path: &Path, mode: CatalogMode) -> std::sync::Arc<dyn Catalog> {
    say(Said::Opening);
    let catalog = engine.open(path, mode).unwrap_or_else(|error| panic!("cannot open: {}", answers::told(&error)));
    let number = catalog.change_number().unwrap_or_else(|error| panic!("cannot read: {}", answers::told(&error)));
    let digest = answers::digest(&*catalog).unwrap_or_else(|error| panic!("cannot read: {}", answers::told(&error)));
    say(Said::Opened(number, digest));
    catalog
}

fn write(engine: Engine, path: &Path, seed: u64, until: u64, reopen_every: u64) {
    let mut catalog = open(engine, path, CatalogMode::Create);
    let mut step = workload::steps(&*catalog).unwrap();
    while step < until {
        step += 1;
        let number = workload::apply(&*catalog, seed, step);
        say(Said::Returned(number.unwrap_or_else(|error| panic!("cannot apply: {}", answers::told(&error)))));
        let copy = path.with_file_name(engine.file_name(COPY));
        // Where a power cut left the beginning of one, there is none.
        if step == until / 2 && !copy.exists() {
            let number = catalog.copy_to(&copy);
            say(Said::Copied(number.unwrap_or_else(|error| panic!("cannot copy: {}", answers::told(&error)))));
        }
        if step.is_multiple_of(reopen_every) {
            drop(catalog);
            say(Said::Closed);
            catalog = open(engine, path, CatalogMode::ReadWrite);
        }
    }
    drop(catalog);
    say(Said::Closed);
}

fn check(engine: Engine, path: &Path, seed: u64) {
    let catalog = open(engine, path, CatalogMode::ReadWrite);
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
    let rows = catalog.segments(None, None, usize::MAX).and_then(|_| catalog.changes(ChangeNumber(0), usize::MAX));
    rows.unwrap_or_else(|error| panic!("cannot read: {}", answers::told(&error)));
    workload::apply(&*catalog, seed, workload::steps(&*catalog).unwrap() + 1).unwrap();
    drop(catalog);
    say(Said::Closed);
}

fn read(engine: Engine, path: &Path) {
    let catalog = open(engine, path, CatalogMode::ReadOnly);
    for times in 1.. {
        let rows = catalog.segments(None, None, usize::MAX).and_then(|_| catalog.changes(ChangeNumber(0), usize::MAX));
        rows.unwrap_or_else(|error| panic!("cannot read: {}", answers::told(&error)));
        say(Said::Looked(times));
    }
}

/// A child that runs.
pub struct Child {
    process: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Child {
    /// The command that runs the test of this name again, as a child; `before` are words to put in front, of a program that
    /// runs it.
    pub fn command(test: &str, before: &[String], engine: Engine, path: &Path, task: &Task) -> Command {
        let own = std::env::current_exe().unwrap();
        let mut command = match before {
            [] => Command::new(own),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(own);
                command
            }
        };
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        let told = match task {
            Task::Write { seed, until, reopen_every } => format!("write {engine} {seed} {until} {reopen_every}"),
            Task::Read => format!("read {engine} 0 0 0"),
            Task::Check { seed } => format!("check {engine} {seed} 0 0"),
        };
        command.env(TOLD, format!("{told} {}", path.display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn spawn(test: &str, engine: Engine, path: &Path, task: &Task) -> Self {
        let mut process = Self::command(test, &[], engine, path, task).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    /// What it says next; `None` when it has ended.
    pub fn hear(&mut self) -> Option<Said> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.out.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line that the kill cut is no line.
            if let Some(Ok(said)) = line.strip_suffix('\n').map(str::parse) {
                return Some(said);
            }
        }
    }

    /// Kills it, and returns what it had said until then and nobody had heard.
    ///
    /// # Errors
    /// It ended by itself before, and what it said of that.
    pub fn kill(mut self) -> Result<Vec<Said>, String> {
        self.process.kill().unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| self.hear()).collect();
        let status = self.process.wait().unwrap();
        if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
            return Ok(rest);
        }
        let mut error = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        Err(format!("the child ended by itself: {status}: {error}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A test that failed leaves nothing running.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
