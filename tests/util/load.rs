//! A load of stanzas that is killed and resumed until it is done, and the proof that nothing was lost.
//!
//! Used by the test on a small excerpt and by `scripts/real-input` on a whole package index. Knows nothing of the library:
//! it runs the program, and cuts the input into stanzas by itself.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What to do.
pub struct Plan<'a> {
    /// The program.
    pub icecore: &'a Path,
    /// Stanzas with a `Package` field each.
    pub input: &'a Path,
    /// A directory for the log, empty or absent.
    pub data: &'a Path,
    /// How many kills must count.
    pub kills: u32,
    /// Records per batch.
    pub batch: u64,
    /// Settings of the appends, as for `--set`.
    pub settings: &'a [&'a str],
    /// Seed of the moments.
    pub seed: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Kills between two acknowledgements of the unfinished load.
    pub kills: u32,
    /// Kills before a run had acknowledged anything, or so near the end that nothing may have been left to acknowledge.
    pub other_kills: u32,
    /// Batches acknowledged.
    pub acks: u64,
    /// Batches that were written when their run was killed before it could say so.
    pub unsaid: u64,
    /// Stanzas, each compared byte for byte.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

const COLLECTION: &str = "packages";

/// Loads, kills, resumes, and compares.
///
/// # Errors
/// What is wrong, in words.
pub fn kill_and_resume(plan: &Plan<'_>, tell: &mut dyn FnMut(&Outcome, u64)) -> Result<Outcome, String> {
    let input = std::fs::read(plan.input).map_err(|error| format!("{}: {error}", plan.input.display()))?;
    let stanzas = stanzas(&input);
    let total = stanzas.len() as u64;
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let mut acks = Acks { batch: plan.batch, total, last: 0, count: 0, unsaid: 0 };
    let mut outcome = Outcome::default();
    while outcome.kills < plan.kills {
        // On average half of what would use up the input: something is left for the last run.
        let left = u64::from(plan.kills - outcome.kills);
        let most = (total - acks.last) / plan.batch / (left + 1);
        if most < 2 {
            return Err(format!("the input is too small for so many kills: stanzas={total}, kills={}", plan.kills));
        }
        let before = acks.count;
        killed_run(plan, &mut acks, random.u64(0..=most), &mut random)?;
        if acks.count > before && total - acks.last > plan.batch {
            outcome.kills += 1;
        } else {
            outcome.other_kills += 1;
        }
        tell(&outcome, acks.last);
    }
    last_run(plan, &mut acks)?;
    tell(&outcome, acks.last);
    compare(plan, &stanzas)?;
    outcome.acks = acks.count;
    outcome.unsaid = acks.unsaid;
    outcome.records = total;
    outcome.bytes = stanzas.iter().map(|stanza| stanza.len() as u64).sum();
    Ok(outcome)
}

/// Blocks of lines, as `append --format stanzas` cuts them: with their last newline, without the empty line.
fn stanzas(input: &[u8]) -> Vec<&[u8]> {
    let mut stanzas = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\n" {
            if at > start {
                stanzas.push(&input[start..at]);
            }
            start = at + 1;
        }
        at += line.len();
    }
    if at > start {
        stanzas.push(&input[start..at]);
    }
    stanzas
}

/// What was acknowledged so far.
struct Acks {
    batch: u64,
    total: u64,
    last: u64,
    count: u64,
    unsaid: u64,
}

impl Acks {
    /// An ack follows the one before it; the first one of a run may leave room for a batch that was written and not said.
    fn take(&mut self, line: &str, is_first_of_run: bool) -> Result<(), String> {
        let ack: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("no ack: {line:?}: {error}"))?;
        let number = |name: &str| ack[name].as_u64().ok_or_else(|| format!("an ack without {name}: {line:?}"));
        let (first, last) = (number("first_sequence")?, number("last_sequence")?);
        let unsaid = first.checked_sub(self.last + 1).ok_or_else(|| format!("acknowledged twice: {line:?}"))?;
        if unsaid > if is_first_of_run { self.batch } else { 0 } {
            return Err(format!("a hole between {} and {line:?}", self.last));
        }
        if last < first || last > self.total {
            return Err(format!("not a range of the input: {line:?}"));
        }
        self.unsaid += u64::from(unsaid > 0);
        self.count += 1;
        self.last = last;
        Ok(())
    }
}

fn append(plan: &Plan<'_>) -> Command {
    let mut command = Command::new(plan.icecore);
    command.arg("--data").arg(plan.data).args(["append", COLLECTION]).arg(plan.input);
    command.args(["--format", "stanzas", "--key", "Package", "--acks", "--resume"]);
    command.args(["--batch", &plan.batch.to_string()]);
    for setting in plan.settings {
        command.args(["--set", setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))
}

/// Runs until it has acknowledged `wanted` batches, and kills it some time after that.
fn killed_run(plan: &Plan<'_>, acks: &mut Acks, wanted: u64, random: &mut fastrand::Rng) -> Result<(), String> {
    let mut child = start(&mut append(plan))?;
    let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let mut is_first = true;
    let mut take = |line: std::io::Result<String>, acks: &mut Acks| {
        acks.take(&line.map_err(|error| error.to_string())?, std::mem::take(&mut is_first))
    };
    for line in lines.by_ref().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
        take(line, acks)?;
    }
    // Anywhere in a start, or in the next batch or two.
    for _ in 0..random.u32(0..if wanted == 0 { 1_000_000 } else { 20_000 }) {
        std::hint::spin_loop();
    }
    child.kill().map_err(|error| format!("cannot kill: {error}"))?;
    // What it had said before it died is acknowledged, whenever it is read.
    for line in lines {
        take(line, acks)?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if was_killed(status) { Ok(()) } else { Err(format!("a run ended by itself ({status}): {}", talk(&mut child))) }
}

fn was_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    return !status.success();
}

fn talk(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.read_to_string(&mut text);
    }
    text
}

fn last_run(plan: &Plan<'_>, acks: &mut Acks) -> Result<(), String> {
    let mut child = start(&mut append(plan))?;
    let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    for (at, line) in lines.enumerate() {
        acks.take(&line.map_err(|error| error.to_string())?, at == 0)?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the last run failed ({status}): {}", talk(&mut child)));
    }
    if acks.last == acks.total { Ok(()) } else { Err(format!("acknowledged {} of {}", acks.last, acks.total)) }
}

/// Every stanza is there once, in order, byte for byte: by both forms of `cat`, after a deep `verify`.
fn compare(plan: &Plan<'_>, stanzas: &[&[u8]]) -> Result<(), String> {
    run(plan, &["verify", "--deep"])?;
    let raw = run(plan, &["cat", COLLECTION, "--format", "raw"])?;
    if raw != stanzas.concat() {
        return Err("`cat --format raw` is not the input without its empty lines".to_owned());
    }
    let json = run(plan, &["cat", COLLECTION])?;
    let mut lines = json.split(|byte| *byte == b'\n');
    for (at, stanza) in stanzas.iter().enumerate() {
        let line = lines.next().unwrap_or_default();
        let record: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| format!("record {}: {error}", at + 1))?;
        let package = stanza.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Package:"));
        let package = String::from_utf8_lossy(package.unwrap_or_default()).trim().to_owned();
        let is_same = record["sequence"] == at as u64 + 1
            && record["key"] == package
            && record["payload"].as_str().map(str::as_bytes) == Some(stanza);
        if !is_same {
            return Err(format!("record {} is not stanza {} of the input ({package})", at + 1, at + 1));
        }
    }
    if lines.any(|line| !line.is_empty()) { Err("there are more records than stanzas".to_owned()) } else { Ok(()) }
}

fn run(plan: &Plan<'_>, words: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(plan.icecore);
    let output = command.arg("--data").arg(plan.data).args(words).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed ({}): {talk}", words.join(" "), output.status));
    }
    Ok(output.stdout)
}
