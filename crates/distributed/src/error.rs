//! The error type of `waxwork-distributed`.

/// Why processes cannot train together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable of a launcher has no number.
    #[error("the launcher's variable {name} is `{value}`, which is no number")]
    Variable {
        /// The variable of the environment.
        name: String,
        /// What it says.
        value: String,
    },

    /// No MPI library could be opened.
    #[error("{size} processes were started, but no MPI library can be opened: {}", tried.join("; "))]
    NoLibrary {
        /// How many processes the launcher started.
        size: usize,
        /// Every library that was tried, and why it could not be opened.
        tried: Vec<String>,
    },

    /// The library was found, and is no MPI or another one than its name says.
    #[error("`{library}` cannot be used as MPI: {reason}")]
    Library {
        /// Its path or name.
        library: String,
        /// What it lacks.
        reason: String,
    },

    /// The launcher and the library do not know each other.
    #[error(
        "{launcher} started {launched} processes, but the MPI library `{library}` knows of {known}: it is not the launcher's own"
    )]
    Mismatch {
        /// The launcher.
        launcher: &'static str,
        /// How many processes it started.
        launched: usize,
        /// The library.
        library: String,
        /// How many the library knows.
        known: usize,
    },

    /// A tree needs a power of two.
    #[error("{size} processes were started, but only 1, 2, 4, 8 and so on can share a batch")]
    Size {
        /// How many were started.
        size: usize,
    },
}

/// A result with the error type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
