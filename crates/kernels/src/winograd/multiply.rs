//! The matrix products over the channels, one for each point of a transformed tile.
#![expect(unsafe_code, reason = "products write through pointers")]

use rayon::prelude::*;

use crate::buffer::Out;
use crate::real::Real;
use crate::tile::{CHUNK, LeftSide, PANEL_COLUMNS, PANEL_DEPTH, PanelProduct, RightSide};

/// `products` (points, rows, columns) = `left` (points, rows, inner) · `right` (points,
/// columns/16, inner, 16).
pub(crate) fn multiply<T: Real>(
    left: &[T],
    right: &[T],
    products: &mut [T],
    points: usize,
    [rows, inner, columns]: [usize; 3],
) {
    for point in 0..points {
        let left = &left[point * rows * inner..][..rows * inner];
        let right = &right[point * inner * columns..][..inner * columns];
        let products = &mut products[point * rows * columns..][..rows * columns];
        for column in (0..columns).step_by(PANEL_COLUMNS) {
            for start in (0..inner).step_by(PANEL_DEPTH) {
                let panel = PanelProduct {
                    rows,
                    inner: PANEL_DEPTH.min(inner - start),
                    columns: PANEL_COLUMNS.min(columns - column),
                    left: LeftSide::Strided { data: &left[start..], row: inner, inner: 1 },
                    right: RightSide {
                        data: &right[column * inner + start * CHUNK..],
                        inner: CHUNK,
                        chunk: inner * CHUNK,
                    },
                    out: products[column..].as_mut_ptr(),
                    stride: columns,
                    accumulate: start > 0,
                };
                // SAFETY: the rows and columns of the panel lie within `products`, which only this
                // function accesses.
                unsafe { T::multiply(panel) };
            }
        }
    }
}

/// `products` (points, rows, columns) = `left` (points, rows/16, inner, 16)ᵀ · `right` (points, columns/16,
/// inner, 16), plus `products` if `accumulate`.
pub(crate) fn multiply_transposed<T: Real>(
    left: &[T],
    right: &[T],
    products: &mut [T],
    points: usize,
    [rows, inner, columns]: [usize; 3],
    accumulate: bool,
) {
    let panels = columns.div_ceil(PANEL_COLUMNS);
    let out = Out::of(products);
    (0..points * panels).into_par_iter().for_each(|index| {
        let (point, column) = (index / panels, index % panels * PANEL_COLUMNS);
        for start in (0..inner).step_by(PANEL_DEPTH) {
            let right = &right[(point * columns + column) * inner + start * CHUNK..];
            for row in (0..rows).step_by(CHUNK) {
                let left = &left[(point * rows + row) * inner + start * CHUNK..];
                let panel = PanelProduct {
                    rows: CHUNK,
                    inner: PANEL_DEPTH.min(inner - start),
                    columns: PANEL_COLUMNS.min(columns - column),
                    left: LeftSide::Strided { data: left, row: 1, inner: CHUNK },
                    right: RightSide { data: right, inner: CHUNK, chunk: inner * CHUNK },
                    out: out.at((point * rows + row) * columns + column),
                    stride: columns,
                    accumulate: accumulate || start > 0,
                };
                // SAFETY: only this task writes these columns of this point, and they are initialised.
                unsafe { T::multiply(panel) };
            }
        }
    });
}
