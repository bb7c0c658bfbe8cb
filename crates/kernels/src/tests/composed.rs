//! Properties of composed operations alone: products in half precision, and edge cases in which candle's
//! operations differ.

use candle_core::{DType, Device, Tensor, Var};

use super::{assert_close, flat, numbers, random, run};
use crate::Result;
use crate::device::without_kernels;
use crate::{Activation, AdamStep, activate, adam_step, conv_transpose2d, conv2d, linear};
use crate::{avg_pool2, soft_bound, softplus, sum_squares, translate, upsample2};

/// The f32 values of an f64 tensor.
fn single(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

#[test]
fn at_zero_slopes_are_those_of_the_kernels() {
    let zeros = single(&Tensor::new(&[0.0f64, -0.0, 1.0, -1.0], &Device::Cpu).unwrap());
    for activation in [
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::LeakyRelu(1.5),
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Silu,
    ] {
        let slope = || {
            let x = Var::from_tensor(&zeros).unwrap();
            let y = activate(&x, activation).unwrap();
            (flat(&y), flat(y.sum_all().unwrap().backward().unwrap().get(&x).unwrap()))
        };
        let ((y, dx), (composed, gradient)) = (slope(), without_kernels(slope));
        assert_close("value", &composed, &y, 1e-6);
        assert_close("slope", &gradient, &dx, 1e-6);
    }
}

#[test]
fn nan_stays_nan() {
    let x = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
    without_kernels(|| {
        for activation in
            [Activation::Relu, Activation::LeakyRelu(0.2), Activation::Sigmoid, Activation::Silu]
        {
            assert!(flat(&activate(&x, activation).unwrap())[0].is_nan(), "{activation:?}");
        }
        assert!(flat(&softplus(&x).unwrap())[0].is_nan());
        assert!(flat(&soft_bound(&x, -1.0, 1.0).unwrap())[0].is_nan());
        let infinite = Tensor::new(&[f32::INFINITY, f32::NEG_INFINITY], &Device::Cpu).unwrap();
        assert!(flat(&soft_bound(&infinite, -1.0, 1.0).unwrap()).iter().all(|y| y.is_nan()));
    });
}

#[test]
fn the_bound_agrees_with_the_kernel() {
    let x = Var::new(&[-1e30f32, -60.0, -20.0, -0.3, 0.0, 8.0, 8.5, 48.0, 1e30], &Device::Cpu).unwrap();
    let both = || {
        let y = soft_bound(&x, -20.0, 8.0).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        (flat(&y), flat(store.get(&x).unwrap()))
    };
    let ((values, slopes), (composed, composed_slopes)) = (both(), without_kernels(both));
    assert_close("values", &composed, &values, 1e-6);
    assert_close("slopes", &composed_slopes, &slopes, 1e-6);
}

#[test]
fn saturated_logits_have_finite_gradients() {
    let x = Var::new(&[-1e4f32, -90.0, 0.0, 90.0, 1e4], &Device::Cpu).unwrap();
    let slopes = without_kernels(|| {
        flat(softplus(&x).unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap())
    });
    assert_close("slopes", &slopes, &[0.0, 0.0, 0.5, 1.0, 1.0], 1e-6);
}

#[test]
fn resampling_agrees_with_the_kernels() {
    let x = random(1, &[3, 2, 6, 4]);
    let shifted = |t: &Tensor| translate(t, &[1, -2, 7], &[0, 3, -1]);
    type Kernel<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
    for kernel in [&avg_pool2 as Kernel<'_>, &upsample2, &shifted] {
        let both = || {
            let x = Var::from_tensor(&x).unwrap();
            let y = kernel(&x).unwrap();
            // The gradient of a second use of the input must be added.
            let loss = (&y * random(2, y.dims())).unwrap().sum_all().unwrap();
            let loss = (loss + x.sqr().unwrap().sum_all().unwrap()).unwrap();
            (flat(&y), flat(loss.backward().unwrap().get(&x).unwrap()))
        };
        let ((y, dx), (composed, gradient)) = (both(), without_kernels(both));
        assert_close("value", &composed, &y, 1e-12);
        assert_close("gradient", &gradient, &dx, 1e-12);
    }
}

#[test]
fn adam_and_norms_agree_with_the_kernels() {
    let updated = || {
        let tensor = |seed| single(&random(seed, &[7, 11]));
        let (param, ema, m, v) = (tensor(1), tensor(2), tensor(3), tensor(4).abs().unwrap());
        let step = AdamStep {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.1,
            step: 3,
            grad_scale: 0.5,
        };
        adam_step(&param, &tensor(5), &m, &v, &step, Some((&ema, 0.9))).unwrap();
        let norm = sum_squares(&param).unwrap();
        ([param, ema, m, v].map(|t| flat(&t)), norm)
    };
    let ((kernels, norm), (composed, other)) = (updated(), without_kernels(updated));
    for (got, want) in composed.iter().zip(&kernels) {
        assert_close("adam", got, want, 1e-6);
    }
    assert!((norm - other).abs() < 1e-5 * norm);
}

/// With a weight in bf16 or f16, a layer multiplies in that type, forward and backward. Its results are f32
/// and differ from those of f32 products by the rounding of the operands: a relative error of 2⁻⁸ or 2⁻¹¹,
/// which partly averages out.
#[test]
fn products_in_half_precision_are_near_those_in_full() {
    type Layer = fn(&[Tensor]) -> Result<Tensor>;
    let layers: [(Layer, [&[usize]; 3]); 3] = [
        (|t| linear(&t[0], &t[1], Some(&t[2]), Activation::LeakyRelu(0.2)), [&[5, 12], &[7, 12], &[7]]),
        (
            |t| conv2d(&t[0], &t[1], Some(&t[2]), [2; 2], [1; 2], Activation::LeakyRelu(0.2)),
            [&[3, 4, 8, 8], &[6, 4, 4, 4], &[6]],
        ),
        (
            |t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), [2; 2], [1; 2], [0; 2]),
            [&[3, 4, 5, 5], &[4, 6, 4, 4], &[6]],
        ),
    ];
    for (precision, tolerance) in [(DType::BF16, 0.02), (DType::F16, 0.003)] {
        for (layer, shapes) in layers {
            let inputs: Vec<Tensor> =
                shapes.iter().enumerate().map(|(i, s)| single(&random(i as u64, s))).collect();
            let half = |t: &[Tensor]| layer(&[t[0].clone(), t[1].to_dtype(precision)?, t[2].clone()]);
            let (y, grads) = run(&layer, &inputs, Tensor::clone);
            let (low, low_grads) = without_kernels(|| run(&half, &inputs, Tensor::clone));
            assert_eq!(low.dtype(), DType::F32);
            assert_ne!(flat(&low), flat(&y), "{precision:?} was not used");
            assert_close("half precision", &flat(&low), &flat(&y), tolerance);
            for (got, want) in low_grads.iter().zip(&grads) {
                assert_eq!(got.dtype(), DType::F32);
                assert_close("gradient in half precision", &flat(got), &flat(want), tolerance);
            }
        }
    }
}

/// The CPU kernels do not support half precision, and return an error.
#[test]
fn kernels_refuse_half_precision() {
    let x = Tensor::from_vec(numbers(1, 6), (2, 3), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let error = linear(&x, &x.to_dtype(DType::BF16).unwrap(), None, Activation::Identity).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("dtype"), "{error}");
}
