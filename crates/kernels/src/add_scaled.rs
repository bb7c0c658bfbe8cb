//! The sum of a residual block: its input plus a multiple of its branch.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, WithDType};

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::{map1, map2};
use crate::error::Result;
use crate::float::Float;
use crate::shapes::same_shape;
use crate::tape;

/// x + scale · y for two tensors of the same shape. Differentiable in both.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if shapes or types differ.
pub fn add_scaled(x: &Tensor, y: &Tensor, scale: f64) -> Result<Tensor> {
    same_shape("the second term of a sum", x, y)?;
    if !runs_on_cpu_kernels(x.device()) {
        return composed::add_scaled(x, y, scale);
    }
    Ok(tape::apply2(&x.contiguous()?, &y.contiguous()?, AddScaledOp { scale })?)
}

struct AddScaledOp {
    scale: f64,
}

impl AddScaledOp {
    /// The gradient of y.
    fn backward<T: Float>(&self, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (shape, scale) = (grad.shape(), T::from_f64(self.scale));
        elements!(T; grad);
        tensor(
            map1(
                grad,
                #[inline(always)]
                |grad: T| grad * scale,
            ),
            shape,
        )
    }
}

impl CustomOp2 for AddScaledOp {
    fn name(&self) -> &'static str {
        "waxwork-add-scaled"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => {
            let scale = T::from_f64(self.scale);
            T::to_cpu_storage_owned(map2(
                slice::<T>(s1, l1)?,
                slice::<T>(s2, l2)?,
                #[inline(always)]
                |x: T, y| x + y * scale,
            ))
        });
        Ok((out, l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let for_x = x.track_op().then(|| grad.clone());
        let for_y = y.track_op().then(|| {
            if self.scale == 1.0 {
                return Ok(grad.clone());
            }
            by_dtype!(grad.dtype(), T => self.backward::<T>(grad))
        });
        Ok((for_x, for_y.transpose()?))
    }
}
