//! Views of matrices, and the blocks into which the inner dimension of a product is divided.
#![expect(unsafe_code, reason = "a matrix is read through a pointer")]

use candle_core::{CpuStorage, Layout};

use crate::buffer::build;
use crate::float::Float;

/// The longest block of the inner dimension that is multiplied at once.
pub(crate) const INNER_BLOCK: usize = 512;

/// A strided view of a matrix. The caller keeps its memory alive.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<T> {
    pub(crate) start: *const T,
    /// Number of elements from `start` to the end of the memory, for debug assertions. The
    /// tests enable these.
    pub(crate) len: usize,
    /// Distance between an element and the one in the next row.
    pub(crate) row: usize,
    /// Distance between an element and the one in the next column.
    pub(crate) column: usize,
}

// SAFETY: a `Matrix` is read-only, and the functions that read one require that its memory is alive.
unsafe impl<T: Sync> Send for Matrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<T> {}

impl<T: Float> Matrix<T> {
    /// Contiguous rows of `columns` elements.
    pub(crate) fn rows(data: &[T], columns: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row: columns, column: 1 }
    }

    /// Whether the memory contains all elements of `rows` rows and `columns` columns.
    #[inline(always)]
    pub(crate) fn covers(self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.len
    }

    /// A matrix with `row` elements from one row to the next, and `column` from one column to the next.
    pub(crate) fn strided(data: &[T], row: usize, column: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row, column }
    }

    /// The elements of a two-dimensional tensor, with its strides.
    pub(crate) fn of_tensor(storage: &CpuStorage, layout: &Layout) -> candle_core::Result<Self> {
        let data = storage.as_slice::<T>()?;
        let strides = layout.stride();
        Ok(Self::strided(&data[layout.start_offset().min(data.len())..], strides[0], strides[1]))
    }

    /// The transpose: rows become columns.
    pub(crate) fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// One element.
    ///
    /// # Safety
    /// The element must lie within the matrix, whose memory must be alive.
    #[inline(always)]
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> T {
        debug_assert!(self.covers(row + 1, column + 1), "({row}, {column}) of {} elements", self.len);
        // SAFETY: guaranteed by the caller.
        unsafe { *self.from(row, column).start }
    }

    /// The memory from the first element on.
    ///
    /// # Safety
    /// The memory must be alive.
    pub(crate) unsafe fn data<'a>(self) -> &'a [T] {
        // SAFETY: guaranteed by the caller.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The distances between rows and between columns.
    pub(crate) fn steps(self) -> [usize; 2] {
        [self.row, self.column]
    }

    /// The submatrix that starts at (row, column).
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        let offset = row * self.row + column * self.column;
        Self { start: self.start.wrapping_add(offset), len: self.len.saturating_sub(offset), ..self }
    }
}

/// Shape of a product: (m, k) · (k, n).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

/// The blocks of an inner dimension, which are multiplied one after another: start and length of each. An
/// inner dimension of 0 has one empty block, which makes the result zeros.
pub(crate) fn inner_blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        // A last block of one or two would take a different path in `gemm`.
        let block = match k - start {
            rest @ 0..=INNER_BLOCK => rest,
            513 | 514 => INNER_BLOCK / 2,
            _ => INNER_BLOCK,
        };
        next = Some(start + block).filter(|&end| end < k);
        Some((start, block))
    })
}

/// The transpose of a (rows, columns) matrix, as contiguous rows.
///
/// # Safety
/// All elements of this shape must be readable.
pub(crate) unsafe fn transpose<T: Float>(matrix: Matrix<T>, rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 16;
    // SAFETY: every element of a chunk (TILE rows of the result, fewer in the last chunk) is written.
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
