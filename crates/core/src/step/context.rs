//! [`StepContext`], through which a model's `step` draws noise, sets the mode of a pass and updates its
//! weights.

use std::sync::Mutex;

use candle_core::{DType, Device, Tensor, Var};

use super::loss::Loss;
use super::loss_scale::LossScale;
use super::meeting::Meetings;
use super::state::{Shared, lock};
use super::trainable::{Batch, Stage};
use crate::collective::Reduction;
use crate::kernels::{self, Gradients};
use crate::mode::{Mode, StatisticsLog};
use crate::optim::{Clock, GroupGradient};
use crate::params::{Kind, ParamGroup, ParamSet};
use crate::profile::Phase;
use crate::rng::Stream;
use crate::scalar::{Check, Scalar, check_known};
use crate::{Error, Result};

/// The place of a training step in its run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) total_steps: u64,
    pub(super) training_samples: Option<usize>,
    pub(super) stage: Stage,
}

/// A process's whole step, as its micro-batches see it.
pub(super) trait WholeStep {
    /// Starts the step on the next micro-batch, if one is left, and runs it as far as it gets.
    fn begin_next(&self) -> Result<()>;

    /// The batch that follows the first `number` extra ones of this step, with all of this process's rows.
    fn further(&self, number: usize) -> Result<Batch>;

    /// Reports scalars for all micro-batches.
    fn report(&self, scalars: Vec<(String, Scalar)>);
}

/// What a model's `step` works with: draws, mode, and the only way to update weights. Each context has its
/// own statistics and scalars and reaches the optimiser only through [`StepContext::update`], so that several
/// micro-batches can be in progress at once.
pub struct StepContext<'a> {
    pub(super) params: &'a ParamSet,
    pub(super) groups: &'a [ParamGroup],
    pub(super) position: Position,
    pub(super) shared: &'a Mutex<Shared>,
    pub(super) meetings: &'a Meetings<'a>,
    pub(super) whole: &'a dyn WholeStep,
    /// The number of this micro-batch in its process, and how many the process has.
    pub(super) lane: usize,
    pub(super) lanes: usize,
    /// Updates of this step so far, and the maximum.
    pub(super) updates: usize,
    pub(super) most_updates: usize,
    pub(super) batches: usize,
    pub(super) statistics: StatisticsLog,
    /// Scalars logged since the last update.
    pub(super) logged: Vec<(String, Reduction, Tensor)>,
}

impl std::fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepContext").field("position", &self.position).field("logged", &self.logged).finish()
    }
}

impl StepContext<'_> {
    /// The step, counted from 0.
    pub fn step(&self) -> u64 {
        self.position.step
    }

    /// The total number of training steps.
    pub fn total_steps(&self) -> u64 {
        self.position.total_steps
    }

    /// The number of training samples, if the training loop knows it.
    pub fn training_samples(&self) -> Option<usize> {
        self.position.training_samples
    }

    /// The model's stage of training.
    pub fn stage(&self) -> Stage {
        self.position.stage
    }

    /// Enters stage `number` from the next step on. Checkpoints store the stage.
    pub fn enter_stage(&mut self, number: u32) {
        self.position.stage = Stage { number, since: self.position.step + 1 };
    }

    /// The device of the model.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The dtype of the model's weights.
    pub fn dtype(&self) -> DType {
        self.params.dtype()
    }

    /// Returns another batch of the same size for this step: the next one of the shuffled training set.
    ///
    /// # Errors
    /// [`Error::NoBatch`] if no batch is left.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let batch = self.whole.further(self.batches)?;
        self.batches += 1;
        if self.lanes == 1 { Ok(batch) } else { batch.part(self.lane, self.lanes) }
    }

    /// The random stream `name` of this step.
    pub fn stream(&self, name: &str) -> Stream {
        Stream::new(self.position.seed, name, self.position.step)
    }

    /// The row numbers of this micro-batch's `n` samples within the whole batch of the step. Draw from
    /// [`StepContext::stream`] by these rows, so that the draws do not depend on the number of processes.
    pub fn rows(&self, n: usize) -> Vec<u64> {
        let first = self.first_row(n);
        (first..first + n as u64).collect()
    }

    fn first_row(&self, n: usize) -> u64 {
        self.meetings.number(self.lane) * n as u64
    }

    /// Draws standard normal noise `name`: `(n, ..sample)` in the model's dtype, one row for each of
    /// [`StepContext::rows`].
    pub fn normal(&self, name: &str, n: usize, sample: impl Into<candle_core::Shape>) -> Result<Tensor> {
        let noise = match &mut lock(self.shared).prefetch {
            Some(prefetch) => {
                let first = self.first_row(n);
                prefetch.normal(name, (first, n), &sample.into(), self.position.step, self.device())?
            }
            None => self.stream(name).normal(&self.rows(n), sample, self.device())?,
        };
        Ok(noise.to_dtype(self.params.dtype())?)
    }

    /// The mode of a training pass: its batch statistics count once [`StepContext::update`] succeeds.
    pub fn train(&self) -> Mode<'_> {
        Mode::Train(&self.statistics)
    }

    /// Records state that is saved but not optimised. Once [`StepContext::update`] succeeds, `buffer` becomes
    /// (1 − `momentum`) · `buffer` + `momentum` · `value`; a momentum of 1 replaces it. `reduction` says how
    /// to combine the values of several processes.
    pub fn record(&self, buffer: &Var, value: Tensor, momentum: f64, reduction: Reduction) {
        self.statistics.record(buffer, value, momentum, reduction);
    }

    /// Reports a scalar that is not part of a loss, such as D(real). Processes that share the batch report
    /// its mean.
    ///
    /// # Errors
    /// If it has more than one value.
    pub fn log(&mut self, name: &str, value: &Tensor) -> Result<()> {
        self.log_reduced(name, value, Reduction::Mean)
    }

    /// Reports a scalar that is not part of a loss; `reduction` combines the values of several processes.
    ///
    /// # Errors
    /// If it has more than one value.
    pub fn log_reduced(&mut self, name: &str, value: &Tensor, reduction: Reduction) -> Result<()> {
        // Fails here, rather than later, if the value is not a scalar.
        Scalar::of(value)?;
        self.logged.push((name.to_owned(), reduction, value.detach()));
        Ok(())
    }

    /// Reports what was logged after the last update, and returns the stage of the next step.
    pub(super) fn finish(mut self) -> Result<Stage> {
        let (names, values) = named(std::mem::take(&mut self.logged));
        if !values.is_empty()
            && let Some(values) = self.meetings.bring(usize::MAX, values)?
        {
            self.whole.report(reported(names, &values)?);
        }
        Ok(self.position.stage)
    }

    /// Brings values to the meeting of an update. The last micro-batch to arrive gets the reduced values and
    /// does the update for all. The others get None; unless it is the step's last update, it has already been
    /// done by then.
    fn meet(&mut self, values: Vec<(Reduction, Tensor)>) -> Result<Option<Vec<Tensor>>> {
        let meeting = self.updates;
        self.updates += 1;
        if self.lanes > 1 && meeting >= self.most_updates {
            return Err(Error::ManyUpdates { most: self.most_updates });
        }
        let whole = self.meetings.bring(meeting, values)?;
        // Before the last update, each micro-batch starts the next one from in here. So the innermost arrives
        // last and continues first. At the last update, no micro-batch waits: they arrive in the order in
        // which they end.
        if whole.is_none() && meeting + 1 < self.most_updates {
            self.whole.begin_next()?;
        }
        Ok(whole)
    }

    /// Decides whether an update may proceed although some of its values are not yet known. They are assumed
    /// to be finite and checked when they are read. Under loss scaling, where overflows are expected, they
    /// are read now.
    fn all_finite(&self, checks: Vec<(String, Scalar)>, scalars: &mut Vec<(String, Scalar)>) -> Result<bool> {
        let step = self.position.step;
        let unread = checks.into_iter().filter_map(|(term, value)| match value {
            Scalar::Unread(value) => Some(Check { step, term, value }),
            Scalar::Known(_) => None,
        });
        let mut shared = lock(self.shared);
        let Some(scale) = shared.loss_scale else {
            shared.unread.extend(unread);
            return Ok(true);
        };
        let unread: Vec<Check> = unread.collect();
        let values: Vec<Tensor> = unread.iter().map(|check| check.value.clone()).collect();
        let values = kernels::scalars(&values)?;
        let wrong = values.iter().position(|value| !value.is_finite());
        scalars.push(("scale/loss".to_owned(), Scalar::Known(scale.factor())));
        match (scale.after(wrong.is_none()), wrong) {
            (Some(next), wrong) => {
                shared.loss_scale = Some(next);
                Ok(wrong.is_none())
            }
            (None, wrong) => {
                let place = wrong.unwrap_or_default();
                Err(Error::NonFinite { step, term: unread[place].term.clone(), value: values[place] })
            }
        }
    }

    /// Minimises `loss` over the named groups: backward, mean over micro-batches and processes, finite check,
    /// clipping, schedule, Adam, moving average, statistics, logging. Takes the loss by value, because its
    /// graph must not outlive an update of the weights that it was made from.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything changes, on the CPU; a device is not waited for, see
    /// [`TrainingState::step_unread`](super::TrainingState::step_unread). [`Error::NoGradient`] if a weight
    /// of a group got none.
    pub fn update(&mut self, groups: &[&str], loss: Loss) -> Result<()> {
        let step = self.position.step;
        let Loss { name, total, terms } = loss;
        let logged = self.logged.len();
        let mut scalars = std::mem::take(&mut self.logged);
        scalars.push((name.to_owned(), Reduction::Mean, total.detach()));
        scalars.extend(terms.into_iter().map(|(name, value)| (name.to_owned(), Reduction::Mean, value)));
        let (names, mut values) = named(scalars);
        if self.meetings.micro_batches() == 1 {
            // A known value that is not finite ends the step before the backward pass.
            let own: Vec<Tensor> = values[logged..].iter().map(|(_, value)| value.clone()).collect();
            check_loss(step, &names[logged..], &own)?;
        }

        let factor = {
            let mut shared = lock(self.shared);
            shared.enter(Phase::Backward)?;
            shared.loss_scale.map_or(1.0, LossScale::factor)
        };
        let scaled = if factor == 1.0 { total } else { total.affine(factor, 0.0)? };
        let mut gradients = kernels::backward(&scaled)?;
        drop(scaled);
        lock(self.shared).enter(Phase::Optimiser)?;
        let mut updated = Vec::with_capacity(groups.len());
        for name in groups {
            let group = self
                .groups
                .iter()
                .find(|group| group.name == *name)
                .ok_or_else(|| Error::UnknownGroup { name: (*name).to_owned() })?;
            let own = self.take_gradients(group, &mut gradients)?;
            updated.push(group);
            values.extend(own.into_iter().map(|gradient| (Reduction::Mean, gradient)));
        }
        drop(gradients);
        values.extend(self.statistics.values());
        match self.meet(values)? {
            Some(values) => self.apply(names, logged, &updated, values, factor)?,
            None => self.statistics.forget(),
        }
        lock(self.shared).enter(Phase::Forward)
    }

    /// Does the update, once for all micro-batches. `values` are their scalars, of which the first `logged`
    /// are not part of the loss, then their gradients by group, then their statistics.
    fn apply(
        &self,
        names: Vec<String>,
        logged: usize,
        groups: &[&ParamGroup],
        mut values: Vec<Tensor>,
        factor: f64,
    ) -> Result<()> {
        let clock = Clock { step: self.position.step, total: self.position.total_steps };
        let mut rest = values.split_off(names.len());
        let mut checks = check_loss(clock.step, &names[logged..], &values[logged..])?;
        let mut scalars = reported(names, &values)?;
        let mut updates = Vec::with_capacity(groups.len());
        for group in groups {
            let after = rest.split_off(group.params.len());
            let gradient = GroupGradient::new(std::mem::replace(&mut rest, after), factor)?;
            let term = format!("the gradient of `{}`", group.name);
            check_known(clock.step, &term, &gradient.norm)?;
            checks.push((term, gradient.norm.clone()));
            scalars.push((format!("grad_norm/{}", group.name), gradient.norm.clone()));
            updates.push((group, gradient));
        }
        let finite = self.all_finite(checks, &mut scalars)?;
        self.whole.report(scalars);
        if !finite {
            self.statistics.forget();
            return Ok(());
        }
        let mut shared = lock(self.shared);
        for (group, gradient) in updates {
            let Shared { adam, ema, .. } = &mut *shared;
            adam.update(self.params, group, gradient, clock, ema.as_ref())?;
        }
        self.statistics.commit_as(rest)?;
        if let Some(ema) = &shared.ema {
            copy_buffers(self.params, ema)?;
        }
        Ok(())
    }

    fn take_gradients(&self, group: &ParamGroup, gradients: &mut Gradients) -> Result<Vec<Tensor>> {
        let take = |name: &String| {
            let gradient = self.params.get(name).map_or(Ok(None), |var| gradients.take(var))?;
            gradient.ok_or_else(|| Error::NoGradient { name: name.clone() })
        };
        group.params.iter().map(take).collect()
    }
}

/// The names, and the values to reduce.
fn named(scalars: Vec<(String, Reduction, Tensor)>) -> (Vec<String>, Vec<(Reduction, Tensor)>) {
    scalars.into_iter().map(|(name, reduction, value)| (name, (reduction, value))).unzip()
}

fn reported(names: Vec<String>, values: &[Tensor]) -> Result<Vec<(String, Scalar)>> {
    names.into_iter().zip(values).map(|(name, value)| Ok((name, Scalar::of(value)?))).collect()
}

/// The loss, which comes first, and its terms, as values that must be finite.
///
/// # Errors
/// [`Error::NonFinite`] for the first value that is known and not finite.
fn check_loss(step: u64, names: &[String], values: &[Tensor]) -> Result<Vec<(String, Scalar)>> {
    let check = |(name, value): (&String, &Tensor)| Ok((format!("`{name}`"), Scalar::of(value)?));
    let mut checks: Vec<(String, Scalar)> = names.iter().zip(values).map(check).collect::<Result<_>>()?;
    // The terms come before their sum, so that the message names the term at fault.
    checks.rotate_left(1);
    checks.iter().try_for_each(|(term, value)| check_known(step, term, value))?;
    Ok(checks)
}

fn copy_buffers(from: &ParamSet, to: &ParamSet) -> Result<()> {
    for (name, kind, var) in from.iter() {
        if let (Kind::Buffer, Some(copy)) = (kind, to.get(name)) {
            copy.set(&var.as_detached_tensor())?;
        }
    }
    Ok(())
}
