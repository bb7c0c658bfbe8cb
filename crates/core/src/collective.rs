//! What the processes of one run say to each other: the trait, and its form for one process.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::Result;

/// How values of several parts of a step's batch become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// Their mean, all parts being equally large.
    Mean,
    /// Their sum.
    Sum,
    /// The largest, element by element.
    Max,
}

/// The processes that share the batch of every step, equally large parts each. All of them call the same functions in the same order.
pub trait Collective: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes, a power of two.
    fn size(&self) -> usize;

    /// Reduces each tensor over all processes by one perfect binary tree: 0 with 1, 2 with 3, then these pairs, and so on. All get the
    /// same bits.
    ///
    /// # Errors
    /// If another process is gone or reduces something else.
    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>>;

    /// Whether something is true for all processes.
    ///
    /// # Errors
    /// If another process is gone.
    fn all(&self, here: bool) -> Result<bool>;

    /// The bytes of process 0, which alone has to have any, for all.
    ///
    /// # Errors
    /// If another process is gone.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// What every process says, by rank.
    ///
    /// # Errors
    /// If another process is gone.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}

/// One process, which has the whole batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneProcess;

impl Collective for OneProcess {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>> {
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }

    fn all(&self, here: bool) -> Result<bool> {
        Ok(here)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }
}
