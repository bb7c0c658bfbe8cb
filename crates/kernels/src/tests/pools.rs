//! Pooling and maxout against their definitions.

use candle_core::DType;
use proptest::prelude::*;

use super::{assert_close, bits, check, check_nan, flat, random, strided};
use crate::device::without_kernels;
use crate::{Pool, Windows, maxout, pool2d};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_match_their_definition(
        n in 1usize..4, c in 1usize..5, h in 1usize..12, w in 1usize..40,
        size in 1usize..5, stride in 1usize..4, padding in 0usize..3, seed: u64,
    ) {
        prop_assume!(padding < size && h.min(w) + 2 * padding >= size);
        let windows = Windows { size, stride, padding };
        let (rows, columns) = ((h + 2 * padding - size) / stride + 1, (w + 2 * padding - size) / stride + 1);
        let x = random(seed, &[n, c, h, w]);
        let values = flat(&x);
        let (mut maxima, mut means) = (Vec::new(), Vec::new());
        for plane in values.chunks(h * w) {
            for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                let mut seen = Vec::new();
                for (u, v) in (0..size).flat_map(|u| (0..size).map(move |v| (u, v))) {
                    let (y, x) = ((i * stride + u).wrapping_sub(padding), (j * stride + v).wrapping_sub(padding));
                    if y < h && x < w {
                        seen.push(plane[y * w + x]);
                    }
                }
                maxima.push(seen.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                means.push(seen.iter().sum::<f64>() / seen.len() as f64);
            }
        }
        for (pool, want) in [(Pool::Max, &maxima), (Pool::Mean, &means)] {
            let got = pool2d(&x, pool, windows).unwrap();
            prop_assert_eq!(got.dims(), &[n, c, rows, columns]);
            assert_close("pooling", &flat(&got), want, 1e-12);
            let single = x.to_dtype(DType::F32).unwrap();
            let got = pool2d(&single, pool, windows).unwrap();
            assert_close("pooling in f32", &flat(&got), want, 1e-6);
            let turned = pool2d(&strided(&single), pool, windows).unwrap();
            assert_eq!(bits(&[turned]), bits(&[got]));
            let composed = without_kernels(|| pool2d(&strided(&x), pool, windows)).unwrap();
            prop_assert_eq!(composed.dims(), &[n, c, rows, columns]);
            assert_close("composed pooling", &flat(&composed), want, 1e-12);
        }
        check_nan(&|t| pool2d(&t[0], Pool::Mean, windows), std::slice::from_ref(&x));
    }
}

#[test]
fn a_maximum_with_nan_is_nan_wherever_it_stands() {
    let ones = vec![1f32; 9];
    for at in 0..9 {
        let mut values = ones.clone();
        values[at] = f32::NAN;
        let x = candle_core::Tensor::from_vec(values, (1, 1, 3, 3), &candle_core::Device::Cpu).unwrap();
        let windows = Windows { size: 3, stride: 1, padding: 0 };
        let maximum = || flat(&pool2d(&x, Pool::Max, windows).unwrap())[0];
        assert!(maximum().is_nan() && without_kernels(maximum).is_nan(), "{at}");
    }
}

#[test]
fn rejects_impossible_windows() {
    let x = random(1, &[1, 1, 4, 4]);
    let pool = |size, stride, padding| pool2d(&x, Pool::Max, Windows { size, stride, padding });
    assert!(pool(3, 0, 0).is_err() && pool(2, 1, 2).is_err() && pool(0, 1, 0).is_err());
    assert!(pool(5, 1, 0).unwrap_err().to_string().contains("[1, 1, 4, 4]"));
    assert!(pool(usize::MAX, 1, usize::MAX - 1).is_err());
    assert_eq!(pool(4, usize::MAX, 0).unwrap().dims(), [1, 1, 1, 1]);
}

#[test]
fn a_maxout_is_the_largest_of_neighbouring_values() {
    for (seed, n, features, pieces) in [(1, 3, 4, 5), (2, 1, 7, 2), (3, 5, 1, 3), (4, 2, 3, 1)] {
        let x = random(seed, &[n, features * pieces]);
        let largest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let want: Vec<f64> = flat(&x).chunks(pieces).map(largest).collect();
        let got = maxout(&x, pieces).unwrap();
        assert_eq!(got.dims(), [n, features]);
        assert_close("maxout", &flat(&got), &want, 0.0);
        check(&|t| maxout(&t[0], pieces), std::slice::from_ref(&x));
        check_nan(&|t| maxout(&t[0], pieces), &[x]);
    }
    let odd = random(5, &[2, 7]);
    assert!(maxout(&odd, 2).is_err() && maxout(&odd, 0).is_err());
    assert!(maxout(&random(5, &[2, 2, 2]), 2).is_err());
}

/// Before the first step, all pieces of a zero input can be equal. Then only the first of them learns.
#[test]
fn of_equal_values_the_first_gets_the_gradient() {
    let slopes = || {
        let x = candle_core::Var::zeros((1, 6), DType::F32, &candle_core::Device::Cpu).unwrap();
        let store = maxout(&x, 3).unwrap().sum_all().unwrap().backward().unwrap();
        flat(store.get(&x).unwrap())
    };
    assert_eq!(slopes(), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(without_kernels(slopes), slopes());
}
