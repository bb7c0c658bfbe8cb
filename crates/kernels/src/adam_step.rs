//! The Adam update in one pass over each parameter, and the sum of squares that gradient clipping needs.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use crate::adam::{AdamStep, Factors};
use crate::buffer::{by_dtype, elements};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::TASK_LEN;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::scalars::scalar;
use crate::simd::simd;
use crate::sums::sum1;

/// Updates param, m and v in place from grad in one pass. Also updates
/// ema ← decay · ema + (1 − decay) · param, if it is given.
///
/// All tensors have the same shape and type. All but the gradient must be contiguous. No two may
/// share their storage.
///
/// # Errors
/// [`Error::Input`] if shapes or types differ, [`Error::SharedStorage`] if two tensors share their storage,
/// and [`Error::Tensor`] if a tensor that is updated is not contiguous.
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

/// Calls `f` with the elements of all tensors, mutable at the same time.
///
/// Candle gives access to the mutable storage of one tensor at a time, so the calls nest: each operation
/// holds the slices of the previous tensors and requests the next one.
struct Nested<'a, 'b, T, F> {
    held: RefCell<Vec<&'b mut [T]>>,
    rest: &'a [&'a Tensor],
    f: &'a F,
}

fn with_mut<T: Float, F>(tensors: &[&Tensor], f: &F) -> candle_core::Result<()>
where
    F: Fn(&mut [&mut [T]]) -> candle_core::Result<()>,
{
    nest(Vec::new(), tensors, f)
}

fn nest<T: Float, F>(mut held: Vec<&mut [T]>, rest: &[&Tensor], f: &F) -> candle_core::Result<()>
where
    F: Fn(&mut [&mut [T]]) -> candle_core::Result<()>,
{
    match rest.split_first() {
        None => f(&mut held),
        Some((next, rest)) => next.inplace_op1(&Nested { held: RefCell::new(held), rest, f }),
    }
}

impl<T: Float, F> InplaceOp1 for Nested<'_, '_, T, F>
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

fn on_cpu<T: Float>(
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
                let chunks = p
                    .par_chunks_mut(TASK_LEN)
                    .zip(m.par_chunks_mut(TASK_LEN))
                    .zip(v.par_chunks_mut(TASK_LEN));
                chunks.zip(grad.par_chunks(TASK_LEN)).for_each(|(((p, m), v), g)| {
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
                let chunks = p
                    .par_chunks_mut(TASK_LEN)
                    .zip(m.par_chunks_mut(TASK_LEN))
                    .zip(v.par_chunks_mut(TASK_LEN));
                let chunks = chunks.zip(ema.par_chunks_mut(TASK_LEN)).zip(grad.par_chunks(TASK_LEN));
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

/// Reports shared storage before any storage is locked for writing, because it would deadlock.
fn distinct(tensors: &[&Tensor], grad: &Tensor) -> Result<()> {
    let address = |t: &Tensor| std::ptr::from_ref(&*t.storage_and_layout().0).addr();
    let mut addresses: Vec<usize> = tensors.iter().copied().chain([grad]).map(address).collect();
    addresses.sort_unstable();
    if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::SharedStorage { operation: "an Adam step" });
    }
    Ok(())
}

/// Σ x² over all elements, accumulated in a fixed order and returned as f64. Waits for the device.
pub fn sum_squares(x: &Tensor) -> Result<f64> {
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(scalar(&composed::row_norm(&x.flatten_all()?)?)?.powi(2));
    }
    by_dtype!(x.dtype(), T => {
        elements!(T; x);
        let parts: Vec<f64> = x
            .par_chunks(TASK_LEN)
            .map(|chunk| simd(#[inline(always)] || sum1(chunk, #[inline(always)] |x| x * x)))
            .collect();
        Ok(parts.iter().sum())
    })
}
