//! Generator and discriminator with their parameters.

use candle_core::Tensor;

use super::augmentation::Augmenter;
use super::{DISCRIMINATOR, Discriminator, GENERATOR, GanConfig, Generator};
use waxwork_core::latent::{LatentLayout, LatentPart, Noise};
use waxwork_core::model::{self, ModelInfo};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::rng::Stream;
use waxwork_core::{
    Choices, Condition, ConditionSpec, Error, Mode, ParamGroup, ParamSet, Result, SampleSpec, StepContext,
};
use waxwork_nn::head::Head;

/// The parameters of the last layer of a generator of rows.
const BIAS: &str = "generator.output.bias";
const WEIGHT: &str = "generator.output.weight";

/// The two players of the game, with their parameters and what the model reports about itself.
#[derive(Clone, Debug)]
pub struct Players {
    /// What the model is.
    pub info: ModelInfo,
    /// Every tensor.
    pub params: ParamSet,
    /// [`GENERATOR`] and [`DISCRIMINATOR`].
    pub groups: Vec<ParamGroup>,
    /// Maps latents to samples as the networks see them.
    pub generator: Generator,
    /// Maps samples as the networks see them to logits.
    pub discriminator: Discriminator,
    /// The discriminator on untracked weights, for the generator's loss and for gradients in the sample.
    pub frozen: Discriminator,
    /// Converts between samples and what the networks see.
    pub head: Head,
    augmenter: Augmenter,
}

impl Players {
    /// Makes the players of `config` for samples like `sample`, with their tensors from `params`. `condition`
    /// says on what they can be conditioned.
    ///
    /// # Errors
    /// If the configuration is invalid, its networks cannot make such samples, or a stored set does not fit
    /// it.
    pub fn new(
        family: &str,
        config: &GanConfig,
        sample: SampleSpec,
        condition: ConditionSpec,
        mut params: ParamSet,
    ) -> Result<Self> {
        config.validate()?;
        if !config.augment.is_empty() && sample.clip().is_none() {
            sample.needs_image("model.augment")?;
        }
        let head = Head::new(&sample, "model.generator")?;
        let width = condition.width();
        let generator = Generator::new(params.root().enter(GENERATOR), config, &sample, width)?;
        let discriminator = Discriminator::new(params.root().enter(DISCRIMINATOR), config, &sample, width)?;
        let augmenter = Augmenter::new(params.root().enter("augment"), config)?;
        let params = params.finish()?;
        let frozen = Discriminator::new(params.frozen().root().enter(DISCRIMINATOR), config, &sample, width)?;
        let groups = [GENERATOR, DISCRIMINATOR].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let latent = match head.noise() {
            0 => LatentLayout::normal(config.latent_dim),
            noise => LatentLayout::new(vec![
                LatentPart { name: "z".into(), len: config.latent_dim, noise: Noise::Normal },
                LatentPart { name: "choices".into(), len: noise, noise: Noise::Gumbel },
            ])?,
        };
        let info = ModelInfo { family: family.into(), sample, latent, condition };
        Ok(Self { info, params, groups, generator, discriminator, frozen, head, augmenter })
    }

    /// Draws latents for `n` training samples: z, and the noise of choices if samples have any.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn latents(&self, n: usize, ctx: &StepContext<'_>) -> Result<Tensor> {
        let noise = self.head.noise();
        let z = ctx.normal("latent", n, self.info.latent_dim() - noise)?;
        if noise == 0 {
            return Ok(z);
        }
        let choices = ctx.stream("latent/choices").gumbel(&ctx.rows(n), noise, ctx.device())?;
        Ok(Tensor::cat(&[z, choices.to_dtype(ctx.dtype())?], 1)?)
    }

    /// Augments images in [−1, 1] for the discriminator, by the draws of `rows` of `stream`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn augment(&self, images: &Tensor, stream: &Stream, rows: &[u64]) -> Result<Tensor> {
        self.augmenter.apply(images, stream, rows)
    }

    /// Adapts the probability of augmentation to the logits of a batch of training images `(N)`, if the
    /// configuration has a target.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn adapt_augmentation(&self, on_real: &Tensor, ctx: &mut StepContext<'_>) -> Result<()> {
        self.augmenter.adapt(on_real, ctx)
    }

    /// The discriminator of a step on batches of `n` samples, tracked and frozen, both with the step's
    /// dropout masks and phase shuffle.
    ///
    /// # Errors
    /// [`Error::Config`] if `n` samples cannot be judged in packs.
    pub fn thinned(&self, n: usize, ctx: &StepContext<'_>) -> Result<(Discriminator, Discriminator)> {
        let discriminator = self.discriminator.thinned(n, ctx)?;
        let frozen = self.frozen.thinned_like(&discriminator);
        Ok((discriminator, frozen))
    }

    /// Latents `(N, latent_dim)`, and a condition if the model takes one → samples `(N, ..)`.
    ///
    /// # Errors
    /// If the latents have another length, or the condition does not fit.
    pub fn generate(&self, latents: &Tensor, condition: &Condition) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.info.latent_dim()).into())?;
        let condition = self.info.encode_condition(condition, &self.params)?;
        let outputs = self.generator.forward(latents, condition.as_ref(), Mode::Eval)?;
        Ok(self.head.to_sample(&outputs)?.detach())
    }

    /// The interface to the logits of choices, if samples are rows.
    pub fn choices(&self) -> Option<&dyn Choices> {
        matches!(self.head, Head::Row(_)).then_some(self as &dyn Choices)
    }

    /// The parts that can be exported separately.
    pub const PARTS: [Part; 1] = [Part::Generator];

    /// [`Players::generate`] as a graph.
    ///
    /// # Errors
    /// [`Error::NoPart`] for any part but the generator.
    pub fn graph(&self, part: Part) -> Result<Graph> {
        let ModelInfo { sample, latent, condition, .. } = &self.info;
        if part != Part::Generator {
            return Err(Error::NoPart { family: self.info.family.clone(), part, parts: &Self::PARTS });
        }
        let mut graph = Graph::new(part.name());
        let latents = graph.input("latents", &[latent.len()]);
        let condition = graph.condition(condition)?;
        let outputs = self.generator.export(graph.root().enter(GENERATOR), &latents, condition.as_ref())?;
        let samples = self.head.export(graph.root(), &outputs)?;
        graph.output(sample.name(), &samples, sample.dims());
        Ok(graph)
    }
}

impl Choices for Players {
    fn outputs(&self, latents: &Tensor, condition: &Condition) -> Result<Tensor> {
        let condition = self.info.encode_condition(condition, &self.params)?;
        Ok(self.generator.outputs(latents, condition.as_ref(), Mode::Eval)?.detach())
    }

    fn bias(&self) -> &'static str {
        BIAS
    }

    fn condition_weight(&self) -> Option<&'static str> {
        self.generator.last_layer_sees_condition().then_some(WEIGHT)
    }
}
