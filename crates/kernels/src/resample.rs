//! Downsampling, upsampling, translation and sliding of feature maps: linear maps, each of which is the
//! gradient of another.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, slice};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::mirror::mirrored;
use crate::shapes;
use crate::tape;

/// The mean of every block of 2×2 pixels: `(N, C, H, W)` → `(N, C, H / 2, W / 2)`. Differentiable.
///
/// # Errors
/// [`Error::Input`] if height or width is odd.
pub fn avg_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = dims4(x)?;
    if !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
        let expected = "(N, C, H, W) of even height and width".into();
        return Err(Error::Input { what: "input of a 2×2 mean", expected, found: x.shape().clone() });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::avg_pool2(x);
    }
    Ok(tape::apply1(&x.contiguous()?, ResampleOp::Halve { scale: 0.25 })?)
}

/// Repeats every pixel 2×2 times: `(N, C, H, W)` → `(N, C, 2 H, 2 W)`. Differentiable.
///
/// # Errors
/// [`Error::Input`] if x does not have four dimensions.
pub fn upsample2(x: &Tensor) -> Result<Tensor> {
    dims4(x)?;
    if !runs_on_cpu_kernels(x.device()) {
        return composed::upsample2(x);
    }
    Ok(tape::apply1(&x.contiguous()?, ResampleOp::Double { scale: 1.0 })?)
}

/// Moves image `i` of `(N, C, H, W)` by `down[i]` rows and `right[i]` columns, and fills the rest with 0.
/// Differentiable.
///
/// # Errors
/// [`Error::Input`] if the number of shifts differs from the number of images.
pub fn translate(x: &Tensor, down: &[isize], right: &[isize]) -> Result<Tensor> {
    let (n, _, _, _) = dims4(x)?;
    if down.len() != n || right.len() != n {
        let expected = format!("({}, C, H, W), one image per shift", down.len());
        return Err(Error::Input { what: "input of a translation", expected, found: x.shape().clone() });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::translate(x, down, right);
    }
    let op = ResampleOp::Shift { down: down.to_vec(), right: right.to_vec() };
    Ok(tape::apply1(&x.contiguous()?, op)?)
}

/// Moves image `i` of `(N, C, H, W)` by `right[i]` columns, and fills the gap by reflection, without
/// repeating the edge: `abcd` moved by 2 is `cbab`. Differentiable.
///
/// # Errors
/// [`Error::Input`] if the number of shifts differs from the number of images, or a shift is not less than
/// the width.
pub fn slide(x: &Tensor, right: &[isize]) -> Result<Tensor> {
    let (n, _, _, width) = dims4(x)?;
    let most = right.iter().map(|shift| shift.unsigned_abs()).max();
    if right.len() != n || most.is_some_and(|most| most >= width) {
        let expected = format!(
            "({}, C, H, W), one image per shift, and wider than {} columns",
            right.len(),
            most.unwrap_or(0)
        );
        return Err(Error::Input { what: "input of a slide", expected, found: x.shape().clone() });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::slide(x, right);
    }
    Ok(tape::apply1(&x.contiguous()?, ResampleOp::Slide { right: right.to_vec() })?)
}

fn dims4(x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    shapes::dims4("input of a resampling", x)
}

/// A linear map of each plane.
enum ResampleOp {
    /// Sums of 2×2 pixels, times `scale`.
    Halve { scale: f64 },
    /// Every pixel 2×2 times, times `scale`.
    Double { scale: f64 },
    /// Each image moved by its own number of rows and columns.
    Shift { down: Vec<isize>, right: Vec<isize> },
    /// Each line moved by its image's number of columns, with mirror images at the edges.
    Slide { right: Vec<isize> },
    /// The adjoint of `Slide`.
    SlideBack { right: Vec<isize> },
}

impl ResampleOp {
    fn adjoint(&self) -> Self {
        let negated = |shifts: &[isize]| shifts.iter().map(|shift| shift.wrapping_neg()).collect();
        match self {
            Self::Halve { scale } => Self::Double { scale: *scale },
            Self::Double { scale } => Self::Halve { scale: *scale },
            Self::Shift { down, right } => Self::Shift { down: negated(down), right: negated(right) },
            Self::Slide { right } => Self::SlideBack { right: right.clone() },
            Self::SlideBack { right } => Self::Slide { right: right.clone() },
        }
    }

    fn shape(&self, height: usize, width: usize) -> (usize, usize) {
        match self {
            Self::Halve { .. } => (height / 2, width / 2),
            Self::Double { .. } => (2 * height, 2 * width),
            Self::Shift { .. } | Self::Slide { .. } | Self::SlideBack { .. } => (height, width),
        }
    }

    fn forward<T: Float>(&self, x: &[T], channels: usize, height: usize, width: usize) -> Vec<T> {
        let (rows, columns) = self.shape(height, width);
        if x.is_empty() || rows * columns == 0 {
            return Vec::new();
        }
        let mut out = vec![T::ZERO; x.len() / (height * width) * rows * columns];
        let planes = out.par_chunks_exact_mut(rows * columns).zip(x.par_chunks_exact(height * width));
        planes.enumerate().for_each(|(plane, (out, x))| match self {
            Self::Halve { scale } => {
                let scale = T::from_f64(*scale);
                for (out, rows) in out.chunks_exact_mut(columns).zip(x.chunks_exact(2 * width)) {
                    let (upper, lower) = rows.split_at(width);
                    let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                    for (out, (upper, lower)) in out.iter_mut().zip(pairs) {
                        *out = scale * ((upper[0] + upper[1]) + (lower[0] + lower[1]));
                    }
                }
            }
            Self::Double { scale } => {
                let scale = T::from_f64(*scale);
                for (out, x) in out.chunks_exact_mut(2 * columns).zip(x.chunks_exact(width)) {
                    let (upper, lower) = out.split_at_mut(columns);
                    for (out, &x) in upper.chunks_exact_mut(2).zip(x) {
                        out.fill(scale * x);
                    }
                    lower.copy_from_slice(upper);
                }
            }
            Self::Shift { down, right } => {
                let image = plane / channels;
                let (from, to, count) = overlap(right[image], width);
                for row in 0..height {
                    let Some(source) =
                        row.checked_add_signed(down[image].wrapping_neg()).filter(|&row| row < height)
                    else {
                        continue;
                    };
                    let (source, row) = (source * width + from, row * width + to);
                    out[row..row + count].copy_from_slice(&x[source..source + count]);
                }
            }
            Self::Slide { right } => {
                let by = right[plane / channels];
                let (from, to, count) = overlap(by, width);
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    out[to..to + count].copy_from_slice(&x[from..from + count]);
                    for (at, source) in mirrored(by, width) {
                        out[at] = x[source];
                    }
                }
            }
            Self::SlideBack { right } => {
                let by = right[plane / channels];
                let (from, to, count) = overlap(by, width);
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    out[from..from + count].copy_from_slice(&x[to..to + count]);
                    for (at, source) in mirrored(by, width) {
                        out[source] += x[at];
                    }
                }
            }
        });
        out
    }
}

/// For a line of `size` pixels that moves by `by`: where to read from, where to write to, and how
/// many pixels remain.
fn overlap(by: isize, size: usize) -> (usize, usize, usize) {
    let distance = by.unsigned_abs().min(size);
    if by >= 0 { (0, distance, size - distance) } else { (distance, 0, size - distance) }
}

impl CustomOp1 for ResampleOp {
    fn name(&self) -> &'static str {
        "waxwork-resample"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, channels, height, width) = layout.shape().dims4()?;
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(storage, layout)?, channels, height, width))
        });
        let (rows, columns) = self.shape(height, width);
        Ok((out, Shape::from((n, channels, rows, columns))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        grad.contiguous()?.apply_op1_no_bwd(&self.adjoint()).map(Some)
    }
}
