//! The door to the optimiser, on a model of one weight.

use candle_core::{DType, Device, Tensor};

use super::*;
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

/// A group of one weight, whose row is no other tensor than the weight's own.
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
    let error = state(&model, OptimizerConfig::default()).step(&model, &batch([0.0, 0.0], 1)).unwrap_err();
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
