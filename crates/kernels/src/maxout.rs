//! Maxout: the largest of several linear functions in place of an activation (Goodfellow et al. 2013).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tape;

/// The largest of every `pieces` neighbouring values: `(N, features · pieces)` → `(N, features)`.
/// Differentiable; the gradient is that of the largest value, the first if several are equal. NaN if one of
/// the values is.
///
/// # Errors
/// [`Error::Input`] if the second dimension is not a multiple of `pieces`.
pub fn maxout(x: &Tensor, pieces: usize) -> Result<Tensor> {
    let fits = matches!(x.dims(), [_, width] if pieces > 0 && width.is_multiple_of(pieces));
    if !fits {
        let expected = format!("(N, features · {pieces})");
        return Err(Error::Input { what: "input of a maxout", expected, found: x.shape().clone() });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::maxout(x, pieces);
    }
    Ok(tape::apply1(&x.contiguous()?, MaxoutOp { pieces })?)
}

struct MaxoutOp {
    pieces: usize,
}

impl MaxoutOp {
    fn backward<T: Float>(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let shape = x.shape();
        elements!(T; x, grad);
        let mut out = vec![T::ZERO; x.len()];
        let values = x.chunks_exact(self.pieces);
        for ((out, values), grad) in out.chunks_exact_mut(self.pieces).zip(values).zip(grad) {
            out[winner(values)] = *grad;
        }
        tensor(out, shape)
    }
}

/// The index of the largest value, or of the first NaN.
#[inline(always)]
fn winner<T: Float>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate().skip(1) {
        // A comparison with NaN is false, so a NaN that is the best so far stays.
        let nan = |value: &T| value.partial_cmp(value).is_none();
        if *value > values[best] || (nan(value) && !nan(&values[best])) {
            best = i;
        }
    }
    best
}

impl CustomOp1 for MaxoutOp {
    fn name(&self) -> &'static str {
        "waxwork-maxout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let out = by_dtype!(storage.dtype(), T => {
            let values = slice::<T>(storage, layout)?.chunks_exact(self.pieces);
            T::to_cpu_storage_owned(values.map(|values| values[winner(values)]).collect())
        });
        Ok((out, (rows, width / self.pieces).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(x.dtype(), T => self.backward::<T>(x, grad)).map(Some)
    }
}
