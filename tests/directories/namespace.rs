//! Mounts of a test's own: it runs itself again in a mount namespace, which ends with the process, and takes along every mount
//! and loop device made in it.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const INSIDE: &str = "ICECORE_DIRECTORIES_INSIDE";

/// One at a time: they share the loop devices.
static RUNNING: Mutex<()> = Mutex::new(());

/// Whether this is the process with mounts of its own; if not, one was run, and has succeeded.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(why) = possible() {
        let text = format!("NOT TESTED: {test}: {why}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
        println!("{text}");
        eprintln!("{text}");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.args(["--mount", "--propagation", "private", "--"]).arg(own).args([test, "--exact", "--nocapture"]);
    let done = again.env(INSIDE, "1").stdin(Stdio::null()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&done.stdout));
    println!("{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{test}: {}", done.status);
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"), "{test} is not the name of this test");
    false
}

/// Whether a disk can be made at all.
fn possible() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = "set -e; command -v python3 >/dev/null; truncate -s 8M \"$1/image\"; mkfs.ext4 -q -F \"$1/image\"; \
                  mkdir \"$1/point\"; mount -o loop \"$1/image\" \"$1/point\"; umount \"$1/point\"";
    let words = ["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"];
    let tried = Command::new("unshare").args(words).arg(directory.path()).stdin(Stdio::null()).output();
    match tried {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("no loop mounts here: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => Err(format!("cannot run `unshare`: {error}")),
    }
}
