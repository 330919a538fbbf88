//! Object stores against real servers: MinIO and Azurite in containers, SeaweedFS as a process, all on the loopback interface.
//!
//! - `servers`: one of each for the tests that run at the same time, or one of its own for a test that kills it
//! - `engine`: containers
//! - `seaweed`: SeaweedFS
//! - `admin`: requests that are signed here, for what no store of icecore does: making buckets, and looking from outside
//! - `bucket`: a bucket or container of its own for each test, and stores that use it
//! - `conformance`: what every store does alike
//! - `faults`: what goes wrong between us and a server, and in the server
//! - `life`: the life of an archive through the real program
//! - `homes`: object stores as homes of segments
//! - `trust`: servers behind TLS; `credentials`: S3's own ways to them; `entra`: tokens for Azure; `secrets`: that none of all that shows
//! - `tls`: an authority of our own, and both sides of TLS; `loopback`: services that give credentials out
//! - `google`: Google's dialect, before a server that stores
//! - `budget`: memory that uploads hold
//! - `compose`: docker-compose.yml starts
//!
//! They need a container engine and two images: `eval "$(scripts/test-images)"` gets everything and names it in `MINIO_IMAGE`,
//! `AZURITE_IMAGE` and `SEAWEEDFS_BIN`. Without these variables the public images are pulled. What is missing fails the tests.
#![allow(clippy::disallowed_methods, reason = "deadlines against tests that would hang, and files of servers")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod admin;
mod bucket;
mod budget;
mod compose;
mod conformance;
mod credentials;
mod engine;
mod entra;
mod faults;
mod google;
mod homes;
mod life;
mod loopback;
#[path = "../util/proxy/mod.rs"]
mod proxy;
mod seaweed;
mod secrets;
mod servers;
mod tls;
mod trust;
#[path = "../util/mod.rs"]
mod util;

use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again and again, until there is an answer.
#[track_caller]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "{what}: not in {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
