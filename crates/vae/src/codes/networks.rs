//! Encoder and decoder of maps of codes: convolutions from images to a feature map, and back.

use candle_core::{Device, Tensor};

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{DType, Error, ImageShape, Mode, Result};
use waxwork_kernels::Activation;
use waxwork_nn::layers::{Conv2d, ConvGeometry, NormKind};
use waxwork_nn::nets::{ConvDown, ConvUp, halved};

use crate::config::{Network, VaeConfig};
use crate::networks::{CHANNELS, KEY};

/// The sizes of both networks.
pub(crate) struct MapSizes<'a> {
    channels: &'a [usize],
    hidden: usize,
    batch_norm: bool,
    /// Height and width of the map.
    pub(crate) map: (usize, usize),
}

impl<'a> MapSizes<'a> {
    /// The sizes for images of a shape.
    ///
    /// # Errors
    /// [`Error::Config`] if the network is of another kind, or the images are too small to be halved that
    /// often.
    pub(crate) fn new(network: &'a Network, image: ImageShape) -> Result<Self> {
        let Network::Conv { channels, hidden, batch_norm } = network else {
            let reason = "codes need a network of the kind conv".to_owned();
            return Err(Error::Config { key: KEY.to_owned(), reason });
        };
        let map = halved(image, channels.len(), CHANNELS)?;
        Ok(Self { channels, hidden: *hidden, batch_norm: *batch_norm, map })
    }

    fn last(&self) -> usize {
        self.channels.last().copied().unwrap_or_default()
    }
}

/// Adds a condition `(N, width)` to maps `(N, C, ..map)` as `width` constant planes, in a graph.
fn beside_planes(
    scope: &mut GraphScope<'_>,
    maps: &Value,
    labels: Option<&Value>,
    (width, map): (usize, (usize, usize)),
) -> Result<Value> {
    let Some(labels) = labels else { return Ok(maps.clone()) };
    let ones = Tensor::ones((1, 1, map.0, map.1), DType::F32, &Device::Cpu)?;
    let (ones, labels) = (scope.tensor("ones", &ones)?, scope.reshape(labels, &[width, 1, 1]));
    let planes = scope.node("Mul", &[&labels, &ones], &[]);
    Ok(scope.beside(maps, Some(&planes)))
}

/// From images to the vectors that are quantised. The label enters at the first convolution with the
/// resolution of the map.
#[derive(Clone, Debug)]
pub(crate) struct MapEncoder {
    down: ConvDown,
    hidden: Conv2d,
    vectors: Conv2d,
    activation: Activation,
    /// The width of a condition, and the size of the map.
    planes: (usize, (usize, usize)),
}

impl MapEncoder {
    /// The weights `down`, `hidden` and `vectors` of `scope`, for conditions of `width` values.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        config: &VaeConfig,
        sizes: &MapSizes<'_>,
        image: ImageShape,
        width: usize,
    ) -> Result<Self> {
        let (style, MapSizes { channels, hidden, batch_norm, .. }) = (config.style(), sizes);
        let conv = |scope: Scope<'_>, inputs: usize, outputs: usize, geometry: ConvGeometry| {
            Conv2d::new(scope, inputs, outputs, geometry, true, style.weights)
        };
        Ok(Self {
            down: ConvDown::new(scope.enter("down"), image.channels, channels, 0, *batch_norm, style)?,
            hidden: conv(scope.enter("hidden"), sizes.last() + width, *hidden, ConvGeometry::SAME)?,
            vectors: conv(scope.enter("vectors"), *hidden, config.latent_dim, ConvGeometry::POINT)?,
            activation: style.activation,
            planes: (width, sizes.map),
        })
    }

    /// Images `(N, C, H, W)` and conditions `(N, width)` → vectors `(N · h · w, latent_dim)`, row by row of
    /// each map.
    pub(crate) fn forward(&self, images: &Tensor, labels: Option<&Tensor>, mode: Mode<'_>) -> Result<Tensor> {
        let features = self.down.forward(images, mode)?;
        let features = self.hidden.forward(&features, labels, self.activation, mode)?;
        let vectors = self.vectors.forward(&features, None, Activation::Identity, mode)?;
        let (n, latent_dim, height, width) = vectors.dims4()?;
        let rows = vectors.permute((0, 2, 3, 1))?.contiguous()?;
        Ok(rows.reshape((n * height * width, latent_dim))?)
    }

    /// [`MapEncoder::forward`] as nodes of a graph, with vectors as maps `(batch, latent_dim, h, w)`.
    pub(crate) fn export(
        &self,
        mut scope: GraphScope<'_>,
        images: &Value,
        labels: Option<&Value>,
    ) -> Result<Value> {
        let features = self.down.export(scope.enter("down"), images)?;
        let features = beside_planes(&mut scope, &features, labels, self.planes)?;
        let features = self.hidden.export(scope.enter("hidden"), &features, self.activation)?;
        self.vectors.export(scope.enter("vectors"), &features, Activation::Identity)
    }
}

/// From the vectors of codes to the parameters of the observation model.
#[derive(Clone, Debug)]
pub(crate) struct MapDecoder {
    hidden: Conv2d,
    start: Conv2d,
    up: ConvUp,
    activation: Activation,
    /// The width of a condition, and the size of the map.
    planes: (usize, (usize, usize)),
}

impl MapDecoder {
    /// The weights `hidden`, `start` and `up` of `scope`, for conditions of `width` values.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        config: &VaeConfig,
        sizes: &MapSizes<'_>,
        image: ImageShape,
        width: usize,
    ) -> Result<Self> {
        let (style, hidden, last) = (config.style(), sizes.hidden, sizes.last());
        let conv = |scope: Scope<'_>, inputs: usize, outputs: usize| {
            Conv2d::new(scope, inputs, outputs, ConvGeometry::SAME, true, style.weights)
        };
        let mut outputs: Vec<usize> = sizes.channels.iter().rev().skip(1).copied().collect();
        outputs.push(image.channels);
        let norm = if sizes.batch_norm { NormKind::Batch } else { NormKind::None };
        Ok(Self {
            hidden: conv(scope.enter("hidden"), config.latent_dim + width, hidden)?,
            start: conv(scope.enter("start"), hidden, last)?,
            up: ConvUp::new(scope.enter("up"), last, &outputs, 0, norm, style)?,
            activation: style.activation,
            planes: (width, sizes.map),
        })
    }

    /// Vectors `(N · h · w, latent_dim)` and conditions `(N, width)` → outputs `(N, C, H, W)`, unbounded.
    pub(crate) fn forward(
        &self,
        vectors: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let ((rows, latent_dim), (_, (height, width))) = (vectors.dims2()?, self.planes);
        let maps = vectors.reshape((rows / (height * width), height, width, latent_dim))?;
        let maps = maps.permute((0, 3, 1, 2))?.contiguous()?;
        let features = self.hidden.forward(&maps, labels, self.activation, mode)?;
        let features = self.start.forward(&features, None, self.activation, mode)?;
        self.up.forward(&features, None, mode)
    }

    /// [`MapDecoder::forward`] as nodes of a graph, of vectors as maps `(batch, latent_dim, h, w)`.
    pub(crate) fn export(
        &self,
        mut scope: GraphScope<'_>,
        maps: &Value,
        labels: Option<&Value>,
    ) -> Result<Value> {
        let maps = beside_planes(&mut scope, maps, labels, self.planes)?;
        let features = self.hidden.export(scope.enter("hidden"), &maps, self.activation)?;
        let features = self.start.export(scope.enter("start"), &features, self.activation)?;
        self.up.export(scope.enter("up"), &features, None)
    }
}
