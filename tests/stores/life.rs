//! The life of an archive as people live it: the real program, real servers, and a network that goes wrong now and then.

use std::sync::{Arc, Mutex};

use super::bucket::Bucket;
use super::proxy::{Fault, Gate, Proxy, Request};
use super::servers::{Kind, own};
use super::util::{Outcome, Run, Workspace};
use super::wait_for;

struct Life {
    bucket: Bucket,
    proxy: Proxy,
    workspace: Workspace,
    url: String,
    /// Everything that the program printed.
    printed: Mutex<String>,
}

impl Life {
    #[track_caller]
    fn new(bucket: Bucket) -> Self {
        let (proxy, url) = (bucket.proxy(), bucket.location().to_string());
        Self { bucket, proxy, workspace: Workspace::new(), url, printed: Mutex::default() }
    }

    /// The program, before it runs, with the credentials in its environment. `URL` stands for the archive.
    fn icecore(&self, line: &str) -> Run {
        let words: Vec<String> = line.split(' ').map(|word| word.replace("URL", &self.url)).collect();
        let mut run = self.workspace.icecore(words.iter().map(String::as_str));
        for (name, value) in self.bucket.environment(self.proxy.address()) {
            run = run.env(name, value);
        }
        run
    }

    #[track_caller]
    fn ends(&self, run: Run) -> Outcome {
        let outcome = run.run();
        self.printed.lock().unwrap().push_str(&format!("{}\n{}\n", outcome.stdout, outcome.stderr));
        outcome
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> Outcome {
        println!("icecore {line}");
        self.ends(self.icecore(line)).expect_code(0)
    }

    /// Appends lines and makes a segment of them.
    #[track_caller]
    fn add(&self, data: &str, lines: &str) {
        self.ends(self.icecore(&format!("--data {data} append access")).stdin(lines)).expect_code(0);
        self.succeeds(&format!("--data {data} seal access"));
    }

    /// Neither in what was printed nor in any file or object.
    #[track_caller]
    fn no_secret_is_anywhere(&self) {
        let (_, secret) = self.bucket.server.credentials();
        assert!(!self.printed.lock().unwrap().contains(secret));
        let mut directories = vec![self.workspace.path(".")];
        let mut files = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                files += 1;
                assert!(!holds(&std::fs::read(&path).unwrap(), secret), "{}", path.display());
            }
        }
        assert!(files > 0);
        let store = self.bucket.store();
        let listed = store.list("", None, 1000).unwrap().objects;
        assert!(!listed.is_empty());
        for object in listed {
            let bytes = store.get(&icecore::objects::ObjectKey::new(&*object.key).unwrap(), 64 << 20).unwrap();
            assert!(!holds(&bytes, secret), "{}", object.key);
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn lines(from: usize, to: usize) -> String {
    (from..=to).map(|line| format!("line {line} {:016x}\n", fastrand::Rng::with_seed(line as u64).u64(..))).collect()
}

fn is_put(request: &Request) -> bool {
    request.method == "PUT"
}

fn a_whole_life(kind: Kind) {
    let life = Life::new(Bucket::new(kind));
    for part in 0..3 {
        life.add("d", &lines(part * 200 + 1, part * 200 + 200));
    }
    let busy = Fault::Answer { status: 503, retry_after: Some("0"), body: "" };
    for fault in [Fault::Pass, Fault::LoseAnswer, Fault::Pass, Fault::ResetRequest(1), Fault::Pass, busy] {
        life.proxy.on(1, is_put, fault);
    }
    life.proxy.next("GET", Fault::status(500));
    let report = life.succeeds("--data d --archive URL --json archive --wait");
    assert_eq!(life.proxy.rules_left(), 0);
    assert_eq!(report.json_lines()[0]["archived_segments"], 3, "{report:?}");
    life.succeeds("--archive URL doctor");
    life.succeeds("--data d --archive URL verify --remote --deep");
    life.succeeds("--data d --archive URL evict");
    let read = |line: &str| life.succeeds(line).stdout;
    assert_eq!(read("--data d --archive URL cat access --format raw"), lines(1, 600));
    std::fs::remove_dir_all(life.workspace.path("d")).unwrap();
    assert_eq!(read("--archive URL cat access --format raw"), lines(1, 600));
    life.proxy.on(1, |request| request.method == "GET", Fault::Pass);
    life.proxy.next("GET", Fault::TruncateAnswer(10));
    life.succeeds("restore URL --to back");
    assert_eq!(life.proxy.rules_left(), 0);
    assert_eq!(read("--data back cat access --format raw"), lines(1, 600));
    life.add("back", &lines(601, 700));
    let report = life.succeeds("--data back --archive URL --json archive --wait");
    assert_eq!(report.json_lines()[0]["archived_segments"], 1, "{report:?}");
    life.succeeds("--data back --archive URL verify --remote --deep");
    assert_eq!(read("--archive URL cat access --format raw"), lines(1, 700));
    life.no_secret_is_anywhere();
}

/// The columnar store lies in the bucket: what was appended is found before and after it went there, and from another machine's cache.
fn columns_in_a_bucket(kind: Kind) {
    let life = Life::new(Bucket::new(kind));
    let vector = |number: usize| -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(number as u64);
        (0..8).map(|_| random.f32() - 0.5).collect()
    };
    let lines = |from: usize, to: usize| -> String {
        let line = |number| serde_json::json!({ "id": format!("doc-{number}"), "vector": vector(number) });
        (from..=to).map(|number| format!("{}\n", line(number))).collect()
    };
    let with = "--data d --set sinks=store --set store.url=URL";
    let append = |lines: String| {
        life.ends(life.icecore(&format!("{with} append docs --format vectors")).stdin(lines)).expect_code(0);
    };
    let nearest = |number: usize| -> Vec<(String, u64)> {
        let vector = serde_json::to_string(&vector(number)).unwrap();
        let hits = life.succeeds(&format!("{with} --json search docs --k 5 --vector {vector}")).json_lines();
        assert_eq!(hits.len(), 5);
        hits.iter().map(|hit| (hit["id"].as_str().unwrap().to_owned(), hit["sequence"].as_u64().unwrap())).collect()
    };
    append(lines(1, 200));
    let before = nearest(77);
    assert_eq!(before[0], ("doc-77".to_owned(), 77));
    for fault in [Fault::Pass, Fault::LoseAnswer, Fault::ResetRequest(1)] {
        life.proxy.on(1, is_put, fault);
    }
    life.succeeds(&format!("{with} flush"));
    assert_eq!(life.proxy.rules_left(), 0);
    let files = |life: &Life| -> Vec<String> {
        let listed = life.bucket.store().list("_columns/", None, 1000).unwrap().objects;
        listed.into_iter().map(|object| object.key).filter(|key| key.ends_with(".parquet")).collect()
    };
    assert!(!files(&life).is_empty());
    assert!(!life.workspace.path("d/.store").exists());
    assert_eq!(nearest(77), before);
    // What is newer hides what lies in the bucket, before and behind the next flush.
    append(lines(150, 220));
    let newer = [nearest(160), nearest(77)];
    assert_eq!(newer[0][0], ("doc-160".to_owned(), 211));
    life.succeeds(&format!("{with} flush docs"));
    assert_eq!([nearest(160), nearest(77)], newer);
    life.no_secret_is_anywhere();
}

#[test]
fn columns_in_minio() {
    columns_in_a_bucket(Kind::Minio);
}

#[test]
fn columns_in_azurite() {
    columns_in_a_bucket(Kind::Azurite);
}

#[test]
fn columns_in_seaweedfs() {
    columns_in_a_bucket(Kind::Seaweed);
}

#[test]
fn a_whole_life_with_minio() {
    a_whole_life(Kind::Minio);
}

#[test]
fn a_whole_life_with_azurite() {
    a_whole_life(Kind::Azurite);
}

#[test]
fn a_whole_life_with_seaweedfs() {
    a_whole_life(Kind::Seaweed);
}

/// Killed with half a segment sent, or with the whole of it sent and not known: the next run finishes it, and nothing is there twice.
fn we_are_killed_in_an_upload(kind: Kind) {
    let held: [fn(Gate) -> Fault; 3] = [|gate| Fault::HoldRequest(1, gate), Fault::DelayRequest, Fault::HoldAnswer];
    for (number, hold) in held.into_iter().enumerate() {
        let life = Life::new(Bucket::new(kind));
        life.add("d", &lines(1, 300));
        let gate = Gate::new();
        let brings =
            |request: &Request| is_put(request) && request.target.contains("access") && !request.asks("comp=blocklist");
        life.proxy.on(1, brings, hold(gate.clone()));
        let mut child = life.icecore("--data d --archive URL archive").spawn();
        gate.wait_until_reached();
        child.kill().unwrap();
        child.wait().unwrap();
        gate.open();
        life.succeeds("--data d --archive URL archive --wait");
        life.succeeds("--data d --archive URL verify --remote --deep");
        life.succeeds("--data d --archive URL evict");
        let read = life.succeeds("--data d --archive URL cat access --format raw").stdout;
        assert_eq!(read, lines(1, 300), "{number}");
    }
}

#[test]
fn we_are_killed_in_an_upload_to_minio() {
    we_are_killed_in_an_upload(Kind::Minio);
}

#[test]
fn we_are_killed_in_an_upload_to_azurite() {
    we_are_killed_in_an_upload(Kind::Azurite);
}

/// It waits for the server, and finishes without help. Not with Azurite: it says itself that a kill loses what it was told.
fn the_server_is_killed_in_an_upload(kind: Kind) {
    let life = Arc::new(Life::new(Bucket::of(own(kind))));
    life.add("d", &lines(1, 300));
    life.add("d", &lines(301, 600));
    let gate = Gate::new();
    let brings = |request: &Request| is_put(request) && request.target.contains("access");
    life.proxy.on(1, brings, Fault::HoldRequest(1, gate.clone()));
    let archiving = std::thread::spawn({
        let life = Arc::clone(&life);
        move || life.ends(life.icecore("--data d --archive URL archive --wait"))
    });
    gate.wait_until_reached();
    life.bucket.server.kill();
    gate.open();
    life.bucket.server.restart();
    wait_for("the archiver ends", || archiving.is_finished().then_some(()));
    archiving.join().unwrap().expect_code(0);
    life.succeeds("--data d --archive URL verify --remote --deep");
    life.succeeds("--data d --archive URL evict");
    assert_eq!(life.succeeds("--data d --archive URL cat access --format raw").stdout, lines(1, 600));
}

#[test]
fn minio_is_killed_in_an_upload() {
    the_server_is_killed_in_an_upload(Kind::Minio);
}

#[test]
fn seaweedfs_is_killed_in_an_upload() {
    the_server_is_killed_in_an_upload(Kind::Seaweed);
}
