//! The gated recurrent unit (GRU) layer.

use candle_core::Tensor;

use super::WeightInit;
use super::gates::Gates;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// One layer of a GRU (Cho et al. 2014), with PyTorch's order of gates and both of its biases. As in PyTorch,
/// the reset gate multiplies the product of the hidden state, not the hidden state.
#[derive(Clone, Debug)]
pub struct Gru {
    /// Reset, update, candidate.
    gates: Gates,
}

impl Gru {
    /// The weights `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(scope: Scope<'_>, inputs: usize, hidden: usize, init: WeightInit) -> Result<Self> {
        Ok(Self { gates: Gates::new(scope, 3, inputs, hidden, init)? })
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.gates.hidden
    }

    /// Inputs `(T, inputs)`, with the steps of each sequence in succession, the initial hidden state
    /// `(N, hidden)`, and the number of steps of each of the N sequences, which add up to T → hidden states
    /// `(T, hidden)`.
    pub fn forward(&self, inputs: &Tensor, start: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let weight = self.gates.recurrent()?;
        Ok(kernels::gru(&self.contributions(inputs)?, &weight, &self.with_bias(start)?, lengths)?)
    }

    /// One step without a gradient: inputs `(N, inputs)` and a hidden state `(N, hidden)` → the next one.
    pub fn step(&self, inputs: &Tensor, state: &Tensor) -> Result<Tensor> {
        let weight = self.gates.recurrent()?;
        let next = kernels::gru_step(&self.contributions(inputs)?, &weight, &self.with_bias(state)?)?;
        Ok(next.narrow(1, 0, self.hidden())?.contiguous()?)
    }

    /// The contributions of inputs and biases to the gates, but for the bias of [`Gru::with_bias`].
    fn contributions(&self, inputs: &Tensor) -> Result<Tensor> {
        let ([own, recurrent], both) = (&self.gates.biases, 2 * self.hidden());
        let gates = (own.narrow(0, 0, both)? + recurrent.narrow(0, 0, both)?)?;
        let bias = Tensor::cat(&[gates, own.narrow(0, both, self.hidden())?], 0)?;
        self.gates.contributions(inputs, &bias)
    }

    /// Hidden states `(N, hidden)`, each followed by the recurrent bias of the candidate, which the reset gate
    /// multiplies: `(N, 2 · hidden)`.
    fn with_bias(&self, state: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden();
        let bias = self.gates.biases[1].narrow(0, 2 * hidden, hidden)?;
        let bias = bias.broadcast_as((state.dim(0)?, hidden))?.contiguous()?;
        Ok(Tensor::cat(&[state, &bias], 1)?)
    }

    /// [`Gru::forward`] from a state of zeros as nodes of a graph: `(batch, steps, inputs)` →
    /// `(batch, steps, hidden)`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, scope: GraphScope<'_>, inputs: &Value, steps: usize) -> Result<Value> {
        // The reset gate multiplies a product, not the state.
        let attributes = [("linear_before_reset", Attribute::Int(1))];
        // ONNX has the gates in another order: update, reset, candidate.
        self.gates.export(scope, "GRU", &[1, 0, 2], &attributes, inputs, steps)
    }

    /// [`Gru::step`] as nodes of a graph: inputs `(batch, inputs)` and a state `(batch, hidden)` → the next state.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export_step(&self, mut scope: GraphScope<'_>, inputs: &Value, state: &Value) -> Result<Value> {
        let Gates { weight_ih, weight_hh, biases, hidden, .. } = &self.gates;
        let hidden = *hidden;
        let weight_ih = scope.tensor("weight_ih_l0", weight_ih)?;
        let weight_hh = scope.tensor("weight_hh_l0", weight_hh)?;
        let bias_ih = scope.tensor("bias_ih_l0", &biases[0])?;
        let bias_hh = scope.tensor("bias_hh_l0", &biases[1])?;
        let transposed = [("transB", Attribute::Int(1))];
        let own = scope.node("Gemm", &[inputs, &weight_ih, &bias_ih], &transposed);
        let recurrent = scope.node("Gemm", &[state, &weight_hh, &bias_hh], &transposed);
        let mut gate = |number: usize| {
            let own = scope.columns(&own, number * hidden, hidden);
            let recurrent = scope.columns(&recurrent, number * hidden, hidden);
            let sum = scope.node("Add", &[&own, &recurrent], &[]);
            scope.activate(sum, Activation::Sigmoid)
        };
        let (reset, update) = (gate(0), gate(1));
        let own = scope.columns(&own, 2 * hidden, hidden);
        let recurrent = scope.columns(&recurrent, 2 * hidden, hidden);
        let recurrent = scope.node("Mul", &[&reset, &recurrent], &[]);
        let candidate = scope.node("Add", &[&own, &recurrent], &[]);
        let candidate = scope.activate(candidate, Activation::Tanh);
        // (1 − z) n + z h = n + z (h − n)
        let difference = scope.node("Sub", &[state, &candidate], &[]);
        let kept = scope.node("Mul", &[&update, &difference], &[]);
        Ok(scope.node("Add", &[&candidate, &kept], &[]))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use waxwork_core::{Device, ParamSet};

    use super::*;

    fn flat(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The formulas in the documentation of `torch.nn.GRU`, with both of its biases.
    #[test]
    fn a_layer_computes_what_pytorch_documents() {
        let (n, steps, inputs, hidden) = (2, 3, 2, 4);
        let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
        let layer = Gru::new(params.root().enter("gru"), inputs, hidden, WeightInit::Pytorch).unwrap();
        let params = params.finish().unwrap();
        let of = |name: &str| flat(params.get(&format!("gru.{name}_l0")).unwrap().as_tensor());
        let [weight_ih, weight_hh] = [of("weight_ih"), of("weight_hh")];
        let [bias_ih, bias_hh] = [of("bias_ih"), of("bias_hh")];
        let wave = |shape: (usize, usize), phase: f64| {
            let values = (0..shape.0 * shape.1).map(|i| (0.7 * i as f64 + phase).sin());
            Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap()
        };
        let (x, start) = (wave((n * steps, inputs), 1.0), wave((n, hidden), 2.0));
        let product = |weights: &[f64], bias: &[f64], gate: usize, values: &[f64]| -> f64 {
            let weights = &weights[gate * values.len()..][..values.len()];
            weights.iter().zip(values).map(|(w, x)| w * x).sum::<f64>() + bias[gate]
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut want, mut last) = (Vec::new(), Vec::new());
        for (x, h) in flat(&x).chunks(steps * inputs).zip(flat(&start).chunks(hidden)) {
            let mut h = h.to_vec();
            for x in x.chunks(inputs) {
                let next = |j: usize| {
                    let given = |part: usize| product(&weight_ih, &bias_ih, part * hidden + j, x);
                    let recurrent = |part: usize| product(&weight_hh, &bias_hh, part * hidden + j, &h);
                    let [r, z] = [0, 1].map(|part| sigmoid(given(part) + recurrent(part)));
                    let n = (given(2) + r * recurrent(2)).tanh();
                    (1.0 - z) * n + z * h[j]
                };
                h = (0..hidden).map(next).collect();
                want.extend(&h);
            }
            last.extend(h);
        }
        let close = |got: &Tensor, want: &[f64]| {
            let got = flat(got);
            let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12);
            assert!(got.len() == want.len() && near, "{got:?} {want:?}");
        };
        close(&layer.forward(&x, &start, &vec![steps; n]).unwrap(), &want);
        let mut state = start;
        for step in 0..steps {
            let rows = x.reshape((n, steps, inputs)).unwrap().narrow(1, step, 1).unwrap();
            state = layer.step(&rows.squeeze(1).unwrap().contiguous().unwrap(), &state).unwrap();
        }
        close(&state, &last);
    }
}
