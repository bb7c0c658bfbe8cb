//! The fully connected layer with bias and activation in one kernel.
#![expect(unsafe_code, reason = "matrix products take raw pointers and strides")]

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::activation::{Activation, activate};
use super::buffer::{elements, simd, tensor};
use super::composed;
use super::matmul::{Matrix, Size, column_sums, dims2, product_vec};
use super::real::Real;
use super::weighted::{self, Gradients, Weighted, check_bias};
use crate::device::has_kernels;
use crate::{Error, Result};

/// f(x · wᵀ + b): x (N, I), weight (O, I) as in PyTorch, bias (O) → (N, O), differentiable in all three.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    activation.check()?;
    let (rows, inputs) = dims2("input of a linear layer", x)?;
    let (outputs, columns) = dims2("weight of a linear layer", weight)?;
    if inputs != columns {
        return Err(Error::Input {
            what: "input of a linear layer",
            expected: format!("({columns}) columns, for a weight of shape {:?}", weight.shape()),
            found: x.shape().clone(),
        });
    }
    check_bias(bias, outputs)?;
    if !has_kernels(x.device()) {
        return composed::linear(x, weight, bias, activation);
    }
    let (fused, after) = activation.split();
    let op = Linear { size: Size { m: rows, n: outputs, k: inputs }, activation: fused };
    activate(&weighted::apply(op, x, weight, bias)?, after)
}

struct Linear {
    size: Size,
    activation: Activation,
}

impl Weighted for Linear {
    const NAME: &'static str = "waxwork-linear";

    fn shape(&self) -> Shape {
        Shape::from((self.size.m, self.size.n))
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let size = self.size;
        // SAFETY: the slices have the lengths that `size` says, checked in `linear`.
        let mut y = unsafe { product_vec(size, Matrix::rows(x, size.k), Matrix::rows(weight, size.k).t()) };
        if bias.is_some() || !self.activation.is_identity() {
            finish(&mut y, bias, size.n, self.activation);
        }
        y
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let Size { m, n, k } = self.size;
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
