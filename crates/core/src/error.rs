//! The error type of `waxwork-core`, shared by the model crates.

use std::path::PathBuf;

use candle_core::Shape;

use crate::model::ModelInfo;
use crate::onnx::Part;

/// What can go wrong in a model, its parameters or its training step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed; candle's message carries the operation and the shapes.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// A strict parameter set (a checkpoint, an EMA twin) lacks a tensor that the network needs.
    #[error("missing tensor `{name}` of shape {expected:?}")]
    MissingTensor {
        /// Full name of the parameter.
        name: String,
        /// Shape that the network asks for.
        expected: Shape,
    },

    /// A stored tensor does not have the shape that the network asks for.
    #[error("tensor `{name}` has shape {found:?}, but the network needs {expected:?}")]
    TensorShape {
        /// Full name of the parameter.
        name: String,
        /// Shape that the network asks for.
        expected: Shape,
        /// Shape that was stored.
        found: Shape,
    },

    /// A parameter set holds tensors that the network never asked for.
    #[error("{} unknown tensor(s), the first is `{}`", names.len(), names.first().map_or("", String::as_str))]
    UnexpectedTensors {
        /// Names in order.
        names: Vec<String>,
    },

    /// Two parameters were asked for under one name.
    #[error("parameter `{name}` is declared twice")]
    DuplicateParameter {
        /// Full name of the parameter.
        name: String,
    },

    /// A configuration value makes no sense.
    #[error("invalid `{key}`: {reason}")]
    Config {
        /// The configuration key, e.g. `model.latent_dim`.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// A loss or a gradient was NaN or infinite; nothing was updated.
    #[error("{term} is {value} at step {step}")]
    NonFinite {
        /// The step at which it happened, counted from 0.
        step: u64,
        /// The loss term or gradient that is not finite.
        term: String,
        /// Its value: NaN or an infinity.
        value: f64,
    },

    /// Input images, labels or latents do not fit the model.
    #[error("{what} has shape {found:?}, but the model needs {expected}")]
    Input {
        /// Which input.
        what: &'static str,
        /// What the model expects, in words or as a shape.
        expected: String,
        /// The shape given.
        found: Shape,
    },

    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// A file is there, but is not what it should be.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The request is well formed, but this model cannot serve it.
    #[error("{0}")]
    Unsupported(String),

    /// A kernel was given what it cannot use.
    #[error(transparent)]
    Kernel(waxwork_kernels::Error),

    /// An explicitly chosen device is not there.
    #[error("device `{name}` is not available: {reason}")]
    Device {
        /// The device as it was asked for.
        name: String,
        /// Why it cannot be used, and what to do.
        reason: String,
    },
}

impl Error {
    /// [`Error::Unsupported`]: a model has other parts than the one asked for.
    pub fn no_part(info: &ModelInfo, part: Part, parts: &[Part]) -> Self {
        let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
        Self::Unsupported(format!("a {} has no {}; it has: {}", info.family, part.name(), names.join(", ")))
    }
}

impl From<waxwork_kernels::Error> for Error {
    fn from(error: waxwork_kernels::Error) -> Self {
        match error {
            waxwork_kernels::Error::Tensor(error) => Self::Tensor(error),
            waxwork_kernels::Error::Input { what, expected, found } => Self::Input { what, expected, found },
            error => Self::Kernel(error),
        }
    }
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
