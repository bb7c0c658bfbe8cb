//! Activation functions as differentiable operations on tensors.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor, WithDType};

use crate::activation::Activation;
use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::map2;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shapes::same_shape;
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

/// The directional derivative of a piecewise linear activation: f'(x) · tangent, given y = f(x), of the shape
/// of the tangent. Differentiable in the tangent; the slopes are locally constant. Where a ReLU is zero, so is
/// the result, even if the tangent is NaN.
///
/// # Errors
/// [`Error::Argument`] if the activation is not piecewise linear; [`Error::Input`] if shapes or types differ.
pub fn activate_tangent(y: &Tensor, tangent: &Tensor, activation: Activation) -> Result<Tensor> {
    activation.check()?;
    if !activation.is_piecewise_linear() {
        let reason = format!("{activation:?} is not piecewise linear");
        return Err(Error::Argument { name: "activation", reason });
    }
    same_shape("the tangent of an activation", y, tangent)?;
    if activation.is_identity() {
        return Ok(tangent.clone());
    }
    let y = y.detach();
    if !runs_on_cpu_kernels(y.device()) {
        return composed::activate_tangent(&y, tangent, activation);
    }
    Ok(tape::apply2(&y.contiguous()?, &tangent.contiguous()?, TangentOp(activation))?)
}

struct TangentOp(Activation);

impl CustomOp2 for TangentOp {
    fn name(&self) -> &'static str {
        "waxwork-activation-tangent"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(self.0.backward::<T>(slice(s1, l1)?, slice(s2, l2)?))
        });
        Ok((out, l2.shape().clone()))
    }

    fn bwd(
        &self,
        y: &Tensor,
        tangent: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        // The map from tangents to tangents is its own adjoint.
        let for_tangent = tangent.track_op().then(|| y.apply_op2_no_bwd(&grad.contiguous()?, self));
        Ok((None, for_tangent.transpose()?))
    }
}
