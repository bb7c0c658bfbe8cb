//! Activation functions as differentiable operations on tensors.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};

use crate::activation::Activation;
use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::map2;
use crate::error::Result;
use crate::float::Float;
use crate::tape;

/// f(x) for every element of a tensor of any shape. Differentiable.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    activation.check()?;
    if activation.is_identity() {
        return Ok(x.clone());
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::activate(x, activation);
    }
    Ok(tape::apply1(&x.contiguous()?, ActivateOp(activation))?)
}

struct ActivateOp(Activation);

impl ActivateOp {
    fn backward<T: Float>(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let source = if self.0 == Activation::Silu { x } else { y };
        elements!(T; source, grad);
        let out = match self.0 {
            Activation::Silu => map2(
                source,
                grad,
                #[inline(always)]
                |x: T, grad| {
                    let s = x.sigmoid();
                    grad * (s * (T::ONE + x * (T::ONE - s)))
                },
            ),
            activation => activation.backward(source, grad),
        };
        tensor(out, y.shape())
    }
}

impl CustomOp1 for ActivateOp {
    fn name(&self) -> &'static str {
        "waxwork-activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.0.forward::<T>(slice(storage, layout)?))
        });
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(y.dtype(), T => self.backward::<T>(x, y, grad)).map(Some)
    }
}
