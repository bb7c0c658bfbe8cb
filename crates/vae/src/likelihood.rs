//! Observation models p(x | z): how likely a sample is under a decoder's output.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::rng::Stream;
use waxwork_core::sample::Range;
use waxwork_core::{Batch, Drawing, Error, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::loss;

/// The family of distributions over a value: of a picture, in [0, 1], or any number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LikelihoodConfig {
    /// Bernoulli; on grey values the cross-entropy that the literature calls a likelihood, though it is none.
    Bernoulli {
        /// How grey values become the values that are scored.
        #[serde(default)]
        binarisation: Binarisation,
    },
    /// Continuous Bernoulli, a proper density on [0, 1] (Loaiza-Ganem & Cunningham 2019).
    ContinuousBernoulli,
    /// Gaussian around the decoder's output: its sigmoid where values are in [0, 1], itself where they are any number.
    Gaussian {
        /// Standard deviation in the values' own units; the start value when it is learned.
        scale: f64,
        /// Learn one scale for all values.
        #[serde(default)]
        learned: bool,
    },
}

impl Default for LikelihoodConfig {
    fn default() -> Self {
        Self::Bernoulli { binarisation: Binarisation::None }
    }
}

/// How grey values in [0, 1] become the targets of a Bernoulli likelihood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Binarisation {
    /// Scored as they are.
    #[default]
    None,
    /// Drawn anew at each step with the grey value as probability (Burda et al. 2016).
    Stochastic,
    /// Drawn once per image, a function of its index.
    Fixed,
}

/// An observation model with its parameters.
#[derive(Clone, Debug)]
pub struct Likelihood {
    config: LikelihoodConfig,
    log_scale: Option<Tensor>,
    /// From the decoder's output to the mean.
    link: Activation,
}

/// The seed of draws that belong to the data rather than to a run.
const DATA_SEED: u64 = 0;

impl Likelihood {
    /// The observation model of `config` for samples like `sample`; a learned scale becomes the weight `log_scale` of `scope`.
    ///
    /// # Errors
    /// [`Error::Config`] if the scale is not positive, or the samples have values that the model says nothing about; if the set is
    /// stored and lacks a tensor.
    pub fn new(mut scope: Scope<'_>, config: LikelihoodConfig, sample: &SampleSpec) -> Result<Self> {
        let unfit = |reason: &str| Error::Config { key: "model.likelihood".into(), reason: reason.into() };
        let link = match (sample.range(), config) {
            (Some(Range::Unit), _) => Activation::Sigmoid,
            (Some(Range::Real), LikelihoodConfig::Gaussian { .. }) => Activation::Identity,
            (Some(Range::Real), _) => {
                return Err(unfit(
                    "the samples are numbers of any size, which only the kind `gaussian` describes",
                ));
            }
            _ => return Err(unfit("no likelihood of this family describes the samples of this data")),
        };
        let log_scale = match config {
            LikelihoodConfig::Gaussian { scale, .. } if !(scale > 0.0 && scale.is_finite()) => {
                return Err(Error::Config {
                    key: "model.likelihood.scale".into(),
                    reason: format!("a standard deviation must be positive, got {scale}"),
                });
            }
            LikelihoodConfig::Gaussian { scale, learned: true } => {
                Some(scope.weight("log_scale", 1, Init::Constant(libm::log(scale)))?)
            }
            _ => None,
        };
        Ok(Self { config, log_scale, link })
    }

    /// The values to score in training at this step: the samples, or their binarisation, for which sample `i` uses the draws of
    /// `rows[i]`. Shape of the samples.
    pub fn training_targets(&self, batch: &Batch, stream: &Stream, rows: &[u64]) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic } => {
                binarise(batch, stream, rows)
            }
            _ => self.evaluation_targets(batch),
        }
    }

    /// The values to score in evaluation: binarised samples are drawn once per sample, by its index.
    pub fn evaluation_targets(&self, batch: &Batch) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic | Binarisation::Fixed } => {
                binarise(batch, &Stream::new(DATA_SEED, "binarisation", 0), &batch.indices)
            }
            _ => Ok(batch.inputs.clone()),
        }
    }

    /// log p(target | output) per sample, in nats: `(N, ..)` twice → `(N)`.
    pub fn log_likelihood(&self, output: &Tensor, targets: &Tensor) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { .. } => Ok(kernels::bce_with_logits_sum(output, targets)?.neg()?),
            LikelihoodConfig::ContinuousBernoulli => {
                let constant = loss::sum_per_sample(&loss::continuous_bernoulli_log_constant(output)?)?;
                Ok((constant - kernels::bce_with_logits_sum(output, targets)?)?)
            }
            LikelihoodConfig::Gaussian { scale, .. } => {
                let log_scale = self.log_scale(scale, output)?;
                Ok(loss::gaussian_nll_sum(targets, &self.mean(output)?, &log_scale)?.neg()?)
            }
        }
    }

    /// The log of the scale in as many dimensions as `output` has, `(1, ..)`.
    fn log_scale(&self, scale: f64, output: &Tensor) -> Result<Tensor> {
        // Made on the CPU: not every device has f64.
        let fixed = || -> candle_core::Result<Tensor> {
            let scale = Tensor::new(&[libm::log(scale)], &Device::Cpu)?.to_dtype(output.dtype())?;
            scale.to_device(output.device())
        };
        Ok(self.log_scale.clone().map_or_else(fixed, Ok)?.reshape(vec![1; output.rank()])?)
    }

    /// The sample that a decoder's output stands for: the mean, in [0, 1] for pictures.
    ///
    /// For the continuous Bernoulli this is its parameter λ rather than its mean, as in the paper's figures.
    pub fn mean(&self, output: &Tensor) -> Result<Tensor> {
        Ok(kernels::activate(output, self.link)?)
    }

    /// A sample of p(x | z): its mean for pictures, whose noise nobody wants to see, and a draw for all else, noise scaled by the
    /// temperature.
    pub fn draw(&self, output: &Tensor, drawing: &Drawing<'_>) -> Result<Tensor> {
        let mean = self.mean(output)?;
        let LikelihoodConfig::Gaussian { scale, .. } = self.config else { return Ok(mean) };
        if self.link == Activation::Sigmoid || drawing.temperature == 0.0 {
            return Ok(mean);
        }
        let noise = drawing.stream.normal(drawing.numbers, mean.dims()[1..].to_vec(), mean.device())?;
        let noise = noise.to_dtype(mean.dtype())?.affine(drawing.temperature, 0.0)?;
        Ok((mean + noise.broadcast_mul(&kernels::exp(&self.log_scale(scale, output)?)?)?)?)
    }

    /// [`Likelihood::mean`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, output: Value) -> Value {
        scope.activate(output, self.link)
    }

    /// What a score under this model means, for reports: `bernoulli on grey values`, …
    pub fn protocol(&self) -> String {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::None } => {
                "bernoulli on grey values".into()
            }
            LikelihoodConfig::Bernoulli { .. } => "bernoulli on binarised values, fixed per image".into(),
            LikelihoodConfig::ContinuousBernoulli => "continuous bernoulli".into(),
            LikelihoodConfig::Gaussian { learned: true, .. } => "gaussian with learned scale".into(),
            LikelihoodConfig::Gaussian { scale, .. } => format!("gaussian with scale {scale}"),
        }
    }
}

fn binarise(batch: &Batch, stream: &Stream, indices: &[u64]) -> Result<Tensor> {
    let inputs = &batch.inputs;
    let uniform = stream.uniform(indices, inputs.dims()[1..].to_vec(), inputs.device())?;
    Ok(uniform.to_dtype(inputs.dtype())?.lt(inputs)?.to_dtype(inputs.dtype())?)
}
