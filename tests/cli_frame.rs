//! What every command has in common: help, settings, exit codes, errors, pipes.
#![allow(clippy::disallowed_methods, reason = "tests look at real files from outside")]

mod util;

use util::{Workspace, assert_snapshot, snapshots};

/// The words of every command that is not hidden: `[]`, `["append"]`, `["gap", "ls"]`.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
        all.push(words.to_vec());
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            walk(inner, &[words, &[inner.get_name().to_owned()]].concat(), all);
        }
    }
    let mut all = Vec::new();
    walk(&icecore::cli::command(), &[], &mut all);
    all
}

#[test]
fn help_of_every_command_is_as_reviewed() {
    let workspace = Workspace::new();
    let mut names = Vec::new();
    for words in commands() {
        let help = workspace.icecore(words.iter().map(String::as_str).chain(["--help"])).run().expect_code(0);
        assert_eq!(help.stderr, "");
        let name = format!("help{}.txt", words.iter().map(|word| format!("-{word}")).collect::<String>());
        assert_snapshot(&name, &help.stdout);
        names.push(name);
    }
    let checked_in =
        std::fs::read_dir(snapshots()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left_over: Vec<String> = checked_in.filter(|name| name.starts_with("help") && !names.contains(name)).collect();
    assert_eq!(left_over, [""; 0], "snapshots of commands that are gone");
}

#[test]
fn the_contract_words_are_all_there() {
    let have: Vec<String> = commands().iter().map(|words| words.join(" ")).collect();
    for word in [
        "append",
        "delete",
        "cat",
        "tail",
        "get",
        "search",
        "seal",
        "flush",
        "ls",
        "verify",
        "recover",
        "inspect",
        "status",
        "gap ls",
        "gap acknowledge",
        "bench",
        "archive",
        "doctor",
        "evict",
        "rehydrate",
        "compact",
        "restore",
        "retention plan",
        "retention apply",
        "hold set",
        "hold clear",
        "hold ls",
        "ls objects",
        "ls manifests",
        "config",
        "completions",
    ] {
        assert!(have.iter().any(|words| words == word), "{word}");
    }
}

#[test]
fn the_stronger_source_wins() {
    let workspace = Workspace::new();
    workspace.write("icecore.toml", "[flush]\nbytes = \"1MiB\"\nage = \"1h\"\n[sync]\nmode = \"never\"\n");
    let run = workspace
        .icecore(["--set", "sync.mode=always", "config", "--json"])
        .env("ICECORE_FLUSH_BYTES", "2MiB")
        .env("ICECORE_SYNC_MODE", "periodic")
        .run()
        .expect_code(0);
    let settings = run.json_lines();
    let find = |key: &str| {
        let line = settings.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("{key}"));
        [&line["value"], &line["origin"], &line["from"]].map(|value| value.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(find("flush.age"), ["1h", "file", "icecore.toml:3"]);
    assert_eq!(find("flush.bytes"), ["2MiB", "environment", "ICECORE_FLUSH_BYTES"]);
    assert_eq!(find("sync.mode"), ["always", "flag", "--set"]);
    assert_eq!(find("seal.age"), ["24h", "default", "default"]);
    assert_eq!(run.stderr, "", "with --json nobody is talked to");
}

#[test]
fn settings_as_people_see_them() {
    let workspace = Workspace::new();
    let run = workspace.run("--data a config --data b -vv").expect_code(0);
    assert_snapshot("config.txt", &run.stdout);
    assert_eq!(run.stderr, "settings file: none\n");
}

#[test]
fn the_settings_file_is_the_first_that_there_is() {
    let workspace = Workspace::new();
    workspace.write("log/icecore.toml", "sync = \"always\"");
    workspace.write("named.toml", "sync = \"periodic\"");
    let file = |args: &str| workspace.run(args).expect_code(0).stderr;
    assert_eq!(file("config"), "settings file: none\n");
    assert_eq!(file("config --data log"), "settings file: log/icecore.toml\n");
    workspace.write("icecore.toml", "sync = \"never\"");
    assert_eq!(file("config --data log"), "settings file: icecore.toml\n");
    assert_eq!(file("--config named.toml config"), "settings file: named.toml\n");
    let by_variable = |args: &str| workspace.icecore(args.split(' ')).env("ICECORE_CONFIG", "named.toml").run().stderr;
    assert_eq!(by_variable("config"), "settings file: named.toml\n");
    assert_eq!(by_variable("config --config icecore.toml"), "settings file: icecore.toml\n");
    let absent = workspace.run("config --config absent.toml").expect_code(2);
    assert!(absent.stderr.starts_with("icecore: cannot read settings file: path=`absent.toml`, named by=`--config`: "));
}

#[test]
fn an_unknown_setting_names_its_place_and_the_near_one() {
    let workspace = Workspace::new();
    workspace.write("icecore.toml", "[sync]\nmod = \"always\"\n");
    let run = workspace.run("config").expect_code(2);
    assert_eq!(
        run.stderr,
        "icecore: unknown setting: key=`sync.mod`, from=`icecore.toml:2`\nhint: did you mean `sync.mode`?\n"
    );
    assert_eq!(run.stdout, "");
    let workspace = Workspace::new();
    let run = workspace.icecore(["config", "--json"]).env("ICECORE_FLUSH_BYTE", "1MiB").run().expect_code(2);
    let error = run.json_error();
    assert_eq!(error["kind"], "invalid");
    assert_eq!(error["hint"], "did you mean `ICECORE_FLUSH_BYTES`?");
    let run = workspace.run("--set segment.codek=null config").expect_code(2);
    assert!(run.stderr.ends_with("hint: did you mean `segment.codec`?\n"), "{}", run.stderr);
}

#[test]
fn json_stands_before_or_after() {
    let workspace = Workspace::new();
    let before = workspace.run("--json config").expect_code(0);
    let after = workspace.run("config --json").expect_code(0);
    assert_eq!(before.stdout, after.stdout);
    assert!(before.json_lines().len() > 10);
}

#[test]
fn a_wrong_command_line_is_one_line_and_a_hint() {
    let workspace = Workspace::new();
    for (line, message) in [
        ("appendd c", "unrecognized subcommand 'appendd'"),
        ("append", "the following required arguments were not provided: <COLLECTION>"),
        ("cat c --from yesterday", "invalid value 'yesterday' for '--from <SEQ|TIME>'"),
        ("append c --key", "a value is required for '--key <FIELD>'"),
        ("append c --sync sometimes", "one of always, per-batch, periodic, never is wanted"),
        ("gap", "a command is missing"),
        ("", "a command is missing"),
        ("status", "no directory was given"),
    ] {
        let run = workspace.run(line).expect_code(2);
        let lines: Vec<&str> = run.stderr.lines().collect();
        assert!(lines[0].starts_with("icecore: ") && lines[0].contains(message), "{line}: {}", run.stderr);
        assert!(lines.len() == 2 && lines[1].starts_with("hint: "), "{line}: {}", run.stderr);
        assert_eq!(run.stdout, "");
        let run = workspace.run(&format!("{line} --json")).expect_code(2);
        if line != "append c --key" {
            assert!(run.json_error()["message"].as_str().unwrap().contains(message), "{line}: {}", run.stderr);
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let workspace = Workspace::new();
    for line in ["config", "completions bash", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = workspace.icecore(line.split(' ')).run_into(writer).expect_code(0);
        let talk = run.stderr.strip_prefix("settings file: none\n").unwrap_or(&run.stderr);
        assert_eq!(talk, "", "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = Workspace::new().icecore(["completions", "bash"]).run_into(full()).expect_code(1);
    assert!(run.stderr.starts_with("icecore: cannot write to stdout: "), "{}", run.stderr);
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = workspace.run(&format!("completions {shell}")).expect_code(0).stdout;
        assert!(script.contains("acknowledge") && script.contains("dry-run"), "{shell}");
    }
    workspace.run("man pages/man1").expect_code(0);
    for page in ["icecore.1", "icecore-append.1", "icecore-gap-acknowledge.1"] {
        assert!(
            String::from_utf8(workspace.read(&format!("pages/man1/{page}"))).unwrap().contains(".SH OPTIONS"),
            "{page}"
        );
    }
}
