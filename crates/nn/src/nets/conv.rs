//! Stacks of strided convolutions that halve or double height and width at each layer (DCGAN, Radford et al.
//! 2016), with optional residual blocks in between.

use candle_core::Tensor;

use super::Style;
use crate::layers::{BatchNorm, Conv2d, ConvGeometry, ConvTranspose2d, Norm, NormKind, WeightStyle};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{Error, ImageShape, Result};
use waxwork_kernels::Activation;

/// The size of a network that adapts to images of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tower {
    /// Channels at half the image's size. Each smaller size doubles them, up to eight times `width`.
    pub width: usize,
    /// Residual blocks at every size; 0 means plain convolutions.
    pub blocks: usize,
}

impl Tower {
    /// The most residual blocks at one size.
    const MOST_BLOCKS: usize = 64;

    /// [`ladder`] for this network, after a check of its size.
    fn sizes(self, image: ImageShape, key: &str) -> Result<Vec<(usize, usize)>> {
        if self.blocks > Self::MOST_BLOCKS {
            let reason = format!("at most {} residual blocks at every size", Self::MOST_BLOCKS);
            return Err(Error::Config { key: format!("{key}.blocks"), reason });
        }
        ladder(image, key)
    }
}

/// Convolutions that each halve height and width (4×4, stride 2), with activations. This is the discriminator
/// of DCGAN, so batch norm, if used, is on every layer but the first.
#[derive(Clone, Debug)]
pub struct ConvDown {
    layers: Vec<DownLayer>,
    activation: Activation,
}

#[derive(Clone, Debug)]
struct DownLayer {
    conv: Conv2d,
    norm: Option<BatchNorm>,
    blocks: Vec<Block>,
}

impl ConvDown {
    /// One layer per entry of `channels`, named `0.conv`, `0.norm`, … below `scope`, each followed by
    /// `blocks` residual blocks.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        channels: &[usize],
        blocks: usize,
        batch_norm: bool,
        style: Style,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut inputs = inputs;
        for (i, &outputs) in channels.iter().enumerate() {
            let mut scope = scope.enter(i);
            let normed = batch_norm && i > 0;
            let (geometry, weights) = (ConvGeometry::HALVE, style.weights);
            let conv = Conv2d::new(scope.enter("conv"), inputs, outputs, geometry, !normed, weights)?;
            let norm = normed.then(|| BatchNorm::new(scope.enter("norm"), outputs)).transpose()?;
            layers.push(DownLayer {
                conv,
                norm,
                blocks: Block::several(&mut scope, blocks, outputs, style)?,
            });
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// Enough layers to reduce an image of any size with `inputs` channels to about 4×4 pixels, and the
    /// number of values in their output per image. The first layer has `width` channels. `key` is the
    /// configuration key of this network.
    ///
    /// # Errors
    /// If the image is too small, or as [`ConvDown::new`].
    pub fn fitted(
        scope: Scope<'_>,
        (inputs, image): (usize, ImageShape),
        tower: Tower,
        batch_norm: bool,
        style: Style,
        key: &str,
    ) -> Result<(Self, usize)> {
        let channels = widening(tower.sizes(image, key)?.len() - 1, tower.width);
        let halvings = channels.len();
        let features =
            channels.last().map_or(0, |last| last * (image.height >> halvings) * (image.width >> halvings));
        Ok((Self::new(scope, inputs, &channels, tower.blocks, batch_norm, style)?, features))
    }

    /// `(N, inputs, H, W)` → `(N, channels, H / 2^layers, W / 2^layers)`; every halving rounds down.
    pub fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        (0..self.layers.len()).try_fold(x.clone(), |x, i| self.layer(i, &x, None, mode))
    }

    /// One convolution with its norm and activation.
    fn layer(&self, i: usize, x: &Tensor, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let DownLayer { conv, norm, blocks } = &self.layers[i];
        let x = match norm {
            None => conv.forward(x, planes, self.activation, mode)?,
            Some(norm) => {
                norm.forward(&conv.forward(x, planes, Activation::Identity, mode)?, self.activation, mode)?
            }
        };
        blocks.iter().try_fold(x, |x, block| block.forward(&x, mode))
    }

    /// The same for a signal, whose derivative cannot pass through batch norm. `planes` are values `(N, K)` of
    /// K constant planes, which count as the last channels; x then has K channels fewer.
    pub fn propagate(&self, x: &Signal, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Signal> {
        let mut x = x.clone();
        for (i, DownLayer { conv, norm, blocks }) in self.layers.iter().enumerate() {
            let planes = planes.filter(|_| i == 0);
            x = if x.is_plain() {
                Signal::value(self.layer(i, &x.tensor, planes, mode)?)
            } else if norm.is_none() {
                let x = conv.propagate(&x, planes, mode)?.activate(self.activation)?;
                blocks.iter().try_fold(x, |x, block| block.propagate(&x, mode))?
            } else {
                return Err(Error::NoDirectionalDerivative { layer: "batch norm".into() });
            };
        }
        Ok(x)
    }

    /// [`ConvDown::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let mut x = x.clone();
        for (i, DownLayer { conv, norm, blocks }) in self.layers.iter().enumerate() {
            let mut scope = scope.enter(i);
            x = match norm {
                None => conv.export(scope.enter("conv"), &x, self.activation)?,
                Some(norm) => {
                    let x = conv.export(scope.enter("conv"), &x, Activation::Identity)?;
                    norm.export(scope.enter("norm"), &x, self.activation)?
                }
            };
            x = Block::export_all(blocks, &mut scope, x)?;
        }
        Ok(x)
    }
}

/// Transposed convolutions that each double height and width. All but the last are activated, and normalised
/// if requested. This is the generator of DCGAN; its output is linear. With `detail`, they are
/// resize-convolutions, all of which are activated, and a convolution to the image follows.
#[derive(Clone, Debug)]
pub struct ConvUp {
    /// Blocks at the smallest size, before the first layer.
    blocks: Vec<Block>,
    layers: Vec<UpLayer>,
    /// The sizes that the layers' results are cropped to, if they are.
    sizes: Vec<(usize, usize)>,
    /// A 3×3 convolution from the features at the image's own size to the image.
    detail: Option<Conv2d>,
    activation: Activation,
}

#[derive(Clone, Debug)]
struct UpLayer {
    conv: ConvTranspose2d,
    norm: Norm,
    blocks: Vec<Block>,
}

impl ConvUp {
    /// `inputs` → `channels[0]` → … → `channels.last()`, named `0.conv`, `0.norm`, … below `scope`, with
    /// `blocks` residual blocks before every layer.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        scope: Scope<'_>,
        inputs: usize,
        channels: &[usize],
        blocks: usize,
        norm: NormKind,
        style: Style,
    ) -> Result<Self> {
        Self::of_layers(scope, inputs, channels, (blocks, false), norm, style)
    }

    /// [`ConvUp::new`]; with `detail`, of resize-convolutions that all have the norm.
    fn of_layers(
        mut scope: Scope<'_>,
        inputs: usize,
        channels: &[usize],
        (blocks, detail): (usize, bool),
        norm: NormKind,
        style: Style,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let first = Block::several(&mut scope, blocks, inputs, style)?;
        let (mut inputs, init) = (inputs, style.weights.init);
        for (i, &outputs) in channels.iter().enumerate() {
            let mut scope = scope.enter(i);
            let last = i + 1 == channels.len();
            let blocks = if last { 0 } else { blocks };
            let norm = if last && !detail { NormKind::None } else { norm };
            let (part, bias) = (scope.enter("conv"), norm == NormKind::None);
            let conv = if detail {
                ConvTranspose2d::resizing(part, inputs, outputs, bias, init)?
            } else {
                ConvTranspose2d::new(part, inputs, outputs, ConvGeometry::HALVE, bias, init)?
            };
            let norm = Norm::new(scope.enter("norm"), norm, outputs)?;
            layers.push(UpLayer { conv, norm, blocks: Block::several(&mut scope, blocks, outputs, style)? });
            inputs = outputs;
        }
        Ok(Self { blocks: first, layers, sizes: Vec::new(), detail: None, activation: style.activation })
    }

    /// Enough layers to grow from about 4×4 pixels to an image of any size, and their input shape
    /// `(channels, height, width)`. The last but one has `width` channels. If `detail` is not 0, the last has
    /// as many, and a convolution to the image follows. `key` is the configuration key of this network.
    ///
    /// # Errors
    /// If the image is too small, or as [`ConvUp::new`].
    pub fn fitted(
        mut scope: Scope<'_>,
        image: ImageShape,
        (tower, detail): (Tower, usize),
        norm: NormKind,
        style: Style,
        key: &str,
    ) -> Result<(Self, (usize, usize, usize))> {
        let mut sizes = tower.sizes(image, key)?;
        let mut outputs = widening(sizes.len() - 1, tower.width);
        outputs.reverse();
        sizes.reverse();
        let (first, (height, width)) = (outputs.remove(0), sizes.remove(0));
        let to_image = (detail > 0)
            .then(|| {
                let (scope, geometry) = (scope.enter("detail"), ConvGeometry::SAME);
                Conv2d::new(scope, detail, image.channels, geometry, true, style.weights)
            })
            .transpose()?;
        outputs.push(if detail > 0 { detail } else { image.channels });
        let up = Self::of_layers(scope, first, &outputs, (tower.blocks, detail > 0), norm, style)?;
        Ok((Self { sizes, detail: to_image, ..up }, (first, height, width)))
    }

    /// `(N, inputs, h, w)` → `(N, outputs, h · 2^layers, w · 2^layers)`, if no layer is cropped. `labels` is
    /// one-hot, if the norm needs it.
    pub fn forward(&self, x: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let mut x = self.blocks.iter().try_fold(x.clone(), |x, block| block.forward(&x, mode))?;
        for (i, UpLayer { conv, norm, blocks }) in self.layers.iter().enumerate() {
            x = cut(conv.forward(&x)?, self.sizes.get(i))?;
            x = norm.forward(&x, labels, self.activation_of(i), mode)?;
            x = blocks.iter().try_fold(x, |x, block| block.forward(&x, mode))?;
        }
        match &self.detail {
            Some(conv) => conv.forward(&x, None, Activation::Identity, mode),
            None => Ok(x),
        }
    }

    /// [`ConvUp::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, labels: Option<&Value>) -> Result<Value> {
        let mut x = Block::export_all(&self.blocks, &mut scope, x.clone())?;
        for (i, UpLayer { conv, norm, blocks }) in self.layers.iter().enumerate() {
            let mut scope = scope.enter(i);
            x = conv.export(scope.enter("conv"), &x)?;
            if let Some(&(height, width)) = self.sizes.get(i) {
                x = scope.first_pixels(&x, height, width);
            }
            x = norm.export(scope.enter("norm"), &x, labels, self.activation_of(i))?;
            x = Block::export_all(blocks, &mut scope, x)?;
        }
        match &self.detail {
            Some(conv) => conv.export(scope.enter("detail"), &x, Activation::Identity),
            None => Ok(x),
        }
    }

    fn activation_of(&self, layer: usize) -> Activation {
        if self.detail.is_some() || layer + 1 < self.layers.len() {
            self.activation
        } else {
            Activation::Identity
        }
    }
}

/// Crops images `(N, C, H, W)` to their first rows and columns, if `size` is given.
fn cut(images: Tensor, size: Option<&(usize, usize)>) -> Result<Tensor> {
    match size {
        Some(&(height, width)) if !images.dims().ends_with(&[height, width]) => {
            Ok(images.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?)
        }
        _ => Ok(images),
    }
}

/// x + 3×3 → activation → 3×3, without normalisation. The second convolution starts at zero, so the block
/// starts as the identity (Fixup, Zhang et al. 2019).
#[derive(Clone, Debug)]
struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
    activation: Activation,
}

impl Block {
    /// `count` blocks with `channels` channels, named `block0`, … below `scope`.
    fn several(scope: &mut Scope<'_>, count: usize, channels: usize, style: Style) -> Result<Vec<Self>> {
        let block = |i| {
            let mut scope = scope.enter(format!("block{i}"));
            let mut conv = |name: &str, zero: bool| {
                let weights = WeightStyle { zero, ..style.weights };
                Conv2d::new(scope.enter(name), channels, channels, ConvGeometry::SAME, true, weights)
            };
            Ok(Self {
                conv1: conv("conv1", false)?,
                conv2: conv("conv2", true)?,
                activation: style.activation,
            })
        };
        (0..count).map(block).collect()
    }

    fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let h = self.conv1.forward(x, None, self.activation, mode)?;
        Ok((x + self.conv2.forward(&h, None, Activation::Identity, mode)?)?)
    }

    fn propagate(&self, x: &Signal, mode: Mode<'_>) -> Result<Signal> {
        let h = self.conv1.propagate(x, None, mode)?.activate(self.activation)?;
        x.add(&self.conv2.propagate(&h, None, mode)?)
    }

    fn export_all(blocks: &[Self], scope: &mut GraphScope<'_>, x: Value) -> Result<Value> {
        blocks.iter().enumerate().try_fold(x, |x, (i, block)| {
            let mut scope = scope.enter(format!("block{i}"));
            let h = block.conv1.export(scope.enter("conv1"), &x, block.activation)?;
            let h = block.conv2.export(scope.enter("conv2"), &h, Activation::Identity)?;
            Ok(scope.node("Add", &[&x, &h], &[]))
        })
    }
}

/// The sizes `(height, width)` of an image that is halved, rounding up, until its shorter side is four to six
/// pixels. They begin with the image itself. `key` is the configuration key of this network.
///
/// # Errors
/// If the image is smaller than 7×7 pixels.
fn ladder(image: ImageShape, key: &str) -> Result<Vec<(usize, usize)>> {
    let (mut height, mut width) = (image.height, image.width);
    let mut sizes = Vec::new();
    while height.min(width) >= 4 {
        sizes.push((height, width));
        (height, width) = (height.div_ceil(2), width.div_ceil(2));
    }
    if sizes.len() < 2 {
        let reason = format!("images of {image} are too small for it; at least 7×7 pixels are needed");
        return Err(Error::Config { key: key.into(), reason });
    }
    Ok(sizes)
}

/// Channels of `layers` layers that halve an image: `width` for the first, then twice as many at each layer,
/// up to eight times.
fn widening(layers: usize, width: usize) -> Vec<usize> {
    (0..layers).map(|i| width.saturating_mul(1 << i.min(3))).collect()
}
