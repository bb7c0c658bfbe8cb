//! log p(x) by quadrature over a grid of latents, for the tests of the importance sampler under every prior.

use candle_core::{DType, Device, Tensor};
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, Density, Mode};

use crate::Vae;

/// All points of a grid in latent space.
pub(crate) struct Grid {
    /// `(N, latent_dim)`.
    pub(crate) points: Tensor,
    /// The volume that each point stands for.
    pub(crate) cell: f64,
}

/// Checks the estimates of log p(x) from `draws` draws for `count` images of 3×3 pixels, against the integral
/// of p(z) p(x | z). `tolerance` is in nats.
pub(crate) fn check_importance_sampling(vae: &Vae, grid: &Grid, count: u64, draws: usize, tolerance: f64) {
    let rows: Vec<u64> = (0..count).collect();
    let images = Stream::new(4, "images", 0).uniform(&rows, (1, 3, 3), &Device::Cpu).unwrap();
    let batch = Batch::unlabelled(images.to_dtype(DType::F64).unwrap(), rows);
    let found = vae.log_likelihood(&batch, draws, &Stream::new(5, "draws", 0)).unwrap();
    let Grid { points, cell } = grid;
    let prior = vae.generation.prior.log_density(points, None).unwrap();
    // The decoder sees the first group of latents only.
    let seen = points.narrow(1, 0, vae.config.latent_dim).unwrap().contiguous().unwrap();
    let observation = &vae.generation.observation;
    for (i, found) in found.to_vec1::<f64>().unwrap().into_iter().enumerate() {
        let one = Batch::unlabelled(batch.inputs.narrow(0, i, 1).unwrap(), vec![i as u64]);
        let targets = observation.evaluation_targets(&one).unwrap();
        let targets = targets.repeat(points.dim(0).unwrap()).unwrap();
        let given = observation.log_likelihood(&seen, None, &targets, Mode::Eval).unwrap();
        let joint = (given + &prior).unwrap().to_vec1::<f64>().unwrap();
        let exact = (joint.iter().map(|log| log.exp()).sum::<f64>() * cell).ln();
        assert!((found - exact).abs() < tolerance, "{found} against {exact}");
    }
}
