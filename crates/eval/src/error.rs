//! What can go wrong in an evaluation.

use crate::arrays::ArrayError;

/// An error of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A judge needs labels.
    #[error("data set `{data}` has no labels, so nothing can be trained to name them")]
    NoLabels {
        /// Name of the data set.
        data: String,
    },

    /// Points of another number of dimensions.
    #[error("points of {needed} coordinates are needed, and these have {found}")]
    Dimensions {
        /// Coordinates needed.
        needed: usize,
        /// Coordinates that they have.
        found: usize,
    },

    /// A measure needs more samples.
    #[error("at least {needed} {whose} samples are needed, and there are {found}")]
    TooFew {
        /// Real or generated.
        whose: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many there are.
        found: usize,
    },

    /// Features that are no numbers.
    #[error("the features of {whose} image {row} are not finite: the image may have NaN in it")]
    NotFinite {
        /// Real or generated.
        whose: &'static str,
        /// Which image, counted from 0.
        row: usize,
    },

    /// A likelihood that is no number, or infinite.
    #[error("{term} of image {image} is {value}, so that no mean of it means anything")]
    Likelihood {
        /// `reconstruction`, `kl` or `log_likelihood`.
        term: &'static str,
        /// Which image, counted from 0.
        image: usize,
        /// NaN or an infinity.
        value: f64,
    },

    /// A metric that is no number, or infinite.
    #[error("{name} is {value}, which is no result")]
    Metric {
        /// Its name.
        name: String,
        /// NaN or an infinity.
        value: f64,
    },

    /// An array of another program.
    #[error(transparent)]
    Array(#[from] ArrayError),

    /// Features of two extractors.
    #[error("{real} features of a real image cannot be compared with {generated} of a generated one")]
    Widths {
        /// Of a real image.
        real: usize,
        /// Of a generated one.
        generated: usize,
    },

    /// Codes and factors are of different numbers of images.
    #[error("{codes} codes cannot be matched with the factors of {factors} images")]
    Lengths {
        /// Rows of codes.
        codes: usize,
        /// Images whose factors are known.
        factors: usize,
    },

    /// The normal equations of a linear probe have no solution.
    #[error("a linear probe of the codes cannot be fitted: their covariance matrix is not positive definite")]
    Probe,

    /// A symmetric matrix defeated the solver.
    #[error("the eigenvalues of a covariance matrix cannot be found")]
    Eigenvalues,

    /// The model or its tensors.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// A kernel of an evaluation was given what it cannot use.
    #[error(transparent)]
    Kernel(#[from] waxwork_kernels::Error),

    /// The data.
    #[error(transparent)]
    Data(#[from] waxwork_data::Error),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
