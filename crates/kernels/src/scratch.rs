//! Scratch memory that is reused between tasks and calls: fresh pages cost more than the writes to them.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use crate::float::Float;

/// An element type with reusable buffers.
pub(crate) trait Scratch: Float {
    /// Calls `f` with this thread's buffers, which keep their memory between tasks. Calls must not nest.
    fn with_scratch<R>(f: impl FnOnce(&mut [Vec<Self>; 3]) -> R) -> R;

    /// The buffers of [`lend`] that are not in use.
    fn pool() -> &'static Mutex<Vec<Vec<Self>>>;
}

macro_rules! scratch {
    ($T:ty) => {
        impl Scratch for $T {
            fn with_scratch<R>(f: impl FnOnce(&mut [Vec<Self>; 3]) -> R) -> R {
                thread_local! {
                    static SCRATCH: RefCell<[Vec<$T>; 3]> = const { RefCell::new([const { Vec::new() }; 3]) };
                }
                SCRATCH.with_borrow_mut(f)
            }

            fn pool() -> &'static Mutex<Vec<Vec<Self>>> {
                static POOL: Mutex<Vec<Vec<$T>>> = Mutex::new(Vec::new());
                &POOL
            }
        }
    };
}

scratch!(f32);
scratch!(f64);

/// Calls `f` with buffers of these lengths. Their contents are unspecified.
pub(crate) fn lend<T: Scratch, R, const N: usize>(
    lengths: [usize; N],
    f: impl FnOnce([&mut [T]; N]) -> R,
) -> R {
    let pool = || T::pool().lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffers: [Vec<T>; N] = std::array::from_fn(|_| pool().pop().unwrap_or_default());
    for (buffer, len) in buffers.iter_mut().zip(lengths) {
        scratch(buffer, len);
    }
    let mut lengths = lengths.into_iter();
    let result = f(buffers.each_mut().map(|buffer| &mut buffer[..lengths.next().unwrap_or(0)]));
    pool().extend(buffers);
    result
}

/// The first `len` elements of a buffer, which grows if it is too short. Their contents are unspecified.
pub(crate) fn scratch<T: Float>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}
