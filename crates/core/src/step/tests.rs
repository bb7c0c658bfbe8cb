//! Steps and updates, tested on a model with one weight.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::collective::{Collective, Reduction};
use crate::device::without_kernels;
use crate::optim::OptimizerConfig;
use crate::params::{Init, ParamGroup, ParamSet};
use crate::profile::Phase;
use crate::{Error, Result};

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
        let part = (&self.weight - &batch.inputs)?.sqr()?.sum_all()?;
        let loss = Loss::new("loss", part.affine(0.5, 0.0)?).term("part", &part);
        let groups: &[&str] = if batch.indices[0] == 0 { &["used"] } else { &["used", "unused"] };
        ctx.update(groups, loss)
    }
}

fn batch(target: [f64; 2], index: u64) -> Batch {
    Batch::unlabelled(Tensor::new(&target, &Device::Cpu).unwrap(), vec![index])
}

fn state(model: &Quadratic, config: OptimizerConfig) -> TrainingState {
    TrainingState::new(model, config, 0, 10).unwrap()
}

#[test]
fn clipping_scales_the_gradient_to_its_limit_and_the_norm_is_reported_unclipped() {
    let model = Quadratic::new();
    // With an eps that dwarfs the gradient, Adam's first step is plain gradient descent.
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
fn a_normalised_gradient_has_a_norm_of_1_and_zero_stays_zero() {
    let moved = || {
        let model = Quadratic::new();
        let config = OptimizerConfig { lr: 1e9, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() };
        let mut state = state(&model, OptimizerConfig { normalise: true, ..config });
        state.step(&model, &batch([-2.0, -3.0], 0)).unwrap();
        let first = model.value();
        state.step(&model, &batch([first[0], first[1]], 0)).unwrap();
        (first, model.value())
    };
    for (first, second) in [moved(), without_kernels(moved)] {
        // The gradient is (3, 4), of norm 5.
        for (found, expected) in first.iter().zip([1.0 - 0.6, 1.0 - 0.8]) {
            assert!((found - expected).abs() < 1e-8, "{found}");
        }
        assert_eq!(first, second);
    }
    let both = OptimizerConfig { normalise: true, clip_norm: Some(1.0), ..OptimizerConfig::default() };
    assert!(both.validate(&["used"]).unwrap_err().to_string().contains("optimizer.clip_norm"));
}

#[test]
fn the_moving_average_follows_with_the_decay_of_its_age() {
    let model = Quadratic::new();
    let mut state = state(&model, OptimizerConfig { lr: 0.1, ema: Some(0.9), ..OptimizerConfig::default() });
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

/// A group of one weight, whose row must not share the weight's storage.
#[test]
fn a_device_updates_a_single_weight_as_the_kernels_do() {
    let trained = || {
        let model = Quadratic::new();
        let config = OptimizerConfig { lr: 0.1, clip_norm: Some(0.5), ema: Some(0.9), ..Default::default() };
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
fn names_values_that_are_not_finite_and_changes_nothing() {
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
    let error = state(&model, OptimizerConfig::default()).step(&model, &batch([0.0, 0.0], 1)).unwrap_err();
    assert!(error.to_string().contains("`unused` got no gradient"), "{error}");
    assert_eq!(model.value(), [1.0, 1.0]);
}

#[test]
fn a_step_reports_its_phases_to_the_profile() {
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
fn two_steps_and_a_resume_equal_four_steps() {
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

/// One of several processes. The values of the others are multiples of its own.
#[derive(Debug)]
struct OneOf {
    rank: usize,
    size: usize,
}

impl Collective for OneOf {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Each of the others has three times this process's value.
    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>> {
        let others = (self.size - 1) as f64;
        let reduced = values.into_iter().map(|(reduction, value)| match reduction {
            Reduction::Mean => value.affine((1.0 + 3.0 * others) / self.size as f64, 0.0),
            Reduction::Sum => value.affine(1.0 + 3.0 * others, 0.0),
            Reduction::Max => value.affine(if self.size > 1 { 3.0 } else { 1.0 }, 0.0),
        });
        Ok(reduced.collect::<candle_core::Result<_>>()?)
    }

    fn all(&self, here: bool) -> Result<bool> {
        Ok(here)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes; self.size])
    }
}

type Seen = (Vec<u64>, Vec<u64>, u32, Option<usize>);

/// Uses everything that a family may ask of a step beyond an update, and keeps a counter in a buffer.
struct Curious {
    params: ParamSet,
    groups: Vec<ParamGroup>,
    weight: Tensor,
    count: candle_core::Var,
    /// For each step: the indices of all batches, the rows, the stage and the size of the training set.
    seen: std::sync::Mutex<Vec<Seen>>,
}

impl Curious {
    fn new() -> Self {
        let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
        let weight = params.root().weight("w", 2, Init::Constant(1.0)).unwrap();
        let count = params.root().buffer("count", 1, Init::Constant(0.0)).unwrap();
        let groups = vec![ParamGroup { name: "all".into(), params: vec!["w".into()] }];
        Self { params, groups, weight, count, seen: std::sync::Mutex::default() }
    }
}

impl Trainable for Curious {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let more = ctx.next_batch()?;
        if ctx.step() == 1 {
            ctx.enter_stage(7);
        }
        let batches = [batch, &more].iter().flat_map(|batch| batch.indices.clone()).collect();
        let seen = (batches, ctx.rows(2), ctx.stage().number, ctx.training_samples());
        self.seen.lock().unwrap().push(seen);
        let one = Tensor::ones(1, DType::F64, &Device::Cpu)?;
        ctx.record(&self.count, (self.count.as_tensor() + &one)?, 1.0, Reduction::Max);
        ctx.log_reduced("sum", &one.sum_all()?, Reduction::Sum)?;
        let loss = (&self.weight - &batch.inputs)?.sqr()?.sum_all()?;
        ctx.update(&["all"], Loss::new("loss", loss))
    }
}

#[test]
fn a_step_may_take_more_batches_and_be_in_a_stage_and_both_are_resumed() {
    let config = OptimizerConfig { lr: 0.1, ..OptimizerConfig::default() };
    let new =
        |model: &Curious| TrainingState::new(model, config.clone(), 0, 10).unwrap().with_training_samples(60);
    let run = |model: &Curious, state: &mut TrainingState, steps: u64| {
        for _ in 0..steps {
            let mut next = state.batches_taken();
            let mut more = || {
                next += 1;
                Some(batch([1.0, 2.0], next))
            };
            let first = batch([1.0, 2.0], state.batches_taken());
            state.step_with(model, &first, &mut more).unwrap();
        }
    };
    let straight = Curious::new();
    run(&straight, &mut new(&straight), 4);

    let broken = Curious::new();
    let mut first = new(&broken);
    run(&broken, &mut first, 2);
    let counters = serde_json::to_string(&first.counters()).unwrap();
    let mut second = new(&broken);
    second.restore(&first.tensors(), &serde_json::from_str(&counters).unwrap()).unwrap();
    run(&broken, &mut second, 2);

    let seen = straight.seen.lock().unwrap().clone();
    assert_eq!(seen, *broken.seen.lock().unwrap());
    assert_eq!(seen[3].0, [6, 7], "two batches a step");
    assert_eq!(seen.iter().map(|seen| seen.2).collect::<Vec<_>>(), [0, 7, 7, 7]);
    assert_eq!(seen[0].3, Some(60));
    assert_eq!(straight.count.to_vec1::<f64>().unwrap(), [4.0], "a record counts once per update");
    let error = new(&straight).step(&straight, &batch([0.0, 0.0], 0)).unwrap_err();
    assert_eq!(error.to_string(), "step 0 needs another batch, but there is none");
}

#[test]
fn processes_share_a_batch_by_rows_and_means() {
    let config = OptimizerConfig { lr: 1e9, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() };
    let step = |rank, size| {
        let model = Curious::new();
        let collective = std::sync::Arc::new(OneOf { rank, size });
        let mut state =
            TrainingState::new(&model, config.clone(), 0, 10).unwrap().with_collective(collective);
        let mut more = || Some(batch([0.0, 0.0], 1));
        let report = state.step_with(&model, &batch([0.5, 2.0], 0), &mut more).unwrap();
        let scalar = |name: &str| report.scalars.iter().find(|(found, _)| found == name).unwrap().1;
        let (sum, loss, norm) = (scalar("sum"), scalar("loss"), scalar("grad_norm/all"));
        let rows = model.seen.lock().unwrap()[0].1.clone();
        let weight = model.params.get("w").unwrap().to_vec1::<f64>().unwrap();
        (rows, sum, loss, norm, model.count.to_vec1::<f64>().unwrap()[0], weight)
    };
    // (w − x)² with differences of 0.5 and −1; gradients of 1 and −2.
    let (rows, sum, loss, norm, count, weight) = step(0, 1);
    assert_eq!((rows, sum, loss, count), (vec![0, 1], 1.0, 1.25, 1.0));
    assert!((norm - 5f64.sqrt()).abs() < 1e-12);
    assert!((weight[0] - 0.0).abs() < 1e-6 && (weight[1] - 3.0).abs() < 1e-6, "{weight:?}");
    // The other of two processes has three times this one's values: the mean is twice as large, the sum four
    // times, the maximum three times.
    let (rows, sum, loss, norm, count, weight) = step(1, 2);
    assert_eq!((rows, sum, loss, count), (vec![2, 3], 4.0, 2.5, 3.0));
    assert!((norm - 2.0 * 5f64.sqrt()).abs() < 1e-12, "the norm is that of the mean");
    assert!((weight[0] + 1.0).abs() < 1e-6 && (weight[1] - 5.0).abs() < 1e-6, "{weight:?}");
}
