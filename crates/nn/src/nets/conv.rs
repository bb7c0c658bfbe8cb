//! Stacks of strided convolutions that halve or double height and width at each layer (DCGAN, Radford et al. 2016).

use candle_core::Tensor;

use super::Style;
use crate::dual::Dual;
use crate::layers::{BatchNorm, Conv2d, ConvGeometry, ConvTranspose2d, Norm, NormKind};
use waxwork_core::Mode;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{Error, Result};
use waxwork_kernels::Activation;

/// Convolutions that each halve height and width (4×4, stride 2), activated; the discriminator's half of DCGAN,
/// so batch norm, where asked for, is on every layer but the first.
#[derive(Clone, Debug)]
pub struct ConvDown {
    layers: Vec<(Conv2d, Option<BatchNorm>)>,
    activation: Activation,
}

impl ConvDown {
    /// One layer per entry of `channels`, named `0.conv`, `0.norm`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        channels: &[usize],
        batch_norm: bool,
        style: Style,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut inputs = inputs;
        for (i, &outputs) in channels.iter().enumerate() {
            let mut scope = scope.enter(i);
            let normed = batch_norm && i > 0;
            let (geometry, weights) = (ConvGeometry::HALVE, style.weights);
            let conv = Conv2d::new(scope.enter("conv"), inputs, outputs, geometry, !normed, weights)?;
            let norm = normed.then(|| BatchNorm::new(scope.enter("norm"), outputs)).transpose()?;
            layers.push((conv, norm));
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// `(N, inputs, H, W)` → `(N, channels, H / 2^layers, W / 2^layers)`.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        (0..self.layers.len()).try_fold(x.clone(), |x, i| self.layer(i, &x, None, mode))
    }

    /// One convolution with its norm and activation.
    fn layer(&self, i: usize, x: &Tensor, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let (conv, norm) = &self.layers[i];
        match norm {
            None => conv.forward(x, planes, self.activation, mode),
            Some(norm) => {
                norm.forward(&conv.forward(x, planes, Activation::Identity, mode)?, self.activation, mode)
            }
        }
    }

    /// The same for a value with its directional derivative, which batch norm does not let through. With values `(N, K)` for
    /// K planes, x has as many channels fewer, and the planes count as its last ones, of one value each.
    pub fn propagate(&self, x: &Dual, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Dual> {
        let mut x = x.clone();
        for (i, (conv, norm)) in self.layers.iter().enumerate() {
            let planes = planes.filter(|_| i == 0);
            x = match (norm, &x.tangent) {
                (_, None) => Dual::constant(self.layer(i, &x.value, planes, mode)?),
                (None, Some(_)) => conv.propagate(&x, planes, mode)?.activate(self.activation)?,
                (Some(_), Some(_)) => {
                    return Err(Error::NoDirectionalDerivative { layer: "batch norm".into() });
                }
            };
        }
        Ok(x)
    }

    /// [`ConvDown::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let mut x = x.clone();
        for (i, (conv, norm)) in self.layers.iter().enumerate() {
            let mut scope = scope.enter(i);
            x = match norm {
                None => conv.export(scope.enter("conv"), &x, self.activation)?,
                Some(norm) => {
                    let x = conv.export(scope.enter("conv"), &x, Activation::Identity)?;
                    norm.export(scope.enter("norm"), &x, self.activation)?
                }
            };
        }
        Ok(x)
    }
}

/// Transposed convolutions that each double height and width; all but the last are normalised where asked for and
/// activated. The generator's half of DCGAN; the output is linear.
#[derive(Clone, Debug)]
pub struct ConvUp {
    layers: Vec<(ConvTranspose2d, Norm)>,
    activation: Activation,
}

impl ConvUp {
    /// `inputs` → `channels[0]` → … → `channels.last()`, named `0.conv`, `0.norm`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        channels: &[usize],
        norm: NormKind,
        style: Style,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut inputs = inputs;
        for (i, &outputs) in channels.iter().enumerate() {
            let mut scope = scope.enter(i);
            let norm = if i + 1 < channels.len() { norm } else { NormKind::None };
            let (geometry, bias) = (ConvGeometry::HALVE, norm == NormKind::None);
            let conv = ConvTranspose2d::new(
                scope.enter("conv"),
                inputs,
                outputs,
                geometry,
                bias,
                style.weights.init,
            )?;
            layers.push((conv, Norm::new(scope.enter("norm"), norm, outputs)?));
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// `(N, inputs, h, w)` → `(N, outputs, h · 2^layers, w · 2^layers)`. `labels` is one-hot, where the norm needs it.
    pub fn forward(&self, x: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, (conv, norm)) in self.layers.iter().enumerate() {
            x = norm.forward(&conv.forward(&x)?, labels, self.activation_of(i), mode)?;
        }
        Ok(x)
    }

    /// [`ConvUp::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, labels: Option<&Value>) -> Result<Value> {
        let mut x = x.clone();
        for (i, (conv, norm)) in self.layers.iter().enumerate() {
            let mut scope = scope.enter(i);
            x = conv.export(scope.enter("conv"), &x)?;
            x = norm.export(scope.enter("norm"), &x, labels, self.activation_of(i))?;
        }
        Ok(x)
    }

    fn activation_of(&self, layer: usize) -> Activation {
        if layer + 1 < self.layers.len() { self.activation } else { Activation::Identity }
    }
}
