//! The elementwise operations of losses, fused into one pass forward and one backward.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::{TASK_LEN, map1, map2, map2_rows, map3};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shapes::same_shape;
use crate::simd::simd;
use crate::sums::sum2;
use crate::tape;

/// Binary cross-entropy of logits against targets in [0, 1], in nats, summed over all but the first
/// dimension: logits and targets (N, …) → (N).
///
/// Each element is max(x, 0) − x·t + log(1 + exp(−|x|)), which is finite for any finite logit. Differentiable
/// in both.
///
/// # Errors
/// [`Error::Input`] if shapes or types differ, or the logits have no dimension.
pub fn bce_with_logits_sum(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    check_batch(["logits", "targets"], logits, targets)?;
    if !runs_on_cpu_kernels(logits.device()) {
        return composed::bce_with_logits_sum(logits, targets);
    }
    Ok(tape::apply2(&logits.contiguous()?, &targets.contiguous()?, BceOp)?)
}

/// Σ (x − y)² over all but the first dimension: x and y (N, …) → (N). Differentiable in both.
///
/// # Errors
/// [`Error::Input`] if shapes or types differ, or x has no dimension.
pub fn squared_error_sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    check_batch(["the first term of a squared error", "the second term of a squared error"], x, y)?;
    if !runs_on_cpu_kernels(x.device()) {
        return composed::squared_error_sum(x, y);
    }
    Ok(tape::apply2(&x.contiguous()?, &y.contiguous()?, SquaredErrorOp)?)
}

/// Checks two arguments with these names, whose elements are summed over all but the first dimension.
fn check_batch([first, second]: [&'static str; 2], x: &Tensor, y: &Tensor) -> Result<()> {
    same_shape(second, x, y)?;
    if x.rank() == 0 {
        let (expected, found) = ("a batch".into(), x.shape().clone());
        return Err(Error::Input { what: first, expected, found });
    }
    Ok(())
}

/// KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) per element, in nats, for mean and log_var of equal
/// shape. Differentiable in both.
///
/// # Errors
/// [`Error::Input`] if shapes or types differ.
pub fn gaussian_kl(mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    same_shape("log_var", mean, log_var)?;
    if !runs_on_cpu_kernels(mean.device()) {
        return composed::gaussian_kl(mean, log_var);
    }
    Ok(tape::apply2(&mean.contiguous()?, &log_var.contiguous()?, GaussianKlOp)?)
}

/// z = μ + exp(½ log σ²) · ε, for mean, log_var and noise of equal shape. Differentiable in all three.
///
/// # Errors
/// [`Error::Input`] if shapes or types differ.
pub fn reparameterize(mean: &Tensor, log_var: &Tensor, noise: &Tensor) -> Result<Tensor> {
    same_shape("log_var", mean, log_var)?;
    same_shape("noise", mean, noise)?;
    if !runs_on_cpu_kernels(mean.device()) {
        return composed::reparameterize(mean, log_var, noise);
    }
    let (log_var, noise) = (log_var.contiguous()?, noise.contiguous()?);
    Ok(tape::apply3(&mean.contiguous()?, &log_var, &noise, ReparameterizeOp)?)
}

/// log(1 + exp(x)) per element, without overflow. Differentiable.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    if !runs_on_cpu_kernels(x.device()) {
        return composed::softplus(x);
    }
    Ok(tape::apply1(&x.contiguous()?, SoftplusOp)?)
}

/// Gradients of two arguments.
type Pair = (Option<Tensor>, Option<Tensor>);

/// Gradients of this shape from their elements.
fn pair<T: Float>(first: Option<Vec<T>>, second: Option<Vec<T>>, shape: &Shape) -> candle_core::Result<Pair> {
    let shaped = |data: Option<Vec<T>>| data.map(|data| tensor(data, shape)).transpose();
    Ok((shaped(first)?, shaped(second)?))
}

/// Σ f(x, y) over each of the rows of two arguments.
fn row_sums<T: Float>(x: &[T], y: &[T], samples: usize, f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let columns = x.len() / samples.max(1);
    let rows = (TASK_LEN / columns.max(1)).max(1);
    let mut sums = vec![T::ZERO; samples];
    sums.par_chunks_mut(rows).enumerate().for_each(|(index, sums)| {
        for (row, sum) in sums.iter_mut().enumerate() {
            let start = (index * rows + row) * columns;
            let (x, y) = (&x[start..start + columns], &y[start..start + columns]);
            let total = simd(
                #[inline(always)]
                || sum2(x, y, &f),
            );
            *sum = T::from_f64(total);
        }
    });
    sums
}

struct BceOp;

impl BceOp {
    fn forward<T: Float>(logits: &[T], targets: &[T], samples: usize) -> Vec<T> {
        // softplus(x) − x·t is the stable form max(x, 0) + log(1 + exp(−|x|)) − x·t.
        row_sums(
            logits,
            targets,
            samples,
            #[inline(always)]
            |x: T, t| (-x).fma(t, x.softplus()),
        )
    }

    fn backward<T: Float>(logits: &Tensor, targets: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        let shape = logits.shape();
        let (for_logits, for_targets) = (logits.track_op(), targets.track_op());
        elements!(T; logits, targets, grad);
        let for_logits = for_logits.then(|| {
            map2_rows(
                logits,
                targets,
                grad,
                #[inline(always)]
                |x: T, t, g| (x.sigmoid() - t) * g,
            )
        });
        let for_targets = for_targets.then(|| {
            map2_rows(
                logits,
                targets,
                grad,
                #[inline(always)]
                |x: T, _, g| -x * g,
            )
        });
        pair(for_logits, for_targets, shape)
    }
}

impl CustomOp2 for BceOp {
    fn name(&self) -> &'static str {
        "waxwork-bce-with-logits-sum"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let samples = l1.dims()[0];
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(Self::forward::<T>(slice(s1, l1)?, slice(s2, l2)?, samples))
        });
        Ok((out, Shape::from(samples)))
    }

    fn bwd(&self, logits: &Tensor, targets: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        by_dtype!(logits.dtype(), T => Self::backward::<T>(logits, targets, grad))
    }
}

struct SquaredErrorOp;

impl SquaredErrorOp {
    fn forward<T: Float>(x: &[T], y: &[T], samples: usize) -> Vec<T> {
        row_sums(
            x,
            y,
            samples,
            #[inline(always)]
            |x, y| (x - y) * (x - y),
        )
    }

    fn backward<T: Float>(x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        let shape = x.shape();
        let (for_x, for_y) = (x.track_op(), y.track_op());
        elements!(T; x, y, grad);
        let slopes = |x: &[T], y: &[T]| {
            map2_rows(
                x,
                y,
                grad,
                #[inline(always)]
                |x: T, y, g| {
                    let apart = x - y;
                    (apart + apart) * g
                },
            )
        };
        pair(for_x.then(|| slopes(x, y)), for_y.then(|| slopes(y, x)), shape)
    }
}

impl CustomOp2 for SquaredErrorOp {
    fn name(&self) -> &'static str {
        "waxwork-squared-error-sum"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let samples = l1.dims()[0];
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(Self::forward::<T>(slice(s1, l1)?, slice(s2, l2)?, samples))
        });
        Ok((out, Shape::from(samples)))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        by_dtype!(x.dtype(), T => Self::backward::<T>(x, y, grad))
    }
}

struct GaussianKlOp;

impl GaussianKlOp {
    fn backward<T: Float>(mean: &Tensor, log_var: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        let shape = mean.shape();
        let (for_mean, for_log_var) = (mean.track_op(), log_var.track_op());
        elements!(T; mean, log_var, grad);
        let for_mean = for_mean.then(|| {
            map2(
                mean,
                grad,
                #[inline(always)]
                |m, g| m * g,
            )
        });
        let for_log_var = for_log_var.then(|| {
            map2(
                log_var,
                grad,
                #[inline(always)]
                |v: T, g| T::HALF * (v.exp() - T::ONE) * g,
            )
        });
        pair(for_mean, for_log_var, shape)
    }
}

impl CustomOp2 for GaussianKlOp {
    fn name(&self) -> &'static str {
        "waxwork-gaussian-kl"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => T::to_cpu_storage_owned(map2(
            slice::<T>(s1, l1)?,
            slice(s2, l2)?,
            #[inline(always)]
            |m, v| T::HALF * (m.fma(m, v.exp() - T::ONE) - v),
        )));
        Ok((out, l1.shape().clone()))
    }

    fn bwd(&self, mean: &Tensor, log_var: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        by_dtype!(mean.dtype(), T => Self::backward::<T>(mean, log_var, grad))
    }
}

struct ReparameterizeOp;

impl ReparameterizeOp {
    fn backward<T: Float>(log_var: &Tensor, noise: &Tensor, grad: &Tensor) -> candle_core::Result<Pair> {
        let shape = grad.shape();
        let (for_log_var, for_noise) = (log_var.track_op(), noise.track_op());
        elements!(T; log_var, noise, grad);
        let for_log_var = for_log_var.then(|| {
            map3(
                log_var,
                noise,
                grad,
                #[inline(always)]
                |v: T, e, g| T::HALF * (T::HALF * v).exp() * e * g,
            )
        });
        let for_noise = for_noise.then(|| {
            map2(
                log_var,
                grad,
                #[inline(always)]
                |v: T, g| (T::HALF * v).exp() * g,
            )
        });
        pair(for_log_var, for_noise, shape)
    }
}

impl CustomOp3 for ReparameterizeOp {
    fn name(&self) -> &'static str {
        "waxwork-reparameterize"
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
        let out = by_dtype!(s1.dtype(), T => T::to_cpu_storage_owned(map3(
            slice::<T>(s1, l1)?,
            slice(s2, l2)?,
            slice(s3, l3)?,
            #[inline(always)]
            |m, v, e| (T::HALF * v).exp().fma(e, m),
        )));
        Ok((out, l1.shape().clone()))
    }

    fn bwd(
        &self,
        mean: &Tensor,
        log_var: &Tensor,
        noise: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (for_log_var, for_noise) =
            by_dtype!(mean.dtype(), T => Self::backward::<T>(log_var, noise, grad))?;
        Ok((mean.track_op().then(|| grad.clone()), for_log_var, for_noise))
    }
}

struct SoftplusOp;

impl SoftplusOp {
    fn backward<T: Float>(x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let shape = x.shape();
        elements!(T; x, grad);
        let out = map2(
            x,
            grad,
            #[inline(always)]
            |x: T, g| x.sigmoid() * g,
        );
        tensor(out, shape)
    }
}

impl CustomOp1 for SoftplusOp {
    fn name(&self) -> &'static str {
        "waxwork-softplus"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => T::to_cpu_storage_owned(map1(
            slice::<T>(storage, layout)?,
            #[inline(always)]
            |x: T| Float::softplus(x),
        )));
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(x.dtype(), T => Self::backward::<T>(x, grad)).map(Some)
    }
}
