//! What a model's `step` sees: draws, the mode of a pass, and the door to the optimiser.

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

/// Where a training step stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) total_steps: u64,
    pub(super) training_samples: Option<usize>,
    pub(super) stage: Stage,
}

/// The step of a process, as its micro-batches see it.
pub(super) trait WholeStep {
    /// Does the step on the next micro-batch that has not begun, if there is one, as far as it comes.
    fn begin_next(&self) -> Result<()>;

    /// The batch that follows `number` others of this step, all of this process's rows.
    fn further(&self, number: usize) -> Result<Batch>;

    /// Reports scalars of all micro-batches.
    fn report(&self, scalars: Vec<(String, Scalar)>);
}

/// What a model's `step` sees: draws, mode, and the door to the optimiser. Statistics and scalars are its own; it shares the optimiser
/// only through [`StepContext::update`], so that several parts of a batch can be on their way at once.
pub struct StepContext<'a> {
    pub(super) params: &'a ParamSet,
    pub(super) groups: &'a [ParamGroup],
    pub(super) position: Position,
    pub(super) shared: &'a Mutex<Shared>,
    pub(super) meetings: &'a Meetings<'a>,
    pub(super) whole: &'a dyn WholeStep,
    /// Which of this process's micro-batches it is, and how many there are.
    pub(super) lane: usize,
    pub(super) lanes: usize,
    /// Updates of this step so far, and the most that there may be.
    pub(super) updates: usize,
    pub(super) most_updates: usize,
    pub(super) batches: usize,
    pub(super) statistics: StatisticsLog,
    /// What was logged since the last update.
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

    /// The number of training samples, where the training loop knows it.
    pub fn training_samples(&self) -> Option<usize> {
        self.position.training_samples
    }

    /// The stage of training that the model is in.
    pub fn stage(&self) -> Stage {
        self.position.stage
    }

    /// Enters stage `number` from the next step on. Checkpoints hold it.
    pub fn enter_stage(&mut self, number: u32) {
        self.position.stage = Stage { number, since: self.position.step + 1 };
    }

    /// The device of the model.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The type of the model's weights.
    pub fn dtype(&self) -> DType {
        self.params.dtype()
    }

    /// Another batch of this step, of the same size: the next of the shuffled training set.
    ///
    /// # Errors
    /// [`Error::NoBatch`] if there is none.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let batch = self.whole.further(self.batches)?;
        self.batches += 1;
        if self.lanes == 1 { Ok(batch) } else { batch.part(self.lane, self.lanes) }
    }

    /// The draws called `name` of this step.
    pub fn stream(&self, name: &str) -> Stream {
        Stream::new(self.position.seed, name, self.position.step)
    }

    /// The rows of a batch of `n` samples within the batch of the whole step, of which other micro-batches have other parts. Draws of
    /// [`StepContext::stream`] are made for these, so that they do not depend on how many processes there are.
    pub fn rows(&self, n: usize) -> Vec<u64> {
        let first = self.first_row(n);
        (first..first + n as u64).collect()
    }

    fn first_row(&self, n: usize) -> u64 {
        self.meetings.number(self.lane) * n as u64
    }

    /// Standard normal noise called `name`: `(n, ..sample)` in the model's type, a row for each of [`StepContext::rows`].
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

    /// The mode of a training pass: batch statistics that count once [`StepContext::update`] succeeds.
    pub fn train(&self) -> Mode<'_> {
        Mode::Train(&self.statistics)
    }

    /// Records state that is saved but not optimised: once [`StepContext::update`] succeeds, `buffer` becomes
    /// (1 − `momentum`) · `buffer` + `momentum` · `value`, so 1 replaces it. `reduction` says how the values of several processes
    /// become one.
    pub fn record(&self, buffer: &Var, value: Tensor, momentum: f64, reduction: Reduction) {
        self.statistics.record(buffer, value, momentum, reduction);
    }

    /// Reports a scalar that is not part of a loss, such as D(real): its mean, if several processes share the batch.
    ///
    /// # Errors
    /// If it has more values than one.
    pub fn log(&mut self, name: &str, value: &Tensor) -> Result<()> {
        self.log_reduced(name, value, Reduction::Mean)
    }

    /// Reports a scalar that is not part of a loss, and says how those of several processes become one.
    ///
    /// # Errors
    /// If it has more values than one.
    pub fn log_reduced(&mut self, name: &str, value: &Tensor, reduction: Reduction) -> Result<()> {
        // Says now whether it is a scalar.
        Scalar::of(value)?;
        self.logged.push((name.to_owned(), reduction, value.detach()));
        Ok(())
    }

    /// Reports what was logged after the last update; the stage for the next step.
    pub(super) fn finish(mut self) -> Result<Stage> {
        let (names, values) = named(std::mem::take(&mut self.logged));
        if !values.is_empty()
            && let Some(values) = self.meetings.bring(usize::MAX, values)?
        {
            self.whole.report(reported(names, &values)?);
        }
        Ok(self.position.stage)
    }

    /// Brings values to the meeting of an update: the reduced ones for the micro-batch that comes last, which does the update for all,
    /// and None for the others. Where more of the step may follow, the update is done when this returns.
    fn meet(&mut self, values: Vec<(Reduction, Tensor)>) -> Result<Option<Vec<Tensor>>> {
        let meeting = self.updates;
        self.updates += 1;
        if self.lanes > 1 && meeting >= self.most_updates {
            return Err(Error::ManyUpdates { most: self.most_updates });
        }
        let whole = self.meetings.bring(meeting, values)?;
        // In the first of two updates each begins the next from within, so that the innermost comes last, and goes on first. In the
        // last update nobody waits: they come in the order in which they end.
        if whole.is_none() && meeting + 1 < self.most_updates {
            self.whole.begin_next()?;
        }
        Ok(whole)
    }

    /// Whether an update may go on that depends on values which are not known. They are taken for finite, and looked at
    /// when they are read; under loss scaling, where overflows are expected, they are read now.
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

    /// Minimises `loss` over the named groups: backward, mean over micro-batches and processes, finite check, clipping, schedule, Adam,
    /// moving average, statistics, logging. Takes the loss by value, because its graph must not outlive an update of what it was made
    /// of.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything changes, if our kernels compute (a device is not waited for: see
    /// [`TrainingState::step_unread`](super::TrainingState::step_unread)); [`Error::NoGradient`] if a weight of a group got none.
    pub fn update(&mut self, groups: &[&str], loss: Loss) -> Result<()> {
        let step = self.position.step;
        let Loss { name, total, terms } = loss;
        let logged = self.logged.len();
        let mut scalars = std::mem::take(&mut self.logged);
        scalars.push((name.to_owned(), Reduction::Mean, total.detach()));
        scalars.extend(terms.into_iter().map(|(name, value)| (name.to_owned(), Reduction::Mean, value)));
        let (names, mut values) = named(scalars);
        if self.meetings.micro_batches() == 1 {
            // A known value that is not finite ends the step before anything is differentiated.
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

    /// The update itself, once for all micro-batches: with their scalars, of which the first `logged` are not of the loss, their
    /// gradients by group, and their statistics.
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

/// Names, and values to reduce.
fn named(scalars: Vec<(String, Reduction, Tensor)>) -> (Vec<String>, Vec<(Reduction, Tensor)>) {
    scalars.into_iter().map(|(name, reduction, value)| (name, (reduction, value))).unzip()
}

fn reported(names: Vec<String>, values: &[Tensor]) -> Result<Vec<(String, Scalar)>> {
    names.into_iter().zip(values).map(|(name, value)| Ok((name, Scalar::of(value)?))).collect()
}

/// A loss, which comes first, and its terms, as values that have to be finite.
///
/// # Errors
/// [`Error::NonFinite`] for the first that is known and is not.
fn check_loss(step: u64, names: &[String], values: &[Tensor]) -> Result<Vec<(String, Scalar)>> {
    let check = |(name, value): (&String, &Tensor)| Ok((format!("`{name}`"), Scalar::of(value)?));
    let mut checks: Vec<(String, Scalar)> = names.iter().zip(values).map(check).collect::<Result<_>>()?;
    // The parts come before their sum, so that the message names the part that broke it.
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
