//! Gradients that a training step applies, against central differences of the loss that the step reports.

use std::collections::BTreeMap;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{Device, ParamSet, Tensor};

/// Distance from a parameter's value at which the loss is measured.
const H: f64 = 1e-5;

/// Adam whose first step is θ − lr ∇θ, very nearly: its eps dwarfs every gradient.
pub(crate) fn descent(lr: f64) -> OptimizerConfig {
    OptimizerConfig { lr: 1e9 * lr, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() }
}

/// The parameters before and after a step of [`descent`] with a rate of 1. Their difference is the gradient.
pub(crate) struct Descended<'a> {
    params: &'a ParamSet,
    pub(crate) before: BTreeMap<String, Tensor>,
    pub(crate) after: BTreeMap<String, Tensor>,
}

impl<'a> Descended<'a> {
    /// Takes `step`, which changes `params`.
    pub(crate) fn by<R>(params: &'a ParamSet, step: impl FnOnce() -> R) -> Self {
        let copies = || params.deep_copy().unwrap().tensors();
        let before = copies();
        step();
        Self { params, before, after: copies() }
    }

    /// Checks the gradient of one parameter in every element of a small tensor, and in some of a large one.
    /// `loss` is the loss of the same step at the parameters that the set has when it is called.
    pub(crate) fn check(&self, name: &str, loss: impl Fn() -> f64) {
        let values = |tensors: &BTreeMap<String, Tensor>| -> Vec<f64> {
            tensors[name].flatten_all().unwrap().to_vec1().unwrap()
        };
        let (start, end) = (values(&self.before), values(&self.after));
        for i in (0..start.len()).step_by((start.len() / 5).max(1)) {
            let at = |delta: f64| {
                let mut moved = start.clone();
                moved[i] += delta;
                let mut tensors = self.before.clone();
                let moved = Tensor::from_vec(moved, self.before[name].shape(), &Device::Cpu).unwrap();
                tensors.insert(name.to_owned(), moved);
                self.params.assign(&tensors).unwrap();
                loss()
            };
            let (numeric, gradient) = ((at(H) - at(-H)) / (2.0 * H), start[i] - end[i]);
            let error = (gradient - numeric).abs() / (1.0 + numeric.abs());
            assert!(error < 1e-6, "{name}[{i}]: {gradient} against {numeric}");
        }
        self.params.assign(&self.before).unwrap();
    }
}
