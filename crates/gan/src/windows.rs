//! The discriminator of sequences of tokens: convolutions over windows of several widths, max-pooling over all
//! windows, and a highway layer.

use candle_core::Tensor;

use waxwork_core::params::Scope;
use waxwork_core::{Error, Mode, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{Conv1d, Embedding, Linear, WeightInit};
use waxwork_nn::tokens::needs_tokens;

/// Maps sequences of tokens, and a condition if there is one, to logits. The condition is concatenated with the
/// embedding of every token.
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
    /// `sample` and conditions of `given` values. `widths` contains pairs of a window size in tokens and a number
    /// of features.
    ///
    /// # Errors
    /// [`Error::Config`] if samples are not sequences of tokens, or a window is longer than they are; if the set
    /// is stored and lacks a tensor or has one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sample: &SampleSpec,
        embedding: usize,
        widths: &[(usize, usize)],
        given: usize,
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
            convolutions.push(Conv1d::unpadded(
                windows.enter(number),
                embedding + given,
                *features,
                *width,
                init,
            )?);
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

    /// Tokens `(N, L)` u32 and conditions `(N, given)` → logits `(N)` of the probability that they are real.
    /// `kept` `(N, features)` are factors of the features.
    pub(crate) fn forward(
        &self,
        sequences: &Tensor,
        given: Option<&Tensor>,
        kept: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, length) = sequences.dims2()?;
        let features = self.embedding.forward(&sequences.flatten_all()?)?;
        let maps = features.reshape((n, length, self.embedding.width()))?;
        let maps = match given {
            Some(given) => {
                let everywhere = given.unsqueeze(1)?.broadcast_as((n, length, given.dim(1)?))?;
                Tensor::cat(&[&maps, &everywhere.contiguous()?], 2)?
            }
            None => maps,
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use waxwork_core::sample::{Range, Segment};
    use waxwork_core::{DType, Device, ParamSet};

    use super::*;

    /// Two widths with a feature each. The features are 7.5 and 1 for the first sequence and 9.5 and 2 for the
    /// second; the gates are ½ and ¾.
    #[test]
    fn logits_are_those_of_a_calculation_by_hand() {
        let segment = Segment { width: 3, range: Range::OneHot };
        let sample = SampleSpec::new(vec![3, 3], vec![segment]).unwrap();
        let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
        let windows =
            Windows::new(params.root(), &sample, 1, &[(2, 1), (1, 1)], 0, WeightInit::default()).unwrap();
        let params = params.finish().unwrap();
        let weights: [(&str, &[usize], &[f64]); 11] = [
            ("embedding.weight", &[3, 1], &[0.0, 1.0, 3.0]),
            ("windows.0.weight", &[1, 1, 2], &[1.0, 2.0]),
            ("windows.0.bias", &[1], &[0.5]),
            ("windows.1.weight", &[1, 1, 1], &[-1.0]),
            ("windows.1.bias", &[1], &[2.0]),
            ("gate.weight", &[2, 2], &[0.0; 4]),
            ("gate.bias", &[2], &[0.0, 3f64.ln()]),
            ("transform.weight", &[2, 2], &[2.0, 0.0, 0.0, 4.0]),
            ("transform.bias", &[2], &[-1.0, 0.0]),
            ("output.weight", &[1, 2], &[1.0, 2.0]),
            ("output.bias", &[1], &[-10.0]),
        ];
        let tensor = |(name, shape, values): (&str, &[usize], &[f64])| {
            (name.to_owned(), Tensor::from_slice(values, shape, &Device::Cpu).unwrap())
        };
        params.assign(&weights.into_iter().map(tensor).collect::<BTreeMap<_, _>>()).unwrap();
        let sequences = Tensor::new(&[[1u32, 2, 1], [2, 2, 0]], &Device::Cpu).unwrap();
        let kept = Tensor::new(&[[1.0, 1.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        for (kept, expected) in [(None, [7.25, 16.75]), (Some(&kept), [7.25, 16.0])] {
            let logits =
                windows.forward(&sequences, None, kept, Mode::Eval).unwrap().to_vec1::<f64>().unwrap();
            assert!(logits.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{logits:?}");
        }
    }
}
