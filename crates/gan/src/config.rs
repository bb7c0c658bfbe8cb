//! GAN configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::PolicyGradient;
use super::{AdversarialLoss, Penalty};
use waxwork_core::{Error, Result};
use waxwork_nn::augment::Augmentation;
use waxwork_nn::layers::{CellKind, WeightInit};
use waxwork_nn::nets::{TOO_WIDE, WIDEST};

/// A GAN's networks, losses and regularisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GanConfig {
    /// Length of the latent vector z.
    pub latent_dim: usize,
    /// How the label reaches both networks; required by the conditional family and refused by the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditioning: Option<Conditioning>,
    /// The network from latents to images.
    pub generator: GeneratorNetwork,
    /// The network from images to logits.
    pub discriminator: DiscriminatorNetwork,
    /// Start values of the weights.
    pub init: WeightInit,
    /// The losses of both players.
    pub loss: AdversarialLoss,
    /// How a generator of the kind `autoregressive` learns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyGradient>,
    /// Lowers the target of real images by this much, in [0, 0.5] (one-sided label smoothing, Salimans et al. 2016).
    pub label_smoothing: f64,
    /// A penalty on the norm of the discriminator's gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
    /// Discriminator updates per generator update: every step trains the discriminator on a new batch, and every
    /// `n_critic`-th step trains the generator too.
    pub n_critic: u64,
    /// Samples that the discriminator judges together (PacGAN, Lin et al. 2018): a generator that repeats itself is found out sooner.
    #[serde(skip_serializing_if = "is_one")]
    pub pack: usize,
    /// Differentiable augmentation of every image that the discriminator sees, in this order (Zhao et al. 2020).
    pub augment: Vec<Augmentation>,
    /// Augments each image with a probability that begins at 0, rises while the mean sign of the logits of training images is above
    /// this, and falls while it is below, so that the discriminator sees no more change than keeps it from memorising (adaptive
    /// augmentation, Karras et al. 2020, who have 0.6). In (0, 1). Without this key every image is augmented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment_target: Option<f64>,
}

fn no_channels(channels: &usize) -> bool {
    *channels == 0
}

fn is_zero(dropout: &f64) -> bool {
    *dropout == 0.0
}

fn is_one(pack: &usize) -> bool {
    *pack == 1
}

/// The generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GeneratorNetwork {
    /// Linear layers of these widths, each with a ReLU.
    Mlp {
        /// Widths from the latent to the image.
        hidden: Vec<usize>,
        /// Batch norm before every ReLU.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        batch_norm: bool,
    },
    /// Linear layers of these widths, each with batch norm and a ReLU, whose output is concatenated with its input (CTGAN, Xu et al. 2019).
    Ctgan {
        /// Widths from the latent to the row.
        hidden: Vec<usize>,
    },
    /// A linear layer to the smallest feature maps, then transposed convolutions (Radford et al. 2016).
    Dcgan {
        /// Channels from the latent to the image; each entry doubles height and width.
        channels: Vec<usize>,
    },
    /// A linear layer to the smallest feature maps, then residual blocks (Miyato et al. 2018).
    Residual {
        /// Channels of every block.
        channels: usize,
        /// Blocks, each of which doubles height and width.
        blocks: usize,
    },
    /// As `dcgan`, with as many layers as bring images of any size down to about 4×4.
    Tower {
        /// Channels at half the image's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Residual blocks at every size.
        #[serde(default)]
        blocks: usize,
        /// Channels at the image's own size. Every layer then doubles each pixel before a 3×3 convolution, and a last 3×3
        /// convolution makes the image (Odena et al. 2016). 0 means transposed convolutions, the last of which makes the image.
        #[serde(default, skip_serializing_if = "no_channels")]
        detail: usize,
    },
    /// For sequences of tokens: a linear layer to features at every position, residual blocks of convolutions along the sequence, and a
    /// softmax over the tokens (Gulrajani et al. 2017).
    Text {
        /// Features at every position.
        channels: usize,
        /// Residual blocks, of two convolutions with windows of five tokens.
        #[serde(default = "text_blocks")]
        blocks: usize,
    },
    /// For clips: the motion, a part of the latent, becomes a code per frame by convolutions along time; the rest of the latent, the
    /// content, is the same for all frames (MoCoGAN, Tulyakov et al. 2018). Frames are made of both as by `tower`.
    Clip {
        /// Channels at half the frame's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Features of a frame's code.
        features: usize,
        /// Residual blocks, of two convolutions along time with windows of five frames.
        #[serde(default = "clip_blocks")]
        blocks: usize,
        /// Length of the motion, the last values of the latent.
        motion: usize,
    },
    /// For sounds as waveforms: a linear layer to a short sequence of features, then transposed convolutions
    /// with kernel size 25 and stride 4, without normalisation (WaveGAN, Donahue et al. 2019).
    Wave {
        /// Channels from the latent to the waveform; each entry multiplies the length by four.
        channels: Vec<usize>,
    },
    /// For sequences of tokens: an LSTM or GRU that samples each token given all previous tokens. It learns by maximum likelihood first,
    /// then by policy gradient with rewards from a discriminator of the kind `windows` (SeqGAN, Yu et al. 2017).
    /// `latent_dim` must be the maximum length of a text, because z holds one random number per token.
    Autoregressive {
        /// Features of a token.
        embedding: usize,
        /// Width of the hidden states.
        hidden: usize,
        /// The kind of the recurrent layer.
        #[serde(default)]
        cell: CellKind,
        /// Whether a sequence may end before the maximum length. Use false for data whose sequences all have that length, such as
        /// `oracle`.
        #[serde(default = "yes")]
        ends: bool,
        /// Share of the features that are set to zero in training by maximum likelihood, in [0, 1): of embedded tokens, and of hidden
        /// states before the output layer (Zaremba et al. 2014).
        #[serde(default, skip_serializing_if = "is_zero")]
        dropout: f64,
        /// Use the embedding as the weight of the output layer, so that both learn from every token (Press & Wolf 2017). `hidden` must
        /// equal `embedding`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tied: bool,
    },
}

fn yes() -> bool {
    true
}

fn wave_shuffle() -> usize {
    2
}

fn clip_blocks() -> usize {
    2
}

fn text_blocks() -> usize {
    5
}

/// The discriminator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiscriminatorNetwork {
    /// Linear layers of these widths, each with a leaky ReLU of slope 0.2.
    Mlp {
        /// Widths from the image to the logit.
        hidden: Vec<usize>,
        /// Linear outputs of which maxout takes the largest, in place of the leaky ReLU (Goodfellow et al.
        /// 2013).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maxout: Option<usize>,
        /// Normalisation.
        #[serde(default)]
        norm: DiscriminatorNorm,
        /// Share of the values of every layer that a step leaves out, in [0, 1) (Srivastava et al. 2014).
        #[serde(default, skip_serializing_if = "is_zero")]
        dropout: f64,
    },
    /// Convolutions of stride 2, each with a leaky ReLU of slope 0.2 (Radford et al. 2016).
    Dcgan {
        /// Channels from the image to the logit; each entry halves height and width.
        channels: Vec<usize>,
        /// Normalisation.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// Residual blocks, of which the first two halve height and width, then a sum over positions (Miyato et al. 2018).
    Residual {
        /// Channels of every block.
        channels: usize,
        /// Blocks.
        blocks: usize,
        /// Normalisation.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// As `dcgan`, with as many layers as bring images of any size down to about 4×4.
    Tower {
        /// Channels at half the image's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Residual blocks at every size.
        #[serde(default)]
        blocks: usize,
        /// Normalisation.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// For sequences of tokens: the mirror of the generator `text`.
    Text {
        /// Features at every position.
        channels: usize,
        /// Residual blocks, of two convolutions with windows of five tokens.
        #[serde(default = "text_blocks")]
        blocks: usize,
        /// Normalisation.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// For clips: each frame becomes features as in `tower`. A critic of frames judges these; a critic of clips judges them after
    /// convolutions along time. Both have the same weight in the loss.
    Clip {
        /// Channels at half the frame's size; each smaller size has twice as many, up to eight times.
        width: usize,
        /// Features of a frame.
        features: usize,
        /// Residual blocks, of two convolutions along time with windows of five frames.
        #[serde(default = "clip_blocks")]
        blocks: usize,
        /// Normalisation; batch norm is in the layers of frames only.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// For sounds as waveforms: the mirror of the generator `wave`.
    Wave {
        /// Channels from the waveform to the logit; each entry divides the length by four.
        channels: Vec<usize>,
        /// Phase shuffle: after each layer except the last, a step shifts the features of each sample by a
        /// random number of positions, at most this many in either direction. Then the phase does not reveal
        /// generated waveforms. 0 disables it.
        #[serde(default = "wave_shuffle")]
        shuffle: usize,
        /// Normalisation; batch norm is not possible.
        #[serde(default)]
        norm: DiscriminatorNorm,
    },
    /// For sequences of tokens: convolutions over windows of several widths with max-pooling over all windows (Kim 2014), then a highway
    /// layer (Srivastava et al. 2015), as in SeqGAN. For generators of the kind `autoregressive`.
    Windows {
        /// Features of a token.
        embedding: usize,
        /// Window sizes in tokens.
        widths: Vec<usize>,
        /// Number of features for each window size.
        filters: Vec<usize>,
        /// Share of the features that a step drops, in [0, 1).
        #[serde(default, skip_serializing_if = "is_zero")]
        dropout: f64,
    },
}

/// Normalisation in a discriminator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorNorm {
    /// Nothing.
    #[default]
    None,
    /// Batch norm after every convolution but the first (Radford et al. 2016).
    Batch,
    /// The spectral norm of every weight (Miyato et al. 2018).
    Spectral,
}

/// How the label reaches generator and discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Conditioning {
    /// Concatenated with the latent, and as constant planes with the image (Mirza & Osindero 2014).
    Concatenation,
    /// Conditional batch norm, and the product of an embedding with the features (Miyato & Koyama 2018).
    Projection,
    /// Concatenated with the latent; the discriminator also classifies real and generated images (Odena et al. 2017).
    AuxiliaryClassifier {
        /// Weight of the classification loss of both players.
        weight: f64,
    },
}

/// The number of outputs of which maxout takes the largest.
const PIECES: std::ops::RangeInclusive<usize> = 2..=64;

/// The number of blocks that halve height and width in a residual discriminator.
pub(super) const RESIDUAL_HALVINGS: usize = 2;

impl Default for GanConfig {
    /// DCGAN for 28×28 images.
    fn default() -> Self {
        Self {
            latent_dim: 100,
            conditioning: None,
            generator: GeneratorNetwork::Dcgan { channels: vec![128, 64] },
            discriminator: DiscriminatorNetwork::Dcgan {
                channels: vec![64, 128],
                norm: DiscriminatorNorm::Batch,
            },
            init: WeightInit::default(),
            loss: AdversarialLoss::default(),
            policy: None,
            label_smoothing: 0.0,
            penalty: None,
            n_critic: 1,
            pack: 1,
            augment: Vec::new(),
            augment_target: None,
        }
    }
}

impl DiscriminatorNetwork {
    pub(super) fn dropout(&self) -> f64 {
        match self {
            Self::Mlp { dropout, .. } | Self::Windows { dropout, .. } => *dropout,
            _ => 0.0,
        }
    }

    pub(super) fn norm(&self) -> DiscriminatorNorm {
        match self {
            Self::Mlp { norm, .. }
            | Self::Dcgan { norm, .. }
            | Self::Residual { norm, .. }
            | Self::Tower { norm, .. }
            | Self::Text { norm, .. }
            | Self::Clip { norm, .. }
            | Self::Wave { norm, .. } => *norm,
            Self::Windows { .. } => DiscriminatorNorm::None,
        }
    }
}

impl GanConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] names the key and what is valid.
    pub fn validate(&self) -> Result<()> {
        let fail = |key: &str, reason: &str| {
            Err(Error::Config { key: format!("model.{key}"), reason: reason.into() })
        };
        if self.latent_dim == 0 {
            return fail("latent_dim", "must be at least 1");
        }
        let generator = match &self.generator {
            GeneratorNetwork::Mlp { hidden, .. } | GeneratorNetwork::Ctgan { hidden } => hidden.clone(),
            GeneratorNetwork::Dcgan { channels } | GeneratorNetwork::Wave { channels } => channels.clone(),
            GeneratorNetwork::Residual { channels, blocks } => vec![*channels, *blocks],
            GeneratorNetwork::Tower { width, .. } => vec![*width],
            GeneratorNetwork::Text { channels, blocks } => vec![*channels, *blocks],
            GeneratorNetwork::Clip { motion, .. } if *motion == 0 || *motion >= self.latent_dim => {
                return fail("generator.motion", "must be at least 1 and less than latent_dim");
            }
            GeneratorNetwork::Clip { width, features, .. } => vec![*width, *features],
            GeneratorNetwork::Autoregressive { embedding, hidden, tied: true, .. } if embedding != hidden => {
                return fail("generator.tied", "needs an `embedding` as wide as `hidden`");
            }
            GeneratorNetwork::Autoregressive { dropout, .. } if !(0.0..1.0).contains(dropout) => {
                return fail("generator.dropout", "must lie in [0, 1)");
            }
            GeneratorNetwork::Autoregressive { embedding, hidden, .. } => vec![*embedding, *hidden],
        };
        if generator.is_empty() || generator.contains(&0) {
            return fail("generator", "needs at least one layer, and none of width 0");
        }
        let discriminator = match &self.discriminator {
            DiscriminatorNetwork::Mlp { maxout: Some(pieces), .. } if !PIECES.contains(pieces) => {
                return fail("discriminator.maxout", "must lie in [2, 64]");
            }
            DiscriminatorNetwork::Mlp { maxout: Some(_), .. } if self.penalty.is_some() => {
                return fail(
                    "penalty",
                    "a discriminator with maxout has no gradient penalty; leave out discriminator.maxout",
                );
            }
            DiscriminatorNetwork::Mlp { hidden, maxout: Some(pieces), .. } => {
                hidden.iter().map(|width| width.saturating_mul(*pieces)).collect()
            }
            DiscriminatorNetwork::Mlp { hidden, .. } => hidden.clone(),
            DiscriminatorNetwork::Dcgan { channels, .. } | DiscriminatorNetwork::Wave { channels, .. } => {
                channels.clone()
            }
            DiscriminatorNetwork::Residual { channels, blocks, .. } if *blocks >= RESIDUAL_HALVINGS => {
                vec![*channels]
            }
            DiscriminatorNetwork::Tower { width, .. } => vec![*width],
            DiscriminatorNetwork::Text { channels, blocks, .. } => vec![*channels, *blocks],
            DiscriminatorNetwork::Clip { .. } if self.pack > 1 => {
                return fail("pack", "a discriminator of kind clip judges one clip at a time");
            }
            DiscriminatorNetwork::Clip { width, features, .. } => vec![*width, *features],
            DiscriminatorNetwork::Windows { widths, filters, .. } if widths.len() != filters.len() => {
                return fail("discriminator.filters", "must have one entry for each entry of widths");
            }
            DiscriminatorNetwork::Windows { widths, .. } if widths.is_empty() => {
                return fail("discriminator.widths", "must have at least one entry");
            }
            DiscriminatorNetwork::Windows { embedding, widths, filters, .. } => {
                [&[*embedding][..], &widths[..], &filters[..]].concat()
            }
            DiscriminatorNetwork::Residual { .. } => {
                return fail(
                    "discriminator.blocks",
                    "must be at least 2: the first two blocks halve height and width",
                );
            }
        };
        if discriminator.is_empty() || discriminator.contains(&0) {
            return fail("discriminator", "needs at least one layer, and none of width 0");
        }
        if generator.iter().chain(&discriminator).chain([&self.latent_dim]).any(|width| *width > WIDEST) {
            return fail("generator", TOO_WIDE);
        }
        let batch_norm = self.discriminator.norm() == DiscriminatorNorm::Batch;
        use DiscriminatorNetwork::{Clip, Dcgan, Tower};
        if batch_norm && !matches!(self.discriminator, Clip { .. } | Dcgan { .. } | Tower { .. }) {
            let reason = "only discriminators of the kinds dcgan, tower and clip support batch norm";
            return fail("discriminator.norm", reason);
        }
        if batch_norm && self.penalty.is_some() {
            return fail(
                "penalty",
                "batch norm mixes the gradients of a batch, but the penalty needs each image's own; set discriminator.norm to none or spectral",
            );
        }
        self.check_policy()?;
        if let Some(reason) = self.penalty.and_then(Penalty::problem) {
            return fail("penalty", reason);
        }
        if !(0.0..=0.5).contains(&self.label_smoothing) {
            return fail("label_smoothing", "must lie in [0, 0.5]");
        }
        if self.label_smoothing > 0.0 && !self.loss.has_targets() {
            return fail(
                "label_smoothing",
                "only the losses minimax, non-saturating and least-squares support it",
            );
        }
        if let Some(Conditioning::AuxiliaryClassifier { weight }) = self.conditioning
            && !(weight > 0.0 && weight.is_finite())
        {
            return fail("conditioning.weight", "must be positive");
        }
        if self.n_critic == 0 {
            return fail("n_critic", "must be at least 1");
        }
        if !(0.0..1.0).contains(&self.discriminator.dropout()) {
            return fail("discriminator.dropout", "must lie in [0, 1)");
        }
        if self.pack == 0 {
            return fail("pack", "must be at least 1");
        }
        if let Some(target) = self.augment_target {
            if self.augment.is_empty() {
                return fail(
                    "augment_target",
                    "needs model.augment, the augmentations whose probability it steers",
                );
            }
            if !(target > 0.0 && target < 1.0) {
                return fail("augment_target", "must lie in (0, 1)");
            }
            if !self.loss.has_sides() {
                return fail(
                    "augment_target",
                    "only the losses minimax, non-saturating and hinge mark real samples by the sign of the logit",
                );
            }
        }
        let concatenates = matches!(self.conditioning, Some(Conditioning::Concatenation));
        let mlp = matches!(self.discriminator, DiscriminatorNetwork::Mlp { .. });
        if self.pack > 1 && !(self.conditioning.is_none() || concatenates && mlp) {
            return fail(
                "pack",
                "packing conditional samples needs a discriminator of kind mlp with labels by concatenation",
            );
        }
        Ok(())
    }

    /// Checks the settings of a generator that learns by policy gradient, and rejects them for all others.
    fn check_policy(&self) -> Result<()> {
        let fail = |key: &str, reason: String| Err(Error::Config { key: format!("model.{key}"), reason });
        let by_token = matches!(self.generator, GeneratorNetwork::Autoregressive { .. });
        if by_token != matches!(self.discriminator, DiscriminatorNetwork::Windows { .. }) {
            let reason = "a generator of the kind autoregressive and a discriminator of the kind windows belong together";
            return fail("discriminator", reason.into());
        }
        if !by_token {
            return match self.policy {
                Some(_) => fail("policy", "only generators of the kind autoregressive have a policy".into()),
                None => Ok(()),
            };
        }
        let unsupported = [
            ("conditioning", !matches!(self.conditioning, None | Some(Conditioning::Concatenation))),
            ("penalty", self.penalty.is_some()),
            ("pack", self.pack > 1),
            ("augment", !self.augment.is_empty()),
        ];
        if let Some((key, _)) = unsupported.into_iter().find(|(_, set)| *set) {
            return fail(key, "a generator of the kind autoregressive does not support it".into());
        }
        if !matches!(self.loss, AdversarialLoss::NonSaturating | AdversarialLoss::Minimax) {
            let reason = "the reward is the probability of being real, which the discriminator outputs only with the losses non-saturating and minimax";
            return fail("loss", reason.into());
        }
        let Some(policy) = self.policy else {
            return fail(
                "policy",
                "a generator of the kind autoregressive needs it: policy = {} has the defaults".into(),
            );
        };
        match policy.problem() {
            Some((key, reason)) => fail(&format!("policy.{key}"), reason.into()),
            None => Ok(()),
        }
    }
}
