//! Matrix products, linear layers and activations.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::{assert_close, bits, check, check_nan, flat, numbers, random, strided};
use crate::simd::on_every_instruction_set;
use crate::{
    Activation, activate, activate_tangent, add_scaled, gumbel, gumbel_of, linear, linear_to, matmul,
};

const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Silu,
];

fn reference(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        }
    }
    c
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn products_match_the_reference(m in 1usize..40, k in 0usize..60, n in 1usize..40, seed: u64) {
        let (a, b) = (random(seed, &[m, k]), random(seed ^ 1, &[k, n]));
        let want = reference(&flat(&a), &flat(&b), (m, k, n));
        assert_close("product", &flat(&matmul(&a, &b).unwrap()), &want, 1e-12);
        if k > 0 {
            check(&|x| matmul(&x[0], &x[1]), &[a.clone(), b.clone()]);
            check_nan(&|x| matmul(&x[0], &x[1]), &[a, b]);
        }
    }

    #[test]
    fn linear_layers_are_products(n in 1usize..20, i in 1usize..40, o in 1usize..40, kind in 0usize..6, seed: u64) {
        let (x, w, b) = (random(seed, &[n, i]), random(seed ^ 1, &[o, i]), random(seed ^ 2, &[o]));
        let activation = ACTIVATIONS[kind];
        let sums = reference(&flat(&x), &flat(&w.t().unwrap().contiguous().unwrap()), (n, i, o));
        let bias = flat(&b);
        let sums: Vec<f64> = sums.iter().enumerate().map(|(at, y)| y + bias[at % o]).collect();
        let sums = Tensor::from_vec(sums, (n, o), &Device::Cpu).unwrap();
        let want = flat(&activate(&sums, activation).unwrap());
        assert_close("linear", &flat(&linear(&x, &w, Some(&b), activation).unwrap()), &want, 1e-12);
        check(&|x| linear(&x[0], &x[1], Some(&x[2]), activation), &[x.clone(), w.clone(), b.clone()]);
        check_nan(&|x| linear(&x[0], &x[1], Some(&x[2]), Activation::Identity), &[x.clone(), w.clone(), b]);
        check(&|x| linear(&x[0], &x[1], None, activation), &[x.clone(), w.clone()]);

        // Samples and results of any shape.
        let (deep, twice) = (x.reshape((n, i, 1)).unwrap(), Tensor::cat(&[&w, &w], 0).unwrap());
        let to = |x: &[Tensor]| linear_to(&x[0], &x[1], None, activation, &[2, o]);
        let got = to(&[deep.clone(), twice.clone()]).unwrap();
        assert_eq!(got.dims(), [n, 2, o]);
        let plain = linear(&x, &w, None, activation).unwrap();
        assert_eq!(flat(&got.narrow(1, 1, 1).unwrap()), flat(&plain));
        check(&to, &[deep, twice]);
    }
}

/// Sizes at the boundaries of gemm's blocks, of the blocks of the inner dimension, and of panels and tiles.
#[test]
fn large_products_match_the_reference_and_do_not_depend_on_the_number_of_rows() {
    for (m, k, n) in
        [(3, 511, 7), (33, 512, 16), (2, 513, 300), (70, 514, 33), (130, 1100, 257), (64, 4096, 1)]
    {
        let (a, b) = (random(1, &[m, k]), random(2, &[k, n]));
        let want = reference(&flat(&a), &flat(&b), (m, k, n));
        let (a32, b32) = (a.to_dtype(DType::F32).unwrap(), b.to_dtype(DType::F32).unwrap());
        let c32 = matmul(&a32, &b32).unwrap();
        assert_close("product", &flat(&c32), &want, 1e-5);
        assert_eq!(
            bits(&[matmul(&strided(&a32), &strided(&b32)).unwrap()]),
            bits(std::slice::from_ref(&c32)),
            "layouts"
        );
        for rows in [1, 2, m / 2, m] {
            let part = matmul(&a32.narrow(0, m - rows, rows).unwrap(), &b32).unwrap();
            let whole = c32.narrow(0, m - rows, rows).unwrap();
            assert_eq!(bits(&[part]), bits(&[whole]), "{rows} of {m} rows of {k}x{n}");
        }
        let wide = random(3, &[1, 1]).broadcast_as((n, k)).unwrap().to_dtype(DType::F32).unwrap();
        let wide = (wide + b32.t().unwrap()).unwrap();
        let layer = linear(&a32, &wide, None, Activation::Tanh).unwrap();
        let one = linear(&a32.narrow(0, 1, 1).unwrap(), &wide, None, Activation::Tanh).unwrap();
        assert_eq!(bits(&[one]), bits(&[layer.narrow(0, 1, 1).unwrap()]), "{k}x{n}");
    }
}

#[test]
fn threads_do_not_change_the_bits_of_large_products() {
    let (x, w) = (random(1, &[128, 784]), random(2, &[400, 784]));
    let (x, w) = (x.to_dtype(DType::F32).unwrap(), w.to_dtype(DType::F32).unwrap());
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let w = Var::from_tensor(&w).unwrap();
            let y = linear(&x, &w, None, Activation::Relu).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            bits(&[y, grads.get(&w).unwrap().clone()])
        })
    };
    let want = run(1);
    assert!([2, 3, 8].into_iter().all(|threads| run(threads) == want));
}

/// Gemm's AVX2 and AVX-512 tiles sum in the same order, so they give the same bits.
#[cfg(target_arch = "x86_64")]
#[test]
#[expect(unsafe_code, reason = "gemm's AVX2 path has no safe door")]
fn avx2_and_avx512_give_the_same_bits() {
    use gemm_common::simd::{MixedSimd, V3};
    use gemm_f32::microkernel::fma::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
    let Some(simd) = <V3 as MixedSimd<f32, f32, f32, f32>>::try_new() else { return };
    for (m, k, n) in [(3, 70, 5), (64, 512, 64), (37, 333, 129), (130, 512, 257), (2, 400, 300)] {
        let a: Vec<f32> = numbers(1, m * k).into_iter().map(|x| x as f32).collect();
        let b: Vec<f32> = numbers(2, k * n).into_iter().map(|x| x as f32).collect();
        let mut narrow = vec![0.0f32; m * n];
        // SAFETY: the shapes are those of the vectors. Rows and columns are swapped, as `gemm::gemm` itself
        // does for a product in row order.
        unsafe {
            gemm_common::gemm::gemm_basic_generic::<_, f32, 8, { MR_DIV_N * 8 }, NR, MR_DIV_N, H_M, H_N>(
                simd,
                n,
                m,
                k,
                narrow.as_mut_ptr(),
                n as isize,
                1,
                false,
                b.as_ptr(),
                n as isize,
                1,
                a.as_ptr(),
                k as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                |a, b, c| a * b + c,
                &UKR,
                &H_UKR,
                false,
                gemm::Parallelism::None,
            );
        }
        let (a, b) = (
            Tensor::from_vec(a, (m, k), &Device::Cpu).unwrap(),
            Tensor::from_vec(b, (k, n), &Device::Cpu).unwrap(),
        );
        let ours = bits(&[matmul(&a, &b).unwrap()]);
        let narrow: Vec<u32> = narrow.into_iter().map(f32::to_bits).collect();
        assert_eq!(ours[0], narrow, "{m}x{k}x{n}");
    }
}

#[test]
fn activations_match_their_formulas_and_keep_nan() {
    let formulas: [fn(f64) -> f64; 6] = [
        |x| x,
        |x| x.max(0.0),
        |x| if x > 0.0 { x } else { 0.2f32 as f64 * x },
        f64::tanh,
        |x| 1.0 / (1.0 + (-x).exp()),
        |x| x / (1.0 + (-x).exp()),
    ];
    let x = (random(5, &[3, 7, 11]) * 6.0).unwrap();
    for (activation, formula) in ACTIVATIONS.into_iter().zip(formulas) {
        let want: Vec<f64> = flat(&x).into_iter().map(formula).collect();
        assert_close("activation", &flat(&activate(&x, activation).unwrap()), &want, 1e-14);
        check(&|x| activate(&x[0], activation), std::slice::from_ref(&x));
        let nan = Tensor::new(&[f32::NAN, 1.0], &Device::Cpu).unwrap();
        let y = activate(&nan, activation).unwrap().to_vec1::<f32>().unwrap();
        assert!(y[0].is_nan() && y[1].is_finite(), "{activation:?}");
    }
}

/// The derivative along a direction equals the difference of two values, divided by a short step.
#[test]
fn tangents_of_activations_are_directional_derivatives() {
    let (x, tangent) = ((random(5, &[3, 7, 11]) * 6.0).unwrap(), random(6, &[3, 7, 11]));
    for activation in ACTIVATIONS.into_iter().filter(|activation| activation.is_piecewise_linear()) {
        let y = activate(&x, activation).unwrap();
        let moved = |by: f64| {
            let x = (&x + (&tangent * by).unwrap()).unwrap();
            flat(&activate(&x, activation).unwrap())
        };
        let want: Vec<f64> =
            moved(1e-6).iter().zip(moved(-1e-6)).map(|(up, down)| (up - down) / 2e-6).collect();
        let got = flat(&activate_tangent(&y, &tangent, activation).unwrap());
        assert_close("tangent", &got, &want, 1e-8);
        check(
            &|t| activate_tangent(&y.to_dtype(t[0].dtype())?, &t[0], activation),
            std::slice::from_ref(&tangent),
        );
    }
    let curved = activate_tangent(&x, &tangent, Activation::Tanh).unwrap_err().to_string();
    assert!(curved.contains("not piecewise linear"), "{curved}");
    assert!(activate_tangent(&x, &random(6, &[3]), Activation::Relu).is_err());
}

/// In f32, one value at a time and many at once, on every instruction set of this machine.
#[test]
fn gumbel_values_have_the_same_bits_everywhere() {
    let bits: Vec<u32> = (0..5000u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
    let each: Vec<u32> = bits.iter().map(|bits| gumbel_of(*bits).to_bits()).collect();
    let together = || gumbel(&bits).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(together(), each);
    on_every_instruction_set(together);
}

#[test]
fn scaled_sums_match_their_formula() {
    let inputs = [random(1, &[3, 5, 7]), random(2, &[3, 5, 7])];
    let want: Vec<f64> = flat(&inputs[0]).iter().zip(flat(&inputs[1])).map(|(x, y)| x + 0.3 * y).collect();
    assert_close("scaled sum", &flat(&add_scaled(&inputs[0], &inputs[1], 0.3).unwrap()), &want, 1e-15);
    check(&|t| add_scaled(&t[0], &t[1], 0.3), &inputs);
    check_nan(&|t| add_scaled(&t[0], &t[1], 0.3), &inputs);
    assert!(add_scaled(&inputs[0], &random(2, &[3]), 0.3).is_err());
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let (a, b) = (random(1, &[2, 3]), random(2, &[4, 5]));
    assert!(matmul(&a, &b).unwrap_err().to_string().contains("[4, 5]"));
    assert!(linear(&a, &b, None, Activation::Relu).unwrap_err().to_string().contains("[2, 3]"));
    let bias = random(3, &[4]);
    assert!(
        linear(&a, &random(4, &[5, 3]), Some(&bias), Activation::Relu)
            .unwrap_err()
            .to_string()
            .contains("bias")
    );
    let misfit = linear_to(&a, &random(4, &[4, 3]), None, Activation::Relu, &[3, 2]);
    assert!(misfit.unwrap_err().to_string().contains("[3, 2]"));
    assert!(activate(&a, Activation::LeakyRelu(-0.1)).is_err());
}
