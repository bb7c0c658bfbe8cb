//! Everything that training changes besides the model's own parameters.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::context::StepContext;
use super::loss_scale::LossScale;
use super::trainable::{Batch, Trainable};
#[cfg(doc)]
use crate::Error;
use crate::device::runs_on_cpu_kernels;
use crate::mode::StatisticsLog;
use crate::optim::{Adam, OptimizerConfig};
use crate::params::{ParamSet, Precision};
use crate::prefetch::Prefetch;
use crate::profile::{Phase, Profile};
use crate::scalar::{Check, Scalar, check_finite};
use crate::{Result, kernels};

/// Checks that may wait before somebody reads them.
const MOST_UNREAD: usize = 4096;

/// What one step reported: scalars by name, in the order in which the step logged them.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, counted from 0.
    pub step: u64,
    /// Losses, their terms, gradient norms and whatever the model logged; nothing after [`TrainingState::step_unread`].
    pub scalars: Vec<(String, f64)>,
}

/// Counters that a checkpoint holds beside the tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps done.
    pub step: u64,
    /// Updates of each group.
    pub updates: BTreeMap<String, u64>,
    /// The factor on losses, where layers multiply in f16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// Everything that training changes besides the model's own parameters: optimiser, moving average, step.
#[derive(Debug)]
pub struct TrainingState {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) total_steps: u64,
    pub(super) adam: Adam,
    /// Exponential moving average of the weights under the same names; buffers are copied.
    pub(super) ema: Option<ParamSet>,
    /// Where layers multiply in f16.
    pub(super) loss_scale: Option<LossScale>,
    /// What was not read yet of the steps since the last reading, in order.
    pub(super) unread: Vec<Check>,
    /// Draws noise ahead where a device computes.
    pub(super) prefetch: Option<RefCell<Prefetch>>,
    /// Where the time goes, where somebody asked.
    pub(super) profile: Option<Profile>,
}

impl TrainingState {
    /// The state before the first step. `total_steps` is the run's length, for schedules.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting makes no sense or names a group that the model does not have.
    pub fn new(
        model: &(impl Trainable + ?Sized),
        config: OptimizerConfig,
        seed: u64,
        total_steps: u64,
    ) -> Result<Self> {
        let ema = config.ema.map(|_| model.params().deep_copy()).transpose()?;
        let adam = Adam::new(model.params(), model.groups(), config)?;
        let device = model.params().device();
        let prefetch =
            (!runs_on_cpu_kernels(device)).then(|| Prefetch::new(seed).map(RefCell::new)).transpose()?;
        let loss_scale = (model.params().precision() == Precision::F16).then_some(LossScale::FIRST);
        Ok(Self {
            seed,
            step: 0,
            total_steps,
            adam,
            ema,
            loss_scale,
            unread: vec![],
            prefetch,
            profile: None,
        })
    }

    /// Trains `model` on one batch and reads what the step reports, which waits for a device.
    ///
    /// # Errors
    /// [`Error::NonFinite`] names the step and the loss term or gradient. On the CPU that is this step, and parameters are
    /// as the last whole update left them; a device may have gone on from an earlier step.
    pub fn step(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<StepReport> {
        let step = self.step;
        let scalars = self.advance(model, batch)?;
        Ok(StepReport { step, scalars: self.read(scalars)? })
    }

    /// Trains `model` on one batch without waiting for a device: what it reports is empty, and whether everything was
    /// finite is found out at the next [`TrainingState::step`] or [`TrainingState::settle`]. On the CPU nothing waits, and
    /// nothing differs from [`TrainingState::step`] but the report.
    ///
    /// # Errors
    /// As [`TrainingState::step`].
    pub fn step_unread(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<StepReport> {
        let step = self.step;
        self.advance(model, batch)?;
        if self.unread.len() > MOST_UNREAD {
            self.settle()?;
        }
        Ok(StepReport { step, scalars: vec![] })
    }

    /// Waits for the device and checks all steps that were not read: before anything is kept of them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for the first value that is not.
    pub fn settle(&mut self) -> Result<()> {
        self.read(vec![]).map(drop)
    }

    /// Reads scalars, and all that was not read before, at once.
    fn read(&mut self, scalars: Vec<(String, Scalar)>) -> Result<Vec<(String, f64)>> {
        let checks = std::mem::take(&mut self.unread);
        let of_scalars = scalars.iter().filter_map(|(_, scalar)| match scalar {
            Scalar::Unread(tensor) => Some(tensor),
            Scalar::Known(_) => None,
        });
        // Most scalars are checks too.
        let (mut places, mut tensors) = (HashMap::new(), Vec::new());
        for tensor in checks.iter().map(|check| &check.value).chain(of_scalars) {
            places.entry(tensor.id()).or_insert_with(|| {
                tensors.push(tensor.clone());
                tensors.len() - 1
            });
        }
        let values = kernels::scalars(&tensors)?;
        let value = |tensor: &Tensor| places.get(&tensor.id()).map_or(f64::NAN, |&place| values[place]);
        for Check { step, term, value: tensor } in &checks {
            check_finite(*step, || term.clone(), value(tensor))?;
        }
        let known = |(name, scalar)| match scalar {
            Scalar::Known(value) => (name, value),
            Scalar::Unread(tensor) => (name, value(&tensor)),
        };
        Ok(scalars.into_iter().map(known).collect())
    }

    fn advance(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<Vec<(String, Scalar)>> {
        self.enter(Phase::Forward)?;
        let mut ctx = StepContext {
            params: model.params(),
            groups: model.groups(),
            state: self,
            statistics: StatisticsLog::default(),
            scalars: Vec::new(),
        };
        model.step(batch, &mut ctx)?;
        let scalars = ctx.scalars;
        if let Some(prefetch) = &self.prefetch {
            prefetch.borrow_mut().go_on(self.step);
        }
        self.step += 1;
        self.profile.iter_mut().for_each(Profile::count_step);
        self.enter(Phase::Other)?;
        Ok(scalars)
    }

    /// Watches from now on where the time goes, on the device that the model is on.
    pub fn start_profile(&mut self, device: &Device) {
        self.profile = Some(Profile::start(device));
    }

    /// Where the time went since [`TrainingState::start_profile`], if that was called.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Tells the profile, if there is one, what the training loop does from here on; [`TrainingState::step`] tells it of
    /// what it does itself, and leaves it at [`Phase::Other`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn enter(&mut self, phase: Phase) -> Result<()> {
        self.profile.as_mut().map_or(Ok(()), |profile| profile.enter(phase))
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The run's length.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The moving average as a frozen set that follows it, where the settings ask for one: build the sampling twin from it.
    pub fn ema(&self) -> Option<ParamSet> {
        self.ema.as_ref().map(ParamSet::frozen)
    }

    /// The moving average's tensors under the model's own names, buffers too, where the settings ask for one.
    pub fn ema_tensors(&self) -> Option<BTreeMap<String, Tensor>> {
        self.ema.as_ref().map(ParamSet::tensors)
    }

    /// Moments as `first/NAME`, `second/NAME`, and the average as `ema/NAME`; they share storage.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = self.adam.tensors();
        if let Some(ema) = &self.ema {
            tensors.extend(ema.tensors().into_iter().map(|(name, tensor)| (format!("ema/{name}"), tensor)));
        }
        tensors
    }

    /// The counters to save beside [`TrainingState::tensors`].
    pub fn counters(&self) -> Counters {
        let updates = self.adam.updates().clone();
        Counters { step: self.step, updates, loss_scale: self.loss_scale }
    }

    /// Puts back what [`TrainingState::tensors`] and [`TrainingState::counters`] gave.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] names the tensor.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Counters) -> Result<()> {
        self.adam.restore(tensors, &counters.updates)?;
        if let Some(ema) = &self.ema {
            let prefix = "ema/";
            let stored = tensors.iter().filter_map(|(name, tensor)| {
                name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.clone()))
            });
            ema.assign(&stored.collect())?;
        }
        self.step = counters.step;
        if self.loss_scale.is_some() {
            self.loss_scale = counters.loss_scale.or(self.loss_scale);
        }
        Ok(())
    }
}
