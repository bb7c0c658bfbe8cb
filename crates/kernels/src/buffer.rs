//! Memory of the kernels: slices of candle's storages, new buffers that are written once, and fixed chunks.
//!
//! Work is always cut into chunks whose size depends on shapes only. Rayon's current pool decides who computes a chunk
//! and when, never what is in it, so that results are the same bits for any number of threads.
#![expect(
    unsafe_code,
    reason = "buffers are written before they are ever read, so zeroing them first would be a wasted pass"
)]

use std::mem::MaybeUninit;
use std::sync::PoisonError;

use candle_core::{CpuStorage, Layout, Storage};
use rayon::prelude::*;

use super::real::Real;

/// Elements of an elementwise pass that one task handles: 128 KiB of f32, well above the cost of handing out a task.
pub(super) const CHUNK: usize = 1 << 15;

/// The elements of a contiguous tensor, from what a custom op is given.
pub(super) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    let data = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "waxwork kernel" }.bt()),
    }
}

/// The elements of a contiguous tensor on the CPU, from its storage guard.
pub(super) fn guarded<'a, T: Real>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    match storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => candle_core::bail!("a kernel for the CPU was given a tensor on another device"),
    }
}

/// A vector of `len` elements in chunks of `chunk` (the last may be shorter), each written by `write(index, chunk)`.
///
/// # Safety
/// `write` must initialise every element of the chunk that it is given.
pub(super) unsafe fn build<T: Real>(
    len: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    if len <= chunk {
        if len > 0 {
            write(0, spare);
        }
    } else {
        spare.par_chunks_mut(chunk).enumerate().for_each(|(index, part)| write(index, part));
    }
    // SAFETY: the chunks cover the first `len` elements, and the caller promises that `write` initialises its chunk.
    unsafe { out.set_len(len) };
    out
}

/// A vector of `len` elements, all written by `write` through a pointer to the first.
///
/// # Safety
/// `write` must initialise all `len` elements.
pub(super) unsafe fn build_raw<T: Real>(len: usize, write: impl FnOnce(Out<T>)) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    write(Out { start: out.as_mut_ptr(), len });
    // SAFETY: the capacity is there, and the caller promises that `write` initialised the elements.
    unsafe { out.set_len(len) };
    out
}

/// Lends buffers that keep their memory from one call to the next, since fresh pages cost more than what is written to
/// them. What is in them is left from before.
pub(super) fn lend<T: Real, R, const N: usize>(lengths: [usize; N], f: impl FnOnce([&mut [T]; N]) -> R) -> R {
    let pool = || T::pool().lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffers: [Vec<T>; N] = std::array::from_fn(|_| pool().pop().unwrap_or_default());
    for (buffer, len) in buffers.iter_mut().zip(lengths) {
        if buffer.len() < len {
            buffer.resize(len, T::ZERO);
        }
    }
    let mut lengths = lengths.into_iter();
    let result = f(buffers.each_mut().map(|buffer| &mut buffer[..lengths.next().unwrap_or(0)]));
    pool().extend(buffers);
    result
}

/// A pointer to an output that several tasks fill, each its own part.
#[derive(Clone, Copy)]
pub(super) struct Out<T> {
    start: *mut T,
    /// For debug assertions, which the tests run with.
    len: usize,
}

// SAFETY: the pointer is only handed out; every place that writes through it says why its part is nobody else's.
unsafe impl<T> Send for Out<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Out<T> {}

impl<T> Out<T> {
    /// The start of a mutable slice, whose borrow the caller keeps alive while it uses the pointer.
    pub(super) fn of(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The address of element `offset`.
    pub(super) fn at(self, offset: usize) -> *mut T {
        debug_assert!(offset <= self.len, "element {offset} of {}", self.len);
        self.start.wrapping_add(offset)
    }

    /// `len` elements from `offset` on that have been written before.
    ///
    /// # Safety
    /// As for [`Out::slice`], and all of them must be initialised.
    pub(super) unsafe fn filled<'a>(self, offset: usize, len: usize) -> &'a mut [T] {
        debug_assert!(offset + len <= self.len, "{len} elements from {offset} on, of {}", self.len);
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), len) }
    }

    /// `len` elements from `offset` on.
    ///
    /// # Safety
    /// They must lie within the allocation, and no other slice of them may live at the same time.
    pub(super) unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [MaybeUninit<T>] {
        debug_assert!(offset + len <= self.len, "{len} elements from {offset} on, of {}", self.len);
        // SAFETY: promised by the caller; `MaybeUninit` asks nothing of the contents.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset).cast(), len) }
    }
}

/// f(x) for every element, vectorised for the CPU at hand.
pub(super) fn map1<T: Real>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    // SAFETY: `out` and the part of `x` have the same length, so every element is written.
    unsafe {
        build(x.len(), CHUNK, |index, out| {
            let x = part(x, index, out.len());
            simd(
                #[inline(always)]
                || {
                    for (out, &x) in out.iter_mut().zip(x) {
                        out.write(f(x));
                    }
                },
            );
        })
    }
}

/// f(x, y) for every pair of elements.
pub(super) fn map2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len());
    // SAFETY: `out` and the parts of `x` and `y` have the same length, so every element is written.
    unsafe {
        build(x.len(), CHUNK, |index, out| {
            let (x, y) = (part(x, index, out.len()), part(y, index, out.len()));
            simd(
                #[inline(always)]
                || {
                    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                        out.write(f(x, y));
                    }
                },
            );
        })
    }
}

/// f(x, y, z) for every triple of elements.
pub(super) fn map3<T: Real>(x: &[T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    assert!(x.len() == y.len() && y.len() == z.len());
    // SAFETY: `out` and the parts of `x`, `y` and `z` have the same length, so every element is written.
    unsafe {
        build(x.len(), CHUNK, |index, out| {
            let len = out.len();
            let (x, y, z) = (part(x, index, len), part(y, index, len), part(z, index, len));
            simd(
                #[inline(always)]
                || {
                    for (((out, &x), &y), &z) in out.iter_mut().zip(x).zip(y).zip(z) {
                        out.write(f(x, y, z));
                    }
                },
            );
        })
    }
}

/// The part of an input that belongs to chunk `index`.
fn part<T>(x: &[T], index: usize, len: usize) -> &[T] {
    &x[index * CHUNK..index * CHUNK + len]
}

/// Runs `f` compiled for the best instruction set of this CPU. `f` must inline: `#[inline(always)]`.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    arch().dispatch(f)
}

/// The best instruction set of this CPU.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn arch() -> pulp::Arch {
    pulp::Arch::new()
}

#[cfg(test)]
pub(super) use super::tests::arch;

/// Elements that a sum adds up side by side, so that it vectorises without changing its order between CPUs.
const LANES: usize = 16;

/// Elements that may go into [`Lanes`] before they are added up: more would cost an f32 digits.
pub(super) const BLOCK: usize = 64 * LANES;

/// A sum as it grows: elements go into running sums in turn.
#[derive(Clone, Copy)]
pub(super) struct Lanes<T>([T; LANES]);

impl<T: Real> Lanes<T> {
    pub(super) const ZERO: Self = Self([T::ZERO; LANES]);

    /// Adds f(x) for all elements of a slice.
    #[inline(always)]
    pub(super) fn add(&mut self, x: &[T], f: impl Fn(T) -> T) {
        let mut lanes = self.0;
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for lane in 0..LANES {
                lanes[lane] += f(x[lane]);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f(x);
        }
        self.0 = lanes;
    }

    /// The sum, in f64.
    #[inline(always)]
    pub(super) fn total(self) -> f64 {
        self.0.iter().map(|lane| lane.to_f64()).sum()
    }
}

/// Adds both of f(x, y, z) for all elements of three slices of the same length, in the order of [`Lanes::add`].
#[inline(always)]
pub(super) fn add3<T: Real>(
    [first, second]: &mut [Lanes<T>; 2],
    [x, y, z]: [&[T]; 3],
    f: impl Fn(T, T, T) -> (T, T),
) {
    let (mut a, mut b) = (first.0, second.0);
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let (z, z_rest) = z.as_chunks::<LANES>();
    for ((x, y), z) in x.iter().zip(y).zip(z) {
        for lane in 0..LANES {
            let (one, other) = f(x[lane], y[lane], z[lane]);
            a[lane] += one;
            b[lane] += other;
        }
    }
    for (lane, ((&x, &y), &z)) in x_rest.iter().zip(y_rest).zip(z_rest).enumerate() {
        let (one, other) = f(x, y, z);
        a[lane] += one;
        b[lane] += other;
    }
    (first.0, second.0) = (a, b);
}

/// Σ f(x) over a slice in a fixed order: running sums of `T` over blocks, added up in f64.
#[inline(always)]
pub(super) fn sum1<T: Real>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = Lanes::ZERO;
        lanes.add(block, &f);
        total += lanes.total();
    }
    total
}

/// Σ f(x, y) over two slices of the same length, in the order of [`sum1`].
#[inline(always)]
pub(super) fn sum2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [T::ZERO; LANES];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            for lane in 0..LANES {
                lanes[lane] += f(x[lane], y[lane]);
            }
        }
        for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
            *lane += f(x, y);
        }
        total += Lanes(lanes).total();
    }
    total
}

/// f(x, y, s) for every pair of elements of two (rows, columns) matrices and the row's element of `s`.
pub(super) fn map2_rows<T: Real>(x: &[T], y: &[T], s: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len());
    let columns = x.len() / s.len().max(1);
    assert_eq!(columns * s.len(), x.len());
    let rows = (CHUNK / columns.max(1)).max(1);
    // SAFETY: the zips below cover the whole chunk, which is a number of whole rows.
    unsafe {
        build(x.len(), rows * columns, |index, out| {
            let first = index * rows;
            simd(
                #[inline(always)]
                || {
                    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                        let start = (first + row) * columns;
                        let s = s[first + row];
                        let (x, y) = (&x[start..start + columns], &y[start..start + columns]);
                        for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                            out.write(f(x, y, s));
                        }
                    }
                },
            );
        })
    }
}

/// Evaluates an expression with `$T` standing for the element type of `$dtype`: f64, or f32 for everything else, whose
/// storage then refuses to be read as f32 with candle's own message.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(super) use by_dtype;

/// Turns names of tensors into names of their elements as slices, in the tensors' order.
macro_rules! elements {
    ($T:ty; $($name:ident),+) => {
        $(
            let $name = $name.contiguous()?;
            let ($name, layout) = $name.storage_and_layout();
            let $name = $crate::buffer::guarded::<$T>(&$name, layout)?;
        )+
    };
}
pub(super) use elements;

/// A tensor on the CPU from its elements.
pub(super) fn tensor<T: Real>(
    data: Vec<T>,
    shape: impl Into<candle_core::Shape>,
) -> candle_core::Result<candle_core::Tensor> {
    candle_core::Tensor::from_vec(data, shape.into(), &candle_core::Device::Cpu)
}
