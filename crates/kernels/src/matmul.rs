//! Matrix products: the differentiable product of two tensors, and the choice of an implementation by size.
#![expect(unsafe_code, reason = "matrix products take raw pointers and strides")]

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use gemm::Parallelism;

use crate::buffer::{Out, build_raw, by_dtype};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::gemm::product;
use crate::matrix::{Matrix, Size, transpose};
use crate::panels;
use crate::real::Real;
use crate::shapes::dims2;
use crate::tape;

/// (M, K) · (K, N) → (M, N), in f32 or f64. Differentiable in both arguments.
///
/// The bits of a row of the result do not depend on the number of rows.
///
/// # Errors
/// [`Error::Input`] if an argument is not a matrix or the inner dimensions differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, inner) = dims2("left matrix", a)?;
    let (rows, _) = dims2("right matrix", b)?;
    if inner != rows {
        return Err(Error::Input {
            what: "right matrix",
            expected: format!("{inner} rows, for a left matrix of shape {:?}", a.shape()),
            found: b.shape().clone(),
        });
    }
    if !runs_on_cpu_kernels(a.device()) {
        return composed::matmul(a, b);
    }
    Ok(tape::apply2(a, b, MatMulOp)?)
}

/// `a` · `b` as a new vector of m·n elements, computed by all threads of rayon's current pool.
///
/// # Safety
/// All of `a` (m, k) and `b` (k, n) must be readable.
pub(crate) unsafe fn product_vec<T: Real>(size: Size, a: Matrix<T>, b: Matrix<T>) -> Vec<T> {
    let Size { m, n, k } = size;
    if panels::suit::<T>(size) {
        // SAFETY: guaranteed by the caller.
        return unsafe { panels::product_vec(size, a, b) };
    }
    // With many rows it pays to transpose the right matrix to the layout that `gemm` reads fastest. The
    // bits stay the same.
    let transposed = (b.row == 1 && n > 1 && m >= 16).then(|| {
        // SAFETY: the caller guarantees that all of `b` is readable.
        unsafe { transpose(b.t(), n, k) }
    });
    let b = transposed.as_ref().map_or(b, |transposed| Matrix::rows(transposed, n));
    // SAFETY: `product` writes all m·n elements, and the caller guarantees that the matrices are readable.
    unsafe { build_raw(m * n, |out: Out<T>| product(size, a, b, out.at(0), n, false, Parallelism::Rayon(0))) }
}

struct MatMulOp;

impl MatMulOp {
    fn run<T: Real>(
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<CpuStorage> {
        let ((m, k), (_, n)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (a, b) = (Matrix::<T>::of_tensor(s1, l1)?, Matrix::of_tensor(s2, l2)?);
        // SAFETY: candle's layouts lie within their storages, which this function borrows.
        Ok(T::to_cpu_storage_owned(unsafe { product_vec(Size { m, n, k }, a, b) }))
    }
}

impl CustomOp2 for MatMulOp {
    fn name(&self) -> &'static str {
        "waxwork-matmul"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = Shape::from((l1.dims()[0], l2.dims()[1]));
        Ok((by_dtype!(s1.dtype(), T => Self::run::<T>(s1, l1, s2, l2))?, shape))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let for_a = if a.track_op() { Some(grad.apply_op2_no_bwd(&b.t()?, &Self)?) } else { None };
        let for_b = if b.track_op() { Some(a.t()?.apply_op2_no_bwd(grad, &Self)?) } else { None };
        Ok((for_a, for_b))
    }
}
