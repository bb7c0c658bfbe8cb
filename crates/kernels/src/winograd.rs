//! The three products of a convolution whose kernel is two or three strides wide, by minimal filtering.
//!
//! The image, with its padding, is split into phases by the stride and laid out channel last, so that one position holds a
//! run of `depth` = channels · stride² numbers, and the convolution becomes one of stride 1 with a kernel of two or three
//! taps a side. Tiles of 2 × 2 outputs then need 9 products instead of 16 (3 taps: 16 instead of 36) an input channel and
//! output channel, tiles of 4 × 4 need 25 instead of 64 ([`super::filtering`]). For each point of the transformed tile there is one matrix product over the
//! channels, all operands of which lie in memory as the innermost loop reads them. Input channels and output channels must be multiples
//! of 16, so that runs are whole registers.
#![expect(unsafe_code, reason = "tasks write parts of one buffer, which is not zeroed first")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::activation::Activation;
use super::buffer::{Out, build, build_raw, lend, simd};
use super::convolution::{Geometry, scratch};
use super::filtering::{
    Filter22, Filter23, Filter42, FilterAdjoint22, FilterAdjoint23, FilterAdjoint42, Input22, Input23,
    Input42, InputAdjoint22, InputAdjoint23, InputAdjoint42, Output22, Output23, Output42, OutputAdjoint22,
    OutputAdjoint23, OutputAdjoint42, Tiles, Transform, Walk,
};
use super::layout::{NOWHERE, channels_first, channels_last};
use super::real::Real;
use super::tile::{CHUNK, COLUMNS, Columns, DEPTH, Panel, Rows};

/// The transforms of F(M, R), which has N = M + R − 1 points.
trait Scheme<const M: usize, const R: usize, const N: usize> {
    type Input: Transform<N, N>;
    type InputAdjoint: Transform<N, N>;
    type Filter: Transform<R, N>;
    type FilterAdjoint: Transform<N, R>;
    type Output: Transform<N, M>;
    type OutputAdjoint: Transform<M, N>;
}

macro_rules! scheme {
    ($name:ident, $m:literal, $r:literal, $n:literal:
     $input:ident, $input_adjoint:ident, $filter:ident, $filter_adjoint:ident, $output:ident, $output_adjoint:ident) => {
        struct $name;

        impl Scheme<$m, $r, $n> for $name {
            type Input = $input;
            type InputAdjoint = $input_adjoint;
            type Filter = $filter;
            type FilterAdjoint = $filter_adjoint;
            type Output = $output;
            type OutputAdjoint = $output_adjoint;
        }
    };
}

scheme!(F22, 2, 2, 3: Input22, InputAdjoint22, Filter22, FilterAdjoint22, Output22, OutputAdjoint22);
scheme!(F23, 2, 3, 4: Input23, InputAdjoint23, Filter23, FilterAdjoint23, Output23, OutputAdjoint23);
scheme!(F42, 4, 2, 5: Input42, InputAdjoint42, Filter42, FilterAdjoint42, Output42, OutputAdjoint42);

/// Outputs of a map, all samples together, whose products are made together: enough rows for the weights to be worth
/// fetching.
const GROUP: usize = 256;

/// A convolution that can go this way.
pub(super) struct Winograd<'a> {
    g: &'a Geometry,
    /// Taps of the kernel in a phase, along one side.
    taps: usize,
    /// Outputs of a tile, along one side.
    tile: usize,
}

impl<'a> Winograd<'a> {
    /// The convolution, if it fits. That does not depend on the number of samples.
    pub(super) fn of(g: &'a Geometry) -> Option<Self> {
        let taps = g.kernel[0] / g.stride;
        let square = g.kernel == [taps * g.stride; 2];
        let whole =
            [g.image[0], g.map[0]].iter().all(|channels| *channels > 0 && channels.is_multiple_of(CHUNK));
        // Larger tiles take fewer products an output, but more weights, which small maps would not repay.
        let points = |tile: usize| -> usize {
            g.map[1..].iter().map(|side| side.div_ceil(tile) * (tile + taps - 1)).product()
        };
        let large = taps == 2 && g.map[1..].iter().all(|side| *side > 4) && points(4) < points(2);
        let tile = if large { 4 } else { 2 };
        (square && whole && matches!(taps, 2 | 3)).then_some(Self { g, taps, tile })
    }

    /// Image (N, C, H, W), weight (O, C, kh, kw) and bias (O) → map (N, O, H', W'), through an activation.
    pub(super) fn image_to_map<T: Real>(
        &self,
        image: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
    ) -> Vec<T> {
        match (self.tile, self.taps) {
            (4, _) => self.to_map::<T, F42, 4, 2, 5>(image, weight, bias, activation),
            (_, 2) => self.to_map::<T, F22, 2, 2, 3>(image, weight, bias, activation),
            _ => self.to_map::<T, F23, 2, 3, 4>(image, weight, bias, activation),
        }
    }

    /// Map (N, O, H', W'), weight (O, C, kh, kw) and a bias of the image (C) → image (N, C, H, W).
    pub(super) fn map_to_image<T: Real>(&self, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        match (self.tile, self.taps) {
            (4, _) => self.to_image::<T, F42, 4, 2, 5>(map, weight, bias),
            (_, 2) => self.to_image::<T, F22, 2, 2, 3>(map, weight, bias),
            _ => self.to_image::<T, F23, 2, 3, 4>(map, weight, bias),
        }
    }

    /// Image (N, C, H, W) and the gradient of the map (N, O, H', W') → gradient of the weight (O, C, kh, kw).
    pub(super) fn weight_gradient<T: Real>(&self, image: &[T], map: &[T]) -> Vec<T> {
        match (self.tile, self.taps) {
            (4, _) => self.to_weight::<T, F42, 4, 2, 5>(image, map),
            (_, 2) => self.to_weight::<T, F22, 2, 2, 3>(image, map),
            _ => self.to_weight::<T, F23, 2, 3, 4>(image, map),
        }
    }

    /// Numbers at a position of the canvas.
    fn depth(&self) -> usize {
        self.g.image[0] * self.g.stride * self.g.stride
    }

    fn outputs(&self) -> usize {
        self.g.map[0]
    }

    /// Tiles down and across a map.
    fn tiles(&self) -> [usize; 2] {
        [self.g.map[1].div_ceil(self.tile), self.g.map[2].div_ceil(self.tile)]
    }

    fn tiles_in_map(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Height and width of the canvas, a sample's image by phases with all that its tiles look at.
    fn canvas(&self) -> [usize; 2] {
        self.tiles().map(|tiles| self.tile * tiles + self.taps - 1)
    }

    fn canvas_len(&self) -> usize {
        self.canvas().iter().product::<usize>() * apart(self.depth())
    }

    /// Elements of a sample's map, channel last, with its last tiles whole.
    fn whole_map_len(&self) -> usize {
        self.tile * self.tile * self.tiles_in_map() * apart(self.outputs())
    }

    /// Samples whose tiles are multiplied together; a power of two, so that the usual batches are shared out evenly.
    fn group(&self) -> usize {
        GROUP
            .div_ceil((self.tile * self.tile * self.tiles_in_map()).max(1))
            .next_power_of_two()
            .min(self.g.samples.max(1))
    }

    /// The tiles of a canvas.
    fn on_canvas(&self) -> Walk {
        let (row, position) = (self.canvas()[1] * apart(self.depth()), apart(self.depth()));
        Walk { start: 0, tile: [self.tile * row, self.tile * position], entry: [row, position], chunk: CHUNK }
    }

    /// The tiles of a map, channel last.
    fn on_map(&self) -> Walk {
        let (row, position) = (self.tile * self.tiles()[1] * apart(self.outputs()), apart(self.outputs()));
        Walk { start: 0, tile: [self.tile * row, self.tile * position], entry: [row, position], chunk: CHUNK }
    }

    /// The tiles of one sample, from tile `first` on, among matrices of `count` tiles and rows of `step`, one a point.
    fn on_points<const N: usize>(&self, first: usize, count: usize, step: usize) -> Walk {
        Walk {
            start: first * step,
            tile: [self.tiles()[1] * step, step],
            entry: [N * count * step, count * step],
            chunk: CHUNK,
        }
    }

    /// The same among matrices of chunks of 16 columns of `count` rows (points, columns/16, tiles, 16).
    fn on_chunks<const N: usize>(&self, first: usize, count: usize, columns: usize) -> Walk {
        let point = count * columns;
        Walk {
            start: first * CHUNK,
            tile: [self.tiles()[1] * CHUNK, CHUNK],
            entry: [N * point, point],
            chunk: count * CHUNK,
        }
    }

    /// Where the phases of a kernel are in `[taps][16]`, and the taps of a phase.
    fn on_kernel(&self) -> Walk {
        let (s, row) = (self.g.stride, self.g.kernel[1] * CHUNK);
        Walk { start: 0, tile: [row, CHUNK], entry: [s * row, s * CHUNK], chunk: CHUNK }
    }

    /// The phases of the kernel of input channel 0 in matrices of one a point, in which input channels are `step` apart.
    fn on_weights<const N: usize>(&self, start: usize, step: usize) -> Walk {
        let (s, phase) = (self.g.stride, self.g.image[0] * step);
        let point = self.depth() * self.outputs();
        Walk { start, tile: [s * phase, phase], entry: [N * point, point], chunk: CHUNK }
    }

    /// The weight (O, C, kh, kw) at all points, as right sides of products: by chunks of 16 outputs (points, O/16, depth, 16), or,
    /// `transposed`, by chunks of the depth (points, depth/16, O, 16).
    fn points<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        weight: &[T],
        transposed: bool,
        points: &mut [T],
    ) {
        let (inputs, outputs, depth) = (self.g.image[0], self.outputs(), self.depth());
        let area = self.g.kernel[0] * self.g.kernel[1];
        // The channels that are chunked, and those that each chunk runs through.
        let (chunked, inner) = if transposed { (inputs, outputs) } else { (outputs, inputs) };
        let places: Vec<usize> = (0..area).map(|tap| tap * CHUNK).collect();
        let out = Out::of(points);
        (0..chunked / CHUNK).into_par_iter().for_each(|chunk| {
            let mut kernels = vec![T::ZERO; area * CHUNK];
            for i in 0..inner {
                let c = chunk * CHUNK;
                let (output, input) = if transposed { (i, c) } else { (c, i) };
                let step = if transposed { area } else { inputs * area };
                let from = &weight[(output * inputs + input) * area..];
                channels_last(from, step, CHUNK, &places, &mut kernels);
                let to = if transposed {
                    self.on_weights::<N>((chunk * outputs + i) * CHUNK, outputs)
                } else {
                    self.on_weights::<N>((chunk * depth + i) * CHUNK, CHUNK)
                };
                let tiles = Tiles {
                    count: [self.g.stride; 2],
                    channels: CHUNK,
                    source: &kernels,
                    from: self.on_kernel(),
                    target: out.at(0),
                    to,
                    add: false,
                };
                // SAFETY: each chunk has rows of its own in the matrices of all points.
                unsafe { tiles.transform::<S::Filter, R, N>() };
            }
        });
    }

    fn to_map<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        image: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
    ) -> Vec<T> {
        let (g, group, depth, outputs) = (self.g, self.group(), self.depth(), self.outputs());
        let (image_places, map_places) = (self.image_places(), self.map_places());
        lend([N * N * depth * outputs], |[weights]| {
            self.points::<T, S, M, R, N>(weight, false, weights);
            let weights = &*weights;
            // SAFETY: the groups cover all samples, and each writes the maps of its samples completely.
            unsafe {
                build_raw(g.samples * g.map_len(), |out: Out<T>| {
                    (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                        T::with_scratch(|[work, inputs, products]| {
                            let samples = index * group..g.samples.min((index + 1) * group);
                            let count = samples.len() * self.tiles_in_map();
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let inputs = scratch(inputs, N * N * count * depth);
                            let products = scratch(products, N * N * count * outputs);
                            for (i, sample) in samples.clone().enumerate() {
                                let image = &image[sample * g.image_len()..][..g.image_len()];
                                let to = self.on_points::<N>(i * self.tiles_in_map(), count, depth);
                                self.look::<T, S, M, R, N>(
                                    image,
                                    &image_places,
                                    work,
                                    inputs.as_mut_ptr(),
                                    to,
                                );
                            }
                            multiply::<T, N>(inputs, weights, products, [count, depth, outputs]);
                            for (i, sample) in samples.enumerate() {
                                Tiles {
                                    count: self.tiles(),
                                    channels: outputs,
                                    source: products,
                                    from: self.on_points::<N>(i * self.tiles_in_map(), count, outputs),
                                    target: work.as_mut_ptr(),
                                    to: self.on_map(),
                                    add: false,
                                }
                                .transform::<S::Output, N, M>();
                                let (at, plane) = (sample * g.map_len(), map_places.len());
                                channels_first(work, &map_places, outputs, plane, out.slice(at, g.map_len()));
                                finish(out.filled(at, g.map_len()), outputs, bias, activation);
                            }
                        });
                    });
                })
            }
        })
    }

    /// The tiles of one image at all points.
    ///
    /// # Safety
    /// `target` must be writable by this caller alone where `to` says.
    unsafe fn look<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        image: &[T],
        places: &[usize],
        work: &mut [T],
        target: *mut T,
        to: Walk,
    ) {
        let canvas = &mut work[..self.canvas_len()];
        canvas.fill(T::ZERO);
        channels_last(image, places.len(), self.g.image[0], places, canvas);
        let (count, channels, from) = (self.tiles(), self.depth(), self.on_canvas());
        let tiles = Tiles { count, channels, source: canvas, from, target, to, add: false };
        // SAFETY: promised by the caller.
        unsafe { tiles.transform::<S::Input, N, N>() };
    }

    /// The tiles of one map's gradient at all points.
    ///
    /// # Safety
    /// As for [`Winograd::look`].
    unsafe fn spread<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        map: &[T],
        places: &[usize],
        work: &mut [T],
        target: *mut T,
        to: Walk,
    ) {
        let whole = &mut work[..self.whole_map_len()];
        if self.tiles().map(|tiles| tiles * self.tile) != self.g.map[1..] {
            whole.fill(T::ZERO);
        }
        channels_last(map, places.len(), self.outputs(), places, whole);
        let (count, channels, from) = (self.tiles(), self.outputs(), self.on_map());
        let tiles = Tiles { count, channels, source: whole, from, target, to, add: false };
        // SAFETY: promised by the caller.
        unsafe { tiles.transform::<S::OutputAdjoint, M, N>() };
    }

    /// Where the canvas has each pixel of the image.
    fn image_places(&self) -> Vec<usize> {
        let (s, [rows, columns]) = (self.g.stride, self.canvas());
        let [channels, height, width] = self.g.image;
        let place = |y: usize, x: usize| {
            let (y, x) = (y + self.g.padding, x + self.g.padding);
            let position = (y / s * columns + x / s) * apart(self.depth());
            let inside = y / s < rows && x / s < columns;
            if inside { position + (y % s * s + x % s) * channels } else { NOWHERE }
        };
        (0..height * width).map(|i| place(i / width, i % width)).collect()
    }

    /// Where each position of the map is among whole tiles, channel last.
    fn map_places(&self) -> Vec<usize> {
        let [_, height, width] = self.g.map;
        let columns = self.tile * self.tiles()[1];
        (0..height * width).map(|i| (i / width * columns + i % width) * apart(self.outputs())).collect()
    }

    fn to_image<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        map: &[T],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> Vec<T> {
        let (g, group, depth, outputs) = (self.g, self.group(), self.depth(), self.outputs());
        let (image_places, map_places) = (self.image_places(), self.map_places());
        lend([N * N * depth * outputs], |[weights]| {
            self.points::<T, S, M, R, N>(weight, true, weights);
            let weights = &*weights;
            // SAFETY: the groups cover all samples, and each writes the images of its samples completely.
            unsafe {
                build_raw(g.samples * g.image_len(), |out: Out<T>| {
                    (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                        T::with_scratch(|[work, inputs, products]| {
                            let samples = index * group..g.samples.min((index + 1) * group);
                            let count = samples.len() * self.tiles_in_map();
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let inputs = scratch(inputs, N * N * count * outputs);
                            let products = scratch(products, N * N * count * depth);
                            for (i, sample) in samples.clone().enumerate() {
                                let map = &map[sample * g.map_len()..][..g.map_len()];
                                let to = self.on_points::<N>(i * self.tiles_in_map(), count, outputs);
                                self.spread::<T, S, M, R, N>(map, &map_places, work, inputs.as_mut_ptr(), to);
                            }
                            multiply::<T, N>(inputs, weights, products, [count, outputs, depth]);
                            for (i, sample) in samples.enumerate() {
                                let canvas = &mut work[..self.canvas_len()];
                                canvas.fill(T::ZERO);
                                Tiles {
                                    count: self.tiles(),
                                    channels: depth,
                                    source: products,
                                    from: self.on_points::<N>(i * self.tiles_in_map(), count, depth),
                                    target: canvas.as_mut_ptr(),
                                    to: self.on_canvas(),
                                    add: true,
                                }
                                .transform::<S::InputAdjoint, N, N>();
                                let (at, plane) = (sample * g.image_len(), image_places.len());
                                let image = out.slice(at, g.image_len());
                                channels_first(canvas, &image_places, g.image[0], plane, image);
                                finish(out.filled(at, g.image_len()), g.image[0], bias, Activation::Identity);
                            }
                        });
                    });
                })
            }
        })
    }

    /// The inner dimension of these products runs over the tiles of all samples. It is cut into blocks of samples, which are
    /// transformed and then multiplied, so that what is between these stays in the caches. Blocks are added in order.
    fn to_weight<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        image: &[T],
        map: &[T],
    ) -> Vec<T> {
        let (g, depth, outputs) = (self.g, self.depth(), self.outputs());
        let (image_places, map_places) = (self.image_places(), self.map_places());
        let block = (2 * DEPTH / self.tiles_in_map()).clamp(1, g.samples.max(1));
        let most = block * self.tiles_in_map();
        lend(
            [N * N * most * depth, N * N * most * outputs, N * N * depth * outputs],
            |[seen, spread, sums]| {
                if g.samples == 0 {
                    sums.fill(T::ZERO);
                }
                for start in (0..g.samples).step_by(block) {
                    let samples = block.min(g.samples - start);
                    let count = samples * self.tiles_in_map();
                    let (to_seen, to_spread) = (Out::of(seen), Out::of(spread));
                    (0..2 * samples).into_par_iter().for_each(|task| {
                        T::with_scratch(|[work, _, _]| {
                            let (i, sample) = (task / 2, start + task / 2);
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let first = i * self.tiles_in_map();
                            // SAFETY: each sample's tiles are rows of their own in the matrices of all points.
                            unsafe {
                                if task % 2 == 0 {
                                    let image = &image[sample * g.image_len()..][..g.image_len()];
                                    let to = self.on_chunks::<N>(first, count, depth);
                                    self.look::<T, S, M, R, N>(image, &image_places, work, to_seen.at(0), to);
                                } else {
                                    let map = &map[sample * g.map_len()..][..g.map_len()];
                                    let to = self.on_chunks::<N>(first, count, outputs);
                                    self.spread::<T, S, M, R, N>(map, &map_places, work, to_spread.at(0), to);
                                }
                            }
                        });
                    });
                    multiply_transposed::<T, N>(seen, spread, sums, [depth, count, outputs], start > 0);
                }
                self.kernels::<T, S, M, R, N>(sums)
            },
        )
    }

    /// The gradient of the weight (O, C, kh, kw) from that at all points, (points, depth, O).
    fn kernels<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        points: &[T],
    ) -> Vec<T> {
        let (inputs, outputs) = (self.g.image[0], self.outputs());
        let area = self.g.kernel[0] * self.g.kernel[1];
        let places: Vec<usize> = (0..area).map(|tap| tap * CHUNK).collect();
        let len = CHUNK * inputs * area;
        let write = |chunk: usize, weight: &mut [MaybeUninit<T>]| {
            let mut kernels = vec![T::ZERO; area * CHUNK];
            for input in 0..inputs {
                let tiles = Tiles {
                    count: [self.g.stride; 2],
                    channels: CHUNK,
                    source: points,
                    from: self.on_weights::<N>(input * outputs + chunk * CHUNK, outputs),
                    target: kernels.as_mut_ptr(),
                    to: self.on_kernel(),
                    add: false,
                };
                // SAFETY: the phases of a kernel fill it.
                unsafe { tiles.transform::<S::FilterAdjoint, N, R>() };
                let to = &mut weight[input * area..];
                channels_first(&kernels, &places, CHUNK, inputs * area, to);
            }
        };
        // SAFETY: each chunk of outputs gets the kernels of all inputs.
        unsafe { build(outputs * inputs * area, len, write) }
    }
}

/// `products` (points, rows, columns) = `left` (points, rows, inner) · `right` (points, columns/16, inner, 16).
fn multiply<T: Real, const N: usize>(
    left: &[T],
    right: &[T],
    products: &mut [T],
    [rows, inner, columns]: [usize; 3],
) {
    for point in 0..N * N {
        let left = &left[point * rows * inner..][..rows * inner];
        let right = &right[point * inner * columns..][..inner * columns];
        let products = &mut products[point * rows * columns..][..rows * columns];
        for column in (0..columns).step_by(COLUMNS) {
            for start in (0..inner).step_by(DEPTH) {
                let panel = Panel {
                    rows,
                    inner: DEPTH.min(inner - start),
                    columns: COLUMNS.min(columns - column),
                    left: Rows::Strided { data: &left[start..], row: inner, inner: 1 },
                    right: Columns {
                        data: &right[column * inner + start * CHUNK..],
                        inner: CHUNK,
                        chunk: inner * CHUNK,
                    },
                    out: products[column..].as_mut_ptr(),
                    stride: columns,
                    accumulate: start > 0,
                };
                // SAFETY: the panel's rows and columns lie within `products`, which is this function's alone.
                unsafe { T::multiply(panel) };
            }
        }
    }
}

/// `products` (points, rows, columns) = `left` (points, rows/16, inner, 16)ᵀ · `right` (points, columns/16, inner, 16), plus
/// `products` if `accumulate`.
fn multiply_transposed<T: Real, const N: usize>(
    left: &[T],
    right: &[T],
    products: &mut [T],
    [rows, inner, columns]: [usize; 3],
    accumulate: bool,
) {
    let panels = columns.div_ceil(COLUMNS);
    let out = Out::of(products);
    (0..N * N * panels).into_par_iter().for_each(|index| {
        let (point, column) = (index / panels, index % panels * COLUMNS);
        for start in (0..inner).step_by(DEPTH) {
            let right = &right[(point * columns + column) * inner + start * CHUNK..];
            for row in (0..rows).step_by(CHUNK) {
                let left = &left[(point * rows + row) * inner + start * CHUNK..];
                let panel = Panel {
                    rows: CHUNK,
                    inner: DEPTH.min(inner - start),
                    columns: COLUMNS.min(columns - column),
                    left: Rows::Strided { data: left, row: 1, inner: CHUNK },
                    right: Columns { data: right, inner: CHUNK, chunk: inner * CHUNK },
                    out: out.at((point * rows + row) * columns + column),
                    stride: columns,
                    accumulate: accumulate || start > 0,
                };
                // SAFETY: these columns of this point are one task's, and they are initialised.
                unsafe { T::multiply(panel) };
            }
        }
    });
}

/// From a position's run of channels to the next: rows a power of two apart would meet in few lines of the nearest cache.
fn apart(channels: usize) -> usize {
    channels + CHUNK
}

/// Adds a bias to planes, one a channel, and applies an activation.
fn finish<T: Real>(planes: &mut [T], channels: usize, bias: Option<&[T]>, activation: Activation) {
    if bias.is_none() && activation.is_identity() {
        return;
    }
    let len = planes.len() / channels;
    for (channel, plane) in planes.chunks_exact_mut(len.max(1)).enumerate() {
        let add = bias.map_or(T::ZERO, |bias| bias[channel]);
        simd(
            #[inline(always)]
            || {
                for x in &mut *plane {
                    *x += add;
                }
                activation.apply(plane);
            },
        );
    }
}
