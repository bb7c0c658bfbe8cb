//! Observation models p(x | z): how likely an image is under a decoder's output.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::params::{Init, Scope};
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, Error, Result};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::loss;

/// The family of distributions over a pixel value in [0, 1].
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
    /// Gaussian around the decoder's sigmoid.
    Gaussian {
        /// Standard deviation in pixel values; the start value when it is learned.
        scale: f64,
        /// Learn one scale for all pixels.
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
}

/// The seed of draws that belong to the data rather than to a run.
const DATA_SEED: u64 = 0;

impl Likelihood {
    /// The observation model of `config`; a learned scale becomes the weight `log_scale` of `scope`.
    ///
    /// # Errors
    /// [`Error::Config`] if the scale is not positive; if the set is stored and lacks a tensor.
    pub fn new(mut scope: Scope<'_>, config: LikelihoodConfig) -> Result<Self> {
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
        Ok(Self { config, log_scale })
    }

    /// The values to score in training at this step: the images, or their binarisation. Shape of the images.
    pub fn training_targets(&self, batch: &Batch, stream: &Stream) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic } => {
                binarise(batch, stream, &(0..batch.len() as u64).collect::<Vec<_>>())
            }
            _ => self.evaluation_targets(batch),
        }
    }

    /// The values to score in evaluation: binarised images are drawn once per image, by its index.
    pub fn evaluation_targets(&self, batch: &Batch) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic | Binarisation::Fixed } => {
                binarise(batch, &Stream::new(DATA_SEED, "binarisation", 0), &batch.indices)
            }
            _ => Ok(batch.images.clone()),
        }
    }

    /// log p(target | output) per sample, in nats: `(N, C, H, W)` twice → `(N)`.
    pub fn log_likelihood(&self, output: &Tensor, targets: &Tensor) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { .. } => Ok(kernels::bce_with_logits_sum(output, targets)?.neg()?),
            LikelihoodConfig::ContinuousBernoulli => {
                let constant = loss::sum_per_sample(&loss::continuous_bernoulli_log_constant(output)?)?;
                Ok((constant - kernels::bce_with_logits_sum(output, targets)?)?)
            }
            LikelihoodConfig::Gaussian { scale, .. } => {
                // Made on the CPU: not every device has f64.
                let fixed = || -> candle_core::Result<Tensor> {
                    let scale = Tensor::new(&[libm::log(scale)], &Device::Cpu)?.to_dtype(output.dtype())?;
                    scale.to_device(output.device())
                };
                let log_scale = self.log_scale.clone().map_or_else(fixed, Ok)?.reshape((1, 1, 1, 1))?;
                Ok(loss::gaussian_nll_sum(targets, &self.mean(output)?, &log_scale)?.neg()?)
            }
        }
    }

    /// The picture that a decoder's output stands for: values in [0, 1].
    ///
    /// For the continuous Bernoulli this is its parameter λ rather than its mean, as in the paper's figures.
    pub fn mean(&self, output: &Tensor) -> Result<Tensor> {
        Ok(kernels::activate(output, Activation::Sigmoid)?)
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
    let images = &batch.images;
    let uniform = stream.uniform(indices, images.dims()[1..].to_vec(), images.device())?;
    Ok(uniform.to_dtype(images.dtype())?.lt(images)?.to_dtype(images.dtype())?)
}
