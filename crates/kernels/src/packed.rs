//! Left matrices packed for the tiles, to be multiplied with many panels of right matrices.
#![expect(unsafe_code, reason = "tasks write parts of one buffer, and products write through pointers")]

use rayon::prelude::*;

use crate::buffer::{Out, build_raw};
use crate::real::Real;
use crate::tile::{CHUNK, LeftSide, PANEL_COLUMNS, PANEL_DEPTH, PanelProduct, RightSide, TILE_ROWS};

/// A left matrix, packed in blocks of the inner dimension, each of which consists of panels of rows.
pub(crate) struct PackedLeft<T> {
    data: Vec<T>,
    rows: usize,
    inner: usize,
}

impl<T: Real> PackedLeft<T> {
    /// Packs a matrix of `rows` rows, which start `stride` apart in `data`. Column k has the offset
    /// `places[k]` in a row.
    pub(crate) fn pack(data: &[T], (rows, stride): (usize, usize), places: &[usize]) -> Self {
        let (inner, panels) = (places.len(), rows.div_ceil(TILE_ROWS));
        // SAFETY: the panels of all blocks cover the matrix, and each panel is written by one task.
        let data = unsafe {
            build_raw(rows * inner, |out: Out<T>| {
                (0..inner.div_ceil(PANEL_DEPTH) * panels).into_par_iter().for_each(|index| {
                    let (start, row) = (index / panels * PANEL_DEPTH, index % panels * TILE_ROWS);
                    let (depth, height) = (PANEL_DEPTH.min(inner - start), TILE_ROWS.min(rows - row));
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

    /// Packs maps (samples, channels, positions) as a matrix with one row per channel and one column per
    /// position of every sample.
    pub(crate) fn pack_maps(maps: &[T], channels: usize, positions: usize, samples: usize) -> Self {
        let (rows, inner) = (channels, samples * positions);
        assert_eq!(maps.len(), rows * inner);
        let panels = rows.div_ceil(TILE_ROWS);
        // SAFETY: the panels of all blocks cover the matrix, and each panel is written by one task.
        let data = unsafe {
            build_raw(rows * inner, |out: Out<T>| {
                (0..inner.div_ceil(PANEL_DEPTH) * panels).into_par_iter().for_each(|index| {
                    let (start, row) = (index / panels * PANEL_DEPTH, index % panels * TILE_ROWS);
                    let (depth, height) = (PANEL_DEPTH.min(inner - start), TILE_ROWS.min(rows - row));
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

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// `out` = self · panel for the block of the inner dimension that starts at `start`. All blocks but the
    /// first add to `out`.
    ///
    /// # Safety
    /// `panel` contains the rows of the block, of 64 elements each, of which the first `columns` are used.
    /// `out` must be writable by this caller alone for `rows` rows of `columns` elements, `stride` apart, and
    /// initialised unless `start` is 0.
    pub(crate) unsafe fn times(&self, start: usize, panel: &[T], columns: usize, out: *mut T, stride: usize) {
        let inner = PANEL_DEPTH.min(self.inner - start);
        // SAFETY: guaranteed by the caller.
        unsafe { self.times_rows(start, &panel[..inner * PANEL_COLUMNS], columns, out, stride, start > 0) };
    }

    /// [`PackedLeft::times`] for a right side with rows of 64 elements, which adds to `out` if `accumulate`.
    ///
    /// # Safety
    /// As for [`PackedLeft::times`], but `out` must be initialised if `accumulate`.
    pub(crate) unsafe fn times_rows(
        &self,
        start: usize,
        right: &[T],
        columns: usize,
        out: *mut T,
        stride: usize,
        accumulate: bool,
    ) {
        let right = RightSide { data: right, inner: PANEL_COLUMNS, chunk: CHUNK };
        // SAFETY: guaranteed by the caller.
        unsafe { self.times_columns(start, right, columns, out, stride, accumulate) };
    }

    /// [`PackedLeft::times_rows`] for a right side of any layout.
    ///
    /// # Safety
    /// As for [`PackedLeft::times`], but `out` must be initialised if `accumulate`.
    pub(crate) unsafe fn times_columns(
        &self,
        start: usize,
        right: RightSide<'_, T>,
        columns: usize,
        out: *mut T,
        stride: usize,
        accumulate: bool,
    ) {
        let inner = PANEL_DEPTH.min(self.inner - start);
        let left = &self.data[self.rows * start..][..self.rows * inner];
        let (rows, left) = (self.rows, LeftSide::Packed(left));
        // SAFETY: guaranteed by the caller.
        unsafe { T::multiply(PanelProduct { rows, inner, columns, left, right, out, stride, accumulate }) };
    }
}
