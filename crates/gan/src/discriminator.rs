//! The discriminator: maps samples, and a condition if it takes one, to logits.

use candle_core::Tensor;

use super::config::{Conditioning, DiscriminatorNetwork, DiscriminatorNorm, GanConfig, RESIDUAL_HALVINGS};
use super::policy::only_policy;
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Error, Mode, Result, SampleSpec, StepContext};
use waxwork_kernels::{Activation, with_planes};
use waxwork_nn::layers::{Conv1d, Linear, Weight, WeightInit, WeightStyle};
use waxwork_nn::nets::{
    ClipDown, ClipSize, ConvDown, Maxout, Mlp, ResidualDown, SequenceBlocks, Style, Tower, WaveDown, halved,
    needs_waveform,
};
use waxwork_nn::rows::dropout;
use waxwork_nn::signal::Signal;
use waxwork_nn::tokens::needs_tokens;

/// A discriminator, or critic.
#[derive(Clone, Debug)]
pub struct Discriminator {
    body: Body,
    output: Linear,
    labels: Labels,
    pack: usize,
    rate: f64,
    /// The dropout mask of a step, per layer.
    dropout: Vec<Tensor>,
    /// The phase shuffle of a step: how far the features of each sample, or pack of samples, are moved, per
    /// layer.
    shifts: Vec<Vec<isize>>,
}

#[derive(Clone, Debug)]
enum Body {
    Mlp(Mlp),
    Maxout(Maxout),
    Dcgan(ConvDown),
    Residual(ResidualDown),
    Text {
        input: Conv1d,
        blocks: SequenceBlocks,
    },
    /// `critic` maps the features of a frame to its logit.
    Clip {
        down: ClipDown,
        critic: Linear,
    },
    /// Features are moved by up to `shuffle` positions.
    Wave {
        down: WaveDown,
        shuffle: u32,
    },
}

/// What a body makes of samples.
struct Seen {
    /// Features of samples, `(N, ..)`.
    samples: Signal,
    /// The logits of their frames, `(N, T)`, if they are clips.
    frames: Option<Signal>,
}

/// How a discriminator uses labels.
#[derive(Clone, Debug)]
enum Labels {
    Nothing,
    /// Constant planes, concatenated with the channels of an image, with the tokens of a sequence, or with the features
    /// of a clip's frames.
    Planes,
    /// Values, concatenated with those of a sample that is not an image.
    Beside,
    /// One row of features per class, `(classes, features)`.
    Embedding(Weight),
    Classifier(Linear),
}

/// The output of a discriminator.
#[derive(Clone, Debug)]
pub struct DiscriminatorOutput {
    /// `(N)`, or one per pack of samples: the logit of the probability that they are real, or a critic's
    /// score. For clips of T frames, `(N, 2T)`: the clip's own, T times, and those of its frames.
    pub logits: Tensor,
    /// Class logits, `(N, classes)`, of an auxiliary classifier.
    pub classes: Option<Tensor>,
}

impl Discriminator {
    /// Makes the discriminator of `config` for samples like `sample` and, if it is conditional, for
    /// conditions of `width` values.
    ///
    /// # Errors
    /// If the configuration does not fit the samples, or the set is stored and lacks a tensor.
    pub fn new(mut scope: Scope<'_>, config: &GanConfig, sample: &SampleSpec, width: usize) -> Result<Self> {
        const KEY: &str = "model.discriminator";
        let norm = config.discriminator.norm();
        let spectral_norm = norm == DiscriminatorNorm::Spectral;
        let weights = WeightStyle { spectral_norm, ..config.init.into() };
        let style = Style { weights, activation: Activation::LeakyRelu(0.2) };
        let beside = if config.conditioning == Some(Conditioning::Concatenation) { width } else { 0 };
        let (body, features) = match &config.discriminator {
            DiscriminatorNetwork::Mlp { hidden, maxout, .. } => {
                let inputs = match sample.image() {
                    Some(image) => (image.channels + beside) * image.height * image.width,
                    None => sample.len() + beside,
                };
                let (scope, inputs) = (scope.enter("hidden"), config.pack * inputs);
                if let Some(pieces) = *maxout {
                    let hidden = Maxout::new(scope, inputs, hidden, pieces, weights)?;
                    let features = hidden.outputs();
                    (Body::Maxout(hidden), features)
                } else {
                    let hidden = Mlp::new(scope, inputs, hidden, style)?;
                    let features = hidden.outputs();
                    (Body::Mlp(hidden), features)
                }
            }
            DiscriminatorNetwork::Dcgan { channels: widths, .. } => {
                let image = sample.needs_image(KEY)?;
                let (height, width) = halved(image, widths.len(), "model.discriminator.channels")?;
                let channels = config.pack * image.channels + beside;
                let batch_norm = norm == DiscriminatorNorm::Batch;
                let down = ConvDown::new(scope.enter("down"), channels, widths, 0, batch_norm, style)?;
                (Body::Dcgan(down), widths.last().copied().unwrap_or_default() * height * width)
            }
            DiscriminatorNetwork::Residual { channels: width, blocks, .. } => {
                let image = sample.needs_image(KEY)?;
                halved(image, RESIDUAL_HALVINGS, KEY)?;
                let (channels, halvings) = (config.pack * image.channels + beside, RESIDUAL_HALVINGS);
                let down =
                    ResidualDown::new(scope.enter("down"), channels, *width, *blocks, halvings, style)?;
                (Body::Residual(down), *width)
            }
            DiscriminatorNetwork::Tower { width, blocks, .. } => {
                let image = sample.needs_image(KEY)?;
                let inputs = (config.pack * image.channels + beside, image);
                let (scope, tower) = (scope.enter("down"), Tower { width: *width, blocks: *blocks });
                let batch_norm = norm == DiscriminatorNorm::Batch;
                let (down, features) = ConvDown::fitted(scope, inputs, tower, batch_norm, style, KEY)?;
                (Body::Dcgan(down), features)
            }
            DiscriminatorNetwork::Text { channels, blocks, .. } => {
                let (length, tokens) = needs_tokens(sample, KEY)?;
                let inputs = config.pack * tokens + beside;
                let input = Conv1d::new(scope.enter("input"), inputs, *channels, 1, weights)?;
                let blocks = SequenceBlocks::new(scope.enter("blocks"), *channels, *blocks, weights)?;
                (Body::Text { input, blocks }, channels * length)
            }
            DiscriminatorNetwork::Clip { width, features, blocks, .. } => {
                let clip = sample.needs_clip(KEY)?;
                let size = ClipSize { width: *width, features: *features, blocks: *blocks };
                let batch_norm = norm == DiscriminatorNorm::Batch;
                let down = ClipDown::new(scope.enter("clip"), clip, beside, size, batch_norm, style, KEY)?;
                let critic = Linear::new(scope.enter("frames"), *features, 1, weights)?;
                let features = down.outputs();
                (Body::Clip { down, critic }, features)
            }
            DiscriminatorNetwork::Windows { .. } => return Err(only_policy(KEY)),
            DiscriminatorNetwork::Wave { channels: widths, shuffle, .. } => {
                let (length, short) = needs_waveform(sample, widths.len(), "model.discriminator.channels")?;
                let down = WaveDown::new(scope.enter("down"), config.pack + beside, widths, style)?;
                let moved = down.shortest_moved(length);
                let shuffle = match u32::try_from(*shuffle) {
                    Ok(few) if few == 0 || down.moved() == 0 || (few as usize) < moved => few,
                    _ => {
                        let key = "model.discriminator.shuffle".to_owned();
                        let reason = format!("features of {moved} positions cannot be moved by {shuffle}");
                        return Err(Error::Config { key, reason });
                    }
                };
                let features = widths.last().copied().unwrap_or_default() * short;
                (Body::Wave { down, shuffle }, features)
            }
        };
        let maps = sample.image().is_some() || matches!(body, Body::Text { .. } | Body::Clip { .. });
        let labels = match config.conditioning {
            None => Labels::Nothing,
            Some(Conditioning::Concatenation) if maps => Labels::Planes,
            Some(Conditioning::Concatenation) => Labels::Beside,
            Some(Conditioning::Projection) => {
                let init = match config.init {
                    WeightInit::Normal => Init::Normal { std: 0.02 },
                    _ => Init::Uniform { bound: (features.max(1) as f64).sqrt().recip() },
                };
                let shape = [width, features];
                Labels::Embedding(Weight::new(
                    &mut scope.enter("embedding"),
                    &shape,
                    init,
                    weights.spectral_norm,
                )?)
            }
            Some(Conditioning::AuxiliaryClassifier { .. }) => {
                Labels::Classifier(Linear::new(scope.enter("classifier"), features, width, weights)?)
            }
        };
        let output = Linear::new(scope.enter("output"), features, 1, weights)?;
        let (pack, rate) = (config.pack, config.discriminator.dropout());
        Ok(Self { body, output, labels, pack, rate, dropout: Vec::new(), shifts: Vec::new() })
    }

    /// This discriminator with the dropout masks and the phase shuffle of `other`.
    pub(crate) fn thinned_like(&self, other: &Self) -> Self {
        Self { dropout: other.dropout.clone(), shifts: other.shifts.clone(), ..self.clone() }
    }

    /// Number of samples that are judged together.
    pub fn pack(&self) -> usize {
        self.pack
    }

    /// The discriminator that a step trains on batches of `n` samples. It has one dropout mask and one phase
    /// shuffle in all passes of the step, so that real and generated samples meet the same network.
    ///
    /// # Errors
    /// [`Error::Config`] if `n` is not a multiple of [`Discriminator::pack`].
    pub(crate) fn thinned(&self, n: usize, ctx: &StepContext<'_>) -> Result<Self> {
        if !n.is_multiple_of(self.pack) {
            let reason = format!("a batch of {n} samples cannot be judged in packs of {}", self.pack);
            return Err(Error::Config { key: "model.pack".into(), reason });
        }
        let mut thinned = self.clone();
        let rows = ctx.rows(n / self.pack);
        if let Body::Wave { down, shuffle: shuffle @ 1.. } = &self.body {
            for i in 0..down.moved() {
                let stream = ctx.stream(&format!("shuffle/{i}"));
                let draw = |row: &u64| {
                    let draw = stream.at(*row).below(2 * shuffle + 1);
                    draw as isize - *shuffle as isize
                };
                thinned.shifts.push(rows.iter().map(draw).collect());
            }
        }
        let widths = match &self.body {
            Body::Mlp(hidden) => hidden.widths(),
            Body::Maxout(hidden) => hidden.widths(),
            _ => return Ok(thinned),
        };
        if self.rate > 0.0 {
            for (i, &width) in widths.iter().enumerate() {
                let stream = ctx.stream(&format!("dropout/{i}"));
                let place = (ctx.dtype(), ctx.device());
                thinned.dropout.push(dropout(&stream, (&rows, width), self.rate, place)?);
            }
        }
        Ok(thinned)
    }

    /// Samples `(N, ..)` as the networks see them, images in [−1, 1], and conditions `(N, width)` → logits.
    pub fn forward(
        &self,
        images: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<DiscriminatorOutput> {
        let seen = self.features(&Signal::value(images.clone()), labels, mode)?;
        let classes = match &self.labels {
            Labels::Classifier(linear) => {
                Some(linear.forward(&seen.samples.tensor, Activation::Identity, mode)?)
            }
            _ => None,
        };
        Ok(DiscriminatorOutput { logits: self.logits(&seen, labels, mode)?.tensor, classes })
    }

    /// The logits of a signal of samples, as in [`DiscriminatorOutput`].
    ///
    /// # Errors
    /// [`waxwork_core::Error::NoDirectionalDerivative`] if a derivative follows and the body has batch norm or
    /// maxout.
    pub fn propagate(&self, images: &Signal, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Signal> {
        self.logits(&self.features(images, labels, mode)?, labels, mode)
    }

    /// Samples `(N, ..)` → features `(N, ..)`, in the shape that the body gives them.
    fn features(&self, images: &Signal, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Seen> {
        let planes = labels.filter(|_| matches!(self.labels, Labels::Planes));
        let beside = |images: &Signal| -> Result<Signal> {
            let Some(labels) = labels else { return Ok(images.clone()) };
            let still = labels.zeros_like()?;
            let of = |constant: bool| if constant { labels } else { &still };
            match self.labels {
                Labels::Planes => images.affine(|x, constant| Ok(with_planes(x, of(constant))?)),
                Labels::Beside => {
                    images.affine(|x, constant| Ok(Tensor::cat(&[&x.flatten_from(1)?, of(constant)], 1)?))
                }
                _ => Ok(images.clone()),
            }
        };
        let packed_rows = || -> Result<Signal> {
            let rows = beside(images)?;
            match self.pack {
                1 => Ok(rows),
                pack => rows.linear(|x| Ok(x.reshape((x.dim(0)? / pack, ()))?)),
            }
        };
        let samples = match &self.body {
            Body::Clip { down, critic } => {
                let (frames, samples) = down.propagate(images, planes, mode)?;
                let n = images.tensor.dim(0)?;
                let frames = critic.propagate(&frames, mode)?.linear(|x| Ok(x.reshape((n, ()))?))?;
                return Ok(Seen { samples, frames: Some(frames) });
            }
            Body::Mlp(hidden) => hidden.propagate(&packed_rows()?, &self.dropout, mode),
            Body::Maxout(hidden) => hidden.propagate(&packed_rows()?, &self.dropout, mode),
            Body::Dcgan(down) => down.propagate(&self.packed(images)?, planes, mode),
            Body::Wave { down, .. } => down.propagate(&self.packed(images)?, planes, &self.shifts, mode),
            Body::Residual(down) => {
                down.propagate(&beside(&self.packed(images)?)?, mode)?.linear(|x| Ok(x.sum((2, 3))?))
            }
            Body::Text { input, blocks } => {
                let maps = images.linear(|x| Ok(x.transpose(1, 2)?.unsqueeze(2)?.contiguous()?))?;
                blocks.propagate(&input.propagate(&beside(&self.packed(&maps)?)?, mode)?, mode)
            }
        };
        Ok(Seen { samples: samples?, frames: None })
    }

    /// Stacks images `(N, C, H, W)` that are judged together as channels: `(N / pack, pack · C, H, W)`.
    fn packed(&self, images: &Signal) -> Result<Signal> {
        if self.pack == 1 {
            return Ok(images.clone());
        }
        images.linear(|x| {
            let (n, channels, height, width) = x.dims4()?;
            Ok(x.reshape((n / self.pack, self.pack * channels, height, width))?)
        })
    }

    /// Features `(N, …)` → `(N)`, or `(N, 2T)` for clips.
    fn logits(&self, seen: &Seen, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Signal> {
        let features = &seen.samples;
        let mut logits = self.output.propagate(features, mode)?.linear(|x| Ok(x.squeeze(1)?))?;
        if let (Labels::Embedding(embedding), Some(labels)) = (&self.labels, labels) {
            let rows = waxwork_kernels::matmul(labels, &embedding.in_mode(mode)?)?;
            logits = logits.add(&features.linear(|x| Ok(x.flatten_from(1)?.mul(&rows)?.sum(1)?))?)?;
        }
        let Some(frames) = &seen.frames else { return Ok(logits) };
        // Each frame's logit is one of T. The clip's logit occurs T times, so that both critics weigh the same
        // in a mean.
        let count = frames.tensor.dim(1)?;
        let of_clip =
            logits.linear(|x| Ok(x.unsqueeze(1)?.repeat((1, count))?.pad_with_zeros(1, 0, count)?))?;
        of_clip.add(&frames.linear(|x| Ok(x.pad_with_zeros(1, count, 0)?))?)
    }
}
