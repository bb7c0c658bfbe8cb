//! Layers that more than one family needs, over our own kernels and our own initialisation.
//!
//! A layer holds plain tensors taken from a [`ParamSet`](crate::params::ParamSet); weights have PyTorch's names and shapes.

use std::cell::RefCell;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::kernels::{self, Activation};
use crate::params::{Init, Scope};
use crate::{Error, Result};

/// How the weights of linear and convolutional layers start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightInit {
    /// PyTorch's default: weights and biases uniform within 1/√fan_in (Kaiming uniform with a = √5).
    #[default]
    Pytorch,
    /// Uniform within √(6 / (fan_in + fan_out)), biases zero (Glorot & Bengio 2010).
    Glorot,
    /// Normal with standard deviation 0.02, biases zero (Radford et al. 2016).
    Normal,
}

impl WeightInit {
    fn weight(self, fan_in: usize, fan_out: usize) -> Init {
        match self {
            Self::Pytorch => Init::Uniform { bound: (fan_in.max(1) as f64).sqrt().recip() },
            Self::Glorot => Init::Uniform { bound: (6.0 / (fan_in + fan_out).max(1) as f64).sqrt() },
            Self::Normal => Init::Normal { std: 0.02 },
        }
    }

    fn bias(self, fan_in: usize) -> Init {
        match self {
            Self::Pytorch => self.weight(fan_in, 0),
            Self::Glorot | Self::Normal => Init::Constant(0.0),
        }
    }
}

/// Where a forward pass takes its batch statistics from, and whether they count.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch statistics, recorded to be committed when the step is.
    Train(&'a StatisticsLog),
    /// Batch statistics, recorded nowhere: frozen passes, penalties, finite differences.
    Frozen,
    /// Running statistics.
    Eval,
}

/// Batch statistics seen in a training step, waiting for the update that makes them count.
#[derive(Debug, Default)]
pub struct StatisticsLog(RefCell<Vec<PendingStatistics>>);

#[derive(Debug)]
struct PendingStatistics {
    running: Var,
    batch: Tensor,
    momentum: f64,
}

impl StatisticsLog {
    fn record(&self, running: &Var, batch: Tensor, momentum: f64) {
        self.0.borrow_mut().push(PendingStatistics { running: running.clone(), batch, momentum });
    }

    /// Moves every running statistic towards what was recorded, in order, and forgets the record.
    pub fn commit(&self) -> Result<()> {
        for PendingStatistics { running, batch, momentum } in self.0.borrow_mut().drain(..) {
            let kept = running.as_detached_tensor().affine(1.0 - momentum, 0.0)?;
            running.set(&(kept + batch.detach().affine(momentum, 0.0)?)?)?;
        }
        Ok(())
    }
}

/// `y = activation(x Wᵀ + b)`: `(N, inputs)` → `(N, outputs)`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer with a bias; `weight` is `(outputs, inputs)`.
    pub fn new(mut scope: Scope<'_>, inputs: usize, outputs: usize, init: WeightInit) -> Result<Self> {
        let weight = scope.weight("weight", (outputs, inputs), init.weight(inputs, outputs))?;
        let bias = Some(scope.weight("bias", outputs, init.bias(inputs))?);
        Ok(Self { weight, bias })
    }

    /// `(N, inputs)` → `(N, outputs)`.
    pub fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        kernels::linear(x, &self.weight, self.bias.as_ref(), activation)
    }
}

/// The geometry of a square convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl ConvGeometry {
    /// Kernel 4, stride 2, padding 1: halves (or, transposed, doubles) height and width (Radford et al. 2016).
    pub const HALVE: Self = Self { kernel: 4, stride: 2, padding: 1 };
}

/// 2-D cross-correlation: `(N, inputs, H, W)` → `(N, outputs, H', W')`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
}

impl Conv2d {
    /// `weight` is `(outputs, inputs, kernel, kernel)`. Leave the bias out before a batch norm.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        geometry: ConvGeometry,
        bias: bool,
        init: WeightInit,
    ) -> Result<Self> {
        let ConvGeometry { kernel, .. } = geometry;
        let (fan_in, fan_out) = (inputs * kernel * kernel, outputs * kernel * kernel);
        let weight =
            scope.weight("weight", (outputs, inputs, kernel, kernel), init.weight(fan_in, fan_out))?;
        let bias = bias.then(|| scope.weight("bias", outputs, init.bias(fan_in))).transpose()?;
        Ok(Self { weight, bias, geometry })
    }

    /// `(N, inputs, H, W)` → `(N, outputs, H', W')`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvGeometry { stride, padding, .. } = self.geometry;
        kernels::conv2d(x, &self.weight, self.bias.as_ref(), stride, padding)
    }
}

/// Transposed 2-D convolution: `(N, inputs, H, W)` → `(N, outputs, H', W')`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
}

impl ConvTranspose2d {
    /// `weight` is `(inputs, outputs, kernel, kernel)`. Leave the bias out before a batch norm.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        geometry: ConvGeometry,
        bias: bool,
        init: WeightInit,
    ) -> Result<Self> {
        let ConvGeometry { kernel, .. } = geometry;
        // PyTorch takes dimension 1 of the weight for the fan-in, which is the output here.
        let (fan_in, fan_out) = (outputs * kernel * kernel, inputs * kernel * kernel);
        let weight =
            scope.weight("weight", (inputs, outputs, kernel, kernel), init.weight(fan_in, fan_out))?;
        let bias = bias.then(|| scope.weight("bias", outputs, init.bias(fan_in))).transpose()?;
        Ok(Self { weight, bias, geometry })
    }

    /// `(N, inputs, H, W)` → `(N, outputs, H', W')`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvGeometry { stride, padding, .. } = self.geometry;
        kernels::conv_transpose2d(x, &self.weight, self.bias.as_ref(), stride, padding, 0)
    }
}

/// Batch normalisation over every dimension but the second (Ioffe & Szegedy 2015), with PyTorch's constants.
///
/// A forward pass changes no state: in training the batch's statistics are recorded and count once the step does.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
}

impl BatchNorm {
    const EPS: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    /// Normalises `channels` channels.
    pub fn new(mut scope: Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.weight("weight", channels, Init::Constant(1.0))?,
            bias: scope.weight("bias", channels, Init::Constant(0.0))?,
            running_mean: scope.buffer("running_mean", channels, 0.0)?,
            running_var: scope.buffer("running_var", channels, 1.0)?,
        })
    }

    /// `(N, C, …)` → the same shape, normalised and then activated.
    pub fn forward(&self, x: &Tensor, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
        if let Mode::Eval = mode {
            let (mean, var) = (self.running_mean.as_detached_tensor(), self.running_var.as_detached_tensor());
            return kernels::batch_norm_with(x, &self.weight, &self.bias, &mean, &var, Self::EPS, activation);
        }
        let (y, mean, var) = kernels::batch_norm(x, &self.weight, &self.bias, Self::EPS, activation)?;
        if let Mode::Train(log) = mode {
            let n = x.elem_count() / x.dim(1)?.max(1);
            if n < 2 {
                return Err(Error::Unsupported(
                    "batch norm needs more than one value per channel in training".into(),
                ));
            }
            let unbiased = var.affine(n as f64 / (n - 1) as f64, 0.0)?;
            log.record(&self.running_mean, mean, Self::MOMENTUM);
            log.record(&self.running_var, unbiased, Self::MOMENTUM);
        }
        Ok(y)
    }
}
