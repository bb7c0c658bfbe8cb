//! The mode of a forward pass, and the state that a training step records until its update succeeds.

use std::sync::{Mutex, PoisonError};

use candle_core::{Tensor, Var};

use crate::Result;
use crate::collective::Reduction;

/// Where a forward pass takes its batch statistics from, and whether they count.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch statistics, recorded to be committed when the step is.
    Train(&'a StatisticsLog),
    /// Batch statistics, recorded nowhere: frozen passes, penalties, finite differences.
    Frozen,
    /// Running statistics.
    Eval,
}

/// What a training step saw, waiting for the update that makes it count: batch statistics, and any other state that is saved but not
/// optimised.
#[derive(Debug, Default)]
pub struct StatisticsLog(Mutex<Vec<PendingStatistics>>);

#[derive(Debug)]
struct PendingStatistics {
    running: Var,
    batch: Tensor,
    momentum: f64,
    reduction: Reduction,
}

impl StatisticsLog {
    /// Records what a buffer moves towards, and by how much, once the update succeeds: `running` becomes
    /// (1 − `momentum`) · `running` + `momentum` · `batch`, of one shape. `reduction` says how the values of processes that share the
    /// batch become one.
    pub fn record(&self, running: &Var, batch: Tensor, momentum: f64, reduction: Reduction) {
        let entry = PendingStatistics { running: running.clone(), batch, momentum, reduction };
        self.pending().push(entry);
    }

    /// Forgets the record: the step does not count.
    pub fn forget(&self) {
        self.pending().clear();
    }

    /// Moves every running statistic towards what was recorded, in order, and forgets the record.
    ///
    /// # Errors
    /// If a shape does not fit.
    pub fn commit(&self) -> Result<()> {
        let own = self.values().into_iter().map(|(_, value)| value).collect();
        self.commit_as(own)
    }

    /// What was recorded, in order, and how it becomes one value with that of other parts of the batch.
    pub(crate) fn values(&self) -> Vec<(Reduction, Tensor)> {
        self.pending().iter().map(|entry| (entry.reduction, entry.batch.detach())).collect()
    }

    /// [`StatisticsLog::commit`] of these in place of [`StatisticsLog::values`].
    pub(crate) fn commit_as(&self, values: Vec<Tensor>) -> Result<()> {
        let pending: Vec<PendingStatistics> = self.pending().drain(..).collect();
        for (entry, batch) in pending.iter().zip(values) {
            let PendingStatistics { running, momentum, .. } = entry;
            let kept = running.as_detached_tensor().affine(1.0 - momentum, 0.0)?;
            running.set(&(kept + batch.affine(*momentum, 0.0)?)?)?;
        }
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<PendingStatistics>> {
        // A list of tensors is whole whoever panicked with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
