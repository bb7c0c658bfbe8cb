//! exp and log as operations. Candle's own call the C library, whose results differ in the last
//! bit between systems.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::{map1, map2};
use crate::error::Result;
use crate::float::Float;
use crate::tape;

/// exp(x) for every element of a tensor of any shape. Differentiable.
pub fn exp(x: &Tensor) -> Result<Tensor> {
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(composed::exp(x)?);
    }
    Ok(tape::apply1(&x.contiguous()?, ExponentialOp::Exp)?)
}

/// log(x) for every element of a tensor of any shape: −∞ at 0, NaN below 0. Differentiable.
pub fn log(x: &Tensor) -> Result<Tensor> {
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(composed::log(x)?);
    }
    Ok(tape::apply1(&x.contiguous()?, ExponentialOp::Log)?)
}

#[derive(Clone, Copy)]
enum ExponentialOp {
    Exp,
    Log,
}

impl ExponentialOp {
    fn forward<T: Float>(self, x: &[T]) -> Vec<T> {
        match self {
            Self::Exp => map1(
                x,
                #[inline(always)]
                |x: T| Float::exp(x),
            ),
            Self::Log => map1(
                x,
                #[inline(always)]
                |x: T| Float::log(x),
            ),
        }
    }

    fn backward<T: Float>(self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let shape = grad.shape();
        elements!(T; x, y, grad);
        let out = match self {
            Self::Exp => map2(
                y,
                grad,
                #[inline(always)]
                |y: T, g| y * g,
            ),
            Self::Log => map2(
                x,
                grad,
                #[inline(always)]
                |x: T, g| g / x,
            ),
        };
        tensor(out, shape)
    }
}

impl CustomOp1 for ExponentialOp {
    fn name(&self) -> &'static str {
        match self {
            Self::Exp => "waxwork-exp",
            Self::Log => "waxwork-log",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(storage, layout)?))
        });
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(y.dtype(), T => self.backward::<T>(x, y, grad)).map(Some)
    }
}
