//! The error type of the kernels.

use candle_core::Shape;

/// An error of a kernel. A kernel that returns one has not changed anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed; candle's message carries the operation and the shapes.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// A tensor does not have the shape or the type that the kernel needs.
    #[error("{what} has shape {found:?}, but the kernel needs {expected}")]
    Input {
        /// The role of the tensor, such as "left matrix".
        what: &'static str,
        /// What the kernel expects, in words or as a shape.
        expected: String,
        /// The actual shape.
        found: Shape,
    },

    /// An argument that is not a tensor, such as a stride, is invalid.
    #[error("invalid `{name}`: {reason}")]
    Argument {
        /// Name of the argument.
        name: &'static str,
        /// What is wrong, and what is valid.
        reason: String,
    },

    /// The threads of the process are already set up.
    #[error("failed to set up the threads: {reason}")]
    Threads {
        /// The message from rayon.
        reason: String,
    },

    /// Two tensors that an operation updates in place share their storage.
    #[error("two tensors of {operation} share their storage")]
    SharedStorage {
        /// The operation.
        operation: &'static str,
    },
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
