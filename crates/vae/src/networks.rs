//! Encoder and decoder, as linear layers or as convolutions.

use waxwork_core::kernels::{self, Activation};
use waxwork_core::layers::{Linear, Mode};
use waxwork_core::model::{ImageShape, Posterior};
use waxwork_core::nets::{ConvDown, ConvUp, Mlp, halved};
use waxwork_core::params::Scope;
use waxwork_core::{Result, Tensor};

use crate::config::{Network, VaeConfig};

/// q(z | x): images to the mean and log-variance of a diagonal Gaussian.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    down: Option<ConvDown>,
    hidden: Mlp,
    mean: Linear,
    log_var: Linear,
}

impl Encoder {
    pub(crate) fn new(mut scope: Scope<'_>, config: &VaeConfig, image: ImageShape) -> Result<Self> {
        let style = config.style();
        let (down, inputs, widths) = match &config.network {
            Network::Mlp { hidden } => (None, image.len(), hidden.clone()),
            Network::Conv { channels, hidden, batch_norm } => {
                let (height, width) = halved(image, channels.len())?;
                let down = ConvDown::new(scope.enter("down"), image.channels, channels, *batch_norm, style)?;
                (Some(down), last(channels) * height * width, vec![*hidden])
            }
        };
        let hidden = Mlp::new(scope.enter("hidden"), inputs, &widths, style)?;
        let mean = Linear::new(scope.enter("mean"), hidden.outputs(), config.latent_dim, config.init)?;
        let log_var = Linear::new(scope.enter("log_var"), hidden.outputs(), config.latent_dim, config.init)?;
        Ok(Self { down, hidden, mean, log_var })
    }

    /// `(N, C, H, W)` → mean and log-variance, `(N, latent_dim)` each.
    pub(crate) fn forward(&self, images: &Tensor, mode: Mode<'_>) -> Result<Posterior> {
        let features = match &self.down {
            Some(down) => down.forward(images, mode)?.flatten_from(1)?,
            None => images.flatten_from(1)?,
        };
        let hidden = self.hidden.forward(&features)?;
        Ok(Posterior {
            mean: self.mean.forward(&hidden, Activation::Identity)?,
            log_var: self.log_var.forward(&hidden, Activation::Identity)?,
        })
    }
}

/// The network of p(x | z): latents to the parameters of the observation model.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    hidden: Mlp,
    output: Linear,
    up: Option<Up>,
    image: ImageShape,
}

/// The convolutional half of a decoder, and the shape `(channels, height, width)` that it starts from.
#[derive(Clone, Debug)]
struct Up {
    convs: ConvUp,
    start: (usize, usize, usize),
    activation: Activation,
}

impl Decoder {
    pub(crate) fn new(mut scope: Scope<'_>, config: &VaeConfig, image: ImageShape) -> Result<Self> {
        let style = config.style();
        let (widths, outputs, up) = match &config.network {
            Network::Mlp { hidden } => (hidden.iter().rev().copied().collect(), image.len(), None),
            Network::Conv { channels, hidden, batch_norm } => {
                let (height, width) = halved(image, channels.len())?;
                let start = (last(channels), height, width);
                let mut outputs: Vec<usize> = channels.iter().rev().skip(1).copied().collect();
                outputs.push(image.channels);
                let convs = ConvUp::new(scope.enter("up"), start.0, &outputs, *batch_norm, style)?;
                let up = Up { convs, start, activation: style.activation };
                (vec![*hidden], start.0 * height * width, Some(up))
            }
        };
        let hidden = Mlp::new(scope.enter("hidden"), config.latent_dim, &widths, style)?;
        let output = Linear::new(scope.enter("output"), hidden.outputs(), outputs, config.init)?;
        Ok(Self { hidden, output, up, image })
    }

    /// `(N, latent_dim)` → `(N, C, H, W)`, unbounded.
    pub(crate) fn forward(&self, latents: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let output = self.output.forward(&self.hidden.forward(latents)?, Activation::Identity)?;
        let n = output.dim(0)?;
        match &self.up {
            None => Ok(output.reshape(self.image.batch(n))?),
            Some(Up { convs, start: (channels, height, width), activation }) => {
                let start = kernels::activate(&output, *activation)?;
                convs.forward(&start.reshape((n, *channels, *height, *width))?, mode)
            }
        }
    }
}

fn last(channels: &[usize]) -> usize {
    channels.last().copied().unwrap_or_default()
}
