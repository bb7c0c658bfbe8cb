//! The long short-term memory (LSTM) layer.

use candle_core::{DType, Tensor};

use super::{WeightInit, cast};
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// One layer of an LSTM (Hochreiter & Schmidhuber 1997), with PyTorch's order of gates and both of its
/// biases.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// `(4 · hidden, inputs)`.
    weight_ih: Tensor,
    /// `(4 · hidden, hidden)`.
    weight_hh: Tensor,
    /// `(4 · hidden)` each.
    biases: [Tensor; 2],
    hidden: usize,
    compute_dtype: DType,
}

impl Lstm {
    /// The weights `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, inputs: usize, hidden: usize, init: WeightInit) -> Result<Self> {
        let gates = 4 * hidden;
        // PyTorch draws all of them within 1/√hidden.
        let fan_in = if init == WeightInit::Pytorch { hidden } else { inputs };
        Ok(Self {
            weight_ih: scope.weight("weight_ih_l0", (gates, inputs), init.weight(fan_in, hidden))?,
            weight_hh: scope.weight("weight_hh_l0", (gates, hidden), init.weight(hidden, hidden))?,
            biases: [
                scope.weight("bias_ih_l0", gates, init.bias(hidden))?,
                scope.weight("bias_hh_l0", gates, init.bias(hidden))?,
            ],
            hidden,
            compute_dtype: scope.compute_dtype(),
        })
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Inputs `(N · L, inputs)`, with the L steps of each sequence in succession, and the initial hidden and
    /// cell state, concatenated as `(N, 2 · hidden)` → hidden states `(N · L, hidden)`.
    pub fn forward(&self, inputs: &Tensor, start: &Tensor) -> Result<Tensor> {
        let weight = cast(&self.weight_hh, self.compute_dtype)?;
        Ok(kernels::lstm(&self.contributions(inputs)?, &weight, start)?)
    }

    /// One step without a gradient: inputs `(N, inputs)` and a state `(N, 2 · hidden)` → the next state.
    pub fn step(&self, inputs: &Tensor, state: &Tensor) -> Result<Tensor> {
        let weight = cast(&self.weight_hh, self.compute_dtype)?;
        Ok(kernels::lstm_step(&self.contributions(inputs)?, &weight, state)?)
    }

    /// The contributions of inputs and biases to the gates.
    fn contributions(&self, inputs: &Tensor) -> Result<Tensor> {
        let weight = cast(&self.weight_ih, self.compute_dtype)?;
        let bias = (&self.biases[0] + &self.biases[1])?;
        Ok(kernels::linear(inputs, &weight, Some(&bias), Activation::Identity)?)
    }

    /// [`Lstm::forward`] from a state of zeros as nodes of a graph: `(batch, steps, inputs)` →
    /// `(batch, steps, hidden)`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, inputs: &Value, steps: usize) -> Result<Value> {
        // ONNX has the gates in another order: input, output, forget, candidate.
        let reordered = |tensor: &Tensor| -> Result<Tensor> {
            let part = |number: usize| tensor.narrow(0, number * self.hidden, self.hidden);
            Ok(Tensor::cat(&[part(0)?, part(3)?, part(1)?, part(2)?], 0)?)
        };
        let weight_ih = scope.tensor("weight_ih_l0", &reordered(&self.weight_ih)?.unsqueeze(0)?)?;
        let weight_hh = scope.tensor("weight_hh_l0", &reordered(&self.weight_hh)?.unsqueeze(0)?)?;
        let biases = Tensor::cat(&[reordered(&self.biases[0])?, reordered(&self.biases[1])?], 0)?;
        let bias = scope.tensor("bias_l0", &biases.unsqueeze(0)?)?;
        let by_step = scope.node("Transpose", &[inputs], &[("perm", Attribute::Ints(&[1, 0, 2]))]);
        let hidden = ("hidden_size", Attribute::Int(self.hidden as i64));
        let states = scope.node("LSTM", &[&by_step, &weight_ih, &weight_hh, &bias], &[hidden]);
        // Steps, directions, batch, hidden.
        let states = scope.node("Transpose", &[&states], &[("perm", Attribute::Ints(&[2, 0, 1, 3]))]);
        Ok(scope.reshape(&states, &[steps, self.hidden]))
    }

    /// [`Lstm::step`] as nodes of a graph: inputs `(batch, inputs)` and a state `(batch, 2 · hidden)` → the next
    /// state.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export_step(&self, mut scope: GraphScope<'_>, inputs: &Value, state: &Value) -> Result<Value> {
        let hidden = self.hidden;
        let weight_ih = scope.tensor("weight_ih_l0", &self.weight_ih)?;
        let weight_hh = scope.tensor("weight_hh_l0", &self.weight_hh)?;
        let bias = scope.tensor("bias_l0", &(&self.biases[0] + &self.biases[1])?)?;
        let (h, cell) = (scope.columns(state, 0, hidden), scope.columns(state, hidden, hidden));
        let transposed = [("transB", Attribute::Int(1))];
        let own = scope.node("Gemm", &[inputs, &weight_ih, &bias], &transposed);
        let recurrent = scope.node("Gemm", &[&h, &weight_hh], &transposed);
        let gates = scope.node("Add", &[&own, &recurrent], &[]);
        let mut gate = |number: usize, activation: Activation| {
            let gate = scope.columns(&gates, number * hidden, hidden);
            scope.activate(gate, activation)
        };
        let (input, forget) = (gate(0, Activation::Sigmoid), gate(1, Activation::Sigmoid));
        let (candidate, output) = (gate(2, Activation::Tanh), gate(3, Activation::Sigmoid));
        let kept = scope.node("Mul", &[&forget, &cell], &[]);
        let new = scope.node("Mul", &[&input, &candidate], &[]);
        let cell = scope.node("Add", &[&kept, &new], &[]);
        let shown = scope.activate(cell.clone(), Activation::Tanh);
        let h = scope.node("Mul", &[&output, &shown], &[]);
        Ok(scope.beside(&h, Some(&cell)))
    }
}
