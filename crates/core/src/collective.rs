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

    /// The number of processes.
    fn size(&self) -> usize;

    /// Reduces each tensor over all processes, in an order that does not depend on who is early; all get the same bits.
    ///
    /// # Errors
    /// If another process is gone.
    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>>;

    /// Whether something is true for all processes.
    ///
    /// # Errors
    /// If another process is gone.
    fn all(&self, here: bool) -> Result<bool>;
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
}
