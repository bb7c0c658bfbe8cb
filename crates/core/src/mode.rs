//! The mode of a forward pass, and the state that a training step records until its update succeeds.

use std::cell::RefCell;

use candle_core::{Tensor, Var};

use crate::Result;

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

/// Batch statistics seen in a training step, waiting for the update that makes them count.
#[derive(Debug, Default)]
pub struct StatisticsLog(RefCell<Vec<PendingStatistics>>);

#[derive(Debug)]
struct PendingStatistics {
    running: Var,
    batch: Tensor,
    momentum: f64,
}

impl StatisticsLog {
    /// Records what a buffer moves towards, and by how much, once the update succeeds: `running` becomes
    /// (1 − `momentum`) · `running` + `momentum` · `batch`, of one shape.
    pub fn record(&self, running: &Var, batch: Tensor, momentum: f64) {
        self.0.borrow_mut().push(PendingStatistics { running: running.clone(), batch, momentum });
    }

    /// Forgets the record: the step does not count.
    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    /// Moves every running statistic towards what was recorded, in order, and forgets the record.
    pub fn commit(&self) -> Result<()> {
        for PendingStatistics { running, batch, momentum } in self.0.borrow_mut().drain(..) {
            let kept = running.as_detached_tensor().affine(1.0 - momentum, 0.0)?;
            running.set(&(kept + batch.detach().affine(momentum, 0.0)?)?)?;
        }
        Ok(())
    }
}
