//! Tests of the masked autoregressive flow.

use waxwork_core::onnx::Graph;
use waxwork_core::rng::Stream;
use waxwork_core::{DType, ImageShape, ParamSet};

use super::*;
use crate::quadrature::{Grid, check_importance_sampling};
use crate::{Network, PriorConfig, Vae, VaeConfig};

fn normal(name: &str, rows: usize, columns: usize) -> Tensor {
    let indices: Vec<u64> = (0..rows as u64).collect();
    let drawn = Stream::new(4, name, 0).normal(&indices, columns, &Device::Cpu).unwrap();
    drawn.to_dtype(DType::F64).unwrap()
}

/// Gives every weight of the flow a random value.
fn randomise(params: &ParamSet, spread: f64) {
    for (name, _, var) in params.iter().filter(|(name, ..)| !name.starts_with("encoder")) {
        let values = normal(name, 1, var.elem_count()).affine(spread, 0.0).unwrap();
        var.set(&values.reshape(var.shape()).unwrap()).unwrap();
    }
}

/// A flow of three layers with random weights.
fn flow(latent_dim: usize, width: usize, spread: f64) -> Maf {
    let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
    let flow = Maf::new(params.root(), 3, 16, latent_dim, width).unwrap();
    randomise(&params, spread);
    flow
}

fn one_hot(labels: &[usize], width: usize) -> Tensor {
    let values: Vec<f64> =
        labels.iter().flat_map(|label| (0..width).map(move |at| f64::from(u8::from(at == *label)))).collect();
    Tensor::from_vec(values, (labels.len(), width), &Device::Cpu).unwrap()
}

fn largest(a: &Tensor, b: &Tensor) -> f64 {
    let apart = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    apart.to_vec1::<f64>().unwrap().into_iter().fold(0.0, f64::max)
}

#[test]
fn a_fresh_flow_is_standard_normal() {
    let mut params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
    let flow = Maf::new(params.root(), 3, 16, 4, 0).unwrap();
    let z = normal("z", 7, 4);
    assert!(largest(&flow.draw(&z, None).unwrap(), &z) < 1e-15);
    let (ours, theirs) = (flow.log_density(&z, None).unwrap(), StandardNormal.log_density(&z, None).unwrap());
    assert!(largest(&ours, &theirs) < 1e-12);
}

#[test]
fn draws_and_densities_use_inverse_maps() {
    for (latent_dim, width) in [(1, 0), (1, 3), (5, 0), (6, 3)] {
        let flow = flow(latent_dim, width, 0.4);
        let noise = normal("noise", 6, latent_dim);
        let labels = one_hot(&[0, 1, 2, 0, 1, 2], 3);
        let labels = (width > 0).then_some(&labels);
        let z = flow.draw(&noise, labels).unwrap();
        assert!(largest(&z, &noise) > 0.1, "{latent_dim} {width}");
        let (found, _) = flow.noise_of(&z, labels).unwrap();
        assert!(largest(&found, &noise) < 1e-9, "{latent_dim} {width}");
        if width > 0 {
            let others = one_hot(&[1, 2, 0, 1, 2, 0], 3);
            let others = flow.draw(&noise, Some(&others)).unwrap();
            // The label affects every value, including the first.
            for column in 0..latent_dim {
                let of = |z: &Tensor| z.narrow(1, column, 1).unwrap();
                assert!(largest(&of(&z), &of(&others)) > 1e-3, "{column}");
            }
        }
    }
}

/// ∂ noise / ∂ z at a point, by central differences: row i has the derivatives of value i.
fn jacobian(noise_of: impl Fn(&Tensor) -> Tensor, z: &[f64]) -> Vec<Vec<f64>> {
    let (d, h) = (z.len(), 1e-5);
    let at = |column: usize, by: f64| {
        let mut moved = z.to_vec();
        moved[column] += by;
        noise_of(&Tensor::from_vec(moved, (1, d), &Device::Cpu).unwrap()).to_vec2::<f64>().unwrap().remove(0)
    };
    let columns: Vec<Vec<f64>> = (0..d)
        .map(|column| at(column, h).iter().zip(at(column, -h)).map(|(a, b)| (a - b) / (2.0 * h)).collect())
        .collect();
    (0..d).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

/// By elimination; the pivots of these matrices are not small.
fn determinant(mut rows: Vec<Vec<f64>>) -> f64 {
    let mut product = 1.0;
    for pivot in 0..rows.len() {
        let (done, rest) = rows.split_at_mut(pivot + 1);
        let first = &done[pivot];
        product *= first[pivot];
        for row in rest {
            let share = row[pivot] / first[pivot];
            row.iter_mut().zip(first).for_each(|(value, above)| *value -= share * above);
        }
    }
    product
}

#[test]
fn every_layer_has_a_triangular_jacobian_and_the_flow_its_determinant() {
    let z = [0.3, -0.8, 1.1, 0.2];
    let whole = flow(4, 0, 0.3);
    for (number, layer) in whole.layers.iter().enumerate() {
        let one = Maf { latent_dim: 4, layers: vec![layer.clone()] };
        let rows = jacobian(|z| one.noise_of(z, None).unwrap().0, &z);
        let mut below = 0.0f64;
        for (i, row) in rows.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let before = if number % 2 == 0 { j < i } else { j > i };
                if before {
                    below = below.max(value.abs());
                } else if i != j {
                    assert!(value.abs() < 1e-9, "layer {number}: {rows:?}");
                }
            }
        }
        assert!(below > 1e-2, "layer {number}: {rows:?}");
    }
    let exact = determinant(jacobian(|z| whole.noise_of(z, None).unwrap().0, &z));
    let point = Tensor::from_vec(z.to_vec(), (1, 4), &Device::Cpu).unwrap();
    let found = whole.noise_of(&point, None).unwrap().1.to_vec1::<f64>().unwrap()[0];
    assert!((found - exact.abs().ln()).abs() < 1e-6, "{found} against {}", exact.abs().ln());
}

#[test]
fn the_density_integrates_to_1() {
    let step = 0.06f64;
    let axis: Vec<f64> = (0..400).map(|i| f64::from(i) * step - 12.0).collect();
    let mass = |flow: &Maf, z: Vec<f64>, d: usize, label: Option<usize>| -> f64 {
        let n = z.len() / d;
        let z = Tensor::from_vec(z, (n, d), &Device::Cpu).unwrap();
        let labels = label.map(|label| one_hot(&vec![label; n], 2));
        let density = flow.log_density(&z, labels.as_ref()).unwrap().to_vec1::<f64>().unwrap();
        density.iter().map(|log| log.exp()).sum::<f64>() * step.powi(d as i32)
    };
    for label in [0, 1] {
        let found = mass(&flow(1, 2, 0.15), axis.clone(), 1, Some(label));
        assert!((found - 1.0).abs() < 1e-4, "{label}: {found}");
    }
    let points: Vec<f64> = axis.iter().flat_map(|x| axis.iter().flat_map(move |y| [*x, *y])).collect();
    let found = mass(&flow(2, 0, 0.15), points, 2, None);
    assert!((found - 1.0).abs() < 1e-3, "{found}");
}

/// The importance sampler against the integral of p(z) p(x | z) over a latent of one dimension.
#[test]
fn importance_sampling_finds_the_likelihood_under_a_flow() {
    let config = VaeConfig {
        latent_dim: 1,
        network: Network::Mlp { hidden: vec![6] },
        prior: PriorConfig::Maf { layers: 2, hidden: 3 },
        ..VaeConfig::default()
    };
    let params = ParamSet::fresh_with(5, &Device::Cpu, DType::F64);
    let vae = Vae::new(config, ImageShape::new(1, 3, 3), params).unwrap();
    randomise(&vae.params, 0.2);
    let axis: Vec<f64> = (0..1600).map(|i| f64::from(i) * 0.01 - 8.0).collect();
    let points = Tensor::from_vec(axis, (1600, 1), &Device::Cpu).unwrap();
    let prior = vae.generation.prior.log_density(&points, None).unwrap();
    assert!(largest(&prior, &StandardNormal.log_density(&points, None).unwrap()) > 0.1);
    check_importance_sampling(&vae, &Grid { points, cell: 0.01 }, 3, 50_000, 0.03);
}

/// Noisy rows on a parabola, which is shifted for the second class.
fn parabolas(n: usize) -> [Vec<f32>; 2] {
    [0.0, 4.0].map(|shift| {
        let rows = normal(if shift == 0.0 { "one" } else { "two" }, n, 2).to_vec2::<f64>().unwrap();
        rows.iter()
            .flat_map(|row| [row[0] + shift, row[0] * row[0] - 1.0 + 0.3 * row[1]])
            .map(|x| x as f32)
            .collect()
    })
}

#[test]
fn a_fit_finds_the_shape_of_each_class_with_the_same_bits_for_any_number_of_threads() {
    let latents = parabolas(1500);
    let fitted = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&latents, (2, 2), (1, 24), 3, |_, _| {})).unwrap()
    };
    let (one, three) = (fitted(1), fitted(3));
    for (name, tensor) in &one {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(tensor), values(&three[name]), "{name}");
    }
    assert_eq!(one["decoder.prior.0.hidden.weight"].dims(), [24, 4]);
    let mut params = ParamSet::stored(one, &Device::Cpu).unwrap();
    let mut root = params.root();
    let mut decoder = root.enter("decoder");
    let flow = Maf::new(decoder.enter("prior"), 1, 24, 2, 2).unwrap();
    let likelihood = |class: usize, label: usize| {
        let rows = parabolas(1500)[class].clone();
        let (n, z) = (rows.len() / 2, Tensor::from_vec(rows, (1500, 2), &Device::Cpu).unwrap());
        let labels = one_hot(&vec![label; n], 2).to_dtype(DType::F32).unwrap();
        let mean = flow.log_density(&z, Some(&labels)).unwrap().mean_all().unwrap();
        f64::from(mean.to_scalar::<f32>().unwrap())
    };
    // The entropy of a class is 1.63 nats; under the best Gaussian, its rows have 3.2.
    for class in [0, 1] {
        let (own, other) = (likelihood(class, class), likelihood(class, 1 - class));
        assert!(own > -2.2 && other < own - 2.0, "{own} {other}");
    }
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    assert!(fit(&[vec![0.0; 38]], (2, 0), (1, 4), 0, |_, _| {}).is_err());
    assert!(fit(&[vec![f32::NAN; 80]], (2, 0), (1, 4), 0, |_, _| {}).is_err());
}

#[test]
fn a_flow_of_many_values_has_no_graph() {
    let mut params = ParamSet::fresh(0, &Device::Cpu);
    for (latent_dim, fits) in [(20, true), (200, false)] {
        let mut root = params.root();
        let flow = Maf::new(root.enter(latent_dim), 5, 16, latent_dim, 0).unwrap();
        let mut graph = Graph::new("prior");
        let noise = graph.input("noise", &[latent_dim]);
        let found = flow.export(graph.root(), &noise, None);
        assert_eq!(found.is_ok(), fits, "{latent_dim}");
    }
}
