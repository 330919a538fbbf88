//! Stdout as a place for data. A reader that has gone away ends the command without complaint.

use std::io::{self, BufWriter, Write};

/// Large enough that printing records costs few system calls.
const BUFFER_BYTES: usize = 64 << 10;

/// Why nothing more can be written.
#[derive(Debug)]
pub enum OutputError {
    /// Nobody reads any more.
    Closed,
    /// What the system said.
    Failed(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error) }
    }
}

/// Buffered data on its way out.
///
/// What was written is out only after [`flush`](Self::flush): commands flush before they end, and whenever someone may be
/// waiting for a line. Dropping it drops what was not flushed, so that a command which fails never reports on the pipe too.
pub struct Output<W: Write> {
    writer: Option<BufWriter<W>>,
}

/// Stdout.
pub type Stdout = Output<io::StdoutLock<'static>>;

impl Stdout {
    /// This process's stdout, held until dropped.
    #[must_use]
    pub fn lock() -> Self {
        Self::new(io::stdout().lock())
    }
}

impl<W: Write> Output<W> {
    /// Writes to `writer` through a buffer.
    pub fn new(writer: W) -> Self {
        Self { writer: Some(BufWriter::with_capacity(BUFFER_BYTES, writer)) }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// [`OutputError::Closed`] when nobody reads any more; the command should end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        Ok(self.inner().write_all(bytes)?)
    }

    /// Takes a line, and adds its newline.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn line(&mut self, text: &str) -> Result<(), OutputError> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<(), OutputError> {
        Ok(self.inner().flush()?)
    }

    fn inner(&mut self) -> &mut BufWriter<W> {
        self.writer.as_mut().expect("it is taken only by drop")
    }
}

impl<W: Write> Drop for Output<W> {
    fn drop(&mut self) {
        // Taken apart instead of dropped: a buffered writer flushes when dropped.
        if let Some(writer) = self.writer.take() {
            let _ = writer.into_parts();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(io::ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_told_apart_from_a_failure() {
        let mut closed = Output::new(Refuses(io::ErrorKind::BrokenPipe));
        closed.line("a").unwrap();
        assert!(matches!(closed.flush(), Err(OutputError::Closed)));
        let mut failed = Output::new(Refuses(io::ErrorKind::StorageFull));
        failed.line("a").unwrap();
        assert!(matches!(failed.flush(), Err(OutputError::Failed(_))));
    }
}
