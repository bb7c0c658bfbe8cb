//! Operations with an input, a weight and an optional bias: the adapter that puts them on candle's tape.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor, WithDType};

use crate::buffer::{by_dtype, slice};
use crate::error::Result;
use crate::real::Real;
use crate::tape;

/// The arithmetic of a layer on contiguous slices. `self` contains the sizes.
pub(crate) trait ParametricOp: Send + Sync + 'static {
    /// Name of the operation in candle's errors.
    const NAME: &'static str;

    /// Shape of the result.
    fn shape(&self) -> Shape;

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T>;

    /// The gradients of x and weight if they are tracked, and of the bias if `bias` is true.
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ParametricGradients>;
}

/// The gradients of an operation's arguments, if they are requested.
pub(crate) struct ParametricGradients {
    pub(crate) x: Option<Tensor>,
    pub(crate) weight: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
}

/// Applies an operation, differentiable in x, weight and bias.
pub(crate) fn apply(
    op: impl ParametricOp,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (x, weight, op) = (x.contiguous()?, weight.contiguous()?, ParametricCustomOp(op));
    Ok(match bias {
        Some(bias) => tape::apply3(&x, &weight, &bias.contiguous()?, op)?,
        None => tape::apply2(&x, &weight, op)?,
    })
}

struct ParametricCustomOp<W>(W);

impl<W: ParametricOp> ParametricCustomOp<W> {
    fn forward(
        &self,
        (s1, l1): (&CpuStorage, &Layout),
        (s2, l2): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => {
            let bias = bias.map(|(s, l)| slice(s, l)).transpose()?;
            T::to_cpu_storage_owned(self.0.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, bias))
        });
        Ok((out, self.0.shape()))
    }
}

impl<W: ParametricOp> CustomOp2 for ParametricCustomOp<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = by_dtype!(x.dtype(), T => self.0.backward::<T>(x, weight, false, y, grad))?;
        Ok((gradients.x, gradients.weight))
    }
}

impl<W: ParametricOp> CustomOp3 for ParametricCustomOp<W> {
    fn name(&self) -> &'static str {
        W::NAME
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
        self.forward((s1, l1), (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = by_dtype!(x.dtype(), T => self.0.backward::<T>(x, weight, bias.track_op(), y, grad))?;
        Ok((gradients.x, gradients.weight, gradients.bias))
    }
}
