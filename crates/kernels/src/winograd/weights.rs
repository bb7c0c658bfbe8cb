//! The transform of weights to all points, and its adjoint.
#![expect(unsafe_code, reason = "tasks write parts of one buffer, which is not zeroed first")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::buffer::{Out, build};
use crate::layout::{channels_first, channels_last};
use crate::real::Real;
use crate::tile::CHUNK;
use crate::winograd::plan::Winograd;
use crate::winograd::tiles::Tiles;
use crate::winograd::transforms::Scheme;

impl Winograd<'_> {
    /// Transforms the weight (O, C, kh, kw) to all points, as right sides of products: by chunks
    /// of 16 outputs (points, O/16, depth, 16), or, if `transposed`, by chunks of the depth
    /// (points, depth/16, O, 16).
    pub(crate) fn transform_weights<
        T: Real,
        S: Scheme<M, R, N>,
        const M: usize,
        const R: usize,
        const N: usize,
    >(
        &self,
        weight: &[T],
        transposed: bool,
        points: &mut [T],
    ) {
        let (inputs, outputs, depth) = (self.g.image[0], self.outputs(), self.depth());
        let area = self.g.kernel[0] * self.g.kernel[1];
        // The channels that are divided into chunks, and the channels that each chunk contains.
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
                    count: self.stride,
                    channels: CHUNK,
                    flat: self.flat(),
                    source: &kernels,
                    from: self.on_kernel(),
                    target: out.at(0),
                    to,
                    add: false,
                };
                // SAFETY: in the matrices of all points, each chunk has separate rows.
                unsafe { T::transform::<S::Filter, R, N>(tiles) };
            }
        });
    }

    /// The gradient of the weight (O, C, kh, kw) from its gradient at all points, (points, depth, O).
    pub(crate) fn weights_from_points<
        T: Real,
        S: Scheme<M, R, N>,
        const M: usize,
        const R: usize,
        const N: usize,
    >(
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
                    count: self.stride,
                    channels: CHUNK,
                    flat: self.flat(),
                    source: points,
                    from: self.on_weights::<N>(input * outputs + chunk * CHUNK, outputs),
                    target: kernels.as_mut_ptr(),
                    to: self.on_kernel(),
                    add: false,
                };
                // SAFETY: the target has all phases of a kernel.
                unsafe { T::transform::<S::FilterAdjoint, N, R>(tiles) };
                let to = &mut weight[input * area..];
                channels_first(&kernels, &places, CHUNK, inputs * area, to);
            }
        };
        // SAFETY: for each chunk of outputs, the kernels of all inputs are written.
        unsafe { build(outputs * inputs * area, len, write) }
    }
}
