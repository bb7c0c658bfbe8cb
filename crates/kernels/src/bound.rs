//! A smooth bound: the identity inside a range, and outside it tails that go at most 1 beyond the range.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::{map1, map2};
use crate::error::Result;
use crate::float::Float;
use crate::tape;

/// Bounds x smoothly to values between low − 1 and high + 1. Differentiable.
///
/// Inside `[low, high]` the result is x, and value and gradient keep their bits. Above, it is
/// high + e / (1 + e) with e = x − high; below, low − e / (1 + e) with e = low − x. The slope of these
/// tails, 1 / (1 + e)², continues the slope 1 of the identity and is never zero. Infinity becomes NaN, so
/// that it is noticed.
pub fn soft_bound(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    if !runs_on_cpu_kernels(x.device()) {
        return composed::soft_bound(x, low, high);
    }
    Ok(tape::apply1(&x.contiguous()?, SoftBoundOp { low, high })?)
}

struct SoftBoundOp {
    low: f64,
    high: f64,
}

impl SoftBoundOp {
    fn backward<T: Float>(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let shape = x.shape();
        let (low, high) = (T::from_f64(self.low), T::from_f64(self.high));
        elements!(T; x, grad);
        let out = map2(
            x,
            grad,
            #[inline(always)]
            |x: T, grad| {
                let beyond = if x > high { x - high } else { low - x };
                let root = T::ONE + beyond;
                let slope = grad / (root * root);
                if x > high || x < low { slope } else { grad }
            },
        );
        tensor(out, shape)
    }
}

impl CustomOp1 for SoftBoundOp {
    fn name(&self) -> &'static str {
        "waxwork-soft-bound"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            let (low, high) = (T::from_f64(self.low), T::from_f64(self.high));
            T::to_cpu_storage_owned(map1(
                slice::<T>(storage, layout)?,
                #[inline(always)]
                |x: T| {
                    // The product is zero, or NaN if x is infinite.
                    let tail = |beyond: T| T::ONE - T::ONE / (T::ONE + beyond) + x * T::ZERO;
                    if x > high {
                        high + tail(x - high)
                    } else if x < low {
                        low - tail(low - x)
                    } else {
                        x
                    }
                },
            ))
        });
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(x.dtype(), T => self.backward::<T>(x, grad)).map(Some)
    }
}
