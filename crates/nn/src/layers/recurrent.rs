//! A recurrent layer of either kind.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Gru, Lstm, WeightInit};
use waxwork_core::Result;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;

/// The kind of a recurrent layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// Long short-term memory (Hochreiter & Schmidhuber 1997).
    #[default]
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014): three quarters of the weights, and no cell state.
    Gru,
}

impl CellKind {
    /// Width of the state, for hidden states of this width.
    pub fn state(self, hidden: usize) -> usize {
        match self {
            // The hidden state and the cell.
            Self::Lstm => 2 * hidden,
            Self::Gru => hidden,
        }
    }
}

/// A recurrent layer. Its state `(N, state)` begins with the hidden state `(N, hidden)`; see
/// [`CellKind::state`].
#[derive(Clone, Debug)]
pub enum Recurrent {
    /// An LSTM.
    Lstm(Lstm),
    /// A GRU.
    Gru(Gru),
}

impl Recurrent {
    /// A layer with the weights of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        scope: Scope<'_>,
        kind: CellKind,
        inputs: usize,
        hidden: usize,
        init: WeightInit,
    ) -> Result<Self> {
        Ok(match kind {
            CellKind::Lstm => Self::Lstm(Lstm::new(scope, inputs, hidden, init)?),
            CellKind::Gru => Self::Gru(Gru::new(scope, inputs, hidden, init)?),
        })
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Lstm(layer) => layer.hidden(),
            Self::Gru(layer) => layer.hidden(),
        }
    }

    /// Width of the state.
    pub fn state(&self) -> usize {
        let kind = match self {
            Self::Lstm(_) => CellKind::Lstm,
            Self::Gru(_) => CellKind::Gru,
        };
        kind.state(self.hidden())
    }

    /// Inputs `(T, inputs)`, with the steps of each sequence in succession, the initial state `(N, state)`, and
    /// the number of steps of each of the N sequences, which add up to T → hidden states `(T, hidden)`.
    pub fn forward(&self, inputs: &Tensor, start: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        match self {
            Self::Lstm(layer) => layer.forward(inputs, start, lengths),
            Self::Gru(layer) => layer.forward(inputs, start, lengths),
        }
    }

    /// One step without a gradient: inputs `(N, inputs)` and a state `(N, state)` → the next state.
    pub fn step(&self, inputs: &Tensor, state: &Tensor) -> Result<Tensor> {
        match self {
            Self::Lstm(layer) => layer.step(inputs, state),
            Self::Gru(layer) => layer.step(inputs, state),
        }
    }

    /// [`Recurrent::forward`] of sequences of one length from a state of zeros as nodes of a graph:
    /// `(batch, steps, inputs)` → `(batch, steps, hidden)`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, scope: GraphScope<'_>, inputs: &Value, steps: usize) -> Result<Value> {
        match self {
            Self::Lstm(layer) => layer.export(scope, inputs, steps),
            Self::Gru(layer) => layer.export(scope, inputs, steps),
        }
    }

    /// [`Recurrent::step`] as nodes of a graph: inputs `(batch, inputs)` and a state `(batch, state)` → the next
    /// state.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export_step(&self, scope: GraphScope<'_>, inputs: &Value, state: &Value) -> Result<Value> {
        match self {
            Self::Lstm(layer) => layer.export_step(scope, inputs, state),
            Self::Gru(layer) => layer.export_step(scope, inputs, state),
        }
    }
}
