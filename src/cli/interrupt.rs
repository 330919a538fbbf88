//! Ctrl-C as a flag that commands look at between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, ErrorKind};

/// Whether the user, or the system, wants the command to end.
///
/// A command that holds work in flight looks at it between steps, finishes the step, says how far it came, and ends. A second
/// Ctrl-C ends the process at once; what was acknowledged is durable even then.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    wanted: Arc<AtomicBool>,
}

/// What a shell expects of a process that ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

impl Interrupt {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on. Once per process.
    ///
    /// # Errors
    /// `Internal` when the system does not let us listen.
    pub fn listen() -> Result<Self, Error> {
        let interrupt = Self::default();
        let wanted = Arc::clone(&interrupt.wanted);
        let handler = move || {
            if wanted.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_INTERRUPTED);
            }
        };
        ctrlc::set_handler(handler)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot listen for ctrl-c").with_source(error))?;
        Ok(interrupt)
    }

    /// Whether the command should end.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }
}
