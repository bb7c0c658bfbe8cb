//! Matrix products by the `gemm` crate, which is called from here only.
//!
//! The bits are the same on every x86-64 machine with FMA, for any number of rows and threads. `gemm`'s tiles
//! compute each element as a chain of fused multiply-adds in the order of the inner dimension, with AVX2 as
//! with AVX-512. Two things would differ between machines and shapes: where `gemm` splits the inner dimension
//! (this depends on cache sizes, but blocks are never shorter than 512), and its special paths for vectors,
//! for inner dimensions of 1 and 2, and for small products of two operands with long rows. Therefore the
//! inner dimension is split here into blocks of at most 512, which are added in order, and the special shapes
//! are padded so that they take the general path.
#![expect(unsafe_code, reason = "gemm takes raw pointers and strides")]

use gemm::Parallelism;

use crate::count::count;
use crate::float::Float;
use crate::matrix::{Matrix, Size, inner_blocks};

/// `out` (rows of `stride` elements, of which the first n are written) = `a` · `b`, plus `out` if
/// `accumulate`.
///
/// # Safety
/// All of `a` (m, k) and `b` (k, n) must be readable. `out` must be writable by this caller alone over
/// (m, n), and initialised if `accumulate`. `stride` ≥ n.
pub(crate) unsafe fn product<T: Float>(
    size: Size,
    a: Matrix<T>,
    b: Matrix<T>,
    out: *mut T,
    stride: usize,
    accumulate: bool,
    parallelism: Parallelism,
) {
    let Size { m, n, k } = size;
    if m == 0 || n == 0 {
        return;
    }
    debug_assert!(a.covers(m, k) && b.covers(k, n) && stride >= n, "{size:?} in rows of {stride}");
    count(&[m, n, k]);
    let short = k > 0 && k < 3;
    let horizontal = b.row == 1 && a.column == 1 && m * n <= 256;
    if m == 1 || n == 1 || short || horizontal {
        // SAFETY: guaranteed by the caller.
        return unsafe { padded(size, a, b, out, stride, accumulate) };
    }
    for (start, block) in inner_blocks(k) {
        let (a, b) = (a.from(0, start), b.from(start, 0));
        // SAFETY: the block lies within the matrices, which the caller guarantees to be readable.
        unsafe {
            gemm::gemm(
                m,
                n,
                block,
                out,
                1,
                stride as isize,
                accumulate || start > 0,
                a.start,
                a.column as isize,
                a.row as isize,
                b.start,
                b.column as isize,
                b.row as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// The product of a special shape, as part of a larger product of a general shape.
///
/// # Safety
/// As for [`product`].
unsafe fn padded<T: Float>(
    size: Size,
    a: Matrix<T>,
    b: Matrix<T>,
    out: *mut T,
    stride: usize,
    accumulate: bool,
) {
    let Size { m, n, k } = size;
    let wide = Size { m: m.max(2), n: n.max(2), k: k.max(3) };
    let copy = |from: Matrix<T>, (rows, columns): (usize, usize), (all_rows, all_columns): (usize, usize)| {
        let mut to = vec![T::ZERO; all_rows * all_columns];
        for row in 0..rows {
            for column in 0..columns {
                // SAFETY: the caller guarantees that the matrix is readable.
                to[row * all_columns + column] = unsafe { from.at(row, column) };
            }
        }
        to
    };
    let inner = if k == 0 { 0 } else { wide.k };
    let mut c = if accumulate {
        let len = (m - 1) * stride + n;
        copy(Matrix { start: out, len, row: stride, column: 1 }, (m, n), (wide.m, wide.n))
    } else {
        vec![T::ZERO; wide.m * wide.n]
    };
    // A matrix that needs no padding is not copied.
    let a_copy = if (m, k) == (wide.m, inner) { None } else { Some(copy(a, (m, k), (wide.m, inner))) };
    let b_copy = copy(b, (k, n), (inner, wide.n));
    let a = a_copy.as_ref().map_or(a, |a| Matrix::rows(a, inner));
    let b = Matrix::rows(&b_copy, wide.n);
    // SAFETY: the copies have the padded shape. It is not a special shape, so this does not recurse further.
    unsafe {
        product(Size { k: inner, ..wide }, a, b, c.as_mut_ptr(), wide.n, accumulate, Parallelism::None);
        for row in 0..m {
            std::ptr::copy_nonoverlapping(c.as_ptr().add(row * wide.n), out.add(row * stride), n);
        }
    }
}
