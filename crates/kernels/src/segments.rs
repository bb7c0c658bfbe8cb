//! Heads and likelihoods of rows that are cut into segments: numbers, and one-hot choices. One pass handles
//! all segments of a row, which saves a call per segment.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::TASK_LEN;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::segment_layout::{HALF_LOG_TAU, SegmentKind, Segments};
use crate::shapes::same_shape;
use crate::simd::simd;
use crate::tape::{self, Triple};

/// (.., D) → the same shape: x for real numbers, tanh(x) for signed ones, softmax(x / temperature) for each
/// choice. With Gumbel noise added to the choices this is the Gumbel softmax (Jang et al. 2017; Maddison et
/// al. 2017). Differentiable.
///
/// # Errors
/// [`Error::Input`] if the last dimension has another width; [`Error::Argument`] if the temperature is not
/// positive.
pub fn activate_segments(x: &Tensor, segments: &Segments, temperature: f64) -> Result<Tensor> {
    segments.check("the values of segments", x)?;
    if !(temperature > 0.0 && temperature.is_finite()) {
        let reason = format!("must be a positive number, got {temperature}");
        return Err(Error::Argument { name: "temperature", reason });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(composed::activate_segments(x, segments, temperature)?);
    }
    let op = ActivateOp { segments: segments.clone(), inverse_temperature: temperature.recip() };
    Ok(tape::apply1(&x.contiguous()?, op)?)
}

/// log p(target | output) per row in nats, outputs and targets `(N, D)` → `(N)`: a Gaussian around x or
/// tanh(x) for each number, whose log standard deviation is its element of `log_scale` `(numbers)`, and the
/// log probability of each choice under softmax(x). A silent number ([`Segments::silenced`]) contributes
/// nothing. Differentiable in all three.
///
/// # Errors
/// [`Error::Input`] if a shape does not fit.
pub fn segment_log_likelihood(
    output: &Tensor,
    targets: &Tensor,
    log_scale: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    segments.check("the outputs of segments", output)?;
    same_shape("the targets of segments", output, targets)?;
    if output.rank() != 2 {
        let expected = format!("(N, {})", segments.width());
        return Err(Error::Input {
            what: "the outputs of segments",
            expected,
            found: output.shape().clone(),
        });
    }
    if log_scale.dims() != [segments.numbers()] {
        let (expected, found) = (format!("({})", segments.numbers()), log_scale.shape().clone());
        return Err(Error::Input { what: "the log scales of numbers", expected, found });
    }
    if !runs_on_cpu_kernels(output.device()) {
        return Ok(composed::segment_log_likelihood(output, targets, log_scale, segments)?);
    }
    // An operation cannot have empty arguments.
    let log_scale = if segments.numbers() == 0 {
        Tensor::zeros(1, output.dtype(), output.device())?
    } else {
        log_scale.clone()
    };
    let op = LikelihoodOp { segments: segments.clone() };
    Ok(tape::apply3(&output.contiguous()?, &targets.contiguous()?, &log_scale.contiguous()?, op)?)
}

/// Rows that one task computes.
fn rows_per_task(width: usize) -> usize {
    (TASK_LEN / width.max(1)).max(1)
}

/// softmax(x · factor) into `out`. A NaN makes all of it NaN.
#[inline(always)]
fn softmax<T: Float>(x: &[T], factor: T, out: &mut [T]) {
    let mut top = x[0];
    for &value in x {
        if value > top {
            top = value;
        }
    }
    for (out, &value) in out.iter_mut().zip(x) {
        *out = Float::exp((value - top) * factor);
    }
    let mut sum = T::ZERO;
    for &value in &*out {
        sum += value;
    }
    let scale = T::ONE / sum;
    for out in out {
        *out *= scale;
    }
}

struct ActivateOp {
    segments: Segments,
    inverse_temperature: f64,
}

impl ActivateOp {
    fn forward<T: Float>(&self, x: &[T]) -> Vec<T> {
        let (width, factor) = (self.segments.width(), T::from_f64(self.inverse_temperature));
        let mut out = vec![T::ZERO; x.len()];
        let rows = rows_per_task(width) * width;
        out.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(out, x)| {
            simd(
                #[inline(always)]
                || {
                    for (mut out, mut x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        for &(kind, width) in self.segments.parts() {
                            let (values, rest) = x.split_at(width);
                            let (results, others) = out.split_at_mut(width);
                            match kind {
                                SegmentKind::Real => results.copy_from_slice(values),
                                SegmentKind::Signed => {
                                    for (result, &value) in results.iter_mut().zip(values) {
                                        *result = Float::tanh(value);
                                    }
                                }
                                SegmentKind::Choice => softmax(values, factor, results),
                            }
                            (x, out) = (rest, others);
                        }
                    }
                },
            );
        });
        out
    }

    /// From the result and its gradient: g for real numbers, (1 − y²) g for signed ones, y (g − Σ y g) /
    /// temperature for choices.
    fn backward<T: Float>(&self, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (shape, width) = (y.shape(), self.segments.width());
        let factor = T::from_f64(self.inverse_temperature);
        elements!(T; y, grad);
        let mut out = vec![T::ZERO; y.len()];
        let rows = rows_per_task(width) * width;
        out.par_chunks_mut(rows).zip(y.par_chunks(rows)).zip(grad.par_chunks(rows)).for_each(
            |((out, y), grad)| {
                simd(
                    #[inline(always)]
                    || {
                        let each = out
                            .chunks_exact_mut(width)
                            .zip(y.chunks_exact(width))
                            .zip(grad.chunks_exact(width));
                        for ((mut out, mut y), mut grad) in each {
                            for &(kind, width) in self.segments.parts() {
                                let ((values, more), (slopes, further)) =
                                    (y.split_at(width), grad.split_at(width));
                                let (results, others) = out.split_at_mut(width);
                                let each = results.iter_mut().zip(values).zip(slopes);
                                match kind {
                                    SegmentKind::Real => results.copy_from_slice(slopes),
                                    SegmentKind::Signed => {
                                        each.for_each(|((result, &y), &g)| *result = (T::ONE - y * y) * g);
                                    }
                                    SegmentKind::Choice => {
                                        let mut mean = T::ZERO;
                                        for (&y, &g) in values.iter().zip(slopes) {
                                            mean += y * g;
                                        }
                                        each.for_each(|((result, &y), &g)| *result = y * (g - mean) * factor);
                                    }
                                }
                                (out, y, grad) = (others, more, further);
                            }
                        }
                    },
                );
            },
        );
        tensor(out, shape)
    }
}

impl CustomOp1 for ActivateOp {
    fn name(&self) -> &'static str {
        "waxwork-activate-segments"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(storage, layout)?))
        });
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(by_dtype!(y.dtype(), T => self.backward::<T>(y, grad)?)))
    }
}

struct LikelihoodOp {
    segments: Segments,
}

impl LikelihoodOp {
    fn forward<T: Float>(&self, x: &[T], targets: &[T], log_scale: &[T]) -> Vec<T> {
        let width = self.segments.width();
        let rows = rows_per_task(width);
        let mut out = vec![T::ZERO; x.len() / width];
        let of_task = x.par_chunks(rows * width).zip(targets.par_chunks(rows * width));
        out.par_chunks_mut(rows).zip(of_task).for_each(|(out, (x, targets))| {
            simd(
                #[inline(always)]
                || {
                    let mut scratch = vec![T::ZERO; width];
                    let each = x.chunks_exact(width).zip(targets.chunks_exact(width));
                    for (out, (x, targets)) in out.iter_mut().zip(each) {
                        *out = T::from_f64(self.row(x, targets, log_scale, &mut scratch));
                    }
                },
            );
        });
        out
    }

    /// log p of one row.
    #[inline(always)]
    fn row<T: Float>(&self, mut x: &[T], mut targets: &[T], mut log_scale: &[T], scratch: &mut [T]) -> f64 {
        let (all, mut number, mut total) = (targets, 0, 0.0);
        for &(kind, width) in self.segments.parts() {
            let ((values, more), (wanted, others)) = (x.split_at(width), targets.split_at(width));
            (x, targets) = (more, others);
            if kind == SegmentKind::Choice {
                let mut top = values[0];
                for &value in values {
                    if value > top {
                        top = value;
                    }
                }
                let powers = &mut scratch[..width];
                for (power, &value) in powers.iter_mut().zip(values) {
                    *power = Float::exp(value - top);
                }
                let (mut sum, mut share, mut score) = (T::ZERO, T::ZERO, T::ZERO);
                for ((&power, &value), &t) in powers.iter().zip(values).zip(wanted) {
                    sum += power;
                    share += t;
                    score += t * (value - top);
                }
                total += (score - share * Float::log(sum)).to_f64();
                continue;
            }
            let (scales, rest) = log_scale.split_at(width);
            log_scale = rest;
            for ((&value, &t), &scale) in values.iter().zip(wanted).zip(scales) {
                number += 1;
                if self.segments.is_silent(number - 1, all) {
                    continue;
                }
                let mean = if kind == SegmentKind::Signed { Float::tanh(value) } else { value };
                let z = (t - mean) * Float::exp(-scale);
                total -= (T::HALF * z * z + scale).to_f64() + HALF_LOG_TAU;
            }
        }
        total
    }

    /// Writes the gradients of a row, each times `g`, into `for_x`, `for_targets` and `for_scale`, which must
    /// be zero.
    #[inline(always)]
    fn row_gradient<T: Float>(
        &self,
        (mut x, mut targets, mut log_scale): (&[T], &[T], &[T]),
        g: T,
        (mut for_x, mut for_targets, mut for_scale): (&mut [T], &mut [T], &mut [T]),
    ) {
        let (all, mut number) = (targets, 0);
        for &(kind, width) in self.segments.parts() {
            let ((values, more), (wanted, others)) = (x.split_at(width), targets.split_at(width));
            let ((dx, more_x), (dt, more_t)) = (for_x.split_at_mut(width), for_targets.split_at_mut(width));
            (x, targets, for_x, for_targets) = (more, others, more_x, more_t);
            if kind == SegmentKind::Choice {
                softmax(values, T::ONE, dx);
                let mut share = T::ZERO;
                for &t in wanted {
                    share += t;
                }
                for (((dx, dt), &t), _) in dx.iter_mut().zip(dt).zip(wanted).zip(values) {
                    // d/dt is the log probability; where that is −∞ in this type, so is the gradient.
                    *dt = g * Float::log(*dx);
                    *dx = g * (t - share * *dx);
                }
                continue;
            }
            let ((scales, more), (ds, further)) = (log_scale.split_at(width), for_scale.split_at_mut(width));
            (log_scale, for_scale) = (more, further);
            let each = values.iter().zip(wanted).zip(scales).zip(dx.iter_mut().zip(dt).zip(ds));
            for (((&value, &t), &scale), ((dx, dt), ds)) in each {
                number += 1;
                if self.segments.is_silent(number - 1, all) {
                    continue;
                }
                let mean = if kind == SegmentKind::Signed { Float::tanh(value) } else { value };
                let slope = if kind == SegmentKind::Signed { T::ONE - mean * mean } else { T::ONE };
                let precision = Float::exp(-scale);
                let z = (t - mean) * precision;
                *dx = g * z * precision * slope;
                *dt = -(g * z * precision);
                *ds = g * (z * z - T::ONE);
            }
        }
    }

    fn backward<T: Float>(
        &self,
        x: &Tensor,
        targets: &Tensor,
        log_scale: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        let (shape, scales, width) = (x.shape(), log_scale.elem_count(), self.segments.width());
        let wanted = [x.track_op(), targets.track_op(), log_scale.track_op()];
        elements!(T; x, targets, log_scale, grad);
        let (mut for_x, mut for_targets) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
        // One row of scale gradients per row of the batch, summed below in the order of rows.
        let mut for_scales = vec![T::ZERO; grad.len() * scales];
        let rows = rows_per_task(width);
        let outputs = for_x.par_chunks_mut(rows * width).zip(for_targets.par_chunks_mut(rows * width));
        let outputs = outputs.zip(for_scales.par_chunks_mut(rows * scales));
        let inputs =
            x.par_chunks(rows * width).zip(targets.par_chunks(rows * width)).zip(grad.par_chunks(rows));
        outputs.zip(inputs).for_each(|(((dx, dt), ds), ((x, t), g))| {
            simd(
                #[inline(always)]
                || {
                    let outputs = dx
                        .chunks_exact_mut(width)
                        .zip(dt.chunks_exact_mut(width))
                        .zip(ds.chunks_exact_mut(scales));
                    let inputs = x.chunks_exact(width).zip(t.chunks_exact(width)).zip(g);
                    for (((dx, dt), ds), ((x, t), &g)) in outputs.zip(inputs) {
                        self.row_gradient((x, t, log_scale), g, (dx, dt, ds));
                    }
                },
            );
        });
        let for_scale = wanted[2].then(|| {
            let mut sums = vec![0.0f64; scales];
            for row in for_scales.chunks_exact(scales) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.to_f64());
            }
            sums.into_iter().map(T::from_f64).collect::<Vec<T>>()
        });
        Ok((
            wanted[0].then(|| tensor(for_x, shape)).transpose()?,
            wanted[1].then(|| tensor(for_targets, shape)).transpose()?,
            for_scale.map(|values| tensor(values, scales)).transpose()?,
        ))
    }
}

impl CustomOp3 for LikelihoodOp {
    fn name(&self) -> &'static str {
        "waxwork-segment-log-likelihood"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?))
        });
        Ok((out, Shape::from(l1.dims()[0])))
    }

    fn bwd(
        &self,
        x: &Tensor,
        targets: &Tensor,
        log_scale: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        by_dtype!(x.dtype(), T => self.backward::<T>(x, targets, log_scale, grad))
    }
}
