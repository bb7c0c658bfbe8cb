//! Scratch memory that is kept from one task and one call to the next: fresh pages cost more than what is written to them.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use crate::float::Float;

/// An element type with buffers that are kept.
pub(crate) trait Scratch: Float {
    /// Lends this thread's buffers, which keep their memory from one task to the next. Calls must not nest.
    fn with_scratch<R>(f: impl FnOnce(&mut [Vec<Self>; 3]) -> R) -> R;

    /// The buffers that [`lend`] lends.
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

/// Lends buffers of these lengths. What is in them is left from before.
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

/// The first `len` elements of a buffer, grown if it is too short. What is in them is left from before.
pub(crate) fn scratch<T: Float>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}
