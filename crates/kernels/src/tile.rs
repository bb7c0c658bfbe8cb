//! Products of packed panels: the innermost loop of the convolutions.
//!
//! The right matrix comes in panels of 64 columns, row after row, as the packing of patches makes them; the left one in
//! panels of six rows, column after column. A tile of the product then stays in registers over the whole inner
//! dimension: each of its elements is a chain of fused multiply-adds in the order of the inner dimension, whatever the
//! width of the registers, and equal to what [`product`] computes.
#![expect(
    unsafe_code,
    reason = "the tile reads packed panels and writes rows of the result through pointers"
)]

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use gemm::Parallelism;

use super::buffer::{Out, arch, build_raw};
use super::matmul::{Matrix, Size, product};
use super::real::Real;

/// Columns of a panel of the right matrix: four AVX-512 registers.
pub(super) const COLUMNS: usize = 64;

/// The part of the inner dimension that is multiplied at once: a panel of the right matrix so deep stays in the nearest
/// cache, from its packing on. Parts are added in order.
pub(super) const DEPTH: usize = 256;

/// Rows of a panel of the left matrix: 6 · 4 sums leave registers for what is being read.
const ROWS: usize = 6;

/// A left matrix, packed in blocks of the inner dimension, and each block in panels of rows.
pub(super) struct Left<T> {
    data: Vec<T>,
    rows: usize,
    inner: usize,
}

impl<T: Real> Left<T> {
    /// Packs a matrix of `rows` rows that begin `stride` apart in `data`; column k is at `places[k]` from there.
    pub(super) fn pack(data: &[T], (rows, stride): (usize, usize), places: &[usize]) -> Self {
        let (inner, panels) = (places.len(), rows.div_ceil(ROWS));
        // SAFETY: the panels of the blocks cover the matrix, each written by one task.
        let data = unsafe {
            build_raw(rows * inner, |out: Out<T>| {
                (0..inner.div_ceil(DEPTH) * panels).into_par_iter().for_each(|index| {
                    let (start, row) = (index / panels * DEPTH, index % panels * ROWS);
                    let (depth, height) = (DEPTH.min(inner - start), ROWS.min(rows - row));
                    let out = out.slice(rows * start + row * depth, height * depth);
                    for (&place, out) in places[start..].iter().zip(out.chunks_exact_mut(height)) {
                        for (r, out) in out.iter_mut().enumerate() {
                            out.write(data[place + (row + r) * stride]);
                        }
                    }
                });
            })
        };
        Self { data, rows, inner }
    }

    /// Packs maps (samples, channels, positions) as a matrix of a row a channel and a column a position of a sample.
    pub(super) fn pack_maps(maps: &[T], channels: usize, positions: usize, samples: usize) -> Self {
        let (rows, inner) = (channels, samples * positions);
        assert_eq!(maps.len(), rows * inner);
        let panels = rows.div_ceil(ROWS);
        // SAFETY: the panels of the blocks cover the matrix, each written by one task.
        let data = unsafe {
            build_raw(rows * inner, |out: Out<T>| {
                (0..inner.div_ceil(DEPTH) * panels).into_par_iter().for_each(|index| {
                    let (start, row) = (index / panels * DEPTH, index % panels * ROWS);
                    let (depth, height) = (DEPTH.min(inner - start), ROWS.min(rows - row));
                    let out = out.slice(rows * start + row * depth, height * depth);
                    let mut done = 0;
                    while done < depth {
                        let (sample, position) = ((start + done) / positions, (start + done) % positions);
                        let len = (positions - position).min(depth - done);
                        let out = &mut out[done * height..(done + len) * height];
                        for r in 0..height {
                            let from = (sample * channels + row + r) * positions + position;
                            for (out, &x) in out[r..].iter_mut().step_by(height).zip(&maps[from..from + len])
                            {
                                out.write(x);
                            }
                        }
                        done += len;
                    }
                });
            })
        };
        Self { data, rows, inner }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// `out` = this · right for the block of the inner dimension that starts at `start`, plus `out` for all but the
    /// first block.
    ///
    /// # Safety
    /// `panel` holds the block's rows of 64 elements, of which the first `columns` count; `out` must be writable by
    /// this caller alone for `rows` rows of `columns` elements, `stride` apart, and initialised unless `start` is 0.
    pub(super) unsafe fn times(&self, start: usize, panel: &[T], columns: usize, out: *mut T, stride: usize) {
        let inner = DEPTH.min(self.inner - start);
        // SAFETY: the same promises.
        unsafe { self.times_rows(start, &panel[..inner * COLUMNS], columns, out, stride, start > 0) };
    }

    /// The same for a block of a right matrix of rows of 64 elements, adding to `out` where asked.
    ///
    /// # Safety
    /// As for [`Left::times`].
    pub(super) unsafe fn times_rows(
        &self,
        start: usize,
        right: &[T],
        columns: usize,
        out: *mut T,
        stride: usize,
        accumulate: bool,
    ) {
        let right = Columns { data: right, inner: COLUMNS, chunk: CHUNK };
        // SAFETY: the caller's promises.
        unsafe { self.times_columns(start, right, columns, out, stride, accumulate) };
    }

    /// The same for a block of a right matrix that lies as it likes.
    ///
    /// # Safety
    /// As for [`Left::times`].
    pub(super) unsafe fn times_columns(
        &self,
        start: usize,
        right: Columns<'_, T>,
        columns: usize,
        out: *mut T,
        stride: usize,
        accumulate: bool,
    ) {
        let inner = DEPTH.min(self.inner - start);
        let left = &self.data[self.rows * start..][..self.rows * inner];
        let (rows, left) = (self.rows, Rows::Packed(left));
        // SAFETY: the caller's promises.
        unsafe { T::multiply(Panel { rows, inner, columns, left, right, out, stride, accumulate }) };
    }
}

/// The left side of a product of panels.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a, T> {
    /// Panels of six rows (the last may have fewer), each column after column.
    Packed(&'a [T]),
    /// Rows and columns these distances apart.
    Strided { data: &'a [T], row: usize, inner: usize },
}

/// Columns of the right side that lie side by side.
pub(super) const CHUNK: usize = 16;

/// The right side of a product of panels: each row is made of chunks of 16 elements.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, T> {
    pub(super) data: &'a [T],
    /// From a row to the next.
    pub(super) inner: usize,
    /// From a chunk to the next of the same row.
    pub(super) chunk: usize,
}

/// A product of a left side of any number of rows and a right side of at most 64 columns, read up to a multiple of 16.
pub(super) struct Panel<'a, T> {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) left: Rows<'a, T>,
    pub(super) right: Columns<'a, T>,
    pub(super) out: *mut T,
    /// From a row of `out` to the next.
    pub(super) stride: usize,
    pub(super) accumulate: bool,
}

impl<'a, T: Real> Panel<'a, T> {
    /// The left side from a row on that begins a panel of `height` rows: where it starts, and the distances between rows
    /// and between columns.
    #[inline(always)]
    fn rows_from(&self, row: usize, height: usize) -> (&'a [T], usize, usize) {
        match self.left {
            Rows::Packed(data) => (&data[row * self.inner..], 1, height),
            Rows::Strided { data, row: step, inner } => (&data[row * step..], step, inner),
        }
    }

    /// By `gemm`: for f64, and where there are no fused vector instructions.
    ///
    /// # Safety
    /// As for [`Left::times`].
    pub(super) unsafe fn by_gemm(&self) {
        for row in (0..self.rows).step_by(ROWS) {
            let height = ROWS.min(self.rows - row);
            let (left, row_step, inner_step) = self.rows_from(row, height);
            let left = Matrix::strided(left, row_step, inner_step);
            for column in (0..self.columns).step_by(CHUNK) {
                let right = &self.right.data[column / CHUNK * self.right.chunk..];
                let right = Matrix::strided(right, self.right.inner, 1);
                let size = Size { m: height, n: CHUNK.min(self.columns - column), k: self.inner };
                let out = self.out.wrapping_add(row * self.stride + column);
                // SAFETY: the caller's promises.
                unsafe {
                    product(size, left, right, out, self.stride, self.accumulate, Parallelism::None);
                }
            }
        }
    }
}

impl Panel<'_, f32> {
    /// By the best vector instructions at hand.
    ///
    /// # Safety
    /// As for [`Left::times`].
    pub(super) unsafe fn by_tiles(self) {
        arch().dispatch(self);
    }

    /// All rows against `COUNT` registers of columns from `column` on.
    ///
    /// # Safety
    /// As for [`Left::times`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const COUNT: usize>(&self, simd: S, column: usize) {
        for row in (0..self.rows).step_by(ROWS) {
            // SAFETY: the caller's promises.
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

    /// `HEIGHT` rows by `COUNT` registers of columns.
    ///
    /// # Safety
    /// As for [`Left::times`].
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
            // SAFETY: within both sides by the assertions, since each step takes one column of the left side and one row
            // of the right one.
            unsafe {
                let mut across = [simd.splat_f32s(0.0); COUNT];
                for (v, across) in across.iter_mut().enumerate() {
                    let at = v * lanes / CHUNK * self.right.chunk + v * lanes % CHUNK;
                    *across = right.add(at).cast::<S::f32s>().read_unaligned();
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let down = simd.splat_f32s(*left.add(r * row_step));
                    for (sum, across) in sums.iter_mut().zip(across) {
                        *sum = simd.mul_add_f32s(down, across, *sum);
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
                    // SAFETY: the columns are within the result.
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
                    // SAFETY: `width` columns are within the result.
                    unsafe {
                        let out = out.add(i);
                        *out = if self.accumulate { *sum + *out } else { *sum };
                    }
                }
            }
        }
    }
}

/// Whether the vector instructions at hand have tiles of their own that keep up with those of `gemm`.
pub(super) fn fast() -> bool {
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

impl WithSimd for Panel<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: whoever asked for the product made the promises.
        unsafe {
            match S::F32_LANES {
                // A last panel may have few columns: no register is multiplied for nothing.
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
