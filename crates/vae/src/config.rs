//! VAE configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::completion::CompletionConfig;
use crate::likelihood::LikelihoodConfig;
use waxwork_core::{Error, Result};
use waxwork_kernels::Activation;
use waxwork_nn::layers::{CellKind, WeightInit};
use waxwork_nn::nets::{Style, TOO_WIDE, WIDEST};

/// Maximum number of components of a mixture.
const MOST_COMPONENTS: usize = 1000;

/// Maximum number of different codes.
const MOST_CODES: usize = 1 << 16;

/// Maximum number of draws per sample.
const MOST_DRAWS: usize = 1 << 16;

/// Maximum number of layers of a flow.
const MOST_LAYERS: usize = 32;

/// A VAE's networks, its observation model and its objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VaeConfig {
    /// Length of the latent vector z.
    pub latent_dim: usize,
    /// A vector of real numbers, or a map of codes, each of which represents a vector of `latent_dim` values.
    #[serde(skip_serializing_if = "LatentConfig::is_gaussian")]
    pub latent: LatentConfig,
    /// A second group of latents, which generates those of `latent_dim` (Burda et al. 2016); for the family `vae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<UpperConfig>,
    /// Encoder and decoder.
    pub network: Network,
    /// The activation of every hidden layer.
    pub activation: Activation,
    /// Gated linear layers, (W x + b) · sigmoid(V x + c), in place of the activation (Dauphin et al. 2017);
    /// only for networks of the kind `mlp`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// Initial values of the weights.
    pub init: WeightInit,
    /// The observation model p(x | z).
    pub likelihood: LikelihoodConfig,
    /// The prior p(z).
    #[serde(skip_serializing_if = "PriorConfig::is_standard")]
    pub prior: PriorConfig,
    /// Weight of the KL term (β-VAE, Higgins et al. 2017); 1 is the evidence lower bound.
    pub beta: f64,
    /// Weight of the total correlation relative to the rest of the KL term (β-TC-VAE, Chen et al. 2018); 1 gives the evidence
    /// lower bound. The total correlation is estimated from the batch, or from each of its `train.micro_batches`.
    #[serde(skip_serializing_if = "is_neutral")]
    pub total_correlation: f64,
    /// Widths of the hidden layers of a discriminator that estimates the total correlation in place of the batch (FactorVAE, Kim &
    /// Mnih 2018, whose γ is `total_correlation` − 1); empty: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discriminator: Vec<usize>,
    /// Steps over which the weight of the KL term rises linearly from zero to `beta`.
    pub kl_warmup_steps: u64,
    /// Nats per latent dimension below which the KL term costs nothing (free bits, Kingma et al. 2016).
    pub free_bits: f64,
    /// Draws per importance-weighted bound (Burda et al. 2016); with 1, it is the evidence lower bound.
    pub importance_samples: usize,
    /// Number of bounds that are averaged per sample, each from its own draws.
    #[serde(skip_serializing_if = "is_one")]
    pub draws: usize,
    /// The objectives of the encoder and the decoder.
    #[serde(skip_serializing_if = "BoundConfig::is_mean")]
    pub bound: BoundConfig,
    /// Start training with the mean of the training samples as the decoder's output for every latent (Burda
    /// et al. 2016): the bias of the output layer is the logit of the mean, clipped to [0.001, 0.999].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start_at_mean: bool,
    /// Complete images from a given part instead of using labels: the prior is then a network that sees the
    /// given part (Sohn et al. 2015). For the conditional family only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionConfig>,
}

/// The kind of latent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LatentConfig {
    /// A vector of real numbers, with a diagonal Gaussian as posterior.
    #[default]
    Gaussian,
    /// A map of codes by finite scalar quantisation (Mentzer et al. 2023): every value of a vector is rounded to one of a few
    /// levels, and these levels together form the code. There is no codebook to learn, and none to collapse.
    Fsq {
        /// Levels of each of the `latent_dim` values, at least 3; their product is the number of codes.
        #[serde(default = "levels")]
        levels: Vec<usize>,
    },
    /// A map of codes by vector quantisation (VQ-VAE, van den Oord et al. 2017): the code is the nearest vector in a codebook, which
    /// follows the encoder's vectors as a moving average. Unused codes restart at a vector of the batch.
    Vq {
        /// Number of codes.
        #[serde(default = "codebook")]
        codebook: usize,
        /// Share that the moving averages keep at every step, in [0, 1).
        #[serde(default = "decay")]
        decay: f64,
        /// Weight of the squared distance between the encoder's vectors and their codes' vectors.
        #[serde(default = "commitment")]
        commitment: f64,
    },
}

fn levels() -> Vec<usize> {
    vec![8, 6, 5]
}

fn codebook() -> usize {
    512
}

fn decay() -> f64 {
    0.99
}

fn commitment() -> f64 {
    0.25
}

impl LatentConfig {
    fn is_gaussian(&self) -> bool {
        *self == Self::Gaussian
    }

    /// The number of different codes; None if latents are vectors of real numbers.
    pub fn codes(&self) -> Option<usize> {
        match self {
            Self::Gaussian => None,
            Self::Fsq { levels } => Some(levels.iter().fold(1, |all, count| all.saturating_mul(*count))),
            Self::Vq { codebook, .. } => Some(*codebook),
        }
    }

    /// Checks the values, for codes that represent vectors of `latent_dim` values.
    fn validate(&self, latent_dim: usize) -> Result<()> {
        let fail =
            |key: &str, reason: String| Err(Error::Config { key: format!("model.latent.{key}"), reason });
        let codes = self.codes().unwrap_or_default();
        match self {
            Self::Gaussian => Ok(()),
            Self::Fsq { levels } if levels.len() != latent_dim => {
                let found = levels.len();
                fail(
                    "levels",
                    format!(
                        "must be one number for each of the {latent_dim} values of model.latent_dim, not {found}"
                    ),
                )
            }
            Self::Fsq { levels } if levels.iter().any(|count| *count < 3) => {
                fail("levels", "every value needs at least 3 levels".to_owned())
            }
            Self::Fsq { .. } if codes > MOST_CODES => {
                fail("levels", "their product, the number of codes, must be at most 65,536".to_owned())
            }
            Self::Vq { .. } if !(2..=MOST_CODES).contains(&codes) => {
                fail("codebook", "must be from 2 to 65,536".to_owned())
            }
            Self::Vq { decay, .. } if !(0.0..1.0).contains(decay) => {
                fail("decay", "must lie in [0, 1)".to_owned())
            }
            Self::Vq { commitment, .. } if !(*commitment >= 0.0 && commitment.is_finite()) => {
                fail("commitment", "must be a finite number, not negative".to_owned())
            }
            Self::Fsq { .. } | Self::Vq { .. } => Ok(()),
        }
    }
}

/// A second group of latents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpperConfig {
    /// Number of values in the group.
    pub latent_dim: usize,
    /// Widths of the linear layers from the first group to the second; the network in the other direction
    /// mirrors them.
    pub hidden: Vec<usize>,
}

/// The objective that is computed from the importance-weighted bounds of a sample (Rainforth et al. 2018). M
/// is `model.draws`, and K is `model.importance_samples`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BoundConfig {
    /// The mean of M bounds of K draws each: IWAE if M is 1, otherwise MIWAE.
    #[default]
    Mean,
    /// The encoder learns from the mean of M bounds of K draws each, the decoder and its prior from the one
    /// bound of all M · K draws (PIWAE).
    Piwae,
    /// A weighted mean of the evidence lower bound and of the bound `mean` (CIWAE).
    Ciwae {
        /// Weight of the evidence lower bound, in [0, 1].
        elbo: f64,
    },
}

impl BoundConfig {
    fn is_mean(&self) -> bool {
        *self == Self::Mean
    }
}

/// The distribution of latents before any image is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PriorConfig {
    /// Standard normal.
    #[default]
    Standard,
    /// One learned diagonal Gaussian per class (Sohn et al. 2015); for the conditional family only.
    Label,
    /// Standard normal while the model is trained; then Gaussians with full covariances, fitted to the latents of the training data.
    Mixture {
        /// Number of Gaussians, per class if the model is conditional.
        components: usize,
    },
    /// The mean of the posteriors of pseudo-inputs, which are learned with the networks (VampPrior, Tomczak &
    /// Welling 2018).
    Vamp {
        /// Number of pseudo-inputs.
        components: usize,
    },
    /// Standard normal noise, transformed by layers that shift and scale every value by amounts that depend on the values before it
    /// (masked autoregressive flow, Papamakarios et al. 2017); trained with the networks. It depends on the condition if the model
    /// is conditional.
    Maf {
        /// Number of layers.
        #[serde(default = "maf_layers")]
        layers: usize,
        /// Hidden units of each layer.
        #[serde(default = "maf_hidden")]
        hidden: usize,
    },
    /// For codes: each code depends on the previous codes of the map, and on the label if the model is conditional. The last
    /// part of training fits this prior, while the encoder and the decoder are frozen.
    Autoregressive {
        /// Features of a code.
        #[serde(default = "embedding")]
        embedding: usize,
        /// Width of the recurrent layer.
        #[serde(default = "hidden")]
        hidden: usize,
        /// The kind of the recurrent layer: `lstm` or `gru`.
        #[serde(default)]
        cell: CellKind,
        /// Share of the training steps that train the prior, in (0, 1); they are the last ones.
        #[serde(default = "prior_share")]
        share: f64,
    },
}

/// The value in the authors' experiments.
fn maf_layers() -> usize {
    5
}

/// See [`maf_layers`].
fn maf_hidden() -> usize {
    100
}

fn embedding() -> usize {
    32
}

fn hidden() -> usize {
    256
}

fn prior_share() -> f64 {
    0.5
}

/// The layers of a prior over codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodePriorSizes {
    /// Features of a code.
    pub(crate) embedding: usize,
    /// Width of the recurrent layer.
    pub(crate) hidden: usize,
    /// The kind of the recurrent layer.
    pub(crate) cell: CellKind,
}

impl PriorConfig {
    fn is_standard(&self) -> bool {
        *self == Self::Standard
    }

    /// A masked autoregressive flow of the default size.
    pub fn maf() -> Self {
        Self::Maf { layers: maf_layers(), hidden: maf_hidden() }
    }

    /// Whether training changes this prior.
    fn has_weights(&self) -> bool {
        matches!(self, Self::Label | Self::Vamp { .. } | Self::Maf { .. })
    }

    /// Checks the prior of a model whose condition has `width` values; 0 if it is unconditional.
    ///
    /// # Errors
    /// [`Error::Config`] says what is valid.
    pub fn validate(&self, width: usize) -> Result<()> {
        match self {
            Self::Label if width == 0 => {
                Err(unfit_prior("a prior that depends on the label needs the conditional family, cvae"))
            }
            Self::Mixture { components } if !(1..=MOST_COMPONENTS).contains(components) => {
                Err(unfit_prior("a mixture has 1 to 1,000 components"))
            }
            Self::Vamp { .. } if width > 0 => {
                Err(unfit_prior("a vamp prior is for the family vae, which has no condition"))
            }
            Self::Vamp { components } if !(1..=MOST_COMPONENTS).contains(components) => {
                Err(unfit_prior("a vamp prior has 1 to 1,000 components"))
            }
            Self::Maf { layers, .. } if !(1..=MOST_LAYERS).contains(layers) => {
                Err(unfit_prior("a maf prior must have 1 to 32 layers"))
            }
            Self::Maf { hidden, .. } if *hidden == 0 => {
                Err(unfit_prior("the layers of a maf prior need at least one hidden unit"))
            }
            Self::Maf { hidden, .. } if *hidden > WIDEST => Err(unfit_prior(TOO_WIDE)),
            Self::Autoregressive { embedding, hidden, .. }
                if [embedding, hidden].iter().any(|width| !(1..=WIDEST).contains(*width)) =>
            {
                Err(unfit_prior("the layers of an autoregressive prior need a width of 1 to 2^24"))
            }
            Self::Autoregressive { share, .. } if !(*share > 0.0 && *share < 1.0) => Err(unfit_prior(
                "the share of the steps that train an autoregressive prior must be more than 0 and less than 1",
            )),
            _ => Ok(()),
        }
    }
}

/// The error for a prior that a model cannot have.
pub(crate) fn unfit_prior(reason: &str) -> Error {
    Error::Config { key: "model.prior".into(), reason: reason.into() }
}

/// The error for latents that are not codes, in a model that needs codes.
pub(crate) fn not_codes() -> Error {
    let reason = "this model needs codes as latents: set the kind fsq or vq".to_owned();
    Error::Config { key: "model.latent".into(), reason }
}

/// The shape of encoder and decoder; the decoder mirrors the encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Network {
    /// Linear layers of these widths.
    Mlp {
        /// Widths from the image to the latent.
        hidden: Vec<usize>,
    },
    /// Convolutions of stride 2 with these channels, then one linear layer.
    Conv {
        /// Channels from the image to the latent; each entry halves height and width.
        channels: Vec<usize>,
        /// Width of the linear layer between the convolutions and the latent. With codes, it is a convolution.
        hidden: usize,
        /// Batch norm after every convolution but the first and the last.
        #[serde(default)]
        batch_norm: bool,
    },
    /// As `conv`, with as many layers as bring images of any size down to about 4×4.
    Tower {
        /// Channels at half the image's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Residual blocks at every size.
        #[serde(default)]
        blocks: usize,
        /// Width of the linear layer between the convolutions and the latent.
        hidden: usize,
        /// Batch norm after every convolution of stride 2 but the first and the last.
        #[serde(default)]
        batch_norm: bool,
    },
    /// A recurrent layer on each side, for sequences of tokens (Bowman et al. 2016): the encoder's last state gives the posterior, and the
    /// decoder predicts every token from those before it, each concatenated with the latent.
    Recurrent {
        /// Features of a token.
        embedding: usize,
        /// Width of the hidden states.
        hidden: usize,
        /// The kind of the recurrent layers: `lstm` or `gru`.
        #[serde(default, skip_serializing_if = "is_lstm")]
        cell: CellKind,
        /// Share of the tokens that the decoder is not given in training, in [0, 1), so that it needs the latent (word dropout).
        #[serde(default, skip_serializing_if = "is_zero")]
        word_dropout: f64,
        /// Share of the decoder's features that are set to zero in training, in [0, 1): of embedded tokens, and of hidden states
        /// before the output layer (Zaremba et al. 2014).
        #[serde(default, skip_serializing_if = "is_zero")]
        dropout: f64,
        /// Use the decoder's embedding as the weight of its output layer, so that both learn from every token (Press & Wolf 2017).
        /// `hidden` must equal `embedding`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tied: bool,
    },
    /// For clips, one latent per clip: each frame becomes features as in `tower`, which convolutions along time mix. In the decoder,
    /// the motion, a part of the latent, becomes a code per frame by convolutions along time; the rest of the latent, the content, is
    /// the same for all frames (MoCoGAN, Tulyakov et al. 2018).
    Clip {
        /// Channels at half the frame's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Features of a frame.
        features: usize,
        /// Residual blocks, of two convolutions along time with windows of five frames.
        #[serde(default = "clip_blocks")]
        blocks: usize,
        /// Width of the linear layer before the latent.
        hidden: usize,
        /// Length of the motion, the last values of the latent.
        motion: usize,
        /// Batch norm in the layers of frames, except the first and the last.
        #[serde(default)]
        batch_norm: bool,
    },
}

fn clip_blocks() -> usize {
    2
}

fn is_lstm(cell: &CellKind) -> bool {
    *cell == CellKind::Lstm
}

fn is_one(draws: &usize) -> bool {
    *draws == 1
}

fn is_neutral(weight: &f64) -> bool {
    *weight == 1.0
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            latent_dim: 20,
            latent: LatentConfig::Gaussian,
            upper: None,
            network: Network::Mlp { hidden: vec![400] },
            activation: Activation::Relu,
            gated: false,
            init: WeightInit::Pytorch,
            likelihood: LikelihoodConfig::default(),
            prior: PriorConfig::Standard,
            beta: 1.0,
            total_correlation: 1.0,
            discriminator: Vec::new(),
            kl_warmup_steps: 0,
            free_bits: 0.0,
            importance_samples: 1,
            draws: 1,
            bound: BoundConfig::Mean,
            start_at_mean: false,
            completion: None,
        }
    }
}

impl VaeConfig {
    pub(crate) fn style(&self) -> Style {
        Style { weights: self.init.into(), activation: self.activation }
    }

    /// Checks the keys for maps of codes, which cannot use the keys of a Gaussian posterior and its prior.
    fn validate_codes(&self) -> Result<()> {
        let fail = |key: &str, reason: &str| {
            Err(Error::Config { key: format!("model.{key}"), reason: reason.into() })
        };
        if !matches!(self.network, Network::Conv { .. }) {
            return fail("network", "codes need a network of the kind conv");
        }
        if self.completion.is_some() {
            return fail(
                "completion",
                "a model with codes cannot complete images: remove this key or model.latent",
            );
        }
        if self.upper.is_some() {
            return fail(
                "upper",
                "a model with codes has one group of latents: remove this key or model.latent",
            );
        }
        if !matches!(self.prior, PriorConfig::Autoregressive { .. }) {
            return fail("prior", "codes need an autoregressive prior: prior = { autoregressive = {} }");
        }
        let gaussian = [
            ("beta", self.beta != 1.0),
            ("total_correlation", !is_neutral(&self.total_correlation)),
            ("discriminator", !self.discriminator.is_empty()),
            ("kl_warmup_steps", self.kl_warmup_steps > 0),
            ("free_bits", self.free_bits != 0.0),
            ("importance_samples", self.importance_samples != 1),
            ("draws", self.draws != 1),
            ("bound", !self.bound.is_mean()),
        ];
        match gaussian.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => fail(
                key,
                "a model with codes trains without a KL term and without random draws: leave it out",
            ),
            None => Ok(()),
        }
    }

    fn check_total_correlation(&self) -> Result<()> {
        let weight = self.total_correlation;
        let reason = if !(weight >= 0.0 && weight.is_finite()) {
            "must be a finite number, not negative"
        } else if is_neutral(&weight) {
            return Ok(());
        } else if self.prior.has_weights() {
            "it needs a standard normal prior: remove this key or model.prior"
        } else if self.completion.is_some() {
            "it needs a standard normal prior: remove this key or model.completion"
        } else if self.upper.is_some() {
            "it needs a standard normal prior: remove this key or model.upper"
        } else if self.draws > 1 {
            "it is estimated from one draw per sample: remove this key or model.draws"
        } else {
            return Ok(());
        };
        Err(Error::Config { key: "model.total_correlation".into(), reason: reason.into() })
    }

    /// Total number of latents in all groups.
    pub(crate) fn latents(&self) -> usize {
        self.latent_dim + self.upper.as_ref().map_or(0, |upper| upper.latent_dim)
    }

    /// The number of values, out of `width`, of a condition that the encoder and the decoder see: only the
    /// prior sees a given part.
    pub(crate) fn seen(&self, width: usize) -> usize {
        if self.completion.is_some() { 0 } else { width }
    }

    /// Whether training changes the distribution of latents.
    pub(crate) fn learns_prior(&self) -> bool {
        self.prior.has_weights() || self.completion.is_some() || self.upper.is_some()
    }

    /// The number of steps at the start of training that do not train the model itself.
    pub(crate) fn guess_steps(&self) -> u64 {
        self.completion.map_or(0, |completion| completion.guess_steps)
    }

    /// Checks every value, for a model whose condition has `width` values; 0 if it is unconditional.
    ///
    /// # Errors
    /// [`Error::Config`] names the key and what is valid.
    pub fn validate(&self, width: usize) -> Result<()> {
        let fail = |key: &str, reason: &str| {
            Err(Error::Config { key: format!("model.{key}"), reason: reason.into() })
        };
        if self.latent_dim == 0 {
            return fail("latent_dim", "must be at least 1");
        }
        self.prior.validate(width)?;
        self.latent.validate(self.latent_dim)?;
        if let LatentConfig::Fsq { .. } | LatentConfig::Vq { .. } = self.latent {
            self.validate_codes()?;
        } else if matches!(self.prior, PriorConfig::Autoregressive { .. }) {
            return fail(
                "prior",
                "an autoregressive prior needs codes: set model.latent to the kind fsq or vq",
            );
        }
        if let Some(completion) = &self.completion {
            if width == 0 {
                return fail("completion", "only the conditional family, cvae, can complete images");
            }
            if !self.prior.is_standard() {
                return fail(
                    "prior",
                    "the prior of a model that completes images is a network: leave it out",
                );
            }
            if !self.bound.is_mean() {
                return fail(
                    "bound",
                    "a model that completes images supports only the bound `mean`: leave it out",
                );
            }
            if completion.guess_steps > 0 && !matches!(self.network, Network::Mlp { .. }) {
                return fail("completion.guess_steps", "only a network of the kind mlp supports it");
            }
            if completion.guess_steps > 0 && completion.given.is_drawn() {
                return fail(
                    "completion.guess_steps",
                    "guesses need the same given part in every image: leave it out",
                );
            }
        }
        if matches!(self.prior, PriorConfig::Vamp { .. }) && !matches!(self.network, Network::Mlp { .. }) {
            return fail("prior", "a vamp prior needs a network of the kind mlp");
        }
        if matches!(self.prior, PriorConfig::Vamp { .. }) && self.free_bits > 0.0 {
            return fail("free_bits", "a vamp prior has no KL of each latent dimension: leave it out");
        }
        if matches!(self.prior, PriorConfig::Maf { .. }) && self.free_bits > 0.0 {
            return fail("free_bits", "a maf prior has no KL term per latent dimension: leave it out");
        }
        if let Some(upper) = &self.upper {
            if upper.latent_dim == 0 || upper.hidden.contains(&0) {
                return fail("upper", "the group and each of its layers need at least one value");
            }
            if upper.hidden.iter().chain([&upper.latent_dim]).any(|width| *width > WIDEST) {
                return fail("upper", TOO_WIDE);
            }
            if width > 0 {
                return fail(
                    "upper",
                    "a second group of latents is for the family vae, which has no condition",
                );
            }
            if !self.prior.is_standard() {
                return fail(
                    "prior",
                    "the prior of a second group of latents is standard normal: leave it out",
                );
            }
            if self.free_bits > 0.0 {
                return fail(
                    "free_bits",
                    "two groups of latents have no KL term per latent dimension: leave it out",
                );
            }
        }
        let widths = match &self.network {
            Network::Mlp { hidden } => hidden.clone(),
            Network::Conv { channels, hidden, .. } if channels.is_empty() || *hidden == 0 => {
                return fail("network", "needs at least one convolution and a hidden width");
            }
            Network::Conv { channels, .. } => channels.clone(),
            Network::Tower { width, hidden, .. } => vec![*width, *hidden],
            Network::Recurrent { embedding, hidden, tied: true, .. } if embedding != hidden => {
                return fail("network.tied", "needs an `embedding` as wide as `hidden`");
            }
            Network::Recurrent { embedding, hidden, word_dropout, dropout, .. } => {
                for (key, share) in [("network.word_dropout", word_dropout), ("network.dropout", dropout)] {
                    if !(0.0..1.0).contains(share) {
                        return fail(key, "must lie in [0, 1)");
                    }
                }
                vec![*embedding, *hidden]
            }
            Network::Clip { motion, .. } if *motion == 0 || *motion >= self.latent_dim => {
                return fail("network.motion", "must be at least 1 and less than latent_dim");
            }
            Network::Clip { width, features, hidden, .. } => vec![*width, *features, *hidden],
        };
        if widths.contains(&0) {
            return fail("network", "a layer of width 0 carries nothing");
        }
        let hidden = if let Network::Conv { hidden, .. } = &self.network { *hidden } else { 0 };
        if widths.iter().chain([&hidden, &self.latent_dim]).any(|width| *width > WIDEST) {
            return fail("network", TOO_WIDE);
        }
        if !(self.beta >= 0.0 && self.beta.is_finite()) {
            return fail("beta", "must be a finite number, not negative");
        }
        self.check_total_correlation()?;
        if !self.discriminator.is_empty() && is_neutral(&self.total_correlation) {
            return fail("discriminator", "has no effect while model.total_correlation is 1");
        }
        if self.discriminator.iter().any(|width| !(1..=WIDEST).contains(width)) {
            return fail("discriminator", "each layer needs a width of 1 to 2^24");
        }
        if !(self.free_bits >= 0.0 && self.free_bits.is_finite()) {
            return fail("free_bits", "must be a finite number of nats, not negative");
        }
        let recurrent = matches!(self.network, Network::Recurrent { .. });
        if recurrent != (self.likelihood == LikelihoodConfig::Tokens) {
            return fail(
                "likelihood",
                "the kind `tokens` and a network of the kind `recurrent` belong together: one has no use without the other",
            );
        }
        if self.gated && !matches!(self.network, Network::Mlp { .. }) {
            return fail("gated", "only a network of the kind mlp supports it");
        }
        let unit = matches!(
            self.likelihood,
            LikelihoodConfig::Bernoulli { .. } | LikelihoodConfig::ContinuousBernoulli
        );
        if self.start_at_mean && !(unit && matches!(self.network, Network::Mlp { .. })) {
            return fail(
                "start_at_mean",
                "only a network of the kind mlp with a likelihood of the kind bernoulli or continuous-bernoulli supports it",
            );
        }
        if self.draws == 0 {
            return fail("draws", "must be at least 1");
        }
        if self.importance_samples == 0 {
            return fail("importance_samples", "must be at least 1");
        }
        if self.draws.saturating_mul(self.importance_samples) > MOST_DRAWS {
            return fail("importance_samples", "times `draws`, it must be at most 65,536");
        }
        match self.bound {
            BoundConfig::Piwae if self.draws == 1 => {
                return fail("bound", "piwae needs several `draws`: with one, it is the same as mean");
            }
            BoundConfig::Piwae if matches!(self.prior, PriorConfig::Vamp { .. }) => {
                return fail(
                    "bound",
                    "piwae trains the encoder and the prior separately, but a vamp prior uses the encoder",
                );
            }
            BoundConfig::Ciwae { elbo } if !(0.0..=1.0).contains(&elbo) => {
                return fail("bound", "the weight `elbo` of ciwae must lie in [0, 1]");
            }
            BoundConfig::Ciwae { .. } if self.importance_samples == 1 => {
                return fail(
                    "bound",
                    "ciwae needs several `importance_samples`: with one, it is the same as mean",
                );
            }
            _ => {}
        }
        let plain = self.beta == 1.0
            && is_neutral(&self.total_correlation)
            && self.free_bits == 0.0
            && self.kl_warmup_steps == 0;
        if self.is_weighted() && !plain {
            return fail(
                if self.importance_samples > 1 { "importance_samples" } else { "bound" },
                "the importance-weighted bound has no KL term of its own: leave beta, total_correlation, free_bits and kl_warmup_steps alone",
            );
        }
        Ok(())
    }

    /// Whether the objective uses importance weights.
    pub(crate) fn is_weighted(&self) -> bool {
        self.importance_samples > 1 || self.bound == BoundConfig::Piwae
    }
}
