//! The three products behind convolution and transposed convolution, on slices.
//!
//! A convolution maps an *image* (N, C, H, W) to a *map* (N, O, H', W') by a weight (O, C, kh, kw). A transposed
//! convolution is the adjoint, from map to image, so that both share the products here: image to map, map to image, and
//! the weight's gradient from both. Each is a matrix product with patches of the image (im2col), made for a few samples
//! at a time so that they stay in the cache.
#![expect(unsafe_code, reason = "matrix products take raw pointers, and tasks write parts of one output")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::buffer::{Out, build_raw, simd, sum1};
use super::matmul::{INNER_BLOCK, Matrix};
use super::real::Real;
use super::tile::{COLUMNS, Left};

/// Sizes of a convolution, seen from the image to the map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) samples: usize,
    /// Channels, height and width of the image.
    pub(super) image: [usize; 3],
    /// Channels, height and width of the map.
    pub(super) map: [usize; 3],
    /// Height and width of the kernel.
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Geometry {
    /// Elements of one kernel over all image channels: the rows of the patch matrix.
    fn patch(&self) -> usize {
        self.image[0] * self.taps()
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    fn map_len(&self) -> usize {
        self.map.iter().product()
    }

    /// Positions of the map: the columns of the patch matrix of one sample.
    fn positions(&self) -> usize {
        self.map[1] * self.map[2]
    }

    /// Samples whose patches go into one product: enough columns to fill the vector registers.
    fn group(&self) -> usize {
        (256 / self.positions().max(1)).clamp(1, self.samples.max(1))
    }

    /// Height and width of one phase of the padded image.
    fn phase(&self) -> [usize; 2] {
        [self.image[1], self.image[2]].map(|side| (side + 2 * self.padding).div_ceil(self.stride))
    }

    /// Elements of all phases of all channels of one padded image.
    fn phases_len(&self) -> usize {
        let [height, width] = self.phase();
        self.image[0] * self.stride * self.stride * height * width
    }

    /// Where, in the phases of an image, the map's position (0, 0) finds each row of the patch matrix. The other
    /// positions follow as rows and columns of that phase.
    fn starts(&self) -> Vec<usize> {
        let [height, width] = self.phase();
        let mut starts = Vec::with_capacity(self.patch());
        for channel in 0..self.image[0] {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let phase = (channel * self.stride + i % self.stride) * self.stride + j % self.stride;
                    starts.push((phase * height + i / self.stride) * width + j / self.stride);
                }
            }
        }
        starts
    }
}

/// Where one line of an image lies in the phases: every `stride`-th pixel from `x` on, at `at` and after.
#[derive(Clone, Copy)]
struct Comb {
    x: usize,
    at: usize,
}

impl Geometry {
    /// The comb of line `y` of a channel that starts at pixel `x`, less than the stride.
    #[inline(always)]
    fn comb(&self, channel: usize, y: usize, x: usize) -> Comb {
        let [height, width] = self.phase();
        let (y, padded) = (y + self.padding, x + self.padding);
        let phase = (channel * self.stride + y % self.stride) * self.stride + padded % self.stride;
        Comb { x, at: (phase * height + y / self.stride) * width + padded / self.stride }
    }
}

/// Splits an image (channels, H, W) into phases: with zeros around it, the pixels (y, x) of equal remainders by the
/// stride become one small image each. A row of the patch matrix is then a plain rectangle of one phase.
#[inline(always)]
fn split<T: Real>(g: &Geometry, image: &[T], phases: &mut [T]) {
    let [channels, height, width] = g.image;
    phases.fill(T::ZERO);
    let mut lines = image.chunks_exact(width.max(1));
    for channel in 0..channels {
        for (y, line) in (0..height).zip(&mut lines) {
            for x in 0..g.stride.min(width) {
                let Comb { x, at } = g.comb(channel, y, x);
                let to = &mut phases[at..at + (width - x).div_ceil(g.stride)];
                match g.stride {
                    1 => to.copy_from_slice(line),
                    2 => take_every(to, &line[x..], 2),
                    stride => take_every(to, &line[x..], stride),
                }
            }
        }
    }
}

#[inline(always)]
fn take_every<T: Copy>(to: &mut [T], from: &[T], stride: usize) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = from[i * stride];
    }
}

/// The inverse of [`split`], plus a value per channel: padding is dropped.
#[inline(always)]
fn join<T: Real>(g: &Geometry, phases: &[T], bias: Option<&[T]>, image: &mut [MaybeUninit<T>]) {
    let [channels, height, width] = g.image;
    let mut lines = image.chunks_exact_mut(width.max(1));
    for channel in 0..channels {
        let add = bias.map_or(T::ZERO, |bias| bias[channel]);
        for (y, line) in (0..height).zip(&mut lines) {
            let mut combs = [&phases[..0]; 2];
            if g.stride == 2 && width.is_multiple_of(2) {
                // Both combs at once, so that the line is written in whole registers.
                for (x, comb) in combs.iter_mut().enumerate() {
                    let at = g.comb(channel, y, x).at;
                    *comb = &phases[at..at + width / 2];
                }
                for ((to, &even), &odd) in line.as_chunks_mut::<2>().0.iter_mut().zip(combs[0]).zip(combs[1])
                {
                    to[0].write(even + add);
                    to[1].write(odd + add);
                }
                continue;
            }
            for x in 0..g.stride.min(width) {
                let Comb { x, at } = g.comb(channel, y, x);
                let from = &phases[at..at + (width - x).div_ceil(g.stride)];
                for (to, &from) in line[x..].chunks_mut(g.stride).zip(from) {
                    to[0].write(from + add);
                }
            }
        }
    }
}

/// A run of columns of a panel whose elements lie side by side.
#[derive(Clone, Copy, Default)]
struct Segment {
    /// Where in the panel.
    column: usize,
    len: usize,
    /// Where in memory, counted from where a row of the panel begins.
    from: usize,
}

/// The segments of the panel that starts at column `first` of a group's patch matrix.
fn segments(g: &Geometry, first: usize, width: usize) -> Vec<Segment> {
    let (positions, phase_width) = (g.positions(), g.phase()[1]);
    let mut segments = Vec::with_capacity(COLUMNS);
    let mut column = first;
    while column < width.min(first + COLUMNS) {
        let (sample, position) = (column / positions, column % positions);
        let (line, x) = (position / g.map[2], position % g.map[2]);
        let len = (g.map[2] - x).min(width.min(first + COLUMNS) - column);
        let from = sample * g.phases_len() + line * phase_width + x;
        segments.push(Segment { column: column - first, len, from });
        column += len;
    }
    segments
}

/// Fills the rows of a panel: each begins at its element of `starts` and is made of the segments.
#[inline(always)]
fn patches<T: Real>(phases: &[T], starts: &[usize], segments: &[Segment], panel: &mut [T]) {
    match segments.first().map_or(0, |segment| segment.len) {
        4 if even(segments, 4) => patch_lines::<T, 4>(phases, starts, segments, panel),
        8 if even(segments, 8) => patch_lines::<T, 8>(phases, starts, segments, panel),
        16 if even(segments, 16) => patch_lines::<T, 16>(phases, starts, segments, panel),
        _ => {
            for (row, &start) in panel.chunks_exact_mut(COLUMNS).zip(starts) {
                for &Segment { column, len, from } in segments {
                    let from = &phases[start + from..start + from + len];
                    for (to, &from) in row[column..column + len].iter_mut().zip(from) {
                        *to = from;
                    }
                }
            }
        }
    }
}

/// True if all segments have this length.
fn even(segments: &[Segment], len: usize) -> bool {
    segments.iter().all(|segment| segment.len == len)
}

/// The same for segments of a length that the compiler knows, so that a line is a register and not a call.
#[inline(always)]
fn patch_lines<T: Real, const LEN: usize>(
    phases: &[T],
    starts: &[usize],
    segments: &[Segment],
    panel: &mut [T],
) {
    for (row, &start) in panel.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(starts) {
        let phases = &phases[start..];
        for (to, segment) in row.as_chunks_mut::<LEN>().0.iter_mut().zip(segments) {
            if let Some(from) = phases[segment.from..].first_chunk::<LEN>() {
                *to = *from;
            }
        }
    }
}

/// Adds rows of the patch matrix back to the phases they came from: the adjoint of [`patches`].
#[inline(always)]
fn add_patches<T: Real>(g: &Geometry, patches: &[T], starts: &[usize], stride: usize, phases: &mut [T]) {
    let [_, map_height, map_width] = g.map;
    let phase_width = g.phase()[1];
    // Tap by tap over the channels: neighbouring taps of one channel overlap in memory, and reading what was just
    // written at another offset would wait for the store.
    let taps = g.taps();
    for index in (0..taps).flat_map(|tap| (tap..starts.len()).step_by(taps)) {
        let to = &mut phases[starts[index]..];
        let from = &patches[index * stride..index * stride + map_height * map_width];
        match map_width {
            4 => add_lines::<T, 4>(from, to, phase_width),
            8 => add_lines::<T, 8>(from, to, phase_width),
            16 => add_lines::<T, 16>(from, to, phase_width),
            _ => {
                for (line, from) in from.chunks_exact(map_width).enumerate() {
                    for (to, &from) in to[line * phase_width..].iter_mut().zip(from) {
                        *to += from;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_lines<T: Real, const WIDTH: usize>(from: &[T], to: &mut [T], stride: usize) {
    for (line, from) in from.as_chunks::<WIDTH>().0.iter().enumerate() {
        if let Some(to) = to[line * stride..].first_chunk_mut::<WIDTH>() {
            for (to, &from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }
}

/// Image (N, C, H, W), weight (O, C, kh, kw) and bias (O) → map (N, O, H', W').
pub(super) fn image_to_map<T: Real>(g: &Geometry, image: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (outputs, positions, patch, group) = (g.map[0], g.positions(), g.patch(), g.group());
    let starts = g.starts();
    // SAFETY: the weight is (O, C·kh·kw).
    let weight = unsafe { Left::pack(Matrix::rows(weight, patch), outputs, patch) };
    // SAFETY: the groups cover all samples, and each writes the maps of its samples completely.
    unsafe {
        build_raw(g.samples * g.map_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[phases, columns, product_out]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let width = count * positions;
                    let phases = scratch(phases, count * g.phases_len());
                    let columns = scratch(columns, INNER_BLOCK * COLUMNS);
                    let segments: Vec<_> =
                        (0..width).step_by(COLUMNS).map(|first| segments(g, first, width)).collect();
                    // One sample's map is the product itself; several are sorted out afterwards.
                    let direct = count == 1;
                    let product_out = scratch(product_out, if direct { 0 } else { outputs * width });
                    simd(
                        #[inline(always)]
                        || {
                            for sample in 0..count {
                                let image = &image[(first + sample) * g.image_len()..][..g.image_len()];
                                split(g, image, &mut phases[sample * g.phases_len()..][..g.phases_len()]);
                            }
                        },
                    );
                    let target = if direct { out.at(first * g.map_len()) } else { product_out.as_mut_ptr() };
                    for start in (0..patch).step_by(INNER_BLOCK) {
                        let starts = &starts[start..patch.min(start + INNER_BLOCK)];
                        for (panel, segments) in segments.iter().enumerate() {
                            simd(
                                #[inline(always)]
                                || patches(phases, starts, segments, columns),
                            );
                            let column = panel * COLUMNS;
                            let target = target.add(column);
                            weight.times(start, columns, COLUMNS.min(width - column), target, width);
                        }
                    }
                    for sample in 0..count {
                        for channel in 0..outputs {
                            let at = (first + sample) * g.map_len() + channel * positions;
                            let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                            if direct {
                                if bias.is_some() {
                                    for map in out.filled(at, positions) {
                                        *map += add;
                                    }
                                }
                            } else {
                                let from = &product_out[channel * width + sample * positions..][..positions];
                                for (map, &from) in out.slice(at, positions).iter_mut().zip(from) {
                                    map.write(from + add);
                                }
                            }
                        }
                    }
                });
            });
        })
    }
}

/// Map (N, O, H', W') and weight (O, C, kh, kw) and a bias of the image (C) → image (N, C, H, W).
pub(super) fn map_to_image<T: Real>(g: &Geometry, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (outputs, positions, patch, group) = (g.map[0], g.positions(), g.patch(), g.group());
    let starts = g.starts();
    // SAFETY: the weight is (O, C·kh·kw).
    let weight = unsafe { Left::pack(Matrix::rows(weight, patch).t(), patch, outputs) };
    // SAFETY: the groups cover all samples, and each writes the images of its samples completely.
    unsafe {
        build_raw(g.samples * g.image_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[phases, columns, maps]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let width = count * positions;
                    // Some rows at a time, so that they stay in the cache: a multiple of the panels' six.
                    let block = 384.min(patch);
                    let columns = scratch(columns, block * width);
                    let phases = scratch(phases, count * g.phases_len());
                    phases.fill(T::ZERO);
                    let panels = scratch(maps, width.div_ceil(COLUMNS) * COLUMNS * outputs);
                    for sample in 0..count {
                        let map = &map[(first + sample) * g.map_len()..][..g.map_len()];
                        map_panels(map, positions, outputs, sample * positions, panels);
                    }
                    for start in (0..patch).step_by(block.max(1)) {
                        let rows = start..patch.min(start + block);
                        for (panel, panels) in panels.chunks_exact((outputs * COLUMNS).max(1)).enumerate() {
                            let column = panel * COLUMNS;
                            for inner in (0..outputs).step_by(INNER_BLOCK) {
                                let right =
                                    &panels[inner * COLUMNS..outputs.min(inner + INNER_BLOCK) * COLUMNS];
                                let (len, out) =
                                    (COLUMNS.min(width - column), columns.as_mut_ptr().add(column));
                                weight.times_rows(inner, rows.clone(), right, len, out, width, inner > 0);
                            }
                        }
                        simd(
                            #[inline(always)]
                            || {
                                for sample in 0..count {
                                    let phases = &mut phases[sample * g.phases_len()..][..g.phases_len()];
                                    let columns = &columns[sample * positions..];
                                    add_patches(g, columns, &starts[rows.clone()], width, phases);
                                }
                            },
                        );
                    }
                    // The images of a group belong to one task.
                    let images = out.slice(first * g.image_len(), count * g.image_len());
                    simd(
                        #[inline(always)]
                        || {
                            for (sample, image) in images.chunks_exact_mut(g.image_len().max(1)).enumerate() {
                                let phases = &phases[sample * g.phases_len()..][..g.phases_len()];
                                join(g, phases, bias, image);
                            }
                        },
                    );
                });
            });
        })
    }
}

/// Copies the map of one sample (channels, positions) into panels of 64 columns, from column `first` on.
fn map_panels<T: Real>(map: &[T], positions: usize, channels: usize, first: usize, panels: &mut [T]) {
    let mut done = 0;
    while done < positions {
        let column = first + done;
        let len = (COLUMNS - column % COLUMNS).min(positions - done);
        let panel = &mut panels[column / COLUMNS * COLUMNS * channels..][..COLUMNS * channels];
        for (row, map) in panel.chunks_exact_mut(COLUMNS).zip(map.chunks_exact(positions)) {
            row[column % COLUMNS..column % COLUMNS + len].copy_from_slice(&map[done..done + len]);
        }
        done += len;
    }
}

/// The first `len` elements of a buffer, grown if it is too short. What is in them is left from before.
fn scratch<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

/// Image (N, C, H, W) and the gradient of the map (N, O, H', W') → gradient of the weight (O, C, kh, kw).
///
/// The inner dimension of this product runs over the positions of all samples. Tasks split the columns of the result
/// and, where that makes too few tasks, the positions, whose parts are then added in order. How many there are depends
/// on shapes only.
pub(super) fn weight_gradient<T: Real>(g: &Geometry, image: &[T], map: &[T]) -> Vec<T> {
    let (outputs, positions, patch) = (g.map[0], g.positions(), g.patch());
    let inner = g.samples * positions;
    let blocks = inner.div_ceil(INNER_BLOCK);
    let panels = patch.div_ceil(COLUMNS);
    let parts = 16usize.div_ceil(panels.max(1)).min(blocks).max(1);
    let blocks_in_part = blocks.div_ceil(parts);

    let left = Left::pack_maps(map, outputs, positions, g.samples);
    // One phase of stride 1 is the image with its padding, in which a line of the kernel is one run.
    let padded = Geometry { stride: 1, ..*g };
    let (padded_len, padded_width) = (padded.phases_len(), padded.phase()[1]);
    let mut images = vec![T::ZERO; g.samples * padded_len];
    if padded_len > 0 && g.image_len() > 0 {
        images.par_chunks_exact_mut(padded_len).zip(image.par_chunks_exact(g.image_len())).for_each(
            |(to, image)| {
                simd(
                    #[inline(always)]
                    || split(&padded, image, to),
                );
            },
        );
    }
    let mut starts = Vec::with_capacity(inner);
    for sample in 0..g.samples {
        for y in 0..g.map[1] {
            let line = sample * padded_len + y * g.stride * padded_width;
            starts.extend((0..g.map[2]).map(|x| line + x * g.stride));
        }
    }
    let taps = padded.starts();
    let mut sums = vec![T::ZERO; parts * outputs * patch];
    let out = Out::of(&mut sums);
    (0..parts * panels).into_par_iter().for_each(|index| {
        let (part, panel) = (index / panels, index % panels);
        let column = panel * COLUMNS;
        let segments = runs(&taps[column..patch.min(column + COLUMNS)]);
        let columns = COLUMNS.min(patch - column);
        T::with_scratch(|[rows, _, _]| {
            for block in part * blocks_in_part..blocks.min((part + 1) * blocks_in_part) {
                let start = block * INNER_BLOCK;
                let starts = &starts[start..inner.min(start + INNER_BLOCK)];
                let rows = scratch(rows, starts.len() * COLUMNS);
                simd(
                    #[inline(always)]
                    || patches(&images, starts, &segments, rows),
                );
                let to = out.at(part * outputs * patch + column);
                // SAFETY: these columns of this part are one task's, and the zeros that it adds to are initialised.
                unsafe { left.times_rows(start, 0..outputs, rows, columns, to, patch, true) };
            }
        });
    });
    let rest = sums.split_off(outputs * patch);
    if parts > 1 {
        let len = sums.len();
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

/// The runs of consecutive elements among the taps of a panel.
fn runs(taps: &[usize]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (column, &from) in taps.iter().enumerate() {
        match segments.last_mut() {
            Some(last) if last.from + last.len == from => last.len += 1,
            _ => segments.push(Segment { column, len: 1, from }),
        }
    }
    segments
}

/// Σ over all but the channels of (N, channels, plane): the gradient of a bias.
pub(super) fn channel_sums<T: Real>(data: &[T], samples: usize, channels: usize) -> Vec<T> {
    let plane = data.len() / (samples * channels).max(1);
    let mut sums = vec![T::ZERO; channels];
    sums.par_iter_mut().enumerate().for_each(|(channel, sum)| {
        let total: f64 = simd(
            #[inline(always)]
            || {
                (0..samples)
                    .map(|sample| {
                        sum1(
                            &data[(sample * channels + channel) * plane..][..plane],
                            #[inline(always)]
                            |x| x,
                        )
                    })
                    .sum()
            },
        );
        *sum = T::from_f64(total);
    });
    sums
}
