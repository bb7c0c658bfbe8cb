//! Observation models p(x | z): how likely a sample is under a decoder's output.

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::rng::Stream;
use waxwork_core::sample::Range;
use waxwork_core::{Batch, Drawing, Error, Result, SampleSpec};
use waxwork_kernels::{
    self as kernels, Activation, SegmentKind, Segments, activate_segments, segment_log_likelihood,
};
use waxwork_nn::{loss, segments};

use crate::mode_means::ModeMeans;

/// The family of distributions over a value, which is in [0, 1] for images and any number otherwise.
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
    /// Gaussian around the decoder's output, which goes through a sigmoid if values are in [0, 1].
    Gaussian {
        /// Standard deviation in the values' own units; the start value when it is learned.
        scale: f64,
        /// Learn one scale for all values.
        #[serde(default)]
        learned: bool,
    },
    /// Of a table's rows: a Gaussian around the tanh of the decoder's output for every number, whose scale is learned, and a
    /// categorical distribution for every choice (TVAE, Xu et al. 2019, section 4.4).
    Rows {
        /// Standard deviation of numbers, in the units that networks see, before the first step.
        #[serde(default = "start_scale")]
        scale: f64,
        /// Give a number a mean for each of its modes, instead of one for all of them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mode_means: bool,
    },
    /// Of sequences of tokens: a categorical distribution over the next token, given those before it. The end of a sequence counts once,
    /// and what follows it not at all.
    Tokens,
}

fn start_scale() -> f64 {
    0.1
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
    /// Drawn again at each step with the grey value as probability (Burda et al. 2016).
    Stochastic,
    /// Drawn once per image, from its index.
    Fixed,
}

/// An observation model with its parameters.
#[derive(Clone, Debug)]
pub struct Likelihood {
    config: LikelihoodConfig,
    log_scale: Option<Tensor>,
    /// The activation from the decoder's output to the mean.
    link: Activation,
    /// The numbers and choices of a row.
    segments: Option<Segments>,
    /// The means of a row's numbers in each of their modes.
    mode_means: Option<ModeMeans>,
}

/// The range of log standard deviations of a row's numbers: standard deviations from 0.01 to 1, as in TVAE.
const LOG_SCALES: (f64, f64) = (-4.605_170_185_988_091, 0.0);

/// The seed of draws that belong to the data rather than to a run.
pub(crate) const DATA_SEED: u64 = 0;

impl Likelihood {
    /// The observation model of `config` for samples like `sample`; a learned scale becomes the weight
    /// `log_scale` of `scope`.
    ///
    /// # Errors
    /// [`Error::Config`] if the scale is not positive, or the model does not cover the samples' values. Also
    /// if the set is stored and lacks a tensor.
    pub fn new(mut scope: Scope<'_>, config: LikelihoodConfig, sample: &SampleSpec) -> Result<Self> {
        let unfit = |reason: &str| Error::Config { key: "model.likelihood".into(), reason: reason.into() };
        let link = match (sample.range(), config) {
            (range, LikelihoodConfig::Rows { .. }) => match sample.dims() {
                [_] if !matches!(range, Some(Range::Unit | Range::Real)) => Activation::Identity,
                _ => return Err(unfit("the kind `rows` describes rows of a table only")),
            },
            (_, LikelihoodConfig::Tokens) => {
                return Err(unfit("the kind `tokens` needs a decoder that sees the preceding tokens"));
            }
            (Some(Range::Unit), _) => Activation::Sigmoid,
            (Some(Range::Real), LikelihoodConfig::Gaussian { .. }) => Activation::Identity,
            (Some(Range::Real), _) => {
                return Err(unfit(
                    "the samples are numbers of any size, which only the kind `gaussian` describes",
                ));
            }
            _ if waxwork_nn::tokens::dims(sample).is_some() => {
                return Err(unfit(
                    "the samples are sequences of tokens, which only the kind `tokens` describes",
                ));
            }
            _ => return Err(unfit("the samples are rows of a table, which only the kind `rows` describes")),
        };
        let segments = match config {
            LikelihoodConfig::Rows { .. } => Some(segments::of(sample)?),
            _ => None,
        };
        let numbers = segments.as_ref().map_or(0, Segments::numbers);
        let log_scale = match config {
            LikelihoodConfig::Gaussian { scale, .. } | LikelihoodConfig::Rows { scale, .. }
                if !(scale > 0.0 && scale.is_finite()) =>
            {
                return Err(Error::Config {
                    key: "model.likelihood.scale".into(),
                    reason: format!("a standard deviation must be positive, got {scale}"),
                });
            }
            LikelihoodConfig::Gaussian { scale, learned: true } => {
                Some(scope.weight("log_scale", 1, Init::Constant(libm::log(scale)))?)
            }
            LikelihoodConfig::Rows { scale, .. } if numbers > 0 => {
                Some(scope.weight("log_scale", numbers, Init::Constant(libm::log(scale)))?)
            }
            _ => None,
        };
        let mode_means = match (config, &log_scale) {
            (LikelihoodConfig::Rows { mode_means: true, .. }, Some(log_scale)) => {
                ModeMeans::new(sample, log_scale.dtype(), log_scale.device())?
            }
            _ => None,
        };
        Ok(Self { config, log_scale, link, segments, mode_means })
    }

    /// The values to score in training at this step: the samples, or their binarisation, for which sample `i`
    /// uses the draws of `rows[i]`. They have the shape of the samples.
    pub fn training_targets(&self, batch: &Batch, stream: &Stream, rows: &[u64]) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic } => {
                binarise(batch, stream, rows)
            }
            _ => self.evaluation_targets(batch),
        }
    }

    /// The values to score in evaluation. Binarised samples are drawn once per sample, from its index.
    pub fn evaluation_targets(&self, batch: &Batch) -> Result<Tensor> {
        match self.config {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic | Binarisation::Fixed } => {
                binarise(batch, &Stream::new(DATA_SEED, "binarisation", 0), &batch.indices)
            }
            _ => Ok(batch.inputs.clone()),
        }
    }

    /// log p(target | output) of the values for which `counted` is 1, per sample and in nats. Values for which
    /// it is 0 contribute nothing. `(N, ..)` three times → `(N)`.
    ///
    /// # Errors
    /// [`Error::Config`] for likelihoods of rows and of tokens, which have no such values.
    pub fn log_likelihood_of(&self, output: &Tensor, targets: &Tensor, counted: &Tensor) -> Result<Tensor> {
        let each = match self.config {
            LikelihoodConfig::Bernoulli { .. } => loss::bce_with_logits(output, targets)?.neg()?,
            LikelihoodConfig::ContinuousBernoulli => {
                let constant = loss::continuous_bernoulli_log_constant(output)?;
                (constant - loss::bce_with_logits(output, targets)?)?
            }
            LikelihoodConfig::Gaussian { scale, .. } => {
                let log_scale = self.log_scale(scale, output)?;
                loss::gaussian_nll(targets, &self.mean(output)?, &log_scale)?.neg()?
            }
            LikelihoodConfig::Rows { .. } | LikelihoodConfig::Tokens => return Err(no_values()),
        };
        loss::sum_per_sample(&each.mul(counted)?)
    }

    /// log p(target | output) per sample, in nats: `(N, ..)` twice → `(N)`.
    pub fn log_likelihood(&self, output: &Tensor, targets: &Tensor) -> Result<Tensor> {
        if let Some(segments) = &self.segments {
            let output = match &self.mode_means {
                Some(mode_means) => &mode_means.given(output, targets)?,
                None => output,
            };
            return Ok(segment_log_likelihood(output, targets, &self.log_scales(output)?, segments)?);
        }
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
            LikelihoodConfig::Rows { .. } | LikelihoodConfig::Tokens => Err(no_values()),
        }
    }

    /// The log standard deviations of a row's numbers, within [`LOG_SCALES`].
    fn log_scales(&self, output: &Tensor) -> Result<Tensor> {
        let (low, high) = LOG_SCALES;
        match &self.log_scale {
            Some(log_scale) => Ok(kernels::soft_bound(log_scale, low, high)?),
            None => Ok(Tensor::zeros(0, output.dtype(), output.device())?),
        }
    }

    /// The log scale, with as many dimensions as `output`, `(1, ..)`.
    fn log_scale(&self, scale: f64, output: &Tensor) -> Result<Tensor> {
        // On the CPU, because not every device has f64.
        let fixed = || -> candle_core::Result<Tensor> {
            let scale = Tensor::new(&[libm::log(scale)], &Device::Cpu)?.to_dtype(output.dtype())?;
            scale.to_device(output.device())
        };
        Ok(self.log_scale.clone().map_or_else(fixed, Ok)?.reshape(vec![1; output.rank()])?)
    }

    /// The mean of p(x | z), in [0, 1] for images.
    ///
    /// For a row it is the tanh of every number, in its most likely mode if each mode has a mean of its own, and
    /// the probabilities of every choice. For the continuous Bernoulli it is the parameter λ rather than the mean, as in the paper's figures.
    pub fn mean(&self, output: &Tensor) -> Result<Tensor> {
        match (&self.segments, &self.mode_means) {
            (Some(segments), Some(mode_means)) => {
                let choices = most_likely(segments, &mode_means.without(output)?)?;
                Ok(activate_segments(&mode_means.given(output, &choices)?, segments, 1.0)?)
            }
            (Some(segments), None) => Ok(activate_segments(output, segments, 1.0)?),
            (None, _) => Ok(kernels::activate(output, self.link)?),
        }
    }

    /// The output `(N, width)` without what [`ModeMeans`] adds to it.
    pub(crate) fn without_mode_means(&self, output: &Tensor) -> Result<Tensor> {
        match &self.mode_means {
            Some(mode_means) => mode_means.without(output),
            None => Ok(output.clone()),
        }
    }

    /// A sample of p(x | z). For images it is the mean, because pixel noise is unwanted. For all other data
    /// it is a draw, whose noise is scaled by the temperature.
    pub fn draw(&self, output: &Tensor, drawing: &Drawing<'_>) -> Result<Tensor> {
        if let Some(segments) = self.segments.as_ref().filter(|_| drawing.temperature > 0.0) {
            return self.draw_rows(segments, output, drawing);
        }
        let mean = self.mean(output)?;
        let LikelihoodConfig::Gaussian { scale, .. } = self.config else { return Ok(mean) };
        if self.link == Activation::Sigmoid || drawing.temperature == 0.0 {
            return Ok(mean);
        }
        let noise = drawing.stream.normal(drawing.numbers, mean.dims()[1..].to_vec(), mean.device())?;
        let noise = noise.to_dtype(mean.dtype())?.affine(drawing.temperature, 0.0)?;
        Ok((mean + noise.broadcast_mul(&kernels::exp(&self.log_scale(scale, output)?)?)?)?)
    }

    /// The mean of each number of a row in each of its modes, if the means depend on them, `(N, modes)`.
    pub(crate) fn means_of_modes(&self, output: &Tensor) -> Result<Option<Tensor>> {
        self.mode_means.as_ref().map(|mode_means| mode_means.means(output)).transpose()
    }

    /// The standard deviation of each number of a row; None if samples are not rows.
    pub fn scales(&self, output: &Tensor) -> Result<Option<Tensor>> {
        let scales = self.segments.as_ref().map(|_| Ok(kernels::exp(&self.log_scales(output)?)?));
        scales.transpose()
    }

    /// Draws rows: numbers get noise, and choices are drawn. With Gumbel noise on its logits, the largest
    /// value of a choice is a draw (Gumbel 1954).
    fn draw_rows(&self, segments: &Segments, output: &Tensor, drawing: &Drawing<'_>) -> Result<Tensor> {
        let (width, temperature) = (segments.width(), drawing.temperature as f32);
        let scales = host(&kernels::exp(&self.log_scales(output)?)?)?;
        // First the choices and the noise of the numbers, whose means may depend on the choices.
        let own = host(&self.without_mode_means(output)?)?;
        let mut drawn = own.clone();
        for (row, &number) in drawn.chunks_exact_mut(width).zip(drawing.numbers) {
            let (mut draws, mut scales) = (drawing.stream.at(number), scales.iter());
            for_each_part(segments, row, |kind, values| match kind {
                SegmentKind::Choice => {
                    values.iter_mut().for_each(|value| *value += temperature * draws.gumbel());
                    keep_largest(values);
                }
                _ => values.iter_mut().zip(&mut scales).for_each(|(value, scale)| {
                    *value = temperature * scale * draws.normal();
                }),
            });
        }
        let dims = (drawing.numbers.len(), width);
        let tensor = |values: Vec<f32>| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, dims, output.device())?.to_dtype(output.dtype())?)
        };
        let means = match &self.mode_means {
            Some(mode_means) => host(&mode_means.given(output, &tensor(drawn.clone())?)?)?,
            None => own,
        };
        for (row, means) in drawn.chunks_exact_mut(width).zip(means.chunks_exact(width)) {
            let mut means = means.iter();
            for_each_part(segments, row, |kind, values| {
                for (value, mean) in values.iter_mut().zip(&mut means).filter(|_| kind != SegmentKind::Choice)
                {
                    let mean = if kind == SegmentKind::Signed { libm::tanhf(*mean) } else { *mean };
                    *value = (mean + *value).clamp(-1.0, 1.0);
                }
            });
        }
        tensor(drawn)
    }

    /// [`Likelihood::mean`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, output: Value) -> Result<Value> {
        let Some(segments) = &self.segments else { return Ok(scope.activate(output, self.link)) };
        let output = match &self.mode_means {
            Some(mode_means) => mode_means.export(scope.enter("mode_means"), segments, &output)?,
            None => output,
        };
        segments::export(scope, segments, &output, 1.0)
    }
}

impl LikelihoodConfig {
    /// The meaning of a score under this model, for reports: `bernoulli on grey values`, …
    pub fn protocol(&self) -> String {
        match self {
            LikelihoodConfig::Bernoulli { binarisation: Binarisation::None } => {
                "bernoulli on grey values".into()
            }
            LikelihoodConfig::Bernoulli { .. } => "bernoulli on binarised values, fixed per image".into(),
            LikelihoodConfig::ContinuousBernoulli => "continuous bernoulli".into(),
            LikelihoodConfig::Gaussian { learned: true, .. } => "gaussian with learned scale".into(),
            LikelihoodConfig::Gaussian { scale, .. } => format!("gaussian with scale {scale}"),
            LikelihoodConfig::Rows { .. } => {
                "gaussian numbers with learned scales, categorical choices, as encoded".into()
            }
            LikelihoodConfig::Tokens => "categorical tokens, the end counted once".into(),
        }
    }
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Calls `of` with the kind and the values of each part of a row.
fn for_each_part(segments: &Segments, row: &mut [f32], mut of: impl FnMut(SegmentKind, &mut [f32])) {
    let mut rest = row;
    for &(kind, width) in segments.parts() {
        let (values, others) = rest.split_at_mut(width);
        of(kind, values);
        rest = others;
    }
}

/// Replaces the first largest value by 1 and all others by 0.
fn keep_largest(values: &mut [f32]) {
    let most = (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best });
    values.fill(0.0);
    values[most] = 1.0;
}

/// The most likely value of every choice, as one-hot values, for outputs `(N, width)`; numbers are 0.
fn most_likely(segments: &Segments, output: &Tensor) -> Result<Tensor> {
    let mut rows = host(output)?;
    for row in rows.chunks_exact_mut(segments.width()) {
        for_each_part(segments, row, |kind, values| match kind {
            SegmentKind::Choice => keep_largest(values),
            _ => values.fill(0.0),
        });
    }
    Ok(Tensor::from_vec(rows, output.shape(), output.device())?.to_dtype(output.dtype())?)
}

fn no_values() -> Error {
    let reason = "this likelihood has no use for values of one range".to_owned();
    Error::Config { key: "model.likelihood".into(), reason }
}

fn binarise(batch: &Batch, stream: &Stream, indices: &[u64]) -> Result<Tensor> {
    let inputs = &batch.inputs;
    let uniform = stream.uniform(indices, inputs.dims()[1..].to_vec(), inputs.device())?;
    Ok(uniform.to_dtype(inputs.dtype())?.lt(inputs)?.to_dtype(inputs.dtype())?)
}
