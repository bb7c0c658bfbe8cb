//! The gradient of a convolution's weight.
#![expect(unsafe_code, reason = "tasks write parts of one buffer")]

use rayon::prelude::*;

use crate::buffer::Out;
use crate::convolution::canvas::{Canvas, SLACK};
use crate::convolution::patches::{patches, runs};
use crate::dots::{Dots, PARTIAL_SUMS};
use crate::geometry::Geometry;
use crate::packed::PackedLeft;
use crate::real::Real;
use crate::scratch::scratch;
use crate::simd::simd;
use crate::tile::{PANEL_COLUMNS, PANEL_DEPTH};
use crate::winograd::Winograd;

/// Image (N, C, H, W) and gradient of the map (N, O, H', W') → gradient of the weight (O, C, kh, kw).
///
/// The inner dimension of this product runs over the positions of all samples. The columns of the result are
/// divided between tasks. If that gives too few tasks, the positions are divided into parts too, whose
/// results are then added in order. The number of parts depends on shapes only.
pub(crate) fn weight_gradient<T: Real>(g: &Geometry, image: &[T], map: &[T]) -> Vec<T> {
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.weight_gradient(image, map);
    }
    if g.patch() <= FEW_TAPS {
        return narrow_weight_gradient(g, image, map);
    }
    let (outputs, patch) = (g.map[0], g.patch());
    let inner = g.samples * g.positions();
    let blocks = inner.div_ceil(PANEL_DEPTH);
    let panels = patch.div_ceil(PANEL_COLUMNS);
    let parts = 16usize.div_ceil(panels.max(1)).min(blocks).max(1);
    let blocks_in_part = blocks.div_ceil(parts);

    let left = PackedLeft::pack_maps(map, outputs, g.positions(), g.samples);
    let canvas = Canvas::of_whole_image(g);
    let canvases = canvases_of(g, &canvas, image);
    let starts = window_starts(g, &canvas);
    let taps = canvas.starts(g.kernel);
    let mut sums = vec![T::ZERO; parts * outputs * patch];
    let out = Out::of(&mut sums);
    (0..parts * panels).into_par_iter().for_each(|index| {
        let (part, panel) = (index / panels, index % panels);
        let column = panel * PANEL_COLUMNS;
        let segments = runs(&taps[column..patch.min(column + PANEL_COLUMNS)]);
        let columns = PANEL_COLUMNS.min(patch - column);
        T::with_scratch(|[rows, _, _]| {
            for block in part * blocks_in_part..blocks.min((part + 1) * blocks_in_part) {
                let start = block * PANEL_DEPTH;
                let starts = &starts[start..inner.min(start + PANEL_DEPTH)];
                let rows = scratch(rows, starts.len() * PANEL_COLUMNS + SLACK);
                simd(
                    #[inline(always)]
                    || patches(&canvases, starts, &segments, rows),
                );
                let rows = &rows[..starts.len() * PANEL_COLUMNS];
                let to = out.at(part * outputs * patch + column);
                // SAFETY: only this task writes these columns of this part, which are initialised with zeros.
                unsafe { left.times_rows(start, rows, columns, to, patch, true) };
            }
        });
    });
    add_parts(sums, outputs * patch)
}

/// The canvases of all samples, one after another.
fn canvases_of<T: Real>(g: &Geometry, canvas: &Canvas, image: &[T]) -> Vec<T> {
    let mut canvases = vec![T::ZERO; g.samples * canvas.len() + SLACK];
    if g.image_len() > 0 {
        let images = image.par_chunks_exact(g.image_len());
        canvases.par_chunks_exact_mut(canvas.len()).zip(images).for_each(|(to, image)| {
            simd(
                #[inline(always)]
                || canvas.write(image, to),
            );
        });
    }
    canvases
}

/// The offset in the canvases of the window of each position of each sample.
fn window_starts(g: &Geometry, canvas: &Canvas) -> Vec<usize> {
    let mut starts = Vec::with_capacity(g.samples * g.positions());
    for sample in 0..g.samples {
        for y in 0..g.map[1] {
            let line = sample * canvas.len() + y * g.stride[0] * canvas.size[1];
            starts.extend((0..g.map[2]).map(|x| line + x * g.stride[1]));
        }
    }
    starts
}

/// Adds the parts, of `len` elements each, in order.
fn add_parts<T: Real>(mut parts: Vec<T>, len: usize) -> Vec<T> {
    let rest = parts.split_off(len);
    let mut sums = parts;
    if !rest.is_empty() {
        sums.par_chunks_mut(1 << 12).enumerate().for_each(|(index, sums)| {
            for part in rest.chunks_exact(len) {
                for (sum, &x) in sums.iter_mut().zip(&part[index << 12..]) {
                    *sum += x;
                }
            }
        });
    }
    sums
}

/// Longest patch for which [`narrow_weight_gradient`] is used.
const FEW_TAPS: usize = 64;

/// Number of samples that one task of [`narrow_weight_gradient`] sums over.
const SAMPLES: usize = 4;

/// [`weight_gradient`] for images with few channels: dot products of the rows of the map with those of the
/// patch matrix. Parts of a few samples are added in order.
fn narrow_weight_gradient<T: Real>(g: &Geometry, image: &[T], map: &[T]) -> Vec<T> {
    let (outputs, positions, patch) = (g.map[0], g.positions(), g.patch());
    let canvas = Canvas::of_image(g);
    let starts = canvas.starts(g.kernel);
    let part = |first: usize| {
        let mut sums = vec![[T::ZERO; PARTIAL_SUMS]; outputs * patch];
        T::with_scratch(|[canvases, patches, _]| {
            let patches = scratch(patches, patch * positions);
            for sample in first..g.samples.min(first + SAMPLES) {
                let image = &image[sample * g.image_len()..];
                let canvases = canvas.write_all(image, 1, canvases);
                for (patch, &start) in patches.chunks_exact_mut(positions).zip(&starts) {
                    for (y, line) in patch.chunks_exact_mut(g.map[2]).enumerate() {
                        line.copy_from_slice(&canvases[start + y * canvas.size[1]..][..line.len()]);
                    }
                }
                let left = &map[sample * g.map_len()..][..g.map_len()];
                T::dots(Dots { left, right: patches, len: positions, sums: &mut sums });
            }
        });
        sums.iter().map(|lanes| lanes.iter().copied().sum()).collect::<Vec<T>>()
    };
    let parts: Vec<Vec<T>> = (0..g.samples).into_par_iter().step_by(SAMPLES).map(part).collect();
    let mut total = vec![T::ZERO; outputs * patch];
    for part in parts {
        for (total, x) in total.iter_mut().zip(part) {
            *total += x;
        }
    }
    total
}
