//! The contract between a model and the code that trains, samples or evaluates it.

use candle_core::{Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, ConditionSpec};
use crate::latent::LatentLayout;
use crate::onnx::{Graph, Part};
use crate::params::ParamSet;
use crate::rng::Stream;
use crate::sample::{ImageShape, SampleSpec};
use crate::step::{Batch, Trainable};
use crate::{Error, Result};

/// Description of a generative model, for run folders, reports and range checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredInfo", into = "StoredInfo")]
pub struct ModelInfo {
    /// The family's name: `vae`, `gan`, …
    pub family: String,
    /// The samples as networks see them.
    pub sample: SampleSpec,
    /// The parts of a latent vector.
    pub latent: LatentLayout,
    /// The condition that it takes.
    pub condition: ConditionSpec,
}

/// [`ModelInfo`] in its stored form. Image models with one Gaussian latent and classes keep the keys that
/// they had before other models existed.
#[derive(Clone, Serialize, Deserialize)]
struct StoredInfo {
    family: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<ImageShape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample: Option<SampleSpec>,
    latent_dim: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latent: Option<LatentLayout>,
    classes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<ConditionSpec>,
}

impl From<ModelInfo> for StoredInfo {
    fn from(ModelInfo { family, sample, latent, condition }: ModelInfo) -> Self {
        let image = sample.image().filter(|&image| sample == image.into());
        let (latent_dim, classes) = (latent.len(), condition.class_count());
        Self {
            family,
            image,
            sample: image.is_none().then_some(sample),
            latent_dim,
            latent: (latent != LatentLayout::normal(latent_dim)).then_some(latent),
            classes,
            condition: (condition != ConditionSpec::classes(classes)).then_some(condition),
        }
    }
}

impl TryFrom<StoredInfo> for ModelInfo {
    type Error = &'static str;

    fn try_from(stored: StoredInfo) -> Result<Self, Self::Error> {
        Ok(Self {
            family: stored.family,
            sample: stored
                .sample
                .or_else(|| stored.image.map(SampleSpec::from))
                .ok_or("a model has either `image` or `sample`")?,
            latent: stored.latent.unwrap_or_else(|| LatentLayout::normal(stored.latent_dim)),
            condition: stored.condition.unwrap_or_else(|| ConditionSpec::classes(stored.classes)),
        })
    }
}

impl ModelInfo {
    /// Number of values in a latent vector.
    pub fn latent_dim(&self) -> usize {
        self.latent.len()
    }

    /// Number of classes; 0 if the condition is not a class.
    pub fn classes(&self) -> usize {
        self.condition.class_count()
    }

    /// Encodes a condition for this model's networks: `(N, width)`, with the dtype and on the device of its
    /// parameters. Returns None if the model is unconditional.
    ///
    /// # Errors
    /// As [`ConditionSpec::encode`].
    pub fn encode_condition(&self, condition: &Condition, params: &ParamSet) -> Result<Option<Tensor>> {
        self.condition.encode(condition, &self.family, params)
    }
}

/// A request for samples. Sample `first + i` is a function of the seed and that number alone.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// Seed of latents and outputs.
    pub seed: u64,
    /// Number of the first sample.
    pub first: u64,
    /// Number of samples.
    pub count: usize,
    /// The condition of each sample; [`Condition::None`] lets the model choose ([`ConditionSpec::unspecified`]).
    pub condition: Condition,
    /// Truncation: latent values are drawn again until their magnitude is at most this (Brock et al. 2019).
    /// Smaller values give more typical samples and less variety.
    pub truncation: Option<f32>,
    /// The temperature of the outputs, if the model draws them; 1 is the model's own distribution.
    pub temperature: f64,
}

impl SampleRequest {
    /// `count` samples of `seed`.
    pub fn new(seed: u64, count: usize) -> Self {
        Self { seed, first: 0, count, condition: Condition::None, truncation: None, temperature: 1.0 }
    }

    /// One sample of `seed` per class.
    ///
    /// # Errors
    /// If the tensor cannot be created.
    pub fn of_classes(seed: u64, classes: &[u32]) -> Result<Self> {
        Ok(Self { condition: Condition::classes(classes)?, ..Self::new(seed, classes.len()) })
    }

    fn check(&self, info: &ModelInfo) -> Result<()> {
        match self.condition.len() {
            Some(_) if info.condition.is_none() => {
                Err(Error::UnexpectedLabels { family: info.family.clone() })
            }
            Some(labels) if labels != self.count => Err(Error::LabelCount { labels, samples: self.count }),
            _ => Ok(()),
        }
    }
}

/// How to draw outputs, for a model that draws them rather than computes them from latents: categories,
/// tokens, values with noise.
#[derive(Clone, Debug)]
pub struct Drawing<'a> {
    /// The number of each sample.
    pub numbers: &'a [u64],
    /// Row `i` uses the draws of `numbers[i]`.
    pub stream: Stream,
    /// 1 draws from the model's distribution; 0 takes its mean or its most likely value.
    pub temperature: f64,
}

impl<'a> Drawing<'a> {
    /// Draws for the samples of these numbers under a seed.
    pub fn new(seed: u64, numbers: &'a [u64], temperature: f64) -> Self {
        Self { numbers, stream: Stream::new(seed, "sample/output", 0), temperature }
    }

    /// No draws: means and most likely values.
    pub fn none() -> Self {
        Self::new(0, &[], 0.0)
    }
}

/// Samples per forward pass in sampling and in evaluation.
pub const EVALUATION_BATCH: usize = 100;

/// A model that generates samples.
pub trait GenerativeModel: Trainable {
    /// The model's description.
    fn info(&self) -> &ModelInfo;

    /// Generates samples `(N, ..)` as networks see them from latents `(N, latent_dim)` and the condition of
    /// each. Images are `(N, C, H, W)` in [0, 1]. The result is detached from the graph.
    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor>;

    /// Turns noise `(N, latent_dim)`, as the latent layout draws it, into latents from the model's prior.
    fn latents(&self, noise: &Tensor, _condition: &Condition) -> Result<Tensor> {
        Ok(noise.clone())
    }

    /// The number of latents, from the first on, that samples depend on directly. The prior draws them given
    /// the others.
    fn direct_latents(&self) -> usize {
        self.info().latent_dim()
    }

    /// Samples `(count, ..)` as networks see them, for images `(count, C, H, W)` f32 in [0, 1]. The result is
    /// detached from the graph.
    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let (info, device) = (self.info(), self.params().device());
        request.check(info)?;
        in_passes(request.first, request.count, |numbers| {
            let noise = info.latent.draw(request.seed, numbers, request.truncation, device)?;
            let start = (numbers[0] - request.first) as usize;
            let condition = match &request.condition {
                Condition::None => info.condition.unspecified(request.seed, numbers)?,
                condition => condition.narrow(start, numbers.len())?,
            };
            let latents = self.latents(&noise.to_dtype(self.params().dtype())?, &condition)?;
            let drawing = Drawing::new(request.seed, numbers, request.temperature);
            self.generate(&latents, &condition, &drawing)
        })
    }

    /// The parts that [`GenerativeModel::graph`] exports; the first one makes samples.
    fn parts(&self) -> &'static [Part] {
        &[]
    }

    /// Exports a part as an ONNX graph in evaluation mode.
    ///
    /// # Errors
    /// [`Error::NoPart`] if the model has no such part.
    fn graph(&self, part: Part) -> Result<Graph> {
        Err(Error::NoPart { family: self.info().family.clone(), part, parts: self.parts() })
    }

    /// The encoder, if the model has one.
    fn encoder(&self) -> Option<&dyn Encode> {
        None
    }

    /// The reconstructor, if the model can reconstruct samples.
    fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        None
    }

    /// The interface that chooses the given parts, if the model completes samples. A sample whose condition
    /// is a given part ([`Condition::Part`]) is a completion of that part.
    fn completer(&self) -> Option<&dyn Complete> {
        None
    }

    /// The evidence lower bound, if the model has one. Its mean on the validation split chooses the best
    /// checkpoint.
    fn bound(&self) -> Option<&dyn Bound> {
        None
    }

    /// The interface for the exact log p(x), if the model can compute it.
    fn exact(&self) -> Option<&dyn Exact> {
        None
    }

    /// The estimator of log p(x), if the model has one.
    fn density(&self) -> Option<&dyn Density> {
        None
    }

    /// The interface to the logits of choices, if the model draws the choices of a sample from logits.
    fn choices(&self) -> Option<&dyn Choices> {
        None
    }
}

/// The approximate posterior q(z | x) of a batch: a diagonal Gaussian.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `(N, latent_dim)`.
    pub mean: Tensor,
    /// Log of the variance, `(N, latent_dim)`.
    pub log_var: Tensor,
}

/// The two parts of the evidence lower bound, per sample and in nats: elbo = reconstruction − kl.
#[derive(Clone, Debug)]
pub struct Elbo {
    /// E_q log p(x | z) from one draw, `(N)`.
    pub reconstruction: Tensor,
    /// KL(q(z | x) ‖ p(z)), `(N)`.
    pub kl: Tensor,
}

/// A model that can infer the latents of a sample.
pub trait Encode: Send + Sync {
    /// Maps samples `(N, ..)`, as networks see them, to the posterior.
    fn encode(&self, inputs: &Tensor, condition: &Condition) -> Result<Posterior>;
}

/// A model that can reconstruct a sample from its encoding.
pub trait Reconstruct: Send + Sync {
    /// Reconstructs samples `(N, ..)`, as networks see them, in the same shape and without random draws.
    fn reconstruct(&self, inputs: &Tensor, condition: &Condition) -> Result<Tensor>;
}

/// A model that completes samples: the condition of a sample is a part of its own values.
pub trait Complete: Send + Sync {
    /// Chooses the part of each sample `(N, ..)`, as networks see it, that is given in an evaluation. Sample
    /// `i` has the number `numbers[i]` in its data set, on which the choice may depend.
    fn given(&self, inputs: &Tensor, numbers: &[u64]) -> Result<Condition>;

    /// The cross-entropy of the missing values of each sample if every value is predicted independently, for
    /// models that have a network for such guesses; `(N)` in nats.
    fn guesses(&self, _inputs: &Tensor, _numbers: &[u64]) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// A model with a lower bound on log p(x). The draws for a sample depend on its index in the data set, not on
/// its batch.
pub trait Bound: Send + Sync {
    /// The evidence lower bound of each sample, from one draw per sample.
    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo>;

    /// What a likelihood under this model measures: `bernoulli on grey values`, …
    fn protocol(&self) -> String;
}

/// A model that samples from a distribution whose log p(x) it can compute.
pub trait Exact: Send + Sync {
    /// log p(x) of each sample in nats, `(N)`, under the distribution at this temperature, which must be above
    /// 0.
    ///
    /// # Errors
    /// If the samples do not fit the model.
    fn log_probability(&self, batch: &Batch, temperature: f64) -> Result<Tensor>;
}

/// A model that can estimate log p(x). The draws for a sample depend on its index in the data set, not on its
/// batch.
pub trait Density: Send + Sync {
    /// Estimates log p(x) of each sample by importance sampling with `samples` draws (Burda et al. 2016);
    /// `(N)`, in nats.
    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor>;

    /// The decoder's outputs for such draws, from which the caller computes a likelihood in units that the
    /// model does not know, such as those of a table's columns. None if samples are scored as networks see
    /// them.
    fn decoded(&self, _batch: &Batch, _samples: usize, _stream: &Stream) -> Result<Option<Decoded>> {
        Ok(None)
    }
}

/// A decoder's outputs for `N` rows of a table, given `K` draws from q(z | x) for each.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Means of numbers and probabilities of choices, `(N · K, width)`. The draws of one row are adjacent. If the
    /// mean of a number depends on its mode, the means in all modes of all numbers follow,
    /// `(N · K, width + modes)`.
    pub outputs: Tensor,
    /// Standard deviation of each number, `(numbers)`.
    pub scales: Tensor,
    /// log p(z) − log q(z | x) of each draw, `(N, K)`.
    pub log_weights: Tensor,
}

/// A model whose samples are vectors with choices, each drawn from the softmax of its logits.
pub trait Choices: Send + Sync {
    /// The outputs for latents `(N, latent_dim)` and the condition of each, `(N, width)`. The logits of a
    /// choice are where its values are in a sample. The result is detached from the graph.
    fn outputs(&self, latents: &Tensor, condition: &Condition) -> Result<Tensor>;

    /// The name of the parameter that is added to the outputs, `(width)`.
    fn bias(&self) -> &'static str;

    /// The name of the parameter `(width, inputs)` by whose last columns the encoded condition is multiplied,
    /// before it is added to the outputs. None if there is no such parameter.
    fn condition_weight(&self) -> Option<&'static str> {
        None
    }
}

/// Makes samples `first..first + count` in passes of at most [`EVALUATION_BATCH`]; `pass` is called with the
/// numbers of its samples. Returns the concatenated results, detached from the graph.
pub fn in_passes(first: u64, count: usize, mut pass: impl FnMut(&[u64]) -> Result<Tensor>) -> Result<Tensor> {
    let numbers: Vec<u64> = (first..first + count as u64).collect();
    let parts = numbers.chunks(EVALUATION_BATCH).map(|numbers| Ok(pass(numbers)?.detach()));
    let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
    if parts.is_empty() {
        return Err(Error::Empty { what: "a sample request", of: "sample" });
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// Checks that an input has the shape that the model needs.
///
/// # Errors
/// [`Error::Input`] with both shapes.
pub fn check_input(what: &'static str, input: &Tensor, expected: &Shape) -> Result<()> {
    if input.shape() == expected {
        return Ok(());
    }
    Err(Error::Input { what, expected: format!("{:?}", expected.dims()), found: input.shape().clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::ColumnSpec;
    use crate::latent::{LatentPart, Noise};

    #[test]
    fn models_of_images_are_written_as_they_always_were() {
        let old = r#"{"family":"cgan","image":{"channels":1,"height":28,"width":28},"latent_dim":100,"classes":10}"#;
        let info: ModelInfo = serde_json::from_str(old).unwrap();
        assert_eq!((info.latent_dim(), info.classes()), (100, 10));
        assert_eq!(info.sample, ImageShape::new(1, 28, 28).into());
        assert_eq!(serde_json::to_string(&info).unwrap(), old);
    }

    #[test]
    fn other_models_survive_being_written() {
        let part = |name: &str, noise| LatentPart { name: name.to_owned(), len: 4, noise };
        let info = ModelInfo {
            family: "toy".to_owned(),
            sample: SampleSpec::real(2),
            latent: LatentLayout::new(vec![part("z", Noise::Normal), part("tokens", Noise::Gumbel)]).unwrap(),
            condition: ConditionSpec::Columns { columns: vec![ColumnSpec { start: 0, counts: vec![2, 3] }] },
        };
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<ModelInfo>(&text).unwrap(), info);
        let neither = r#"{"family":"toy","latent_dim":4,"classes":0}"#;
        let error = serde_json::from_str::<ModelInfo>(neither).unwrap_err().to_string();
        assert!(error.contains("`image` or `sample`"), "{error}");
    }
}
