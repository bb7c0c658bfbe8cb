//! Runs on several processes: the loop of all processes but the first, and the work that all of them share.

use std::path::Path;

use waxwork_core::device::runs_on_cpu_kernels;
use waxwork_core::step::Counters;
use waxwork_core::{Device, Error as CoreError, Trainable, TrainingState, hash, store};
use waxwork_data::{Loader, Split};

use crate::config::{Length, TrainConfig};
use crate::stop::{Reason, Stop};
use crate::train::{Validate, due, further, loader};
use crate::{Error, Result};

/// A process other than the first. It computes its share of every step and writes nothing.
pub struct Following<'a> {
    /// The model to train.
    pub model: &'a dyn Trainable,
    /// Optimiser and step, as [`share`] left them.
    pub state: &'a mut TrainingState,
    /// Training samples.
    pub data: &'a Split,
    /// The device that batches are copied to.
    pub device: &'a Device,
    /// Intervals and sizes.
    pub config: &'a TrainConfig,
    /// This process's share of a measurement on the validation split.
    pub validate: Option<&'a Validate<'a>>,
    /// When to ask all processes to stop.
    pub stop: Stop,
}

impl Following<'_> {
    /// Trains until the first process ends the run. Returns true if the run was stopped by a signal or a time
    /// limit, or had found the best weights.
    ///
    /// # Errors
    /// If a batch cannot be read, training diverges, or another process has ended.
    pub fn run(self) -> Result<bool> {
        let length = self.config.length(self.data.len())?;
        let mut batches = loader(self.config, self.state, self.data, self.device)?;
        for done in self.state.steps_done() + 1..=length.steps {
            if stops(self.state, &self.stop, true)?.is_some() {
                return Ok(true);
            }
            step(self.model, self.state, &mut batches, self.device, (done, length))?;
            if due(done, self.config.checkpoint_every, length.steps) || done == length.steps {
                compare_weights(self.model, self.state)?;
            }
            let validates = due(done, self.config.validate_every, length.steps_per_epoch);
            if let (Some(validate), true) = (self.validate, validates || done == length.steps) {
                validate()?;
            }
        }
        Ok(false)
    }
}

fn step(
    model: &dyn Trainable,
    state: &mut TrainingState,
    batches: &mut Loader,
    device: &Device,
    (done, length): (u64, Length),
) -> Result<()> {
    let batch = batches.next().ok_or(Error::NoMoreBatches { done: done - 1, steps: length.steps })??;
    let mut failed = None;
    let mut more = || further(batches, &mut failed);
    let stepped = if runs_on_cpu_kernels(device) {
        state.step_with(model, &batch, &mut more)
    } else {
        state.step_unread_with(model, &batch, &mut more)
    };
    match (failed, stepped) {
        (Some(error), _) => Err(error.into()),
        (None, Err(source @ CoreError::NonFinite { .. })) => {
            Err(Error::Diverged { source, checkpoint: None })
        }
        (None, stepped) => Ok(stepped.map(drop)?),
    }
}

/// Whether all processes stop before the next step, and why. They do if one of them got a stop request or has
/// no reason to continue.
pub(crate) fn stops(state: &TrainingState, stop: &Stop, goes_on: bool) -> Result<Option<Reason>> {
    let own = stop.reason();
    let all = state.collective().all(own.is_none() && goes_on)?;
    // Another process got the signal.
    Ok(if all { None } else { own.or(Some(Reason::Requested)) })
}

/// Checks that all processes have the same weights, moments and averages. Differences from faulty memory or
/// another library would otherwise go unnoticed.
pub(crate) fn compare_weights(model: &dyn Trainable, state: &TrainingState) -> Result<()> {
    let collective = state.collective();
    if collective.size() == 1 {
        return Ok(());
    }
    let mut tensors = state.tensors();
    tensors.extend(model.params().tensors());
    let own = hash::sha256(&store::encode(&tensors)?);
    let all = collective.gather(own.into_bytes())?;
    let Some(rank) = all.iter().position(|other| *other != all[0]) else { return Ok(()) };
    Err(Error::Apart { rank, step: state.steps_done() })
}

/// Gives all processes the weights, moments, averages and counters of the first.
///
/// # Errors
/// If another process has ended, or has another model.
pub fn share(model: &dyn Trainable, state: &mut TrainingState) -> Result<()> {
    let collective = state.collective().clone();
    if collective.size() == 1 {
        return Ok(());
    }
    let first = collective.rank() == 0;
    let own = |encode: &dyn Fn() -> Result<Vec<u8>>| if first { encode() } else { Ok(Vec::new()) };
    let weights = collective.broadcast(own(&|| Ok(store::encode(&model.params().tensors())?))?)?;
    let moments = collective.broadcast(own(&|| Ok(store::encode(&state.tensors())?))?)?;
    let counters = serde_json::to_vec(&state.counters()).map_err(|error| damaged(&error))?;
    let counters = collective.broadcast(counters)?;
    if first {
        return Ok(());
    }
    let device = model.params().device();
    let origin = Path::new("the first process");
    model.params().assign(&store::decode(&weights, origin, device)?)?;
    let counters: Counters = serde_json::from_slice(&counters).map_err(|error| damaged(&error))?;
    Ok(state.restore(&store::decode(&moments, origin, device)?, &counters)?)
}

fn damaged(error: &serde_json::Error) -> CoreError {
    CoreError::Processes { reason: format!("the first process's counters cannot be read: {error}") }
}
