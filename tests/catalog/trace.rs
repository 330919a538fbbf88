//! The system calls of a child, by `strace`, as what they did to the files of one directory.
//!
//! Nothing is skipped silently: a call on one of those files that is not understood is an error, and the replay of all of
//! them must give the files that lie there in the end.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use icecore::catalog::Engine;

use crate::child::{Child, Said, Task};

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file was opened, made where it was not there, emptied where that was asked.
    Open { name: String, creates: bool, empties: bool },
    /// Bytes were written; `synchronous`: through a descriptor whose writes are durable when they return.
    Write { name: String, offset: u64, bytes: Vec<u8>, synchronous: bool },
    /// The length changed; `only_longer`: or stayed, where it was more.
    SetLen { name: String, len: u64, only_longer: bool },
    /// A file was synced.
    Sync { name: String },
    /// The directory was synced.
    SyncDirectory,
    /// A name went.
    Remove { name: String },
    /// A name became another.
    Rename { from: String, to: String },
    /// The child said something.
    Said(Said),
}

/// Calls that change files, names or what is durable, and those that would, were they used.
const CALLS: &str = "?open,openat,?creat,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,\
    fdatasync,sync_file_range,sync,syncfs,mmap,?unlink,unlinkat,?rename,?renameat,renameat2,?link,linkat,?symlink,symlinkat,\
    ?mkdir,mkdirat,?rmdir,io_uring_setup,io_submit,copy_file_range,sendfile,splice,dup,?dup2,dup3";

/// Files that are shared memory and locks of running processes: they lie in the directory, and are no part of what must be
/// durable.
pub fn is_transient(name: &str) -> bool {
    ["-shm", "-lck", "-lock"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether there is a `strace` that works; says so loudly where there is none, and fails in CI.
pub fn is_possible() -> bool {
    let tried = Command::new("strace").args(["-f", "-e", "trace=fsync", "true"]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("NOT TESTED: system calls cannot be recorded without a working strace: {why}");
    assert!(std::env::var_os("CI").is_none(), "in CI nothing may be left out: strace: {why}");
    false
}

/// Runs the test of this name as a child, and gives what it did to the files in the directory of `path`.
///
/// # Errors
/// The child failed, or did something that is not understood.
pub fn record(test: &str, engine: Engine, path: &Path, task: &Task) -> Result<Vec<Event>, String> {
    let directory = path.parent().unwrap();
    let log = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let words = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "4000000", "-e", "signal=none", "-e"];
    let mut before: Vec<String> = words.map(str::to_owned).to_vec();
    before.extend([format!("trace={CALLS}"), "-o".to_owned(), log.path().display().to_string()]);
    let output = Child::command(test, &before, engine, path, task).output().unwrap();
    if !output.status.success() {
        return Err(format!("the child failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut tracer = Tracer { directory: directory.to_str().unwrap(), ..Tracer::default() };
    for line in text.lines() {
        tracer.line(line).map_err(|what| format!("{what}: {}", shorten(line)))?;
    }
    Ok(tracer.events)
}

fn shorten(line: &str) -> String {
    let readable = unhex(line);
    if readable.len() <= 400 { readable } else { format!("{}...", readable.chars().take(400).collect::<String>()) }
}

fn unhex(text: &str) -> String {
    String::from_utf8_lossy(&bytes_of(text)).into_owned()
}

/// Bytes given as `\x2f\x00`; anything else stays.
fn bytes_of(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(text.len() / 4), 0);
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    while at < text.len() {
        if let [b'\\', b'x', high, low, ..] = text[at..]
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high << 4 | low);
            at += 4;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}

/// One call, with its arguments.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    /// What it returned, with the path of a descriptor.
    result: &'a str,
}

impl<'a> Call<'a> {
    /// `name(arguments) = result`; strings are hexadecimal, so that no comma or bracket is inside of one.
    fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        let (mut list, mut depth, mut from) = (Vec::new(), 0, 0);
        for (at, byte) in arguments.bytes().enumerate() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    list.push(arguments[from..at].trim());
                    from = at + 1;
                }
                _ => {}
            }
        }
        list.push(arguments[from..].trim());
        Some(Self { name, arguments: list, result })
    }

    fn argument(&self, at: usize) -> Result<&'a str, String> {
        self.arguments.get(at).copied().ok_or_else(|| format!("no argument {at}"))
    }

    fn number(&self, at: usize) -> Result<u64, String> {
        let text = self.argument(at)?;
        let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
        parsed.map_err(|_| format!("argument {at} is no number"))
    }

    /// The strings of an argument, one behind the other.
    fn bytes(&self, at: usize) -> Result<Vec<u8>, String> {
        let text = self.argument(at)?;
        if text.contains("\"...") {
            return Err("a string was cut".to_owned());
        }
        Ok(text.split('"').skip(1).step_by(2).flat_map(bytes_of).collect())
    }

    fn path(&self, at: usize) -> Result<String, String> {
        String::from_utf8(self.bytes(at)?).map_err(|_| "a path is no text".to_owned())
    }
}

/// `4</a/path>`: the number and the path.
fn descriptor(text: &str) -> Option<(u32, String)> {
    let (number, path) = text.split_once('<')?;
    Some((number.parse().ok()?, unhex(path.strip_suffix('>')?)))
}

#[derive(Default)]
struct Tracer<'a> {
    directory: &'a str,
    events: Vec<Event>,
    /// Calls that have begun, by thread, and how many events there were then.
    begun: HashMap<&'a str, (&'a str, usize)>,
    /// Of open descriptors: where the next write without an offset goes, whether writes are synchronous or go to the end.
    open: HashMap<u32, Descriptor>,
}

#[derive(Clone, Copy, Default)]
struct Descriptor {
    position: u64,
    synchronous: bool,
    appends: bool,
}

impl<'a> Tracer<'a> {
    fn line(&mut self, line: &'a str) -> Result<(), String> {
        let Some((thread, text)) = line.split_once(' ') else { return Ok(()) };
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            return Ok(());
        }
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread, (begun.trim_end(), self.events.len()));
            return Ok(());
        }
        if let Some((_, end)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            let (begun, since) = self.begun.remove(thread).ok_or("ended, and had not begun")?;
            let whole = format!("{begun}{end}");
            let count = self.events.len();
            self.call(&whole)?;
            return self.check_alone(since, count);
        }
        self.call(text)
    }

    /// What a sync covers is clear only where nobody wrote to the file while it ran.
    fn check_alone(&self, since: usize, ended: usize) -> Result<(), String> {
        let Some(Event::Sync { name: synced }) = self.events.get(ended) else { return Ok(()) };
        let is_of =
            |event: &Event| matches!(event, Event::Write { name, .. } | Event::SetLen { name, .. } if name == synced);
        if self.events[since..ended].iter().any(is_of) {
            return Err("a file was written to while it was synced".to_owned());
        }
        Ok(())
    }

    /// The name within the directory; empty for the directory itself.
    fn name(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.directory)?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
    }

    fn call(&mut self, text: &str) -> Result<(), String> {
        let call = Call::parse(text).ok_or("no call")?;
        if call.result.starts_with('-') || call.result.starts_with('?') {
            return Ok(());
        }
        let first = descriptor(call.argument(0)?);
        match call.name {
            "open" | "openat" | "creat" => return self.opened(&call),
            "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" => return self.renamed(&call),
            "mmap" => return self.mapped(&call),
            "sync" | "syncfs" => return Err("syncs everything: the engines have no need for that".to_owned()),
            "io_uring_setup" | "io_submit" => return Err("writes that cannot be seen".to_owned()),
            "write" if first.as_ref().is_some_and(|(number, _)| *number == 1) => return self.said(&call),
            _ => {}
        }
        let Some((number, name)) = first.and_then(|(number, path)| Some((number, self.name(&path)?))) else {
            // Of another file, or one that cannot be told: by a path, or without a name any more.
            let ours: String = self.directory.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            return if text.contains(&ours) { Err("not understood".to_owned()) } else { Ok(()) };
        };
        self.changed(&call, number, name)
    }

    fn opened(&mut self, call: &Call<'_>) -> Result<(), String> {
        let Some((number, path)) = descriptor(call.result) else { return Err("no descriptor".to_owned()) };
        let flags = call.arguments[1..].join("|");
        let has = |flag: &str| flags.split('|').any(|word| word == flag);
        let synchronous = has("O_SYNC") || has("O_DSYNC");
        self.open.insert(number, Descriptor { position: 0, synchronous, appends: has("O_APPEND") });
        if let Some(name) = self.name(&path).filter(|name| !name.is_empty()) {
            self.events.push(Event::Open { name, creates: has("O_CREAT"), empties: has("O_TRUNC") });
        }
        Ok(())
    }

    fn renamed(&mut self, call: &Call<'_>) -> Result<(), String> {
        let paths: Vec<_> = (0..call.arguments.len()).filter(|at| call.arguments[*at].starts_with('"')).collect();
        let names: Result<Vec<_>, String> = paths.iter().map(|at| Ok(self.name(&call.path(*at)?))).collect();
        match names?.as_slice() {
            [Some(name)] => self.events.push(Event::Remove { name: name.clone() }),
            [Some(from), Some(to)] => self.events.push(Event::Rename { from: from.clone(), to: to.clone() }),
            [None] | [None, None] => {}
            _ => return Err("a file came into the directory, or left it".to_owned()),
        }
        Ok(())
    }

    /// What is written to a shared mapping is durable at no known time.
    fn mapped(&self, call: &Call<'_>) -> Result<(), String> {
        let file = descriptor(call.argument(4)?).and_then(|(_, path)| self.name(&path));
        let shared = call.argument(2)?.contains("PROT_WRITE") && call.argument(3)?.contains("MAP_SHARED");
        match file {
            Some(name) if shared && !is_transient(&name) => Err(format!("`{name}` is written by mmap")),
            _ => Ok(()),
        }
    }

    fn said(&mut self, call: &Call<'_>) -> Result<(), String> {
        let text = String::from_utf8_lossy(&call.bytes(1)?).into_owned();
        self.events.extend(text.lines().filter_map(|line| line.parse().ok().map(Event::Said)));
        Ok(())
    }

    fn changed(&mut self, call: &Call<'_>, number: u32, name: String) -> Result<(), String> {
        let descriptor = self.open.entry(number).or_default();
        match call.name {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => {
                if descriptor.appends {
                    return Err("appends: the offset is not known".to_owned());
                }
                let mut bytes = call.bytes(1)?;
                bytes.truncate(call.result.parse().map_err(|_| "no count of bytes")?);
                let offset = match call.name {
                    "pwrite64" | "pwritev" => call.number(3)?,
                    "pwritev2" => return Err("not understood".to_owned()),
                    _ => {
                        descriptor.position += bytes.len() as u64;
                        descriptor.position - bytes.len() as u64
                    }
                };
                let synchronous = descriptor.synchronous;
                self.events.push(Event::Write { name, offset, bytes, synchronous });
            }
            "lseek" => descriptor.position = call.result.parse().map_err(|_| "no offset")?,
            "ftruncate" => self.events.push(Event::SetLen { name, len: call.number(1)?, only_longer: false }),
            "fallocate" if call.argument(1)? == "0" => {
                let len = call.number(2)? + call.number(3)?;
                self.events.push(Event::SetLen { name, len, only_longer: true });
            }
            "fsync" | "fdatasync" if name.is_empty() => self.events.push(Event::SyncDirectory),
            "fsync" | "fdatasync" => self.events.push(Event::Sync { name }),
            // Promises nothing.
            "sync_file_range" => {}
            _ => return Err("not understood".to_owned()),
        }
        Ok(())
    }
}
