//! The three products of a convolution by minimal filtering.
#![expect(unsafe_code, reason = "tasks write parts of one buffer, which is not zeroed first")]

use rayon::prelude::*;

use crate::activation::Activation;
use crate::buffer::{Out, build_raw};
use crate::float::Float;
use crate::layout::{channels_first, channels_last};
use crate::real::Real;
use crate::scratch::{lend, scratch};
use crate::tile::PANEL_DEPTH;
use crate::winograd::multiply::{multiply, multiply_transposed};
use crate::winograd::plan::Winograd;
use crate::winograd::tiles::{Tiles, Walk};
use crate::winograd::transforms::{F22, F23, F42, F43, F45, Scheme};

impl Winograd<'_> {
    /// Image (N, C, H, W), weight (O, C, kh, kw) and bias (O) → map (N, O, H', W'), followed by an
    /// activation.
    pub(crate) fn image_to_map<T: Real>(
        &self,
        image: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
    ) -> Vec<T> {
        match [self.tile[1], self.taps[1]] {
            [_, 5] => self.to_map::<T, F45, 4, 5, 8>(image, weight, bias, activation),
            [4, 3] => self.to_map::<T, F43, 4, 3, 6>(image, weight, bias, activation),
            [4, _] => self.to_map::<T, F42, 4, 2, 5>(image, weight, bias, activation),
            [_, 2] => self.to_map::<T, F22, 2, 2, 3>(image, weight, bias, activation),
            _ => self.to_map::<T, F23, 2, 3, 4>(image, weight, bias, activation),
        }
    }

    /// Map (N, O, H', W'), weight (O, C, kh, kw) and a bias of the image (C) → image (N, C, H, W).
    pub(crate) fn map_to_image<T: Real>(&self, map: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        match [self.tile[1], self.taps[1]] {
            [_, 5] => self.to_image::<T, F45, 4, 5, 8>(map, weight, bias),
            [4, 3] => self.to_image::<T, F43, 4, 3, 6>(map, weight, bias),
            [4, _] => self.to_image::<T, F42, 4, 2, 5>(map, weight, bias),
            [_, 2] => self.to_image::<T, F22, 2, 2, 3>(map, weight, bias),
            _ => self.to_image::<T, F23, 2, 3, 4>(map, weight, bias),
        }
    }

    /// Image (N, C, H, W) and gradient of the map (N, O, H', W') → gradient of the weight (O, C, kh, kw).
    pub(crate) fn weight_gradient<T: Real>(&self, image: &[T], map: &[T]) -> Vec<T> {
        match [self.tile[1], self.taps[1]] {
            [_, 5] => self.to_weight::<T, F45, 4, 5, 8>(image, map),
            [4, 3] => self.to_weight::<T, F43, 4, 3, 6>(image, map),
            [4, _] => self.to_weight::<T, F42, 4, 2, 5>(image, map),
            [_, 2] => self.to_weight::<T, F22, 2, 2, 3>(image, map),
            _ => self.to_weight::<T, F23, 2, 3, 4>(image, map),
        }
    }

    fn to_map<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        image: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
    ) -> Vec<T> {
        let (g, group, depth, outputs) = (self.g, self.group(), self.depth(), self.outputs());
        let (points, image_places, map_places) = (self.points(N), self.image_places(), self.map_places());
        lend([points * depth * outputs], |[weights]| {
            self.transform_weights::<T, S, M, R, N>(weight, false, weights);
            let weights = &*weights;
            // SAFETY: the groups cover all samples, and each group writes all maps of its samples.
            unsafe {
                build_raw(g.samples * g.map_len(), |out: Out<T>| {
                    (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                        T::with_scratch(|[work, inputs, products]| {
                            let samples = index * group..g.samples.min((index + 1) * group);
                            let count = samples.len() * self.tiles_in_map();
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let inputs = scratch(inputs, points * count * depth);
                            let products = scratch(products, points * count * outputs);
                            for (i, sample) in samples.clone().enumerate() {
                                let image = &image[sample * g.image_len()..][..g.image_len()];
                                let to = self.on_points::<N>(i * self.tiles_in_map(), count, depth);
                                self.transform_image::<T, S, M, R, N>(
                                    image,
                                    &image_places,
                                    work,
                                    inputs.as_mut_ptr(),
                                    to,
                                );
                            }
                            multiply(inputs, weights, products, points, [count, depth, outputs]);
                            for (i, sample) in samples.enumerate() {
                                let tiles = Tiles {
                                    count: self.tiles(),
                                    channels: outputs,
                                    flat: self.flat(),
                                    source: products,
                                    from: self.on_points::<N>(i * self.tiles_in_map(), count, outputs),
                                    target: work.as_mut_ptr(),
                                    to: self.on_map(),
                                    add: false,
                                };
                                T::transform::<S::Output, N, M>(tiles);
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

    /// Transforms the tiles of one image to all points.
    ///
    /// # Safety
    /// `target` must be writable by this caller alone at all offsets of `to`.
    unsafe fn transform_image<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
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
        let tiles =
            Tiles { count, channels, flat: self.flat(), source: canvas, from, target, to, add: false };
        // SAFETY: guaranteed by the caller.
        unsafe { T::transform::<S::Input, N, N>(tiles) };
    }

    /// Transforms the tiles of one map, or of its gradient, to all points.
    ///
    /// # Safety
    /// As for [`Winograd::transform_image`].
    unsafe fn transform_map<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        map: &[T],
        places: &[usize],
        work: &mut [T],
        target: *mut T,
        to: Walk,
    ) {
        let whole = &mut work[..self.whole_map_len()];
        if [0, 1].map(|i| self.tiles()[i] * self.tile[i]) != self.g.map[1..] {
            whole.fill(T::ZERO);
        }
        channels_last(map, places.len(), self.outputs(), places, whole);
        let (count, channels, from) = (self.tiles(), self.outputs(), self.on_map());
        let tiles = Tiles { count, channels, flat: self.flat(), source: whole, from, target, to, add: false };
        // SAFETY: guaranteed by the caller.
        unsafe { T::transform::<S::OutputAdjoint, M, N>(tiles) };
    }

    fn to_image<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        map: &[T],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> Vec<T> {
        let (g, group, depth, outputs) = (self.g, self.group(), self.depth(), self.outputs());
        let (points, image_places, map_places) = (self.points(N), self.image_places(), self.map_places());
        lend([points * depth * outputs], |[weights]| {
            self.transform_weights::<T, S, M, R, N>(weight, true, weights);
            let weights = &*weights;
            // SAFETY: the groups cover all samples, and each group writes all images of its samples.
            unsafe {
                build_raw(g.samples * g.image_len(), |out: Out<T>| {
                    (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                        T::with_scratch(|[work, inputs, products]| {
                            let samples = index * group..g.samples.min((index + 1) * group);
                            let count = samples.len() * self.tiles_in_map();
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let inputs = scratch(inputs, points * count * outputs);
                            let products = scratch(products, points * count * depth);
                            for (i, sample) in samples.clone().enumerate() {
                                let map = &map[sample * g.map_len()..][..g.map_len()];
                                let to = self.on_points::<N>(i * self.tiles_in_map(), count, outputs);
                                self.transform_map::<T, S, M, R, N>(
                                    map,
                                    &map_places,
                                    work,
                                    inputs.as_mut_ptr(),
                                    to,
                                );
                            }
                            multiply(inputs, weights, products, points, [count, outputs, depth]);
                            for (i, sample) in samples.enumerate() {
                                let canvas = &mut work[..self.canvas_len()];
                                canvas.fill(T::ZERO);
                                let tiles = Tiles {
                                    count: self.tiles(),
                                    channels: depth,
                                    flat: self.flat(),
                                    source: products,
                                    from: self.on_points::<N>(i * self.tiles_in_map(), count, depth),
                                    target: canvas.as_mut_ptr(),
                                    to: self.on_canvas(),
                                    add: true,
                                };
                                T::transform::<S::InputAdjoint, N, N>(tiles);
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

    /// The inner dimension of these products runs over the tiles of all samples. It is divided into blocks of
    /// samples, which are transformed and then multiplied, so that the transformed tiles stay in the caches.
    /// Blocks are added in order.
    fn to_weight<T: Real, S: Scheme<M, R, N>, const M: usize, const R: usize, const N: usize>(
        &self,
        image: &[T],
        map: &[T],
    ) -> Vec<T> {
        let (g, depth, outputs) = (self.g, self.depth(), self.outputs());
        let (points, image_places, map_places) = (self.points(N), self.image_places(), self.map_places());
        let block = (2 * PANEL_DEPTH / self.tiles_in_map()).clamp(1, g.samples.max(1));
        let max_tiles = block * self.tiles_in_map();
        lend(
            [points * max_tiles * depth, points * max_tiles * outputs, points * depth * outputs],
            |[image_points, map_points, sums]| {
                if g.samples == 0 {
                    sums.fill(T::ZERO);
                }
                for start in (0..g.samples).step_by(block) {
                    let samples = block.min(g.samples - start);
                    let count = samples * self.tiles_in_map();
                    let (to_image, to_map) = (Out::of(image_points), Out::of(map_points));
                    (0..2 * samples).into_par_iter().for_each(|task| {
                        T::with_scratch(|[work, _, _]| {
                            let (i, sample) = (task / 2, start + task / 2);
                            let work = scratch(work, self.canvas_len().max(self.whole_map_len()));
                            let first = i * self.tiles_in_map();
                            // SAFETY: in the matrices of all points, the tiles of each sample
                            // are separate rows.
                            unsafe {
                                if task % 2 == 0 {
                                    let image = &image[sample * g.image_len()..][..g.image_len()];
                                    let to = self.on_chunks::<N>(first, count, depth);
                                    self.transform_image::<T, S, M, R, N>(
                                        image,
                                        &image_places,
                                        work,
                                        to_image.at(0),
                                        to,
                                    );
                                } else {
                                    let map = &map[sample * g.map_len()..][..g.map_len()];
                                    let to = self.on_chunks::<N>(first, count, outputs);
                                    self.transform_map::<T, S, M, R, N>(
                                        map,
                                        &map_places,
                                        work,
                                        to_map.at(0),
                                        to,
                                    );
                                }
                            }
                        });
                    });
                    multiply_transposed(
                        image_points,
                        map_points,
                        sums,
                        points,
                        [depth, count, outputs],
                        start > 0,
                    );
                }
                self.weights_from_points::<T, S, M, R, N>(sums)
            },
        )
    }
}

/// Adds a bias to the planes, one per channel, and applies an activation.
fn finish<T: Float>(planes: &mut [T], channels: usize, bias: Option<&[T]>, activation: Activation) {
    if bias.is_none() && activation.is_identity() {
        return;
    }
    let len = planes.len() / channels;
    for (channel, plane) in planes.chunks_exact_mut(len.max(1)).enumerate() {
        let add = bias.map_or(T::ZERO, |bias| bias[channel]);
        activation.apply_plus(plane, add);
    }
}
