//! Encoder and decoder.

use candle_core::Tensor;

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{Error, ImageShape, Mode, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{Linear, NormKind};
use waxwork_nn::nets::{ClipDown, ClipSize, ClipUp, ConvDown, ConvUp, Mlp, Tower, halved};
use waxwork_nn::rows::beside;

use crate::config::{Network, VaeConfig};
use crate::likelihood::LikelihoodConfig;
use crate::mode_means;
use crate::posterior::DiagonalGaussian;
use crate::tokens::{Sizes, TokenEncoder};

pub(crate) const KEY: &str = "model.network";
pub(crate) const CHANNELS: &str = "model.network.channels";
/// The range in which log-variances of posteriors are exact. Values outside are squashed to within one of the
/// range, because the first samples of a run can be far from what the weights were initialised for, and the
/// KL term contains the exponential of the log-variance.
pub(crate) const LOG_VARIANCE: (f64, f64) = (-20.0, 6.0);

/// q(z | x): maps samples to the mean and log-variance of a diagonal Gaussian. A label is concatenated with
/// the input of the linear layers.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    body: Body,
    head: GaussianHead,
}

/// Linear layers from values to the mean and the log-variance of a diagonal Gaussian.
#[derive(Clone, Debug)]
pub(crate) struct GaussianHead {
    hidden: Mlp,
    mean: Linear,
    log_var: Linear,
}

impl GaussianHead {
    /// From `inputs` values, through hidden layers of these widths, to a Gaussian of `outputs` values.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        widths: &[usize],
        outputs: usize,
        config: &VaeConfig,
    ) -> Result<Self> {
        let hidden = linear_layers(scope.enter("hidden"), inputs, widths, config)?;
        let mean = Linear::new(scope.enter("mean"), hidden.outputs(), outputs, config.init)?;
        let log_var = Linear::new(scope.enter("log_var"), hidden.outputs(), outputs, config.init)?;
        Ok(Self { hidden, mean, log_var })
    }

    /// `(N, inputs)` → mean and log-variance, `(N, outputs)` each.
    pub(crate) fn forward(&self, inputs: &Tensor, mode: Mode<'_>) -> Result<DiagonalGaussian> {
        let hidden = self.hidden.forward(inputs, mode)?;
        let log_var = self.log_var.forward(&hidden, Activation::Identity, mode)?;
        let (low, high) = LOG_VARIANCE;
        Ok(DiagonalGaussian {
            mean: self.mean.forward(&hidden, Activation::Identity, mode)?,
            log_var: kernels::soft_bound(&log_var, low, high)?,
        })
    }

    /// [`GaussianHead::forward`] as nodes of a graph: mean and log-variance.
    pub(crate) fn export(&self, mut scope: GraphScope<'_>, inputs: &Value) -> Result<(Value, Value)> {
        let hidden = self.hidden.export(scope.enter("hidden"), inputs)?;
        let mut linear =
            |name: &str, layer: &Linear| layer.export(scope.enter(name), &hidden, Activation::Identity);
        let (mean, log_var) = (linear("mean", &self.mean)?, linear("log_var", &self.log_var)?);
        let (low, high) = LOG_VARIANCE;
        Ok((mean, scope.soft_bound(&log_var, low, high)?))
    }
}

/// The part from a sample to the input of the linear layers.
#[derive(Clone, Debug)]
enum Body {
    /// The sample itself.
    Values,
    Convolutions(ConvDown),
    Tokens(TokenEncoder),
    Clip(ClipDown, ImageShape),
}

impl Encoder {
    pub(crate) fn new(
        mut scope: Scope<'_>,
        config: &VaeConfig,
        sample: &SampleSpec,
        width: usize,
    ) -> Result<Self> {
        let style = config.style();
        let (body, inputs, widths) = match &config.network {
            Network::Mlp { hidden } => (Body::Values, sample.len(), hidden.clone()),
            Network::Conv { channels, hidden, batch_norm } => {
                let image = sample.needs_image(KEY)?;
                let (height, width) = halved(image, channels.len(), CHANNELS)?;
                let down =
                    ConvDown::new(scope.enter("down"), image.channels, channels, 0, *batch_norm, style)?;
                (Body::Convolutions(down), last(channels) * height * width, vec![*hidden])
            }
            Network::Tower { width, blocks, hidden, batch_norm } => {
                let image = sample.needs_image(KEY)?;
                let (scope, tower) = (scope.enter("down"), Tower { width: *width, blocks: *blocks });
                let image = (image.channels, image);
                let (down, features) = ConvDown::fitted(scope, image, tower, *batch_norm, style, KEY)?;
                (Body::Convolutions(down), features, vec![*hidden])
            }
            Network::Recurrent { embedding, hidden, cell, .. } => {
                let sizes = Sizes { embedding: *embedding, hidden: *hidden, cell: *cell };
                let encoder = TokenEncoder::new(scope.enter("tokens"), sample, sizes, config.init)?;
                (Body::Tokens(encoder), *hidden, Vec::new())
            }
            Network::Clip { width, features, blocks, hidden, batch_norm, .. } => {
                let clip = sample.needs_clip(KEY)?;
                let size = ClipSize { width: *width, features: *features, blocks: *blocks };
                let down = ClipDown::new(scope.enter("clip"), clip, 0, size, *batch_norm, style, KEY)?;
                let features = down.outputs();
                (Body::Clip(down, clip.1), features, vec![*hidden])
            }
        };
        let head = GaussianHead::new(scope, inputs + width, &widths, config.latent_dim, config)?;
        Ok(Self { body, head })
    }

    /// Samples `(N, ..)`, or for sequences the tokens `(N, L)`, and conditions `(N, width)` → mean and
    /// log-variance, `(N, latent_dim)` each.
    pub(crate) fn forward(
        &self,
        inputs: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<DiagonalGaussian> {
        let features = match &self.body {
            Body::Values => inputs.clone(),
            Body::Convolutions(down) => down.forward(inputs, mode)?,
            Body::Tokens(encoder) => encoder.forward(inputs)?,
            Body::Clip(down, _) => down.forward(inputs, mode)?,
        };
        self.head.forward(&beside(&features, labels)?, mode)
    }

    /// [`Encoder::forward`] as nodes of a graph: mean and log-variance.
    pub(crate) fn export(
        &self,
        mut scope: GraphScope<'_>,
        images: &Value,
        labels: Option<&Value>,
    ) -> Result<(Value, Value)> {
        let features = match &self.body {
            Body::Values => images.clone(),
            Body::Convolutions(down) => down.export(scope.enter("down"), images)?,
            Body::Tokens(encoder) => encoder.export(scope.enter("tokens"), images)?,
            Body::Clip(down, image) => down.export(scope.enter("clip"), images, *image)?,
        };
        let features = scope.flatten(&features);
        let input = scope.beside(&features, labels);
        self.head.export(scope, &input)
    }
}

/// The network of p(x | z): maps latents to the parameters of the observation model. A label is concatenated
/// with the latent.
#[derive(Clone, Debug)]
pub(crate) enum Decoder {
    /// Linear layers, then convolutions if there are any.
    Layers(Layers),
    /// The last `motion` of `latent_dim` latent values are the motion of a clip.
    Clip { up: ClipUp, motion: usize, latent_dim: usize },
}

/// The layers of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    hidden: Mlp,
    output: Linear,
    /// What the mode of a number adds to its output ([`crate::mode_means`]).
    mode_means: Option<Linear>,
    up: Option<Up>,
    dims: Vec<usize>,
}

/// The convolutional half of a decoder, and the shape `(channels, height, width)` of its input.
#[derive(Clone, Debug)]
struct Up {
    convs: ConvUp,
    start: (usize, usize, usize),
    activation: Activation,
}

impl Decoder {
    pub(crate) fn new(
        mut scope: Scope<'_>,
        config: &VaeConfig,
        sample: &SampleSpec,
        width: usize,
    ) -> Result<Self> {
        let style = config.style();
        let (widths, outputs, up) = match &config.network {
            Network::Mlp { hidden } => (hidden.iter().rev().copied().collect(), sample.len(), None),
            Network::Conv { channels, hidden, batch_norm } => {
                let image = sample.needs_image(KEY)?;
                let (height, width) = halved(image, channels.len(), CHANNELS)?;
                let start = (last(channels), height, width);
                let mut outputs: Vec<usize> = channels.iter().rev().skip(1).copied().collect();
                outputs.push(image.channels);
                let norm = if *batch_norm { NormKind::Batch } else { NormKind::None };
                let convs = ConvUp::new(scope.enter("up"), start.0, &outputs, 0, norm, style)?;
                let up = Up { convs, start, activation: style.activation };
                (vec![*hidden], start.0 * height * width, Some(up))
            }
            Network::Tower { width, blocks, hidden, batch_norm } => {
                let image = sample.needs_image(KEY)?;
                let norm = if *batch_norm { NormKind::Batch } else { NormKind::None };
                let (scope, tower) = (scope.enter("up"), Tower { width: *width, blocks: *blocks });
                let (convs, start) = ConvUp::fitted(scope, image, (tower, 0), norm, style, KEY)?;
                let outputs = start.0 * start.1 * start.2;
                (vec![*hidden], outputs, Some(Up { convs, start, activation: style.activation }))
            }
            Network::Clip { width: channels, features, blocks, motion, batch_norm, .. } => {
                let clip = sample.needs_clip(KEY)?;
                let size = ClipSize { width: *channels, features: *features, blocks: *blocks };
                let norm = if *batch_norm { NormKind::Batch } else { NormKind::None };
                let split = (motion + width, config.latent_dim - motion + width);
                let up = ClipUp::new(scope.enter("clip"), clip, split, size, norm, style, KEY)?;
                return Ok(Self::Clip { up, motion: *motion, latent_dim: config.latent_dim });
            }
            Network::Recurrent { .. } => {
                let reason = "a recurrent network makes sequences of tokens only".to_owned();
                return Err(Error::Config { key: KEY.to_owned(), reason });
            }
        };
        let hidden = linear_layers(scope.enter("hidden"), config.latent_dim + width, &widths, config)?;
        let output = Linear::new(scope.enter("output"), hidden.outputs(), outputs, config.init)?;
        let modes = match config.likelihood {
            LikelihoodConfig::Rows { mode_means: true, .. } => mode_means::count(sample),
            _ => 0,
        };
        let mut linear = || Linear::new(scope.enter("mode_means"), hidden.outputs(), modes, config.init);
        let mode_means = (modes > 0).then(&mut linear).transpose()?;
        Ok(Self::Layers(Layers { hidden, output, mode_means, up, dims: sample.dims().to_vec() }))
    }

    /// Latents `(N, latent_dim)` and conditions `(N, width)` → outputs `(N, ..)`, unbounded; of rows whose
    /// numbers have a mean per mode, `(N, width + modes)`.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let Layers { hidden, output, mode_means, up, dims } = match self {
            Self::Layers(layers) => layers,
            Self::Clip { up, motion, latent_dim } => {
                let part = |from: usize, width: usize| -> Result<Tensor> {
                    beside(&latents.narrow(1, from, width)?.contiguous()?, labels)
                };
                let content = latent_dim - motion;
                return up.forward(&part(content, *motion)?, &part(0, content)?, mode);
            }
        };
        let hidden = hidden.forward(&beside(latents, labels)?, mode)?;
        match up {
            None => {
                let outputs = output.forward_to(&hidden, dims, Activation::Identity, mode)?;
                let Some(mode_means) = mode_means else { return Ok(outputs) };
                beside(&outputs, Some(&mode_means.forward(&hidden, Activation::Identity, mode)?))
            }
            Some(Up { convs, start: (channels, height, width), activation }) => {
                let start = [*channels, *height, *width];
                convs.forward(&output.forward_to(&hidden, &start, *activation, mode)?, None, mode)
            }
        }
    }

    /// [`Decoder::forward`] as nodes of a graph.
    pub(crate) fn export(
        &self,
        mut scope: GraphScope<'_>,
        latents: &Value,
        labels: Option<&Value>,
    ) -> Result<Value> {
        let Layers { hidden, output, mode_means, up, dims } = match self {
            Self::Layers(layers) => layers,
            Self::Clip { up, motion, latent_dim } => {
                let content = latent_dim - motion;
                let (still, part) =
                    (scope.columns(latents, 0, content), scope.columns(latents, content, *motion));
                let (still, part) = (scope.beside(&still, labels), scope.beside(&part, labels));
                return up.export(scope.enter("clip"), &part, &still);
            }
        };
        let input = scope.beside(latents, labels);
        let hidden = hidden.export(scope.enter("hidden"), &input)?;
        let output = output.export(scope.enter("output"), &hidden, Activation::Identity)?;
        if let Some(mode_means) = mode_means {
            let added = mode_means.export(scope.enter("mode_means"), &hidden, Activation::Identity)?;
            return Ok(scope.beside(&output, Some(&added)));
        }
        match up {
            None => Ok(scope.reshape(&output, dims)),
            Some(Up { convs, start: (channels, height, width), activation }) => {
                let start = scope.activate(output, *activation);
                let maps = scope.reshape(&start, &[*channels, *height, *width]);
                convs.export(scope.enter("up"), &maps, None)
            }
        }
    }
}

/// The hidden linear layers of encoder or decoder.
pub(crate) fn linear_layers(
    scope: Scope<'_>,
    inputs: usize,
    widths: &[usize],
    config: &VaeConfig,
) -> Result<Mlp> {
    let style = config.style();
    if config.gated {
        return Mlp::gated(scope, inputs, widths, style.weights);
    }
    Mlp::new(scope, inputs, widths, style)
}

fn last(channels: &[usize]) -> usize {
    channels.last().copied().unwrap_or_default()
}
