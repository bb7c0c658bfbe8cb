//! Stacks of residual blocks: the networks of the paper on spectral normalisation (Miyato et al. 2018, tables
//! 3 and 4).

use candle_core::Tensor;

use super::Style;
use crate::layers::{Conv2d, ConvGeometry, Norm, NormKind};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// Pre-activation residual blocks that each double height and width; their output is not activated.
#[derive(Clone, Debug)]
pub struct ResidualUp {
    blocks: Vec<UpBlock>,
}

/// norm → ReLU → double → 3×3 → norm → ReLU → 3×3, with the shortcut 1×1 → double.
#[derive(Clone, Debug)]
struct UpBlock {
    norm1: Norm,
    conv1: Conv2d,
    norm2: Norm,
    conv2: Conv2d,
    shortcut: Conv2d,
}

impl ResidualUp {
    /// `blocks` blocks of `channels` channels, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        channels: usize,
        blocks: usize,
        norm: NormKind,
        style: Style,
    ) -> Result<Self> {
        let block = |i: usize| {
            let mut scope = scope.enter(i);
            let mut norm_of = |name: &str| Norm::new(scope.enter(name), norm, channels);
            let (norm1, norm2) = (norm_of("norm1")?, norm_of("norm2")?);
            let mut conv = |name: &str, geometry| {
                Conv2d::new(scope.enter(name), channels, channels, geometry, true, style.weights)
            };
            Ok(UpBlock {
                norm1,
                conv1: conv("conv1", ConvGeometry::SAME)?,
                norm2,
                conv2: conv("conv2", ConvGeometry::SAME)?,
                shortcut: conv("shortcut", ConvGeometry::POINT)?,
            })
        };
        Ok(Self { blocks: (0..blocks).map(block).collect::<Result<_>>()? })
    }

    /// `(N, channels, h, w)` → `(N, channels, h · 2^blocks, w · 2^blocks)`. `labels` is one-hot, if the norm
    /// needs it.
    pub fn forward(&self, x: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            let h = block.norm1.forward(&x, labels, Activation::Relu, mode)?;
            let h = block.conv1.forward(&kernels::upsample2(&h)?, None, Activation::Identity, mode)?;
            let h = block.norm2.forward(&h, labels, Activation::Relu, mode)?;
            let h = block.conv2.forward(&h, None, Activation::Identity, mode)?;
            // A 1×1 convolution commutes with doubling, and costs a quarter if it comes first.
            x = (h + kernels::upsample2(&block.shortcut.forward(&x, None, Activation::Identity, mode)?)?)?;
        }
        Ok(x)
    }

    /// [`ResidualUp::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, labels: Option<&Value>) -> Result<Value> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let mut scope = scope.enter(i);
            let h = block.norm1.export(scope.enter("norm1"), &x, labels, Activation::Relu)?;
            let h = scope.upsample2(&h)?;
            let h = block.conv1.export(scope.enter("conv1"), &h, Activation::Identity)?;
            let h = block.norm2.export(scope.enter("norm2"), &h, labels, Activation::Relu)?;
            let h = block.conv2.export(scope.enter("conv2"), &h, Activation::Identity)?;
            let beside = block.shortcut.export(scope.enter("shortcut"), &x, Activation::Identity)?;
            let beside = scope.upsample2(&beside)?;
            x = scope.node("Add", &[&h, &beside], &[]);
        }
        Ok(x)
    }
}

/// Residual blocks, of which the first `halvings` halve height and width. A ReLU follows the last.
#[derive(Clone, Debug)]
pub struct ResidualDown {
    blocks: Vec<DownBlock>,
}

/// (ReLU →) 3×3 → ReLU → 3×3 (→ halve), with a shortcut that brings the input to the same shape.
#[derive(Clone, Debug)]
struct DownBlock {
    conv1: Conv2d,
    conv2: Conv2d,
    /// A 1×1 convolution, if channels or size change.
    shortcut: Option<Conv2d>,
    /// False for the first block, whose input is an image and must not be rectified.
    rectified: bool,
    halves: bool,
}

impl ResidualDown {
    /// `blocks` blocks of `channels` channels, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        channels: usize,
        blocks: usize,
        halvings: usize,
        style: Style,
    ) -> Result<Self> {
        let block = |i: usize| {
            let mut scope = scope.enter(i);
            let inputs = if i == 0 { inputs } else { channels };
            let halves = i < halvings;
            let mut conv = |name: &str, inputs, geometry| {
                Conv2d::new(scope.enter(name), inputs, channels, geometry, true, style.weights)
            };
            Ok(DownBlock {
                conv1: conv("conv1", inputs, ConvGeometry::SAME)?,
                conv2: conv("conv2", channels, ConvGeometry::SAME)?,
                shortcut: (halves || inputs != channels)
                    .then(|| conv("shortcut", inputs, ConvGeometry::POINT))
                    .transpose()?,
                rectified: i > 0,
                halves,
            })
        };
        Ok(Self { blocks: (0..blocks).map(block).collect::<Result<_>>()? })
    }

    /// `(N, inputs, H, W)` → `(N, channels, H / 2^halvings, W / 2^halvings)`, for a signal.
    pub fn propagate(&self, x: &Signal, mode: Mode<'_>) -> Result<Signal> {
        let mut x = x.clone();
        for block in &self.blocks {
            let h = if block.rectified { x.activate(Activation::Relu)? } else { x.clone() };
            let h = block.conv1.propagate(&h, None, mode)?.activate(Activation::Relu)?;
            let h = halve(&block.conv2.propagate(&h, None, mode)?, block.halves)?;
            // Averaging commutes with a 1×1 convolution, which then costs a quarter.
            let x0 = halve(&x, block.halves)?;
            let x0 =
                block.shortcut.as_ref().map_or(Ok(x0.clone()), |conv| conv.propagate(&x0, None, mode))?;
            x = h.add(&x0)?;
        }
        x.activate(Activation::Relu)
    }
}

fn halve(x: &Signal, halves: bool) -> Result<Signal> {
    if halves { x.linear(|x| Ok(kernels::avg_pool2(x)?)) } else { Ok(x.clone()) }
}
