//! The model behind the exported functions, and the conversion of their bytes.

use std::path::Path;

use serde::Deserialize;
use waxwork_core::latent::arc;
use waxwork_core::{
    Condition, Device, Drawing, GenerativeModel, ImageShape, ModelInfo, ParamSet, Tensor, store,
};
use waxwork_families::ModelConfig;

/// Maximum number of samples per call, so that a wrong number cannot exhaust the memory.
const MOST: usize = 1024;

/// Why a call failed, as one line for the page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no model is open")]
    NotOpened,
    #[error("the page and its sampler are of different versions of Waxwork: {0}")]
    Description(#[from] serde_json::Error),
    #[error("the page is damaged: the model's description has {description} of {all} bytes")]
    Cut { description: usize, all: usize },
    #[error("only models of images can be shown")]
    NotImages,
    #[error("{count} samples in one call; from 1 to {MOST} are possible")]
    Count { count: usize },
    #[error("{found} bytes of {what} instead of {expected}")]
    Length { what: &'static str, expected: usize, found: usize },
    #[error(transparent)]
    Model(#[from] waxwork_core::Error),
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// What the page knows of a model besides its weights.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    model: ModelConfig,
    info: ModelInfo,
}

/// A model of images.
pub(crate) struct Sampler {
    model: Box<dyn GenerativeModel>,
    image: ImageShape,
}

impl Sampler {
    /// Builds the model of a description in JSON, which is the first part of `bytes`, with the weights after it.
    /// Weights that are missing do not take part in sampling, and keep their initial values.
    pub(crate) fn open(bytes: &[u8], description_len: usize) -> Result<Self> {
        let cut = || Failure::Cut { description: description_len, all: bytes.len() };
        let (description, weights) = bytes.split_at_checked(description_len).ok_or_else(cut)?;
        let Description { model, info } = serde_json::from_slice(description)?;
        let image = info.sample.image().ok_or(Failure::NotImages)?;
        let stored = store::decode(weights, Path::new("the page"), &Device::Cpu)?;
        let fresh = ParamSet::fresh(0, &Device::Cpu);
        let fresh = model.build(info.sample.clone(), info.condition.clone(), fresh)?;
        let mut tensors = fresh.params().tensors();
        tensors.extend(stored);
        let tensors = ParamSet::stored(tensors, &Device::Cpu)?;
        let model = model.build_frozen(info.sample, info.condition, tensors)?;
        Ok(Self { model, image })
    }

    /// Latents from the model's prior, as bytes.
    pub(crate) fn latents(
        &self,
        seed: u64,
        first: u64,
        count: usize,
        truncation: Option<f32>,
        labels: &[u8],
    ) -> Result<Vec<u8>> {
        check_count(count)?;
        let condition = self.condition(count, labels)?;
        let numbers: Vec<u64> = (first..).take(count).collect();
        let noise = self.model.info().latent.draw(seed, &numbers, truncation, &Device::Cpu)?;
        bytes_of(&self.model.latents(&noise, &condition)?)
    }

    /// Images of latents and labels, as red, green, blue and opacity.
    pub(crate) fn generate(&self, count: usize, input: &[u8]) -> Result<Vec<u8>> {
        check_count(count)?;
        let (latents, labels) = self.split(count, input)?;
        let condition = self.condition(count, labels)?;
        let images = self.model.generate(&latents, &condition, &Drawing::none())?;
        colours(&images, self.image)
    }

    /// Latents on the great circle between two.
    pub(crate) fn between(&self, steps: usize, input: &[u8]) -> Result<Vec<u8>> {
        check_count(steps)?;
        let (ends, _) = self.split(2, input)?;
        let row = |at: usize| ends.get(at).map_err(waxwork_core::Error::from);
        let (from, to) = (row(0)?, row(1)?);
        bytes_of(&Tensor::stack(&arc(&from, &to, steps)?, 0).map_err(waxwork_core::Error::from)?)
    }

    /// The latents at the start of `input`, and what follows them.
    fn split<'a>(&self, count: usize, input: &'a [u8]) -> Result<(Tensor, &'a [u8])> {
        let dim = self.model.info().latent_dim();
        let expected = count * dim * size_of::<f32>();
        let found = input.len();
        let short = || Failure::Length { what: "latents", expected, found };
        let (latents, rest) = input.split_at_checked(expected).ok_or_else(short)?;
        let values: Vec<f32> = words(latents).map(f32::from_le_bytes).collect();
        let latents = Tensor::from_vec(values, (count, dim), &Device::Cpu);
        Ok((latents.map_err(waxwork_core::Error::from)?, rest))
    }

    fn condition(&self, count: usize, labels: &[u8]) -> Result<Condition> {
        let expected = if self.model.info().classes() == 0 { 0 } else { count * size_of::<u32>() };
        if labels.len() != expected {
            return Err(Failure::Length { what: "labels", expected, found: labels.len() });
        }
        let labels: Vec<u32> = words(labels).map(u32::from_le_bytes).collect();
        Ok(if labels.is_empty() { Condition::None } else { Condition::classes(&labels)? })
    }
}

fn check_count(count: usize) -> Result<()> {
    if (1..=MOST).contains(&count) { Ok(()) } else { Err(Failure::Count { count }) }
}

/// The 32-bit words of `bytes`.
fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks::<4>().0.iter().copied()
}

fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(values_of(tensor)?.into_iter().flat_map(f32::to_le_bytes).collect())
}

fn values_of(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(waxwork_core::Error::from)?)
}

/// Pixels of images `(N, C, H, W)` in [0, 1], with one or three channels.
fn colours(images: &Tensor, image: ImageShape) -> Result<Vec<u8>> {
    let values = values_of(images)?;
    let pixels = image.height * image.width;
    let byte = |value: f32| (value * 255.0).round().clamp(0.0, 255.0) as u8;
    let mut colours = Vec::with_capacity(values.len() / image.channels * 4);
    for image_values in values.chunks_exact(image.channels * pixels) {
        for pixel in 0..pixels {
            // A grey image has one channel, which stands for all three.
            let channel = |of: usize| byte(image_values[of.min(image.channels - 1) * pixels + pixel]);
            colours.extend([channel(0), channel(1), channel(2), u8::MAX]);
        }
    }
    Ok(colours)
}
