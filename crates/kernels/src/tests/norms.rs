//! Batch normalisation.

use candle_core::{DType, Tensor};
use proptest::prelude::*;

use super::{assert_close, check, check_nan, flat, random};
use crate::{Activation, activate, batch_norm, batch_norm_with};

const EPS: f64 = 1e-5;

fn shape(dims: usize, n: usize, c: usize, h: usize, w: usize) -> Vec<usize> {
    [&[n, c][..], &[h, w][..dims]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batch_norm_matches_the_reference(
        dims in 0usize..3, n in 2usize..6, c in 1usize..5, h in 1usize..9, w in 1usize..9, kind in 0usize..4, seed: u64,
    ) {
        let activation = [Activation::Identity, Activation::LeakyRelu(0.2), Activation::Tanh, Activation::Silu][kind];
        let shape = shape(dims, n, c, h, w);
        let x = random(seed, &shape);
        let (gamma, beta) = ((random(seed ^ 1, &[c]) + 2.0).unwrap(), random(seed ^ 2, &[c]));
        let (y, mean, var) = batch_norm(&x, &gamma, &beta, EPS, activation).unwrap();

        let plane: usize = shape[2..].iter().product();
        let (values, g, b) = (flat(&x), flat(&gamma), flat(&beta));
        let mut normal = vec![0.0; values.len()];
        for c_index in 0..c {
            let of = |i: usize| i / plane % c == c_index;
            let own: Vec<f64> = values.iter().enumerate().filter(|(i, _)| of(*i)).map(|(_, x)| *x).collect();
            let m = own.iter().sum::<f64>() / own.len() as f64;
            let v = own.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / own.len() as f64;
            prop_assert!((flat(&mean)[c_index] - m).abs() < 1e-12 && (flat(&var)[c_index] - v).abs() < 1e-12);
            for i in (0..values.len()).filter(|i| of(*i)) {
                normal[i] = (values[i] - m) / (v + EPS).sqrt() * g[c_index] + b[c_index];
            }
        }
        let normal = Tensor::from_vec(normal, shape.as_slice(), x.device()).unwrap();
        let want = flat(&activate(&normal, activation).unwrap());
        assert_close("batch norm", &flat(&y), &want, 1e-12);
        prop_assert!(!mean.track_op() && !var.track_op());

        // With the statistics of the batch as constants, the values are the same, but the gradients differ.
        let same = batch_norm_with(&x, &gamma, &beta, &mean, &var, EPS, activation).unwrap();
        assert_close("batch norm with", &flat(&same), &want, 1e-12);

        // With two elements per channel the gradient vanishes up to eps, so finite differences
        // are not meaningful.
        if n * plane > 4 {
            let inputs = [x.clone(), gamma.clone(), beta.clone()];
            check(&|t| Ok(batch_norm(&t[0], &t[1], &t[2], 0.1, activation)?.0), &inputs);
            check_nan(&|t| Ok(batch_norm(&t[0], &t[1], &t[2], 0.1, Activation::Identity)?.0), &inputs);
        }
        let cast = |t: &Tensor, like: &Tensor| t.to_dtype(like.dtype()).unwrap();
        let fixed = |t: &[Tensor], activation| {
            batch_norm_with(&t[0], &t[1], &t[2], &cast(&mean, &t[0]), &cast(&var, &t[0]), 0.1, activation)
        };
        check(&|t| fixed(t, activation), &[x.clone(), gamma.clone(), beta.clone()]);
        check_nan(&|t| fixed(t, Activation::Identity), &[x, gamma, beta]);
    }
}

/// Planes longer than a block of the sums, with an odd number of elements.
#[test]
fn long_planes_are_normalised_like_short_ones() {
    let (x, gamma, beta) = (random(1, &[2, 3, 41, 53]), random(2, &[3]), random(3, &[3]));
    check(&|t| Ok(batch_norm(&t[0], &t[1], &t[2], EPS, Activation::Tanh)?.0), &[x, gamma, beta]);
}

#[test]
fn a_large_mean_does_not_cancel() {
    let x = (random(1, &[16, 3, 8, 8]) + 1000.0).unwrap();
    let (gamma, beta) = (random(2, &[3]), random(3, &[3]));
    let (_, _, want) = batch_norm(&x, &gamma, &beta, EPS, Activation::Identity).unwrap();
    let cast = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    let (_, _, got) = batch_norm(&cast(&x), &cast(&gamma), &cast(&beta), EPS, Activation::Identity).unwrap();
    assert_close("variance", &flat(&got), &flat(&want), 1e-4);
}

#[test]
fn rejects_and_names_mismatched_shapes() {
    let (x, three, four) = (random(1, &[2, 3, 4, 4]), random(2, &[3]), random(3, &[4]));
    let error = batch_norm(&x, &three, &four, EPS, Activation::Relu).unwrap_err().to_string();
    assert!(error.contains("beta") && error.contains("[4]"), "{error}");
    assert!(batch_norm(&three, &three, &three, EPS, Activation::Relu).is_err());
}

/// Rows of features: several tasks of columns, the last with few, and more than one block of rows. Each mean
/// and variance has the bits of a plain loop: running sums in f32 over 1,024 rows, whose totals are added in
/// f64.
#[test]
fn rows_of_features_have_the_sums_of_a_plain_loop() {
    let (rows, columns) = (1030, 70);
    let inputs = [random(1, &[rows, columns]), (random(2, &[columns]) + 2.0).unwrap(), random(3, &[columns])];
    check(&|t| Ok(batch_norm(&t[0], &t[1], &t[2], EPS, Activation::LeakyRelu(0.2))?.0), &inputs);
    let single = inputs.each_ref().map(|x| x.to_dtype(DType::F32).unwrap());
    let (_, mean, var) = batch_norm(&single[0], &single[1], &single[2], EPS, Activation::Identity).unwrap();
    let x = single[0].to_vec2::<f32>().unwrap();
    for column in 0..columns {
        let total = |term: &dyn Fn(f32) -> f32| -> f64 {
            let block = |rows: &[Vec<f32>]| rows.iter().fold(0f32, |sum, row| sum + term(row[column]));
            x.chunks(1024).map(|rows| f64::from(block(rows))).sum()
        };
        let centre = total(&|x| x) / rows as f64;
        let spread = total(&|x| (x - centre as f32) * (x - centre as f32)) / rows as f64;
        let of = |values: &Tensor| values.to_vec1::<f32>().unwrap()[column].to_bits();
        assert_eq!([of(&mean), of(&var)], [(centre as f32).to_bits(), (spread as f32).to_bits()], "{column}");
    }
}
