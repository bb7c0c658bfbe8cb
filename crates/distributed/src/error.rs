//! The error type of `waxwork-distributed`.

/// An error that keeps processes from training together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A launcher's variable is not a number.
    #[error("the launcher's variable {name} is `{value}`, which is not a number")]
    Variable {
        /// The environment variable.
        name: String,
        /// Its value.
        value: String,
    },

    /// No MPI library could be opened.
    #[error("{size} processes were started, but no MPI library can be opened: {}", tried.join("; "))]
    NoLibrary {
        /// Number of processes that the launcher started.
        size: usize,
        /// Every library that was tried, and why it could not be opened.
        tried: Vec<String>,
    },

    /// The library was found, but is not MPI, or not the implementation that its name says.
    #[error("`{library}` cannot be used as MPI: {reason}")]
    Library {
        /// Its path or name.
        library: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The launcher does not belong to the library.
    #[error(
        "{launcher} started {launched} processes, but the MPI library `{library}` knows of {known}: it is not the launcher's own"
    )]
    Mismatch {
        /// The launcher.
        launcher: &'static str,
        /// Number of processes that it started.
        launched: usize,
        /// The library.
        library: String,
        /// Number of processes that the library knows.
        known: usize,
    },

    /// The number of processes is not a power of two.
    #[error(
        "{size} processes were started, but the number of processes that share a batch must be a power of two \
         (1, 2, 4, 8, …)"
    )]
    Size {
        /// Number of processes that were started.
        size: usize,
    },
}

/// A result with the error type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
