//! Panels of the patch matrix (im2col), and products with these.
#![expect(unsafe_code, reason = "products write through pointers")]

use crate::convolution::canvas::{Canvas, SLACK};
use crate::packed::PackedLeft;
use crate::real::Real;
use crate::scratch::scratch;
use crate::simd::simd;
use crate::tile::{PANEL_COLUMNS, PANEL_DEPTH};

/// Columns of a panel whose elements are contiguous in memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Segment {
    /// The first column in the panel.
    column: usize,
    /// Number of columns, at most [`SLACK`].
    len: usize,
    /// The offset in memory from the start of a row of the panel.
    from: usize,
}

/// The segments of each panel of a patch matrix with `width` columns, which are the `rows` × `columns`
/// positions of each sample of a group.
pub(crate) fn segments(canvas: &Canvas, [rows, columns]: [usize; 2], width: usize) -> Vec<Vec<Segment>> {
    let mut panels = Vec::with_capacity(width.div_ceil(PANEL_COLUMNS));
    for first in (0..width).step_by(PANEL_COLUMNS) {
        let end = width.min(first + PANEL_COLUMNS);
        let mut panel = Vec::with_capacity(PANEL_COLUMNS);
        let mut column = first;
        while column < end {
            let (sample, position) = (column / (rows * columns), column % (rows * columns));
            let (line, x) = (position / columns, position % columns);
            let len = (columns - x).min(end - column).min(SLACK);
            let from = sample * canvas.len() + line * canvas.size[1] + x;
            panel.push(Segment { column: column - first, len, from });
            column += len;
        }
        panels.push(panel);
    }
    panels
}

/// Fills the rows of a panel. Each row starts at its entry of `starts` and consists of the
/// segments in their order.
#[inline(always)]
pub(crate) fn patches<T: Real>(canvases: &[T], starts: &[usize], segments: &[Segment], panel: &mut [T]) {
    match segments.iter().map(|segment| segment.len).max().unwrap_or(0) {
        0..=4 => patch_lines::<T, 4>(canvases, starts, segments, panel),
        5..=8 => patch_lines::<T, 8>(canvases, starts, segments, panel),
        _ => patch_lines::<T, SLACK>(canvases, starts, segments, panel),
    }
}

#[inline(always)]
pub(crate) fn patch_lines<T: Real, const LEN: usize>(
    canvases: &[T],
    starts: &[usize],
    segments: &[Segment],
    panel: &mut [T],
) {
    assert!(panel.len() >= starts.len() * PANEL_COLUMNS + SLACK);
    for (row, &start) in starts.iter().enumerate() {
        let (from, to) = (&canvases[start..], &mut panel[row * PANEL_COLUMNS..][..PANEL_COLUMNS + SLACK]);
        for segment in segments {
            if let (Some(from), Some(to)) =
                (from[segment.from..].first_chunk::<LEN>(), to[segment.column..].first_chunk_mut::<LEN>())
            {
                *to = *from;
            }
        }
    }
}

/// `out` (rows of `width` elements) = `weight` · the patch matrix whose rows start at `starts`; zeros if
/// `starts` is empty.
///
/// # Safety
/// `out` must be writable by this caller alone, for as many rows of `width` elements as the weight has.
pub(crate) unsafe fn times_patches<T: Real>(
    weight: &PackedLeft<T>,
    canvases: &[T],
    starts: &[usize],
    panels: &[Vec<Segment>],
    panel: &mut Vec<T>,
    (out, width): (*mut T, usize),
) {
    if starts.is_empty() {
        // SAFETY: guaranteed by the caller; zero bytes are valid numbers.
        unsafe { out.write_bytes(0, weight.rows() * width) };
    }
    let panel = scratch(panel, PANEL_DEPTH * PANEL_COLUMNS + SLACK);
    for start in (0..starts.len()).step_by(PANEL_DEPTH) {
        let starts = &starts[start..starts.len().min(start + PANEL_DEPTH)];
        for (index, segments) in panels.iter().enumerate() {
            simd(
                #[inline(always)]
                || patches(canvases, starts, segments, panel),
            );
            let column = index * PANEL_COLUMNS;
            // SAFETY: these columns lie within `out`, and the previous blocks have initialised them.
            unsafe { weight.times(start, panel, PANEL_COLUMNS.min(width - column), out.add(column), width) };
        }
    }
}

/// The segments of consecutive elements among the taps of a panel.
pub(crate) fn runs(taps: &[usize]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (column, &from) in taps.iter().enumerate() {
        match segments.last_mut() {
            Some(last) if last.from + last.len == from && last.len < SLACK => last.len += 1,
            _ => segments.push(Segment { column, len: 1, from }),
        }
    }
    segments
}
