//! The linear layer.

use candle_core::{DType, Tensor};

use super::{Weight, WeightInit, WeightStyle, cast};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// `y = x Wᵀ + b`: `(N, inputs)` → `(N, outputs)`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Tensor,
    compute_dtype: DType,
}

impl Linear {
    /// Makes the layer; `weight` is `(outputs, inputs)` and `bias` is `(outputs)`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        let style: WeightStyle = style.into();
        let start = style.start(inputs, outputs);
        let weight = Weight::new(&mut scope, &[outputs, inputs], start, style.spectral_norm)?;
        let bias = scope.weight("bias", outputs, style.init.bias(inputs))?;
        Ok(Self { weight, bias, compute_dtype: scope.compute_dtype() })
    }

    /// Makes a layer that uses the weight of another one, `(outputs, inputs)`, and has only the `bias` of its own.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub(super) fn tied(mut scope: Scope<'_>, weight: Tensor, init: WeightInit) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let bias = scope.weight("bias", outputs, init.bias(inputs))?;
        Ok(Self { weight: weight.into(), bias, compute_dtype: scope.compute_dtype() })
    }

    /// `(N, …)` with `inputs` values per sample → `(N, outputs)`, with an activation.
    pub fn forward(&self, x: &Tensor, activation: Activation, mode: Mode<'_>) -> Result<Tensor> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        Ok(kernels::linear(x, &weight, Some(&self.bias), activation)?)
    }

    /// The same with a result of shape `(N, ..row)`, where `row` has as many elements as there are outputs.
    pub fn forward_to(
        &self,
        x: &Tensor,
        row: &[usize],
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        Ok(kernels::linear_to(x, &weight, Some(&self.bias), activation, row)?)
    }

    /// log softmax of [`Linear::forward`] at a target for each row, in nats: x `(M, inputs)` and targets `(M)`
    /// u32 → `(M)`.
    pub fn log_likelihood(&self, x: &Tensor, targets: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        Ok(kernels::linear_log_likelihood(x, &weight, &self.bias, targets)?)
    }

    /// [`Linear::log_likelihood`] under the softmax at a temperature above 0, which divides the logits.
    pub fn log_likelihood_at(
        &self,
        temperature: f64,
        x: &Tensor,
        targets: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        if temperature == 1.0 {
            return self.log_likelihood(x, targets, mode);
        }
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        let [x, bias] = [x, &self.bias].map(|values| values.affine(temperature.recip(), 0.0));
        Ok(kernels::linear_log_likelihood(&x?, &weight, &bias?, targets)?)
    }

    /// [`Linear::forward`] without an activation, for a signal.
    pub fn propagate(&self, x: &Signal, mode: Mode<'_>) -> Result<Signal> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        x.affine(|x, bias| Ok(kernels::linear(x, &weight, bias.then_some(&self.bias), Activation::Identity)?))
    }

    /// [`Linear::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, activation: Activation) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight.in_mode(Mode::Eval)?)?;
        let bias = scope.tensor("bias", &self.bias)?;
        let y = scope.node("Gemm", &[x, &weight, &bias], &[("transB", Attribute::Int(1))]);
        Ok(scope.activate(y, activation))
    }
}
