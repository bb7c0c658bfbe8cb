//! The convolution along a sequence.

use candle_core::{DType, Tensor};

use super::{Weight, WeightStyle, cast};
use crate::dual::Dual;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// 1-D cross-correlation that keeps the length: `(N, inputs, 1, L)` → `(N, outputs, 1, L)`.
#[derive(Clone, Debug)]
pub struct Conv1d {
    weight: Weight,
    bias: Tensor,
    kernel: usize,
    compute_dtype: DType,
}

impl Conv1d {
    /// `weight` is `(outputs, inputs, kernel)` and `bias` `(outputs)`; `kernel` is odd.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        let style: WeightStyle = style.into();
        let (fan_in, fan_out) = (inputs * kernel, outputs * kernel);
        let start = style.start(fan_in, fan_out);
        let weight = Weight::new(&mut scope, &[outputs, inputs, kernel], start, style.spectral_norm)?;
        let bias = scope.weight("bias", outputs, style.init.bias(fan_in))?;
        Ok(Self { weight, bias, kernel, compute_dtype: scope.compute_dtype() })
    }

    /// `(N, inputs, 1, L)` → `(N, outputs, 1, L)`, through an activation.
    pub fn forward(&self, x: &Tensor, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
        self.apply(x, &self.weight(mode)?, Some(&self.bias), activation)
    }

    /// The same without an activation, for a value with its directional derivative.
    pub fn propagate(&self, x: &Dual, mode: Mode<'_>) -> Result<Dual> {
        let weight = self.weight(mode)?;
        x.affine(|x, constant| self.apply(x, &weight, constant.then_some(&self.bias), Activation::Identity))
    }

    fn weight(&self, mode: Mode<'_>) -> Result<Tensor> {
        Ok(cast(&self.weight.in_mode(mode)?, self.compute_dtype)?.unsqueeze(2)?)
    }

    fn apply(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        Ok(kernels::conv2d(x, weight, bias, [1; 2], [0, self.kernel / 2], activation)?)
    }

    /// [`Conv1d::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, activation: Activation) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight.in_mode(Mode::Eval)?.unsqueeze(2)?)?;
        let bias = scope.tensor("bias", &self.bias)?;
        let (kernel, padding) = (self.kernel as i64, self.kernel as i64 / 2);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[1, kernel])),
            ("strides", Attribute::Ints(&[1, 1])),
            ("pads", Attribute::Ints(&[0, padding, 0, padding])),
        ];
        let y = scope.node("Conv", &[x, &weight, &bias], &attributes);
        Ok(scope.activate(y, activation))
    }
}
