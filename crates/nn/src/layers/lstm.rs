//! The long short-term memory (LSTM) layer.

use candle_core::Tensor;

use super::WeightInit;
use super::gates::Gates;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// One layer of an LSTM (Hochreiter & Schmidhuber 1997), with PyTorch's order of gates and both of its
/// biases.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// Input, forget, cell candidate, output.
    gates: Gates,
}

impl Lstm {
    /// The weights `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(scope: Scope<'_>, inputs: usize, hidden: usize, init: WeightInit) -> Result<Self> {
        Ok(Self { gates: Gates::new(scope, 4, inputs, hidden, init)? })
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.gates.hidden
    }

    /// Inputs `(T, inputs)`, with the steps of each sequence in succession, the initial hidden and cell
    /// state, concatenated as `(N, 2 · hidden)`, and the number of steps of each of the N sequences, which
    /// add up to T → hidden states `(T, hidden)`.
    pub fn forward(&self, inputs: &Tensor, start: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let weight = self.gates.recurrent()?;
        Ok(kernels::lstm(&self.contributions(inputs)?, &weight, start, lengths)?)
    }

    /// One step without a gradient: inputs `(N, inputs)` and a state `(N, 2 · hidden)` → the next state.
    pub fn step(&self, inputs: &Tensor, state: &Tensor) -> Result<Tensor> {
        let weight = self.gates.recurrent()?;
        Ok(kernels::lstm_step(&self.contributions(inputs)?, &weight, state)?)
    }

    /// The contributions of inputs and biases to the gates.
    fn contributions(&self, inputs: &Tensor) -> Result<Tensor> {
        let [own, recurrent] = &self.gates.biases;
        self.gates.contributions(inputs, &(own + recurrent)?)
    }

    /// [`Lstm::forward`] from a state of zeros as nodes of a graph: `(batch, steps, inputs)` →
    /// `(batch, steps, hidden)`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, scope: GraphScope<'_>, inputs: &Value, steps: usize) -> Result<Value> {
        // ONNX has the gates in another order: input, output, forget, candidate.
        self.gates.export(scope, "LSTM", &[0, 3, 1, 2], &[], inputs, steps)
    }

    /// [`Lstm::step`] as nodes of a graph: inputs `(batch, inputs)` and a state `(batch, 2 · hidden)` → the next
    /// state.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export_step(&self, mut scope: GraphScope<'_>, inputs: &Value, state: &Value) -> Result<Value> {
        let Gates { weight_ih, weight_hh, biases, hidden, .. } = &self.gates;
        let hidden = *hidden;
        let weight_ih = scope.tensor("weight_ih_l0", weight_ih)?;
        let weight_hh = scope.tensor("weight_hh_l0", weight_hh)?;
        let bias = scope.tensor("bias_l0", &(&biases[0] + &biases[1])?)?;
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
