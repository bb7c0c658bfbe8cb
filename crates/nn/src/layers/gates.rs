//! The weights of a recurrent layer, independent of what its gates compute.

use candle_core::{DType, Tensor};

use super::{WeightInit, cast};
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// The weights of one recurrent layer. The rows of each tensor are those of the layer's G gates, one gate
/// after the other, in PyTorch's order.
#[derive(Clone, Debug)]
pub(super) struct Gates {
    /// `(G · hidden, inputs)`.
    pub(super) weight_ih: Tensor,
    /// `(G · hidden, hidden)`.
    pub(super) weight_hh: Tensor,
    /// `(G · hidden)` each: the biases of the inputs and of the hidden state.
    pub(super) biases: [Tensor; 2],
    /// Width of the hidden state.
    pub(super) hidden: usize,
    compute_dtype: DType,
}

impl Gates {
    /// The weights `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0` of `scope`, for `count`
    /// gates.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub(super) fn new(
        mut scope: Scope<'_>,
        count: usize,
        inputs: usize,
        hidden: usize,
        init: WeightInit,
    ) -> Result<Self> {
        let rows = count * hidden;
        // PyTorch draws all of them within 1/√hidden.
        let fan_in = if init == WeightInit::Pytorch { hidden } else { inputs };
        Ok(Self {
            weight_ih: scope.weight("weight_ih_l0", (rows, inputs), init.weight(fan_in, hidden))?,
            weight_hh: scope.weight("weight_hh_l0", (rows, hidden), init.weight(hidden, hidden))?,
            biases: [
                scope.weight("bias_ih_l0", rows, init.bias(hidden))?,
                scope.weight("bias_hh_l0", rows, init.bias(hidden))?,
            ],
            hidden,
            compute_dtype: scope.compute_dtype(),
        })
    }

    /// The recurrent weight in the compute precision.
    pub(super) fn recurrent(&self) -> Result<Tensor> {
        cast(&self.weight_hh, self.compute_dtype)
    }

    /// Inputs `(N, inputs)` and a bias `(G · hidden)` → their contributions to the gates, `(N, G · hidden)`.
    pub(super) fn contributions(&self, inputs: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let weight = cast(&self.weight_ih, self.compute_dtype)?;
        Ok(kernels::linear(inputs, &weight, Some(bias), Activation::Identity)?)
    }

    /// The layer from a state of zeros as nodes of a graph: `(batch, steps, inputs)` → `(batch, steps,
    /// hidden)`. `operator` is the layer's name in ONNX, `order` lists the gates in the order of ONNX, and
    /// `attributes` are the attributes that it needs besides its width.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub(super) fn export(
        &self,
        mut scope: GraphScope<'_>,
        operator: &str,
        order: &[usize],
        attributes: &[(&str, Attribute<'_>)],
        inputs: &Value,
        steps: usize,
    ) -> Result<Value> {
        let reordered = |tensor: &Tensor| -> Result<Tensor> {
            let parts = order.iter().map(|gate| tensor.narrow(0, gate * self.hidden, self.hidden));
            Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
        };
        let weight_ih = scope.tensor("weight_ih_l0", &reordered(&self.weight_ih)?.unsqueeze(0)?)?;
        let weight_hh = scope.tensor("weight_hh_l0", &reordered(&self.weight_hh)?.unsqueeze(0)?)?;
        let biases = Tensor::cat(&[reordered(&self.biases[0])?, reordered(&self.biases[1])?], 0)?;
        let bias = scope.tensor("bias_l0", &biases.unsqueeze(0)?)?;
        let by_step = scope.node("Transpose", &[inputs], &[("perm", Attribute::Ints(&[1, 0, 2]))]);
        let width = ("hidden_size", Attribute::Int(self.hidden as i64));
        let attributes: Vec<(&str, Attribute<'_>)> =
            std::iter::once(width).chain(attributes.iter().copied()).collect();
        let states = scope.node(operator, &[&by_step, &weight_ih, &weight_hh, &bias], &attributes);
        // Steps, directions, batch, hidden.
        let states = scope.node("Transpose", &[&states], &[("perm", Attribute::Ints(&[2, 0, 1, 3]))]);
        Ok(scope.reshape(&states, &[steps, self.hidden]))
    }
}
