//! The Adam update, one pass over each parameter, and the sum of squares that gradient clipping needs.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use super::buffer::{CHUNK, by_dtype, elements, simd, sum1};
use super::composed;
use super::real::Real;
use crate::device::runs_on_cpu_kernels;
use crate::scalars::scalar;
use crate::{Error, Result};

/// What one Adam step does, with decoupled weight decay (AdamW).
///
/// With g = `grad_scale` · gradient and t = `step`:
/// p ← p · (1 − lr · weight_decay), m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²,
/// p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps), as PyTorch has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate of this step.
    pub lr: f64,
    /// Decay of the mean of gradients, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean of squared gradients, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the bias-corrected v.
    pub eps: f64,
    /// Decoupled: the parameter shrinks by lr · weight_decay, whatever the gradient.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// The gradient is multiplied by this first, 1 where nothing is clipped.
    pub grad_scale: f64,
}

/// Updates param, m and v in place from grad, and if asked ema ← decay · ema + (1 − decay) · param, all in one pass.
///
/// All tensors have one shape and type and are contiguous; none shares its storage with another.
///
/// # Errors
/// If shapes or types differ, or a tensor is not contiguous.
pub fn adam_step(
    param: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    v: &Tensor,
    step: &AdamStep,
    ema: Option<(&Tensor, f64)>,
) -> Result<()> {
    let (ema, decay) = ema.map_or((None, 0.0), |(ema, decay)| (Some(ema), decay));
    for (what, tensor) in [("gradient", Some(grad)), ("adam m", Some(m)), ("adam v", Some(v)), ("ema", ema)] {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != param.dims() || tensor.dtype() != param.dtype() {
            return Err(Error::Input {
                what,
                expected: format!("{:?} of {:?}", param.shape(), param.dtype()),
                found: tensor.shape().clone(),
            });
        }
    }
    if !runs_on_cpu_kernels(param.device()) {
        return composed::adam_step(param, grad, m, v, step, ema.map(|ema| (ema, decay)));
    }
    by_dtype!(param.dtype(), T => on_cpu::<T>(param, grad, m, v, step, ema, decay))
}

/// The factors of one step, rounded once.
#[derive(Clone, Copy)]
struct Factors<T> {
    shrink: T,
    grad_scale: T,
    keep1: T,
    gain1: T,
    keep2: T,
    gain2: T,
    rate: T,
    inverse_root_correction2: T,
    eps: T,
    decay: T,
    gain: T,
}

impl<T: Real> Factors<T> {
    fn new(step: &AdamStep, decay: f64) -> Self {
        let t = step.step as f64;
        let correction1 = 1.0 - libm::pow(step.beta1, t);
        let correction2 = 1.0 - libm::pow(step.beta2, t);
        Self {
            shrink: T::from_f64(1.0 - step.lr * step.weight_decay),
            grad_scale: T::from_f64(step.grad_scale),
            keep1: T::from_f64(step.beta1),
            gain1: T::from_f64(1.0 - step.beta1),
            keep2: T::from_f64(step.beta2),
            gain2: T::from_f64(1.0 - step.beta2),
            rate: T::from_f64(-step.lr / correction1),
            inverse_root_correction2: T::from_f64(1.0 / correction2.sqrt()),
            eps: T::from_f64(step.eps),
            decay: T::from_f64(decay),
            gain: T::from_f64(1.0 - decay),
        }
    }

    /// One element of param, m and v.
    #[inline(always)]
    fn update(self, p: &mut T, m: &mut T, v: &mut T, g: T) {
        let g = g * self.grad_scale;
        *m = self.keep1.fma(*m, self.gain1 * g);
        *v = self.keep2.fma(*v, self.gain2 * g * g);
        let root = v.sqrt().fma(self.inverse_root_correction2, self.eps);
        *p = self.rate.fma(*m / root, *p * self.shrink);
    }
}

/// Gives `f` the elements of the tensors, all mutable at once.
///
/// Candle hands out mutable storage one tensor at a time, so the calls nest: each op holds the slices of the tensors
/// before it and asks for the next.
struct Nested<'a, 'b, T, F> {
    held: RefCell<Vec<&'b mut [T]>>,
    rest: &'a [&'a Tensor],
    f: &'a F,
}

fn with_mut<T: Real, F>(tensors: &[&Tensor], f: &F) -> candle_core::Result<()>
where
    F: Fn(&mut [&mut [T]]) -> candle_core::Result<()>,
{
    nest(Vec::new(), tensors, f)
}

fn nest<T: Real, F>(mut held: Vec<&mut [T]>, rest: &[&Tensor], f: &F) -> candle_core::Result<()>
where
    F: Fn(&mut [&mut [T]]) -> candle_core::Result<()>,
{
    match rest.split_first() {
        None => f(&mut held),
        Some((next, rest)) => next.inplace_op1(&Nested { held: RefCell::new(held), rest, f }),
    }
}

impl<T: Real, F> InplaceOp1 for Nested<'_, '_, T, F>
where
    F: Fn(&mut [&mut [T]]) -> candle_core::Result<()>,
{
    fn name(&self) -> &'static str {
        "waxwork-adam"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::RequiresContiguous { op: "adam step" }.bt());
        };
        let data = T::mut_slice(storage)?;
        let mut held: Vec<&mut [T]> = self.held.borrow_mut().drain(..).map(|slice| &mut *slice).collect();
        held.push(&mut data[start..end]);
        nest(held, self.rest, self.f)
    }
}

fn on_cpu<T: Real>(
    param: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    v: &Tensor,
    step: &AdamStep,
    ema: Option<&Tensor>,
    decay: f64,
) -> Result<()> {
    let mut tensors = vec![param, m, v];
    tensors.extend(ema);
    distinct(&tensors, grad)?;
    let factors = Factors::<T>::new(step, decay);
    elements!(T; grad);
    with_mut::<T, _>(&tensors, &|slices: &mut [&mut [T]]| {
        match slices {
            [p, m, v] => {
                let chunks =
                    p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
                chunks.zip(grad.par_chunks(CHUNK)).for_each(|(((p, m), v), g)| {
                    simd(
                        #[inline(always)]
                        || {
                            for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                                factors.update(p, m, v, g);
                            }
                        },
                    );
                });
            }
            [p, m, v, ema] => {
                let chunks =
                    p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
                let chunks = chunks.zip(ema.par_chunks_mut(CHUNK)).zip(grad.par_chunks(CHUNK));
                chunks.for_each(|((((p, m), v), ema), g)| {
                    simd(
                        #[inline(always)]
                        || {
                            for ((((p, m), v), ema), &g) in p.iter_mut().zip(m).zip(v).zip(ema).zip(g) {
                                factors.update(p, m, v, g);
                                *ema = factors.decay.fma(*ema, factors.gain * *p);
                            }
                        },
                    );
                });
            }
            _ => candle_core::bail!("an adam step needs three or four tensors"),
        }
        Ok(())
    })?;
    Ok(())
}

/// Shared storage would lock for ever, so it is an error before any lock is taken for writing.
fn distinct(tensors: &[&Tensor], grad: &Tensor) -> Result<()> {
    let address = |t: &Tensor| std::ptr::from_ref(&*t.storage_and_layout().0).addr();
    let mut addresses: Vec<usize> = tensors.iter().copied().chain([grad]).map(address).collect();
    addresses.sort_unstable();
    if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::SharedStorage { operation: "an Adam step" });
    }
    Ok(())
}

/// Σ x² over all elements, in f64 and in a fixed order.
pub fn sum_squares(x: &Tensor) -> Result<f64> {
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(scalar(&composed::row_norm(&x.flatten_all()?)?)?.powi(2));
    }
    by_dtype!(x.dtype(), T => {
        elements!(T; x);
        let parts: Vec<f64> = x
            .par_chunks(CHUNK)
            .map(|chunk| simd(#[inline(always)] || sum1(chunk, #[inline(always)] |x| x * x)))
            .collect();
        Ok(parts.iter().sum())
    })
}
