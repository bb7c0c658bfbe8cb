//! Matrices in memory, and how the inner dimension of a product is cut.
#![expect(unsafe_code, reason = "a matrix is read through a pointer")]

use candle_core::{CpuStorage, Layout};

use crate::buffer::build;
use crate::float::Float;

/// The longest part of the inner dimension that `gemm` sees at once.
pub(crate) const INNER_BLOCK: usize = 512;

/// A matrix in memory that someone else keeps alive.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<T> {
    pub(crate) start: *const T,
    /// Elements from there to the end of the memory, for debug assertions, which the tests run with.
    pub(crate) len: usize,
    /// Distance between an element and the one in the next row.
    pub(crate) row: usize,
    /// Distance between an element and the one in the next column.
    pub(crate) column: usize,
}

// SAFETY: a `Matrix` is read-only, and the functions that take one make their caller promise that it is alive.
unsafe impl<T: Sync> Send for Matrix<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<T> {}

impl<T: Float> Matrix<T> {
    /// Rows of `columns` elements, one after another.
    pub(crate) fn rows(data: &[T], columns: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row: columns, column: 1 }
    }

    /// Whether the memory has all elements of so many rows and columns.
    #[inline(always)]
    pub(crate) fn covers(self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.len
    }

    /// Rows and columns these distances apart.
    pub(crate) fn strided(data: &[T], row: usize, column: usize) -> Self {
        Self { start: data.as_ptr(), len: data.len(), row, column }
    }

    /// The transpose: rows become columns.
    pub(crate) fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// One element.
    ///
    /// # Safety
    /// It must lie within the matrix, which must be alive.
    #[inline(always)]
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> T {
        debug_assert!(self.covers(row + 1, column + 1), "({row}, {column}) of {} elements", self.len);
        // SAFETY: promised by the caller.
        unsafe { *self.from(row, column).start }
    }

    /// The memory from its first element on.
    ///
    /// # Safety
    /// The matrix must be alive.
    pub(crate) unsafe fn data<'a>(self) -> &'a [T] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Distances between rows and between columns.
    pub(crate) fn steps(self) -> [usize; 2] {
        [self.row, self.column]
    }

    /// The part that starts at (row, column).
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

/// A 2-d tensor's elements and strides.
pub(crate) fn matrix<T: Float>(storage: &CpuStorage, layout: &Layout) -> candle_core::Result<Matrix<T>> {
    let data = storage.as_slice::<T>()?;
    let strides = layout.stride();
    let data = &data[layout.start_offset().min(data.len())..];
    Ok(Matrix { start: data.as_ptr(), len: data.len(), row: strides[0], column: strides[1] })
}

/// The parts of an inner dimension that are multiplied one after another: where each starts, and its length. An inner dimension of
/// nothing has one empty part, which makes the result zeros.
pub(crate) fn inner_blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
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

/// The transpose of a (rows, columns) matrix, as rows.
///
/// # Safety
/// `matrix` must be readable over this shape.
pub(crate) unsafe fn transpose<T: Float>(matrix: Matrix<T>, rows: usize, columns: usize) -> Vec<T> {
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
