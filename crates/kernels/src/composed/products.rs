//! Linear layers and convolutions, by candle's matrix product and convolution.
//!
//! As in the kernels for the CPU there are three products: image to map, map to image, and the weight's gradient from
//! both. Candle's own map to image, its transposed convolution, is a naive loop on CUDA; here it is a plain convolution
//! of stride 1 that computes all phases of the image at once, as channels, which are then put in their places (a
//! sub-pixel convolution, Shi et al. 2016). So every product is cuBLAS's or cuDNN's.

use candle_core::{DType, Tensor};

use crate::activation::Activation;
use crate::composed::backward::{
    ArgumentGradients, Backward, along_channels, attach, cast, channel_sums, want,
};
use crate::composed::pointwise;
use crate::error::Result;
use crate::geometry::Geometry;

/// (M, K) · (K, N) → (M, N).
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = product(&a.detach(), &b.detach())?;
    attach(y, &[a, b], MatMulBackward)
}

struct MatMulBackward;

impl Backward for MatMulBackward {
    const NAME: &'static str = "waxwork-composed-matmul";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let [a, b] = [&arguments[0], &arguments[1]];
        Ok(vec![want(wanted[0], || product(grad, &b.t()?))?, want(wanted[1], || product(&a.t()?, grad))?])
    }
}

/// f(x · wᵀ + b).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| product(x, &weight.t()?);
    parametric([x, weight], bias, activation, layer, LinearProducts)
}

/// f of a cross-correlation.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    activation: Activation,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| image_to_map(x, weight, g);
    parametric([x, weight], bias, activation, layer, ConvProducts(g))
}

/// Its adjoint.
pub(crate) fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| map_to_image(x, weight, g);
    parametric([x, weight], bias, Activation::Identity, layer, ConvTransposeProducts(g))
}

/// A layer with bias and activation, computed at once and with one gradient for all of it.
fn parametric(
    [x, weight]: [&Tensor; 2],
    bias: Option<&Tensor>,
    activation: Activation,
    layer: impl FnOnce(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    products: impl Products,
) -> Result<Tensor> {
    let (fused, after) = activation.split();
    let precision = weight.dtype();
    let mut y = cast(&layer(&cast(&x.detach(), precision)?, &weight.detach())?, x.dtype())?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&along_channels(&bias.detach(), y.rank())?)?;
    }
    let y = pointwise::value(&y, fused)?;
    let backward = ParametricBackward { products, activation: fused };
    let y = match bias {
        Some(bias) => attach(y, &[x, weight, bias], backward)?,
        None => attach(y, &[x, weight], backward)?,
    };
    pointwise::activate(&y, after)
}

/// The gradients of a layer without bias and activation, all tensors in the weight's type.
trait Products: Send + Sync + 'static {
    const NAME: &'static str;

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor>;

    fn for_weight(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor>;
}

struct ParametricBackward<P> {
    products: P,
    activation: Activation,
}

impl<P: Products> Backward for ParametricBackward<P> {
    const NAME: &'static str = P::NAME;

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let (x, weight) = (&arguments[0], &arguments[1]);
        let grad = pointwise::gradient(self.activation, y, grad)?;
        let low = cast(&grad, weight.dtype())?;
        let mut gradients = vec![
            want(wanted[0], || cast(&self.products.for_x(weight, &low)?, x.dtype()))?,
            want(wanted[1], || self.products.for_weight(&cast(x, weight.dtype())?, weight, &low))?,
        ];
        if let Some(&wanted) = wanted.get(2) {
            gradients.push(want(wanted, || channel_sums(&grad))?);
        }
        Ok(gradients)
    }
}

struct LinearProducts;

impl Products for LinearProducts {
    const NAME: &'static str = "waxwork-composed-linear";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        product(grad, weight)
    }

    fn for_weight(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        product(&grad.t()?, x)
    }
}

struct ConvProducts(Geometry);

impl Products for ConvProducts {
    const NAME: &'static str = "waxwork-composed-conv2d";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        map_to_image(grad, weight, self.0)
    }

    fn for_weight(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        weight_gradient(x, grad, weight, self.0)
    }
}

struct ConvTransposeProducts(Geometry);

impl Products for ConvTransposeProducts {
    const NAME: &'static str = "waxwork-composed-conv-transpose2d";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        image_to_map(grad, weight, self.0)
    }

    fn for_weight(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        weight_gradient(grad, x, weight, self.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "on other devices candle's product is the fast one")]
fn product(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let (a, b) = (&rows_or_columns(a)?, &rows_or_columns(b)?);
    if lacks_type(a) {
        return a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?.to_dtype(a.dtype());
    }
    a.matmul(b)
}

/// A matrix whose rows or columns follow each other without gaps: of others cuBLAS makes an error.
fn rows_or_columns(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.is_contiguous() || x.t()?.is_contiguous() { Ok(x.clone()) } else { x.contiguous() }
}

/// On the CPU candle has no products of bf16. In f32 they are what a device makes of them: it adds up in f32 too.
fn lacks_type(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::BF16
}

/// Candle's convolution, of contiguous operands: of others cuDNN makes a naive loop.
#[expect(clippy::disallowed_methods, reason = "on other devices candle's convolution is the fast one")]
fn convolution(
    x: &Tensor,
    kernel: &Tensor,
    padding: usize,
    stride: usize,
    dilation: usize,
) -> candle_core::Result<Tensor> {
    let (x, kernel) = (x.contiguous()?, kernel.contiguous()?);
    if lacks_type(&x) {
        let (wide, kernel) = (x.to_dtype(DType::F32)?, kernel.to_dtype(DType::F32)?);
        return wide.conv2d(&kernel, padding, stride, dilation, 1)?.to_dtype(x.dtype());
    }
    x.conv2d(&kernel, padding, stride, dilation, 1)
}

/// Image (N, C, H, W) and weight (O, C, kh, kw) → map (N, O, H', W').
fn image_to_map(image: &Tensor, weight: &Tensor, g: Geometry) -> candle_core::Result<Tensor> {
    convolution(image, weight, g.padding, g.stride, 1)
}

/// Image (N, C, H, W) and map (N, O, H', W') → the gradient of the weight (O, C, kh, kw): channels and samples change
/// places, and the map is the kernel.
fn weight_gradient(
    image: &Tensor,
    map: &Tensor,
    weight: &Tensor,
    g: Geometry,
) -> candle_core::Result<Tensor> {
    let (_, _, height, width) = weight.dims4()?;
    let gradient = convolution(&image.transpose(0, 1)?, &map.transpose(0, 1)?, g.padding, 1, g.stride)?;
    // What the stride leaves over of the image makes the result too large.
    gradient.narrow(2, 0, height)?.narrow(3, 0, width)?.transpose(0, 1)?.contiguous()
}

/// One side of [`map_to_image`]. Pixel s · j + r of the padded image gets, from map position j − a, tap s · a + r: so j
/// counts the pixels of a phase r, and a the taps of its kernel.
#[derive(Clone, Copy)]
struct Side {
    /// Taps of a phase.
    taps: usize,
    /// Zeros before and after the map.
    before: usize,
    after: usize,
    /// Where in the result the image begins.
    start: usize,
}

impl Side {
    fn new(map: usize, kernel: usize, image: usize, Geometry { stride, padding, .. }: Geometry) -> Self {
        let taps = kernel.div_ceil(stride);
        // The image wants j from `first` on; with b zeros before the map, the convolution begins at j = taps − 1 − b.
        let first = padding / stride;
        let before = (taps - 1).saturating_sub(first);
        let begin = taps - 1 - before;
        let last = (padding + image - 1) / stride;
        let after = (last + taps - begin).saturating_sub(map + before);
        Self { taps, before, after, start: padding - stride * begin }
    }
}

/// Map (N, O, H', W') and weight (O, C, kh, kw) → image (N, C, H, W).
fn map_to_image(map: &Tensor, weight: &Tensor, g: Geometry) -> candle_core::Result<Tensor> {
    let (samples, _, map_height, map_width) = map.dims4()?;
    let (outputs, channels, kernel_height, kernel_width) = weight.dims4()?;
    let (s, [_, height, width]) = (g.stride, g.image);
    let rows = Side::new(map_height, kernel_height, height, g);
    let columns = Side::new(map_width, kernel_width, width, g);

    // (O, C, kh, kw) → (C · s · s, O, taps, taps), the taps from last to first.
    let kernel =
        pad(&pad(weight, 2, 0, rows.taps * s - kernel_height)?, 3, 0, columns.taps * s - kernel_width)?;
    let kernel = kernel.reshape(vec![outputs, channels, rows.taps, s, columns.taps, s])?;
    let kernel = kernel.permute(vec![1, 3, 5, 0, 2, 4])?.contiguous()?;
    let kernel = reversed(&reversed(&kernel, 4)?, 5)?;
    let kernel = kernel.reshape((channels * s * s, outputs, rows.taps, columns.taps))?;

    let even = rows.before == rows.after && columns.before == columns.after && rows.before == columns.before;
    let phases = if even {
        convolution(map, &kernel, rows.before, 1, 1)?
    } else {
        let map = pad(&pad(map, 2, rows.before, rows.after)?, 3, columns.before, columns.after)?;
        convolution(&map, &kernel, 0, 1, 1)?
    };
    let (_, _, j, k) = phases.dims4()?;
    let image = if s == 1 {
        phases
    } else {
        let apart = phases.reshape(vec![samples, channels, s, s, j, k])?;
        apart.permute(vec![0, 1, 4, 2, 5, 3])?.reshape((samples, channels, j * s, k * s))?
    };
    image.narrow(2, rows.start, height)?.narrow(3, columns.start, width)?.contiguous()
}

fn pad(x: &Tensor, dim: usize, before: usize, after: usize) -> candle_core::Result<Tensor> {
    if before + after == 0 { Ok(x.clone()) } else { x.pad_with_zeros(dim, before, after) }
}

/// From last to first along a dimension.
fn reversed(x: &Tensor, dim: usize) -> candle_core::Result<Tensor> {
    let size = x.dim(dim)?;
    if size == 1 {
        return Ok(x.clone());
    }
    let places: Vec<u32> = (0..size as u32).rev().collect();
    x.index_select(&Tensor::new(places, x.device())?, dim)
}
