//! Resampling and pooling.

use candle_core::Tensor;

use crate::composed::backward::{ArgumentGradients, Backward, attach, from_the_start};
use crate::error::Result;
use crate::mirror::mirrored;
use crate::windows::{Pool, Windows};

/// The mean of every block of 2×2 pixels, with candle's gradient.
pub(crate) fn avg_pool2(x: &Tensor) -> Result<Tensor> {
    Ok(means(x, 2, 2)?)
}

/// The mean of each window, with candle's gradient. On Metal, candle reads from the start of the storage even
/// if x starts elsewhere.
fn means(x: &Tensor, size: usize, stride: usize) -> candle_core::Result<Tensor> {
    from_the_start(x)?.avg_pool2d_with_stride(size, stride)
}

/// Repeats every pixel 2×2 times. Candle's own gradient would overwrite the gradient from
/// another use of the input.
pub(crate) fn upsample2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    #[expect(clippy::disallowed_methods, reason = "its gradient is not used")]
    let y = x.detach().upsample_nearest2d(2 * height, 2 * width)?;
    attach(y, &[x], UpsampleBackward)
}

struct UpsampleBackward;

impl Backward for UpsampleBackward {
    const NAME: &'static str = "waxwork-composed-upsample";

    fn backward(
        &self,
        _: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        Ok(vec![Some(means(grad, 2, 2)?.affine(4.0, 0.0)?)])
    }
}

/// Moves image i by `down[i]` rows and `right[i]` columns: a product with matrices of zeros and ones on both
/// sides, which is exact and differentiable, and takes two products instead of several operations per image.
pub(crate) fn translate(x: &Tensor, down: &[isize], right: &[isize]) -> Result<Tensor> {
    let (n, channels, height, width) = x.dims4()?;
    // Row (or column) `to` of the result is row `to − shift` of x.
    let moves = |shifts: &[isize], size: usize| -> candle_core::Result<Tensor> {
        // Bytes, to copy less to the device.
        let mut ones = vec![0u8; n * size * size];
        for (matrix, &shift) in ones.chunks_exact_mut(size * size).zip(shifts) {
            for to in 0..size {
                if let Some(from) = to.checked_add_signed(shift.wrapping_neg()).filter(|&from| from < size) {
                    matrix[to * size + from] = 1;
                }
            }
        }
        Tensor::from_vec(ones, (n, size, size), x.device())?.to_dtype(x.dtype())
    };
    let rows = moves(down, height)?;
    let columns = moves(right, width)?.transpose(1, 2)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernels have no batched product, and it runs on devices alone"
    )]
    let product = |a: &Tensor, b: &Tensor| a.matmul(b);
    let lines = x.transpose(1, 2)?.contiguous()?.reshape((n, height, channels * width))?;
    let moved = product(&rows, &lines)?.reshape((n, height * channels, width))?;
    let moved = product(&moved, &columns.contiguous()?)?.reshape((n, height, channels, width))?;
    Ok(moved.transpose(1, 2)?.contiguous()?)
}

/// Moves image i by `right[i]` columns, with reflection at the edges, by a lookup per column.
pub(crate) fn slide(x: &Tensor, right: &[isize]) -> Result<Tensor> {
    let (n, channels, height, width) = x.dims4()?;
    let mut sources = Vec::with_capacity(n * width);
    for &by in right {
        let begin = sources.len();
        // Columns that the loop below fills have a placeholder until then.
        let moved = |to: usize| to.checked_add_signed(by.wrapping_neg()).filter(|&from| from < width);
        sources.extend((0..width).map(|to| moved(to).unwrap_or(0) as u32));
        for (at, source) in mirrored(by, width) {
            sources[begin + at] = source as u32;
        }
    }
    let index = Tensor::from_vec(sources, (n, 1, 1, width), x.device())?;
    let index = index.broadcast_as((n, channels, height, width))?.contiguous()?;
    let y = from_the_start(&x.detach())?.gather(&index, 3)?;
    attach(y, &[x], SlideBackward { index })
}

struct SlideBackward {
    /// The column that each element comes from.
    index: Tensor,
}

impl Backward for SlideBackward {
    const NAME: &'static str = "waxwork-composed-slide";

    fn backward(
        &self,
        _: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        Ok(vec![Some(grad.zeros_like()?.scatter_add(&self.index, &from_the_start(grad)?, 3)?)])
    }
}

/// The maximum or mean of each window, without a graph.
pub(crate) fn pool2d(x: &Tensor, pool: Pool, windows: Windows) -> candle_core::Result<Tensor> {
    let Windows { size, stride, padding } = windows;
    let maxima = |x: &Tensor, beside: f64| {
        from_the_start(&framed(x, padding, beside)?)?.max_pool2d_with_stride(size, stride)
    };
    let mean = |x: &Tensor| means(&framed(x, padding, 0.0)?, size, stride);
    match pool {
        // Candle's maximum loses NaN, so a second one finds the windows that contain NaN.
        Pool::Max => {
            let nan = maxima(&x.ne(x)?.to_dtype(x.dtype())?, 0.0)?.gt(0.5)?;
            let y = maxima(x, f64::NEG_INFINITY)?;
            nan.where_cond(&y.affine(0.0, f64::NAN)?, &y)
        }
        Pool::Mean => mean(x)? / mean(&x.ones_like()?)?,
    }
}

/// (N, C, H, W) with `padding` pixels of `value` on each side.
fn framed(x: &Tensor, padding: usize, value: f64) -> candle_core::Result<Tensor> {
    if padding == 0 {
        return Ok(x.clone());
    }
    let (n, channels, height, width) = x.dims4()?;
    let beside = |shape: (usize, usize, usize, usize)| {
        Tensor::full(value as f32, shape, x.device())?.to_dtype(x.dtype())
    };
    let rows = beside((n, channels, padding, width))?;
    let tall = Tensor::cat(&[&rows, x, &rows], 2)?;
    let columns = beside((n, channels, height + 2 * padding, padding))?;
    Tensor::cat(&[&columns, &tall, &columns], 3)
}
