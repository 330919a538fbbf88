//! A process is killed in the middle of a move or a drain, again and again; the next one finds every directory well, or the one that
//! was left read-only or away, and goes on; at the end every acknowledged record is there once, in order.
//!
//! Real processes, threads and files. What fails is made to fail below the seam (`broken`), so that it needs no root.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use icecore::{AppendOptions, CollectionName, Log, LogOptions, NewRecord, ReadOptions, SyncMode};

use crate::broken::Broken;
use crate::load::told;
use crate::{number, seed};

const TOLD: &str = "ICECORE_DIRECTORIES_CHILD";
const TEST: &str = "kills::killed_in_the_middle_of_a_move";
const MARK: &str = "@ ";
const PLACES: [&str; 3] = ["one", "two", "three"];
const COLLECTIONS: u64 = 12;
const WRITERS: u64 = 4;

/// What a child does with a directory while it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// Nothing can be written to it any more.
    Broken,
    /// It is drained.
    Drained,
}

/// What the next child finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Well,
    /// The directory that was left cannot be written to.
    Broken,
    /// It is not there.
    Away,
}

fn options(root: &Path, fs: &Broken) -> LogOptions {
    let mut options = LogOptions::new(PLACES.map(|name| root.join(name)));
    options.catalog_directory = Some(root.join("catalog"));
    options.fs = Arc::new(fs.clone());
    options.sync = SyncMode::PerBatch;
    options.limits.journal_bytes = 64 << 10;
    options.limits.segment_bytes = 16 << 10;
    options.limits.memtable_bytes = 512 << 10;
    options.limits.unsealed_bytes = 512 << 10;
    options.cold_bytes = 4 << 10;
    options
}

fn collection(number: u64) -> CollectionName {
    CollectionName::new(&format!("collection-{number}")).unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

/// Does what a child is told; `false` in the test itself.
fn act() -> bool {
    let Ok(words) = std::env::var(TOLD) else { return false };
    let words: Vec<&str> = words.splitn(6, ' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let (life, place, leaves, then) = (number(0), number(1) as usize, words[2], words[3]);
    let after = number(4);
    let root = Path::new(words[5]);
    let fs = Broken::new(&root.join(PLACES[place]));
    if then == "Broken" {
        fs.break_now();
    }
    say("opening");
    let log = Log::open(options(root, &fs)).unwrap_or_else(|error| panic!("cannot open: {}", told(&error)));
    let report = log.recovery();
    assert!(report.damaged.is_empty() && report.losses.is_empty(), "{:?} {:?}", report.damaged, report.losses);
    say("opened");
    let acks = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (log, acks, fs) = (&log, &acks, &fs);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(life << 8 | writer);
                for count in 0.. {
                    let target = random.u64(0..COLLECTIONS);
                    let filler = "y".repeat(random.usize(0..900));
                    append(log, target, &format!("{life} {writer} {count} {filler}"));
                    if acks.fetch_add(1, std::sync::atomic::Ordering::AcqRel) + 1 == after {
                        let id = log.directories()[place].0.clone();
                        say("moving");
                        if leaves == "Drained" {
                            let report = log.move_away(&id, "a test");
                            let report = report.unwrap_or_else(|error| panic!("cannot drain: {}", told(&error)));
                            assert!(report.kept.is_empty(), "{report:?}");
                            say("moved");
                        } else {
                            fs.break_now();
                        }
                    }
                }
            });
        }
    });
    true
}

fn append(log: &Log, target: u64, payload: &str) {
    let (name, records) = (collection(target), [NewRecord::payload(payload.to_owned())]);
    let mut outcome = log.append_batch(&name, &records, AppendOptions::default());
    if let Err(error) = &outcome {
        assert_ne!(error.kind(), icecore::ErrorKind::OutcomeUnknown, "{}", told(error));
        let text = told(error);
        // Lives in the directory that is away.
        if text.contains("missing") || PLACES.iter().any(|place| text.contains(&format!("/{place}`"))) {
            say(&format!("refused {target}"));
            return;
        }
        outcome = log.append_batch(&name, &records, AppendOptions::default());
    }
    let receipt = outcome.unwrap_or_else(|error| panic!("an append failed twice: {}", told(&error)));
    say(&format!("ack {target} {} {payload}", receipt.first.0));
}

struct Child {
    process: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Child {
    fn spawn(life: u64, place: usize, leaves: Leaves, then: Then, after: u64, root: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(TOLD, format!("{life} {place} {leaves:?} {then:?} {after} {}", root.display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out }
    }

    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.out.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line that the kill cut is no line.
            if let Some(said) = line.strip_suffix('\n').and_then(|line| line.strip_prefix(MARK)) {
                return Some(said.to_owned());
            }
        }
    }

    fn kill(&mut self) -> Result<Vec<String>, String> {
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
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// While the log was being opened, behind a move mostly.
    opening: u64,
    /// Within some ms behind the order to move.
    moving: u64,
    acks: u64,
    refused: u64,
    compared: u64,
}

#[derive(Default)]
struct Life {
    acknowledged: BTreeMap<u64, BTreeMap<u64, String>>,
}

impl Life {
    fn heard(&mut self, said: &str, tally: &mut Tally) -> Result<(), String> {
        let mut words = said.splitn(4, ' ');
        match words.next() {
            Some("ack") => {
                let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or("no number");
                let (target, sequence) = (number()?, number()?);
                let payload = words.next().unwrap_or_default().to_owned();
                tally.acks += 1;
                let before = self.acknowledged.entry(target).or_default().insert(sequence, payload);
                before.map_or(Ok(()), |_| Err(format!("`{sequence}` of `{target}` was acknowledged twice")))
            }
            Some("refused") => {
                tally.refused += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every acknowledged record is there once, in order; what was not acknowledged is there once or not at all.
    fn compare(&mut self, root: &Path) -> Result<(), String> {
        let fs = Broken::new(&root.join("nowhere"));
        let log = Log::open(options(root, &fs)).map_err(|error| format!("does not open: {}", told(&error)))?;
        let report = log.recovery();
        if !report.damaged.is_empty() || !report.losses.is_empty() {
            return Err(format!("damaged={:?}, losses={:?}", report.damaged, report.losses));
        }
        for target in 0..COLLECTIONS {
            let expected = self.acknowledged.entry(target).or_default();
            let mut payloads = HashSet::new();
            let reader = match log.read(&collection(target), ReadOptions::default()) {
                Ok(reader) => reader,
                Err(_) if expected.is_empty() => continue,
                Err(error) => return Err(told(&error)),
            };
            let mut last = 0;
            for next in reader {
                let record = next.map_err(|error| format!("collection {target}: {}", told(&error)))?;
                let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                last += 1;
                if record.sequence.0 != last {
                    return Err(format!("collection {target}: `{}` where `{last}` should be", record.sequence));
                }
                if !payloads.insert(payload.clone()) {
                    return Err(format!("collection {target}: a record is there twice, at `{last}`"));
                }
                let known = expected.entry(last).or_insert_with(|| payload.clone());
                if *known != payload {
                    return Err(format!("collection {target}, `{last}`: another record than was acknowledged"));
                }
            }
            if let Some(lost) = expected.range(last + 1..).next() {
                return Err(format!(
                    "collection {target}: `{}` was acknowledged and is lost; last is `{last}`",
                    lost.0
                ));
            }
        }
        log.close().map_err(|error| format!("does not close: {}", told(&error)))
    }
}

fn kill_often(seed: u64, kills: u64) -> Result<Tally, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    while tally.kills < kills {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("catalog")).unwrap();
        let mut life = Life::default();
        // A log of which nobody knows that it was made needs all its disks to be made.
        let mut is_made = false;
        let until = (tally.kills + 15).min(kills);
        let (mut then, mut place) = (Then::Well, 0);
        while tally.kills < until {
            let at = tally.kills + 1;
            if then == Then::Well {
                place = random.usize(0..PLACES.len());
            }
            let leaves = if random.bool() { Leaves::Broken } else { Leaves::Drained };
            let (here, away): (PathBuf, PathBuf) = (root.join(PLACES[place]), root.join("away"));
            if then == Then::Away {
                std::fs::rename(&here, &away).unwrap();
                if random.bool() {
                    // An empty mount point.
                    std::fs::create_dir(&here).unwrap();
                }
            }
            let what = format!("kill {at}, place {place}, {leaves:?}, found {then:?}");
            // Where it is not well, nothing more happens to it.
            let after = if then == Then::Well { random.u64(1..250) } else { u64::MAX };
            let mut child = Child::spawn(tally.kills, place, leaves, then, after, root);
            is_made |= killed(&mut child, &mut life, &mut random, then, &mut tally)
                .map_err(|error| format!("{what}: {error}"))?;
            if then == Then::Away {
                if here.exists() && std::fs::read_dir(&here).unwrap().next().is_some() {
                    return Err(format!("{what}: something was made in the empty mount point"));
                }
                let _ = std::fs::remove_dir(&here);
                std::fs::rename(&away, &here).unwrap();
            }
            tally.kills += 1;
            if !is_made {
                then = Then::Well;
            } else if random.u8(0..3) == 0 || tally.kills == until {
                tally.compared += 1;
                life.compare(root).map_err(|error| format!("after {what}: {error}"))?;
                then = Then::Well;
            } else {
                then = [Then::Well, Then::Broken, Then::Away][random.usize(0..3)];
            }
        }
    }
    Ok(tally)
}

/// Hears a child until a random moment, mostly just behind the beginning of a move, and kills it; whether it had opened the log.
fn killed(
    child: &mut Child,
    life: &mut Life,
    random: &mut fastrand::Rng,
    then: Then,
    tally: &mut Tally,
) -> Result<bool, String> {
    let mut lines = if random.u8(0..6) == 0 { random.u64(1..3) } else { u64::MAX };
    let (mut opened, mut moving) = (false, false);
    if then != Then::Well {
        lines = lines.min(random.u64(2..120));
    }
    while lines > 0 {
        lines -= 1;
        let Some(said) = child.hear() else { break };
        opened |= said == "opened";
        life.heard(&said, tally)?;
        if said == "moving" {
            moving = true;
            break;
        }
    }
    for _ in 0..1_u64 << random.u32(0..24) {
        std::hint::spin_loop();
    }
    for said in child.kill()? {
        opened |= said == "opened";
        life.heard(&said, tally)?;
    }
    tally.opening += u64::from(!opened);
    tally.moving += u64::from(moving);
    Ok(opened)
}

#[test]
fn killed_in_the_middle_of_a_move() {
    if act() {
        return;
    }
    let kills = number("ICECORE_DIRECTORIES_KILLS").unwrap_or(150);
    let seed = seed(TEST);
    match kill_often(seed, kills) {
        Ok(tally) => {
            println!("{tally:?}");
            assert!(kills < 100 || (tally.moving > kills / 5 && tally.opening > 0), "{tally:?}");
        }
        Err(what) => panic!("seed {seed}: {what}"),
    }
}
