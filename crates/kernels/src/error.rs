//! The error type of the kernels.

use candle_core::Shape;

/// What can go wrong in a kernel. Nothing was changed where one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed; candle's message carries the operation and the shapes.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// A tensor does not have the shape or the type that the kernel needs.
    #[error("{what} has shape {found:?}, but the kernel needs {expected}")]
    Input {
        /// Which tensor.
        what: &'static str,
        /// What the kernel expects, in words or as a shape.
        expected: String,
        /// The shape given.
        found: Shape,
    },

    /// A number that is no tensor, such as a stride, makes no sense.
    #[error("invalid `{name}`: {reason}")]
    Argument {
        /// Which argument.
        name: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// The threads of the process were set up before.
    #[error("failed to set up the threads: {reason}")]
    Threads {
        /// What rayon said.
        reason: String,
    },

    /// Tensors that an operation writes in place share their storage.
    #[error("two tensors of {operation} share their storage")]
    SharedStorage {
        /// The operation.
        operation: &'static str,
    },
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
