//! docker-compose.yml starts, under another name and on other ports, and leaves nothing.

use std::net::SocketAddr;
use std::process::{Command, Output};

use super::engine::{ADVICE, free_port};
use super::servers::{Kind, Server};
use super::{admin, wait_for};

struct Project {
    program: Vec<&'static str>,
    ports: [SocketAddr; 2],
}

impl Project {
    #[track_caller]
    fn new() -> Self {
        let works = |program: &[&str]| {
            Command::new(program[0])
                .args(&program[1..])
                .arg("version")
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let programs = [vec!["docker", "compose"], vec!["docker-compose"]];
        let program = programs.into_iter().find(|program| works(program));
        let program =
            program.unwrap_or_else(|| panic!("neither `docker compose` nor `docker-compose` is there: {ADVICE}"));
        Self { program, ports: [free_port(), free_port()] }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");
        let project = format!("icecore-test-{}", std::process::id());
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).args(["-f", file, "-p", &project]).args(arguments);
        command
            .env("MINIO_PORT", self.ports[0].port().to_string())
            .env("AZURITE_PORT", self.ports[1].port().to_string());
        let (user, password) = Server::elsewhere(Kind::Minio, self.ports[0]).credentials();
        command.env("MINIO_ROOT_USER", user).env("MINIO_ROOT_PASSWORD", password);
        command.output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}; {ADVICE}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.run(&["down", "-v", "-t", "0"]);
    }
}

#[test]
fn the_compose_file_starts_both_servers_on_this_machine_alone() {
    let project = Project::new();
    project.succeeds(&["up", "-d"]);
    for (kind, address) in [Kind::Minio, Kind::Azurite].into_iter().zip(project.ports) {
        let server = Server::elsewhere(kind, address);
        wait_for(&format!("{kind:?} of the compose file"), || {
            admin::list_buckets(&server).ok().filter(|answer| answer.status == 200)
        });
    }
    for (service, port) in [("minio", "9000"), ("azurite", "10000")] {
        let published = project.succeeds(&["port", service, port]);
        assert!(published.starts_with("127.0.0.1:"), "{service}: {published}");
    }
    project.succeeds(&["down", "-v", "-t", "0"]);
    assert_eq!(project.succeeds(&["ps", "-q"]), "");
}
