//! The small linear transforms of minimal filtering, and the walk that applies them to many tiles.
//!
//! Winograd's F(m, r) (*Arithmetic Complexity of Computations*, 1980; for convolutions Lavin & Gray 2015, arXiv:1509.09308)
//! computes m neighbouring outputs of a filter of r taps from m + r − 1 products: y = Aᵀ((G g) ⊙ (Bᵀ d)), in two dimensions
//! along both. The points of evaluation are 0, 1, ∞, then −1, then 2, so that the matrices hold small numbers and lose little
//! precision. Each transform has its adjoint here, which the gradients need.
#![expect(unsafe_code, reason = "tiles are read and written through pointers, many at a time")]

use pulp::{Simd, WithSimd};

use super::buffer::arch;
use super::real::Real;
use super::tile::CHUNK;

/// Arithmetic on a few numbers at a time: registers of f32, or a single f64.
pub(super) trait Numbers: Copy {
    type Number;
    type Vector: Copy;
    /// Numbers in a vector; a divisor of 16.
    const LANES: usize;

    /// # Safety
    /// `LANES` numbers must be readable.
    unsafe fn load(self, from: *const Self::Number) -> Self::Vector;
    /// # Safety
    /// `LANES` numbers must be writable.
    unsafe fn store(self, to: *mut Self::Number, x: Self::Vector);
    fn zero(self) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// c · a.
    fn scale(self, c: f64, a: Self::Vector) -> Self::Vector;
    /// c · a + b, rounded once.
    fn scale_add(self, c: f64, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Registers of f32.
#[derive(Clone, Copy)]
struct Registers<S>(S);

impl<S: Simd> Numbers for Registers<S> {
    type Number = f32;
    type Vector = S::f32s;
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> S::f32s {
        // SAFETY: promised by the caller.
        unsafe { from.cast::<S::f32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: S::f32s) {
        // SAFETY: promised by the caller.
        unsafe { to.cast::<S::f32s>().write_unaligned(x) }
    }

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn sub(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.sub_f32s(a, b)
    }

    #[inline(always)]
    fn scale(self, c: f64, a: S::f32s) -> S::f32s {
        self.0.mul_f32s(self.0.splat_f32s(c as f32), a)
    }

    #[inline(always)]
    fn scale_add(self, c: f64, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(self.0.splat_f32s(c as f32), a, b)
    }
}

/// One f64.
#[derive(Clone, Copy)]
struct Single;

impl Numbers for Single {
    type Number = f64;
    type Vector = f64;
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn load(self, from: *const f64) -> f64 {
        // SAFETY: promised by the caller.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f64, x: f64) {
        // SAFETY: promised by the caller.
        unsafe { *to = x }
    }

    #[inline(always)]
    fn zero(self) -> f64 {
        0.0
    }

    #[inline(always)]
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }

    #[inline(always)]
    fn scale(self, c: f64, a: f64) -> f64 {
        c * a
    }

    #[inline(always)]
    fn scale_add(self, c: f64, a: f64, b: f64) -> f64 {
        c.mul_add(a, b)
    }
}

/// A linear map from a line of `A` numbers to a line of `B`.
pub(super) trait Transform<const A: usize, const B: usize> {
    fn line<N: Numbers>(n: N, x: [N::Vector; A]) -> [N::Vector; B];
}

/// Defines a transform by what it does to a line.
macro_rules! transform {
    ($(#[$doc:meta])* $name:ident, $a:literal to $b:literal, |$n:ident, $x:ident| $line:expr) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Transform<$a, $b> for $name {
            #[inline(always)]
            fn line<N: Numbers>($n: N, $x: [N::Vector; $a]) -> [N::Vector; $b] {
                $line
            }
        }
    };
}

transform!(
    /// Bᵀ of F(2, 2).
    Input22, 3 to 3, |n, d| [n.sub(d[0], d[1]), d[1], n.sub(d[2], d[1])]);
transform!(
    /// B of F(2, 2).
    InputAdjoint22, 3 to 3, |n, v| [v[0], n.sub(v[1], n.add(v[0], v[2])), v[2]]);
transform!(
    /// G of F(2, 2).
    Filter22, 2 to 3, |n, g| [g[0], n.add(g[0], g[1]), g[1]]);
transform!(
    /// Gᵀ of F(2, 2).
    FilterAdjoint22, 3 to 2, |n, u| [n.add(u[0], u[1]), n.add(u[1], u[2])]);
transform!(
    /// Aᵀ of F(2, 2).
    Output22, 3 to 2, |n, m| [n.add(m[0], m[1]), n.add(m[1], m[2])]);
transform!(
    /// A of F(2, 2).
    OutputAdjoint22, 2 to 3, |n, y| [y[0], n.add(y[0], y[1]), y[1]]);

transform!(
    /// Bᵀ of F(2, 3).
    Input23, 4 to 4, |n, d| [n.sub(d[0], d[2]), n.add(d[1], d[2]), n.sub(d[2], d[1]), n.sub(d[3], d[1])]);
transform!(
/// B of F(2, 3).
InputAdjoint23, 4 to 4, |n, v| {
    [v[0], n.sub(v[1], n.add(v[2], v[3])), n.sub(n.add(v[1], v[2]), v[0]), v[3]]
});
transform!(
/// G of F(2, 3).
Filter23, 3 to 4, |n, g| {
    let (ends, middle) = (n.scale(0.5, n.add(g[0], g[2])), n.scale(0.5, g[1]));
    [g[0], n.add(ends, middle), n.sub(ends, middle), g[2]]
});
transform!(
/// Gᵀ of F(2, 3).
FilterAdjoint23, 4 to 3, |n, u| {
    let both = n.scale(0.5, n.add(u[1], u[2]));
    [n.add(u[0], both), n.scale(0.5, n.sub(u[1], u[2])), n.add(u[3], both)]
});
transform!(
    /// Aᵀ of F(2, 3).
    Output23, 4 to 2, |n, m| [n.add(m[0], n.add(m[1], m[2])), n.add(n.sub(m[1], m[2]), m[3])]);
transform!(
    /// A of F(2, 3).
    OutputAdjoint23, 2 to 4, |n, y| [y[0], n.add(y[0], y[1]), n.sub(y[0], y[1]), y[1]]);

transform!(
/// Bᵀ of F(4, 2).
Input42, 5 to 5, |n, d| {
    let (a, b) = (n.sub(d[3], d[1]), n.sub(d[3], d[2]));
    [
        n.scale_add(2.0, n.sub(d[0], d[2]), a),
        n.scale_add(-2.0, d[1], b),
        n.scale_add(2.0, n.sub(d[1], d[2]), b),
        a,
        n.scale_add(-2.0, a, n.sub(d[4], d[2])),
    ]
});
transform!(
/// B of F(4, 2).
InputAdjoint42, 5 to 5, |n, v| {
    let outer = n.scale_add(-2.0, v[4], n.add(v[0], v[3]));
    [
        n.scale(2.0, v[0]),
        n.scale_add(2.0, n.sub(v[2], v[1]), n.sub(n.zero(), outer)),
        n.scale_add(-3.0, v[2], n.scale_add(-2.0, v[0], n.sub(n.zero(), n.add(v[1], v[4])))),
        n.add(outer, n.add(v[1], v[2])),
        v[4],
    ]
});
transform!(
/// G of F(4, 2).
Filter42, 2 to 5, |n, g| [
    n.scale(0.5, g[0]),
    n.scale(-0.5, n.add(g[0], g[1])),
    n.scale(1.0 / 6.0, n.sub(g[1], g[0])),
    n.scale(1.0 / 6.0, n.scale_add(2.0, g[1], g[0])),
    g[1],
]);
transform!(
/// Gᵀ of F(4, 2).
FilterAdjoint42, 5 to 2, |n, u| {
    let (halves, sixths) = (n.scale(0.5, n.sub(u[0], u[1])), n.sub(u[3], u[2]));
    [
        n.scale_add(1.0 / 6.0, sixths, halves),
        n.scale_add(-0.5, u[1], n.scale_add(1.0 / 6.0, n.scale_add(2.0, u[3], u[2]), u[4])),
    ]
});
transform!(
/// Aᵀ of F(4, 2).
Output42, 5 to 4, |n, m| {
    let (sum, difference) = (n.add(m[1], m[2]), n.sub(m[1], m[2]));
    [
        n.add(m[0], n.add(sum, m[3])),
        n.scale_add(2.0, m[3], difference),
        n.scale_add(4.0, m[3], sum),
        n.scale_add(8.0, m[3], n.add(difference, m[4])),
    ]
});
transform!(
/// A of F(4, 2).
OutputAdjoint42, 4 to 5, |n, y| {
    let (even, odd) = (n.add(y[0], y[2]), n.add(y[1], y[3]));
    let by_two = n.scale_add(4.0, y[2], n.scale_add(2.0, y[1], y[0]));
    [y[0], n.add(even, odd), n.sub(even, odd), n.scale_add(8.0, y[3], by_two), y[3]]
});

/// Where tiles are: entry (i, j) of tile (y, x) begins at `start + y · tile[0] + x · tile[1] + i · entry[0] + j · entry[1]`, and is
/// made of chunks of 16 channels, `chunk` apart.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub(super) start: usize,
    pub(super) tile: [usize; 2],
    pub(super) entry: [usize; 2],
    pub(super) chunk: usize,
}

impl Walk {
    /// The offset of a tile's first entry.
    #[inline(always)]
    fn tile(&self, y: usize, x: usize) -> usize {
        self.start + y * self.tile[0] + x * self.tile[1]
    }

    /// One past the last element of `count` tiles of `side`² entries of `channels`.
    fn end(&self, count: [usize; 2], side: usize, channels: usize) -> usize {
        let last = |i: usize| (count[i] - 1) * self.tile[i] + (side - 1) * self.entry[i];
        self.start + last(0) + last(1) + (channels / CHUNK - 1) * self.chunk + CHUNK
    }

    /// The offset of a channel from the first of an entry.
    #[inline(always)]
    fn channel(&self, channel: usize) -> usize {
        channel / CHUNK * self.chunk + channel % CHUNK
    }
}

/// Tiles to be transformed along both of their sides, `channels` numbers (a multiple of 16) an entry.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a, T> {
    pub(super) count: [usize; 2],
    pub(super) channels: usize,
    pub(super) source: &'a [T],
    pub(super) from: Walk,
    pub(super) target: *mut T,
    pub(super) to: Walk,
    /// Whether to add to what is there.
    pub(super) add: bool,
}

impl<T: Real> Tiles<'_, T> {
    /// Transforms all tiles.
    ///
    /// # Safety
    /// The target must be writable by this caller alone at all places that `to` names, which must be initialised if `add`.
    pub(super) unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(self) {
        if self.count.contains(&0) {
            return;
        }
        assert!(self.channels > 0 && self.channels.is_multiple_of(CHUNK));
        assert!(self.from.end(self.count, A, self.channels) <= self.source.len());
        // SAFETY: the source was checked, and the rest is the caller's promise.
        unsafe { T::filter::<F, A, B>(self) }
    }

    /// # Safety
    /// As for [`Tiles::transform`], and the source must have all places that `from` names.
    #[inline(always)]
    unsafe fn run<N: Numbers<Number = T>, F: Transform<A, B>, const A: usize, const B: usize>(self, n: N) {
        // Where chunks are far apart, all tiles of one come before the next, so that few places are written in turn.
        let block = if self.to.chunk == CHUNK { self.channels } else { CHUNK };
        for first in (0..self.channels).step_by(block) {
            for y in 0..self.count[0] {
                for x in 0..self.count[1] {
                    let from = self.source.as_ptr().wrapping_add(self.from.tile(y, x));
                    let to = self.target.wrapping_add(self.to.tile(y, x));
                    for channel in (first..first + block).step_by(N::LANES) {
                        let from = from.wrapping_add(self.from.channel(channel));
                        let to = to.wrapping_add(self.to.channel(channel));
                        // SAFETY: the same promises.
                        unsafe { self.vector::<_, F, A, B>(n, from, to) };
                    }
                }
            }
        }
    }

    /// One tile, and as many channels as a vector has numbers.
    ///
    /// # Safety
    /// As for [`Tiles::run`].
    #[inline(always)]
    unsafe fn vector<N: Numbers<Number = T>, F: Transform<A, B>, const A: usize, const B: usize>(
        &self,
        n: N,
        from: *const T,
        to: *mut T,
    ) {
        let mut rows = [[n.zero(); B]; A];
        for (i, row) in rows.iter_mut().enumerate() {
            let mut line = [n.zero(); A];
            for (j, x) in line.iter_mut().enumerate() {
                let at = i * self.from.entry[0] + j * self.from.entry[1];
                // SAFETY: promised by the caller.
                *x = unsafe { n.load(from.add(at)) };
            }
            *row = F::line(n, line);
        }
        for j in 0..B {
            let mut line = [n.zero(); A];
            for (x, row) in line.iter_mut().zip(&rows) {
                *x = row[j];
            }
            for (i, y) in F::line(n, line).into_iter().enumerate() {
                let to = to.wrapping_add(i * self.to.entry[0] + j * self.to.entry[1]);
                // SAFETY: promised by the caller.
                unsafe {
                    let y = if self.add { n.add(n.load(to), y) } else { y };
                    n.store(to, y);
                }
            }
        }
    }
}

/// [`Tiles`] of f32 and their transform, for pulp's choice of instructions.
struct Dispatch<'a, F, const A: usize, const B: usize>(Tiles<'a, f32>, std::marker::PhantomData<F>);

impl<F: Transform<A, B>, const A: usize, const B: usize> WithSimd for Dispatch<'_, F, A, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: whoever made this made the promises.
        unsafe { self.0.run::<_, F, A, B>(Registers(simd)) }
    }
}

/// [`Tiles::transform`] by the best vector instructions at hand.
///
/// # Safety
/// As for [`Tiles::transform`], checks of the source included.
pub(super) unsafe fn by_registers<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, f32>) {
    arch().dispatch(Dispatch::<F, A, B>(tiles, std::marker::PhantomData));
}

/// [`Tiles::transform`], a number at a time.
///
/// # Safety
/// As for [`by_registers`].
pub(super) unsafe fn one_by_one<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, f64>) {
    // SAFETY: the caller's promises.
    unsafe { tiles.run::<_, F, A, B>(Single) }
}
