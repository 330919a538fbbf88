//! A Python with other programs' readers: made once below the target directory, from the Python package index.
#![allow(clippy::disallowed_methods, reason = "what is installed is looked at from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command to its end, which must be a good one, and gives what it printed.
pub fn run(command: &mut Command, hint: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; {hint}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}\n{hint}", output.status);
    stdout.into_owned()
}

/// A Python with what `requirements.txt` in `sources` names, in an environment of this name.
pub fn python(name: &str, sources: &Path) -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = venv.join("bin/python");
    let wanted = std::fs::read_to_string(sources.join("requirements.txt")).unwrap();
    let stamp = venv.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "install python3 with its venv module");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    let hint = "the readers come from the Python package index";
    run(Command::new(&python).args(pip).arg(sources.join("requirements.txt")), hint);
    std::fs::write(stamp, wanted).unwrap();
    python
}
