//! The three products of convolutions, computed with candle's convolution.
//!
//! As in the CPU kernels there are three products: image to map, map to image, and the gradient of the weight
//! from both. Candle's transposed convolution is a naive loop on CUDA. Here, map to image is a convolution of
//! stride 1 that computes all phases of the image at once as channels, which are then interleaved (a
//! sub-pixel convolution, Shi et al. 2016). So cuBLAS or cuDNN computes every product.
//!
//! Candle's convolution has the same stride, padding and dilation for both axes. If the paddings
//! differ, the zeros are added explicitly. If the strides differ, the convolution runs with their
//! greatest common divisor; the positions in between are dropped from the map, or count as zeros in the
//! gradient of the weight.

use candle_core::{DType, Tensor};

use crate::composed::backward::lacks_type;
use crate::geometry::Geometry;

/// Image (N, C, H, W) and weight (O, C, kh, kw) → map (N, O, H', W').
pub(super) fn image_to_map(image: &Tensor, weight: &Tensor, g: &Geometry) -> candle_core::Result<Tensor> {
    let (stride, steps) = common_stride(g);
    let map = convolution(image, weight, g.padding, stride, 1)?;
    thinned(&thinned(&map, 2, steps[0], g.map[1])?, 3, steps[1], g.map[2])?.contiguous()
}

/// Image (N, C, H, W) and gradient of the map (N, O, H', W') → gradient of the weight (O, C, kh, kw): a
/// convolution in which channels and samples are swapped, and the map is the kernel.
pub(super) fn weight_gradient(image: &Tensor, map: &Tensor, g: &Geometry) -> candle_core::Result<Tensor> {
    let (stride, steps) = common_stride(g);
    let map = spread(&spread(&map.transpose(0, 1)?, 2, steps[0])?, 3, steps[1])?;
    let gradient = convolution(&image.transpose(0, 1)?, &map, g.padding, 1, stride)?;
    // The result is too large if no window covers the last pixels of the image.
    gradient.narrow(2, 0, g.kernel[0])?.narrow(3, 0, g.kernel[1])?.transpose(0, 1)?.contiguous()
}

/// Map (N, O, H', W') and weight (O, C, kh, kw) → image (N, C, H, W).
pub(super) fn map_to_image(map: &Tensor, weight: &Tensor, g: &Geometry) -> candle_core::Result<Tensor> {
    let ([channels, height, width], outputs, [down, across]) = (g.image, g.map[0], g.stride);
    let (rows, columns) = (Side::new(g, 0), Side::new(g, 1));

    // (O, C, kh, kw) → (C · down · across, O, taps, taps), with the taps in reverse order.
    let kernel = pad(weight, 2, 0, rows.taps * down - g.kernel[0])?;
    let kernel = pad(&kernel, 3, 0, columns.taps * across - g.kernel[1])?;
    let kernel = kernel.reshape(vec![outputs, channels, rows.taps, down, columns.taps, across])?;
    let kernel = kernel.permute(vec![1, 3, 5, 0, 2, 4])?.contiguous()?;
    let kernel = reversed(&reversed(&kernel, 4)?, 5)?;
    let kernel = kernel.reshape((channels * down * across, outputs, rows.taps, columns.taps))?;

    let even = rows.before == rows.after && columns.before == columns.after;
    let phases = if even {
        convolution(map, &kernel, [rows.before, columns.before], 1, 1)?
    } else {
        let map = pad(&pad(map, 2, rows.before, rows.after)?, 3, columns.before, columns.after)?;
        convolution(&map, &kernel, [0, 0], 1, 1)?
    };
    let (samples, _, j, k) = phases.dims4()?;
    let image = if down * across == 1 {
        phases
    } else {
        let apart = phases.reshape(vec![samples, channels, down, across, j, k])?;
        apart.permute(vec![0, 1, 4, 2, 5, 3])?.reshape((samples, channels, j * down, k * across))?
    };
    image.narrow(2, rows.start, height)?.narrow(3, columns.start, width)?.contiguous()
}

/// One axis of [`map_to_image`]. Map position j − a contributes to pixel s · j + r of the padded image
/// through tap s · a + r, where s is the stride. So j counts the pixels of phase r, and a counts the
/// taps of its kernel.
#[derive(Clone, Copy)]
struct Side {
    /// Taps of a phase.
    taps: usize,
    /// Zeros that are added before and after the map.
    before: usize,
    after: usize,
    /// The first pixel of the image in the result.
    start: usize,
}

impl Side {
    fn new(g: &Geometry, axis: usize) -> Self {
        let (stride, padding) = (g.stride[axis], g.padding[axis]);
        let taps = g.kernel[axis].div_ceil(stride);
        // The image needs j from `first` on. With b zeros before the map, the convolution starts
        // at j = taps − 1 − b.
        let first = padding / stride;
        let before = (taps - 1).saturating_sub(first);
        let begin = taps - 1 - before;
        let last = (padding + g.image[axis + 1] - 1) / stride;
        let after = (last + taps - begin).saturating_sub(g.map[axis + 1] + before);
        Self { taps, before, after, start: padding - stride * begin }
    }
}

/// Candle's convolution of contiguous operands. With other operands, cuDNN falls back to a naive loop.
#[expect(clippy::disallowed_methods, reason = "on other devices candle's convolution is the fast one")]
fn convolution(
    x: &Tensor,
    kernel: &Tensor,
    padding: [usize; 2],
    stride: usize,
    dilation: usize,
) -> candle_core::Result<Tensor> {
    let [down, across] = padding;
    let (x, padding) = if down == across {
        (x.clone(), down)
    } else {
        (pad(&pad(x, 2, down, down)?, 3, across, across)?, 0)
    };
    let (x, kernel) = (x.contiguous()?, kernel.contiguous()?);
    if lacks_type(&x) {
        let (wide, kernel) = (x.to_dtype(DType::F32)?, kernel.to_dtype(DType::F32)?);
        return wide.conv2d(&kernel, padding, stride, dilation, 1)?.to_dtype(x.dtype());
    }
    x.conv2d(&kernel, padding, stride, dilation, 1)
}

/// The greatest common divisor of the strides, and the ratio of the stride of each axis to it. Along an axis
/// with one position, any stride gives the same result.
fn common_stride(g: &Geometry) -> (usize, [usize; 2]) {
    let [down, across] = g.stride;
    if g.map[1] == 1 {
        return (across, [1, 1]);
    }
    if g.map[2] == 1 {
        return (down, [1, 1]);
    }
    let (mut common, mut rest) = (down, across);
    while rest > 0 {
        (common, rest) = (rest, common % rest);
    }
    (common, [down / common, across / common])
}

/// Every `step`-th entry along a dimension, `count` in total.
fn thinned(x: &Tensor, dim: usize, step: usize, count: usize) -> candle_core::Result<Tensor> {
    if step == 1 {
        return x.narrow(dim, 0, count);
    }
    let places: Vec<u32> = (0..count).map(|i| (i * step) as u32).collect();
    x.contiguous()?.index_select(&Tensor::new(places, x.device())?, dim)
}

/// Inserts `step` − 1 zeros between the entries along a dimension.
fn spread(x: &Tensor, dim: usize, step: usize) -> candle_core::Result<Tensor> {
    let size = x.dim(dim)?;
    if step == 1 || size == 1 {
        return Ok(x.clone());
    }
    let apart = x.unsqueeze(dim + 1)?.pad_with_zeros(dim + 1, 0, step - 1)?;
    apart.flatten(dim, dim + 1)?.narrow(dim, 0, (size - 1) * step + 1)
}

fn pad(x: &Tensor, dim: usize, before: usize, after: usize) -> candle_core::Result<Tensor> {
    if before + after == 0 { Ok(x.clone()) } else { x.pad_with_zeros(dim, before, after) }
}

/// Reverses a dimension.
fn reversed(x: &Tensor, dim: usize) -> candle_core::Result<Tensor> {
    let size = x.dim(dim)?;
    if size == 1 {
        return Ok(x.clone());
    }
    let places: Vec<u32> = (0..size as u32).rev().collect();
    x.index_select(&Tensor::new(places, x.device())?, dim)
}
