//! Mixtures of Gaussians as the prior of a trained model.

use candle_core::{DType, Device, Tensor};
// Those of the C library differ between machines.
use libm::{exp, log};
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Error, Result};
use waxwork_nn::loss::log_sum_exp_of;

use crate::posterior::DiagonalGaussian;
use crate::prior::{Prior, StandardNormal};

/// The first noise value times this selects the component by its fractional part. That part is uniform and
/// independent of the value's size, because a normal density is flat over 1/1024 of a standard deviation. So
/// the value still serves as noise, and truncated noise still reaches all components.
const STRETCH: f64 = 1024.0;

/// p(z | y) = Σ_k w_k N(z; μ_k, L_k L_kᵀ): one mixture, or one per class of a conditional model.
///
/// It is standard normal during training. Afterwards it is fitted to the aggregate posterior
/// ([`crate::aggregate`]).
#[derive(Clone, Debug)]
pub struct Mixture {
    latent_dim: usize,
    /// The components of each class, or of the only group.
    groups: Vec<Vec<Gaussian>>,
    /// True until the mixture is fitted.
    is_standard: bool,
}

/// One component of a mixture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gaussian {
    /// Its weight; the weights of a group add up to 1.
    pub(crate) weight: f64,
    pub(crate) mean: Vec<f64>,
    /// The lower Cholesky factor of the covariance, row by row; the upper half is zero.
    pub(crate) factor: Vec<f64>,
}

impl Gaussian {
    /// log N(z; μ, L Lᵀ) in nats, by forward substitution. `scratch` has the length of `z`.
    pub(crate) fn log_density(&self, z: &[f64], scratch: &mut [f64]) -> f64 {
        let dim = z.len();
        let mut sum = 0.0;
        for (i, row) in self.factor.chunks_exact(dim).enumerate() {
            let known: f64 = row[..i].iter().zip(&scratch[..i]).map(|(factor, y)| factor * y).sum();
            let y = (z[i] - self.mean[i] - known) / row[i];
            scratch[i] = y;
            sum += 0.5 * y * y + log(row[i]);
        }
        -sum - 0.5 * dim as f64 * log(std::f64::consts::TAU)
    }

    /// The standard normal of `dim` values.
    pub(crate) fn standard(dim: usize, weight: f64) -> Self {
        let identity = (0..dim * dim).map(|at| f64::from(u8::from(at.is_multiple_of(dim + 1))));
        Self { weight, mean: vec![0.0; dim], factor: identity.collect() }
    }

    fn is_standard(&self) -> bool {
        *self == Self::standard(self.mean.len(), self.weight)
    }

    /// A draw, μ + L · noise.
    fn draw(&self, noise: &[f64]) -> impl Iterator<Item = f64> {
        let rows = self.factor.chunks_exact(noise.len()).zip(&self.mean);
        rows.map(move |(row, mean)| mean + row.iter().zip(noise).map(|(factor, n)| factor * n).sum::<f64>())
    }
}

impl Mixture {
    /// Makes the mixture from the buffers of `scope`: `weight` `(groups, components)`, `mean`
    /// `(groups, components, latent_dim)`, `log_scale` of the same shape (logarithms of the factors'
    /// diagonals) and `lower` `(groups, components, latent_dim, latent_dim)` (the factors below their
    /// diagonals). A fresh mixture is standard normal.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape; [`Error::Config`] if the weights
    /// of a group are negative or do not add up to 1.
    pub fn new(mut scope: Scope<'_>, groups: usize, components: usize, latent_dim: usize) -> Result<Self> {
        let (k, d) = (components, latent_dim);
        let share = Init::Constant(1.0 / components as f64);
        let weight = scope.buffer("weight", (groups, k), share)?;
        let mean = scope.buffer("mean", (groups, k, d), Init::Constant(0.0))?;
        let log_scale = scope.buffer("log_scale", (groups, k, d), Init::Constant(0.0))?;
        let lower = scope.buffer("lower", (groups, k, d, d), Init::Constant(0.0))?;
        let (weight, mean) = (host(&weight)?, host(&mean)?);
        let (log_scale, lower) = (host(&log_scale)?, host(&lower)?);
        let component = |at: usize| {
            let mut factor = lower[at * d * d..(at + 1) * d * d].to_vec();
            for (i, row) in factor.chunks_exact_mut(d).enumerate() {
                row[i] = exp(log_scale[at * d + i]);
                row[i + 1..].fill(0.0);
            }
            Gaussian { weight: weight[at], mean: mean[at * d..(at + 1) * d].to_vec(), factor }
        };
        let all: Vec<Gaussian> = (0..groups * k).map(component).collect();
        let groups: Vec<Vec<Gaussian>> = all.chunks(k).map(<[_]>::to_vec).collect();
        let are_shares = |group: &Vec<Gaussian>| {
            let sum: f64 = group.iter().map(|component| component.weight).sum();
            (sum - 1.0).abs() < 1e-3 && group.iter().all(|component| component.weight >= 0.0)
        };
        if !groups.iter().all(are_shares) {
            let reason = "the weights of a mixture must be shares that add up to 1".to_owned();
            return Err(Error::Config { key: "model.prior".into(), reason });
        }
        let is_standard = groups.iter().flatten().all(Gaussian::is_standard);
        Ok(Self { latent_dim, groups, is_standard })
    }

    /// The tensors that [`Mixture::new`] reads, by name.
    pub(crate) fn tensors(groups: &[Vec<Gaussian>]) -> Result<Vec<(&'static str, Tensor)>> {
        let all: Vec<&Gaussian> = groups.iter().flatten().collect();
        let (g, k) = (groups.len(), all.len() / groups.len().max(1));
        let d = all.first().map_or(0, |component| component.mean.len());
        let tensor = |values: Vec<f64>, shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
        };
        let mut lower: Vec<f64> = all.iter().flat_map(|component| component.factor.clone()).collect();
        let mut log_scale = Vec::with_capacity(all.len() * d);
        for (at, row) in lower.chunks_exact_mut(d.max(1)).enumerate() {
            log_scale.push(log(row[at % d]));
            row[at % d..].fill(0.0);
        }
        let mean = all.iter().flat_map(|component| component.mean.clone()).collect();
        Ok(vec![
            ("weight", tensor(all.iter().map(|component| component.weight).collect(), &[g, k])?),
            ("mean", tensor(mean, &[g, k, d])?),
            ("log_scale", tensor(log_scale, &[g, k, d])?),
            ("lower", tensor(lower, &[g, k, d, d])?),
        ])
    }

    /// The components for each row's label, with their weights. A row of several classes gets a mixture of
    /// theirs.
    fn given(&self, n: usize, labels: Option<&Tensor>) -> Result<Vec<Vec<(f64, &Gaussian)>>> {
        let whole = vec![1.0; n];
        let shares = match labels {
            Some(labels) => host(labels)?,
            None if self.groups.len() == 1 => whole,
            None => return Err(Error::MissingLabels { what: "a prior per class".into() }),
        };
        let rows = shares.chunks_exact(self.groups.len()).map(|shares| {
            let asked = shares.iter().zip(&self.groups).filter(|(share, _)| **share > 0.0);
            let each = |(share, group): (&f64, _)| (*share, group);
            asked.map(each).flat_map(|(share, group): (f64, &Vec<Gaussian>)| {
                group.iter().map(move |component| (share * component.weight, component))
            })
        });
        Ok(rows.map(Iterator::collect).collect())
    }
}

impl Prior for Mixture {
    fn log_density(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        if self.is_standard {
            return StandardNormal.log_density(z, labels);
        }
        let (values, n) = (host(z)?, z.dim(0)?);
        let (mut scratch, mut terms) = (vec![0.0; self.latent_dim], Vec::new());
        let rows = values.chunks_exact(self.latent_dim).zip(self.given(n, labels)?);
        let density = rows.map(|(z, components)| {
            terms.clear();
            for (weight, component) in components.iter().filter(|(weight, _)| *weight > 0.0) {
                terms.push(log(*weight) + component.log_density(z, &mut scratch));
            }
            log_sum_exp_of(&terms)
        });
        like(z, density.collect(), &[n])
    }

    fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        if self.is_standard {
            return StandardNormal.draw(noise, labels);
        }
        let (values, n) = (host(noise)?, noise.dim(0)?);
        let mut drawn = Vec::with_capacity(values.len());
        for (noise, components) in values.chunks_exact(self.latent_dim).zip(self.given(n, labels)?) {
            let chosen = selected(noise[0], components.iter().map(|(weight, _)| *weight));
            let Some((_, component)) = chosen.and_then(|at| components.get(at)) else {
                return Err(Error::MissingLabels { what: "a prior per class".into() });
            };
            drawn.extend(component.draw(noise));
        }
        like(noise, drawn, noise.dims())
    }

    /// The closed form, until the mixture is fitted.
    fn kl(&self, q: &DiagonalGaussian, labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        if self.is_standard { StandardNormal.kl(q, labels) } else { Ok(None) }
    }

    /// Draws from every component, and selects one of the draws by products with zeros and ones.
    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        let (d, all) = (self.latent_dim, self.groups.concat());
        let c = all.len();
        let weights: Vec<Vec<f64>> = self
            .groups
            .iter()
            .map(|group| group.iter().map(|component| component.weight).collect())
            .collect();
        let chosen = export_selection(&mut scope, noise, &weights, labels)?;
        let factors = matrix_of(d, c * d, |row, column| all[column / d].factor[column % d * d + row])?;
        let factors = scope.tensor("factors", &factors)?;
        let means = matrix_of(1, c * d, |_, column| all[column / d].mean[column % d])?;
        let means = scope.tensor("means", &means)?;
        let scaled = scope.node("MatMul", &[noise, &factors], &[]);
        let drawn = scope.node("Add", &[&scaled, &means], &[]);
        let drawn = scope.reshape(&drawn, &[c, d]);
        let selected = scope.node("MatMul", &[&chosen, &drawn], &[]);
        Ok(Some(scope.reshape(&selected, &[d])))
    }
}

/// The component that the first noise value of a row selects, by its position in `weights`, whose sum is 1.
/// None if there are no weights.
pub(crate) fn selected(first: f64, weights: impl Iterator<Item = f64>) -> Option<usize> {
    let stretched = first * STRETCH;
    let mut left = stretched - stretched.floor();
    let mut last = None;
    for (at, weight) in weights.enumerate() {
        left -= weight;
        // The weights may add up to slightly less than 1.
        last = Some(at);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// [`selected`] as nodes of a graph: `(batch, 1, components)`, 1 for the selected component and 0 for all
/// others. `weights` has those of each class, or of the only group; the components are in their order.
pub(crate) fn export_selection(
    scope: &mut GraphScope<'_>,
    noise: &Value,
    weights: &[Vec<f64>],
    labels: Option<&Value>,
) -> Result<Value> {
    let (g, k) = (weights.len(), weights[0].len());
    let c = g * k;
    let first = scope.columns(noise, 0, 1);
    let stretched = scope.affine(&first, STRETCH, 0.0)?;
    let whole = scope.node("Floor", &[&stretched], &[]);
    let uniform = scope.node("Sub", &[&stretched, &whole], &[]);

    // The limits of the interval of [0, 1) that selects each component, per group.
    let (mut begin, mut end) = (Vec::with_capacity(c), Vec::with_capacity(c));
    for group in weights {
        let mut sum = 0.0;
        for (at, weight) in group.iter().enumerate() {
            begin.push(sum);
            sum += weight;
            end.push(if at + 1 == k { 2.0 } else { sum });
        }
    }
    let mut bounds = |name: &str, values: Vec<f64>| -> Result<Value> {
        let table = scope.tensor(name, &matrix(values, g, k)?)?;
        Ok(match labels {
            Some(labels) => scope.node("MatMul", &[labels, &table], &[]),
            None => table,
        })
    };
    let (begin, end) = (bounds("begin", begin)?, bounds("end", end)?);
    let before = scope.node("Less", &[&uniform, &begin], &[]);
    let after = scope.node("Not", &[&before], &[]);
    let below = scope.node("Less", &[&uniform, &end], &[]);
    let inside = scope.node("And", &[&after, &below], &[]);
    let of_group = scope.node("Cast", &[&inside], &[("to", Attribute::Int(1))]);

    let repeated = matrix_of(k, c, |row, column| f64::from(u8::from(column % k == row)))?;
    let repeated = scope.tensor("of_group", &repeated)?;
    let mut chosen = scope.node("MatMul", &[&of_group, &repeated], &[]);
    if let Some(labels) = labels {
        let expanded = matrix_of(g, c, |row, column| f64::from(u8::from(column / k == row)))?;
        let expanded = scope.tensor("of_label", &expanded)?;
        let expanded = scope.node("MatMul", &[labels, &expanded], &[]);
        chosen = scope.node("Mul", &[&chosen, &expanded], &[]);
    }
    Ok(scope.reshape(&chosen, &[1, c]))
}

/// The values of a tensor in row-major order.
pub(crate) fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Values in the type and on the device of a tensor.
pub(crate) fn like(tensor: &Tensor, values: Vec<f64>, dims: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(tensor.dtype())?.to_device(tensor.device())?)
}

fn matrix(values: Vec<f64>, rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?.to_dtype(DType::F32)?)
}

fn matrix_of(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
    let values = (0..rows * columns).map(|at| value(at / columns, at % columns));
    matrix(values.collect(), rows, columns)
}

#[cfg(test)]
mod tests {
    use waxwork_core::ParamSet;
    use waxwork_core::rng::Stream;

    use super::*;

    /// Two classes with two components each, in the plane.
    fn known() -> Vec<Vec<Gaussian>> {
        let component = |weight: f64, mean: [f64; 2], factor: [f64; 4]| Gaussian {
            weight,
            mean: mean.to_vec(),
            factor: factor.to_vec(),
        };
        vec![
            vec![
                component(0.3, [-1.0, 2.0], [0.5, 0.0, 0.2, 0.8]),
                component(0.7, [1.0, -0.5], [0.9, 0.0, -0.4, 0.3]),
            ],
            vec![
                component(0.6, [3.0, 0.0], [0.4, 0.0, 0.0, 0.4]),
                component(0.4, [0.0, 3.0], [0.2, 0.0, 0.1, 0.6]),
            ],
        ]
    }

    fn built(groups: &[Vec<Gaussian>]) -> Mixture {
        let tensors = Mixture::tensors(groups).unwrap();
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let mut params = ParamSet::stored(tensors, &Device::Cpu).unwrap();
        Mixture::new(params.root(), groups.len(), groups[0].len(), 2).unwrap()
    }

    fn one_hot(labels: &[usize]) -> Tensor {
        let values: Vec<f32> =
            labels.iter().flat_map(|label| [f32::from(*label == 0), f32::from(*label == 1)]).collect();
        Tensor::from_vec(values, (labels.len(), 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn tensors_become_the_same_mixture_again() {
        for (read, group) in built(&known()).groups.iter().flatten().zip(known().iter().flatten()) {
            assert!((read.weight - group.weight).abs() < 1e-7);
            for (a, b) in read.mean.iter().chain(&read.factor).zip(group.mean.iter().chain(&group.factor)) {
                assert!((a - b).abs() < 1e-6, "{read:?} {group:?}");
            }
        }
    }

    #[test]
    fn the_density_of_every_class_integrates_to_1() {
        let (mixture, step) = (built(&known()), 0.05f64);
        let axis: Vec<f32> = (0..280).map(|i| (f64::from(i) * step - 7.0) as f32).collect();
        for label in [0, 1] {
            let points: Vec<f32> =
                axis.iter().flat_map(|x| axis.iter().flat_map(move |y| [*x, *y])).collect();
            let n = axis.len() * axis.len();
            let z = Tensor::from_vec(points, (n, 2), &Device::Cpu).unwrap();
            let density = mixture.log_density(&z, Some(&one_hot(&vec![label; n]))).unwrap();
            let mass: f64 =
                density.to_vec1::<f32>().unwrap().iter().map(|log| f64::from(*log).exp()).sum::<f64>();
            assert!((mass * step * step - 1.0).abs() < 1e-4, "class {label}: {}", mass * step * step);
        }
    }

    #[test]
    fn draws_have_the_moments_of_the_class_even_with_truncated_noise() {
        let (mixture, n) = (built(&known()), 40_000u64);
        let indices: Vec<u64> = (0..n).collect();
        let stream = Stream::new(3, "noise", 0);
        let labels: Vec<usize> = vec![0; n as usize];
        let noise = stream.normal(&indices, 2, &Device::Cpu).unwrap();
        let drawn = mixture.draw(&noise, Some(&one_hot(&labels))).unwrap().to_vec2::<f32>().unwrap();
        let mean = |i: usize| drawn.iter().map(|z| f64::from(z[i])).sum::<f64>() / n as f64;
        // Σ w μ, and Σ w (σ² + μ²) − mean².
        assert!((mean(0) - 0.4).abs() < 0.02 && (mean(1) - 0.25).abs() < 0.02, "{} {}", mean(0), mean(1));
        let variance = drawn.iter().map(|z| (f64::from(z[0]) - mean(0)).powi(2)).sum::<f64>() / n as f64;
        let expected = 0.3 * (0.25 + 1.0) + 0.7 * (0.81 + 1.0) - 0.16;
        assert!((variance - expected).abs() < 0.03, "{variance} {expected}");

        let short = stream.truncated_normal(&indices, 2, 0.1, &Device::Cpu).unwrap();
        let drawn = mixture.draw(&short, Some(&one_hot(&labels))).unwrap().to_vec2::<f32>().unwrap();
        let left = drawn.iter().filter(|z| z[0] < 0.0).count() as f64 / n as f64;
        assert!((left - 0.3).abs() < 0.01, "{left}");
    }

    #[test]
    fn a_fresh_mixture_is_standard_normal() {
        let mut params = ParamSet::fresh(0, &Device::Cpu);
        let mixture = Mixture::new(params.root(), 1, 5, 3).unwrap();
        let z = Stream::new(1, "z", 0).normal(&[0, 1, 2], 3, &Device::Cpu).unwrap();
        let (ours, theirs) =
            (mixture.log_density(&z, None).unwrap(), StandardNormal.log_density(&z, None).unwrap());
        for (a, b) in ours.to_vec1::<f32>().unwrap().iter().zip(theirs.to_vec1::<f32>().unwrap()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let drawn = mixture.draw(&z, None).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(drawn, z.to_vec2::<f32>().unwrap());
        assert!(mixture.log_density(&z, None).is_ok());
        assert!(built(&known()).draw(&z.narrow(1, 0, 2).unwrap().contiguous().unwrap(), None).is_err());
    }
}
