//! Several processes with one file: this test's binary runs itself as the others.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::catalog::conformance::name;
use crate::types::{ChangeNumber, Sequence};

/// What the other process is to do, with which file.
const ROLE: &str = "ICECORE_TEST_CATALOG_ROLE";
const FILE: &str = "ICECORE_TEST_CATALOG_FILE";

/// Starts this binary again as `test`, in a role.
pub fn start(test: &str, role: &str, file: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FILE, file)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The role of this process, when it is one of the others.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FILE)?.into()))
}

/// The lines that the other process says, without the words of the test harness before them.
pub fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.split_once("other: ").map(|(_, said)| said.to_owned()))
}

fn say(what: impl std::fmt::Display) {
    println!("other: {what}");
}

fn writers_of_two_processes_wait_for_each_other_while_readers_do_not<E: Environment>() {
    let this = format!(
        "catalog::kv::tests::processes::on_{}::writers_of_two_processes_wait_for_each_other_while_readers_do_not",
        E::ENGINE
    );
    if let Some((role, file)) = role() {
        let catalog = KvCatalog::<E>::open(&file, CatalogMode::ReadWrite).unwrap();
        let (collection, count) = role.split_once(' ').unwrap();
        say("ready");
        for place in 0..count.parse().unwrap() {
            say(apply(&catalog, &[insert(collection, place * 10 + 1, place * 10 + 9)]).unwrap());
        }
        if collection == "killed" {
            // Killed while it reads and while it is about to write: its slot and its lock are left behind.
            let _reading = catalog.shared.environment.read().unwrap();
            let mut writing = catalog.shared.environment.write().unwrap();
            writing.put(b"never", b"committed").unwrap();
            say("killed");
            std::process::abort();
        }
        return;
    }
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let mut others: Vec<_> = ["b1 60", "b2 60"].map(|role| start(&this, role, &place.path())).into();
    let mut numbers = Vec::new();
    let said: Vec<_> = others.iter_mut().map(lines).collect();
    for of in 0..60 {
        numbers.push(apply(&catalog, &[insert("own", of * 10 + 1, of * 10 + 9)]).unwrap().get());
        assert!(catalog.change_number().unwrap().get() >= numbers[numbers.len() - 1]);
    }
    for (other, said) in others.iter_mut().zip(said) {
        numbers.extend(said.filter_map(|line| line.parse::<u64>().ok()));
        assert!(other.wait().unwrap().success());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (29..=28 + 180).collect::<Vec<_>>(), "every change has a number of its own");
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());

    // A process that dies within its transaction stands in nobody's way.
    let mut other = start(&this, "killed 5", &place.path());
    let said = lines(&mut other);
    assert_eq!(said.last().as_deref(), Some("killed"));
    assert!(!other.wait().unwrap().success());
    assert_eq!(catalog.segments_from(&name("killed"), Sequence(0), 99).unwrap().len(), 5);
    assert_eq!(apply(&catalog, &[insert("own", 10_000, 10_001)]).unwrap(), ChangeNumber(28 + 186));
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
    drop(catalog);
    assert_eq!(place.open(CatalogMode::ReadOnly).unwrap().change_number().unwrap(), ChangeNumber(28 + 186));
}

on_engines! {
    writers_of_two_processes_wait_for_each_other_while_readers_do_not
}
