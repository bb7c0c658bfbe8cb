//! The threads of a process that uses the kernels.

use crate::error::{Error, Result};

/// The environment variable that sizes candle's own pools.
pub const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Gives rayon's global pool, on which every kernel runs, `threads` workers, and limits candle's own
/// pools to one thread.
///
/// Without this call the kernels give the same bits, but slower: the workers of candle's pool, which
/// `Tensor::backward` uses for its sums, spin after every operation and take the processors from rayon's. The
/// only way to size that pool is the variable `CANDLE_NUM_THREADS`, which is read when the pool is first
/// used. So call this first in `main`.
///
/// # Safety
/// No other thread may read or write the environment during the call, as [`std::env::set_var`] requires.
///
/// # Errors
/// [`Error::Threads`] if rayon's global pool already exists. Candle's pools are limited even then.
#[expect(unsafe_code, reason = "no safe function sets a variable of the environment")]
pub unsafe fn init(threads: usize) -> Result<()> {
    // SAFETY: guaranteed by the caller.
    unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    start(threads)
}

/// As [`init`], for a program that has already set [`CANDLE_THREADS`] to 1 itself.
///
/// # Errors
/// As [`init`].
pub fn start(threads: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|error| Error::Threads { reason: error.to_string() })
}

/// Runs `f` on a thread of rayon's pool. There, a kernel starts at once. Called from outside, each of the
/// hundreds of kernels in a training step would wake a worker and wait for it.
pub fn enter<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_on_a_worker_and_returns_the_result() {
        assert!(enter(|| rayon::current_thread_index().is_some()));
    }
}
