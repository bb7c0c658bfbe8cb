//! What a model's `step` sees: draws, the mode of a pass, and the door to the optimiser.

use candle_core::{Device, Tensor};

use super::loss::Loss;
use super::loss_scale::LossScale;
use super::state::TrainingState;
use crate::kernels::{self, Gradients};
use crate::mode::{Mode, StatisticsLog};
use crate::optim::{Clock, GroupGradient};
use crate::params::{Kind, ParamGroup, ParamSet};
use crate::profile::Phase;
use crate::rng::Stream;
use crate::scalar::{Check, Scalar, check_known};
use crate::{Error, Result};

/// What a model's `step` sees: draws, mode, and the door to the optimiser.
#[derive(Debug)]
pub struct StepContext<'a> {
    pub(super) params: &'a ParamSet,
    pub(super) groups: &'a [ParamGroup],
    pub(super) state: &'a mut TrainingState,
    pub(super) statistics: StatisticsLog,
    pub(super) scalars: Vec<(String, Scalar)>,
}

impl StepContext<'_> {
    /// The step, counted from 0.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// The device of the model.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The draws called `name` of this step.
    pub fn stream(&self, name: &str) -> Stream {
        Stream::new(self.state.seed, name, self.state.step)
    }

    /// Standard normal noise called `name`: `(n, ..sample)` in the model's type.
    pub fn normal(&self, name: &str, n: usize, sample: impl Into<candle_core::Shape>) -> Result<Tensor> {
        let noise = match &self.state.prefetch {
            Some(prefetch) => {
                prefetch.borrow_mut().normal(name, n, &sample.into(), self.state.step, self.device())?
            }
            None => {
                let rows: Vec<u64> = (0..n as u64).collect();
                self.stream(name).normal(&rows, sample, self.device())?
            }
        };
        Ok(noise.to_dtype(self.params.dtype())?)
    }

    /// The mode of a training pass: batch statistics that count once [`StepContext::update`] succeeds.
    pub fn train(&self) -> Mode<'_> {
        Mode::Train(&self.statistics)
    }

    /// Reports a scalar that is not part of a loss, such as D(real).
    ///
    /// # Errors
    /// If it has more values than one.
    pub fn log(&mut self, name: &str, value: &Tensor) -> Result<()> {
        self.scalars.push((name.to_owned(), Scalar::of(value)?));
        Ok(())
    }

    /// Whether an update may go on that depends on values which are not known. They are taken for finite, and looked at
    /// when they are read; under loss scaling, where overflows are expected, they are read now.
    fn all_finite(&mut self, checks: Vec<(String, Scalar)>) -> Result<bool> {
        let step = self.state.step;
        let unread = checks.into_iter().filter_map(|(term, value)| match value {
            Scalar::Unread(value) => Some(Check { step, term, value }),
            Scalar::Known(_) => None,
        });
        let Some(scale) = self.state.loss_scale else {
            self.state.unread.extend(unread);
            return Ok(true);
        };
        let unread: Vec<Check> = unread.collect();
        let values: Vec<Tensor> = unread.iter().map(|check| check.value.clone()).collect();
        let values = kernels::scalars(&values)?;
        let wrong = values.iter().position(|value| !value.is_finite());
        self.scalars.push(("scale/loss".to_owned(), Scalar::Known(scale.factor())));
        match (scale.after(wrong.is_none()), wrong) {
            (Some(next), wrong) => {
                self.state.loss_scale = Some(next);
                Ok(wrong.is_none())
            }
            (None, wrong) => {
                let place = wrong.unwrap_or_default();
                Err(Error::NonFinite { step, term: unread[place].term.clone(), value: values[place] })
            }
        }
    }

    /// Minimises `loss` over the named groups: backward, finite check, clipping, schedule, Adam, moving average,
    /// statistics, logging. Takes the loss by value, because its graph must not outlive an update of what it was made of.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything changes, if our kernels compute (a device is not waited for: see
    /// [`TrainingState::step_unread`]); [`Error::NoGradient`] if a weight of a group got none.
    pub fn update(&mut self, groups: &[&str], loss: Loss) -> Result<()> {
        let clock = Clock { step: self.state.step, total: self.state.total_steps };
        let Loss { name, total, terms } = loss;
        let sum = (name, Scalar::of(&total)?);
        let parts = terms.iter().map(|(name, value)| Ok((*name, Scalar::of(value)?)));
        let parts: Vec<(&str, Scalar)> = parts.collect::<Result<_>>()?;
        // The parts come before their sum, so that the message names the part that broke it.
        let mut checks: Vec<(String, Scalar)> =
            parts.iter().chain([&sum]).map(|(name, value)| (format!("`{name}`"), value.clone())).collect();
        let reported = [sum].into_iter().chain(parts);
        self.scalars.extend(reported.map(|(name, value)| (name.to_owned(), value)));
        // A known value that is not finite ends the step before anything is differentiated.
        checks.iter().try_for_each(|(term, value)| check_known(clock.step, term, value))?;

        self.state.enter(Phase::Backward)?;
        let factor = self.state.loss_scale.map_or(1.0, LossScale::factor);
        let scaled = if factor == 1.0 { total } else { total.affine(factor, 0.0)? };
        let mut gradients = kernels::backward(&scaled)?;
        drop((scaled, terms));
        self.state.enter(Phase::Optimiser)?;
        let mut updates = Vec::with_capacity(groups.len());
        for name in groups {
            let group = self
                .groups
                .iter()
                .find(|group| group.name == *name)
                .ok_or_else(|| Error::UnknownGroup { name: (*name).to_owned() })?;
            let gradient = GroupGradient::new(self.take_gradients(group, &mut gradients)?, factor)?;
            let term = format!("the gradient of `{}`", group.name);
            check_known(clock.step, &term, &gradient.norm)?;
            checks.push((term, gradient.norm.clone()));
            self.scalars.push((format!("grad_norm/{}", group.name), gradient.norm.clone()));
            updates.push((group, gradient));
        }
        if !self.all_finite(checks)? {
            self.statistics.forget();
            return Ok(());
        }
        for (group, gradient) in updates {
            let TrainingState { adam, ema, .. } = &mut *self.state;
            adam.update(self.params, group, gradient, clock, ema.as_ref())?;
        }
        self.statistics.commit()?;
        if let Some(ema) = &self.state.ema {
            copy_buffers(self.params, ema)?;
        }
        self.state.enter(Phase::Forward)
    }

    fn take_gradients(&self, group: &ParamGroup, gradients: &mut Gradients) -> Result<Vec<Tensor>> {
        let take = |name: &String| {
            let gradient = self.params.get(name).map_or(Ok(None), |var| gradients.take(var))?;
            gradient.ok_or_else(|| Error::NoGradient { name: name.clone() })
        };
        group.params.iter().map(take).collect()
    }
}

fn copy_buffers(from: &ParamSet, to: &ParamSet) -> Result<()> {
    for (name, kind, var) in from.iter() {
        if let (Kind::Buffer, Some(copy)) = (kind, to.get(name)) {
            copy.set(&var.as_detached_tensor())?;
        }
    }
    Ok(())
}
