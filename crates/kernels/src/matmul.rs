//! Matrix products: which way a size goes, and the differentiable product of two tensors.
#![expect(unsafe_code, reason = "gemm takes raw pointers and strides")]

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use gemm::Parallelism;

use crate::buffer::{Out, build_raw, by_dtype};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::gemm::product;
use crate::matrix::{Matrix, Size, matrix, transpose};
use crate::panels;
use crate::real::Real;
use crate::shapes::dims2;
use crate::tape;

/// (M, K) · (K, N) → (M, N), in f32 or f64, differentiable in both.
///
/// Row i of the result does not depend on how many rows there are.
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

/// `a` · `b` as a new vector of m·n elements, by all threads of rayon's current pool.
///
/// # Safety
/// `a` (m, k) and `b` (k, n) must be readable over the whole of these shapes.
pub(crate) unsafe fn product_vec<T: Real>(size: Size, a: Matrix<T>, b: Matrix<T>) -> Vec<T> {
    let Size { m, n, k } = size;
    if panels::suit::<T>(size) {
        // SAFETY: the caller's promises.
        return unsafe { panels::product_vec(size, a, b) };
    }
    // With many rows it pays to bring the right matrix into the layout that `gemm` reads fastest. Bits stay the same.
    let turned = (b.row == 1 && n > 1 && m >= 16).then(|| {
        // SAFETY: the caller vouches for all of `b`.
        unsafe { transpose(b.t(), n, k) }
    });
    let b = turned.as_ref().map_or(b, |turned| Matrix::rows(turned, n));
    // SAFETY: `product` writes all m·n elements, and the caller vouches for the matrices.
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
        let (a, b) = (matrix::<T>(s1, l1)?, matrix::<T>(s2, l2)?);
        // SAFETY: candle's layouts lie within their storages, which are borrowed here.
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
