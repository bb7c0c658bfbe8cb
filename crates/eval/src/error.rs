//! What can go wrong in an evaluation.

/// An error of an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A judge needs labels.
    #[error("data set `{data}` has no labels, so nothing can be trained to name them")]
    NoLabels {
        /// Name of the data set.
        data: String,
    },

    /// The model or its tensors.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// The data.
    #[error(transparent)]
    Data(#[from] waxwork_data::Error),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
