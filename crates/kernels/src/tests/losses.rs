//! The elementwise operations of losses.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::{assert_close, check, check_nan, flat, random};
use crate::{
    bce_with_logits_sum, exp, gaussian_kl, log, reparameterize, soft_bound, softplus, squared_error_sum,
};

fn shape(dims: usize, n: usize, a: usize, b: usize) -> Vec<usize> {
    [n, a, b][..dims].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn losses_match_their_formulas(dims in 1usize..4, n in 1usize..5, a in 1usize..40, b in 1usize..7, seed: u64) {
        let shape = shape(dims, n, a, b);
        let (x, y, z) = (random(seed, &shape), random(seed ^ 1, &shape), random(seed ^ 2, &shape));
        let targets = y.affine(0.5, 0.5).unwrap();
        let logits = (&x * 8.0).unwrap();
        let (l, t) = (flat(&logits), flat(&targets));
        let element = |x: f64, t: f64| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
        let want: Vec<f64> = l
            .chunks(l.len() / n)
            .zip(t.chunks(l.len() / n))
            .map(|(l, t)| l.iter().zip(t).map(|(l, t)| element(*l, *t)).sum())
            .collect();
        let got = bce_with_logits_sum(&logits, &targets).unwrap();
        assert_eq!(got.dims(), [n]);
        assert_close("bce", &flat(&got), &want, 1e-12);
        check(&|t| bce_with_logits_sum(&t[0], &t[1]), &[logits.clone(), targets.clone()]);
        check_nan(&|t| bce_with_logits_sum(&t[0], &t[1]), &[logits, targets]);

        let (m, v, e) = (flat(&x), flat(&y), flat(&z));
        let apart: Vec<f64> = m.iter().zip(&v).map(|(x, y)| (x - y) * (x - y)).collect();
        let want: Vec<f64> = apart.chunks(apart.len() / n).map(|apart| apart.iter().sum()).collect();
        assert_close("squared error", &flat(&squared_error_sum(&x, &y).unwrap()), &want, 1e-12);
        check(&|t| squared_error_sum(&t[0], &t[1]), &[x.clone(), y.clone()]);
        check_nan(&|t| squared_error_sum(&t[0], &t[1]), &[x.clone(), y.clone()]);

        let kl: Vec<f64> = m.iter().zip(&v).map(|(m, v)| 0.5 * (m * m + v.exp() - 1.0 - v)).collect();
        assert_close("kl", &flat(&gaussian_kl(&x, &y).unwrap()), &kl, 1e-12);
        check(&|t| gaussian_kl(&t[0], &t[1]), &[x.clone(), y.clone()]);
        check_nan(&|t| gaussian_kl(&t[0], &t[1]), &[x.clone(), y.clone()]);

        let sample: Vec<f64> = m.iter().zip(&v).zip(&e).map(|((m, v), e)| m + (0.5 * v).exp() * e).collect();
        assert_close("sample", &flat(&reparameterize(&x, &y, &z).unwrap()), &sample, 1e-12);
        check(&|t| reparameterize(&t[0], &t[1], &t[2]), &[x.clone(), y.clone(), z.clone()]);
        check_nan(&|t| reparameterize(&t[0], &t[1], &t[2]), &[x.clone(), y, z]);

        let want: Vec<f64> = m.iter().map(|x| (1.0 + (6.0 * x).exp()).ln()).collect();
        assert_close("softplus", &flat(&softplus(&(&x * 6.0).unwrap()).unwrap()), &want, 1e-12);
        check(&|t| softplus(&t[0]), std::slice::from_ref(&x));
        check_nan(&|t| softplus(&t[0]), std::slice::from_ref(&x));

        let bounded = |x: f64| match x {
            x if x > 1.5 => 1.5 + (x - 1.5) / (1.0 + (x - 1.5)),
            x if x < -2.0 => -2.0 - (-2.0 - x) / (1.0 + (-2.0 - x)),
            x => x,
        };
        let wide = (&x * 9.0).unwrap();
        let want: Vec<f64> = flat(&wide).into_iter().map(bounded).collect();
        assert_close("soft_bound", &flat(&soft_bound(&wide, -2.0, 1.5).unwrap()), &want, 1e-12);
        check(&|t| soft_bound(&t[0], -2.0, 1.5), std::slice::from_ref(&wide));
        check_nan(&|t| soft_bound(&t[0], -2.0, 1.5), &[wide]);

        let want: Vec<f64> = m.iter().map(|x| (4.0 * x).exp()).collect();
        assert_close("exp", &flat(&exp(&(&x * 4.0).unwrap()).unwrap()), &want, 1e-12);
        let positive = x.affine(0.4, 0.5).unwrap();
        let want: Vec<f64> = flat(&positive).iter().map(|x| x.ln()).collect();
        assert_close("log", &flat(&log(&positive).unwrap()), &want, 1e-12);
        check(&|t| exp(&t[0]), std::slice::from_ref(&x));
        check(&|t| log(&t[0]), std::slice::from_ref(&positive));
        check_nan(&|t| exp(&t[0]), &[x]);
        check_nan(&|t| log(&t[0]), &[positive]);
    }
}

#[test]
fn a_bound_keeps_values_inside_and_gradients_outside() {
    let values = [-20.0f32, -0.3, 0.0, 1.1, 8.0, 1e30, -1e30];
    let x = Var::new(&values, &Device::Cpu).unwrap();
    let y = soft_bound(&x, -20.0, 8.0).unwrap();
    let got = y.to_vec1::<f32>().unwrap();
    assert_eq!(got[..5], values[..5]);
    assert_eq!(got[5..], [9.0, -21.0]);
    let weights = Tensor::new(&[0.1f32, 0.7, -3.3, 1e-20, 5.0, 1.0, 1.0], &Device::Cpu).unwrap();
    let store = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let slopes = store.get(&x).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(slopes[..5], weights.to_vec1::<f32>().unwrap()[..5]);
    // A posterior that starts far out must be able to return: at 40 beyond the range, the slope is (1 / 41)².
    let far = Var::new(&[48f32, -60.0], &Device::Cpu).unwrap();
    let store = soft_bound(&far, -20.0, 8.0).unwrap().sum_all().unwrap().backward().unwrap();
    assert_close("tail", &flat(store.get(&far).unwrap()), &[1.0 / 1681.0; 2], 1e-9);
    let lost = Tensor::new(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &Device::Cpu).unwrap();
    assert!(soft_bound(&lost, -20.0, 8.0).unwrap().to_vec1::<f32>().unwrap().iter().all(|y| y.is_nan()));
}

#[test]
fn extreme_logits_stay_finite_and_nan_stays_nan() {
    let logits = Var::new(&[[1e4f32, -1e4], [f32::NAN, 0.0]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[[0f32, 1.0], [1.0, 1.0]], &Device::Cpu).unwrap();
    let loss = bce_with_logits_sum(&logits, &targets).unwrap();
    let values = loss.to_vec1::<f32>().unwrap();
    assert_eq!(values[0], 2e4);
    assert!(values[1].is_nan());
    let store = loss.sum_all().unwrap().backward().unwrap();
    let grad = store.get(&logits).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(grad[0], [1.0, -1.0]);
    assert!(grad[1][0].is_nan());
    let nan = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
    let one = nan.ones_like().unwrap();
    let lost = |t: Tensor| !t.to_vec1::<f32>().unwrap()[0].is_nan();
    for (a, b) in [(&nan, &one), (&one, &nan)] {
        assert!(!lost(gaussian_kl(a, b).unwrap()) && !lost(reparameterize(a, b, &one).unwrap()));
    }
    assert!(!lost(reparameterize(&one, &one, &nan).unwrap()) && !lost(softplus(&nan).unwrap()));
}

/// ```python
/// import torch
/// x = torch.tensor([[-3.0, 0.5], [20.0, 0.0]], requires_grad=True); t = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
/// y = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none").sum(1); y.sum().backward()
/// print(y.tolist(), x.grad.tolist())
/// ```
#[test]
fn cross_entropy_has_the_values_of_pytorch() {
    let x = Var::new(&[[-3.0f32, 0.5], [20.0, 0.0]], &Device::Cpu).unwrap();
    let t = Tensor::new(&[[0f32, 1.0], [0.25, 0.5]], &Device::Cpu).unwrap();
    let y = bce_with_logits_sum(&x, &t).unwrap();
    assert_close("values", &flat(&y), &[0.522_664_308_547_973_6, 15.693_147_659_301_758], 1e-7);
    let store = y.sum_all().unwrap().backward().unwrap();
    let want = [0.047_425_873_577_594_76, -0.377_540_647_983_551, 0.75, 0.0];
    assert_close("gradient", &flat(store.get(&x).unwrap()), &want, 1e-7);
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let (a, b) = (random(1, &[2, 3]), random(2, &[3, 2]));
    assert!(bce_with_logits_sum(&a, &b).unwrap_err().to_string().contains("targets"));
    assert!(squared_error_sum(&a, &b).unwrap_err().to_string().contains("squared error"));
    assert!(gaussian_kl(&a, &b).is_err() && reparameterize(&a, &a, &b).is_err());
    assert!(gaussian_kl(&a, &a.to_dtype(DType::F32).unwrap()).is_err());
}
