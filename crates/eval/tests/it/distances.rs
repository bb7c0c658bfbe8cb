//! Distances of feature sets against the reference implementations, against closed forms, and in what they mean.
//!
//! The golden values are printed by this script (SciPy 1.x, torch-fidelity 0.4, prdc 0.2):
//! ```python
//! import numpy as np, prdc, scipy.linalg
//! from torch_fidelity.metric_kid import kernel_mmd
//!
//! def features(n, d, shift, spread):
//!     i, j = np.arange(n)[:, None] + 1.0, np.arange(d)[None, :] + 1.0
//!     return shift + spread * np.sin(0.7 * i * j + 0.3 * j * j + shift) + 0.5 * np.cos(1.3 * i + j)
//!
//! real, generated = features(60, 8, 0.0, 1.0), features(50, 8, 0.8, 1.5)
//! s1, s2 = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
//! apart = real.mean(0) - generated.mean(0)
//! print(apart @ apart + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real))
//! poly = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
//! print(kernel_mmd(real[:50], generated, **poly))
//! for k in (3, 5):
//!     print(prdc.compute_prdc(real, generated, nearest_k=k))
//! ```
#![allow(clippy::unwrap_used, reason = "tests")]

use waxwork_core::rng::Stream;
use waxwork_core::{DType, Device, Tensor};
use waxwork_eval::{
    Cover, Features, Moments, cover, cover_with_progress, frechet, frechet_distance, frechet_with_progress,
    kernel_distance, kernel_distance_with_progress,
};

const FRECHET: f64 = 8.59939410527509;
const SQUARED_MMD: f64 = 5.320196368098263;
const COVERS: [(usize, [f64; 4]); 2] = [
    (3, [0.02, 0.08333333333333333, 0.006666666666666666, 0.016666666666666666]),
    (5, [0.08, 0.7666666666666667, 0.04000000000000001, 0.13333333333333333]),
];

fn features(n: usize, d: usize, shift: f64, spread: f64) -> Features {
    let value = |index: usize| {
        let (i, j) = ((index / d + 1) as f64, (index % d + 1) as f64);
        shift + spread * (0.7 * i * j + 0.3 * j * j + shift).sin() + 0.5 * (1.3 * i + j).cos()
    };
    of((0..n * d).map(value).collect(), d)
}

fn of(values: Vec<f64>, columns: usize) -> Features {
    let rows = values.len() / columns;
    Features::new("generated", &Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()).unwrap()
}

/// Draws from a normal distribution, times `scale` plus `shift`.
fn normal(seed: u64, n: usize, d: usize, scale: f64, shift: f64) -> Features {
    let indices: Vec<u64> = (0..n as u64).collect();
    let draws = Stream::new(seed, "test", 0).normal(&indices, d, &Device::Cpu).unwrap();
    Features::new("generated", &draws.to_dtype(DType::F64).unwrap().affine(scale, shift).unwrap()).unwrap()
}

fn close(found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance * wanted.abs().max(1e-3), "{found} is not {wanted}");
}

#[test]
fn the_reference_implementations_agree() {
    let (real, generated) = (features(60, 8, 0.0, 1.0), features(50, 8, 0.8, 1.5));
    close(frechet(&real, &generated).unwrap(), FRECHET, 1e-9);
    let first: Vec<u32> = (0..50).collect();
    let squared =
        waxwork_eval::kernel_distance::squared_mmd(&real.select(&first).unwrap(), &generated).unwrap();
    close(squared, SQUARED_MMD, 1e-9);
    for (k, [precision, recall, density, coverage]) in COVERS {
        let found = cover(&real, &generated, k).unwrap();
        for (found, wanted) in [
            (found.precision, precision),
            (found.recall, recall),
            (found.density, density),
            (found.coverage, coverage),
        ] {
            close(found, wanted, 1e-12);
        }
    }
}

#[test]
fn progress_is_reported_per_step_and_changes_no_value() {
    // 600 rows are two blocks of distances, and 50 rows are one.
    let (real, generated) = (features(600, 4, 0.0, 1.0), features(50, 4, 0.8, 1.5));
    let mut told = Vec::new();
    let mut listen = |done, all| told.push((done, all));
    let found = frechet_with_progress(&real, &generated, &mut listen).unwrap();
    assert_eq!(found, frechet(&real, &generated).unwrap());
    let found = kernel_distance_with_progress(&real, &generated, 3, 20, 0, &mut listen).unwrap();
    assert_eq!(found, kernel_distance(&real, &generated, 3, 20, 0).unwrap());
    let found = cover_with_progress(&real, &generated, 3, &mut listen).unwrap();
    assert_eq!(found, cover(&real, &generated, 3).unwrap());
    let expected = [5usize, 3, 5].map(|all| (1..=all).map(move |done| (done, all)));
    assert_eq!(told, expected.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn gaussians_have_a_closed_form_even_singular_ones() {
    // Diagonal covariances: Σ (μ₁ − μ₂)² + (σ₁ − σ₂)².
    let diagonal = |mean: f64, deviations: [f64; 3]| Moments {
        mean: vec![mean; 3],
        covariance: (0..9).map(|i| if i % 4 == 0 { deviations[i / 4].powi(2) } else { 0.0 }).collect(),
    };
    let distance =
        frechet_distance(&diagonal(1.0, [1.0, 2.0, 0.0]), &diagonal(-1.0, [3.0, 0.0, 0.0])).unwrap();
    close(distance, 3.0 * 4.0 + 4.0 + 4.0, 1e-12);
    // The same image again and again: no covariance at all.
    let constant = of(vec![0.5; 30], 3);
    close(frechet(&constant, &of(vec![1.5; 30], 3)).unwrap(), 3.0, 1e-12);
    // Fewer images than features.
    let few = features(4, 20, 0.0, 1.0);
    assert!(frechet(&few, &few).unwrap() < 1e-6);
}

#[test]
fn more_noise_is_further_away() {
    let real = normal(0, 400, 6, 1.0, 0.0);
    let (mut frechets, mut kernels, mut coverages) = (vec![], vec![], vec![]);
    for noise in [1.0, 1.5, 2.5, 5.0] {
        let generated = normal(1, 400, 6, noise, 0.0);
        frechets.push(frechet(&real, &generated).unwrap());
        kernels.push(kernel_distance(&real, &generated, 10, 200, 0).unwrap().mean);
        coverages.push(-cover(&real, &generated, 5).unwrap().coverage);
    }
    for scores in [frechets, kernels, coverages] {
        assert!(scores.is_sorted() && scores[0] < scores[3], "{scores:?}");
    }
}

#[test]
fn a_collapsed_model_is_precise_and_recalls_little() {
    let real = normal(0, 500, 4, 1.0, 0.0);
    let Cover { precision, recall, coverage, .. } = cover(&real, &normal(1, 500, 4, 0.05, 0.0), 3).unwrap();
    assert!(precision > 0.95 && recall < 0.1 && coverage < 0.2, "{precision} {recall} {coverage}");
    let same = cover(&real, &real, 3).unwrap();
    assert_eq!((same.precision, same.recall, same.coverage), (1.0, 1.0, 1.0));
    let fresh = cover(&real, &normal(2, 500, 4, 1.0, 0.0), 5).unwrap();
    assert!((fresh.density - 1.0).abs() < 0.1 && fresh.coverage > 0.9, "{fresh:?}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let (real, generated) = (normal(0, 700, 16, 1.0, 0.0), normal(1, 600, 16, 1.2, 0.1));
    let measured = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let kernel = kernel_distance(&real, &generated, 5, 300, 0).unwrap();
            let cover = cover(&real, &generated, 3).unwrap();
            let frechet = frechet(&real, &generated).unwrap();
            (frechet.to_bits(), kernel.mean.to_bits(), kernel.standard_deviation.to_bits(), cover)
        })
    };
    assert_eq!(measured(1), measured(3));
}

#[test]
fn reports_what_cannot_be_measured() {
    let (four, one) = (features(4, 3, 0.0, 1.0), features(1, 3, 0.0, 1.0));
    assert!(frechet(&four, &one).unwrap_err().to_string().contains("at least 2 generated samples"));
    assert!(cover(&four, &features(9, 3, 0.0, 1.0), 4).unwrap_err().to_string().contains("at least 5 real"));
    assert!(kernel_distance(&four, &one, 10, 10, 0).is_err());
    assert!(frechet(&four, &features(4, 2, 0.0, 1.0)).unwrap_err().to_string().contains("3 features"));
    let broken = Tensor::new(&[[0.0, 1.0], [f64::NAN, 1.0]], &Device::Cpu).unwrap();
    assert!(Features::new("generated", &broken).unwrap_err().to_string().contains("generated image 1"));
}
