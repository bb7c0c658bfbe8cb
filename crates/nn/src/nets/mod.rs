//! Networks that several families use: stacks of linear layers, of convolutions, and of residual blocks, and
//! networks for clips.

mod clip;
mod conv;
mod residual;
mod sequence;

use candle_core::Tensor;

use crate::dual::Dual;
use crate::layers::{Linear, WeightStyle};
use waxwork_core::ImageShape;
use waxwork_core::Mode;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{Error, Result};
use waxwork_kernels::{self as kernels, Activation};

pub use clip::{ClipDown, ClipSize, ClipUp};
pub use conv::{ConvDown, ConvUp, Tower};
pub use residual::{ResidualDown, ResidualUp};
pub use sequence::SequenceBlocks;

/// The widest layer that a configuration can ask for, so that products of widths and image sizes cannot
/// overflow.
pub const WIDEST: usize = 1 << 24;
/// The reason why a wider layer is refused.
pub const TOO_WIDE: &str = "no layer and no latent vector may be wider than 2^24";

/// Initialisation and activation of a network's layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// The weights' initialisation.
    pub weights: WeightStyle,
    /// The activation after every hidden layer.
    pub activation: Activation,
}

/// Linear layers, each followed by the activation: `(N, inputs)` → `(N, outputs)`.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    widths: Vec<usize>,
    outputs: usize,
}

impl Mlp {
    /// Layers of the given widths, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, inputs: usize, widths: &[usize], style: Style) -> Result<Self> {
        let mut layers = Vec::with_capacity(widths.len());
        let mut outputs = inputs;
        for (i, &width) in widths.iter().enumerate() {
            layers.push(Linear::new(scope.enter(i), outputs, width, style.weights)?);
            outputs = width;
        }
        Ok(Self { layers, activation: style.activation, widths: widths.to_vec(), outputs })
    }

    /// `(N, inputs)` → `(N, outputs)`.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, self.activation, mode))
    }

    /// The same for a value with its directional derivative. The output of layer `i` is multiplied by
    /// `dropout[i]`, if there is one.
    pub fn propagate(&self, x: &Dual, dropout: &[Tensor], mode: Mode<'_>) -> Result<Dual> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = match x.tangent {
                None => Dual::constant(layer.forward(&x.value, self.activation, mode)?),
                Some(_) => layer.propagate(&x, mode)?.activate(self.activation)?,
            };
            if let Some(mask) = dropout.get(i) {
                x = x.linear(|x| Ok((x * mask)?))?;
            }
        }
        Ok(x)
    }

    /// Width of every layer.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// [`Mlp::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let mut layers = self.layers.iter().enumerate();
        layers.try_fold(x.clone(), |x, (i, layer)| layer.export(scope.enter(i), &x, self.activation))
    }

    /// Width of the last layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// Linear layers, each followed by the largest of several outputs in place of an activation (Goodfellow et al.
/// 2013): `(N, inputs)` → `(N, outputs)`.
#[derive(Clone, Debug)]
pub struct Maxout {
    layers: Vec<Linear>,
    pieces: usize,
    widths: Vec<usize>,
    outputs: usize,
}

impl Maxout {
    /// Layers of the given widths, named `0`, `1`, … below `scope`; each value is the largest of `pieces`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        widths: &[usize],
        pieces: usize,
        weights: WeightStyle,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(widths.len());
        let mut outputs = inputs;
        for (i, &width) in widths.iter().enumerate() {
            layers.push(Linear::new(scope.enter(i), outputs, width * pieces, weights)?);
            outputs = width;
        }
        Ok(Self { layers, pieces, widths: widths.to_vec(), outputs })
    }

    /// `(N, inputs)` → `(N, outputs)`. The output of layer `i` is multiplied by `dropout[i]`, if there is one.
    ///
    /// # Errors
    /// [`Error::NoDirectionalDerivative`] if `x` has a derivative.
    pub fn propagate(&self, x: &Dual, dropout: &[Tensor], mode: Mode<'_>) -> Result<Dual> {
        if x.tangent.is_some() {
            return Err(Error::NoDirectionalDerivative { layer: "maxout".into() });
        }
        let mut x = x.value.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = kernels::maxout(&layer.forward(&x, Activation::Identity, mode)?, self.pieces)?;
            if let Some(mask) = dropout.get(i) {
                x = (x * mask)?;
            }
        }
        Ok(Dual::constant(x))
    }

    /// Width of every layer.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// Width of the last layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// Height and width after `halvings` halvings. `key` is the configuration key of the network.
///
/// # Errors
/// If they are not a multiple of 2 to that power.
pub fn halved(image: ImageShape, halvings: usize, key: &str) -> Result<(usize, usize)> {
    let factor = 1usize.checked_shl(halvings as u32).unwrap_or(usize::MAX);
    if !(image.height.is_multiple_of(factor) && image.width.is_multiple_of(factor)) {
        return Err(Error::Config {
            key: key.into(),
            reason: format!(
                "{halvings} halvings need a height and width that are multiples of {factor}, not {image}"
            ),
        });
    }
    Ok((image.height / factor, image.width / factor))
}
