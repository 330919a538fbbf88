//! SeaweedFS: master, volume, filer and S3 in one process, in a directory that is gone with the value.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};

use super::engine::{ADVICE, free_port};

/// Who may do everything.
pub const ALL: (&str, &str) = ("seaweed", "seaweed-secret");
/// Who may write, and not read.
pub const WRITER: (&str, &str) = ("writer", "writer-secret");

pub struct Seaweed {
    directory: tempfile::TempDir,
    program: PathBuf,
    ports: Vec<SocketAddr>,
    child: Mutex<Child>,
}

impl Seaweed {
    /// Starts one, which does not answer yet.
    #[track_caller]
    pub fn start() -> Self {
        let program: PathBuf = std::env::var_os("SEAWEEDFS_BIN")
            .unwrap_or_else(|| panic!("SEAWEEDFS_BIN names no program: {ADVICE}"))
            .into();
        let directory = tempfile::tempdir().unwrap();
        let identity = |(key, secret): (&str, &str), actions: &[&str]| {
            serde_json::json!({
                "name": key, "credentials": [{ "accessKey": key, "secretKey": secret }], "actions": actions,
            })
        };
        let identities = serde_json::json!({
            "identities": [identity(ALL, &["Admin", "Read", "Write", "List", "Tagging"]), identity(WRITER, &["Write"])],
        });
        std::fs::write(directory.path().join("s3.json"), identities.to_string()).unwrap();
        let ports: Vec<SocketAddr> = (0..8).map(|_| free_port()).collect();
        let child = Mutex::new(spawn(&program, &directory, &ports));
        Self { directory, program, ports, child }
    }

    pub fn address(&self) -> SocketAddr {
        self.ports[0]
    }

    /// As it does where it cannot have one of its ports.
    pub fn has_ended(&self) -> bool {
        !matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }

    /// What it last wrote.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(6_000)..];
        String::from_utf8_lossy(tail).into_owned()
    }

    pub fn kill(&self) {
        end(&mut self.child.lock().unwrap());
    }

    pub fn restart(&self) {
        *self.child.lock().unwrap() = spawn(&self.program, &self.directory, &self.ports);
    }

    pub fn pause(&self) {
        signal(&self.child.lock().unwrap(), Signal::STOP);
    }

    pub fn unpause(&self) {
        signal(&self.child.lock().unwrap(), Signal::CONT);
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        end(self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

fn spawn(program: &Path, directory: &tempfile::TempDir, ports: &[SocketAddr]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
    let names = ["s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc"];
    let mut command = Command::new(program);
    command
        .arg("server")
        .arg("-s3")
        .arg("-dir")
        .arg(directory.path())
        .arg("-s3.config")
        .arg(directory.path().join("s3.json"));
    for (name, port) in names.into_iter().zip(ports) {
        let flag = match name.split_once('.') {
            Some((name, _)) => format!("-{name}.port.grpc={}", port.port()),
            None => format!("-{name}.port={}", port.port()),
        };
        command.arg(flag);
    }
    // Nobody is told anything, nothing listens that nobody asks, and volumes are small enough for a temporary directory.
    command.args([
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
    ]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=200", "-master.volumeSizeLimitMB=64"]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    command
        .spawn()
        .unwrap_or_else(|error| panic!("SeaweedFS cannot be started: {ADVICE} ({}: {error})", program.display()))
}

fn signal(child: &Child, signal: Signal) {
    let group = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
    // Nobody is left in the group where it has ended.
    let _ = kill_process_group(group, signal);
}

fn end(child: &mut Child) {
    signal(child, Signal::KILL);
    let _ = child.wait();
}
