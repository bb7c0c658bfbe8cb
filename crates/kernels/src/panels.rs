//! Products of whole matrices by tiles. The left matrix is read in place; each task packs the panel of columns of the
//! right matrix that it multiplies by. At the sizes of a training step this is faster than `gemm`, which packs before
//! its threads start and synchronises them after each block of the inner dimension. The bits are the same.
#![expect(unsafe_code, reason = "tasks write parts of one result")]

use rayon::prelude::*;

use crate::buffer::{Out, build_raw};
use crate::count::count;
use crate::layout::channels_last;
use crate::matrix::{INNER_BLOCK, Matrix, Size, inner_blocks};
use crate::real::Real;
use crate::scratch::scratch;
use crate::tile::{CHUNK, LeftSide, PANEL_COLUMNS, PanelProduct, RightSide};

/// Rows per task if there are few panels. Each panel is then packed more than once.
const ROWS_PER_TASK: usize = 96;

/// Whether this module computes a product of this size. Small products would use only a fraction of a panel.
pub(crate) fn suit<T: Real>(Size { m, n, k }: Size) -> bool {
    m >= CHUNK && n >= CHUNK && k > 0 && T::multiplies_fast()
}

/// `a` · `b` as a new vector of m·n elements, computed by all threads of rayon's current pool.
///
/// # Safety
/// All of `a` (m, k) and `b` (k, n) must be readable.
pub(crate) unsafe fn product_vec<T: Real>(size: Size, a: Matrix<T>, b: Matrix<T>) -> Vec<T> {
    let Size { m, n, k } = size;
    count(&[m, n, k]);
    let panels = n.div_ceil(PANEL_COLUMNS);
    let rows = if panels < 6 { ROWS_PER_TASK.min(m) } else { m };
    let [row_step, inner_step] = a.steps();
    // SAFETY: the tasks cover all rows and columns without overlap, and the caller guarantees that the matrices are
    // readable.
    unsafe {
        build_raw(m * n, |out: Out<T>| {
            (0..panels * m.div_ceil(rows)).into_par_iter().for_each(|index| {
                let (column, row) = (index % panels * PANEL_COLUMNS, index / panels * rows);
                let (columns, rows) = (PANEL_COLUMNS.min(n - column), rows.min(m - row));
                T::with_scratch(|[packed, _, _]| {
                    let packed = scratch(packed, INNER_BLOCK.min(k) * PANEL_COLUMNS);
                    for (start, inner) in inner_blocks(k) {
                        pack(b.from(start, column), [inner, columns], packed);
                        let left = a.from(row, start).data();
                        T::multiply(PanelProduct {
                            rows,
                            inner,
                            columns,
                            left: LeftSide::Strided { data: left, row: row_step, inner: inner_step },
                            right: RightSide { data: packed, inner: PANEL_COLUMNS, chunk: CHUNK },
                            out: out.at(row * n + column),
                            stride: n,
                            accumulate: start > 0,
                        });
                    }
                });
            });
        })
    }
}

/// A right matrix packed in panels of 64 columns, to be multiplied with many left matrices.
pub(crate) struct PackedRight<T> {
    /// Panel by panel, rows of 64 elements.
    data: Vec<T>,
    inner: usize,
    columns: usize,
}

impl<T: Real> PackedRight<T> {
    /// Packs a matrix of `inner` rows and `columns` columns.
    ///
    /// # Safety
    /// All of `from` (inner, columns) must be readable.
    pub(crate) unsafe fn pack(from: Matrix<T>, inner: usize, columns: usize) -> Self {
        let mut data = vec![T::ZERO; columns.div_ceil(PANEL_COLUMNS) * inner * PANEL_COLUMNS];
        for (panel, to) in data.chunks_exact_mut((inner * PANEL_COLUMNS).max(1)).enumerate() {
            let column = panel * PANEL_COLUMNS;
            // SAFETY: the panel lies within the matrix, which the caller guarantees to be readable.
            unsafe { pack(from.from(0, column), [inner, PANEL_COLUMNS.min(columns - column)], to) };
        }
        Self { data, inner, columns }
    }

    /// Adds `left` · self to `out`. Rows of `left` start `left_stride` apart, those of `out` `stride`.
    ///
    /// # Safety
    /// `out` must be initialised, and writable by this caller alone, for `rows` rows of as many elements as self has columns.
    pub(crate) unsafe fn add_product(
        &self,
        rows: usize,
        left: &[T],
        left_stride: usize,
        out: *mut T,
        stride: usize,
    ) {
        for column in (0..self.columns).step_by(PANEL_COLUMNS) {
            for (start, inner) in inner_blocks(self.inner) {
                let place = (column / PANEL_COLUMNS * self.inner + start) * PANEL_COLUMNS;
                // SAFETY: the panel has the columns of `out` from `column` on; the rest is guaranteed by the caller. The tiles
                // check that their reads lie within the slices.
                unsafe {
                    T::multiply(PanelProduct {
                        rows,
                        inner,
                        columns: PANEL_COLUMNS.min(self.columns - column),
                        left: LeftSide::Strided { data: &left[start..], row: left_stride, inner: 1 },
                        right: RightSide { data: &self.data[place..], inner: PANEL_COLUMNS, chunk: CHUNK },
                        out: out.wrapping_add(column),
                        stride,
                        accumulate: true,
                    });
                }
            }
        }
    }
}

/// Packs a matrix of at most 64 columns as rows of 64 elements. The elements beyond its columns are left unchanged.
///
/// # Safety
/// All of `from` (rows, columns) must be readable.
unsafe fn pack<T: Real>(from: Matrix<T>, [rows, columns]: [usize; 2], to: &mut [T]) {
    /// Rows of the result that stay in the L1 cache while their columns are copied.
    const BLOCK: usize = 64;
    // SAFETY: the caller guarantees that the matrix is readable.
    let (data, [row_step, column_step]) = (unsafe { from.data() }, from.steps());
    if column_step == 1 {
        for (row, to) in to.chunks_exact_mut(PANEL_COLUMNS).take(rows).enumerate() {
            to[..columns].copy_from_slice(&data[row * row_step..][..columns]);
        }
        return;
    }
    let whole = if row_step == 1 { columns / 4 * 4 } else { 0 };
    let places: [usize; BLOCK] = std::array::from_fn(|i| i * PANEL_COLUMNS);
    for (block, to) in to[..rows * PANEL_COLUMNS].chunks_mut(BLOCK * PANEL_COLUMNS).enumerate() {
        let data = &data[block * BLOCK * row_step..];
        channels_last(data, column_step, whole, &places[..to.len() / PANEL_COLUMNS], to);
        for (row, to) in to.chunks_exact_mut(PANEL_COLUMNS).enumerate() {
            for column in whole..columns {
                to[column] = data[row * row_step + column * column_step];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gemm::Parallelism;

    use super::*;
    use crate::gemm::product;
    use crate::simd::on_every_instruction_set;
    use crate::tests::numbers;

    /// All layouts of both sides, several blocks of the inner dimension, and incomplete panels and tiles of every kind.
    #[test]
    fn products_have_the_bits_of_gemm() {
        for (m, n, k) in
            [(16, 16, 3), (17, 65, 1), (98, 30, 2), (40, 79, 512), (19, 131, 513), (23, 400, 1031)]
        {
            let of = |seed: u64, len: usize| -> Vec<f32> {
                numbers(seed, len).into_iter().map(|x| x as f32).collect()
            };
            let (left, right) = (of(1, m * k), of(2, k * n));
            for transposed in 0..4 {
                let a = if transposed & 1 == 0 { Matrix::rows(&left, k) } else { Matrix::rows(&left, m).t() };
                let b =
                    if transposed & 2 == 0 { Matrix::rows(&right, n) } else { Matrix::rows(&right, k).t() };
                let size = Size { m, n, k };
                let mut want = vec![f32::NAN; m * n];
                // SAFETY: the slices have these shapes.
                unsafe { product(size, a, b, want.as_mut_ptr(), n, false, Parallelism::None) };
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                // SAFETY: as above.
                let got = || unsafe { bits(&product_vec(size, a, b)) };
                assert!(got() == bits(&want), "{size:?}, transposed sides: {transposed:02b}");
                on_every_instruction_set(got);
            }
        }
    }
}
