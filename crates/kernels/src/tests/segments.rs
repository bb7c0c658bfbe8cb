//! Heads and likelihoods of segments.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{assert_close, check, flat, random};
use crate::SegmentKind::{Choice, Real, Signed};
use crate::{SegmentKind, Segments, activate_segments, segment_log_likelihood};

/// Plain formulas, segment by segment, of one row.
fn by_segments(parts: &[(SegmentKind, usize)], row: &[f64], mut f: impl FnMut(SegmentKind, usize, &[f64])) {
    let mut start = 0;
    for &(kind, width) in parts {
        f(kind, start, &row[start..start + width]);
        start += width;
    }
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let powers: Vec<f64> = x.iter().map(|x| x.exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn any_parts() -> impl Strategy<Value = Vec<(SegmentKind, usize)>> {
    let kind = prop_oneof![Just(Real), Just(Signed), Just(Choice)];
    proptest::collection::vec((kind, 1usize..9), 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn activations_match_their_formulas(n in 1usize..6, parts in any_parts(), temperature in 0.2f64..2.0, seed: u64) {
        let segments = Segments::new(parts.iter().copied());
        let x = (random(seed, &[n, segments.width()]) * 3.0).unwrap();
        let mut want = Vec::new();
        for row in flat(&x).chunks(segments.width()) {
            by_segments(&parts, row, |kind, _, x| match kind {
                Real => want.extend(x),
                Signed => want.extend(x.iter().map(|x| x.tanh())),
                Choice => want.extend(softmax(&x.iter().map(|x| x / temperature).collect::<Vec<_>>())),
            });
        }
        let got = activate_segments(&x, &segments, temperature).unwrap();
        assert_close("activation", &flat(&got), &want, 1e-12);
        check(&|t| activate_segments(&t[0], &segments, temperature), &[x]);
    }

    #[test]
    fn likelihoods_match_their_formulas(n in 1usize..6, parts in any_parts(), seed: u64) {
        let segments = Segments::new(parts.iter().copied());
        let shape = [n, segments.width()];
        let (x, t) = ((random(seed, &shape) * 3.0).unwrap(), random(seed ^ 1, &shape).affine(0.4, 0.5).unwrap());
        let scale = random(seed ^ 2, &[segments.numbers()]);
        let (targets, scales) = (flat(&t), flat(&scale));
        let mut want = Vec::new();
        for (row, targets) in flat(&x).chunks(segments.width()).zip(targets.chunks(segments.width())) {
            let (mut total, mut number) = (0.0, 0);
            by_segments(&parts, row, |kind, start, x| {
                for (i, (&x_i, t)) in x.iter().zip(&targets[start..]).enumerate() {
                    if kind == Choice {
                        total += t * softmax(x)[i].ln();
                        continue;
                    }
                    let mean = if kind == Signed { x_i.tanh() } else { x_i };
                    let sigma = scales[number].exp();
                    number += 1;
                    total -= 0.5 * ((t - mean) / sigma).powi(2) + sigma.ln() + 0.5 * std::f64::consts::TAU.ln();
                }
            });
            want.push(total);
        }
        let got = segment_log_likelihood(&x, &t, &scale, &segments).unwrap();
        assert_eq!(got.dims(), [n]);
        assert_close("likelihood", &flat(&got), &want, 1e-12);
        if segments.numbers() > 0 {
            check(&|t| segment_log_likelihood(&t[0], &t[1], &t[2], &segments), &[x, t, scale]);
        } else {
            check(&|t| segment_log_likelihood(&t[0], &t[1], &scale, &segments), &[x, t]);
        }
    }
}

/// The number does not count in rows that take the second or third place of the choice after it.
#[test]
fn a_silent_number_counts_nothing() {
    let segments = Segments::new([(Signed, 1), (Choice, 3)]).silenced([(0, vec![2, 3])]).unwrap();
    let x = (random(5, &[3, 4]) * 2.0).unwrap();
    let mut targets = [[0.3f64, 1.0, 0.0, 0.0], [0.9, 0.0, 1.0, 0.0], [-0.7, 0.0, 0.0, 1.0]];
    let scale = Tensor::new(&[-0.4f64], &Device::Cpu).unwrap();
    let of = |x: &Tensor, targets: [[f64; 4]; 3]| {
        let targets = Tensor::new(&targets, &Device::Cpu).unwrap();
        segment_log_likelihood(x, &targets, &scale, &segments).unwrap()
    };
    let rows = flat(&x);
    let want: Vec<f64> = rows
        .chunks(4)
        .zip(targets)
        .enumerate()
        .map(|(i, (x, t))| {
            let choice = softmax(&x[1..])[i].ln();
            let z = (t[0] - x[0].tanh()) / (-0.4f64).exp();
            let number = -0.5 * z * z + 0.4 - 0.5 * std::f64::consts::TAU.ln();
            if i == 0 { choice + number } else { choice }
        })
        .collect();
    assert_close("likelihood", &flat(&of(&x, targets)), &want, 1e-12);
    let t = Tensor::new(&targets, &Device::Cpu).unwrap();
    let inputs = [x.clone(), t.clone(), scale.clone()];
    check(&|t| segment_log_likelihood(&t[0], &t[1], &t[2], &segments), &inputs);
    let composed = crate::composed::segment_log_likelihood(&x, &t, &scale, &segments).unwrap();
    assert_close("composed", &flat(&composed), &want, 1e-12);
    // Other values there change nothing.
    (targets[1][0], targets[2][0]) = (55.0, -2.0);
    assert_close("other numbers", &flat(&of(&x, targets)), &want, 1e-12);
    let segments = || Segments::new([(Signed, 1), (Choice, 3)]);
    assert!(segments().silenced([(1, vec![2])]).is_err() && segments().silenced([(0, vec![4])]).is_err());
}

#[test]
fn large_logits_stay_finite_and_nan_stays_in_its_choice() {
    let segments = Segments::new([(Choice, 2), (Signed, 1), (Choice, 3)]);
    let x = Tensor::new(&[[1000f32, -1000.0, 50.0, f32::NAN, 1.0, 2.0]], &Device::Cpu).unwrap();
    let y = flat(&activate_segments(&x, &segments, 0.2).unwrap());
    assert_eq!(y[..3], [1.0, 0.0, 1.0]);
    assert!(y[3..].iter().all(|value| value.is_nan()), "{y:?}");
    let (x, t) = (x.narrow(1, 0, 2).unwrap(), Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap());
    let none = Tensor::zeros(0, DType::F32, &Device::Cpu).unwrap();
    let choice = Segments::new([(Choice, 2)]);
    assert_eq!(flat(&segment_log_likelihood(&x, &t, &none, &choice).unwrap()), [-2000.0]);
}

#[test]
fn rejects_mismatched_inputs() {
    let segments = Segments::new([(Choice, 2), (Signed, 1)]);
    assert_eq!((segments.width(), segments.numbers()), (3, 1));
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    assert!(activate_segments(&zeros(&[4, 2]), &segments, 1.0).is_err());
    assert!(activate_segments(&zeros(&[4, 3]), &segments, 0.0).is_err());
    assert!(activate_segments(&zeros(&[2, 5, 3]), &segments, 1.0).is_ok(), "sequences too");
    let likelihood = |x: &[usize], t: &[usize], scale: usize| {
        segment_log_likelihood(&zeros(x), &zeros(t), &zeros(&[scale]), &segments).is_ok()
    };
    assert!(likelihood(&[4, 3], &[4, 3], 1));
    assert!(
        !likelihood(&[4, 3], &[3, 3], 1)
            && !likelihood(&[4, 3], &[4, 3], 2)
            && !likelihood(&[4, 2], &[4, 2], 1)
    );
}
