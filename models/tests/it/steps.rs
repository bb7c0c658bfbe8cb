//! A few training steps of a model, and what they promise for samples of every kind.

use std::collections::BTreeMap;

use waxwork_core::device::without_kernels;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{Batch, GenerativeModel, SampleRequest, TrainingState};

use crate::gradients::values;

/// What a model has after a few steps.
#[derive(PartialEq)]
pub(crate) struct Trained {
    /// The parameters and buffers, by name.
    pub(crate) values: BTreeMap<String, Vec<f64>>,
    /// The values of a few samples.
    pub(crate) samples: Vec<f32>,
    /// Every value that the steps reported.
    pub(crate) reported: Vec<f64>,
}

/// Trains a model on a batch.
pub(crate) fn trained(model: &dyn GenerativeModel, batch: &Batch) -> Trained {
    let mut state = TrainingState::new(model, OptimizerConfig::default(), 5, 4).unwrap();
    let mut reported = Vec::new();
    for _ in 0..4 {
        let report = state.step(model, batch).unwrap();
        reported.extend(report.scalars.into_iter().map(|(_, value)| value));
    }
    let samples = model.sample(&SampleRequest::new(7, 20)).unwrap().flatten_all().unwrap();
    Trained { values: values(model), samples: samples.to_vec1().unwrap(), reported }
}

/// Checks that the bits do not depend on the number of threads, and returns what all of them give. `what`
/// only appears in failures.
pub(crate) fn check_threads(train: impl Fn() -> Trained + Sync, what: &str) -> Trained {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(&train)
    };
    let (one, two) = (with(1), with(2));
    assert!(one == two, "{what}");
    assert!(with(4) == two, "{what}");
    one
}

/// Checks that the code path of other devices reports the same as the kernels. `what` only appears in
/// failures.
pub(crate) fn check_other_devices(train: impl Fn() -> Trained, what: &str) {
    let (kernels, composed) = (train().reported, without_kernels(&train).reported);
    assert_eq!(kernels.len(), composed.len());
    for (kernels, composed) in kernels.into_iter().zip(composed) {
        assert!((kernels - composed).abs() < 1e-4 * (0.1 + kernels.abs()), "{what}: {kernels}, {composed}");
    }
}
