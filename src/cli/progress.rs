//! A progress bar on stderr while someone is watching, and nothing otherwise.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the numbers of a bar count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown with their rate.
    Bytes,
    /// Records, files, collections: named by the word given.
    Things(&'static str),
}

/// How far long work has come. Does nothing unless stderr is a terminal and output is for people.
#[derive(Debug, Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar up to `total`, or a spinner where the end is not known.
    #[must_use]
    pub fn start(what: &'static str, unit: Unit, total: Option<u64>, json: bool) -> Self {
        if json || !std::io::stderr().is_terminal() {
            return Self::default();
        }
        let count = match unit {
            Unit::Bytes if total.is_some() => "{bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
            Unit::Bytes => "{bytes} {bytes_per_sec}".to_owned(),
            Unit::Things(name) if total.is_some() => format!("{{human_pos}}/{{human_len}} {name} {{per_sec}}"),
            Unit::Things(name) => format!("{{human_pos}} {name} {{per_sec}}"),
        };
        let template = if total.is_some() {
            format!("{{msg}} {{wide_bar}} {count} {{eta}}")
        } else {
            format!("{{msg}} {{spinner}} {count}")
        };
        let style = ProgressStyle::with_template(&template).expect("the templates above are well-formed");
        // Ten times a second: a bar must not cost what it measures.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style);
        bar.set_message(what);
        Self { bar: Some(bar) }
    }

    /// So much more is done.
    pub fn advance(&self, by: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(by);
        }
    }

    /// Takes the bar away while `talk` writes to stderr.
    pub fn suspend<T>(&self, talk: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(talk),
            None => talk(),
        }
    }
}

/// The bar goes away with the work; what remains to be said is said by the command.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
