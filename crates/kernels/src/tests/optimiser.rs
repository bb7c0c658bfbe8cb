//! The Adam step and the sum of squares.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{assert_close, bits, flat, random};
use crate::simd::on_every_instruction_set;
use crate::{AdamStep, adam_step, sum_squares};

const STEP: AdamStep =
    AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1, grad_scale: 0.5 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn steps_follow_the_formula_in_f32_and_f64(
        rows in 1usize..5, columns in prop_oneof![1usize..60, 9_000usize..17_000], lr in 1e-4f64..0.1,
        beta1 in 0f64..0.95, beta2 in 0.9f64..0.9999, weight_decay in 0f64..0.5, grad_scale in 0.01f64..1.0,
        averaged: bool, seed in 0u64..1 << 40,
    ) {
        let settings = AdamStep { lr, beta1, beta2, eps: 1e-8, weight_decay, step: 1, grad_scale };
        for dtype in [DType::F32, DType::F64] {
            let tensor = |seed, shape: &[usize]| random(seed, shape).to_dtype(dtype).unwrap();
            let (param, ema) = (tensor(seed, &[rows, columns]), tensor(seed + 1, &[rows, columns]));
            let (m, v) = (param.zeros_like().unwrap(), param.zeros_like().unwrap());
            let (mut p, mut e) = (flat(&param), flat(&ema));
            let (mut first, mut second) = (vec![0.0; p.len()], vec![0.0; p.len()]);
            for t in 1..=3u64 {
                // A gradient need not be contiguous, for example that of a transpose.
                let grad = tensor(seed + 1 + t, &[columns, rows]).t().unwrap();
                let ema = averaged.then_some((&ema, 0.9));
                adam_step(&param, &grad, &m, &v, &AdamStep { step: t, ..settings }, ema).unwrap();
                for (i, g) in flat(&grad).into_iter().enumerate() {
                    let g = g * grad_scale;
                    p[i] *= 1.0 - lr * weight_decay;
                    first[i] = beta1 * first[i] + (1.0 - beta1) * g;
                    second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
                    let unbiased = first[i] / (1.0 - beta1.powi(t as i32));
                    let root = (second[i] / (1.0 - beta2.powi(t as i32))).sqrt();
                    p[i] -= lr * unbiased / (root + settings.eps);
                    if averaged {
                        e[i] = 0.9 * e[i] + 0.1 * p[i];
                    }
                }
            }
            let tolerance = if dtype == DType::F32 { 4e-6 } else { 1e-13 };
            assert_close("parameter", &flat(&param), &p, tolerance);
            assert_close("ema", &flat(&ema), &e, tolerance);
            assert_close("m", &flat(&m), &first, tolerance);
            assert_close("v", &flat(&v), &second, tolerance);
        }
    }
}

#[test]
fn a_nan_in_the_gradient_spoils_its_own_element_and_no_other() {
    let cast = |seed| random(seed, &[20]).to_dtype(DType::F32).unwrap();
    let (param, ema, m, v) = (cast(1), cast(2), cast(3), cast(4).abs().unwrap());
    let mut grad = flat(&cast(5));
    grad[17] = f64::NAN;
    let grad = Tensor::from_vec(grad, 20, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    adam_step(&param, &grad, &m, &v, &STEP, Some((&ema, 0.9))).unwrap();
    for tensor in [param, ema, m, v] {
        assert!(flat(&tensor).iter().enumerate().all(|(i, x)| x.is_nan() == (i == 17)));
    }
}

#[test]
fn threads_instruction_sets_and_ema_do_not_change_the_bits() {
    let cast = |seed| random(seed, &[3, 50_000]).to_dtype(DType::F32).unwrap();
    let run = |threads, with_ema| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (param, ema, m, v) = (cast(1), cast(2), cast(3), cast(4).abs().unwrap());
            let ema = if with_ema { Some((&ema, 0.999)) } else { None };
            adam_step(&param, &cast(5), &m, &v, &STEP, ema).unwrap();
            let norm = sum_squares(&param).unwrap().to_bits();
            (bits(&[param, m, v]), norm)
        })
    };
    let want = run(1, false);
    assert!([2, 3, 8].into_iter().all(|threads| run(threads, true) == want));
    on_every_instruction_set(|| run(2, true));
}

#[test]
fn shared_storage_and_wrong_shapes_are_errors() {
    let (p, g, m, v) = (random(1, &[4]), random(2, &[4]), random(3, &[4]), random(4, &[4]));
    assert!(adam_step(&p, &p, &m, &v, &STEP, None).unwrap_err().to_string().contains("share"));
    assert!(adam_step(&p, &g, &m, &m.reshape((2, 2)).unwrap().flatten_all().unwrap(), &STEP, None).is_err());
    assert!(
        adam_step(&p, &random(2, &[5]), &m, &v, &STEP, None).unwrap_err().to_string().contains("gradient")
    );
}

#[test]
fn sums_of_squares_are_exact_enough() {
    for len in [0, 1, 17, 100_000] {
        let x = random(7, &[len]);
        let want: f64 = flat(&x).iter().map(|x| x * x).sum();
        assert!((sum_squares(&x).unwrap() - want).abs() <= 1e-12 * want);
        let single = sum_squares(&x.to_dtype(DType::F32).unwrap()).unwrap();
        assert!((single - want).abs() <= 1e-6 * want);
    }
    assert!(sum_squares(&Tensor::new(f32::NAN, &Device::Cpu).unwrap()).unwrap().is_nan());
}
