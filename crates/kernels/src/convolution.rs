//! The three products behind convolution and transposed convolution, on slices.
//!
//! A convolution maps an *image* (N, C, H, W) to a *map* (N, O, H', W') by a weight (O, C, kh, kw). A transposed
//! convolution is the adjoint, from map to image, so that both share the products here: image to map, map to image, and
//! the weight's gradient from both. Each is a matrix product with patches of the image (im2col), made for a few samples
//! at a time so that they stay in the cache.
#![expect(unsafe_code, reason = "matrix products take raw pointers, and tasks write parts of one output")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::activation::Activation;
use super::buffer::{Out, build_raw, simd, sum1};
use super::count::count;
use super::dots::{Dots, LANES};
use super::real::Real;
use super::tile::{CHUNK, COLUMNS, Columns, DEPTH, Left};
use super::winograd::Winograd;

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
    /// Every entry of the map meets every weight of its output channel: in each of the three products.
    fn count(&self) {
        count(&[self.samples, self.map_len(), self.patch()]);
    }

    /// Elements of one kernel over all image channels: the rows of the patch matrix.
    fn patch(&self) -> usize {
        self.image[0] * self.taps()
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(super) fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    pub(super) fn map_len(&self) -> usize {
        self.map.iter().product()
    }

    /// Positions of the map: the columns of the patch matrix of one sample.
    fn positions(&self) -> usize {
        self.map[1] * self.map[2]
    }

    /// Samples whose patches go into one product: enough columns that a last panel which is not full hardly counts. A
    /// power of two, so that the usual batches are shared out evenly.
    fn group(&self) -> usize {
        128usize.div_ceil(self.positions().max(1)).next_power_of_two().min(self.samples.max(1))
    }

    /// The image with its padding, split so that a row of the patch matrix is a plain rectangle.
    fn image_canvas(&self) -> Canvas {
        let size = [self.image[1], self.image[2]].map(|side| (side + 2 * self.padding).div_ceil(self.stride));
        Canvas { source: self.image, before: [self.padding; 2], stride: self.stride, size }
    }

    /// The image with its padding, in which a line of the kernel is one run.
    fn plain_canvas(&self) -> Canvas {
        Self { stride: 1, ..*self }.image_canvas()
    }

    /// The map with as many zeros around it as the pixels of the image reach over its edge.
    fn map_canvas(&self) -> Canvas {
        let before = self.kernel.map(|side| (side - 1) / self.stride);
        let side = |i: usize| {
            let reach = (self.image[i + 1] + self.padding).div_ceil(self.stride);
            before[i] + reach.max(self.map[i + 1])
        };
        Canvas { source: self.map, before, stride: 1, size: [side(0), side(1)] }
    }
}

/// An image (channels, H, W) with zeros around it, split into phases: the pixels (y, x) of equal remainders by the stride
/// become one small image each, stride² of them a channel.
#[derive(Clone, Copy)]
struct Canvas {
    source: [usize; 3],
    /// Zeros above and to the left.
    before: [usize; 2],
    stride: usize,
    /// Height and width of a phase.
    size: [usize; 2],
}

impl Canvas {
    fn len(&self) -> usize {
        self.source[0] * self.stride * self.stride * self.size[0] * self.size[1]
    }

    /// Where pixel (y, x) of the padded image is; the pixels a stride further are its neighbours.
    #[inline(always)]
    fn place(&self, channel: usize, y: usize, x: usize) -> usize {
        let phase = (channel * self.stride + y % self.stride) * self.stride + x % self.stride;
        (phase * self.size[0] + y / self.stride) * self.size[1] + x / self.stride
    }

    /// Where the map's position (0, 0) finds each row of the patch matrix. Other positions lie as far from there as
    /// lines and columns of a phase do.
    fn starts(&self, kernel: [usize; 2]) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.source[0] * kernel[0] * kernel[1]);
        for channel in 0..self.source[0] {
            for i in 0..kernel[0] {
                starts.extend((0..kernel[1]).map(|j| self.place(channel, i, j)));
            }
        }
        starts
    }

    /// Paints an image.
    #[inline(always)]
    fn paint<T: Real>(&self, image: &[T], canvas: &mut [T]) {
        let [channels, height, width] = self.source;
        canvas.fill(T::ZERO);
        let mut lines = image.chunks_exact(width.max(1));
        for channel in 0..channels {
            for (y, line) in (0..height).zip(&mut lines) {
                for x in 0..self.stride.min(width) {
                    let at = self.place(channel, y + self.before[0], x + self.before[1]);
                    let to = &mut canvas[at..at + (width - x).div_ceil(self.stride)];
                    match self.stride {
                        1 => to.copy_from_slice(line),
                        2 => take_every(to, &line[x..], 2),
                        stride => take_every(to, &line[x..], stride),
                    }
                }
            }
        }
    }

    /// Writes a line of an image, plus a value, from the canvas.
    #[inline(always)]
    fn read_line<T: Real>(
        &self,
        canvas: &[T],
        [channel, y]: [usize; 2],
        add: T,
        line: &mut [MaybeUninit<T>],
    ) {
        let part = |x: usize| &canvas[self.place(channel, y + self.before[0], x + self.before[1])..];
        match self.stride {
            1 => join(&[part(0)], add, line),
            2 if line.len() > 1 => join(&[part(0), part(1)], add, line),
            stride => join(&(0..stride.min(line.len())).map(part).collect::<Vec<_>>(), add, line),
        }
    }

    /// Paints `count` images one after another, with [`SLACK`] after the last.
    #[inline(always)]
    fn paint_all<'a, T: Real>(&self, images: &[T], count: usize, canvases: &'a mut Vec<T>) -> &'a [T] {
        let (from, to) = (self.source.iter().product::<usize>(), self.len());
        let canvases = scratch(canvases, count * to + SLACK);
        simd(
            #[inline(always)]
            || {
                for sample in 0..count {
                    self.paint(&images[sample * from..][..from], &mut canvases[sample * to..][..to]);
                }
            },
        );
        canvases
    }
}

#[inline(always)]
fn take_every<T: Copy>(to: &mut [T], from: &[T], stride: usize) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = from[i * stride];
    }
}

/// A run of columns of a panel whose elements lie side by side.
#[derive(Clone, Copy, Default)]
struct Segment {
    /// Where in the panel.
    column: usize,
    /// At most [`SLACK`].
    len: usize,
    /// Where in memory, counted from where a row of the panel begins.
    from: usize,
}

/// Elements that a copy may go over the end of a segment: it copies a whole register, and what is over is written again
/// by the segment after it, or lies in columns that nobody reads. So buffers of both sides are longer by as much.
const SLACK: usize = 16;

/// The segments of each panel of a group's patch matrix of `width` columns: rectangles of `rows` × `columns` positions, one
/// a sample.
fn segments(canvas: &Canvas, [rows, columns]: [usize; 2], width: usize) -> Vec<Vec<Segment>> {
    let mut panels = Vec::with_capacity(width.div_ceil(COLUMNS));
    for first in (0..width).step_by(COLUMNS) {
        let end = width.min(first + COLUMNS);
        let mut panel = Vec::with_capacity(COLUMNS);
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

/// Fills the rows of a panel: each begins at its element of `starts` and is made of the segments, in their order.
#[inline(always)]
fn patches<T: Real>(canvases: &[T], starts: &[usize], segments: &[Segment], panel: &mut [T]) {
    match segments.iter().map(|segment| segment.len).max().unwrap_or(0) {
        0..=4 => patch_lines::<T, 4>(canvases, starts, segments, panel),
        5..=8 => patch_lines::<T, 8>(canvases, starts, segments, panel),
        _ => patch_lines::<T, SLACK>(canvases, starts, segments, panel),
    }
}

#[inline(always)]
fn patch_lines<T: Real, const LEN: usize>(
    canvases: &[T],
    starts: &[usize],
    segments: &[Segment],
    panel: &mut [T],
) {
    assert!(panel.len() >= starts.len() * COLUMNS + SLACK);
    for (row, &start) in starts.iter().enumerate() {
        let (from, to) = (&canvases[start..], &mut panel[row * COLUMNS..][..COLUMNS + SLACK]);
        for segment in segments {
            if let (Some(from), Some(to)) =
                (from[segment.from..].first_chunk::<LEN>(), to[segment.column..].first_chunk_mut::<LEN>())
            {
                *to = *from;
            }
        }
    }
}

/// `out` (rows of `width` elements) = `weight` · the patch matrix whose rows begin at `starts`; zeros if it has none.
///
/// # Safety
/// `out` must be writable by this caller alone for the weight's rows of `width` elements.
unsafe fn times_patches<T: Real>(
    weight: &Left<T>,
    canvases: &[T],
    starts: &[usize],
    panels: &[Vec<Segment>],
    panel: &mut Vec<T>,
    (out, width): (*mut T, usize),
) {
    if starts.is_empty() {
        // SAFETY: promised by the caller; zeros are numbers.
        unsafe { out.write_bytes(0, weight.rows() * width) };
    }
    let panel = scratch(panel, DEPTH * COLUMNS + SLACK);
    for start in (0..starts.len()).step_by(DEPTH) {
        let starts = &starts[start..starts.len().min(start + DEPTH)];
        for (index, segments) in panels.iter().enumerate() {
            simd(
                #[inline(always)]
                || patches(canvases, starts, segments, panel),
            );
            let column = index * COLUMNS;
            // SAFETY: these columns lie within `out`, and the blocks before this one have written them.
            unsafe { weight.times(start, panel, COLUMNS.min(width - column), out.add(column), width) };
        }
    }
}

/// Image (N, C, H, W), weight (O, C, kh, kw) and bias (O) → map (N, O, H', W'), through an activation.
pub(super) fn image_to_map<T: Real>(
    g: &Geometry,
    image: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
) -> Vec<T> {
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.image_to_map(image, weight, bias, activation);
    }
    let (outputs, positions, patch, group) = (g.map[0], g.positions(), g.patch(), g.group());
    let canvas = g.image_canvas();
    let starts = canvas.starts(g.kernel);
    let weight = Left::pack(weight, (outputs, patch), &(0..patch).collect::<Vec<_>>());
    // SAFETY: the groups cover all samples, and each writes the maps of its samples completely.
    unsafe {
        build_raw(g.samples * g.map_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[canvases, panel, product]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let width = count * positions;
                    let canvases = canvas.paint_all(&image[first * g.image_len()..], count, canvases);
                    let panels = segments(&canvas, [g.map[1], g.map[2]], width);
                    // One sample's map is the product itself; several are sorted out afterwards.
                    let direct = count == 1;
                    let product = scratch(product, if direct { 0 } else { outputs * width });
                    let target = if direct { out.at(first * g.map_len()) } else { product.as_mut_ptr() };
                    times_patches(&weight, canvases, &starts, &panels, panel, (target, width));
                    for sample in 0..count {
                        for channel in 0..outputs {
                            let at = (first + sample) * g.map_len() + channel * positions;
                            let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                            if !direct {
                                let from = &product[channel * width + sample * positions..][..positions];
                                for (map, &from) in out.slice(at, positions).iter_mut().zip(from) {
                                    map.write(from);
                                }
                            }
                            if bias.is_some() || !activation.is_identity() {
                                let map = out.filled(at, positions);
                                simd(
                                    #[inline(always)]
                                    || {
                                        for map in &mut *map {
                                            *map += add;
                                        }
                                        activation.apply(map);
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

/// The pixels of an image whose places in the padded image leave one remainder by the stride, along one side. They meet
/// every stride-th tap of the kernel, and a plain run of positions of the map.
struct Phase {
    /// The first pixel.
    first: usize,
    /// How many pixels there are, a stride apart.
    count: usize,
    /// The first tap; the others are a stride apart.
    tap: usize,
    /// The position of the map where the first pixel meets the first tap; it meets each further tap one before that.
    position: usize,
}

impl Geometry {
    /// The phases along side `i`, 0 for the height and 1 for the width, in the order of their first pixels.
    fn phases(&self, i: usize) -> Vec<Phase> {
        let side = self.image[i + 1];
        let phase = |first: usize| {
            let tap = (first + self.padding) % self.stride;
            let count = side.saturating_sub(first).div_ceil(self.stride);
            Phase { first, count, tap, position: (first + self.padding) / self.stride }
        };
        (0..self.stride.min(side)).map(phase).collect()
    }
}

/// Map (N, O, H', W') and weight (O, C, kh, kw) and a bias of the image (C) → image (N, C, H, W).
///
/// Pixels of one phase are a convolution of stride 1 of the map, with the taps of that phase as its kernel. So each
/// pixel is computed at once, and nothing is added up in memory.
pub(super) fn map_to_image<T: Real>(g: &Geometry, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.map_to_image(map, weight, bias);
    }
    if g.patch() <= NARROW {
        return map_to_narrow_image(g, map, weight, bias);
    }
    let ([channels, height, width], group) = (g.image, g.group());
    let canvas = g.map_canvas();
    let (rows, columns) = (g.phases(0), g.phases(1));
    let kernel = |vertical: &Phase, horizontal: &Phase| {
        let (mut starts, mut places) = (Vec::new(), Vec::new());
        for output in 0..g.map[0] {
            for (back_y, i) in (vertical.tap..g.kernel[0]).step_by(g.stride).enumerate() {
                for (back_x, j) in (horizontal.tap..g.kernel[1]).step_by(g.stride).enumerate() {
                    let y = canvas.before[0] + vertical.position - back_y;
                    let x = canvas.before[1] + horizontal.position - back_x;
                    starts.push(canvas.place(output, y, x));
                    places.push(output * g.patch() + i * g.kernel[1] + j);
                }
            }
        }
        (Left::pack(weight, (channels, g.taps()), &places), starts)
    };
    let kernels: Vec<Vec<_>> =
        rows.iter().map(|row| columns.iter().map(|column| kernel(row, column)).collect()).collect();
    // SAFETY: the groups cover all samples, and each writes the images of its samples completely.
    unsafe {
        build_raw(g.samples * g.image_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[canvases, panel, products]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let canvases = canvas.paint_all(&map[first * g.map_len()..], count, canvases);
                    for (row, kernels) in rows.iter().zip(&kernels) {
                        // Side by side, the phases of a row of phases make whole lines.
                        let len = channels * count * row.count * width;
                        let mut rest = scratch(products, len);
                        let mut parts = Vec::with_capacity(columns.len());
                        for (column, (weight, starts)) in columns.iter().zip(kernels) {
                            let width = count * row.count * column.count;
                            let (part, after) = rest.split_at_mut(channels * width);
                            rest = after;
                            let panels = segments(&canvas, [row.count, column.count], width);
                            let target = (part.as_mut_ptr(), width);
                            times_patches(weight, canvases, starts, &panels, panel, target);
                            parts.push(&*part);
                        }
                        let mut lines = Vec::with_capacity(parts.len());
                        for sample in 0..count {
                            for channel in 0..channels {
                                let image = ((first + sample) * channels + channel) * height * width;
                                let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                                let line = (channel * count + sample) * row.count;
                                simd(
                                    #[inline(always)]
                                    || {
                                        for y in 0..row.count {
                                            let at = image + (row.first + y * g.stride) * width;
                                            let phases = parts.iter().zip(&columns);
                                            let line = phases
                                                .map(|(part, column)| &part[(line + y) * column.count..]);
                                            lines.clear();
                                            lines.extend(line);
                                            join(&lines, add, out.slice(at, width));
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

/// The longest patch that [`map_to_narrow_image`] takes.
const NARROW: usize = 192;

/// [`map_to_image`] where an image has few channels: all patches by one product for each sample, which reads the map where
/// it lies, and then added up. The sums run in the order of the patch's rows.
fn map_to_narrow_image<T: Real>(g: &Geometry, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let ([channels, height, width], outputs, positions, patch) =
        (g.image, g.map[0], g.positions(), g.patch());
    let canvas = g.image_canvas();
    let starts = canvas.starts(g.kernel);
    let weight = Left::pack(weight, (patch, 1), &(0..outputs).map(|o| o * patch).collect::<Vec<_>>());
    // Columns after the last whole chunk are copied, since a chunk is read whole.
    let (whole, rest) = (positions / CHUNK * CHUNK, positions % CHUNK);
    // SAFETY: each sample's task writes all lines of its image.
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
                    for start in (0..outputs).step_by(DEPTH) {
                        for column in (0..whole).step_by(COLUMNS) {
                            let data = &map[start * positions + column..];
                            let right = Columns { data, inner: positions, chunk: CHUNK };
                            let columns = COLUMNS.min(whole - column);
                            let to = patches[column..].as_mut_ptr();
                            weight.times_columns(start, right, columns, to, positions, start > 0);
                        }
                        if rest > 0 {
                            let right = Columns { data: &last[start * CHUNK..], inner: CHUNK, chunk: CHUNK };
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

/// Writes a line of an image from the lines of its phases, plus a value.
#[inline(always)]
fn join<T: Real>(phases: &[&[T]], add: T, line: &mut [MaybeUninit<T>]) {
    match *phases {
        [only] => {
            for (to, &from) in line.iter_mut().zip(only) {
                to.write(from + add);
            }
        }
        [even, odd] if line.len().is_multiple_of(2) => {
            for ((to, &even), &odd) in line.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                to[0].write(even + add);
                to[1].write(odd + add);
            }
        }
        _ => {
            for (x, phase) in phases.iter().enumerate() {
                for (to, &from) in line[x..].iter_mut().step_by(phases.len()).zip(*phase) {
                    to.write(from + add);
                }
            }
        }
    }
}

/// The first `len` elements of a buffer, grown if it is too short. What is in them is left from before.
pub(super) fn scratch<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
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
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.weight_gradient(image, map);
    }
    if g.patch() <= FEW_TAPS {
        return narrow_weight_gradient(g, image, map);
    }
    let (outputs, positions, patch) = (g.map[0], g.positions(), g.patch());
    let inner = g.samples * positions;
    let blocks = inner.div_ceil(DEPTH);
    let panels = patch.div_ceil(COLUMNS);
    let parts = 16usize.div_ceil(panels.max(1)).min(blocks).max(1);
    let blocks_in_part = blocks.div_ceil(parts);

    let left = Left::pack_maps(map, outputs, positions, g.samples);
    let canvas = g.plain_canvas();
    let mut canvases = vec![T::ZERO; g.samples * canvas.len() + SLACK];
    if g.image_len() > 0 {
        let images = image.par_chunks_exact(g.image_len());
        canvases.par_chunks_exact_mut(canvas.len()).zip(images).for_each(|(to, image)| {
            simd(
                #[inline(always)]
                || canvas.paint(image, to),
            );
        });
    }
    let mut starts = Vec::with_capacity(inner);
    for sample in 0..g.samples {
        for y in 0..g.map[1] {
            let line = sample * canvas.len() + y * g.stride * canvas.size[1];
            starts.extend((0..g.map[2]).map(|x| line + x * g.stride));
        }
    }
    let taps = canvas.starts(g.kernel);
    let mut sums = vec![T::ZERO; parts * outputs * patch];
    let out = Out::of(&mut sums);
    (0..parts * panels).into_par_iter().for_each(|index| {
        let (part, panel) = (index / panels, index % panels);
        let column = panel * COLUMNS;
        let segments = runs(&taps[column..patch.min(column + COLUMNS)]);
        let columns = COLUMNS.min(patch - column);
        T::with_scratch(|[rows, _, _]| {
            for block in part * blocks_in_part..blocks.min((part + 1) * blocks_in_part) {
                let start = block * DEPTH;
                let starts = &starts[start..inner.min(start + DEPTH)];
                let rows = scratch(rows, starts.len() * COLUMNS + SLACK);
                simd(
                    #[inline(always)]
                    || patches(&canvases, starts, &segments, rows),
                );
                let rows = &rows[..starts.len() * COLUMNS];
                let to = out.at(part * outputs * patch + column);
                // SAFETY: these columns of this part are one task's, and the zeros that it adds to are initialised.
                unsafe { left.times_rows(start, rows, columns, to, patch, true) };
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

/// The longest patch that [`narrow_weight_gradient`] takes.
const FEW_TAPS: usize = 64;

/// Samples whose sums run on in one task of [`narrow_weight_gradient`].
const SAMPLES: usize = 4;

/// [`weight_gradient`] where an image has few channels: rows of the map with rows of the patch matrix, as both lie in memory. Parts
/// of a few samples are added in order.
fn narrow_weight_gradient<T: Real>(g: &Geometry, image: &[T], map: &[T]) -> Vec<T> {
    let (outputs, positions, patch) = (g.map[0], g.positions(), g.patch());
    let canvas = g.image_canvas();
    let starts = canvas.starts(g.kernel);
    let part = |first: usize| {
        let mut sums = vec![[T::ZERO; LANES]; outputs * patch];
        T::with_scratch(|[canvases, patches, _]| {
            let patches = scratch(patches, patch * positions);
            for sample in first..g.samples.min(first + SAMPLES) {
                let image = &image[sample * g.image_len()..];
                let canvases = canvas.paint_all(image, 1, canvases);
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

/// The runs of consecutive elements among the taps of a panel.
fn runs(taps: &[usize]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (column, &from) in taps.iter().enumerate() {
        match segments.last_mut() {
            Some(last) if last.from + last.len == from && last.len < SLACK => last.len += 1,
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
