//! The mode of a forward pass, and the state that a training step records until its update succeeds.

use std::sync::{Mutex, PoisonError};

use candle_core::{Tensor, Var};

use crate::Result;
use crate::collective::Reduction;

/// Where a forward pass takes its batch statistics from, and whether it records them.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch statistics, recorded and committed with the step.
    Train(&'a StatisticsLog),
    /// Batch statistics, not recorded: for frozen passes, penalties and finite differences.
    Frozen,
    /// Running statistics.
    Eval,
}

/// What a training step recorded and its update will commit: batch statistics, and any other state that is
/// saved but not optimised.
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
    /// Records a change to a buffer for when the update succeeds: `running` becomes (1 − `momentum`) ·
    /// `running` + `momentum` · `batch`, which have the same shape. `reduction` says how to combine the
    /// values of processes that share the batch.
    pub fn record(&self, running: &Var, batch: Tensor, momentum: f64, reduction: Reduction) {
        let entry = PendingStatistics { running: running.clone(), batch, momentum, reduction };
        self.pending().push(entry);
    }

    /// Forgets the record, because the step does not count.
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

    /// The recorded values in order, each with the way to combine it with those of other parts of the batch.
    pub(crate) fn values(&self) -> Vec<(Reduction, Tensor)> {
        self.pending().iter().map(|entry| (entry.reduction, entry.batch.detach())).collect()
    }

    /// [`StatisticsLog::commit`] with these values instead of [`StatisticsLog::values`].
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
        // A panic elsewhere cannot leave this list half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
