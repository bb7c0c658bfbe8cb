//! The fully connected layer with bias and activation in one kernel.
#![expect(unsafe_code, reason = "matrix products take raw pointers and strides")]

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::activation::{self, Activation, activate};
use super::buffer::{by_dtype, elements, simd, slice, tensor};
use super::matmul::{Matrix, Size, column_sums, dims2, product_vec};
use super::real::Real;
use crate::{Error, Result};

/// f(x · wᵀ + b): x (N, I), weight (O, I) as in PyTorch, bias (O) → (N, O), differentiable in all three.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    activation.check()?;
    let (_, inputs) = dims2("input of a linear layer", x)?;
    let (outputs, columns) = dims2("weight of a linear layer", weight)?;
    if inputs != columns {
        return Err(Error::Input {
            what: "input of a linear layer",
            expected: format!("({columns}) columns, for a weight of shape {:?}", weight.shape()),
            found: x.shape().clone(),
        });
    }
    check_bias(bias, outputs)?;
    if !x.device().is_cpu() {
        #[expect(clippy::disallowed_methods, reason = "on other devices candle's product is the fast one")]
        let y = x.matmul(&weight.t()?)?;
        let y = match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        return activation::on_device(&y, activation);
    }
    let (fused, after) = activation.split();
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let op = Linear { activation: fused };
    let y = match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op)?,
        None => x.apply_op2(&weight, op)?,
    };
    activate(&y, after)
}

/// A bias has one element an output channel.
pub(super) fn check_bias(bias: Option<&Tensor>, outputs: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [outputs] => {
            Err(Error::Input { what: "bias", expected: format!("({outputs})"), found: bias.shape().clone() })
        }
        _ => Ok(()),
    }
}

struct Linear {
    activation: Activation,
}

/// The gradients of an op's arguments, where they are wanted.
pub(super) struct Gradients {
    pub(super) x: Option<Tensor>,
    pub(super) weight: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>, size: Size) -> Vec<T> {
        // SAFETY: the slices have the lengths that `size` says, checked in `linear`.
        let mut y = unsafe { product_vec(size, Matrix::rows(x, size.k), Matrix::rows(weight, size.k).t()) };
        if bias.is_some() || !self.activation.is_identity() {
            finish(&mut y, bias, size.n, self.activation);
        }
        y
    }

    fn dispatch(
        &self,
        (s1, l1): (&CpuStorage, &Layout),
        (s2, l2): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((m, k), (n, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let size = Size { m, n, k };
        let out = by_dtype!(s1.dtype(), T => {
            let bias = bias.map(|(s, l)| slice(s, l)).transpose()?;
            T::to_cpu_storage_owned(self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, bias, size))
        });
        Ok((out, Shape::from((m, n))))
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let ((m, k), n) = (x.dims2()?, weight.dim(0)?);
        elements!(T; grad);
        let through;
        let grad = if self.activation.is_identity() {
            grad
        } else {
            elements!(T; y);
            through = self.activation.backward(y, grad);
            &through
        };
        let rows = Matrix::rows(grad, n);
        let mut gradients = Gradients { x: None, weight: None, bias: None };
        if x.track_op() {
            elements!(T; weight);
            // SAFETY: grad is (m, n) and weight (n, k).
            let out = unsafe { product_vec(Size { m, n: k, k: n }, rows, Matrix::rows(weight, k)) };
            gradients.x = Some(tensor(out, (m, k))?);
        }
        if weight.track_op() {
            elements!(T; x);
            // SAFETY: the transpose of grad is (n, m) and x is (m, k).
            let out = unsafe { product_vec(Size { m: n, n: k, k: m }, rows.t(), Matrix::rows(x, k)) };
            gradients.weight = Some(tensor(out, (n, k))?);
        }
        if bias {
            gradients.bias = Some(tensor(column_sums(grad, n), n)?);
        }
        Ok(gradients)
    }

    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        by_dtype!(y.dtype(), T => self.backward::<T>(x, weight, bias, y, grad))
    }
}

/// y = f(y + b) in place, row by row.
fn finish<T: Real>(y: &mut [T], bias: Option<&[T]>, columns: usize, activation: Activation) {
    const ROWS: usize = 16;
    y.par_chunks_mut((columns * ROWS).max(1)).for_each(|chunk| {
        for row in chunk.chunks_exact_mut(columns.max(1)) {
            simd(
                #[inline(always)]
                || {
                    if let Some(bias) = bias {
                        for (y, &b) in row.iter_mut().zip(bias) {
                            *y += b;
                        }
                    }
                    activation.apply(row);
                },
            );
        }
    });
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "waxwork-linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.dispatch((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.gradients(x, weight, false, y, grad)?;
        Ok((gradients.x, gradients.weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "waxwork-linear"
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
        self.dispatch((s1, l1), (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.gradients(x, weight, bias.track_op(), y, grad)?;
        Ok((gradients.x, gradients.weight, gradients.bias))
    }
}
