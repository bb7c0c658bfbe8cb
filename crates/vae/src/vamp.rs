//! The VampPrior (Tomczak & Welling 2018): the mean of the posteriors of pseudo-inputs, which are learned.

use candle_core::{DType, Tensor};
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Mode, Result};
use waxwork_kernels as kernels;
use waxwork_nn::loss;

use crate::mixture::{export_selection, host, like, selected};
use crate::networks::Encoder;
use crate::posterior::DiagonalGaussian;
use crate::prior::Prior;

/// Mean and standard deviation of the pseudo-inputs before the first step, as in the authors' code for dark
/// images.
const START: (f64, f64) = (0.05, 0.01);

/// p(z) = 1/K Σ_k q(z | u_k), where the K pseudo-inputs u_k in [0, 1] are learned with the networks.
#[derive(Clone, Debug)]
pub(crate) struct Vamp {
    /// The pseudo-inputs minus their mean before the first step, `(K, values)`.
    inputs: Tensor,
    encoder: Encoder,
}

impl Vamp {
    /// The weight `inputs` of `scope`, for samples of `values` values.
    ///
    /// # Errors
    /// If the set is stored and lacks the tensor or has one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        components: usize,
        values: usize,
        encoder: Encoder,
    ) -> Result<Self> {
        let (_, std) = START;
        Ok(Self { inputs: scope.weight("inputs", (components, values), Init::Normal { std })?, encoder })
    }

    /// q(z | u_k) of every pseudo-input, `(K, latent_dim)`.
    fn components(&self) -> Result<DiagonalGaussian> {
        let (mean, _) = START;
        let inputs = self.inputs.affine(1.0, mean)?.clamp(0.0, 1.0)?;
        // The encoder has no layer that computes differently in training.
        self.encoder.forward(&inputs, None, Mode::Eval)
    }

    /// The weight of a component.
    fn weight(&self) -> f64 {
        1.0 / self.inputs.dims().first().copied().unwrap_or(1) as f64
    }
}

impl Prior for Vamp {
    /// Differences of squares would cancel in f32 where a posterior is narrow, so the CPU computes in f64.
    fn log_density(&self, z: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        let DiagonalGaussian { mean, log_var } = self.components()?;
        let given = z.dtype();
        let wide = if z.device().is_cpu() { DType::F64 } else { given };
        let (z, mean, log_var) = (z.to_dtype(wide)?, mean.to_dtype(wide)?, log_var.to_dtype(wide)?);
        // Σ (z − μ)² / σ² + log σ² for every z and component, `(N, K)`.
        let precision = kernels::exp(&log_var.neg()?)?;
        let scaled = mean.mul(&precision)?;
        let squares = kernels::matmul(&z.sqr()?, &precision.t()?)?;
        let products = kernels::matmul(&z, &scaled.t()?)?;
        let own = (mean.mul(&scaled)? + log_var)?.sum(1)?;
        let exponents = (squares - products.affine(2.0, 0.0)?)?.broadcast_add(&own)?;
        let constant = mean.dim(1)? as f64 * loss::LN_TWO_PI;
        let densities = exponents.affine(-0.5, -0.5 * constant)?;
        Ok(loss::log_mean_exp(&densities)?.to_dtype(given)?)
    }

    fn draw(&self, noise: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        let DiagonalGaussian { mean, log_var } = self.components()?.detach();
        let ((k, d), weight) = (mean.dims2()?, self.weight());
        let (means, log_vars, values) = (host(&mean)?, host(&log_var)?, host(noise)?);
        let mut drawn = Vec::with_capacity(values.len());
        for row in values.chunks_exact(d) {
            let of = selected(row[0], std::iter::repeat_n(weight, k)).unwrap_or_default() * d;
            let component = means[of..of + d].iter().zip(&log_vars[of..of + d]);
            drawn.extend(
                component.zip(row).map(|((mean, log_var), noise)| mean + libm::exp(0.5 * log_var) * noise),
            );
        }
        like(noise, drawn, noise.dims())
    }

    /// Draws from every component, and selects one of the draws by a product with zeros and ones.
    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        let DiagonalGaussian { mean, log_var } = self.components()?.detach();
        let (k, d) = mean.dims2()?;
        let chosen = export_selection(&mut scope, noise, &[vec![self.weight(); k]], labels)?;
        let scale = kernels::exp(&log_var.affine(0.5, 0.0)?)?;
        let (scale, mean) = (scope.tensor("scales", &scale)?, scope.tensor("means", &mean)?);
        let noise = scope.reshape(noise, &[1, d]);
        let scaled = scope.node("Mul", &[&noise, &scale], &[]);
        let drawn = scope.node("Add", &[&scaled, &mean], &[]);
        let selected = scope.node("MatMul", &[&chosen, &drawn], &[]);
        Ok(Some(scope.reshape(&selected, &[d])))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use waxwork_core::onnx::Part;
    use waxwork_core::rng::Stream;
    use waxwork_core::{GenerativeModel, ImageShape, ParamSet};

    use super::*;
    use crate::quadrature::{Grid, check_importance_sampling};
    use crate::{Network, PriorConfig, Vae, VaeConfig};

    const IMAGE: ImageShape = ImageShape::new(1, 3, 3);

    /// A model with random weights whose inputs differ more than before the first step.
    fn model(latent_dim: usize, components: usize) -> Vae {
        let config = VaeConfig {
            latent_dim,
            network: Network::Mlp { hidden: vec![6] },
            prior: PriorConfig::Vamp { components },
            ..VaeConfig::default()
        };
        let vae = Vae::new(config, IMAGE, ParamSet::fresh_with(5, &Device::Cpu, DType::F64)).unwrap();
        let rows: Vec<u64> = (0..components as u64).collect();
        let inputs = Stream::new(1, "inputs", 0).uniform(&rows, 9, &Device::Cpu).unwrap();
        let set = |name: &str, tensor: Tensor| {
            vae.params.get(name).unwrap().set(&tensor.to_dtype(DType::F64).unwrap()).unwrap();
        };
        set("decoder.prior.inputs", inputs);
        for name in ["encoder.mean.weight", "decoder.hidden.0.weight"] {
            let weight = vae.params.get(name).unwrap().as_detached_tensor();
            set(name, weight.affine(4.0, 0.0).unwrap());
        }
        vae
    }

    fn column(values: &[f64]) -> Tensor {
        Tensor::from_vec(values.to_vec(), (values.len(), 1), &Device::Cpu).unwrap()
    }

    /// Points between −8 and 8.
    fn axis() -> Vec<f64> {
        (0..1600).map(|i| f64::from(i) * 0.01 - 8.0).collect()
    }

    #[test]
    fn the_density_is_the_mean_of_the_posteriors_of_its_inputs() {
        let vae = model(2, 4);
        let inputs = vae.params.get("decoder.prior.inputs").unwrap().affine(1.0, 0.05).unwrap();
        let inputs = inputs.clamp(0.0, 1.0).unwrap();
        let z = Stream::new(2, "z", 0).normal(&[0, 1, 2, 3, 4], 2, &Device::Cpu).unwrap();
        let z = z.to_dtype(DType::F64).unwrap();
        let found = vae.generation.prior.log_density(&z, None).unwrap().to_vec1::<f64>().unwrap();
        let mut sums = [0.0; 5];
        for k in 0..4 {
            let q = vae.encoder.forward(&inputs.narrow(0, k, 1).unwrap(), None, Mode::Eval).unwrap();
            let row = |tensor: &Tensor| tensor.broadcast_as((5, 2)).unwrap().contiguous().unwrap();
            let q = DiagonalGaussian { mean: row(&q.mean), log_var: row(&q.log_var) };
            let logs = q.log_density(&z).unwrap().to_vec1::<f64>().unwrap();
            sums.iter_mut().zip(logs).for_each(|(sum, log)| *sum += log.exp() / 4.0);
        }
        for (found, sum) in found.iter().zip(sums) {
            assert!((found - sum.ln()).abs() < 1e-9, "{found} against {}", sum.ln());
        }
    }

    #[test]
    fn the_density_integrates_to_1_and_draws_follow_it() {
        let vae = model(1, 3);
        let axis = axis();
        let density =
            vae.generation.prior.log_density(&column(&axis), None).unwrap().to_vec1::<f64>().unwrap();
        let moment = |power: i32| -> f64 {
            density.iter().zip(&axis).map(|(log, z)| log.exp() * z.powi(power) * 0.01).sum()
        };
        assert!((moment(0) - 1.0).abs() < 1e-3, "{}", moment(0));
        let n = 40_000u64;
        let noise = Stream::new(3, "noise", 0).normal(&(0..n).collect::<Vec<_>>(), 1, &Device::Cpu).unwrap();
        let drawn = vae.generation.prior.draw(&noise.to_dtype(DType::F64).unwrap(), None).unwrap();
        let drawn: Vec<f64> = drawn.flatten_all().unwrap().to_vec1().unwrap();
        for power in [1, 2] {
            let mean = drawn.iter().map(|z| z.powi(power)).sum::<f64>() / n as f64;
            let expected = moment(power);
            assert!((mean - expected).abs() < 0.05 * (1.0 + expected.abs()), "{power}: {mean} {expected}");
        }
    }

    #[test]
    fn the_first_noise_value_selects_a_component_and_exports_have_no_full_covariances() {
        let (vae, k) = (model(2, 4), 4);
        let noise: Vec<f64> =
            (0..k).flat_map(|at| [(f64::from(at) + 0.5) / (4.0 * 1024.0), 1.0 - f64::from(at)]).collect();
        let noise = Tensor::from_vec(noise, (4, 2), &Device::Cpu).unwrap();
        let drawn = vae.generation.prior.draw(&noise, None).unwrap().to_vec2::<f64>().unwrap();
        let inputs = vae.params.get("decoder.prior.inputs").unwrap().affine(1.0, 0.05).unwrap();
        let inputs = inputs.clamp(0.0, 1.0).unwrap();
        let q = vae.encoder.forward(&inputs, None, Mode::Eval).unwrap();
        let expected = q.draw(&noise).unwrap().to_vec2::<f64>().unwrap();
        for (drawn, expected) in drawn.iter().flatten().zip(expected.iter().flatten()) {
            assert!((drawn - expected).abs() < 1e-9, "{drawn} against {expected}");
        }

        // The covariances alone would have 50 · 64 · 64 values.
        let bytes = model(64, 50).graph(Part::Prior).unwrap().encode().unwrap().len();
        assert!(bytes < 60_000, "{bytes}");
    }

    /// The importance sampler against the integral of p(z) p(x | z) over a latent of one dimension.
    #[test]
    fn importance_sampling_finds_the_likelihood_under_the_learned_prior() {
        let grid = Grid { points: column(&axis()), cell: 0.01 };
        check_importance_sampling(&model(1, 3), &grid, 3, 100_000, 0.03);
    }
}
