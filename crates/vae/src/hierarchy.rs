//! Two groups of latents (Burda et al. 2016): the first generates samples, and the second generates the first.

use candle_core::Tensor;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::{Mode, Result};

use crate::networks::GaussianHead;
use crate::posterior::columns;
use crate::prior::{Prior, StandardNormal, exported_draw};

/// p(z) = p(h | u) p(u), where z is h followed by u: u is standard normal, and h is Gaussian given u.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    /// From u to the Gaussian of h.
    pub(crate) given: GaussianHead,
    /// The number of values of h.
    pub(crate) first: usize,
    /// The number of values of u.
    pub(crate) upper: usize,
}

impl Prior for Hierarchy {
    fn log_density(&self, z: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        let (h, u) = columns(z, self.first)?;
        let given = self.given.forward(&u, Mode::Eval)?.log_density(&h)?;
        Ok((StandardNormal.log_density(&u, None)? + given)?)
    }

    fn draw(&self, noise: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        let (noise, u) = columns(noise, self.first)?;
        let h = self.given.forward(&u, Mode::Eval)?.draw(&noise)?;
        Ok(Tensor::cat(&[&h, &u], 1)?)
    }

    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        _labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        let u = scope.columns(noise, self.first, self.upper);
        let noise = scope.columns(noise, 0, self.first);
        let (mean, log_var) = self.given.export(scope.enter("given"), &u)?;
        let h = exported_draw(scope.enter("draw"), &noise, &mean, &log_var)?;
        Ok(Some(scope.beside(&h, Some(&u))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use waxwork_core::rng::Stream;
    use waxwork_core::walk::{Traversal, traversal};
    use waxwork_core::{Condition, Drawing, Encode, GenerativeModel, ImageShape, ParamSet};

    use super::*;
    use crate::quadrature::{Grid, check_importance_sampling};
    use crate::{Network, UpperConfig, Vae, VaeConfig};

    const IMAGE: ImageShape = ImageShape::new(1, 3, 3);

    /// A model with random weights, `latent_dim` latents in the first group, and `upper` in the second.
    fn model(latent_dim: usize, upper: usize) -> Vae {
        let config = VaeConfig {
            latent_dim,
            upper: Some(UpperConfig { latent_dim: upper, hidden: vec![4] }),
            network: Network::Mlp { hidden: vec![6] },
            ..VaeConfig::default()
        };
        let vae = Vae::new(config, IMAGE, ParamSet::fresh_with(5, &Device::Cpu, DType::F64)).unwrap();
        for (name, _, var) in vae.params.iter().filter(|(name, ..)| name.contains("upper")) {
            // This makes q at least as wide as p(z | x), so that the importance weights have a finite
            // variance.
            let spread = if name.starts_with("encoder") { 0.2 } else { 0.3 };
            let values = normal(name, 1, var.elem_count()).affine(spread, 0.0).unwrap();
            var.set(&values.reshape(var.shape()).unwrap()).unwrap();
        }
        vae
    }

    fn normal(name: &str, rows: usize, columns: usize) -> Tensor {
        let indices: Vec<u64> = (0..rows as u64).collect();
        let drawn = Stream::new(4, name, 0).normal(&indices, columns, &Device::Cpu).unwrap();
        drawn.to_dtype(DType::F64).unwrap()
    }

    /// A square grid.
    fn grid() -> Grid {
        let step = 0.05f64;
        let axis: Vec<f64> = (0..320).map(|i| f64::from(i) * step - 8.0).collect();
        let points: Vec<f64> = axis.iter().flat_map(|h| axis.iter().flat_map(move |u| [*h, *u])).collect();
        let n = axis.len() * axis.len();
        Grid { points: Tensor::from_vec(points, (n, 2), &Device::Cpu).unwrap(), cell: step * step }
    }

    #[test]
    fn the_density_of_both_groups_integrates_to_1_and_draws_follow_it() {
        let (vae, Grid { points: z, cell }) = (model(1, 1), grid());
        let prior = &vae.generation.prior;
        let density = prior.log_density(&z, None).unwrap().to_vec1::<f64>().unwrap();
        let points = z.to_vec2::<f64>().unwrap();
        let mean = |of: &dyn Fn(&[f64]) -> f64| -> f64 {
            density.iter().zip(&points).map(|(log, z)| log.exp() * of(z) * cell).sum()
        };
        let mass = mean(&|_: &[f64]| 1.0);
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
        let drawn = prior.draw(&normal("noise", 40_000, 2), None).unwrap().to_vec2::<f64>().unwrap();
        for (of_h, of_u) in [(1, 0), (2, 0), (1, 1)] {
            let moment = |z: &[f64]| z[0].powi(of_h) * z[1].powi(of_u);
            let found = drawn.iter().map(|z| moment(z)).sum::<f64>() / drawn.len() as f64;
            let expected = mean(&moment);
            assert!((found - expected).abs() < 0.05 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }

    /// The importance sampler against the integral of p(u) p(h | u) p(x | h) over both groups.
    #[test]
    fn importance_sampling_finds_the_likelihood_of_two_groups() {
        check_importance_sampling(&model(1, 1), &grid(), 2, 50_000, 0.05);
    }

    #[test]
    fn samples_depend_on_the_first_group_and_codes_have_both() {
        let vae = model(3, 2);
        assert_eq!(vae.info().latent_dim(), 5);
        let z = normal("z", 4, 5);
        let other = Tensor::cat(&[z.narrow(1, 0, 3).unwrap(), normal("other", 4, 2)], 1).unwrap();
        let images = |z: &Tensor| {
            let images = vae.generate(z, &Condition::None, &Drawing::none()).unwrap();
            images.flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(images(&z), images(&other));
        assert!(vae.generate(&z.narrow(1, 0, 3).unwrap(), &Condition::None, &Drawing::none()).is_err());

        let inputs = Stream::new(4, "images", 0).uniform(&[0, 1], (1, 3, 3), &Device::Cpu).unwrap();
        let codes = vae.encode(&inputs.to_dtype(DType::F64).unwrap(), &Condition::None).unwrap();
        assert_eq!((codes.mean.dims(), codes.log_var.dims()), (&[2, 5][..], &[2, 5][..]));
        let (h, u) = columns(&codes.mean, 3).unwrap();
        let given = vae.upper.as_ref().unwrap().forward(&h, Mode::Eval).unwrap();
        assert_eq!(given.mean.to_vec2::<f64>().unwrap(), u.to_vec2::<f64>().unwrap());
    }

    #[test]
    fn a_traversal_of_the_second_group_moves_the_first_to_where_the_prior_expects_it() {
        let vae = model(3, 2);
        let walk = Traversal { dims: &[1, 4], steps: 5, class: 0, seed: None };
        let walk = traversal(&vae, &walk).unwrap();
        let rows = walk.latents.to_vec2::<f64>().unwrap();
        // A value of the first group moves alone.
        for row in &rows[..5] {
            assert!((0..5).all(|dim| dim == 1 || row[dim] == rows[0][dim]), "{rows:?}");
        }
        assert!(rows[0][1] < rows[4][1] && rows[2][3..] == [0.0, 0.0]);
        // The first group is at the mean of p(h | u), where the density is largest.
        let density = |row: &[f64]| {
            let z = Tensor::from_slice(row, (1, row.len()), &Device::Cpu).unwrap();
            vae.generation.prior.log_density(&z, None).unwrap().to_vec1::<f64>().unwrap()[0]
        };
        for (row, u) in rows[5..].iter().zip([-3.0, -1.5, 0.0, 1.5, 3.0]) {
            assert!(row[3] == 0.0 && row[4] == u, "{row:?}");
            for dim in 0..3 {
                let moved = [-0.1, 0.1].map(|by| {
                    let mut moved = row.clone();
                    moved[dim] += by;
                    density(&moved)
                });
                assert!(moved.iter().all(|other| *other < density(row)), "{row:?}");
            }
        }
        let images = walk.generate(&vae, |_| ()).unwrap();
        let image = |i: usize| images.get(i).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let distance: f64 = image(5).iter().zip(image(9)).map(|(a, b)| (a - b).abs()).sum();
        assert!(distance > 1e-6, "{distance}");
    }
}
