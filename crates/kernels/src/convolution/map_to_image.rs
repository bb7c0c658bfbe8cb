//! The adjoint of a convolution: map to image.
#![expect(unsafe_code, reason = "tasks write parts of one output")]

use rayon::prelude::*;

use crate::buffer::{Out, build_raw};
use crate::convolution::canvas::{Canvas, interleave};
use crate::convolution::patches::{segments, times_patches};
use crate::geometry::Geometry;
use crate::packed::PackedLeft;
use crate::real::Real;
use crate::scratch::scratch;
use crate::simd::simd;
use crate::tile::{CHUNK, PANEL_COLUMNS, PANEL_DEPTH, RightSide};
use crate::winograd::Winograd;

/// Map (N, O, H', W'), weight (O, C, kh, kw) and a bias of the image (C) → image (N, C, H, W).
///
/// The pixels of one phase are a convolution of the map with stride 1, whose kernel consists of the taps of
/// that phase. So each pixel is computed in one step, and no partial sums go through memory.
pub(crate) fn map_to_image<T: Real>(g: &Geometry, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.map_to_image(map, weight, bias);
    }
    if g.patch() <= NARROW {
        return map_to_narrow_image(g, map, weight, bias);
    }
    let ([channels, height, width], group) = (g.image, g.group());
    let canvas = Canvas::of_map(g);
    let (rows, columns) = (phases(g, 0), phases(g, 1));
    let of_row =
        |row| columns.iter().map(|column| PhaseKernel::new(g, &canvas, weight, [row, column])).collect();
    let kernels: Vec<Vec<PhaseKernel<T>>> = rows.iter().map(of_row).collect();
    // SAFETY: the groups cover all samples, and each group writes all images of its samples.
    unsafe {
        build_raw(g.samples * g.image_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[canvases, panel, products]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let canvases = canvas.write_all(&map[first * g.map_len()..], count, canvases);
                    for (row, kernels) in rows.iter().zip(&kernels) {
                        // The phases of one row phase make up whole rows of the image.
                        let mut rest = scratch(products, channels * count * row.count * width);
                        let mut parts = Vec::with_capacity(columns.len());
                        for (column, kernel) in columns.iter().zip(kernels) {
                            let width = count * row.count * column.count;
                            let (part, after) = rest.split_at_mut(channels * width);
                            rest = after;
                            let panels = segments(&canvas, [row.count, column.count], width);
                            let target = (part.as_mut_ptr(), width);
                            times_patches(&kernel.weight, canvases, &kernel.starts, &panels, panel, target);
                            parts.push(&*part);
                        }
                        for sample in 0..count {
                            for channel in 0..channels {
                                let image = ((first + sample) * channels + channel) * height * width;
                                let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                                let line = (channel * count + sample) * row.count;
                                simd(
                                    #[inline(always)]
                                    || {
                                        for y in 0..row.count {
                                            let at = image + (row.first + y * g.stride[0]) * width;
                                            let phase = |x: usize| &parts[x][(line + y) * columns[x].count..];
                                            interleave(parts.len(), phase, add, out.slice(at, width));
                                        }
                                    },
                                );
                            }
                        }
                    }
                });
            });
        })
    }
}

/// The pixels along one side whose places in the padded image have the same remainder modulo the stride. They
/// meet every stride-th tap of the kernel, and a contiguous run of positions of the map.
struct Phase {
    /// The first pixel.
    first: usize,
    /// Number of pixels, which are one stride apart.
    count: usize,
    /// The first tap. The others are one stride apart.
    tap: usize,
    /// The position of the map where the first pixel meets the first tap. It meets each further tap
    /// one position earlier.
    position: usize,
}

/// The phases along axis `i` (0 for the height, 1 for the width), in the order of their first pixels.
fn phases(g: &Geometry, i: usize) -> Vec<Phase> {
    let (side, stride, padding) = (g.image[i + 1], g.stride[i], g.padding[i]);
    let phase = |first: usize| Phase {
        first,
        count: side.saturating_sub(first).div_ceil(stride),
        tap: (first + padding) % stride,
        position: (first + padding) / stride,
    };
    (0..stride.min(side)).map(phase).collect()
}

/// The taps that the pixels of a row phase and a column phase meet.
struct PhaseKernel<T> {
    weight: PackedLeft<T>,
    /// For each tap, the offset in the map's canvas of the element that the first pixel of the phase meets.
    starts: Vec<usize>,
}

impl<T: Real> PhaseKernel<T> {
    fn new(g: &Geometry, canvas: &Canvas, weight: &[T], [vertical, horizontal]: [&Phase; 2]) -> Self {
        let (mut starts, mut places) = (Vec::new(), Vec::new());
        for output in 0..g.map[0] {
            for (back_y, i) in (vertical.tap..g.kernel[0]).step_by(g.stride[0]).enumerate() {
                for (back_x, j) in (horizontal.tap..g.kernel[1]).step_by(g.stride[1]).enumerate() {
                    let y = canvas.before[0] + vertical.position - back_y;
                    let x = canvas.before[1] + horizontal.position - back_x;
                    starts.push(canvas.place(output, y, x));
                    places.push(output * g.patch() + i * g.kernel[1] + j);
                }
            }
        }
        Self { weight: PackedLeft::pack(weight, (g.image[0], g.taps()), &places), starts }
    }
}

/// Longest patch for which [`map_to_narrow_image`] is used.
const NARROW: usize = 192;

/// [`map_to_image`] for images with few channels. One product per sample reads the map in place and computes
/// all patches. These are then added to the image in the order of the rows of the patch matrix.
fn map_to_narrow_image<T: Real>(g: &Geometry, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let ([channels, height, width], outputs, positions, patch) =
        (g.image, g.map[0], g.positions(), g.patch());
    let canvas = Canvas::of_image(g);
    let starts = canvas.starts(g.kernel);
    let weight = PackedLeft::pack(weight, (patch, 1), &(0..outputs).map(|o| o * patch).collect::<Vec<_>>());
    // The columns after the last whole chunk are copied, because chunks are read as a whole.
    let (whole, rest) = (positions / CHUNK * CHUNK, positions % CHUNK);
    // SAFETY: the task of each sample writes all rows of its image.
    unsafe {
        build_raw(g.samples * g.image_len(), |out: Out<T>| {
            (0..g.samples).into_par_iter().for_each(|sample| {
                T::with_scratch(|[sums, patches, last]| {
                    let map = &map[sample * g.map_len()..][..g.map_len()];
                    let sums = scratch(sums, canvas.len());
                    let patches = scratch(patches, patch * positions);
                    let last = scratch(last, outputs * CHUNK);
                    if rest > 0 {
                        for (to, from) in last.chunks_exact_mut(CHUNK).zip(map.chunks_exact(positions)) {
                            to[..rest].copy_from_slice(&from[whole..]);
                        }
                    }
                    for start in (0..outputs).step_by(PANEL_DEPTH) {
                        for column in (0..whole).step_by(PANEL_COLUMNS) {
                            let data = &map[start * positions + column..];
                            let right = RightSide { data, inner: positions, chunk: CHUNK };
                            let columns = PANEL_COLUMNS.min(whole - column);
                            let to = patches[column..].as_mut_ptr();
                            weight.times_columns(start, right, columns, to, positions, start > 0);
                        }
                        if rest > 0 {
                            let right =
                                RightSide { data: &last[start * CHUNK..], inner: CHUNK, chunk: CHUNK };
                            let to = patches[whole..].as_mut_ptr();
                            weight.times_columns(start, right, rest, to, positions, start > 0);
                        }
                    }
                    simd(
                        #[inline(always)]
                        || {
                            sums.fill(T::ZERO);
                            for (patch, &start) in patches.chunks_exact(positions).zip(&starts) {
                                for (y, line) in patch.chunks_exact(g.map[2]).enumerate() {
                                    let sums = &mut sums[start + y * canvas.size[1]..][..line.len()];
                                    for (sum, &x) in sums.iter_mut().zip(line) {
                                        *sum += x;
                                    }
                                }
                            }
                            for channel in 0..channels {
                                let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                                for y in 0..height {
                                    let at = ((sample * channels + channel) * height + y) * width;
                                    canvas.read_line(sums, [channel, y], add, out.slice(at, width));
                                }
                            }
                        },
                    );
                });
            });
        })
    }
}
