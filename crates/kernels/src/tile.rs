//! Products of packed panels: the innermost loop of matrix products and convolutions.
//!
//! The right matrix comes in panels of 64 columns, stored by rows; the left matrix in panels of six rows,
//! stored by columns, or unpacked. A tile of the product stays in registers over the whole inner dimension.
//! Each of its elements is a chain of fused multiply-adds in the order of the inner dimension, for any
//! register width, and has the same bits as the result of [`product`].
#![expect(unsafe_code, reason = "tiles read panels and write rows of the result through pointers")]

use gemm::Parallelism;
use pulp::{Simd, WithSimd};

use crate::float::Float;
use crate::gemm::product;
use crate::matrix::{Matrix, Size};
use crate::simd::{arch, mul_add};

/// Columns of a panel of the right matrix: four AVX-512 registers.
pub(crate) const PANEL_COLUMNS: usize = 64;

/// Length of the blocks of the inner dimension: a panel of this depth of the right matrix stays in the L1
/// cache after it is packed. Blocks are added in order.
pub(crate) const PANEL_DEPTH: usize = 256;

/// Rows of a panel of the left matrix: 6 · 4 sums leave enough registers for the operands.
pub(crate) const TILE_ROWS: usize = 6;

/// The left side of a product of panels.
#[derive(Clone, Copy)]
pub(crate) enum LeftSide<'a, T> {
    /// Panels of six rows (the last may have fewer), each stored by columns.
    Packed(&'a [T]),
    /// A strided matrix: the distances from one row to the next, and from one column to the next.
    Strided { data: &'a [T], row: usize, inner: usize },
}

/// Length of the contiguous runs of columns in the right side.
pub(crate) const CHUNK: usize = 16;

/// The right side of a product of panels: each row consists of chunks of 16 elements.
#[derive(Clone, Copy)]
pub(crate) struct RightSide<'a, T> {
    pub(crate) data: &'a [T],
    /// Distance from one row to the next.
    pub(crate) inner: usize,
    /// Distance from one chunk to the next in the same row.
    pub(crate) chunk: usize,
}

/// A product of a left side with any number of rows and a right side with at most 64 columns, of which whole
/// chunks of 16 are read.
pub(crate) struct PanelProduct<'a, T> {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    pub(crate) left: LeftSide<'a, T>,
    pub(crate) right: RightSide<'a, T>,
    pub(crate) out: *mut T,
    /// Distance from one row of `out` to the next.
    pub(crate) stride: usize,
    pub(crate) accumulate: bool,
}

impl<'a, T: Float> PanelProduct<'a, T> {
    /// The left side from the first row of a panel of `height` rows on, and the distances between its rows
    /// and between its columns.
    #[inline(always)]
    fn rows_from(&self, row: usize, height: usize) -> (&'a [T], usize, usize) {
        match self.left {
            LeftSide::Packed(data) => (&data[row * self.inner..], 1, height),
            LeftSide::Strided { data, row: step, inner } => (&data[row * step..], step, inner),
        }
    }

    /// Computes the product with `gemm`: for f64, and without fused vector instructions.
    ///
    /// # Safety
    /// Both sides must contain all elements of the given sizes. `out` must be writable by this caller alone
    /// for `rows` rows of `columns` elements, `stride` apart, and initialised if `accumulate`.
    pub(crate) unsafe fn by_gemm(&self) {
        for row in (0..self.rows).step_by(TILE_ROWS) {
            let height = TILE_ROWS.min(self.rows - row);
            let (left, row_step, inner_step) = self.rows_from(row, height);
            let left = Matrix::strided(left, row_step, inner_step);
            for column in (0..self.columns).step_by(CHUNK) {
                let right = &self.right.data[column / CHUNK * self.right.chunk..];
                let right = Matrix::strided(right, self.right.inner, 1);
                let size = Size { m: height, n: CHUNK.min(self.columns - column), k: self.inner };
                let out = self.out.wrapping_add(row * self.stride + column);
                // SAFETY: guaranteed by the caller.
                unsafe {
                    product(size, left, right, out, self.stride, self.accumulate, Parallelism::None);
                }
            }
        }
    }
}

impl PanelProduct<'_, f32> {
    /// Computes the product with the best instruction set of this CPU.
    ///
    /// # Safety
    /// As for [`PanelProduct::by_gemm`].
    pub(crate) unsafe fn by_tiles(self) {
        arch().dispatch(self);
    }

    /// Multiplies all rows by `COUNT` registers of columns, from `column` on.
    ///
    /// # Safety
    /// As for [`PanelProduct::by_gemm`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const COUNT: usize>(&self, simd: S, column: usize) {
        for row in (0..self.rows).step_by(TILE_ROWS) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                match self.rows - row {
                    1 => self.tile::<S, 1, COUNT>(simd, row, column),
                    2 => self.tile::<S, 2, COUNT>(simd, row, column),
                    3 => self.tile::<S, 3, COUNT>(simd, row, column),
                    4 => self.tile::<S, 4, COUNT>(simd, row, column),
                    5 => self.tile::<S, 5, COUNT>(simd, row, column),
                    _ => self.tile::<S, 6, COUNT>(simd, row, column),
                }
            }
        }
    }

    /// Multiplies `HEIGHT` rows by `COUNT` registers of columns.
    ///
    /// # Safety
    /// As for [`PanelProduct::by_gemm`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const HEIGHT: usize, const COUNT: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let lanes = S::F32_LANES;
        let (left, row_step, inner_step) = self.rows_from(row, HEIGHT);
        let right = &self.right.data[column / CHUNK * self.right.chunk + column % CHUNK..];
        if self.inner > 0 {
            let last = self.inner - 1;
            assert!(left.len() > (HEIGHT - 1) * row_step + last * inner_step);
            let register = (COUNT - 1) * lanes;
            let last_register = register / CHUNK * self.right.chunk + register % CHUNK;
            assert!(right.len() >= last * self.right.inner + last_register + lanes);
        }
        let mut sums = [[simd.splat_f32s(0.0); COUNT]; HEIGHT];
        let (mut left, mut right) = (left.as_ptr(), right.as_ptr());
        for _ in 0..self.inner {
            // SAFETY: the assertions keep the reads within both sides: each step reads one column of the left
            // side and one row of the right side.
            unsafe {
                let mut across = [simd.splat_f32s(0.0); COUNT];
                for (v, across) in across.iter_mut().enumerate() {
                    let at = v * lanes / CHUNK * self.right.chunk + v * lanes % CHUNK;
                    *across = right.add(at).cast::<S::f32s>().read_unaligned();
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let down = simd.splat_f32s(*left.add(r * row_step));
                    for (sum, across) in sums.iter_mut().zip(across) {
                        *sum = mul_add(simd, down, across, *sum);
                    }
                }
            }
            left = left.wrapping_add(inner_step);
            right = right.wrapping_add(self.right.inner);
        }
        let width = self.columns.saturating_sub(column).min(COUNT * lanes);
        for (r, sums) in sums.iter().enumerate() {
            let out = self.out.wrapping_add((row + r) * self.stride + column);
            if width == COUNT * lanes {
                for (v, sum) in sums.iter().enumerate() {
                    // SAFETY: the columns lie within the result.
                    unsafe {
                        let out = out.add(v * lanes).cast::<S::f32s>();
                        let sum =
                            if self.accumulate { simd.add_f32s(*sum, out.read_unaligned()) } else { *sum };
                        out.write_unaligned(sum);
                    }
                }
            } else {
                let sums: &[f32] = pulp::bytemuck::cast_slice(sums);
                for (i, sum) in sums.iter().enumerate().take(width) {
                    // SAFETY: `width` columns lie within the result.
                    unsafe {
                        let out = out.add(i);
                        *out = if self.accumulate { *sum + *out } else { *sum };
                    }
                }
            }
        }
    }
}

/// Whether the tiles are as fast as `gemm` with the instruction set of this CPU.
pub(crate) fn fast() -> bool {
    struct Lanes;

    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }

    arch().dispatch(Lanes) >= 8
}

impl WithSimd for PanelProduct<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: guaranteed by the caller of `by_tiles`.
        unsafe {
            match S::F32_LANES {
                // The last panel may have few columns: use only as many registers as it needs.
                16 => match self.columns.div_ceil(16) {
                    0 | 1 => self.columns::<S, 1>(simd, 0),
                    2 => self.columns::<S, 2>(simd, 0),
                    3 => self.columns::<S, 3>(simd, 0),
                    _ => self.columns::<S, 4>(simd, 0),
                },
                4 | 8 => {
                    let width = 2 * S::F32_LANES;
                    for column in (0..self.columns).step_by(width) {
                        self.columns::<S, 2>(simd, column);
                    }
                }
                _ => self.by_gemm(),
            }
        }
    }
}
