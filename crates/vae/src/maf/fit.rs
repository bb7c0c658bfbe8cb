//! Fits a masked autoregressive flow to latents by maximum likelihood.

use std::collections::BTreeMap;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::schedule::Schedule;
use waxwork_core::{
    Batch, DType, Device, Error, Loss, ParamGroup, ParamSet, Result, StepContext, Tensor, Trainable,
    TrainingState,
};

use super::Maf;
use crate::DECODER;
use crate::prior::Prior;

/// The number of steps of a fit.
const STEPS: u64 = 4000;
/// The number of latents per step.
const ROWS: u64 = 256;
/// Steps between two evaluations on the held-out latents, which are one in ten, but at most
/// [`MOST_HELD_OUT`].
const EVERY: u64 = 200;
/// See [`EVERY`].
const MOST_HELD_OUT: usize = 2000;
/// The fewest latents to which a flow is fitted.
const FEWEST: usize = 20;
/// The group of the flow's weights.
const FLOW: &str = "flow";

/// Fits a flow of `layers` layers with `hidden` units each, and returns the tensors of a model's prior by
/// name. `latents` has the rows of each class, `latent_dim` values each; a model without classes has one group
/// of rows, and a condition of `width` 0. One latent in ten is held out, and the fit keeps the weights with
/// the highest likelihood on these; the first candidate is the standard normal. The result is a function of
/// the latents and the seed. `progress` receives the number of steps done and the total number of steps.
///
/// # Errors
/// [`Error::Config`] if there are too few latents, or a value is not finite.
pub fn fit(
    latents: &[Vec<f32>],
    (latent_dim, width): (usize, usize),
    (layers, hidden): (usize, usize),
    seed: u64,
    mut progress: impl FnMut(u64, u64),
) -> Result<BTreeMap<String, Tensor>> {
    let rows = Rows::new(latents, latent_dim, width)?;
    let held_out = (rows.len() / 10).clamp(1, MOST_HELD_OUT);
    let order = Stream::new(seed, "prior/order", 0).permutation(rows.len());
    let (held_out, order) = order.split_at(held_out);
    let held_out = rows.gather(held_out)?;

    let flow = Fit::new((latent_dim, width), (layers, hidden), seed)?;
    let config = OptimizerConfig {
        lr: 2e-3,
        betas: [0.9, 0.999],
        clip_norm: Some(10.0),
        schedule: Schedule::Cosine { to: 0.0 },
        ..OptimizerConfig::default()
    };
    let mut state = TrainingState::new(&flow, config, seed, STEPS)?;
    let mut best = (flow.loss(&held_out)?, flow.params.deep_copy()?.tensors());
    for step in 0..STEPS {
        let mut draws = Stream::new(seed, "prior/batch", step).at(0);
        let chosen: Vec<u32> = (0..ROWS).map(|_| order[draws.below(order.len() as u32) as usize]).collect();
        let batch = Batch::unlabelled(rows.gather(&chosen)?, (0..ROWS).collect());
        state.step_unread(&flow, &batch)?;
        if (step + 1).is_multiple_of(EVERY) {
            let loss = flow.loss(&held_out)?;
            if loss < best.0 {
                best = (loss, flow.params.deep_copy()?.tensors());
            }
            progress(step + 1, STEPS);
        }
    }
    Ok(best.1)
}

/// Latents, each followed by the one-hot label of its class.
struct Rows {
    values: Vec<f32>,
    columns: usize,
}

impl Rows {
    fn new(latents: &[Vec<f32>], latent_dim: usize, width: usize) -> Result<Self> {
        let unfit =
            |reason: &str| Err(Error::Config { key: "model.prior".into(), reason: reason.to_owned() });
        if !latents.iter().flatten().all(|value| value.is_finite()) {
            return unfit("a latent value is not finite");
        }
        let mut rows = Self { values: Vec::new(), columns: latent_dim + width };
        for (class, latents) in latents.iter().enumerate() {
            for row in latents.chunks_exact(latent_dim) {
                rows.values.extend(row);
                rows.values.extend((0..width).map(|at| f32::from(u8::from(at == class))));
            }
        }
        if rows.len() < FEWEST {
            return unfit("fitting a flow needs at least 20 training samples");
        }
        Ok(rows)
    }

    fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    /// The rows at these positions, `(N, latent_dim + width)`.
    fn gather(&self, positions: &[u32]) -> Result<Tensor> {
        let row = |at: &u32| &self.values[*at as usize * self.columns..][..self.columns];
        let values: Vec<f32> = positions.iter().flat_map(row).copied().collect();
        Ok(Tensor::from_vec(values, (positions.len(), self.columns), &Device::Cpu)?)
    }
}

/// A flow that is trained on its own.
struct Fit {
    flow: Maf,
    latent_dim: usize,
    width: usize,
    params: ParamSet,
    groups: Vec<ParamGroup>,
}

impl Fit {
    fn new((latent_dim, width): (usize, usize), (layers, hidden): (usize, usize), seed: u64) -> Result<Self> {
        let mut params = ParamSet::fresh(seed, &Device::Cpu);
        let mut root = params.root();
        let mut decoder = root.enter(DECODER);
        let flow = Maf::new(decoder.enter("prior"), layers, hidden, latent_dim, width)?;
        let groups = vec![params.group(FLOW, "")];
        Ok(Self { flow, latent_dim, width, params, groups })
    }

    /// −log p(z | y) of rows, `(N)` in nats.
    fn negative_log_density(&self, rows: &Tensor) -> Result<Tensor> {
        let z = rows.narrow(1, 0, self.latent_dim)?.contiguous()?;
        let labels = match self.width {
            0 => None,
            width => Some(rows.narrow(1, self.latent_dim, width)?.contiguous()?),
        };
        Ok(self.flow.log_density(&z, labels.as_ref())?.neg()?)
    }

    /// The mean of [`Fit::negative_log_density`].
    fn loss(&self, rows: &Tensor) -> Result<f64> {
        let mean = self.negative_log_density(rows)?.mean_all()?;
        Ok(mean.to_dtype(DType::F64)?.to_scalar()?)
    }
}

impl Trainable for Fit {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let loss = self.negative_log_density(&batch.inputs)?.mean_all()?;
        ctx.update(&[FLOW], Loss::new("loss", loss))
    }
}
