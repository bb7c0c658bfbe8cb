//! Max and mean pooling, forward only: feature extractors use it, but no network that Waxwork trains.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, slice};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shapes::dims4;
use crate::simd::simd;
use crate::windows::{Pool, Windows};

/// `(N, C, H, W)` → `(N, C, H', W')` with H' = (H + 2·padding − size) / stride + 1, rounded down, and W'
/// likewise. Not differentiable: the result is not on the tape.
///
/// # Errors
/// [`Error::Input`] if no window fits, [`Error::Argument`] if the windows are invalid.
pub fn pool2d(x: &Tensor, pool: Pool, windows: Windows) -> Result<Tensor> {
    let (_, _, height, width) = dims4("input of a pooling", x)?;
    let Windows { size, stride, padding } = windows;
    if stride == 0 || padding >= size {
        let reason =
            format!("{windows:?}: the stride must be at least 1, and the padding less than the size");
        return Err(Error::Argument { name: "pooling", reason });
    }
    let fits = |side: usize| {
        let padded = padding.checked_mul(2).and_then(|padding| padding.checked_add(side));
        side > 0 && padded.is_some_and(|padded| padded >= size)
    };
    if !(fits(height) && fits(width)) {
        let expected = format!("(N, C, H, W) at least as large as {windows:?}");
        return Err(Error::Input { what: "input of a pooling", expected, found: x.shape().clone() });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(composed::pool2d(&x.detach(), pool, windows)?);
    }
    Ok(x.detach().contiguous()?.apply_op1_no_bwd(&PoolOp { pool, windows })?)
}

struct PoolOp {
    pool: Pool,
    windows: Windows,
}

impl PoolOp {
    fn side(&self, side: usize) -> usize {
        (side + 2 * self.windows.padding - self.windows.size) / self.windows.stride + 1
    }

    /// The pixels along one side that belong to window `index`.
    fn present(&self, index: usize, side: usize) -> std::ops::Range<usize> {
        let Windows { size, stride, padding } = self.windows;
        let start = index * stride;
        start.saturating_sub(padding)..(start + size - padding).min(side)
    }

    fn forward<T: Float>(&self, x: &[T], height: usize, width: usize) -> Vec<T> {
        let (rows, columns) = (self.side(height), self.side(width));
        let mut out = vec![T::ZERO; x.len() / (height * width) * rows * columns];
        let planes = out.par_chunks_exact_mut(rows * columns).zip(x.par_chunks_exact(height * width));
        planes.for_each(|(out, x)| match self.pool {
            Pool::Max => {
                self.plane(x, (height, width), out, T::from_f64(f64::NEG_INFINITY), larger, |max, _| max);
            }
            Pool::Mean => {
                let mean = |sum, count| sum / T::from_f64(count as f64);
                self.plane(x, (height, width), out, T::ZERO, |a, b| a + b, mean);
            }
        });
        out
    }

    /// Reduces the rows of each window for all columns at once, then the columns of each window. `last` gets
    /// the reduced value and the number of pixels.
    #[inline(always)]
    fn plane<T: Float>(
        &self,
        x: &[T],
        (height, width): (usize, usize),
        out: &mut [T],
        start: T,
        join: impl Fn(T, T) -> T,
        last: impl Fn(T, usize) -> T,
    ) {
        let Windows { size, stride, padding } = self.windows;
        let columns = self.side(width);
        // A line with its padding, so that all windows have the same size.
        let mut line = vec![start; width + 2 * padding];
        simd(
            #[inline(always)]
            || {
                for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                    let lines = self.present(row, height);
                    let middle = &mut line[padding..padding + width];
                    middle.copy_from_slice(&x[lines.start * width..][..width]);
                    for y in lines.start + 1..lines.end {
                        for (sum, &x) in middle.iter_mut().zip(&x[y * width..][..width]) {
                            *sum = join(*sum, x);
                        }
                    }
                    for (column, out) in out.iter_mut().enumerate() {
                        let window = &line[column * stride..][..size];
                        let joined = window[1..].iter().fold(window[0], |sum, &x| join(sum, x));
                        *out = last(joined, lines.len() * self.present(column, width).len());
                    }
                }
            },
        );
    }
}

/// The larger of two numbers; NaN if either is.
#[inline(always)]
fn larger<T: Float>(a: T, b: T) -> T {
    // A comparison with NaN is false, so a NaN in `a` stays. The second condition is true for a NaN in `b`.
    if b > a || b.partial_cmp(&b).is_none() { b } else { a }
}

impl CustomOp1 for PoolOp {
    fn name(&self) -> &'static str {
        "waxwork-pooling"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, channels, height, width) = layout.shape().dims4()?;
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(storage, layout)?, height, width))
        });
        Ok((out, Shape::from((n, channels, self.side(height), self.side(width)))))
    }
}
