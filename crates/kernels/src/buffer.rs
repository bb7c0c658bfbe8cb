//! Access to the memory of tensors, and new buffers that are written once.
//!
//! Work is split into chunks whose sizes depend on shapes only. Rayon's pool decides which thread computes a
//! chunk and when, but not what is in it, so results have the same bits for any number of threads.
#![expect(
    unsafe_code,
    reason = "every element of a new buffer is written before it is read, so zeroing it first would waste a pass"
)]

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Layout, Storage};
use rayon::prelude::*;

use crate::float::Float;

/// The elements of a contiguous tensor, from the arguments of a custom operation.
pub(crate) fn slice<'a, T: Float>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    let data = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "waxwork kernel" }.bt()),
    }
}

/// The elements of a contiguous tensor on the CPU, from its locked storage.
pub(crate) fn guarded<'a, T: Float>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    match storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => candle_core::bail!("a kernel for the CPU was given a tensor on another device"),
    }
}

/// A vector of `len` elements. `write(index, chunk)` writes each chunk of `chunk` elements (the
/// last may be shorter).
///
/// # Safety
/// `write` must initialise every element of its chunk.
pub(crate) unsafe fn build<T: Float>(
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
    // SAFETY: the chunks cover the first `len` elements, and the caller guarantees that
    // `write` initialises each.
    unsafe { out.set_len(len) };
    out
}

/// A vector of `len` elements that `write` writes through a pointer.
///
/// # Safety
/// `write` must initialise all `len` elements.
pub(crate) unsafe fn build_raw<T: Float>(len: usize, write: impl FnOnce(Out<T>)) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    write(Out { start: out.as_mut_ptr(), len });
    // SAFETY: the capacity suffices, and the caller guarantees that `write` initialised the elements.
    unsafe { out.set_len(len) };
    out
}

/// A pointer to an output. Several tasks write through it, each a separate part.
#[derive(Clone, Copy)]
pub(crate) struct Out<T> {
    start: *mut T,
    /// Number of elements, for debug assertions. The tests enable these.
    len: usize,
}

// SAFETY: this only passes the pointer on. A comment at each write states why no other task
// writes the same part.
unsafe impl<T> Send for Out<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Out<T> {}

impl<T> Out<T> {
    /// The start of a mutable slice. The caller keeps the borrow alive while it uses the pointer.
    pub(crate) fn of(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The address of element `offset`.
    pub(crate) fn at(self, offset: usize) -> *mut T {
        debug_assert!(offset <= self.len, "element {offset} of {}", self.len);
        self.start.wrapping_add(offset)
    }

    /// `len` elements from `offset` on, already initialised.
    ///
    /// # Safety
    /// As for [`Out::slice`], and all elements must be initialised.
    pub(crate) unsafe fn filled<'a>(self, offset: usize, len: usize) -> &'a mut [T] {
        debug_assert!(offset + len <= self.len, "{len} elements from {offset} on, of {}", self.len);
        // SAFETY: guaranteed by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), len) }
    }

    /// `len` elements from `offset` on.
    ///
    /// # Safety
    /// The elements must lie within the allocation, and no other slice of them may exist at the same time.
    pub(crate) unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [MaybeUninit<T>] {
        debug_assert!(offset + len <= self.len, "{len} elements from {offset} on, of {}", self.len);
        // SAFETY: guaranteed by the caller; `MaybeUninit` requires nothing of the contents.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset).cast(), len) }
    }
}

/// Evaluates an expression with `$T` as the element type of `$dtype`: f64, or f32 for any other type. Reading
/// the storage of another type as f32 then fails with candle's error.
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
pub(crate) use by_dtype;

/// Rebinds each named tensor to a slice of its elements in row-major order.
macro_rules! elements {
    ($T:ty; $($name:ident),+) => {
        $(
            let $name = $name.contiguous()?;
            let ($name, layout) = $name.storage_and_layout();
            let $name = $crate::buffer::guarded::<$T>(&$name, layout)?;
        )+
    };
}
pub(crate) use elements;

/// A tensor on the CPU from its elements.
pub(crate) fn tensor<T: Float>(
    data: Vec<T>,
    shape: impl Into<candle_core::Shape>,
) -> candle_core::Result<candle_core::Tensor> {
    candle_core::Tensor::from_vec(data, shape.into(), &candle_core::Device::Cpu)
}
