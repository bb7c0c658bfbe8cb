//! Batch normalisation, plain and conditional on a label.

use candle_core::{Tensor, Var};

use waxwork_core::Mode;
use waxwork_core::collective::Reduction;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Error, Result};
use waxwork_kernels::{self as kernels, Activation};

/// The kind of normalisation in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// None.
    None,
    /// [`BatchNorm`].
    Batch,
    /// [`ConditionalBatchNorm`] with a scale and shift per class.
    Conditional {
        /// Number of classes.
        classes: usize,
    },
}

/// An optional normalisation.
#[derive(Clone, Debug)]
pub enum Norm {
    /// Only the activation.
    None,
    /// One scale and shift per channel.
    Batch(BatchNorm),
    /// One scale and shift per channel and class.
    Conditional(ConditionalBatchNorm),
}

impl Norm {
    /// The normalisation `kind` of `channels` channels.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(scope: Scope<'_>, kind: NormKind, channels: usize) -> Result<Self> {
        Ok(match kind {
            NormKind::None => Self::None,
            NormKind::Batch => Self::Batch(BatchNorm::new(scope, channels)?),
            NormKind::Conditional { classes } => {
                Self::Conditional(ConditionalBatchNorm::new(scope, channels, classes)?)
            }
        })
    }

    /// `(N, C, …)` → the same shape, normalised and then activated. `labels` is one-hot, `(N, classes)`.
    pub fn forward(
        &self,
        x: &Tensor,
        labels: Option<&Tensor>,
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        match (self, labels) {
            (Self::None, _) => Ok(kernels::activate(x, activation)?),
            (Self::Batch(norm), _) => norm.forward(x, activation, mode),
            (Self::Conditional(norm), Some(labels)) => norm.forward(x, labels, activation, mode),
            (Self::Conditional(_), None) => Err(no_labels()),
        }
    }

    /// [`Norm::forward`] as nodes of a graph.
    pub fn export(
        &self,
        mut scope: GraphScope<'_>,
        x: &Value,
        labels: Option<&Value>,
        activation: Activation,
    ) -> Result<Value> {
        match (self, labels) {
            (Self::None, _) => Ok(scope.activate(x.clone(), activation)),
            (Self::Batch(norm), _) => norm.export(scope, x, activation),
            (Self::Conditional(norm), Some(labels)) => norm.export(scope, x, labels, activation),
            (Self::Conditional(_), None) => Err(no_labels()),
        }
    }
}

fn no_labels() -> Error {
    Error::MissingLabels { what: "conditional batch norm".into() }
}

/// Batch normalisation over every dimension but the second (Ioffe & Szegedy 2015), with PyTorch's constants.
///
/// A forward pass changes no state: training records the batch's statistics, which count once the step
/// succeeds.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    statistics: RunningStatistics,
}

impl BatchNorm {
    /// Normalises `channels` channels.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.weight("weight", channels, Init::Constant(1.0))?,
            bias: scope.weight("bias", channels, Init::Constant(0.0))?,
            statistics: RunningStatistics::new(&mut scope, channels)?,
        })
    }

    /// `(N, C, …)` → the same shape, normalised and then activated.
    pub fn forward(&self, x: &Tensor, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
        self.statistics.normalise(x, &self.weight, &self.bias, activation, mode)
    }

    /// [`BatchNorm::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, activation: Activation) -> Result<Value> {
        let (weight, bias) = (scope.tensor("weight", &self.weight)?, scope.tensor("bias", &self.bias)?);
        let y = self.statistics.export(&mut scope, x, &weight, &bias)?;
        Ok(scope.activate(y, activation))
    }
}

/// Batch normalisation whose scale and shift depend on the label (Dumoulin et al. 2017; Miyato & Koyama
/// 2018).
#[derive(Clone, Debug)]
pub struct ConditionalBatchNorm {
    weight: Tensor,
    bias: Tensor,
    statistics: RunningStatistics,
}

impl ConditionalBatchNorm {
    /// Normalises `channels` channels; `weight` and `bias` are `(classes, channels)`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, channels: usize, classes: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.weight("weight", (classes, channels), Init::Constant(1.0))?,
            bias: scope.weight("bias", (classes, channels), Init::Constant(0.0))?,
            statistics: RunningStatistics::new(&mut scope, channels)?,
        })
    }

    /// `(N, C, …)` and one-hot labels `(N, classes)` → the shape of `x`, normalised and then activated.
    pub fn forward(
        &self,
        x: &Tensor,
        labels: &Tensor,
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let channels = x.dim(1)?;
        let plain = Tensor::ones(channels, x.dtype(), x.device())?;
        let normal =
            self.statistics.normalise(x, &plain, &plain.zeros_like()?, Activation::Identity, mode)?;
        let mut shape = vec![x.dim(0)?, channels];
        shape.resize(x.rank(), 1);
        let scale = kernels::matmul(labels, &self.weight)?.reshape(shape.clone())?;
        let shift = kernels::matmul(labels, &self.bias)?.reshape(shape)?;
        Ok(kernels::activate(&normal.broadcast_mul(&scale)?.broadcast_add(&shift)?, activation)?)
    }

    /// [`ConditionalBatchNorm::forward`] of `(N, C, H, W)` as nodes of a graph.
    pub fn export(
        &self,
        mut scope: GraphScope<'_>,
        x: &Value,
        labels: &Value,
        activation: Activation,
    ) -> Result<Value> {
        let channels = self.weight.dim(1)?;
        let plain = Tensor::ones(channels, self.weight.dtype(), self.weight.device())?;
        let (ones, zeros) = (scope.tensor("ones", &plain)?, scope.tensor("zeros", &plain.zeros_like()?)?);
        let normal = self.statistics.export(&mut scope, x, &ones, &zeros)?;
        let mut row = |name: &str, table: &Tensor| -> Result<Value> {
            let table = scope.tensor(name, table)?;
            let rows = scope.node("MatMul", &[labels, &table], &[]);
            Ok(scope.reshape(&rows, &[channels, 1, 1]))
        };
        let (scale, shift) = (row("weight", &self.weight)?, row("bias", &self.bias)?);
        let scaled = scope.node("Mul", &[&normal, &scale], &[]);
        let y = scope.node("Add", &[&scaled, &shift], &[]);
        Ok(scope.activate(y, activation))
    }
}

/// Moving averages of a channel's mean and variance.
#[derive(Clone, Debug)]
struct RunningStatistics {
    mean: Var,
    var: Var,
}

impl RunningStatistics {
    const EPS: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    fn new(scope: &mut Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            mean: scope.buffer("running_mean", channels, Init::Constant(0.0))?,
            var: scope.buffer("running_var", channels, Init::Constant(1.0))?,
        })
    }

    /// Normalises by the running statistics, as a node of a graph.
    fn export(&self, scope: &mut GraphScope<'_>, x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
        let mean = scope.tensor("running_mean", &self.mean.as_detached_tensor())?;
        let var = scope.tensor("running_var", &self.var.as_detached_tensor())?;
        let epsilon = [("epsilon", Attribute::Float(Self::EPS as f32))];
        Ok(scope.node("BatchNormalization", &[x, weight, bias, &mean, &var], &epsilon))
    }

    fn normalise(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        if let Mode::Eval = mode {
            let (mean, var) = (self.mean.as_detached_tensor(), self.var.as_detached_tensor());
            return Ok(kernels::batch_norm_with(x, weight, bias, &mean, &var, Self::EPS, activation)?);
        }
        let (y, mean, var) = kernels::batch_norm(x, weight, bias, Self::EPS, activation)?;
        if let Mode::Train(log) = mode {
            let n = x.elem_count() / x.dim(1)?.max(1);
            if n < 2 {
                return Err(Error::BatchTooSmall);
            }
            let unbiased = var.affine(n as f64 / (n - 1) as f64, 0.0)?;
            log.record(&self.mean, mean, Self::MOMENTUM, Reduction::Mean);
            log.record(&self.var, unbiased, Self::MOMENTUM, Reduction::Mean);
        }
        Ok(y)
    }
}
