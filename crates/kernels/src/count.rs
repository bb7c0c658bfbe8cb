//! How much the products and convolutions of this process have computed.

use std::sync::atomic::{AtomicU64, Ordering};

static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// Multiplications with their additions in all products and convolutions of the CPU kernels so far, in this process, with
/// the taps that fall on padding. Twice the difference of two calls is the FLOPs between them.
pub fn multiply_adds() -> u64 {
    MULTIPLY_ADDS.load(Ordering::Relaxed)
}

pub(crate) fn count(factors: &[usize]) {
    MULTIPLY_ADDS.fetch_add(factors.iter().map(|&factor| factor as u64).product(), Ordering::Relaxed);
}
