//! The contract between a model and whatever trains, samples or evaluates it.

use candle_core::{Device, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::onnx::{Graph, Part};
use crate::params::ParamSet;
use crate::rng::Stream;
use crate::step::{Batch, Trainable};
use crate::store::checked_len;
use crate::{Error, Result};

/// Channels, height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Sides")]
pub struct ImageShape {
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// [`ImageShape`] as it is written, before anything is known of it.
#[derive(Deserialize)]
struct Sides {
    channels: usize,
    height: usize,
    width: usize,
}

impl TryFrom<Sides> for ImageShape {
    type Error = String;

    /// Nothing multiplies the sides of an image and looks whether that overflows: here is where they come in.
    fn try_from(Sides { channels, height, width }: Sides) -> Result<Self, String> {
        match checked_len(&[channels, height, width]) {
            Some(1..=MOST_PIXELS) => Ok(Self { channels, height, width }),
            _ => Err(format!("there are no images of {channels}×{height}×{width}")),
        }
    }
}

/// Values of an image that is read from a file, at most.
const MOST_PIXELS: usize = 1 << 30;

impl ImageShape {
    /// `channels` × `height` × `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Values in one image.
    pub const fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// True if an image has no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a batch of `n` images.
    pub fn batch(&self, n: usize) -> Shape {
        Shape::from((n, self.channels, self.height, self.width))
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// What a generative model is, for run folders, reports and bounds checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The family's name: `vae`, `gan`, …
    pub family: String,
    /// Shape of its images.
    pub image: ImageShape,
    /// Length of a latent vector.
    pub latent_dim: usize,
    /// Number of classes it can be asked for; 0 if it knows no labels.
    pub classes: usize,
}

impl ModelInfo {
    /// Labels `(N)` u32 as this model takes them: one-hot, `(N, classes)`, in the type and on the device of its parameters;
    /// None if it knows no labels. Mixtures of classes, floats `(N, classes)`, are taken as they are.
    ///
    /// # Errors
    /// [`Error::MissingLabels`] if the model is conditional and there are none, [`Error::UnknownClass`] if one is outside.
    pub fn one_hot(&self, labels: Option<&Tensor>, params: &ParamSet) -> Result<Option<Tensor>> {
        if self.classes == 0 {
            return Ok(None);
        }
        let missing = || Error::MissingLabels { what: format!("the {} model", self.family) };
        let labels = labels.ok_or_else(missing)?;
        if labels.dtype().is_float() {
            check_input("the mixtures of labels", labels, &(labels.dim(0)?, self.classes).into())?;
            return Ok(Some(labels.to_device(params.device())?.to_dtype(params.dtype())?));
        }
        let numbers = labels.to_vec1::<u32>()?;
        let mut values = vec![0f32; numbers.len() * self.classes];
        for (row, &label) in values.chunks_exact_mut(self.classes).zip(&numbers) {
            let place = row.get_mut(label as usize);
            *place.ok_or(Error::UnknownClass { label, classes: self.classes })? = 1.0;
        }
        let shape = (numbers.len(), self.classes);
        Ok(Some(Tensor::from_vec(values, shape, params.device())?.to_dtype(params.dtype())?))
    }
}

/// Which images to sample. Image `first + i` is a function of the seed and that number alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleRequest {
    /// Seed of the latents.
    pub seed: u64,
    /// Number of the first image.
    pub first: u64,
    /// How many images.
    pub count: usize,
    /// One label per image, for a conditional model; without them image i is of class i modulo their number.
    pub labels: Option<Vec<u32>>,
    /// Draws latent values anew until their magnitude is at most this (Brock et al. 2019): fewer odd images, and fewer
    /// different ones.
    pub truncation: Option<f32>,
}

impl SampleRequest {
    /// `count` images of `seed`.
    pub fn new(seed: u64, count: usize) -> Self {
        Self { seed, count, ..Self::default() }
    }

    /// One label per image where the model is conditional.
    fn labels_for(&self, info: &ModelInfo) -> Result<Option<Vec<u32>>> {
        match &self.labels {
            Some(_) if info.classes == 0 => Err(Error::UnexpectedLabels { family: info.family.clone() }),
            Some(labels) if labels.len() != self.count => {
                Err(Error::LabelCount { labels: labels.len(), samples: self.count })
            }
            Some(labels) => Ok(Some(labels.clone())),
            None if info.classes == 0 => Ok(None),
            None => {
                let numbers = self.first..self.first + self.count as u64;
                Ok(Some(numbers.map(|number| (number % info.classes as u64) as u32).collect()))
            }
        }
    }
}

/// Images per forward pass in sampling and evaluation.
pub const EVALUATION_BATCH: usize = 100;

/// A model that makes images.
pub trait GenerativeModel: Trainable {
    /// What it is.
    fn info(&self) -> &ModelInfo;

    /// Latents `(N, latent_dim)`, and labels `(N)` u32 where the model is conditional → images `(N, C, H, W)` in [0, 1],
    /// with no graph attached.
    fn generate(&self, latents: &Tensor, labels: Option<&Tensor>) -> Result<Tensor>;

    /// Standard normal noise `(N, latent_dim)` → latents as the model's prior has them.
    fn latents(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        _ = labels;
        Ok(noise.clone())
    }

    /// `(count, C, H, W)` f32 in [0, 1], with no graph attached.
    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let (info, device) = (self.info(), self.params().device());
        let labels = request.labels_for(info)?;
        let stream = Stream::new(request.seed, "sample", 0);
        in_passes(request.first, request.count, |numbers| {
            let noise = match request.truncation {
                None => stream.normal(numbers, info.latent_dim, device)?,
                Some(most) => stream.truncated_normal(numbers, info.latent_dim, most, device)?,
            };
            let start = (numbers[0] - request.first) as usize;
            let labels = labels.as_ref().map(|labels| &labels[start..start + numbers.len()]);
            let labels = labels.map(|labels| Tensor::new(labels, &Device::Cpu)).transpose()?;
            let latents = self.latents(&noise.to_dtype(self.params().dtype())?, labels.as_ref())?;
            self.generate(&latents, labels.as_ref())
        })
    }

    /// The parts that [`GenerativeModel::graph`] exports; the first is the one that makes images.
    fn parts(&self) -> &'static [Part] {
        &[]
    }

    /// A part as an ONNX graph, in the mode of evaluation.
    ///
    /// # Errors
    /// [`Error::NoPart`] if the model has no such part.
    fn graph(&self, part: Part) -> Result<Graph> {
        Err(Error::NoPart { family: self.info().family.clone(), part, parts: self.parts() })
    }

    /// Access by latent vectors, where the model has an encoder.
    fn latent(&self) -> Option<&dyn LatentModel> {
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

/// The two parts of the evidence lower bound, per image and in nats: elbo = reconstruction − kl.
#[derive(Clone, Debug)]
pub struct Elbo {
    /// E_q log p(x | z) from one draw, `(N)`.
    pub reconstruction: Tensor,
    /// KL(q(z | x) ‖ p(z)), `(N)`.
    pub kl: Tensor,
}

/// A model with an encoder and a likelihood. Draws for an image depend on its index in the data set, not on its batch.
pub trait LatentModel: Send + Sync {
    /// Images `(N, C, H, W)` in [0, 1] → the posterior.
    fn encode(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<Posterior>;

    /// The evidence lower bound of each image, from one draw per image.
    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo>;

    /// log p(x) of each image by importance sampling with `samples` draws (Burda et al. 2016), `(N)` in nats.
    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor>;

    /// What a likelihood under this model means: `bernoulli on grey values`, …
    fn protocol(&self) -> String;
}

/// Makes images `first..first + count` in passes of [`EVALUATION_BATCH`]: `pass` is given the numbers of its images.
/// Returns the passes' results one below the other, with no graph attached.
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
