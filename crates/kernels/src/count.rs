//! A count of the multiplications in products and convolutions.

use std::sync::atomic::{AtomicU64, Ordering};

static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// Number of multiply-adds in all products and convolutions that the CPU kernels of this process have
/// computed so far, including those with padding. Twice the difference between two calls is the number of
/// FLOPs between them.
pub fn multiply_adds() -> u64 {
    MULTIPLY_ADDS.load(Ordering::Relaxed)
}

/// Adds the product of the factors to the count.
pub(crate) fn count(factors: &[usize]) {
    MULTIPLY_ADDS.fetch_add(factors.iter().map(|&factor| factor as u64).product(), Ordering::Relaxed);
}
