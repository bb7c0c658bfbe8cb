//! Communication between the processes of one run: the trait, and its implementation for a single process.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::Result;

/// How the values of several parts of a step's batch are combined into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// Their mean; all parts have the same size.
    Mean,
    /// Their sum.
    Sum,
    /// The largest, element by element.
    Max,
}

/// The processes that share the batch of every step in equal parts. All of them call the same functions in
/// the same order.
pub trait Collective: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes, a power of two.
    fn size(&self) -> usize;

    /// Whether this is process 0, which writes files and messages.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Reduces each tensor over all processes along one perfect binary tree: 0 with 1, 2 with 3, then these
    /// pairs, and so on. All processes get the same bits.
    ///
    /// # Errors
    /// If another process has ended or reduces something else.
    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>>;

    /// Returns whether `here` is true on all processes.
    ///
    /// # Errors
    /// If another process has ended.
    fn all(&self, here: bool) -> Result<bool>;

    /// Sends the bytes of process 0 to all processes. The others may pass none.
    ///
    /// # Errors
    /// If another process has ended.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// Returns the bytes of every process, by rank.
    ///
    /// # Errors
    /// If another process has ended.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}

/// A single process, which has the whole batch.
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
