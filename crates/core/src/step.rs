//! One training step: the context that a family's `step` sees, and [`StepContext::update`], the single door to the optimiser.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::device::runs_on_cpu_kernels;
use crate::kernels::{self, Gradients};
use crate::mode::{Mode, StatisticsLog};
use crate::model::{Batch, Trainable};
use crate::optim::{Adam, Clock, GroupGradient, OptimizerConfig};
use crate::params::{Kind, ParamGroup, ParamSet, Precision};
use crate::prefetch::Prefetch;
use crate::profile::{Phase, Profile};
use crate::rng::Stream;
use crate::{Error, Result};

/// A scalar to be minimised, with the named terms that it was made of.
#[derive(Debug)]
pub struct Loss {
    total: Tensor,
    terms: Vec<(&'static str, Tensor)>,
}

impl Loss {
    /// The scalar `total`, logged as `name`.
    pub fn new(name: &'static str, total: Tensor) -> Self {
        Self { terms: vec![(name, total.detach())], total }
    }

    /// Names one part of the total, for the log and for messages about NaN.
    pub fn term(mut self, name: &'static str, value: &Tensor) -> Self {
        self.terms.push((name, value.detach()));
        self
    }
}

/// A scalar of a step: at once where our kernels compute, and on a device as a tensor, because to read it is to wait.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// Its value.
    Known(f64),
    /// Where its value will be.
    Unread(Tensor),
}

impl Scalar {
    fn of(tensor: &Tensor) -> Result<Self> {
        if runs_on_cpu_kernels(tensor.device()) {
            return Ok(Self::Known(kernels::scalar(tensor)?));
        }
        Ok(Self::Unread(tensor.detach()))
    }
}

/// A value that has to be finite, still on its device.
#[derive(Debug)]
struct Check {
    step: u64,
    term: String,
    value: Tensor,
}

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

/// Dynamic loss scaling (Micikevicius et al. 2018): losses are multiplied by a power of two before they are differentiated,
/// so that small gradients survive f16. An update that overflows is left out and halves the factor; many that do not
/// double it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor is 2 to this power.
    exponent: i32,
    /// Updates since the factor last changed.
    updates: u32,
}

impl LossScale {
    const FIRST: Self = Self { exponent: 16, updates: 0 };
    /// Updates without an overflow that double the factor.
    const PATIENCE: u32 = 2000;
    const LARGEST: i32 = 24;

    fn factor(self) -> f64 {
        f64::from(2f32.powi(self.exponent))
    }

    /// After an update whose values were all finite, or were not. None if the factor is 1 already: then it was no overflow.
    fn after(self, finite: bool) -> Option<Self> {
        match finite {
            true if self.updates + 1 < Self::PATIENCE => Some(Self { updates: self.updates + 1, ..self }),
            true => Some(Self { exponent: (self.exponent + 1).min(Self::LARGEST), updates: 0 }),
            false if self.exponent > 0 => Some(Self { exponent: self.exponent - 1, updates: 0 }),
            false => None,
        }
    }
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
    seed: u64,
    step: u64,
    total_steps: u64,
    adam: Adam,
    /// Exponential moving average of the weights under the same names; buffers are copied.
    ema: Option<ParamSet>,
    /// Where layers multiply in f16.
    loss_scale: Option<LossScale>,
    /// What was not read yet of the steps since the last reading, in order.
    unread: Vec<Check>,
    /// Draws noise ahead where a device computes.
    prefetch: Option<RefCell<Prefetch>>,
    /// Where the time goes, where somebody asked.
    profile: Option<Profile>,
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

/// What a model's `step` sees: draws, mode, and the door to the optimiser.
#[derive(Debug)]
pub struct StepContext<'a> {
    params: &'a ParamSet,
    groups: &'a [ParamGroup],
    state: &'a mut TrainingState,
    statistics: StatisticsLog,
    scalars: Vec<(String, Scalar)>,
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
        let Loss { total, terms } = loss;
        let mut values = Vec::with_capacity(terms.len());
        for (name, value) in &terms {
            values.push((*name, Scalar::of(value)?));
        }
        // The parts come before the total, so that the message names the part that broke it.
        let mut checks: Vec<(String, Scalar)> = values[1..]
            .iter()
            .chain(&values[..1])
            .map(|(name, value)| (format!("`{name}`"), value.clone()))
            .collect();
        self.scalars.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
        // A known value that is not finite ends the step before anything is differentiated.
        checks.iter().try_for_each(|(term, value)| check_known(clock, term, value))?;

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
            check_known(clock, &term, &gradient.norm)?;
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

fn check_known(clock: Clock, term: &str, value: &Scalar) -> Result<()> {
    match value {
        Scalar::Known(value) => check_finite(clock.step, || term.to_owned(), *value),
        Scalar::Unread(_) => Ok(()),
    }
}

fn check_finite(step: u64, term: impl FnOnce() -> String, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, term: term(), value }) }
}

fn copy_buffers(from: &ParamSet, to: &ParamSet) -> Result<()> {
    for (name, kind, var) in from.iter() {
        if let (Kind::Buffer, Some(copy)) = (kind, to.get(name)) {
            copy.set(&var.as_detached_tensor())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::without_kernels;
    use crate::params::Init;
    use candle_core::DType;

    /// Minimises ½ Σ (w − target)² over one weight of two values; the target comes with the batch.
    struct Quadratic {
        params: ParamSet,
        groups: Vec<ParamGroup>,
        weight: Tensor,
    }

    impl Quadratic {
        fn new() -> Self {
            let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
            let weight = params.root().weight("w", 2, Init::Constant(1.0)).unwrap();
            params.root().weight("unused", 2, Init::Constant(1.0)).unwrap();
            let groups = vec![
                ParamGroup { name: "used".into(), params: vec!["w".into()] },
                ParamGroup { name: "unused".into(), params: vec!["unused".into()] },
            ];
            Self { params, groups, weight }
        }

        fn value(&self) -> Vec<f64> {
            self.params.get("w").unwrap().to_vec1().unwrap()
        }
    }

    impl Trainable for Quadratic {
        fn params(&self) -> &ParamSet {
            &self.params
        }

        fn groups(&self) -> &[ParamGroup] {
            &self.groups
        }

        fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
            let part = (&self.weight - &batch.images)?.sqr()?.sum_all()?;
            let loss = Loss::new("loss", part.affine(0.5, 0.0)?).term("part", &part);
            let groups: &[&str] = if batch.indices[0] == 0 { &["used"] } else { &["used", "unused"] };
            ctx.update(groups, loss)
        }
    }

    fn batch(target: [f64; 2], index: u64) -> Batch {
        Batch { images: Tensor::new(&target, &Device::Cpu).unwrap(), labels: None, indices: vec![index] }
    }

    fn state(model: &Quadratic, config: OptimizerConfig) -> TrainingState {
        TrainingState::new(model, config, 0, 10).unwrap()
    }

    #[test]
    fn clipping_scales_the_gradient_to_its_limit_and_the_norm_is_reported_unclipped() {
        let model = Quadratic::new();
        // Adam's first step with an eps that dwarfs the gradient is plain descent.
        let config = OptimizerConfig { lr: 1e9, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() };
        let config = OptimizerConfig { clip_norm: Some(0.5), ..config };
        let report = state(&model, config).step(&model, &batch([-2.0, -3.0], 0)).unwrap();
        assert!(report.scalars.contains(&("grad_norm/used".into(), 5.0)), "{report:?}");
        // The gradient is (3, 4), of norm 5; clipped to 0.5 it is (0.3, 0.4).
        for (found, expected) in model.value().into_iter().zip([0.7, 0.6]) {
            assert!((found - expected).abs() < 1e-8, "{found}");
        }
    }

    #[test]
    fn the_moving_average_follows_with_the_decay_of_its_age() {
        let model = Quadratic::new();
        let mut state =
            state(&model, OptimizerConfig { lr: 0.1, ema: Some(0.9), ..OptimizerConfig::default() });
        let mut expected = 1.0;
        for age in 1..=5 {
            state.step(&model, &batch([5.0, 5.0], 0)).unwrap();
            let decay = f64::min(0.9, (1.0 + f64::from(age)) / (10.0 + f64::from(age)));
            expected = decay * expected + (1.0 - decay) * model.value()[0];
        }
        let average: Vec<f64> = state.ema_tensors().unwrap()["w"].to_vec1().unwrap();
        assert!((average[0] - expected).abs() < 1e-12, "{} against {expected}", average[0]);
        assert_ne!(average, model.value());
    }

    /// A group of one weight, whose row is no other tensor than the weight's own.
    #[test]
    fn a_device_updates_a_single_weight_as_the_kernels_do() {
        let trained = || {
            let model = Quadratic::new();
            let config =
                OptimizerConfig { lr: 0.1, clip_norm: Some(0.5), ema: Some(0.9), ..Default::default() };
            let mut state = state(&model, config);
            (0..4).for_each(|i| _ = state.step_unread(&model, &batch([f64::from(i), -1.0], 0)).unwrap());
            state.settle().unwrap();
            (model.value(), state.ema_tensors().unwrap()["w"].to_vec1::<f64>().unwrap())
        };
        let ((kernels, average), (composed, other)) = (trained(), without_kernels(trained));
        for (a, b) in kernels.iter().zip(&composed).chain(average.iter().zip(&other)) {
            assert!((a - b).abs() < 1e-12, "{a}, {b}");
        }
    }

    #[test]
    fn what_is_not_finite_changes_nothing_and_is_named() {
        let model = Quadratic::new();
        let mut state = state(&model, OptimizerConfig::default());
        let error = state.step(&model, &batch([f64::NAN, 0.0], 0)).unwrap_err();
        assert!(matches!(&error, Error::NonFinite { step: 0, term, .. } if term == "`part`"), "{error}");
        assert_eq!(model.value(), [1.0, 1.0]);
        assert_eq!(state.steps_done(), 0);
    }

    #[test]
    fn a_weight_without_a_gradient_is_an_error_rather_than_a_weight_that_never_learns() {
        let model = Quadratic::new();
        let error =
            state(&model, OptimizerConfig::default()).step(&model, &batch([0.0, 0.0], 1)).unwrap_err();
        assert!(error.to_string().contains("`unused` got no gradient"), "{error}");
        assert_eq!(model.value(), [1.0, 1.0]);
    }

    #[test]
    fn a_step_tells_its_profile_what_it_does() {
        let model = Quadratic::new();
        let mut state = state(&model, OptimizerConfig::default());
        state.step(&model, &batch([-2.0, -3.0], 0)).unwrap();
        assert!(state.profile().is_none());
        state.start_profile(&Device::Cpu);
        state.step(&model, &batch([-2.0, -3.0], 0)).unwrap();
        let profile = state.profile().unwrap();
        let busy = |phase| profile.spent().iter().any(|(of, time)| *of == phase && !time.is_zero());
        assert!([Phase::Forward, Phase::Backward, Phase::Optimiser].into_iter().all(busy), "{profile:?}");
        assert!(!busy(Phase::Data) && profile.steps() == 1);
    }

    #[test]
    fn two_and_two_steps_are_four() {
        let config = || OptimizerConfig { lr: 0.05, ema: Some(0.9), ..OptimizerConfig::default() };
        let (whole, halves) = (Quadratic::new(), Quadratic::new());
        let mut straight = state(&whole, config());
        (0..4).for_each(|i| _ = straight.step(&whole, &batch([f64::from(i), -1.0], 0)).unwrap());

        let mut first = state(&halves, config());
        (0..2).for_each(|i| _ = first.step(&halves, &batch([f64::from(i), -1.0], 0)).unwrap());
        let mut second = state(&halves, config());
        second.restore(&first.tensors(), &first.counters()).unwrap();
        (2..4).for_each(|i| _ = second.step(&halves, &batch([f64::from(i), -1.0], 0)).unwrap());

        assert_eq!(whole.value(), halves.value());
        assert_eq!(straight.counters(), second.counters());
        for (name, tensor) in straight.tensors() {
            let other = second.tensors()[&name].to_vec1::<f64>().unwrap();
            assert_eq!(tensor.to_vec1::<f64>().unwrap(), other, "{name}");
        }
    }
}
