//! Residual convolutions along a sequence: the language model of Gulrajani et al. 2017.

use candle_core::Tensor;

use crate::layers::{Conv1d, WeightStyle};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// Width of the windows.
const KERNEL: usize = 5;
/// The output of a block's convolutions is multiplied by this before it is added to the block's input.
const SHARE: f64 = 0.3;

/// Blocks x + 0.3 f(x), where f is ReLU → convolution → ReLU → convolution: `(N, channels, 1, L)` → the same
/// shape.
#[derive(Clone, Debug)]
pub struct SequenceBlocks {
    blocks: Vec<[Conv1d; 2]>,
}

impl SequenceBlocks {
    /// `blocks` blocks of `channels` channels, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        channels: usize,
        blocks: usize,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        let style = style.into();
        let block = |number: usize| {
            let mut scope = scope.enter(number);
            let mut conv = |name: &str| Conv1d::new(scope.enter(name), channels, channels, KERNEL, style);
            Ok([conv("conv1")?, conv("conv2")?])
        };
        Ok(Self { blocks: (0..blocks).map(block).collect::<Result<_>>()? })
    }

    /// `(N, channels, 1, L)` → the same shape.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let mut x = x.clone();
        for [conv1, conv2] in &self.blocks {
            let h = conv1.forward(&kernels::activate(&x, Activation::Relu)?, Activation::Relu, mode)?;
            let h = conv2.forward(&h, Activation::Identity, mode)?;
            x = kernels::add_scaled(&x, &h, SHARE)?;
        }
        Ok(x)
    }

    /// The same for a signal.
    pub fn propagate(&self, x: &Signal, mode: Mode<'_>) -> Result<Signal> {
        let mut x = x.clone();
        for [conv1, conv2] in &self.blocks {
            let h = conv1.propagate(&x.activate(Activation::Relu)?, mode)?.activate(Activation::Relu)?;
            x = x.add_scaled(&conv2.propagate(&h, mode)?, SHARE)?;
        }
        Ok(x)
    }

    /// [`SequenceBlocks::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let mut x = x.clone();
        for (number, [conv1, conv2]) in self.blocks.iter().enumerate() {
            let mut scope = scope.enter(number);
            let h = scope.activate(x.clone(), Activation::Relu);
            let h = conv1.export(scope.enter("conv1"), &h, Activation::Relu)?;
            let h = conv2.export(scope.enter("conv2"), &h, Activation::Identity)?;
            let h = scope.affine(&h, SHARE, 0.0)?;
            x = scope.node("Add", &[&x, &h], &[]);
        }
        Ok(x)
    }
}
