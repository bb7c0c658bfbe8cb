//! Networks that more than one family is built from: stacks of linear layers, and of convolutions that halve or double.

use candle_core::Tensor;

use crate::kernels::{self, Activation};
use crate::layers::{BatchNorm, Conv2d, ConvGeometry, ConvTranspose2d, Linear, Mode, WeightInit};
use crate::model::ImageShape;
use crate::params::Scope;
use crate::{Error, Result};

/// How a network's layers are initialised and activated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Start values of the weights.
    pub init: WeightInit,
    /// What follows every hidden layer.
    pub activation: Activation,
}

/// Linear layers, each followed by the activation: `(N, inputs)` → `(N, outputs)`.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    outputs: usize,
}

impl Mlp {
    /// Layers of the given widths, named `0`, `1`, … below `scope`.
    pub fn new(mut scope: Scope<'_>, inputs: usize, widths: &[usize], style: Style) -> Result<Self> {
        let mut layers = Vec::with_capacity(widths.len());
        let mut outputs = inputs;
        for (i, &width) in widths.iter().enumerate() {
            layers.push(Linear::new(scope.enter(i), outputs, width, style.init)?);
            outputs = width;
        }
        Ok(Self { layers, activation: style.activation, outputs })
    }

    /// `(N, inputs)` → `(N, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, self.activation))
    }

    /// Width of the last layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// Height and width after `halvings` halvings.
///
/// # Errors
/// If they are not a multiple of 2 to that power.
pub fn halved(image: ImageShape, halvings: usize) -> Result<(usize, usize)> {
    let factor = 1usize.checked_shl(halvings as u32).unwrap_or(usize::MAX);
    if !(image.height.is_multiple_of(factor) && image.width.is_multiple_of(factor)) {
        return Err(Error::Config {
            key: "model.network.channels".into(),
            reason: format!(
                "{halvings} halvings need a height and width that are multiples of {factor}, not {image}"
            ),
        });
    }
    Ok((image.height / factor, image.width / factor))
}

/// Convolutions that each halve height and width (4×4, stride 2), activated; the discriminator's half of DCGAN
/// (Radford et al. 2016), so batch norm, where asked for, is on every layer but the first.
#[derive(Clone, Debug)]
pub struct ConvDown {
    layers: Vec<(Conv2d, Option<BatchNorm>)>,
    activation: Activation,
}

impl ConvDown {
    /// One layer per entry of `channels`, named `0.conv`, `0.norm`, … below `scope`.
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
            let conv =
                Conv2d::new(scope.enter("conv"), inputs, outputs, ConvGeometry::HALVE, !normed, style.init)?;
            let norm = normed.then(|| BatchNorm::new(scope.enter("norm"), outputs)).transpose()?;
            layers.push((conv, norm));
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// `(N, inputs, H, W)` → `(N, channels, H / 2^layers, W / 2^layers)`.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let layer = |x: Tensor, (conv, norm): &(Conv2d, Option<BatchNorm>)| {
            activated(&conv.forward(&x)?, norm.as_ref(), self.activation, mode)
        };
        self.layers.iter().try_fold(x.clone(), layer)
    }
}

/// Transposed convolutions that each double height and width; all but the last are activated, with batch norm where
/// asked for. The generator's half of DCGAN; the output is linear.
#[derive(Clone, Debug)]
pub struct ConvUp {
    layers: Vec<(ConvTranspose2d, Option<BatchNorm>)>,
    activation: Activation,
}

impl ConvUp {
    /// `inputs` → `channels[0]` → … → `channels.last()`, named `0.conv`, `0.norm`, … below `scope`.
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
            let normed = batch_norm && i + 1 < channels.len();
            let geometry = ConvGeometry::HALVE;
            let conv =
                ConvTranspose2d::new(scope.enter("conv"), inputs, outputs, geometry, !normed, style.init)?;
            let norm = normed.then(|| BatchNorm::new(scope.enter("norm"), outputs)).transpose()?;
            layers.push((conv, norm));
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// `(N, inputs, h, w)` → `(N, outputs, h · 2^layers, w · 2^layers)`.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let last = self.layers.len().saturating_sub(1);
        let mut x = x.clone();
        for (i, (conv, norm)) in self.layers.iter().enumerate() {
            let activation = if i < last { self.activation } else { Activation::Identity };
            x = activated(&conv.forward(&x)?, norm.as_ref(), activation, mode)?;
        }
        Ok(x)
    }
}

fn activated(x: &Tensor, norm: Option<&BatchNorm>, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(x, activation, mode),
        None => kernels::activate(x, activation),
    }
}
