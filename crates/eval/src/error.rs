//! The error type of `waxwork-eval`.

use crate::arrays::ArrayError;

/// An error of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A judge needs labels.
    #[error("data set `{data}` has no labels to train a classifier on")]
    NoLabels {
        /// Name of the data set.
        data: String,
    },

    /// A language model needs texts.
    #[error("a language model judges texts, but data set `{data}` has none")]
    NoTexts {
        /// Name of the data set.
        data: String,
    },

    /// Points with the wrong number of dimensions.
    #[error("points of {needed} coordinates are needed, but these have {found}")]
    Dimensions {
        /// Coordinates needed.
        needed: usize,
        /// Coordinates found.
        found: usize,
    },

    /// A metric needs more samples.
    #[error("at least {needed} {whose} samples are needed, but there are only {found}")]
    TooFew {
        /// Real or generated.
        whose: &'static str,
        /// How many are needed.
        needed: usize,
        /// How many there are.
        found: usize,
    },

    /// Features with NaN or an infinity.
    #[error("the features of {whose} image {row} are not finite: the image may contain NaN")]
    NotFinite {
        /// Real or generated.
        whose: &'static str,
        /// The image, counted from 0.
        row: usize,
    },

    /// A likelihood that is NaN or infinite.
    #[error("{term} of image {image} is {value}: the mean over all images is not defined")]
    Likelihood {
        /// `reconstruction`, `kl` or `log_likelihood`.
        term: &'static str,
        /// The image, counted from 0.
        image: usize,
        /// NaN or an infinity.
        value: f64,
    },

    /// A metric that is NaN or infinite.
    #[error("{name} is {value}, not a finite number")]
    Metric {
        /// Its name.
        name: String,
        /// NaN or an infinity.
        value: f64,
    },

    /// An invalid array of another program.
    #[error(transparent)]
    Array(#[from] ArrayError),

    /// Features of two different extractors.
    #[error("real images have {real} features, but generated images have {generated}")]
    Widths {
        /// Width of a real image's features.
        real: usize,
        /// Width of a generated image's features.
        generated: usize,
    },

    /// Codes and factors belong to different numbers of images.
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

    /// The eigenvalue solver did not converge.
    #[error("failed to compute the eigenvalues of a covariance matrix")]
    Eigenvalues,

    /// An error of the model or its tensors.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// Invalid input of a kernel.
    #[error(transparent)]
    Kernel(#[from] waxwork_kernels::Error),

    /// An error of the data.
    #[error(transparent)]
    Data(#[from] waxwork_data::Error),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
