//! The discriminator of sequences of tokens: convolutions over windows of several widths, max-pooling over all
//! windows, and a highway layer.

use candle_core::Tensor;

use waxwork_core::params::Scope;
use waxwork_core::{Error, Mode, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{Conv1d, Embedding, Linear, WeightInit};
use waxwork_nn::tokens::needs_tokens;

/// Maps sequences of tokens to logits.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    embedding: Embedding,
    convolutions: Vec<Conv1d>,
    /// The gate t and the transform f of the highway layer t f(x) + (1 − t) x.
    gate: Linear,
    transform: Linear,
    output: Linear,
    /// Number of features that the highway layer sees.
    features: usize,
}

impl Windows {
    /// The weights `embedding`, `windows`, `gate`, `transform` and `output` of `scope`, for sequences like
    /// `sample`. `widths` contains pairs of a window size in tokens and a number of features.
    ///
    /// # Errors
    /// [`Error::Config`] if samples are not sequences of tokens, or a window is longer than they are; if the set
    /// is stored and lacks a tensor or has one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sample: &SampleSpec,
        embedding: usize,
        widths: &[(usize, usize)],
        init: WeightInit,
    ) -> Result<Self> {
        let (length, vocabulary) = needs_tokens(sample, "model.discriminator")?;
        if let Some((width, _)) = widths.iter().find(|(width, _)| *width > length) {
            let key = "model.discriminator.widths".to_owned();
            let reason = format!("a window of {width} tokens is longer than a text of {length}");
            return Err(Error::Config { key, reason });
        }
        let features = widths.iter().map(|(_, features)| features).sum();
        let mut convolutions = Vec::with_capacity(widths.len());
        for (number, (width, features)) in widths.iter().enumerate() {
            let mut windows = scope.enter("windows");
            convolutions.push(Conv1d::unpadded(windows.enter(number), embedding, *features, *width, init)?);
        }
        Ok(Self {
            embedding: Embedding::new(scope.enter("embedding"), vocabulary, embedding, init)?,
            convolutions,
            gate: Linear::new(scope.enter("gate"), features, features, init)?,
            transform: Linear::new(scope.enter("transform"), features, features, init)?,
            output: Linear::new(scope.enter("output"), features, 1, init)?,
            features,
        })
    }

    /// Number of features that dropout can remove.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Tokens `(N, L)` u32 → logits `(N)` of the probability that they are real. `kept` `(N, features)` are
    /// factors of the features.
    pub(crate) fn forward(
        &self,
        sequences: &Tensor,
        kept: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, length) = sequences.dims2()?;
        let features = self.embedding.forward(&sequences.flatten_all()?)?;
        let maps = features.reshape((n, length, self.embedding.width()))?;
        let maps = maps.transpose(1, 2)?.unsqueeze(2)?.contiguous()?;
        let mut found = Vec::with_capacity(self.convolutions.len());
        for convolution in &self.convolutions {
            let windows = convolution.forward(&maps, Activation::Relu, mode)?;
            let (_, features, _, places) = windows.dims4()?;
            found.push(kernels::maxout(&windows.reshape((n, features * places))?, places)?);
        }
        let x = Tensor::cat(&found, 1)?;
        let gate = self.gate.forward(&x, Activation::Sigmoid, mode)?;
        let transformed = self.transform.forward(&x, Activation::Relu, mode)?;
        let x = ((transformed - &x)?.mul(&gate)? + &x)?;
        let x = match kept {
            Some(kept) => x.mul(kept)?,
            None => x,
        };
        Ok(self.output.forward(&x, Activation::Identity, mode)?.squeeze(1)?)
    }
}
