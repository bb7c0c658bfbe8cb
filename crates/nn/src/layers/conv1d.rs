//! Convolutions along a sequence.

use candle_core::{DType, Tensor};

use super::conv::convolve;
use super::{Weight, WeightInit, WeightStyle, cast};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// 1-D cross-correlation that keeps the length, or divides it by its stride: `(N, inputs, 1, L)` →
/// `(N, outputs, 1, L / stride)`. Without padding, the length becomes `L − kernel + 1`.
#[derive(Clone, Debug)]
pub struct Conv1d {
    weight: Weight,
    bias: Tensor,
    kernel: usize,
    stride: usize,
    padded: bool,
    compute_dtype: DType,
}

impl Conv1d {
    /// A convolution that keeps the length. `weight` is `(outputs, inputs, kernel)` and `bias` `(outputs)`;
    /// `kernel` is odd.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        Self::strided(scope, inputs, outputs, (kernel, 1), style)
    }

    /// A convolution that divides the length by `stride`; the length must be a multiple of it. `weight` and
    /// `bias` are as in [`Conv1d::new`]; `kernel` is at least `stride`, and odd if that is 1.
    ///
    /// # Errors
    /// As [`Conv1d::new`].
    pub fn strided(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        (kernel, stride): (usize, usize),
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        let style: WeightStyle = style.into();
        let (fan_in, fan_out) = (inputs * kernel, outputs * kernel);
        let start = style.start(fan_in, fan_out);
        let weight = Weight::new(&mut scope, &[outputs, inputs, kernel], start, style.spectral_norm)?;
        let bias = scope.weight("bias", outputs, style.init.bias(fan_in))?;
        Ok(Self { weight, bias, kernel, stride, padded: true, compute_dtype: scope.compute_dtype() })
    }

    /// A convolution over every window of `kernel` positions, without padding. `weight` and `bias` are as in
    /// [`Conv1d::new`], but `kernel` may be even.
    ///
    /// # Errors
    /// As [`Conv1d::new`].
    pub fn unpadded(
        scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        Ok(Self { padded: false, ..Self::new(scope, inputs, outputs, kernel, style)? })
    }

    /// `(N, inputs, 1, L)` → `(N, outputs, 1, L / stride)`, through an activation.
    pub fn forward(&self, x: &Tensor, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
        self.forward_with(x, None, activation, mode)
    }

    /// As [`Conv1d::forward`]. `planes` are the values `(N, K)` of K constant channels, which are appended to
    /// those of x; x then has K channels fewer.
    pub fn forward_with(
        &self,
        x: &Tensor,
        planes: Option<&Tensor>,
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        self.apply(x, planes, &self.weight(mode)?, Some(&self.bias), activation)
    }

    /// [`Conv1d::forward`] without an activation, for a signal.
    pub fn propagate(&self, x: &Signal, mode: Mode<'_>) -> Result<Signal> {
        self.propagate_with(x, None, mode)
    }

    /// [`Conv1d::forward_with`] without an activation, for a signal.
    pub fn propagate_with(&self, x: &Signal, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Signal> {
        let weight = self.weight(mode)?;
        let still = planes.map(Tensor::zeros_like).transpose()?;
        x.affine(|x, constant| {
            let planes = if constant { planes } else { still.as_ref() };
            self.apply(x, planes, &weight, constant.then_some(&self.bias), Activation::Identity)
        })
    }

    fn weight(&self, mode: Mode<'_>) -> Result<Tensor> {
        Ok(cast(&self.weight.in_mode(mode)?, self.compute_dtype)?.unsqueeze(2)?)
    }

    /// Zeros added on either side, so that the length is divided exactly.
    fn padding(&self) -> usize {
        if self.padded { (self.kernel + 1).saturating_sub(self.stride) / 2 } else { 0 }
    }

    fn apply(
        &self,
        x: &Tensor,
        planes: Option<&Tensor>,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        convolve(x, planes, weight, bias, ([1, self.stride], [0, self.padding()]), activation)
    }

    /// [`Conv1d::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, activation: Activation) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight.in_mode(Mode::Eval)?.unsqueeze(2)?)?;
        let bias = scope.tensor("bias", &self.bias)?;
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding()].map(|side| side as i64);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[1, kernel])),
            ("strides", Attribute::Ints(&[1, stride])),
            ("pads", Attribute::Ints(&[0, padding, 0, padding])),
        ];
        let y = scope.node("Conv", &[x, &weight, &bias], &attributes);
        Ok(scope.activate(y, activation))
    }
}

/// Transposed 1-D convolution that multiplies the length by its stride: `(N, inputs, 1, L)` →
/// `(N, outputs, 1, stride · L)`.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d {
    weight: Tensor,
    bias: Tensor,
    kernel: usize,
    stride: usize,
    compute_dtype: DType,
}

impl ConvTranspose1d {
    /// `weight` is `(inputs, outputs, kernel)` and `bias` `(outputs)`; `kernel` is at least `stride`, and odd if
    /// that is 1.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        (kernel, stride): (usize, usize),
        init: WeightInit,
    ) -> Result<Self> {
        // PyTorch computes the fan-in from dimension 1 of the weight, which is the output here.
        let (fan_in, fan_out) = (outputs * kernel, inputs * kernel);
        let weight = scope.weight("weight", (inputs, outputs, kernel), init.weight(fan_in, fan_out))?;
        let bias = scope.weight("bias", outputs, init.bias(fan_in))?;
        Ok(Self { weight, bias, kernel, stride, compute_dtype: scope.compute_dtype() })
    }

    /// Zeros that are cut off on either side, and values added on the right, so that the length is multiplied
    /// exactly.
    fn padding(&self) -> (usize, usize) {
        let cut = (self.kernel + 1).saturating_sub(self.stride) / 2;
        (cut, (self.stride + 2 * cut).saturating_sub(self.kernel))
    }

    /// `(N, inputs, 1, L)` → `(N, outputs, 1, stride · L)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = cast(&self.weight, self.compute_dtype)?.unsqueeze(2)?;
        let (cut, added) = self.padding();
        let stride = [1, self.stride];
        Ok(kernels::conv_transpose2d(x, &weight, Some(&self.bias), stride, [0, cut], [0, added])?)
    }

    /// [`ConvTranspose1d::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight.unsqueeze(2)?)?;
        let bias = scope.tensor("bias", &self.bias)?;
        let (cut, added) = self.padding();
        let [kernel, stride, cut, added] = [self.kernel, self.stride, cut, added].map(|side| side as i64);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[1, kernel])),
            ("strides", Attribute::Ints(&[1, stride])),
            ("pads", Attribute::Ints(&[0, cut, 0, cut])),
            ("output_padding", Attribute::Ints(&[0, added])),
        ];
        Ok(scope.node("ConvTranspose", &[x, &weight, &bias], &attributes))
    }
}
