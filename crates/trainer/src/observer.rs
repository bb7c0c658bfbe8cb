//! Observers of a training run.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::step::StepReport;
use waxwork_media::Artifact;

/// An event of a run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts or resumes at `done` of `total` steps.
    Started {
        /// Steps done before.
        done: u64,
        /// Total number of steps.
        total: u64,
        /// Samples per step.
        batch_size: usize,
    },
    /// A step was done. On a GPU only the reports of logged steps hold scalars.
    Step(&'a StepReport),
    /// A line of metrics.jsonl and one of timing.jsonl were written.
    Logged {
        /// Steps done.
        step: u64,
        /// Losses and other values that the step logged, by name.
        values: &'a [(String, f64)],
        /// Times, rates and memory by name.
        costs: &'a [(&'static str, f64)],
    },
    /// Files that show samples were written.
    Drawn {
        /// Steps done.
        step: u64,
        /// Their contents.
        artifacts: &'a [Artifact],
    },
    /// Metrics on the validation split after `step` steps.
    Validated {
        /// Steps done.
        step: u64,
        /// Metrics by name.
        metrics: &'a BTreeMap<String, f64>,
    },
    /// A checkpoint is on the disk.
    Checkpoint(&'a Path),
    /// The loop ended: normally, early, or with an error.
    Finished,
}

/// Watches a run. An observer cannot change the run's result.
pub trait Observer {
    /// Called for every event, in order.
    fn on(&mut self, event: Event<'_>);
}
