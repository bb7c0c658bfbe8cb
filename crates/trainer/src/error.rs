//! The error type of `waxwork-trainer`.

use std::path::PathBuf;

/// An error of the training loop or of the run folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the model, its tensors or a file.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// A grid of samples could not be drawn.
    #[error(transparent)]
    Media(#[from] waxwork_media::Error),

    /// The validation samples could not be measured.
    #[error("cannot measure the validation samples: {0}")]
    Validation(String),

    /// An error of the data.
    #[error(transparent)]
    Data(#[from] waxwork_data::Error),

    /// A loss, a gradient or a written value was not finite.
    #[error("training diverged: {source}; {}", last_good(.checkpoint.as_ref()))]
    Diverged {
        /// The step and the term.
        source: waxwork_core::Error,
        /// The newest intact checkpoint, if there is one.
        checkpoint: Option<PathBuf>,
    },

    /// Processes that should have the same weights do not.
    #[error(
        "process {rank} has different weights from process 0 after step {step}: the memory, processor or a library of \
         its machine gives different results; resume the run without that machine"
    )]
    Apart {
        /// The first process that differs.
        rank: usize,
        /// Steps done.
        step: u64,
    },

    /// The path of a new run exists already.
    #[error("`{}` already exists", .0.display())]
    RunExists(PathBuf),

    /// A folder that is not a run.
    #[error("`{}` is not a run folder: {reason}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing for a run folder.
        reason: String,
    },

    /// Another process trains in this folder.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),

    /// There is no checkpoint to resume from.
    #[error("`{}` has no intact checkpoint{}", path.display(), damage(.damaged))]
    NoCheckpoint {
        /// The run folder.
        path: PathBuf,
        /// Checkpoints that were found damaged, and why.
        damaged: Vec<String>,
    },

    /// A file of the run folder has invalid contents.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The loader ended before the run did.
    #[error("the data ended after {done} of {steps} steps")]
    NoMoreBatches {
        /// Steps done.
        done: u64,
        /// Steps of the run.
        steps: u64,
    },

    /// A value cannot be written as JSON.
    #[error("failed to write JSON: {0}")]
    Json(serde_json::Error),

    /// The disk has less free space than the run needs.
    #[error(
        "the run needs about {} MiB in `{}`, but only {} MiB are free",
        needed >> 20, path.display(), available >> 20
    )]
    DiskSpace {
        /// Where the run was to be written.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        available: u64,
    },

    /// A training setting is invalid.
    #[error("invalid `{key}`: {reason}")]
    Config {
        /// The key in the recipe.
        key: &'static str,
        /// What is valid.
        reason: String,
    },
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn last_good(checkpoint: Option<&PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is `{}`", path.display()),
        None => "no checkpoint was written yet".into(),
    }
}

fn damage(damaged: &[String]) -> String {
    if damaged.is_empty() { String::new() } else { format!(" ({})", damaged.join("; ")) }
}
