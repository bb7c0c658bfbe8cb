//! What the binary prints and returns when something goes wrong.

use std::path::Path;

/// One line for a person, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

/// The code of any failure that has no other.
const FAILED: u8 = 1;
/// The code of a command line that is not understood, as clap has it.
const USAGE: u8 = 2;
/// The code of bytes that were compared and differ.
const DIFFERENT: u8 = 3;
/// The code of a run that was stopped by a signal, as shells have it: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FAILED }
    }

    /// Arguments that do not fit each other.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: USAGE }
    }

    /// The same failure with the file named that it happened to.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.message = format!("`{}`: {}", path.display(), self.message);
        self
    }

    pub(crate) fn different(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: DIFFERENT }
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: INTERRUPTED }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        // Some libraries' messages have several lines and a backtrace; a person gets the first.
        let message = error.to_string();
        let line = message.lines().map(str::trim).find(|line| !line.is_empty());
        Self::new(line.unwrap_or("unknown error"))
    }
}
