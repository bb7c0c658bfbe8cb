//! Networks that several families use: stacks of linear layers, of convolutions, and of residual blocks, and
//! networks for clips and waveforms.

mod clip;
mod conv;
mod residual;
mod sequence;
mod wave;

use candle_core::Tensor;

use crate::layers::{Linear, WeightStyle};
use crate::signal::Signal;
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
pub use wave::{WaveDown, WaveUp, needs_waveform};

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
    /// The gate of every layer, if the layers are gated.
    gates: Vec<Linear>,
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
        let gates = Vec::new();
        Ok(Self { layers, gates, activation: style.activation, widths: widths.to_vec(), outputs })
    }

    /// The same with gated layers (Dauphin et al. 2017): `(W x + b) · sigmoid(V x + c)`, with `V` and `c` below
    /// `gate` in the scope of the layer. They have no other activation.
    ///
    /// # Errors
    /// As [`Mlp::new`].
    pub fn gated(
        mut scope: Scope<'_>,
        inputs: usize,
        widths: &[usize],
        weights: WeightStyle,
    ) -> Result<Self> {
        let mut gates = Vec::with_capacity(widths.len());
        let mut width = inputs;
        for (i, &outputs) in widths.iter().enumerate() {
            gates.push(Linear::new(scope.enter(i).enter("gate"), width, outputs, weights)?);
            width = outputs;
        }
        let style = Style { weights, activation: Activation::Identity };
        Ok(Self { gates, ..Self::new(scope, inputs, widths, style)? })
    }

    /// `(N, inputs)` → `(N, outputs)`.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let mut x = x.clone();
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, mode)?;
        }
        Ok(x)
    }

    /// One layer with its activation or its gate.
    fn layer(&self, i: usize, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let y = self.layers[i].forward(x, self.activation, mode)?;
        match self.gates.get(i) {
            Some(gate) => Ok((y * gate.forward(x, Activation::Sigmoid, mode)?)?),
            None => Ok(y),
        }
    }

    /// The same for a signal. The output of layer `i` is multiplied by `dropout[i]`, if there is one.
    ///
    /// # Errors
    /// [`Error::NoDirectionalDerivative`] if a derivative has to pass through a gate.
    pub fn propagate(&self, x: &Signal, dropout: &[Tensor], mode: Mode<'_>) -> Result<Signal> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = if x.is_plain() {
                Signal::value(self.layer(i, &x.tensor, mode)?)
            } else if self.gates.is_empty() {
                layer.propagate(&x, mode)?.activate(self.activation)?
            } else {
                return Err(Error::NoDirectionalDerivative { layer: "a gate".into() });
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
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let y = layer.export(scope.enter(i), &x, self.activation)?;
            x = match self.gates.get(i) {
                Some(gate) => {
                    let gate = gate.export(scope.enter(i).enter("gate"), &x, Activation::Sigmoid)?;
                    scope.node("Mul", &[&y, &gate], &[])
                }
                None => y,
            };
        }
        Ok(x)
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
    /// [`Error::NoDirectionalDerivative`] if `x` is traced or a derivative.
    pub fn propagate(&self, x: &Signal, dropout: &[Tensor], mode: Mode<'_>) -> Result<Signal> {
        if !x.is_plain() {
            return Err(Error::NoDirectionalDerivative { layer: "maxout".into() });
        }
        let mut x = x.tensor.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = kernels::maxout(&layer.forward(&x, Activation::Identity, mode)?, self.pieces)?;
            if let Some(mask) = dropout.get(i) {
                x = (x * mask)?;
            }
        }
        Ok(Signal::value(x))
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
