//! The conditional generative adversarial network. The label enters by concatenation (Mirza & Osindero 2014),
//! by projection (Miyato & Koyama 2018), or through an auxiliary classifier (Odena et al. 2017).
//!
//! ```
//! use waxwork_cgan::{Cgan, CganConfig};
//! use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, SampleRequest};
//!
//! let params = ParamSet::fresh(0, &Device::Cpu);
//! let cgan = Cgan::new(CganConfig::default(), ImageShape::new(1, 28, 28), 10, params)?;
//! let sevens = SampleRequest::of_classes(0, &[7; 16])?;
//! assert_eq!(cgan.sample(&sevens)?.dims(), [16, 1, 28, 28]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```

mod condition_loss;

use waxwork_core::Mode;
use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{
    Batch, Choices, Condition, ConditionSpec, Drawing, Error, Exact, GenerativeModel, Loss, ParamGroup,
    ParamSet, Result, SampleSpec, StepContext, Tensor, Trainable,
};
use waxwork_nn::loss::cross_entropy;

use condition_loss::ConditionLoss;
use waxwork_gan::{Game, Players};

pub use waxwork_gan::{
    AdversarialLoss, Augmentation, Conditioning, DISCRIMINATOR, DiscriminatorNetwork, DiscriminatorNorm,
    GENERATOR, GanConfig as CganConfig, GeneratorNetwork, Penalty, PolicyGradient,
};

/// A conditional generative adversarial network.
#[derive(Clone, Debug)]
pub struct Cgan {
    config: CganConfig,
    conditioning: Conditioning,
    game: Game,
    /// The loss that makes the generator give columns the requested values.
    condition_loss: Option<ConditionLoss>,
}

impl Cgan {
    /// Builds the model of `config` for samples like `sample`, with its tensors from `params`. `condition` is
    /// what samples can be conditioned on: a number of classes, or any other [`ConditionSpec`]. Without
    /// [`CganConfig::conditioning`], the networks receive it by concatenation.
    ///
    /// # Errors
    /// If the configuration is invalid, there is no condition, or a stored parameter set does not fit.
    pub fn new(
        mut config: CganConfig,
        sample: impl Into<SampleSpec>,
        condition: impl Into<ConditionSpec>,
        params: ParamSet,
    ) -> Result<Self> {
        let condition = condition.into();
        if condition.is_none() {
            return Err(Error::NoClasses { family: "cgan", unconditional: "gan" });
        }
        let conditioning = *config.conditioning.get_or_insert(Conditioning::Concatenation);
        if matches!(conditioning, Conditioning::AuxiliaryClassifier { .. }) && condition.class_count() == 0 {
            return Err(Error::Config {
                key: "model.conditioning".into(),
                reason: "an auxiliary classifier needs classes, but the condition is something else".into(),
            });
        }
        let sample = sample.into();
        let condition_loss = ConditionLoss::new(&condition, &sample, params.device())?;
        let game = Game::new("cgan", &config, sample, condition, params)?;
        Ok(Self { config, conditioning, game, condition_loss })
    }

    /// The weighted cross-entropy of the auxiliary classifier, a term of each player's loss; None without a
    /// classifier.
    fn class_loss(&self, classes: Option<&Tensor>, labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        match (self.conditioning, classes, labels) {
            (Conditioning::AuxiliaryClassifier { weight }, Some(logits), Some(labels)) => {
                Ok(Some(cross_entropy(logits, labels)?.mean_all()?.affine(weight, 0.0)?))
            }
            _ => Ok(None),
        }
    }
}

impl Trainable for Cgan {
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
        let (config, Players { generator, head, info, params, .. }) = (&self.config, players);
        let condition = info.encode_condition(&batch.condition, params)?;
        let labels = condition.as_ref();
        let rows = ctx.rows(batch.len());
        let (discriminator, frozen) = &players.thinned(batch.len(), ctx)?;
        let latents = players.latents(batch.len(), ctx)?;
        let outputs = generator.outputs(&latents, labels, ctx.train())?;
        let generated = generator.finish(&outputs, &latents)?;
        let real = head.to_network(&batch.inputs, params.dtype())?;
        let generated = players.augment(&generated, &ctx.stream("augment/generated"), &rows)?;
        let real = players.augment(&real, &ctx.stream("augment/real"), &rows)?;

        let on_real = discriminator.forward(&real, labels, ctx.train())?;
        let on_generated = discriminator.forward(&generated.detach(), labels, ctx.train())?.logits;
        ctx.log("logits/real", &on_real.logits.mean_all()?)?;
        ctx.log("logits/generated", &on_generated.mean_all()?)?;
        players.adapt_augmentation(&on_real.logits, ctx)?;
        let game = config.loss.discriminator(&on_real.logits, &on_generated, config.label_smoothing)?;
        // Only real images train the classifier, because early generated images belong to no class.
        let class_loss = self.class_loss(on_real.classes.as_ref(), labels)?;
        let game = class_loss.as_ref().map_or(Ok(game.clone()), |class_loss| &game + class_loss)?;
        let loss = match config.penalty {
            None => Loss::new("discriminator", game),
            Some(penalty) => {
                let both = (discriminator, frozen);
                penalty.add_to(game, both, &real, &generated.detach(), labels, ctx)?
            }
        };
        ctx.update(&[DISCRIMINATOR], named(loss, "naming/real", class_loss.as_ref()))?;

        if !(ctx.step() + 1).is_multiple_of(config.n_critic) {
            return Ok(());
        }
        let on_generated = frozen.forward(&generated, labels, Mode::Frozen)?;
        let on_real = || Ok(frozen.forward(&real, labels, Mode::Frozen)?.logits);
        let game = config.loss.generator(&on_generated.logits, on_real)?;
        let class_loss = self.class_loss(on_generated.classes.as_ref(), labels)?;
        let condition_loss = self.condition_loss.as_ref().zip(labels);
        let condition_loss = condition_loss
            .map(|(condition_loss, columns)| condition_loss.loss(&outputs, columns))
            .transpose()?;
        let terms = [("naming/generated", class_loss), ("condition", condition_loss)];
        let mut total = game;
        for term in terms.iter().filter_map(|(_, term)| term.as_ref()) {
            total = (total + term)?;
        }
        let loss = Loss::new("generator", total);
        let loss = terms.iter().fold(loss, |loss, (name, term)| named(loss, name, term.as_ref()));
        ctx.update(&[GENERATOR], loss)
    }
}

/// Adds `term` to the named terms of the loss, if there is one.
fn named(loss: Loss, name: &'static str, term: Option<&Tensor>) -> Loss {
    match term {
        Some(term) => loss.term(name, term),
        None => loss,
    }
}

impl GenerativeModel for Cgan {
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
