//! Runs the real program in a fresh directory and keeps what it said.
#![allow(dead_code, reason = "every test file uses its own part of it")]
#![allow(clippy::disallowed_methods, reason = "tests prepare and look at real files from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A directory of its own, gone with the value; the program runs inside.
pub struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a test needs a temporary directory") }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file with these bytes, and the directories above it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A run of the program with these arguments, not started yet. No setting of the machine reaches it.
    pub fn icecore<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ICECORE_") {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.directory.path());
        command.env("COLUMNS", "100").env("NO_COLOR", "1").env_remove("CLICOLOR_FORCE");
        Run { command, stdin: Vec::new() }
    }

    /// Runs the program with words separated by blanks.
    pub fn run(&self, line: &str) -> Outcome {
        self.icecore(line.split_whitespace()).run()
    }
}

/// A run that is being prepared.
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
}

impl Run {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Starts it with pipes on all three sides, for tests that talk to it or kill it.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().expect("the program is built before its tests")
    }

    /// Starts it with `stdout` in the place of a pipe, and waits.
    pub fn run_into(mut self, stdout: impl Into<Stdio>) -> Outcome {
        self.command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let child = self.command.spawn().expect("the program is built before its tests");
        // The command holds the other end of what was passed; it must be gone before the child is waited for.
        drop(self.command);
        Outcome::of(child)
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        let input = std::mem::take(&mut self.stdin);
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().expect("it was piped");
        // Beside the reading of its output, so that neither side waits for the other with a full pipe.
        let writer = std::thread::spawn(move || {
            // A program that ends early need not read all of its input.
            let _ = stdin.write_all(&input);
        });
        let outcome = Outcome::of(child);
        writer.join().unwrap();
        outcome
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("the program prints utf-8");
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Stdout, one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(read).collect()
    }

    /// The error on stderr as the JSON object that it is with `--json`.
    #[track_caller]
    pub fn json_error(&self) -> serde_json::Value {
        let value: serde_json::Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        value["error"].clone()
    }
}

/// Compares with the text in `tests/snapshots`, or, where `UPDATE_SNAPSHOTS` is set, writes it there.
#[track_caller]
pub fn assert_snapshot(name: &str, text: &str) {
    let path = snapshots().join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(snapshots()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "tests/snapshots/{name} differs; look, then run again with UPDATE_SNAPSHOTS=1");
}

/// Where the snapshots are.
pub fn snapshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots")
}
