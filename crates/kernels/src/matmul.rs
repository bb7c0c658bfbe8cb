//! Matrix products: the one door to `gemm`.
//!
//! What makes the bits the same on every x86-64 machine with FMA, for any number of rows and threads: `gemm`'s tiles
//! sum each element of the product in the order of the inner dimension with fused multiply-adds, on AVX2 and AVX-512
//! alike. What would differ is where it cuts the inner dimension (a function of cache sizes, but never below 512) and
//! its special paths for vectors, for inner dimensions of 1 and 2, and for small products of two long-row operands.
//! So the inner dimension is cut here, into blocks of at most 512 that are added in order, and special shapes are
//! padded until they are none.
#![expect(unsafe_code, reason = "gemm takes raw pointers and strides")]

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use gemm::Parallelism;

use super::buffer::{Out, build, build_raw, by_dtype, simd};
use super::composed;
use super::count::count;
use super::panels;
use super::real::Real;
use super::tape;
use crate::device::runs_on_cpu_kernels;
use crate::{Error, Result};

/// The longest part of the inner dimension that `gemm` sees at once.
pub(super) const INNER_BLOCK: usize = 512;

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
    Ok(tape::apply2(a, b, MatMul)?)
}

pub(super) fn dims2(what: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    tensor.dims2().map_err(|_| Error::Input {
        what,
        expected: "two dimensions".into(),
        found: tensor.shape().clone(),
    })
}

/// A matrix in memory that someone else keeps alive.
#[derive(Clone, Copy)]
pub(super) struct Matrix<T> {
    start: *const T,
    /// Elements from there to the end of the memory, for debug assertions, which the tests run with.
    len: usize,
    /// Distance between an element and the one in the next row.
    row: usize,
    /// Distance between an element and the one in the next column.
    column: usize,
}

// SAFETY: a `Matrix` is read-only, and the functions that take one make their caller promise that it is alive.
unsafe impl<T: Sync> Send for Matrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<T> {}

impl<T: Real> Matrix<T> {
    /// Rows of `columns` elements, one after another.
    pub(super) fn rows(data: &[T], columns: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row: columns, column: 1 }
    }

    /// Whether the memory has all elements of so many rows and columns.
    #[inline(always)]
    fn covers(self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.len
    }

    /// Rows and columns these distances apart.
    pub(super) fn strided(data: &[T], row: usize, column: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row, column }
    }

    /// The transpose: rows become columns.
    pub(super) fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// One element.
    ///
    /// # Safety
    /// It must lie within the matrix, which must be alive.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> T {
        debug_assert!(self.covers(row + 1, column + 1), "({row}, {column}) of {} elements", self.len);
        // SAFETY: promised by the caller.
        unsafe { *self.from(row, column).start }
    }

    /// The memory from its first element on.
    ///
    /// # Safety
    /// The matrix must be alive.
    pub(super) unsafe fn data<'a>(self) -> &'a [T] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Distances between rows and between columns.
    pub(super) fn steps(self) -> [usize; 2] {
        [self.row, self.column]
    }

    /// The part that starts at (row, column).
    pub(super) fn from(self, row: usize, column: usize) -> Self {
        let offset = row * self.row + column * self.column;
        Self { start: self.start.wrapping_add(offset), len: self.len.saturating_sub(offset), ..self }
    }
}

/// Shape of a product: (m, k) · (k, n).
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
}

/// `out` (rows of `stride` elements, of which the first n are written) = `a` · `b`, plus `out` if `accumulate`.
///
/// # Safety
/// `a` (m, k) and `b` (k, n) must be readable and `out` writable over the whole of these shapes, `out` by nobody else,
/// and initialised if `accumulate`. `stride` ≥ n.
pub(super) unsafe fn product<T: Real>(
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
        // SAFETY: the same promises.
        return unsafe { padded(size, a, b, out, stride, accumulate) };
    }
    for (start, block) in inner_blocks(k) {
        let (a, b) = (a.from(0, start), b.from(start, 0));
        // SAFETY: the block lies within the matrices that the caller vouches for.
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

/// The parts of an inner dimension that are multiplied one after another: where each starts, and its length. An inner dimension of
/// nothing has one empty part, which makes the result zeros.
pub(super) fn inner_blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        // A last block of one or two would take another path in `gemm`.
        let block = match k - start {
            rest @ 0..=INNER_BLOCK => rest,
            513 | 514 => INNER_BLOCK / 2,
            _ => INNER_BLOCK,
        };
        next = Some(start + block).filter(|&end| end < k);
        Some((start, block))
    })
}

/// The product of a special shape, as part of a larger one that is not.
///
/// # Safety
/// As for [`product`].
unsafe fn padded<T: Real>(
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
                // SAFETY: the caller vouches for the matrix.
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
    // A matrix that needs no padding stays where it is.
    let a_copy = if (m, k) == (wide.m, inner) { None } else { Some(copy(a, (m, k), (wide.m, inner))) };
    let b_copy = copy(b, (k, n), (inner, wide.n));
    let a = a_copy.as_ref().map_or(a, |a| Matrix::rows(a, inner));
    let b = Matrix::rows(&b_copy, wide.n);
    // SAFETY: the copies have the padded shape, and it is no special shape, so this does not recur.
    unsafe {
        product(Size { k: inner, ..wide }, a, b, c.as_mut_ptr(), wide.n, accumulate, Parallelism::None);
        for row in 0..m {
            std::ptr::copy_nonoverlapping(c.as_ptr().add(row * wide.n), out.add(row * stride), n);
        }
    }
}

/// `a` · `b` as a new vector of m·n elements, by all threads of rayon's current pool.
///
/// # Safety
/// `a` (m, k) and `b` (k, n) must be readable over the whole of these shapes.
pub(super) unsafe fn product_vec<T: Real>(size: Size, a: Matrix<T>, b: Matrix<T>) -> Vec<T> {
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

/// The transpose of a (rows, columns) matrix, as rows.
///
/// # Safety
/// `matrix` must be readable over this shape.
pub(super) unsafe fn transpose<T: Real>(matrix: Matrix<T>, rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 16;
    // SAFETY: every element of a chunk (TILE rows of the result, the last chunk fewer) is written.
    unsafe {
        build(rows * columns, TILE * rows.max(1), |index, out| {
            let first = index * TILE;
            let height = out.len() / rows.max(1);
            let mut start = 0;
            while start < rows {
                let width = TILE.min(rows - start);
                for j in 0..height {
                    let line = &mut out[j * rows + start..j * rows + start + width];
                    for (i, out) in line.iter_mut().enumerate() {
                        out.write(matrix.at(start + i, first + j));
                    }
                }
                start += width;
            }
        })
    }
}

/// A 2-d tensor's elements and strides.
pub(super) fn matrix<T: Real>(storage: &CpuStorage, layout: &Layout) -> candle_core::Result<Matrix<T>> {
    let data = storage.as_slice::<T>()?;
    let strides = layout.stride();
    let data = &data[layout.start_offset().min(data.len())..];
    Ok(Matrix { start: data.as_ptr(), len: data.len(), row: strides[0], column: strides[1] })
}

struct MatMul;

impl MatMul {
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

impl CustomOp2 for MatMul {
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

/// Σ over the rows of a (rows, columns) matrix: one sum a column, each in the order of the rows.
pub(super) fn column_sums<T: Real>(data: &[T], columns: usize) -> Vec<T> {
    const BLOCK: usize = 64;
    // SAFETY: every column of a chunk is written.
    unsafe {
        build(columns, BLOCK, |index, out| {
            let start = index * BLOCK;
            let mut sums = [0.0f64; BLOCK];
            simd(
                #[inline(always)]
                || {
                    for row in data.chunks_exact(columns) {
                        for (sum, x) in sums.iter_mut().zip(&row[start..start + out.len()]) {
                            *sum += x.to_f64();
                        }
                    }
                },
            );
            for (out, sum) in out.iter_mut().zip(sums) {
                out.write(T::from_f64(sum));
            }
        })
    }
}
