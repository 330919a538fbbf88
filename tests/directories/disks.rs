//! Disks: ext4 in files, and what can happen to them.
//!
//! Each is mounted at a place that only the test knows, and bound to the place where the log has it: what is unmounted there can be
//! mounted again as it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfortune {
    /// `umount -l`: an empty mount point; files that are open go on.
    UnmountedLazily,
    /// The same, and open files fail too.
    TornAway,
    /// Read-only from one moment to the next, as ext4 makes itself after an error.
    ReadOnly,
    /// Every access fails.
    Dead,
    /// Another file takes all the space.
    Full,
}

impl Misfortune {
    pub const ALL: [Self; 5] = [Self::UnmountedLazily, Self::TornAway, Self::ReadOnly, Self::Dead, Self::Full];

    /// Whether what lies there can be read.
    pub fn can_be_read(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Full)
    }
}

/// A disk; unmounted when dropped.
pub struct Disk {
    image: PathBuf,
    hidden: PathBuf,
    /// Where the log has it.
    pub point: PathBuf,
}

fn run(program: &str, words: &[&str]) -> String {
    let done = Command::new(program).args(words).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {words:?}: {}: {error}", done.status);
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Disk {
    /// A new one, mounted at `{below}/{name}`.
    pub fn new(below: &Path, name: &str) -> Self {
        let path = |what: &str| below.join(format!("{name}{what}"));
        let disk = Self { image: path(".image"), hidden: path(".hidden"), point: path("") };
        std::fs::File::create(&disk.image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&disk.image)]);
        std::fs::create_dir(&disk.hidden).unwrap();
        std::fs::create_dir(&disk.point).unwrap();
        disk.mount();
        std::fs::remove_dir(disk.hidden.join("lost+found")).unwrap();
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop,errors=remount-ro", text(&self.image), text(&self.hidden)]);
        self.bind();
    }

    fn bind(&self) {
        run("mount", &["--bind", text(&self.hidden), text(&self.point)]);
    }

    /// Not mounted where the log has it, as if the machine had started without it.
    pub fn unmount(&self) {
        run("umount", &["-l", text(&self.point)]);
    }

    pub fn befalls(&self, misfortune: Misfortune) {
        match misfortune {
            Misfortune::UnmountedLazily => self.unmount(),
            Misfortune::TornAway => {
                self.unmount();
                self.shut_down();
            }
            Misfortune::ReadOnly => {
                let device = run("findmnt", &["-no", "SOURCE", text(&self.hidden)]);
                let device = Path::new(&device).file_name().unwrap().to_str().unwrap();
                std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
            }
            Misfortune::Dead => self.shut_down(),
            Misfortune::Full => self.fill(),
        }
    }

    /// `EXT4_IOC_SHUTDOWN` without a flush.
    fn shut_down(&self) {
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run("python3", &["-c", script, text(&self.hidden)]);
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.hidden.join("other")).unwrap();
        let mut bytes = vec![1; 1 << 20];
        while !bytes.is_empty() {
            if file.write_all(&bytes).is_err() {
                let half = bytes.len() / 2;
                bytes.truncate(half);
            }
        }
        let _ = file.sync_all();
    }

    /// Well again, with what it holds; nobody has a file open on it.
    pub fn restore(&self, misfortune: Misfortune) {
        match misfortune {
            Misfortune::UnmountedLazily => self.bind(),
            Misfortune::Full => std::fs::remove_file(self.hidden.join("other")).unwrap(),
            Misfortune::TornAway => {
                run("umount", &[text(&self.hidden)]);
                self.mount();
            }
            Misfortune::ReadOnly | Misfortune::Dead => {
                run("umount", &[text(&self.point)]);
                run("umount", &[text(&self.hidden)]);
                self.mount();
            }
        }
    }

    /// Mounts what [`unmount`](Self::unmount) unmounted.
    pub fn mount_again(&self) {
        self.bind();
    }

    /// What lies at the mount point.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.point).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for path in [&self.point, &self.hidden] {
            let _ = Command::new("umount").args(["-l", text(path)]).stderr(Stdio::null()).status();
        }
    }
}
