//! The embedding of tokens.

use std::ops::Range;

use candle_core::Tensor;

use super::{Linear, WeightInit};
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_kernels as kernels;

/// A vector of features for every token.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `(tokens, width)`.
    weight: Tensor,
}

impl Embedding {
    /// `weight` is `(tokens, width)`. With [`WeightInit::Pytorch`] it is standard normal, as PyTorch's.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, tokens: usize, width: usize, init: WeightInit) -> Result<Self> {
        let start = match init {
            WeightInit::Pytorch => Init::Normal { std: 1.0 },
            other => other.weight(width, tokens),
        };
        Ok(Self { weight: scope.weight("weight", (tokens, width), start)? })
    }

    /// The embedding of `tokens` tokens, and the output layer from hidden states to the logits of the tokens
    /// `logits`: the weights `embedding` and `output` of `scope`, for `widths` of embedded tokens and of hidden
    /// states. If they are `tied`, the rows of the embedding, which starts as an output layer does, are the weight
    /// of the output layer (Press & Wolf 2017). Both widths must then be equal.
    ///
    /// # Errors
    /// As [`Embedding::new`].
    pub fn with_output(
        scope: &mut Scope<'_>,
        tokens: usize,
        [width, hidden]: [usize; 2],
        logits: Range<usize>,
        tied: bool,
        init: WeightInit,
    ) -> Result<(Self, Linear)> {
        if !tied {
            let embedding = Self::new(scope.enter("embedding"), tokens, width, init)?;
            return Ok((embedding, Linear::new(scope.enter("output"), hidden, logits.len(), init)?));
        }
        let start = init.weight(width, tokens);
        let weight = scope.enter("embedding").weight("weight", (tokens, width), start)?;
        let rows = weight.narrow(0, logits.start, logits.len())?;
        Ok((Self { weight }, Linear::tied(scope.enter("output"), rows, init)?))
    }

    /// Number of features of a token.
    pub fn width(&self) -> usize {
        self.weight.dims().last().copied().unwrap_or(0)
    }

    /// Token numbers `(..)` u32 → features `(.., width)`.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(kernels::embedding(&self.weight, tokens)?)
    }

    /// [`Embedding::forward`] as nodes of a graph, of one-hot rows `(.., tokens)`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, one_hot: &Value) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight)?;
        Ok(scope.node("MatMul", &[one_hot, &weight], &[]))
    }

    /// [`Embedding::forward`] as nodes of a graph, of token numbers `(batch)` int64.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export_numbers(&self, mut scope: GraphScope<'_>, numbers: &Value) -> Result<Value> {
        let weight = scope.tensor("weight", &self.weight)?;
        Ok(scope.node("Gather", &[&weight, numbers], &[("axis", Attribute::Int(0))]))
    }
}
