//! The meetings of a step's micro-batches, which sum their values by a fixed binary tree: first within this
//! process, then over all processes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::Result;
use crate::collective::{Collective, Reduction};

/// The values that one or more adjacent micro-batches bring to a meeting.
type Values = Vec<(Reduction, Tensor)>;

/// The meetings of one step. Each combines the values of all micro-batches: those of this process, which run
/// one after the other, and those of other processes.
///
/// The leaves of the tree are the micro-batches of the whole batch in order, and each process has one
/// subtree. A sum of floats depends only on its association, so the bits are the same for any number of
/// processes.
#[derive(Debug)]
pub(super) struct Meetings<'a> {
    collective: &'a dyn Collective,
    /// Number of micro-batches of this process, a power of two.
    lanes: usize,
    /// For each meeting, the sums of complete subtrees so far, with the number of their leaves.
    subtrees: RefCell<BTreeMap<usize, Vec<(usize, Values)>>>,
}

impl<'a> Meetings<'a> {
    pub(super) fn new(collective: &'a dyn Collective, lanes: usize) -> Self {
        Self { collective, lanes, subtrees: RefCell::default() }
    }

    /// Number of micro-batches in the whole batch.
    pub(super) fn micro_batches(&self) -> usize {
        self.lanes * self.collective.size()
    }

    /// The number of this process's micro-batch `lane` in the whole batch.
    pub(super) fn number(&self, lane: usize) -> u64 {
        (self.collective.rank() * self.lanes + lane) as u64
    }

    /// Brings the values of one micro-batch to a meeting. Returns the reduced values once all micro-batches
    /// of this process are there, and None before. They may come in order or in reverse order, which gives
    /// the same tree.
    pub(super) fn bring(&self, meeting: usize, values: Values) -> Result<Option<Vec<Tensor>>> {
        if self.micro_batches() == 1 {
            return Ok(Some(values.into_iter().map(|(_, value)| value).collect()));
        }
        let mut meetings = self.subtrees.borrow_mut();
        let subtrees = meetings.entry(meeting).or_default();
        let mut top = (1, values);
        while let Some((leaves, left)) = subtrees.pop_if(|(leaves, _)| *leaves == top.0) {
            top = (2 * leaves, joined(left, top.1)?);
        }
        if top.0 < self.lanes {
            subtrees.push(top);
            return Ok(None);
        }
        meetings.remove(&meeting);
        drop(meetings);
        self.over_processes(top.1).map(Some)
    }

    fn over_processes(&self, values: Values) -> Result<Vec<Tensor>> {
        let (reductions, tensors): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        // Divide once at the end, since two divisions would round numbers near zero twice.
        let summed = |reduction| if reduction == Reduction::Mean { Reduction::Sum } else { reduction };
        let values = reductions.iter().copied().map(summed).zip(tensors).collect();
        let share = (self.micro_batches() as f64).recip();
        let reduced = reductions.iter().zip(self.collective.reduce(values)?);
        reduced
            .map(|(reduction, value)| match reduction {
                Reduction::Mean => Ok(value.affine(share, 0.0)?),
                _ => Ok(value),
            })
            .collect()
    }
}

/// Combines the values of two adjacent subtrees.
fn joined(left: Values, right: Values) -> Result<Values> {
    let join = |((reduction, left), (_, right)): ((Reduction, Tensor), (Reduction, Tensor))| {
        let value = match reduction {
            Reduction::Max => left.maximum(&right)?,
            Reduction::Mean | Reduction::Sum => (left + right)?,
        };
        Ok((reduction, value))
    };
    left.into_iter().zip(right).map(join).collect()
}

#[cfg(test)]
mod tests;
