//! A full disk and a read-only disk, through the real program.
//!
//! Each test mounts a small memory file system of its own, in a namespace of its own, so it needs no rights and leaves
//! nothing behind. Where the system allows no namespaces it says so, and fails where `CI` is set.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::process::{Command, Output};

use util::Workspace;

/// Runs a shell script with a memory file system of `megabytes` at `disk`; `$icecore` is the program.
fn on_small_disk(workspace: &Workspace, megabytes: u32, script: &str) -> Option<Output> {
    std::fs::create_dir_all(workspace.path("disk")).unwrap();
    let mount = format!("mount -t tmpfs -o size={megabytes}m none disk");
    let run = |script: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .current_dir(workspace.path(""))
            .env("icecore", env!("CARGO_BIN_EXE_icecore"))
            .output()
    };
    match run(&mount) {
        Ok(output) if output.status.success() => {}
        failed => {
            let why = format!("cannot mount a file system in a namespace, so this was not tested: {failed:?}");
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("{why}");
            return None;
        }
    }
    Some(run(&format!("set -eu; {mount}\n{script}")).unwrap())
}

#[track_caller]
fn text(workspace: &Workspace, name: &str) -> String {
    String::from_utf8(workspace.read(name)).unwrap()
}

#[test]
fn a_full_disk_refuses_appends_loses_nothing_and_goes_on_when_there_is_room() {
    let workspace = Workspace::new();
    let line = |number: u32| format!("{number:06} {}\n", "x".repeat(900));
    let input: String = (1..=60_000).map(line).collect();
    workspace.write("input", &input);
    let script = "
        head -c 270000000 /dev/zero > disk/filler
        set +e
        $icecore --data disk/log append c input --acks --resume --set segment.codec=null > acks 2> stderr; echo $? > code
        $icecore --data disk/log cat c --format raw > read 2>&1; echo $? > read_code
        $icecore --data disk/log ls collections --json > listed 2>&1; echo $? > listed_code
        rm disk/filler
        $icecore --data disk/log append c input --resume --json --set segment.codec=null > resumed 2>&1; echo $? > resumed_code
        $icecore --data disk/log cat c --format raw > all 2>&1; echo $? > all_code
        true";
    let Some(output) = on_small_disk(&workspace, 450, script) else { return };
    assert!(output.status.success(), "{output:?}");
    let stderr = text(&workspace, "stderr");
    assert_eq!(text(&workspace, "code"), "3\n", "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[0].starts_with("appended "), "{stderr}");
    assert!(lines[1].starts_with("icecore: ") && lines[2].starts_with("hint: "), "{stderr}");
    assert_eq!(lines.len(), 3, "{stderr}");
    let acked: serde_json::Value = serde_json::from_str(text(&workspace, "acks").lines().last().unwrap()).unwrap();
    let acked = acked["last_sequence"].as_u64().unwrap() as usize;
    // Reading works on the full disk, and everything acknowledged is there.
    let read = text(&workspace, "read");
    assert_eq!(
        (text(&workspace, "read_code"), text(&workspace, "listed_code")),
        ("0\n".into(), "0\n".into()),
        "{read}"
    );
    assert_eq!(read.lines().count(), acked);
    assert!(read.lines().eq(input.lines().take(acked)));
    assert_eq!(text(&workspace, "resumed_code"), "0\n", "{}", text(&workspace, "resumed"));
    assert_eq!(text(&workspace, "all_code"), "0\n");
    assert!(text(&workspace, "all") == input, "after room was made, the load goes on without a hole");
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named() {
    let workspace = Workspace::new();
    let script = "
        set +e
        echo a | $icecore --data disk/log append c > stdout 2> stderr; echo $? > code
        true";
    let Some(output) = on_small_disk(&workspace, 30, script) else { return };
    assert!(output.status.success(), "{output:?}");
    let stderr = text(&workspace, "stderr");
    assert_eq!(text(&workspace, "code"), "1\n", "{stderr}");
    assert!(stderr.contains("disk/log") && stderr.contains("\nhint: "), "{stderr}");
    assert_eq!(text(&workspace, "stdout"), "");
}

#[test]
fn a_read_only_disk_can_be_read_and_refuses_the_rest() {
    let workspace = Workspace::new();
    let script = "
        printf 'a\\nb\\n' | $icecore --data disk/log append c
        $icecore --data disk/log seal
        printf 'c\\n' | $icecore --data disk/log append c
        mount -o remount,ro disk
        set +e
        for command in 'cat c --format raw' 'get c k' 'ls collections' 'ls journals' 'gap ls' 'recover --dry-run' \\
                       'status' 'verify --deep' 'append c' 'delete c k' 'seal' 'recover'; do
            $icecore --data disk/log $command < /dev/null > out 2>&1
            echo \"$? $command: $(tr '\\n' '|' < out)\" >> results
        done
        true";
    let Some(output) = on_small_disk(&workspace, 250, script) else { return };
    assert!(output.status.success(), "{output:?}");
    let results = text(&workspace, "results");
    for (code, command) in [
        (0, "cat c --format raw: a|b|c|"),
        (1, "get c k: icecore: no such key"),
        (0, "ls collections: "),
        (0, "ls journals: "),
        (0, "gap ls: no losses"),
        (0, "recover --dry-run: "),
        (0, "status: "),
        (0, "verify --deep: "),
        (1, "append c: icecore: "),
        (1, "delete c k: icecore: "),
        (1, "seal: icecore: "),
        (1, "recover: icecore: "),
    ] {
        let line = results.lines().find(|line| line.starts_with(&format!("{code} {command}")));
        let line = line.unwrap_or_else(|| panic!("{code} {command}\n{results}"));
        if code == 1 && !command.starts_with("get") {
            assert!(line.contains("|hint: the disk is read-only"), "{line}");
        }
    }
}
