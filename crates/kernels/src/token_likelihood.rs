//! The last layer of a language model with its likelihood: log p of one token per row, under the softmax of a
//! linear layer.
//!
//! The logits are stored once: the forward pass replaces them with exponentials, and the backward pass replaces
//! these with slopes.
#![expect(unsafe_code, reason = "matrix products take raw pointers and strides")]

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::embedding::read;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::matmul::product_vec;
use crate::matrix::{Matrix, Size, transpose};
use crate::real::Real;
use crate::shapes::{check_bias, dims2};
use crate::simd::simd;
use crate::sums::{column_sums, maximum, sum1};
use crate::tape::{self, Triple};

/// log softmax(x · wᵀ + b) at the target of each row, in nats: x (M, I), weight (V, I), bias (V), targets (M)
/// u32 below V → (M). Differentiable in x, weight and bias.
///
/// # Errors
/// [`Error::Input`] if the shapes do not fit; [`Error::Argument`] if a target is V or more.
pub fn linear_log_likelihood(x: &Tensor, weight: &Tensor, bias: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, inputs) = dims2("the input of a likelihood of tokens", x)?;
    let (tokens, columns) = dims2("the weight of a likelihood of tokens", weight)?;
    if columns != inputs || tokens == 0 {
        let (expected, found) = (format!("(V, {inputs}), V not 0"), weight.shape().clone());
        return Err(Error::Input { what: "the weight of a likelihood of tokens", expected, found });
    }
    check_bias(Some(bias), tokens)?;
    if targets.dims() != [rows] {
        let (expected, found) = (format!("({rows})"), targets.shape().clone());
        return Err(Error::Input { what: "the targets of a likelihood", expected, found });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::linear_log_likelihood(x, weight, bias, targets);
    }
    let op = TokenOp { tokens, inputs, targets: read(targets, tokens)?, kept: Mutex::new(None) };
    Ok(tape::apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, op)?)
}

struct TokenOp {
    /// V.
    tokens: usize,
    /// I.
    inputs: usize,
    /// The target of each row.
    targets: Arc<[u32]>,
    /// The powers of the forward pass and their sums. The backward pass takes them; another backward pass over
    /// the same graph computes them again.
    kept: Mutex<Option<[CpuStorage; 2]>>,
}

impl TokenOp {
    /// exp(logit − the largest logit of the row) (M, V), their sums (M), and the log likelihoods (M).
    fn powers<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> [Vec<T>; 3] {
        let Self { tokens, inputs, .. } = *self;
        let size = Size { m: self.targets.len(), n: tokens, k: inputs };
        // SAFETY: x is (m, k), and the weight (n, k).
        let mut powers =
            unsafe { product_vec(size, Matrix::rows(x, inputs), Matrix::rows(weight, inputs).t()) };
        let mut found = vec![(T::ZERO, T::ZERO); size.m];
        found.par_iter_mut().zip(powers.par_chunks_exact_mut(tokens)).zip(&*self.targets).for_each(
            |((found, logits), &target)| {
                *found = simd(
                    #[inline(always)]
                    || likelihood(logits, bias, target as usize),
                );
            },
        );
        let (likelihoods, sums) = found.into_iter().unzip();
        [powers, sums, likelihoods]
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let [powers, sums, likelihoods] = self.powers(x, weight, bias);
        let kept = [powers, sums].map(T::to_cpu_storage_owned);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        likelihoods
    }

    fn backward<T: Real>(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        let Self { tokens, inputs, .. } = *self;
        let wanted = [x, weight, bias].map(Tensor::track_op);
        let (x_shape, rows) = (x.shape(), self.targets.len());
        elements!(T; x, weight, bias, grad);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let [mut slopes, sums] = match kept {
            Some([powers, sums]) => [T::cpu_storage_data(powers)?, T::cpu_storage_data(sums)?],
            None => {
                let [powers, sums, _] = self.powers(x, weight, bias);
                [powers, sums]
            }
        };
        // (1 at the target − softmax) times the gradient of the row.
        let each = slopes.par_chunks_exact_mut(tokens).zip(&sums).zip(grad).zip(&*self.targets);
        each.for_each(|(((slopes, &sum), &grad), &target)| {
            let factor = -(grad / sum);
            simd(
                #[inline(always)]
                || {
                    for slope in slopes.iter_mut() {
                        *slope *= factor;
                    }
                },
            );
            slopes[target as usize] += grad;
        });
        let slope_rows = Matrix::rows(&slopes, tokens);
        let for_x = wanted[0].then(|| {
            let size = Size { m: rows, n: inputs, k: tokens };
            // SAFETY: the slopes are (m, k), and the weight (k, n).
            let product = unsafe { product_vec(size, slope_rows, Matrix::rows(weight, inputs)) };
            tensor(product, x_shape)
        });
        let for_weight = wanted[1].then(|| {
            // The transpose of the gradient. Its product reads the slopes, by far the largest matrix, once and
            // along their rows. The bits are those of the gradient's own product.
            let size = Size { m: inputs, n: tokens, k: rows };
            // SAFETY: the transpose of x is (m, k), and the slopes are (k, n).
            let product = unsafe { product_vec(size, Matrix::rows(x, inputs).t(), slope_rows) };
            // SAFETY: the product is (m, n).
            let gradient = unsafe { transpose(Matrix::rows(&product, tokens), inputs, tokens) };
            tensor(gradient, (tokens, inputs))
        });
        let for_bias = wanted[2].then(|| tensor(column_sums(&slopes, tokens), tokens));
        Ok((for_x.transpose()?, for_weight.transpose()?, for_bias.transpose()?))
    }
}

/// The log likelihood of a target, and the sum of the exponentials, which replace the logits.
#[inline(always)]
fn likelihood<T: Float>(logits: &mut [T], bias: &[T], target: usize) -> (T, T) {
    for (logit, &bias) in logits.iter_mut().zip(bias) {
        *logit += bias;
    }
    let top = maximum(logits);
    let score = logits[target] - top;
    for logit in logits.iter_mut() {
        *logit = Float::exp(*logit - top);
    }
    let sum = T::from_f64(sum1(
        logits,
        #[inline(always)]
        |power| power,
    ));
    (score - Float::log(sum), sum)
}

impl CustomOp3 for TokenOp {
    fn name(&self) -> &'static str {
        "waxwork-linear-log-likelihood"
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
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?))
        });
        Ok((out, Shape::from(self.targets.len())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        by_dtype!(grad.dtype(), T => self.backward::<T>([x, weight, bias], grad))
    }
}
