//! VAE configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::likelihood::LikelihoodConfig;
use waxwork_core::{Error, Result};
use waxwork_kernels::Activation;
use waxwork_nn::layers::{CellKind, WeightInit};
use waxwork_nn::nets::{Style, TOO_WIDE, WIDEST};

/// Maximum number of components of a mixture.
const MOST_COMPONENTS: usize = 1000;

/// Maximum number of layers of a flow.
const MOST_LAYERS: usize = 32;

/// A VAE's networks, its observation model and its objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VaeConfig {
    /// Length of the latent vector z.
    pub latent_dim: usize,
    /// A second group of latents, above those of `latent_dim`, from which it generates them (Burda et al. 2016); for the
    /// family `vae`.
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
    /// Steps over which the weight of the KL term rises linearly from zero to `beta`.
    pub kl_warmup_steps: u64,
    /// Nats per latent dimension below which the KL term costs nothing (free bits, Kingma et al. 2016).
    pub free_bits: f64,
    /// Draws per importance-weighted bound (Burda et al. 2016); with 1, it is the evidence lower bound.
    pub importance_samples: usize,
    /// Bounds per sample that are averaged, each from draws of its own.
    #[serde(skip_serializing_if = "is_one")]
    pub draws: usize,
    /// What encoder and decoder learn from these bounds.
    #[serde(skip_serializing_if = "BoundConfig::is_mean")]
    pub bound: BoundConfig,
    /// Start training with the mean of the training samples as the decoder's output for every latent (Burda
    /// et al. 2016): the bias of the output layer is the logit of the mean, clipped to [0.001, 0.999].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start_at_mean: bool,
}

/// A second group of latents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpperConfig {
    /// Number of values in the group.
    pub latent_dim: usize,
    /// Widths of linear layers from the first group to the second; those of the way back mirror them.
    pub hidden: Vec<usize>,
}

/// What the networks learn from the importance-weighted bounds of a sample (Rainforth et al. 2018). M is
/// `model.draws`, and K is `model.importance_samples`.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Standard normal noise that goes through layers, each of which shifts and scales every value by what the values before it say
    /// (masked autoregressive flow, Papamakarios et al. 2017); learned with the networks. It may depend on the condition.
    Maf {
        /// Number of layers.
        #[serde(default = "maf_layers")]
        layers: usize,
        /// Hidden units of each layer.
        #[serde(default = "maf_hidden")]
        hidden: usize,
    },
}

/// As in the experiments of its authors.
fn maf_layers() -> usize {
    5
}

/// See [`maf_layers`].
fn maf_hidden() -> usize {
    100
}

impl PriorConfig {
    fn is_standard(&self) -> bool {
        *self == Self::Standard
    }

    /// A masked autoregressive flow of the default size.
    pub fn maf() -> Self {
        Self::Maf { layers: maf_layers(), hidden: maf_hidden() }
    }

    /// Whether training changes the prior.
    pub(crate) fn has_weights(&self) -> bool {
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
                Err(unfit_prior("a maf prior has 1 to 32 layers"))
            }
            Self::Maf { hidden, .. } if *hidden == 0 => {
                Err(unfit_prior("the layers of a maf prior have at least one hidden unit"))
            }
            Self::Maf { hidden, .. } if *hidden > WIDEST => Err(unfit_prior(TOO_WIDE)),
            _ => Ok(()),
        }
    }
}

/// The error for a prior that a model cannot have.
pub(crate) fn unfit_prior(reason: &str) -> Error {
    Error::Config { key: "model.prior".into(), reason: reason.into() }
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
        /// Width of the linear layer between the convolutions and the latent.
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

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            latent_dim: 20,
            upper: None,
            network: Network::Mlp { hidden: vec![400] },
            activation: Activation::Relu,
            gated: false,
            init: WeightInit::Pytorch,
            likelihood: LikelihoodConfig::default(),
            prior: PriorConfig::Standard,
            beta: 1.0,
            kl_warmup_steps: 0,
            free_bits: 0.0,
            importance_samples: 1,
            draws: 1,
            bound: BoundConfig::Mean,
            start_at_mean: false,
        }
    }
}

impl VaeConfig {
    pub(crate) fn style(&self) -> Style {
        Style { weights: self.init.into(), activation: self.activation }
    }

    /// Number of latents of all groups.
    pub(crate) fn latents(&self) -> usize {
        self.latent_dim + self.upper.as_ref().map_or(0, |upper| upper.latent_dim)
    }

    /// Whether training changes the distribution of latents.
    pub(crate) fn learns_prior(&self) -> bool {
        self.prior.has_weights() || self.upper.is_some()
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
        if matches!(self.prior, PriorConfig::Vamp { .. }) && !matches!(self.network, Network::Mlp { .. }) {
            return fail("prior", "a vamp prior needs a network of the kind mlp");
        }
        if matches!(self.prior, PriorConfig::Vamp { .. }) && self.free_bits > 0.0 {
            return fail("free_bits", "a vamp prior has no KL of each latent dimension: leave it out");
        }
        if matches!(self.prior, PriorConfig::Maf { .. }) && self.free_bits > 0.0 {
            return fail("free_bits", "a maf prior has no KL of each latent dimension: leave it out");
        }
        if let Some(upper) = &self.upper {
            if upper.latent_dim == 0 || upper.hidden.contains(&0) {
                return fail("upper", "a group and a layer have at least one value");
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
            if self.prior != PriorConfig::Standard {
                return fail("prior", "the upper of two groups of latents is standard normal: leave it out");
            }
            if self.free_bits > 0.0 {
                return fail("free_bits", "two groups have no KL of each latent dimension: leave it out");
            }
        }
        let widths = match &self.network {
            Network::Mlp { hidden } => hidden.clone(),
            Network::Conv { channels, hidden, .. } if channels.is_empty() || *hidden == 0 => {
                return fail("network", "needs at least one convolution and a hidden width");
            }
            Network::Conv { channels, .. } => channels.clone(),
            Network::Tower { width, hidden, .. } => vec![*width, *hidden],
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
        match self.bound {
            BoundConfig::Piwae if self.draws == 1 => {
                return fail("bound", "piwae needs several `draws`: with one, it is the same as mean");
            }
            BoundConfig::Piwae if matches!(self.prior, PriorConfig::Vamp { .. }) => {
                return fail(
                    "bound",
                    "piwae trains encoder and prior apart, but a vamp prior uses the encoder",
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
        let plain = self.beta == 1.0 && self.free_bits == 0.0 && self.kl_warmup_steps == 0;
        if self.is_weighted() && !plain {
            return fail(
                if self.importance_samples > 1 { "importance_samples" } else { "bound" },
                "the importance-weighted bound has no KL term of its own: leave beta, free_bits and kl_warmup_steps alone",
            );
        }
        Ok(())
    }

    /// Whether the objective uses importance weights.
    pub(crate) fn is_weighted(&self) -> bool {
        self.importance_samples > 1 || self.bound == BoundConfig::Piwae
    }
}
