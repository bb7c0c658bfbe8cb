//! The state that training changes besides the model's own parameters.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::context::{Position, StepContext, WholeStep};
use super::loss_scale::LossScale;
use super::meeting::Meetings;
use super::trainable::{Batch, Stage, Trainable};
use crate::collective::{Collective, OneProcess};
use crate::device::runs_on_cpu_kernels;
use crate::mode::StatisticsLog;
use crate::optim::{Adam, OptimizerConfig};
use crate::params::{ParamSet, Precision};
use crate::prefetch::Prefetch;
use crate::profile::{Phase, Profile};
use crate::scalar::{Check, Scalar, check_finite};
use crate::{Error, Result, kernels};

/// The most checks that may wait to be read.
const MOST_UNREAD: usize = 4096;

/// The report of one step: scalars by name, in the order in which the step logged them.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, counted from 0.
    pub step: u64,
    /// Losses, their terms, gradient norms and the model's own scalars; empty after
    /// [`TrainingState::step_unread`].
    pub scalars: Vec<(String, f64)>,
}

/// Counters that a checkpoint holds besides the tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps done.
    pub step: u64,
    /// Batches taken, if not one per step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<u64>,
    /// The stage of training, if the model has more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Updates of each group.
    pub updates: BTreeMap<String, u64>,
    /// The factor on losses, if layers compute in f16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// State that the contexts of a step share; they touch it only to draw and to update.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) adam: Adam,
    /// Exponential moving average of the weights under the same names; buffers are copied.
    pub(super) ema: Option<ParamSet>,
    /// Present if layers compute in f16.
    pub(super) loss_scale: Option<LossScale>,
    /// Checks of the steps since the last reading that have not been read yet, in order.
    pub(super) unread: Vec<Check>,
    /// Draws noise ahead, on a device.
    pub(super) prefetch: Option<Prefetch>,
    /// Where the time goes, if profiling is on.
    pub(super) profile: Option<Profile>,
}

impl Shared {
    pub(super) fn enter(&mut self, phase: Phase) -> Result<()> {
        self.profile.as_mut().map_or(Ok(()), |profile| profile.enter(phase))
    }
}

/// Ignores poisoning: a step that panicked has no result, so the state that it left is never used.
pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state that training changes besides the model's own parameters: optimiser, moving average, step.
#[derive(Debug)]
pub struct TrainingState {
    seed: u64,
    step: u64,
    batches: u64,
    total_steps: u64,
    training_samples: Option<usize>,
    stage: Stage,
    collective: Arc<dyn Collective>,
    lanes: usize,
    shared: Mutex<Shared>,
}

impl TrainingState {
    /// The state before the first step. `total_steps` is the run's length, for schedules.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is invalid or names a group that the model does not have.
    pub fn new(
        model: &(impl Trainable + ?Sized),
        config: OptimizerConfig,
        seed: u64,
        total_steps: u64,
    ) -> Result<Self> {
        let ema = config.ema.map(|_| model.params().deep_copy()).transpose()?;
        let adam = Adam::new(model.params(), model.groups(), config)?;
        let device = model.params().device();
        let prefetch = (!runs_on_cpu_kernels(device)).then(|| Prefetch::new(seed)).transpose()?;
        let loss_scale = (model.params().precision() == Precision::F16).then_some(LossScale::FIRST);
        let shared = Shared { adam, ema, loss_scale, unread: vec![], prefetch, profile: None };
        Ok(Self {
            seed,
            step: 0,
            batches: 0,
            total_steps,
            training_samples: None,
            stage: Stage::default(),
            collective: Arc::new(OneProcess),
            lanes: 1,
            shared: Mutex::new(shared),
        })
    }

    /// Sets the number of samples in the training set, for steps that need it.
    #[must_use]
    pub fn with_training_samples(mut self, samples: usize) -> Self {
        self.training_samples = Some(samples);
        self
    }

    /// Shares the batch of every step with other processes.
    #[must_use]
    pub fn with_collective(mut self, collective: Arc<dyn Collective>) -> Self {
        self.collective = collective;
        self
    }

    /// Cuts the batch of every step into `count` equal micro-batches, a power of two, and this process's
    /// share into its part of them. Their gradients are computed one after the other and summed by a fixed
    /// tree. So a model sees fewer samples at once, and the bits do not depend on the number of processes.
    /// Batch norm treats each micro-batch as its batch.
    ///
    /// # Errors
    /// [`Error::Config`] if the processes cannot have equal numbers of micro-batches.
    pub fn with_micro_batches(mut self, count: usize) -> Result<Self> {
        let processes = self.collective.size();
        if !count.is_power_of_two() || !count.is_multiple_of(processes) {
            let reason = match processes {
                1 => format!("must be a power of two, got {count}"),
                _ => format!("{count} micro-batches cannot be shared by {processes} processes"),
            };
            return Err(Error::Config { key: "train.micro_batches".into(), reason });
        }
        self.lanes = count / processes;
        Ok(self)
    }

    /// The processes that share the batch of every step.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Trains `model` on one batch and reads the step's report, which waits for a device.
    ///
    /// # Errors
    /// [`Error::NonFinite`] names the step and the loss term or gradient. On the CPU it is this step, and
    /// parameters are as the last complete update left them. On a device it may be an earlier step, after
    /// which training continued.
    pub fn step(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<StepReport> {
        self.step_with(model, batch, &mut || None)
    }

    /// [`TrainingState::step`] for a model whose steps may need several batches; `more` provides the batches
    /// after the first.
    ///
    /// # Errors
    /// As [`TrainingState::step`]; [`Error::NoBatch`] if the step needs a batch and `more` has none.
    pub fn step_with(
        &mut self,
        model: &(impl Trainable + ?Sized),
        batch: &Batch,
        more: &mut dyn FnMut() -> Option<Batch>,
    ) -> Result<StepReport> {
        let step = self.step;
        let scalars = self.advance(model, batch, more)?;
        Ok(StepReport { step, scalars: self.read(scalars)? })
    }

    /// Trains `model` on one batch without waiting for a device. The report is empty, and non-finite values
    /// are found at the next [`TrainingState::step`] or [`TrainingState::settle`]. On the CPU nothing waits,
    /// and only the report differs from [`TrainingState::step`].
    ///
    /// # Errors
    /// As [`TrainingState::step`].
    pub fn step_unread(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<StepReport> {
        self.step_unread_with(model, batch, &mut || None)
    }

    /// [`TrainingState::step_unread`] for a model whose steps may need several batches; `more` provides the
    /// batches after the first.
    ///
    /// # Errors
    /// As [`TrainingState::step_with`].
    pub fn step_unread_with(
        &mut self,
        model: &(impl Trainable + ?Sized),
        batch: &Batch,
        more: &mut dyn FnMut() -> Option<Batch>,
    ) -> Result<StepReport> {
        let step = self.step;
        self.advance(model, batch, more)?;
        if self.shared_mut().unread.len() > MOST_UNREAD {
            self.settle()?;
        }
        Ok(StepReport { step, scalars: vec![] })
    }

    /// Waits for the device and checks all steps that have not been read. Call this before you save anything.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for the first value that is not finite.
    pub fn settle(&mut self) -> Result<()> {
        self.read(vec![]).map(drop)
    }

    /// Reads scalars, and all pending checks, in one transfer.
    fn read(&mut self, scalars: Vec<(String, Scalar)>) -> Result<Vec<(String, f64)>> {
        let checks = std::mem::take(&mut self.shared_mut().unread);
        let of_scalars = scalars.iter().filter_map(|(_, scalar)| match scalar {
            Scalar::Unread(tensor) => Some(tensor),
            Scalar::Known(_) => None,
        });
        // Most scalars are also checks, so each tensor is read only once.
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

    fn advance(
        &mut self,
        model: &(impl Trainable + ?Sized),
        batch: &Batch,
        more_batches: &mut dyn FnMut() -> Option<Batch>,
    ) -> Result<Vec<(String, Scalar)>> {
        self.enter(Phase::Forward)?;
        let Self { seed, step, total_steps, training_samples, stage, lanes, .. } = *self;
        let position = Position { seed, step, total_steps, training_samples, stage };
        let whole = ProcessStep {
            model,
            batch,
            position,
            next_stage: Cell::new(stage),
            shared: &self.shared,
            meetings: &Meetings::new(self.collective.as_ref(), lanes),
            lanes,
            begun: Cell::new(0),
            further: RefCell::new(Further { more: more_batches, taken: Vec::new() }),
            scalars: RefCell::default(),
        };
        while whole.begun.get() < lanes {
            whole.begin_next()?;
        }
        let ProcessStep { next_stage, further, scalars, .. } = whole;
        let (batches, scalars) = (1 + further.into_inner().taken.len() as u64, scalars.into_inner());
        self.stage = next_stage.get();
        self.batches += batches;
        if let Some(prefetch) = &mut self.shared_mut().prefetch {
            prefetch.draw_ahead(step);
        }
        self.step += 1;
        self.shared_mut().profile.iter_mut().for_each(Profile::count_step);
        self.enter(Phase::Other)?;
        Ok(scalars)
    }

    fn shared_mut(&mut self) -> &mut Shared {
        self.shared.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to profile on the model's device.
    pub fn start_profile(&mut self, device: &Device) {
        self.shared_mut().profile = Some(Profile::start(device));
    }

    /// The profile since [`TrainingState::start_profile`], if that was called.
    pub fn profile(&self) -> Option<Profile> {
        lock(&self.shared).profile.clone()
    }

    /// Enters a phase of the training loop in the profile, if there is one. [`TrainingState::step`] enters
    /// its own phases, and ends in [`Phase::Other`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn enter(&mut self, phase: Phase) -> Result<()> {
        self.shared_mut().enter(phase)
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Batches taken: one per step, and those of [`StepContext::next_batch`].
    pub fn batches_taken(&self) -> u64 {
        self.batches
    }

    /// The run's length.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The moving average as a frozen set that follows it, if the settings ask for one. Build the sampling
    /// twin from it.
    pub fn ema(&self) -> Option<ParamSet> {
        lock(&self.shared).ema.as_ref().map(ParamSet::frozen)
    }

    /// The moving average's tensors under the model's own names, buffers included, if the settings ask for
    /// one.
    pub fn ema_tensors(&self) -> Option<BTreeMap<String, Tensor>> {
        lock(&self.shared).ema.as_ref().map(ParamSet::tensors)
    }

    /// Moments as `first/NAME` and `second/NAME`, and the moving average as `ema/NAME`; they share storage.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let shared = lock(&self.shared);
        let mut tensors = shared.adam.tensors();
        if let Some(ema) = &shared.ema {
            tensors.extend(ema.tensors().into_iter().map(|(name, tensor)| (format!("ema/{name}"), tensor)));
        }
        tensors
    }

    /// The counters to save with [`TrainingState::tensors`].
    pub fn counters(&self) -> Counters {
        let shared = lock(&self.shared);
        Counters {
            step: self.step,
            batches: (self.batches != self.step).then_some(self.batches),
            stage: (self.stage != Stage::default()).then_some(self.stage),
            updates: shared.adam.updates().clone(),
            loss_scale: shared.loss_scale,
        }
    }

    /// Restores what [`TrainingState::tensors`] and [`TrainingState::counters`] returned.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] names the tensor.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Counters) -> Result<()> {
        let shared = self.shared_mut();
        shared.adam.restore(tensors, &counters.updates)?;
        if let Some(ema) = &shared.ema {
            let prefix = "ema/";
            let stored = tensors.iter().filter_map(|(name, tensor)| {
                name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.clone()))
            });
            ema.assign(&stored.collect())?;
        }
        if shared.loss_scale.is_some() {
            shared.loss_scale = counters.loss_scale.or(shared.loss_scale);
        }
        self.step = counters.step;
        self.batches = counters.batches.unwrap_or(counters.step);
        self.stage = counters.stage.unwrap_or_default();
        Ok(())
    }
}

/// The batches of a step after the first.
struct Further<'a> {
    /// Provides more batches.
    more: &'a mut dyn FnMut() -> Option<Batch>,
    /// The batches that it provided.
    taken: Vec<Batch>,
}

/// A step of this process on all of its micro-batches.
struct ProcessStep<'a, M: ?Sized> {
    model: &'a M,
    batch: &'a Batch,
    position: Position,
    next_stage: Cell<Stage>,
    shared: &'a Mutex<Shared>,
    meetings: &'a Meetings<'a>,
    lanes: usize,
    /// Number of micro-batches that have begun.
    begun: Cell<usize>,
    further: RefCell<Further<'a>>,
    scalars: RefCell<Vec<(String, Scalar)>>,
}

impl<M: Trainable + ?Sized> WholeStep for ProcessStep<'_, M> {
    fn begin_next(&self) -> Result<()> {
        let (model, lane, lanes) = (self.model, self.begun.get(), self.lanes);
        if lane == lanes {
            return Ok(());
        }
        self.begun.set(lane + 1);
        let mut ctx = StepContext {
            params: model.params(),
            groups: model.groups(),
            position: self.position,
            shared: self.shared,
            meetings: self.meetings,
            whole: self,
            lane,
            lanes,
            updates: 0,
            most_updates: model.updates(),
            batches: 0,
            statistics: StatisticsLog::default(),
            logged: Vec::new(),
        };
        lock(self.shared).enter(Phase::Forward)?;
        if lanes == 1 {
            model.step(self.batch, &mut ctx)?;
        } else {
            model.step(&self.batch.part(lane, lanes)?, &mut ctx)?;
        }
        self.next_stage.set(ctx.finish()?);
        Ok(())
    }

    fn further(&self, number: usize) -> Result<Batch> {
        let Further { more, taken } = &mut *self.further.borrow_mut();
        if number == taken.len() {
            taken.push(more().ok_or(Error::NoBatch { step: self.position.step })?);
        }
        Ok(taken[number].clone())
    }

    fn report(&self, scalars: Vec<(String, Scalar)>) {
        self.scalars.borrow_mut().extend(scalars);
    }
}
