//! The fully connected layer with bias and activation as one kernel.
#![expect(unsafe_code, reason = "matrix products take raw pointers and strides")]

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::activate::activate;
use crate::activation::Activation;
use crate::buffer::{elements, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::matmul::product_vec;
use crate::matrix::{Matrix, Size};
use crate::parametric_op::{self, ParametricGradients, ParametricOp};
use crate::real::Real;
use crate::shapes::{check_bias, dims2};
use crate::simd::simd;
use crate::sums::column_sums;

/// f(x · wᵀ + b): x (N, I), weight (O, I) as in PyTorch, bias (O) → (N, O). Differentiable in all three. x
/// may have any shape (N, …) with I elements per sample.
///
/// # Errors
/// [`Error::Input`] if the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let (outputs, _) = dims2("weight of a linear layer", weight)?;
    linear_to(x, weight, bias, activation, &[outputs])
}

/// [`linear`] with a result of shape (N, `row`), where `row` has O elements. This saves the pass over the
/// gradient that a reshape of the result would cost.
///
/// # Errors
/// [`Error::Input`] if the shapes do not fit.
pub fn linear_to(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    row: &[usize],
) -> Result<Tensor> {
    activation.check()?;
    let (outputs, inputs) = dims2("weight of a linear layer", weight)?;
    let rows = x.dims().first().copied().unwrap_or(0);
    if x.rank() < 2 || x.dims()[1..].iter().product::<usize>() != inputs {
        return Err(Error::Input {
            what: "input of a linear layer",
            expected: format!("(N, {inputs}), for a weight of shape {:?}", weight.shape()),
            found: x.shape().clone(),
        });
    }
    if row.iter().product::<usize>() != outputs {
        return Err(Error::Input {
            what: "weight of a linear layer",
            expected: format!("rows for results of shape {row:?}"),
            found: weight.shape().clone(),
        });
    }
    check_bias(bias, outputs)?;
    let shape = Shape::from([&[rows], row].concat());
    if !runs_on_cpu_kernels(x.device()) {
        let y = composed::linear(&x.reshape((rows, inputs))?, weight, bias, activation)?;
        return Ok(y.reshape(shape)?);
    }
    let (fused, after) = activation.split();
    let op = LinearOp { size: Size { m: rows, n: outputs, k: inputs }, shape, activation: fused };
    activate(&parametric_op::apply(op, x, weight, bias)?, after)
}

struct LinearOp {
    size: Size,
    /// Shape of the result.
    shape: Shape,
    activation: Activation,
}

impl ParametricOp for LinearOp {
    const NAME: &'static str = "waxwork-linear";

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let size = self.size;
        // SAFETY: `linear_to` has checked that the slices have the lengths of `size`.
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
    ) -> candle_core::Result<ParametricGradients> {
        let Size { m, n, k } = self.size;
        elements!(T; y, grad);
        let grad = &*self.activation.through(y, grad);
        let rows = Matrix::rows(grad, n);
        let mut gradients = ParametricGradients { x: None, weight: None, bias: None };
        if x.track_op() {
            elements!(T; weight);
            // SAFETY: grad is (m, n) and weight (n, k).
            let out = unsafe { product_vec(Size { m, n: k, k: n }, rows, Matrix::rows(weight, k)) };
            gradients.x = Some(tensor(out, x.shape())?);
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
fn finish<T: Float>(y: &mut [T], bias: Option<&[T]>, columns: usize, activation: Activation) {
    const ROWS_PER_CHUNK: usize = 16;
    y.par_chunks_mut((columns * ROWS_PER_CHUNK).max(1)).for_each(|chunk| {
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
