//! Applies a transform to many tiles.
#![expect(unsafe_code, reason = "tiles are read and written through pointers, many at a time")]

use pulp::{Simd, WithSimd};

use crate::float::Float;
use crate::simd::arch;
use crate::tile::CHUNK;
use crate::winograd::numbers::{Numbers, Registers, Single};
use crate::winograd::transforms::Transform;

/// The layout of tiles: entry (i, j) of tile (y, x) starts at
/// `start + y · tile[0] + x · tile[1] + i · entry[0] + j · entry[1]` and consists of chunks of 16 channels,
/// `chunk` apart.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) start: usize,
    pub(crate) tile: [usize; 2],
    pub(crate) entry: [usize; 2],
    pub(crate) chunk: usize,
}

impl Walk {
    /// The offset of a tile's first entry.
    #[inline(always)]
    fn tile(&self, y: usize, x: usize) -> usize {
        self.start + y * self.tile[0] + x * self.tile[1]
    }

    /// The end of `count` tiles with `sides` entries of `channels` numbers.
    fn end(&self, count: [usize; 2], sides: [usize; 2], channels: usize) -> usize {
        let last = |i: usize| (count[i] - 1) * self.tile[i] + (sides[i] - 1) * self.entry[i];
        self.start + last(0) + last(1) + (channels / CHUNK - 1) * self.chunk + CHUNK
    }

    /// The offset of a channel from the start of an entry.
    #[inline(always)]
    fn channel(&self, channel: usize) -> usize {
        channel / CHUNK * self.chunk + channel % CHUNK
    }
}

/// Tiles to be transformed. Each entry has `channels` numbers, a multiple of 16.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a, T> {
    pub(crate) count: [usize; 2],
    pub(crate) channels: usize,
    /// Whether a tile is a single line, transformed along the width only, rather than a square.
    pub(crate) flat: bool,
    pub(crate) source: &'a [T],
    pub(crate) from: Walk,
    pub(crate) target: *mut T,
    pub(crate) to: Walk,
    /// Whether to add the result to the target.
    pub(crate) add: bool,
}

impl<T: Float> Tiles<'_, T> {
    /// Whether there are tiles. Asserts that the source contains them, with `side` or `side`² entries each.
    fn check(&self, side: usize) -> bool {
        if self.count.contains(&0) {
            return false;
        }
        assert!(self.channels > 0 && self.channels.is_multiple_of(CHUNK));
        let sides = [if self.flat { 1 } else { side }, side];
        assert!(self.from.end(self.count, sides, self.channels) <= self.source.len());
        true
    }

    /// # Safety
    /// As for [`by_registers`], and the source must contain all offsets of `from`.
    #[inline(always)]
    unsafe fn run<N: Numbers<Number = T>, F: Transform<A, B>, const A: usize, const B: usize>(self, n: N) {
        // If chunks are far apart, all tiles of one chunk precede the next, so that writes alternate
        // between few places.
        let block = if self.to.chunk == CHUNK { self.channels } else { CHUNK };
        for first in (0..self.channels).step_by(block) {
            for y in 0..self.count[0] {
                for x in 0..self.count[1] {
                    let from = self.source.as_ptr().wrapping_add(self.from.tile(y, x));
                    let to = self.target.wrapping_add(self.to.tile(y, x));
                    for channel in (first..first + block).step_by(N::LANES) {
                        let from = from.wrapping_add(self.from.channel(channel));
                        let to = to.wrapping_add(self.to.channel(channel));
                        // SAFETY: guaranteed by the caller.
                        unsafe {
                            if self.flat {
                                self.line::<_, F, A, B>(n, from, to);
                            } else {
                                self.square::<_, F, A, B>(n, from, to);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Transforms one vector of channels of one flat tile.
    ///
    /// # Safety
    /// As for [`Tiles::run`].
    #[inline(always)]
    unsafe fn line<N: Numbers<Number = T>, F: Transform<A, B>, const A: usize, const B: usize>(
        &self,
        n: N,
        from: *const T,
        to: *mut T,
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.write(n, F::line(n, self.read(n, from)), to, self.to.entry[1]) };
    }

    /// Transforms one vector of channels of one square tile, along both axes.
    ///
    /// # Safety
    /// As for [`Tiles::run`].
    #[inline(always)]
    unsafe fn square<N: Numbers<Number = T>, F: Transform<A, B>, const A: usize, const B: usize>(
        &self,
        n: N,
        from: *const T,
        to: *mut T,
    ) {
        let mut rows = [[n.zero(); B]; A];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller.
            *row = F::line(n, unsafe { self.read(n, from.add(i * self.from.entry[0])) });
        }
        for j in 0..B {
            let mut line = [n.zero(); A];
            for (x, row) in line.iter_mut().zip(&rows) {
                *x = row[j];
            }
            let to = to.wrapping_add(j * self.to.entry[1]);
            // SAFETY: guaranteed by the caller.
            unsafe { self.write(n, F::line(n, line), to, self.to.entry[0]) };
        }
    }

    /// Reads a line of entries along the width.
    ///
    /// # Safety
    /// As for [`Tiles::run`].
    #[inline(always)]
    unsafe fn read<N: Numbers<Number = T>, const A: usize>(&self, n: N, from: *const T) -> [N::Vector; A] {
        let mut line = [n.zero(); A];
        for (j, x) in line.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller.
            *x = unsafe { n.load(from.add(j * self.from.entry[1])) };
        }
        line
    }

    /// Writes, or adds, a line of entries that are `step` apart.
    ///
    /// # Safety
    /// As for [`Tiles::run`].
    #[inline(always)]
    unsafe fn write<N: Numbers<Number = T>, const B: usize>(
        &self,
        n: N,
        line: [N::Vector; B],
        to: *mut T,
        step: usize,
    ) {
        for (i, y) in line.into_iter().enumerate() {
            let to = to.wrapping_add(i * step);
            // SAFETY: guaranteed by the caller.
            unsafe {
                let y = if self.add { n.add(n.load(to), y) } else { y };
                n.store(to, y);
            }
        }
    }
}

/// [`Tiles`] of f32 and their transform, for pulp's dispatch.
struct Dispatch<'a, F, const A: usize, const B: usize>(Tiles<'a, f32>, std::marker::PhantomData<F>);

impl<F: Transform<A, B>, const A: usize, const B: usize> WithSimd for Dispatch<'_, F, A, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: guaranteed by the caller of `by_registers`, which checked the source.
        unsafe { self.0.run::<_, F, A, B>(Registers(simd)) }
    }
}

/// Transforms all tiles with the best instruction set of this CPU.
///
/// # Safety
/// The target must be writable by this caller alone at all offsets of `to`, and initialised there if `add`.
pub(crate) unsafe fn by_registers<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, f32>) {
    if tiles.check(A) {
        arch().dispatch(Dispatch::<F, A, B>(tiles, std::marker::PhantomData));
    }
}

/// Transforms all tiles, one number at a time.
///
/// # Safety
/// As for [`by_registers`].
pub(crate) unsafe fn one_by_one<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, f64>) {
    if tiles.check(A) {
        // SAFETY: the source was checked, and the caller guarantees the rest.
        unsafe { tiles.run::<_, F, A, B>(Single) }
    }
}
