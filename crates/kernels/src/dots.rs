//! Dot products of the rows of two matrices, for results so small that it does not pay to
//! transpose either matrix.
#![expect(unsafe_code, reason = "rows are read through pointers, a register at a time")]

use pulp::{Simd, WithSimd};

use crate::float::Float;
use crate::simd::{arch, mul_add};

/// Number of partial sums per dot product. Element k is added to partial sum k mod 16, for any register
/// width.
pub(crate) const PARTIAL_SUMS: usize = 16;

/// `sums`[i, j] += Σₖ `left`[i, k] · `right`[j, k], as [`PARTIAL_SUMS`] partial sums.
pub(crate) struct Dots<'a, T> {
    /// Rows of `len` elements.
    pub(crate) left: &'a [T],
    /// Rows of `len` elements.
    pub(crate) right: &'a [T],
    pub(crate) len: usize,
    /// One row per row of `left`, with one entry per row of `right`.
    pub(crate) sums: &'a mut [[T; PARTIAL_SUMS]],
}

impl<T: Float> Dots<'_, T> {
    fn size(&self) -> (usize, usize) {
        let len = self.len.max(1);
        (self.left.len() / len, self.right.len() / len)
    }

    /// Adds the products of the elements from `from` on: the rest after whole registers, or all elements.
    #[inline(always)]
    fn plain(&mut self, from: usize) {
        let (rows, columns) = self.size();
        for i in 0..rows {
            let left = &self.left[i * self.len..][from..self.len];
            for j in 0..columns {
                let right = &self.right[j * self.len..][from..self.len];
                let sums = &mut self.sums[i * columns + j];
                for (left, right) in left.chunks(PARTIAL_SUMS).zip(right.chunks(PARTIAL_SUMS)) {
                    for ((sum, &a), &b) in sums.iter_mut().zip(left).zip(right) {
                        *sum = a.fma(b, *sum);
                    }
                }
            }
        }
    }
}

/// Computes one element at a time, for f64.
pub(crate) fn one_by_one<T: Float>(mut dots: Dots<'_, T>) {
    dots.plain(0);
}

/// Computes with the best instruction set of this CPU.
pub(crate) fn by_registers(dots: Dots<'_, f32>) {
    let (rows, columns) = dots.size();
    assert_eq!(dots.sums.len(), rows * columns);
    arch().dispatch(dots);
}

impl Dots<'_, f32> {
    /// Multiplies `H` rows of the left matrix from `i` on by `W` rows of the right matrix from `j` on.
    #[inline(always)]
    fn block<S: Simd, const H: usize, const W: usize>(
        &mut self,
        simd: S,
        i: usize,
        j: usize,
        columns: usize,
    ) {
        assert!(self.left.len() >= (i + H) * self.len && self.right.len() >= (j + W) * self.len);
        assert!(self.sums.len() >= (i + H - 1) * columns + j + W);
        let lanes = S::F32_LANES;
        for lane in (0..PARTIAL_SUMS).step_by(lanes) {
            let mut sums = [[simd.splat_f32s(0.0); W]; H];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (c, sum) in sums.iter_mut().enumerate() {
                    let from = self.sums[(i + r) * columns + j + c][lane..].as_ptr();
                    // SAFETY: there is at least one register of partial sums from `lane` on.
                    *sum = unsafe { from.cast::<S::f32s>().read_unaligned() };
                }
            }
            for k in (0..self.len / PARTIAL_SUMS * PARTIAL_SUMS).step_by(PARTIAL_SUMS) {
                let mut right = [simd.splat_f32s(0.0); W];
                for (c, right) in right.iter_mut().enumerate() {
                    let from = self.right.as_ptr().wrapping_add((j + c) * self.len + k + lane);
                    // SAFETY: the first assertion keeps k and the lanes after it within a row.
                    *right = unsafe { from.cast::<S::f32s>().read_unaligned() };
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let from = self.left.as_ptr().wrapping_add((i + r) * self.len + k + lane);
                    // SAFETY: as above.
                    let left = unsafe { from.cast::<S::f32s>().read_unaligned() };
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = mul_add(simd, left, right, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (c, sum) in sums.iter().enumerate() {
                    let to = self.sums[(i + r) * columns + j + c][lane..].as_mut_ptr();
                    // SAFETY: as for reading the sums.
                    unsafe { to.cast::<S::f32s>().write_unaligned(*sum) };
                }
            }
        }
    }
}

impl WithSimd for Dots<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (rows, columns) = self.size();
        for i in (0..rows).step_by(4) {
            for j in (0..columns).step_by(4) {
                if rows - i >= 4 && columns - j >= 4 {
                    self.block::<S, 4, 4>(simd, i, j, columns);
                    continue;
                }
                for i in i..rows.min(i + 4) {
                    for j in j..columns.min(j + 4) {
                        self.block::<S, 1, 1>(simd, i, j, columns);
                    }
                }
            }
        }
        self.plain(self.len / PARTIAL_SUMS * PARTIAL_SUMS);
    }
}
