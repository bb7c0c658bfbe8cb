//! VAEs whose latents are maps of codes: VQ-VAE (van den Oord et al. 2017) and FSQ (Mentzer et al. 2023).
//!
//! Training has two parts. First, the encoder and the decoder learn to reconstruct images from the vectors of
//! codes. Then they are frozen, and an autoregressive prior learns the joint distribution of the codes. The
//! posterior puts all its mass on one map of codes, so KL(q ‖ p) is −log p(codes), and the evidence lower
//! bound needs no random draws.

mod networks;
mod prior;
mod quantiser;

use std::f64::consts::LN_2;

use candle_core::{DType, Device, Tensor, Var};

use waxwork_core::collective::Reduction;
use waxwork_core::latent::LatentLayout;
use waxwork_core::model::{Elbo, ModelInfo, Posterior, check_input};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::params::Init;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Bound, Condition, ConditionSpec, Drawing, Encode, Error, GenerativeModel, Loss, Mode, ParamGroup,
    ParamSet, Reconstruct, Result, SampleSpec, StepContext, Trainable,
};
use waxwork_kernels as kernels;

use crate::config::{CodePriorSizes, PriorConfig, VaeConfig, not_codes};
use crate::likelihood::Likelihood;
use crate::networks::{KEY, LOG_VARIANCE};
use crate::{DECODER, ENCODER};
use networks::{MapDecoder, MapEncoder, MapSizes};
use prior::CodePrior;
use quantiser::{Quantised, Quantiser};

/// The group of the weights of the prior over codes.
pub const PRIOR: &str = "prior";

/// The decay of the moving average of the codes' usage.
const KEPT: f64 = 0.99;
/// A code is in use if its share is at least this part of an even share.
const IN_USE: f64 = 1e-3;
/// Smaller than any share; keeps the logarithm finite.
const LEAST_SHARE: f64 = 1e-30;

/// A VAE whose latent is a map of codes, with an autoregressive prior. A latent vector holds the numbers of the
/// codes, row by row of the map.
#[derive(Clone, Debug)]
pub struct CodeVae {
    config: VaeConfig,
    info: ModelInfo,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    encoder: MapEncoder,
    decoder: MapDecoder,
    likelihood: Likelihood,
    quantiser: Quantiser,
    prior: CodePrior,
    /// Height and width of a map of codes.
    map: (usize, usize),
    /// The share of the training steps that train the prior.
    prior_share: f64,
    /// Moving average of the share of every code, `(codes)`; zeros before the first step.
    shares: Var,
}

impl CodeVae {
    /// The model of `config` for images like `sample`, with its tensors from `params`. Every part depends on
    /// the condition, if there is one. `family` is its name in [`ModelInfo`].
    ///
    /// # Errors
    /// If the configuration is invalid or its latents are not codes, or a stored set does not fit it.
    pub fn new(
        family: &str,
        config: VaeConfig,
        sample: impl Into<SampleSpec>,
        condition: ConditionSpec,
        mut params: ParamSet,
    ) -> Result<Self> {
        let (sample, width) = (sample.into(), condition.width());
        config.validate(width)?;
        let (Some(codes), PriorConfig::Autoregressive { embedding, hidden, cell, share }) =
            (config.latent.codes(), config.prior)
        else {
            return Err(not_codes());
        };
        let image = sample.needs_image(KEY)?;
        let sizes = MapSizes::new(&config.network, image)?;
        let (map, dtype, device) = (sizes.map, params.dtype(), params.device().clone());
        let mut root = params.root();
        let encoder = MapEncoder::new(root.enter(ENCODER), &config, &sizes, image, width)?;
        let decoder = MapDecoder::new(root.enter(DECODER), &config, &sizes, image, width)?;
        let likelihood = Likelihood::new(root.enter(DECODER), config.likelihood, &sample)?;
        let mut scope = root.enter("codes");
        let shares = scope.buffer("shares", codes, Init::Constant(0.0))?;
        let quantiser = Quantiser::new(scope, &config.latent, config.latent_dim, (dtype, &device))?;
        let layers = CodePriorSizes { embedding, hidden, cell };
        let prior = CodePrior::new(root.enter(PRIOR), map, codes, width, layers, config.init)?;
        let params = params.finish()?;
        let groups = [ENCODER, DECODER, PRIOR].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let latent = LatentLayout::codes(prior.places(), codes);
        let info = ModelInfo { family: family.into(), sample, latent, condition };
        let prior_share = share;
        Ok(Self {
            config,
            info,
            params,
            groups,
            encoder,
            decoder,
            likelihood,
            quantiser,
            prior,
            map,
            prior_share,
            shares,
        })
    }

    fn condition(&self, condition: &Condition) -> Result<Option<Tensor>> {
        self.info.encode_condition(condition, &self.params)
    }

    /// Whether a step trains the prior rather than the encoder and the decoder.
    fn trains_prior(&self, step: u64, total_steps: u64) -> bool {
        step as f64 >= total_steps as f64 * (1.0 - self.prior_share)
    }

    /// The codes of images, `(N, places)` u32, off the tape.
    fn codes_of(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let vectors = self.encoder.forward(images, labels, Mode::Eval)?.detach();
        self.as_maps(&self.quantiser.quantise(&vectors)?.codes)
    }

    /// Codes `(N · places)` as maps `(N, places)`.
    fn as_maps(&self, codes: &Tensor) -> Result<Tensor> {
        let places = self.prior.places();
        Ok(codes.reshape((codes.elem_count() / places, places))?)
    }

    /// The parameters of the observation model for maps of codes `(N, places)` u32.
    fn decode(&self, codes: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let vectors = self.quantiser.vectors(&codes.flatten_all()?)?;
        self.decoder.forward(&vectors, labels, Mode::Eval)
    }

    /// Images as the encoder sees them.
    ///
    /// # Errors
    /// If they have another shape.
    fn read(&self, inputs: &Tensor) -> Result<Tensor> {
        let n = inputs.dims().first().copied().unwrap_or(0);
        check_input("the images", inputs, &self.info.sample.batch(n))?;
        Ok(inputs.clone())
    }

    /// The codes `(N, places)` u32 of latents `(N, places)`.
    ///
    /// # Errors
    /// If they have another shape; [`Error::Value`] for a value that is not the number of a code.
    fn read_codes(&self, latents: &Tensor) -> Result<Tensor> {
        let (n, places) = (latents.dims().first().copied().unwrap_or(0), self.prior.places());
        check_input("the latents", latents, &(n, places).into())?;
        let codes = self.info.latent.code_count().unwrap_or_default();
        let values =
            latents.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let is_code = |value: f64| value.fract() == 0.0 && (0.0..codes as f64).contains(&value);
        if let Some(at) = values.iter().position(|value| !is_code(*value)) {
            return Err(Error::Value {
                name: "latents".to_owned(),
                index: vec![at / places, at % places],
                value: values[at],
                reason: "a latent value of this model must be a whole number, at least 0 and less than the number of codes",
            });
        }
        let codes: Vec<u32> = values.into_iter().map(|value| value as u32).collect();
        Ok(Tensor::from_vec(codes, (n, places), latents.device())?)
    }

    /// Logs the share of codes in use and their perplexity, from a moving average over about a hundred steps.
    fn log_use(&self, codes: &Tensor, ctx: &mut StepContext<'_>) -> Result<()> {
        let batch = shares_of(codes, &self.shares)?;
        ctx.record(&self.shares, batch.clone(), 1.0 - KEPT, Reduction::Mean);
        let moved = (self.shares.as_detached_tensor().affine(KEPT, 0.0)? + batch.affine(1.0 - KEPT, 0.0)?)?;
        let (used, perplexity) = use_of(&moved)?;
        ctx.log("codes/use", &used)?;
        ctx.log("codes/perplexity", &perplexity)
    }
}

/// The share of every code among codes of any shape, u32, with the shape of `like`.
fn shares_of(codes: &Tensor, like: &Var) -> Result<Tensor> {
    let codes = codes.flatten_all()?;
    let each = Tensor::ones(codes.elem_count(), like.dtype(), like.device())?;
    let counts = like.as_detached_tensor().zeros_like()?.index_add(&codes, &each, 0)?;
    Ok((counts / codes.elem_count() as f64)?)
}

/// The part of the codes that is in use, and the perplexity exp(−Σ p log p), of shares p up to a factor.
fn use_of(shares: &Tensor) -> Result<(Tensor, Tensor)> {
    let shares = shares.broadcast_div(&shares.sum_keepdim(0)?)?;
    let even = 1.0 / shares.elem_count() as f64;
    let used = shares.ge(IN_USE * even)?.to_dtype(shares.dtype())?.mean_all()?;
    let logarithms = kernels::log(&shares.maximum(LEAST_SHARE)?)?;
    let entropy = (shares * logarithms)?.sum_keepdim(0)?.neg()?;
    Ok((used, kernels::exp(&entropy)?.squeeze(0)?))
}

impl Trainable for CodeVae {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let condition = self.condition(&batch.condition)?;
        let (labels, rows) = (condition.as_ref(), ctx.rows(batch.len()));
        let images = self.likelihood.training_targets(batch, &ctx.stream("binarisation"), &rows)?;
        if self.trains_prior(ctx.step(), ctx.total_steps()) {
            let codes = self.codes_of(&images, labels)?;
            self.log_use(&codes, ctx)?;
            let nats = self.prior.log_likelihood(&codes, labels, ctx.train())?.mean_all()?.neg()?;
            let bits = nats.affine(1.0 / LN_2, 0.0)?;
            return ctx.update(&[PRIOR], Loss::new("prior_loss", nats).term("bits", &bits));
        }

        let x = self.encoder.forward(&images, labels, ctx.train())?;
        let Quantised { codes, vectors, commitment } = self.quantiser.quantise(&x)?;
        self.log_use(&codes, ctx)?;
        self.quantiser.record(&x, &codes, ctx, rows.first() == Some(&0))?;
        let output = self.decoder.forward(&vectors, labels, ctx.train())?;
        let reconstruction = self.likelihood.log_likelihood(&output, &images)?.mean_all()?;
        let loss = match commitment {
            None => Loss::new("loss", reconstruction.neg()?),
            Some(sum) => {
                let commitment = (sum / batch.len() as f64)?;
                Loss::new("loss", (&commitment - &reconstruction)?).term("commitment", &commitment)
            }
        };
        ctx.update(&[ENCODER, DECODER], loss.term("reconstruction", &reconstruction))
    }
}

impl GenerativeModel for CodeVae {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        let (codes, labels) = (self.read_codes(latents)?, self.condition(condition)?);
        Ok(self.likelihood.draw(&self.decode(&codes, labels.as_ref())?, drawing)?.detach())
    }

    /// Uniform numbers `(N, places)` → the numbers of the codes that the prior draws from them.
    fn latents(&self, noise: &Tensor, condition: &Condition) -> Result<Tensor> {
        let n = noise.dims().first().copied().unwrap_or(0);
        check_input("the noise", noise, &(n, self.prior.places()).into())?;
        let (dtype, labels) = (self.params.dtype(), self.condition(condition)?);
        Ok(self.prior.draw(&noise.to_dtype(dtype)?, labels.as_ref())?.to_dtype(dtype)?)
    }

    fn parts(&self) -> &'static [Part] {
        &[Part::Decoder, Part::Encoder]
    }

    /// Codes to images, or images to codes. There is no graph of the prior, because it draws each code from
    /// the previous ones.
    fn graph(&self, part: Part) -> Result<Graph> {
        let ModelInfo { family, sample, condition, .. } = &self.info;
        let places = self.prior.places();
        let mut graph = Graph::new(part.name());
        match part {
            Part::Decoder => {
                let codes = graph.input("codes", &[places]);
                let labels = graph.condition(condition)?;
                let maps = self.quantiser.export_vectors(graph.root().enter("codes"), &codes, self.map)?;
                let output = self.decoder.export(graph.root().enter(DECODER), &maps, labels.as_ref())?;
                let images = self.likelihood.export(graph.root(), output)?;
                graph.output(sample.name(), &images, sample.dims());
            }
            Part::Encoder => {
                let images = graph.input(sample.name(), sample.dims());
                let labels = graph.condition(condition)?;
                let maps = self.encoder.export(graph.root().enter(ENCODER), &images, labels.as_ref())?;
                let codes = self.quantiser.export_codes(graph.root().enter("codes"), &maps, places)?;
                graph.output("codes", &codes, &[places]);
            }
            Part::Generator | Part::Prior => {
                return Err(Error::NoPart { family: family.clone(), part, parts: self.parts() });
            }
        }
        Ok(graph)
    }

    fn encoder(&self) -> Option<&dyn Encode> {
        Some(self)
    }

    fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        Some(self)
    }

    fn bound(&self) -> Option<&dyn Bound> {
        Some(self)
    }
}

impl Encode for CodeVae {
    /// The code numbers as the mean. The posterior is deterministic, so the log-variance is the smallest that
    /// a posterior can have.
    fn encode(&self, inputs: &Tensor, condition: &Condition) -> Result<Posterior> {
        let labels = self.condition(condition)?;
        let codes = self.codes_of(&self.read(inputs)?, labels.as_ref())?;
        let mean = codes.to_dtype(self.params.dtype())?;
        let log_var = mean.zeros_like()?.affine(1.0, LOG_VARIANCE.0)?;
        Ok(Posterior { mean, log_var })
    }
}

impl Reconstruct for CodeVae {
    /// The mean of p(x | z) at the codes of x.
    fn reconstruct(&self, inputs: &Tensor, condition: &Condition) -> Result<Tensor> {
        let labels = self.condition(condition)?;
        let codes = self.codes_of(&self.read(inputs)?, labels.as_ref())?;
        Ok(self.likelihood.draw(&self.decode(&codes, labels.as_ref())?, &Drawing::none())?.detach())
    }
}

impl Bound for CodeVae {
    /// log p(x | codes) and −log p(codes); nothing is drawn.
    fn elbo(&self, batch: &Batch, _stream: &Stream) -> Result<Elbo> {
        let labels = self.condition(&batch.condition)?;
        let labels = labels.as_ref();
        let images = self.read(&self.likelihood.evaluation_targets(batch)?)?;
        let codes = self.codes_of(&images, labels)?;
        let reconstruction = self.likelihood.log_likelihood(&self.decode(&codes, labels)?, &images)?;
        let kl = self.prior.log_likelihood(&codes, labels, Mode::Eval)?.neg()?;
        Ok(Elbo { reconstruction: reconstruction.detach(), kl: kl.detach() })
    }

    fn protocol(&self) -> String {
        let given = if self.info.condition.is_none() { "" } else { ", given the label" };
        self.config.likelihood.protocol() + given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_and_perplexity_have_their_closed_forms() {
        let of = |shares: &[f64]| {
            let (used, perplexity) = use_of(&Tensor::new(shares, &Device::Cpu).unwrap()).unwrap();
            (used.to_scalar::<f64>().unwrap(), perplexity.to_scalar::<f64>().unwrap())
        };
        let (used, perplexity) = of(&[0.02, 0.02, 0.0, 0.0]);
        assert!((used - 0.5).abs() < 1e-12 && (perplexity - 2.0).abs() < 1e-9, "{used} {perplexity}");
        // exp(¾ ln 4⁄3 + ¼ ln 4)
        let (used, perplexity) = of(&[0.75, 0.25]);
        assert!(
            (used - 1.0).abs() < 1e-12 && (perplexity - 1.754_765_350_603_323).abs() < 1e-9,
            "{perplexity}"
        );
        // Less than a thousandth of an even share is not in use.
        assert!((of(&[1.0 - 4e-4, 4e-4]).0 - 0.5).abs() < 1e-12);
        assert!((of(&[1.0 - 6e-4, 6e-4]).0 - 1.0).abs() < 1e-12);
    }
}
