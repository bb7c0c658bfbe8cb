//! One training step: the context that a family's `step` sees, and [`StepContext::update`], the single door to the optimiser.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::kernels;
use crate::layers::{Mode, StatisticsLog};
use crate::loss;
use crate::model::{Batch, Trainable};
use crate::optim::{Adam, Clock, OptimizerConfig};
use crate::params::{Kind, ParamGroup, ParamSet};
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

/// What one step reported: scalars by name, in the order in which the step logged them.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, counted from 0.
    pub step: u64,
    /// Losses, their terms, gradient norms and whatever the model logged.
    pub scalars: Vec<(String, f64)>,
}

/// Counters that a checkpoint holds beside the tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps done.
    pub step: u64,
    /// Updates of each group.
    pub updates: BTreeMap<String, u64>,
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
}

impl TrainingState {
    /// The state before the first step. `total_steps` is the run's length, for schedules.
    pub fn new(
        model: &(impl Trainable + ?Sized),
        config: OptimizerConfig,
        seed: u64,
        total_steps: u64,
    ) -> Result<Self> {
        let ema = config.ema.map(|_| model.params().deep_copy()).transpose()?;
        let adam = Adam::new(model.params(), model.groups(), config)?;
        Ok(Self { seed, step: 0, total_steps, adam, ema })
    }

    /// Trains `model` on one batch.
    ///
    /// # Errors
    /// [`Error::NonFinite`] names the loss term or gradient; parameters are then as the last whole update left them.
    pub fn step(&mut self, model: &(impl Trainable + ?Sized), batch: &Batch) -> Result<StepReport> {
        let mut ctx = StepContext {
            params: model.params(),
            groups: model.groups(),
            state: self,
            statistics: StatisticsLog::default(),
            scalars: Vec::new(),
        };
        model.step(batch, &mut ctx)?;
        let report = StepReport { step: ctx.state.step, scalars: ctx.scalars };
        self.step += 1;
        Ok(report)
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
        Counters { step: self.step, updates: self.adam.updates().clone() }
    }

    /// Puts back what [`TrainingState::tensors`] and [`TrainingState::counters`] gave.
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
    scalars: Vec<(String, f64)>,
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
        let rows: Vec<u64> = (0..n as u64).collect();
        Ok(self.stream(name).normal(&rows, sample, self.device())?.to_dtype(self.params.dtype())?)
    }

    /// The mode of a training pass: batch statistics that count once [`StepContext::update`] succeeds.
    pub fn train(&self) -> Mode<'_> {
        Mode::Train(&self.statistics)
    }

    /// Reports a scalar that is not part of a loss, such as D(real).
    pub fn log(&mut self, name: &str, value: &Tensor) -> Result<()> {
        self.scalars.push((name.to_owned(), loss::scalar(value)?));
        Ok(())
    }

    /// Minimises `loss` over the named groups: backward, finite check, clipping, schedule, Adam, moving average,
    /// statistics, logging. Takes the loss by value, because its graph must not outlive an update of what it was made of.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before anything changes; [`Error::Unsupported`] if a weight of a group got no gradient.
    pub fn update(&mut self, groups: &[&str], loss: Loss) -> Result<()> {
        let clock = Clock { step: self.state.step, total: self.state.total_steps };
        // The parts come before the total, so that the message names the part that broke it.
        for (name, value) in loss.terms[1..].iter().chain(&loss.terms[..1]) {
            check_finite(clock, || format!("`{name}`"), loss::scalar(value)?)?;
        }
        for (name, value) in &loss.terms {
            self.scalars.push(((*name).to_owned(), loss::scalar(value)?));
        }

        let mut gradients = loss.total.backward()?;
        drop(loss);
        let mut updates = Vec::with_capacity(groups.len());
        for name in groups {
            let group = self.groups.iter().find(|group| group.name == *name).ok_or_else(|| {
                Error::Unsupported(format!("the model has no group of parameters called `{name}`"))
            })?;
            let own = self.take_gradients(group, &mut gradients)?;
            let norm = norm(&own)?;
            check_finite(clock, || format!("the gradient of `{}`", group.name), norm)?;
            self.scalars.push((format!("grad_norm/{}", group.name), norm));
            updates.push((group, own, norm));
        }
        for (group, gradients, norm) in updates {
            let TrainingState { adam, ema, .. } = &mut *self.state;
            adam.update(self.params, group, &gradients, norm, clock, ema.as_ref())?;
        }
        self.statistics.commit()?;
        if let Some(ema) = &self.state.ema {
            copy_buffers(self.params, ema)?;
        }
        Ok(())
    }

    fn take_gradients(&self, group: &ParamGroup, gradients: &mut GradStore) -> Result<Vec<Tensor>> {
        let take = |name: &String| {
            let gradient = self.params.get(name).and_then(|var| gradients.remove(var));
            gradient.ok_or_else(|| Error::Unsupported(format!("`{name}` got no gradient from the loss")))
        };
        group.params.iter().map(take).collect()
    }
}

/// The Euclidean norm of all gradients together.
fn norm(gradients: &[Tensor]) -> Result<f64> {
    let mut squares = 0.0;
    for gradient in gradients {
        squares += kernels::sum_squares(gradient)?;
    }
    Ok(squares.sqrt())
}

fn check_finite(clock: Clock, term: impl FnOnce() -> String, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step: clock.step, term: term(), value }) }
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
