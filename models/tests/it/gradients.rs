//! Gradients of a training step, against central differences of the loss that the step itself reports.

use std::collections::BTreeMap;

use waxwork_core::optim::{GroupConfig, OptimizerConfig};
use waxwork_core::{Batch, DType, Device, GenerativeModel, Tensor, TrainingState};

/// The parameters and buffers of a model, by name.
pub(crate) fn values(model: &dyn GenerativeModel) -> BTreeMap<String, Vec<f64>> {
    let values =
        |tensor: Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    model.params().tensors().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

/// Adam whose first step is θ − lr ∇θ, very nearly: its eps dwarfs every gradient.
pub(crate) fn descent(lr: f64) -> OptimizerConfig {
    OptimizerConfig { lr: 1e9 * lr, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() }
}

fn step(model: &dyn GenerativeModel, batch: &Batch, config: OptimizerConfig, loss: &str) -> f64 {
    let report = TrainingState::new(model, config, 4, 1).unwrap().step(model, batch).unwrap();
    report.scalars.iter().find(|(name, _)| name == loss).unwrap().1
}

/// Checks four gradients of every tensor that descends `loss`: all of a VAE for `loss`, else the player that
/// the loss is named after. Returns the number of gradients. `what` only appears in failures.
pub(crate) fn check(model: &dyn GenerativeModel, batch: &Batch, loss: &str, what: &str) -> usize {
    let (mut own, group) = (descent(1e-30), GroupConfig { lr: Some(1e9), ..Default::default() });
    let groups: Vec<String> = match loss {
        "loss" => model.groups().iter().map(|group| group.name.clone()).collect(),
        player => vec![player.to_owned()],
    };
    groups.iter().for_each(|name| _ = own.groups.insert(name.clone(), group.clone()));
    let start = model.params().deep_copy().unwrap().tensors();
    let before = values(model);
    step(model, batch, own, loss);
    let after = values(model);
    let mut compared = 0;
    for (name, shape) in start.iter().map(|(name, tensor)| (name, tensor.shape())) {
        if name.contains("running") || !groups.iter().any(|group| name.starts_with(group.as_str())) {
            continue;
        }
        for i in (0..before[name].len()).step_by((before[name].len() / 4).max(1)) {
            let at = |delta: f64| {
                let mut moved = before[name].clone();
                moved[i] += delta;
                let mut tensors = start.clone();
                tensors.insert(name.clone(), Tensor::from_vec(moved, shape, &Device::Cpu).unwrap());
                model.params().assign(&tensors).unwrap();
                step(model, batch, descent(1e-30), loss)
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            let gradient = before[name][i] - after[name][i];
            let error = (gradient - numeric).abs() / (1.0 + numeric.abs());
            assert!(error < 1e-5, "{what}\n{name}[{i}]: {gradient} against {numeric}");
            compared += 1;
        }
    }
    compared
}
