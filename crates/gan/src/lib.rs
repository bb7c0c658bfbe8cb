//! The generative adversarial network (Goodfellow et al. 2014), from the MLP to DCGAN and residual networks.
//!
//! ```
//! use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, SampleRequest};
//! use waxwork_gan::{Gan, GanConfig};
//!
//! let params = ParamSet::fresh(0, &Device::Cpu);
//! let gan = Gan::new(GanConfig::default(), ImageShape::new(1, 28, 28), params)?;
//! let images = gan.sample(&SampleRequest::new(7, 16))?;
//! assert_eq!(images.dims(), [16, 1, 28, 28]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```

mod augmentation;
mod autoregressive;
mod config;
mod discriminator;
mod game;
mod generator;
mod loss;
mod penalty;
mod players;
mod policy;
mod windows;

use waxwork_core::Mode;
use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{
    Batch, Choices, Condition, ConditionSpec, Drawing, Error, Exact, GenerativeModel, Loss, ParamGroup,
    ParamSet, Result, SampleSpec, StepContext, Tensor, Trainable,
};

pub use config::{Conditioning, DiscriminatorNetwork, DiscriminatorNorm, GanConfig, GeneratorNetwork};
pub use discriminator::{Discriminator, DiscriminatorOutput};
pub use game::Game;
pub use generator::Generator;
pub use loss::AdversarialLoss;
pub use penalty::Penalty;
pub use players::Players;
pub use policy::{Policy, PolicyGradient};
pub use waxwork_nn::augment::Augmentation;

/// The group of the generator's weights.
pub const GENERATOR: &str = "generator";
/// The group of the discriminator's weights.
pub const DISCRIMINATOR: &str = "discriminator";

/// A generative adversarial network.
#[derive(Clone, Debug)]
pub struct Gan {
    config: GanConfig,
    game: Game,
}

impl Gan {
    /// The model of `config` for samples like `sample`, with its tensors from `params`.
    ///
    /// # Errors
    /// If the configuration is invalid, or a stored set does not fit it.
    pub fn new(config: GanConfig, sample: impl Into<SampleSpec>, params: ParamSet) -> Result<Self> {
        if config.conditioning.is_some() {
            return Err(Error::Config {
                key: "model.conditioning".into(),
                reason: "`gan` is unconditional; use the family `cgan`".into(),
            });
        }
        let game = Game::new("gan", &config, sample.into(), ConditionSpec::None, params)?;
        Ok(Self { config, game })
    }
}

impl Trainable for Gan {
    fn params(&self) -> &ParamSet {
        self.game.params()
    }

    fn groups(&self) -> &[ParamGroup] {
        self.game.groups()
    }

    fn batch_multiple(&self) -> usize {
        self.config.pack
    }

    fn updates(&self) -> usize {
        2
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let players = match &self.game {
            Game::Gradients(players) => players.as_ref(),
            Game::Rewards(policy) => return policy.step(batch, ctx),
        };
        let (config, Players { generator, head, params, .. }) = (&self.config, players);
        let rows = ctx.rows(batch.len());
        let (discriminator, frozen) = &players.thinned(batch.len(), ctx)?;
        let latents = players.latents(batch.len(), ctx)?;
        let generated = generator.forward(&latents, None, ctx.train())?;
        let real = head.to_network(&batch.inputs, params.dtype())?;
        let generated = players.augment(&generated, &ctx.stream("augment/generated"), &rows)?;
        let real = players.augment(&real, &ctx.stream("augment/real"), &rows)?;

        let on_real = discriminator.forward(&real, None, ctx.train())?.logits;
        let on_generated = discriminator.forward(&generated.detach(), None, ctx.train())?.logits;
        ctx.log("logits/real", &on_real.mean_all()?)?;
        ctx.log("logits/generated", &on_generated.mean_all()?)?;
        players.adapt_augmentation(&on_real, ctx)?;
        let game = config.loss.discriminator(&on_real, &on_generated, config.label_smoothing)?;
        let loss = match config.penalty {
            None => Loss::new("discriminator", game),
            Some(penalty) => {
                let both = (discriminator, frozen);
                penalty.add_to(game, both, &real, &generated.detach(), None, ctx)?
            }
        };
        ctx.update(&[DISCRIMINATOR], loss)?;

        if !(ctx.step() + 1).is_multiple_of(config.n_critic) {
            return Ok(());
        }
        let on_generated = frozen.forward(&generated, None, Mode::Frozen)?.logits;
        let on_real = || Ok(frozen.forward(&real, None, Mode::Frozen)?.logits);
        ctx.update(&[GENERATOR], Loss::new("generator", config.loss.generator(&on_generated, on_real)?))
    }
}

impl GenerativeModel for Gan {
    fn info(&self) -> &ModelInfo {
        self.game.info()
    }

    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        self.game.generate(latents, condition, drawing)
    }

    fn parts(&self) -> &'static [Part] {
        self.game.parts()
    }

    fn graph(&self, part: Part) -> Result<Graph> {
        self.game.graph(part)
    }

    fn exact(&self) -> Option<&dyn Exact> {
        self.game.exact()
    }

    fn choices(&self) -> Option<&dyn Choices> {
        self.game.choices()
    }
}
