//! The generator: maps latents, and a condition if it takes one, to samples.

use candle_core::Tensor;

use super::config::{Conditioning, GanConfig, GeneratorNetwork};
use super::policy::only_policy;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::SampleSpec;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::head::Head;
use waxwork_nn::layers::{Conv1d, Conv2d, ConvGeometry, Linear, Norm, NormKind};
use waxwork_nn::nets::{
    ClipSize, ClipUp, ConvUp, Mlp, ResidualUp, SequenceBlocks, Style, Tower, WaveUp, halved, needs_waveform,
};
use waxwork_nn::tokens::needs_tokens;

const KEY: &str = "model.generator";

/// A generator.
#[derive(Clone, Debug)]
pub struct Generator {
    body: Body,
    /// Whether the one-hot label is concatenated with the latent.
    concatenates: bool,
    /// Length of z. In the latents, the noise of choices follows z.
    latent_dim: usize,
    dims: Vec<usize>,
    head: Head,
}

#[derive(Clone, Debug)]
enum Body {
    Mlp {
        hidden: Mlp,
        output: Linear,
    },
    /// Linear layers, each with a normalisation and a ReLU.
    Normed {
        layers: Vec<(Linear, Norm)>,
        /// Whether a layer's output is concatenated with its input, as in CTGAN.
        joined: bool,
        output: Linear,
    },
    Dcgan {
        start: Start,
        norm: Norm,
        up: ConvUp,
    },
    Residual {
        start: Start,
        up: ResidualUp,
        norm: Norm,
        output: Conv2d,
    },
    Text {
        start: Start,
        blocks: SequenceBlocks,
        output: Conv1d,
    },
    /// The last `motion` values of z are the motion.
    Clip {
        up: ClipUp,
        motion: usize,
    },
    Wave {
        start: Start,
        up: WaveUp,
    },
}

/// The linear layer from the latent to the smallest feature maps, `(channels, height, width)`.
#[derive(Clone, Debug)]
struct Start {
    linear: Linear,
    shape: (usize, usize, usize),
}

impl Start {
    fn forward(&self, latents: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let (channels, height, width) = self.shape;
        self.linear.forward_to(latents, &[channels, height, width], Activation::Identity, mode)
    }

    fn export(&self, scope: &mut GraphScope<'_>, latents: &Value) -> Result<Value> {
        let (channels, height, width) = self.shape;
        let maps = self.linear.export(scope.enter("project"), latents, Activation::Identity)?;
        Ok(scope.reshape(&maps, &[channels, height, width]))
    }
}

impl Generator {
    /// Makes the generator of `config` for samples like `sample` and, if it is conditional, for conditions of
    /// `width` values.
    ///
    /// # Errors
    /// If the configuration does not fit the samples, or the set is stored and lacks a tensor.
    pub fn new(mut scope: Scope<'_>, config: &GanConfig, sample: &SampleSpec, width: usize) -> Result<Self> {
        let head = Head::new(sample, KEY)?;
        let style = Style { weights: config.init.into(), activation: Activation::Relu };
        // The other networks have no batch norm whose scale and shift depend on the label.
        let maps =
            matches!(config.generator, GeneratorNetwork::Dcgan { .. } | GeneratorNetwork::Residual { .. });
        let norm = match config.conditioning {
            Some(Conditioning::Projection) if maps => NormKind::Conditional { classes: width },
            _ => NormKind::Batch,
        };
        let concatenates = config.conditioning.is_some() && !matches!(norm, NormKind::Conditional { .. });
        let inputs = config.latent_dim + if concatenates { width } else { 0 };
        let start = |scope: &mut Scope<'_>, channels: usize, doublings: usize| -> Result<Start> {
            let (height, width) = halved(sample.needs_image(KEY)?, doublings, KEY)?;
            let outputs = channels * height * width;
            let linear = Linear::new(scope.enter("project"), inputs, outputs, config.init)?;
            Ok(Start { linear, shape: (channels, height, width) })
        };
        let body = match &config.generator {
            GeneratorNetwork::Mlp { hidden, batch_norm: false } => {
                let hidden = Mlp::new(scope.enter("hidden"), inputs, hidden, style)?;
                let output = Linear::new(scope.enter("output"), hidden.outputs(), sample.len(), config.init)?;
                Body::Mlp { hidden, output }
            }
            GeneratorNetwork::Mlp { hidden, batch_norm: true } | GeneratorNetwork::Ctgan { hidden } => {
                let joined = matches!(config.generator, GeneratorNetwork::Ctgan { .. });
                let (mut layers, mut width) = (Vec::with_capacity(hidden.len()), inputs);
                for (i, &outputs) in hidden.iter().enumerate() {
                    let mut scope = scope.enter(i);
                    let linear = Linear::new(scope.enter("linear"), width, outputs, config.init)?;
                    layers.push((linear, Norm::new(scope.enter("norm"), norm, outputs)?));
                    width = outputs + if joined { width } else { 0 };
                }
                let output = Linear::new(scope.enter("output"), width, sample.len(), config.init)?;
                Body::Normed { layers, joined, output }
            }
            GeneratorNetwork::Dcgan { channels } => {
                let first = channels.first().copied().unwrap_or_default();
                let mut outputs = channels.get(1..).unwrap_or_default().to_vec();
                outputs.push(sample.needs_image(KEY)?.channels);
                Body::Dcgan {
                    start: start(&mut scope, first, channels.len())?,
                    norm: Norm::new(scope.enter("norm"), norm, first)?,
                    up: ConvUp::new(scope.enter("up"), first, &outputs, 0, norm, style)?,
                }
            }
            &GeneratorNetwork::Tower { width, blocks, detail } => {
                let image = sample.needs_image(KEY)?;
                let tower = (Tower { width, blocks }, detail);
                let (up, shape) = ConvUp::fitted(scope.enter("up"), image, tower, norm, style, KEY)?;
                let (channels, height, width) = shape;
                let outputs = channels * height * width;
                let linear = Linear::new(scope.enter("project"), inputs, outputs, config.init)?;
                let norm = Norm::new(scope.enter("norm"), norm, channels)?;
                Body::Dcgan { start: Start { linear, shape }, norm, up }
            }
            GeneratorNetwork::Text { channels, blocks } => {
                let (length, tokens) = needs_tokens(sample, KEY)?;
                let outputs = channels * length;
                Body::Text {
                    start: Start {
                        linear: Linear::new(scope.enter("project"), inputs, outputs, config.init)?,
                        shape: (*channels, 1, length),
                    },
                    blocks: SequenceBlocks::new(scope.enter("blocks"), *channels, *blocks, config.init)?,
                    output: Conv1d::new(scope.enter("output"), *channels, tokens, 1, config.init)?,
                }
            }
            GeneratorNetwork::Clip { width: channels, features, blocks, motion } => {
                let clip = sample.needs_clip(KEY)?;
                let size = ClipSize { width: *channels, features: *features, blocks: *blocks };
                let beside = inputs - config.latent_dim;
                let split = (motion + beside, config.latent_dim - motion + beside);
                let up = ClipUp::new(scope.enter("clip"), clip, split, size, norm, style, KEY)?;
                Body::Clip { up, motion: *motion }
            }
            GeneratorNetwork::Autoregressive { .. } => return Err(only_policy(KEY)),
            GeneratorNetwork::Wave { channels } => {
                let (_, short) = needs_waveform(sample, channels.len(), "model.generator.channels")?;
                let first = channels.first().copied().unwrap_or_default();
                let mut maps = channels.get(1..).unwrap_or_default().to_vec();
                maps.push(1);
                let linear = Linear::new(scope.enter("project"), inputs, first * short, config.init)?;
                let start = Start { linear, shape: (first, 1, short) };
                Body::Wave { start, up: WaveUp::new(scope.enter("up"), first, &maps, style)? }
            }
            GeneratorNetwork::Residual { channels, blocks } => {
                let geometry = ConvGeometry::SAME;
                Body::Residual {
                    start: start(&mut scope, *channels, *blocks)?,
                    up: ResidualUp::new(scope.enter("up"), *channels, *blocks, norm, style)?,
                    norm: Norm::new(scope.enter("norm"), norm, *channels)?,
                    output: Conv2d::new(
                        scope.enter("output"),
                        *channels,
                        sample.needs_image(KEY)?.channels,
                        geometry,
                        true,
                        config.init,
                    )?,
                }
            }
        };
        Ok(Self { body, concatenates, dims: sample.dims().to_vec(), latent_dim: config.latent_dim, head })
    }

    /// Latents and a condition `(N, width)` → samples `(N, ..)` as the networks see them, images in [−1, 1].
    pub fn forward(&self, latents: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        self.finish(&self.outputs(latents, labels, mode)?, latents)
    }

    /// The last layer's output for latents and a condition, `(N, ..)`; for choices, their logits before
    /// noise.
    pub fn outputs(&self, latents: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let activation = self.head.activation();
        let latents = match self.head.noise() {
            0 => latents.clone(),
            _ => latents.narrow(1, 0, self.latent_dim)?,
        };
        let input = match labels {
            Some(labels) if self.concatenates => Tensor::cat(&[&latents, labels], 1)?,
            _ => latents,
        };
        match &self.body {
            Body::Clip { up, motion } => {
                // Motion and labels are the last columns; the labels belong to both parts.
                let content = self.latent_dim - motion;
                let part = input.narrow(1, content, input.dim(1)? - content)?.contiguous()?;
                let still = match input.dim(1)? - self.latent_dim {
                    0 => input.narrow(1, 0, content)?,
                    width => {
                        let labels = input.narrow(1, self.latent_dim, width)?;
                        Tensor::cat(&[&input.narrow(1, 0, content)?, &labels], 1)?
                    }
                };
                Ok(kernels::activate(&up.forward(&part, &still.contiguous()?, mode)?, activation)?)
            }
            Body::Mlp { hidden, output } => {
                let hidden = hidden.forward(&input, mode)?;
                output.forward_to(&hidden, &self.dims, activation, mode)
            }
            Body::Normed { layers, joined, output } => {
                let mut x = input;
                for (linear, norm) in layers {
                    let h = linear.forward(&x, Activation::Identity, mode)?;
                    let h = norm.forward(&h, labels, Activation::Relu, mode)?;
                    x = if *joined { Tensor::cat(&[&h, &x], 1)? } else { h };
                }
                output.forward_to(&x, &self.dims, activation, mode)
            }
            Body::Dcgan { start, norm, up } => {
                let maps = norm.forward(&start.forward(&input, mode)?, labels, Activation::Relu, mode)?;
                Ok(kernels::activate(&up.forward(&maps, labels, mode)?, activation)?)
            }
            Body::Wave { start, up } => {
                let maps = kernels::activate(&start.forward(&input, mode)?, Activation::Relu)?;
                Ok(kernels::activate(&up.forward(&maps)?, activation)?)
            }
            Body::Residual { start, up, norm, output } => {
                let maps = up.forward(&start.forward(&input, mode)?, labels, mode)?;
                let maps = norm.forward(&maps, labels, Activation::Relu, mode)?;
                output.forward(&maps, None, activation, mode)
            }
            Body::Text { start, blocks, output } => {
                let maps = blocks.forward(&start.forward(&input, mode)?, mode)?;
                let logits = output.forward(&maps, activation, mode)?;
                Ok(logits.squeeze(2)?.transpose(1, 2)?.contiguous()?)
            }
        }
    }

    /// Whether the last inputs of the last layer are the condition.
    pub fn last_layer_sees_condition(&self) -> bool {
        self.concatenates && matches!(self.body, Body::Normed { joined: true, .. })
    }

    /// Turns the last layer's output, and the noise among the latents, into samples as the networks see them.
    pub fn finish(&self, outputs: &Tensor, latents: &Tensor) -> Result<Tensor> {
        let noise = self.head.noise();
        let noise = (noise > 0).then(|| latents.narrow(1, self.latent_dim, noise)).transpose()?;
        self.head.finish(outputs, noise.as_ref())
    }

    /// [`Generator::forward`] as nodes of a graph.
    pub fn export(
        &self,
        mut scope: GraphScope<'_>,
        latents: &Value,
        labels: Option<&Value>,
    ) -> Result<Value> {
        let (activation, noise) = (self.head.activation(), self.head.noise());
        let (latents, noise) = match noise {
            0 => (latents.clone(), None),
            noise => (
                scope.columns(latents, 0, self.latent_dim),
                Some(scope.columns(latents, self.latent_dim, noise)),
            ),
        };
        let input = scope.beside(&latents, labels.filter(|_| self.concatenates));
        let outputs = match &self.body {
            Body::Clip { up, motion } => {
                let labels = labels.filter(|_| self.concatenates);
                let content = self.latent_dim - motion;
                let (still, part) =
                    (scope.columns(&latents, 0, content), scope.columns(&latents, content, *motion));
                let (still, part) = (scope.beside(&still, labels), scope.beside(&part, labels));
                let pixels = up.export(scope.enter("clip"), &part, &still)?;
                scope.activate(pixels, activation)
            }
            Body::Mlp { hidden, output } => {
                let hidden = hidden.export(scope.enter("hidden"), &input)?;
                let values = output.export(scope.enter("output"), &hidden, activation)?;
                scope.reshape(&values, &self.dims)
            }
            Body::Normed { layers, joined, output } => {
                let mut x = input;
                for (i, (linear, norm)) in layers.iter().enumerate() {
                    let mut scope = scope.enter(i);
                    let h = linear.export(scope.enter("linear"), &x, Activation::Identity)?;
                    let h = norm.export(scope.enter("norm"), &h, labels, Activation::Relu)?;
                    x = if *joined { scope.beside(&h, Some(&x)) } else { h };
                }
                let values = output.export(scope.enter("output"), &x, activation)?;
                scope.reshape(&values, &self.dims)
            }
            Body::Dcgan { start, norm, up } => {
                let maps = start.export(&mut scope, &input)?;
                let maps = norm.export(scope.enter("norm"), &maps, labels, Activation::Relu)?;
                let pixels = up.export(scope.enter("up"), &maps, labels)?;
                scope.activate(pixels, activation)
            }
            Body::Wave { start, up } => {
                let maps = start.export(&mut scope, &input)?;
                let maps = scope.activate(maps, Activation::Relu);
                let samples = up.export(scope.enter("up"), &maps)?;
                scope.activate(samples, activation)
            }
            Body::Residual { start, up, norm, output } => {
                let maps = start.export(&mut scope, &input)?;
                let maps = up.export(scope.enter("up"), &maps, labels)?;
                let maps = norm.export(scope.enter("norm"), &maps, labels, Activation::Relu)?;
                output.export(scope.enter("output"), &maps, activation)?
            }
            Body::Text { start, blocks, output } => {
                let maps = start.export(&mut scope, &input)?;
                let maps = blocks.export(scope.enter("blocks"), &maps)?;
                let logits = output.export(scope.enter("output"), &maps, activation)?;
                let by_token = self.dims.iter().rev().copied().collect::<Vec<_>>();
                let logits = scope.reshape(&logits, &by_token);
                scope.node("Transpose", &[&logits], &[("perm", Attribute::Ints(&[0, 2, 1]))])
            }
        };
        self.head.export_finish(scope, &outputs, noise.as_ref())
    }
}
