//! Where answers go, and how a command fails.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// A buffered writer of answers. Every method fails as [`Failure::Closed`] once
/// the reader has gone.
pub(super) struct Out(BufWriter<Box<dyn Write>>);

impl Out {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    /// Any other writer.
    pub(super) fn to(writer: Box<dyn Write>) -> Self {
        Self(BufWriter::new(writer))
    }

    /// Writes `text` as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Writes `text` and ends the line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.text(text)?;
        self.text("\n")
    }

    /// Hands over what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}

/// Why a command ends early. The texts are for people and hold no secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was called or configured wrongly.
    Usage(String),
    /// The configuration has errors, one a line.
    Config(String),
    /// It could not do what was asked.
    Failed(String),
    /// A second signal: end at once.
    Interrupted,
    /// The reader of the answer has gone, as in `tollgate usage | head`: nobody
    /// is left to tell, and nothing went wrong.
    Closed,
}

impl Failure {
    /// Tells `stderr`, and gives the exit code.
    pub(super) fn report(&self, stderr: &mut dyn Write) -> ExitCode {
        // Nothing can be done about a terminal that is gone.
        let _unseen = match self {
            Self::Usage(text) | Self::Failed(text) => writeln!(stderr, "tollgate: {text}"),
            Self::Config(text) => writeln!(stderr, "{text}"),
            Self::Interrupted | Self::Closed => Ok(()),
        };
        ExitCode::from(self.code())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Failed(_) | Self::Interrupted => 1,
            Self::Closed => 0,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Failed(format!("cannot write the answer: {error}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// What was written to an [`Out`].
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(in crate::cli) fn out(&self) -> Out {
            Out::to(Box::new(self.clone()))
        }

        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gone(io::ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let mut out = Out::to(Box::new(Gone(io::ErrorKind::BrokenPipe)));
        out.line("answer").unwrap();
        let failure = out.flush().unwrap_err();
        let mut stderr = Vec::new();
        assert_eq!(failure.report(&mut stderr), ExitCode::SUCCESS);
        assert!(stderr.is_empty());
    }

    #[test]
    fn a_full_disk_is_one() {
        let mut out = Out::to(Box::new(Gone(io::ErrorKind::StorageFull)));
        out.line("answer").unwrap();
        let failure = out.flush().unwrap_err();
        assert_eq!(failure.code(), 1);
    }
}
