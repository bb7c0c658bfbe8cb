//! The error type of `waxwork-core`, shared by the model crates.

use std::path::PathBuf;

use candle_core::Shape;

use crate::onnx::Part;
use crate::params::Precision;

/// An error of a model, its parameters or its training step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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

    /// A parameter set holds tensors that the network does not have.
    #[error("{} unknown tensor(s); the first is `{}`", names.len(), names.first().map_or("", String::as_str))]
    UnexpectedTensors {
        /// Names in order.
        names: Vec<String>,
    },

    /// Two parameters have the same name.
    #[error("parameter `{name}` is declared twice")]
    DuplicateParameter {
        /// Full name of the parameter.
        name: String,
    },

    /// A configuration value is invalid.
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

    /// A tensor holds an invalid value.
    #[error("`{name}` is {value} at {index:?}: {reason}")]
    Value {
        /// Full name of the tensor.
        name: String,
        /// Where the value is, one number per dimension.
        index: Vec<usize>,
        /// NaN, an infinity, or a negative variance.
        value: f64,
        /// What a value must be.
        reason: &'static str,
    },

    /// Input images, labels or latents do not fit the model.
    #[error("{what} has shape {found:?}, but the model needs {expected}")]
    Input {
        /// The input.
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
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// A file exists, but its contents are invalid.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A conditional model was given no labels.
    #[error("{what} needs labels, but none were given")]
    MissingLabels {
        /// The model or layer.
        what: String,
    },

    /// A model that completes samples did not get a given part to complete.
    #[error("this model completes images, so it needs a given part of each image")]
    NothingGiven,

    /// An unconditional model was given labels.
    #[error("{family} models are unconditional and take no labels")]
    UnexpectedLabels {
        /// The family's name.
        family: String,
    },

    /// A model was given a condition of a kind that it does not take.
    #[error("the {family} model takes {takes}, but was given {given}")]
    Condition {
        /// The family's name.
        family: String,
        /// The condition that it was given.
        given: &'static str,
        /// The condition that it takes.
        takes: &'static str,
    },

    /// A step asked for more batches than are left.
    #[error("step {step} needs another batch, but there is none")]
    NoBatch {
        /// The step, counted from 0.
        step: u64,
    },

    /// A label is not one of the model's classes.
    #[error("there is no class {label}: labels are 0 to {}", classes.saturating_sub(1))]
    UnknownClass {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },

    /// There are more or fewer labels than samples.
    #[error("{labels} labels were given for {samples} samples")]
    LabelCount {
        /// Labels given.
        labels: usize,
        /// Samples asked for.
        samples: usize,
    },

    /// A conditional family cannot learn from data without labels.
    #[error(
        "`{family}` needs class labels, but this data set has none; use `{unconditional}`, or an image folder with \
         one subdirectory per class"
    )]
    NoClasses {
        /// The conditional family.
        family: &'static str,
        /// The family that needs no labels.
        unconditional: &'static str,
    },

    /// A path between latents was requested, but the latents are codes.
    #[error("the latents of this {family} are codes, so there is no path between them")]
    NoPath {
        /// The family's name.
        family: String,
    },

    /// A list is empty that needs at least one element.
    #[error("{what} needs at least one {of}")]
    Empty {
        /// What needs the elements.
        what: &'static str,
        /// What kind of element is missing.
        of: &'static str,
    },

    /// The model does not have the part that was asked for.
    #[error("{family} models have no {}; their parts are {}", part.name(), names(parts))]
    NoPart {
        /// The family's name.
        family: String,
        /// The part asked for.
        part: Part,
        /// The parts that the model has.
        parts: &'static [Part],
    },

    /// A part of this network cannot be written as a graph.
    #[error("this {} cannot be exported: {reason}", part.name())]
    NoGraph {
        /// The part asked for.
        part: Part,
        /// Why not.
        reason: &'static str,
    },

    /// A step updates a group that the model does not have.
    #[error("the model has no parameter group `{name}`")]
    UnknownGroup {
        /// The group asked for.
        name: String,
    },

    /// The optimiser was asked for a parameter that it does not know.
    #[error("the model has no parameter `{name}`")]
    UnknownParameter {
        /// Full name of the parameter.
        name: String,
    },

    /// A weight that is to be updated does not contribute to the loss.
    #[error("`{name}` got no gradient from the loss")]
    NoGradient {
        /// Full name of the parameter.
        name: String,
    },

    /// A gradient penalty needs a directional derivative that a layer does not have.
    #[error("a gradient penalty cannot pass through {layer}")]
    NoDirectionalDerivative {
        /// The layer or activation.
        layer: String,
    },

    /// Batch norm saw too few values to estimate a variance.
    #[error("batch norm needs more than one value per channel in training")]
    BatchTooSmall,

    /// The device cannot compute in this precision.
    #[error("on the CPU everything is computed in f32; {precision:?} needs a GPU")]
    Precision {
        /// The precision asked for.
        precision: Precision,
    },

    /// The network is too large for one file of this format.
    #[error("this network is larger than 2 GiB, which an .onnx file cannot hold")]
    GraphTooLarge,

    /// A step does more updates than its model announces, so micro-batches cannot wait for each other.
    #[error("the model made more than the {most} update(s) per step that it announced")]
    ManyUpdates {
        /// The most that the model announces.
        most: usize,
    },

    /// The processes of a run cannot continue together.
    #[error("{reason}")]
    Processes {
        /// What is wrong, and the number of the process at fault if there is one.
        reason: String,
    },

    /// Another process failed in its part of shared work. All processes know, and the first one reports it.
    #[error("{message}")]
    Elsewhere {
        /// The number of that process.
        rank: usize,
        /// Its error.
        message: String,
    },

    /// A thread could not be started.
    #[error("failed to start the thread that draws noise: {0}")]
    Thread(std::io::Error),

    /// More or fewer values were written to an array than its shape has.
    #[error("an array was written with more or fewer values than its shape has")]
    ArrayLength,

    /// A kernel was given invalid arguments.
    #[error(transparent)]
    Kernel(waxwork_kernels::Error),

    /// An explicitly chosen device is not available.
    #[error("device `{name}` is not available: {reason}")]
    Device {
        /// The device as requested.
        name: String,
        /// Why it cannot be used, and what to do.
        reason: String,
    },
}

/// The names of parts, separated by commas.
fn names(parts: &[Part]) -> String {
    parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(", ")
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
