//! Convolution and transposed convolution.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{assert_close, bits, check, check_nan, flat, random};
use crate::{Activation, conv_transpose2d, conv2d, conv2d_with_planes, with_planes};

/// A tensor's elements by index.
struct Array {
    dims: [usize; 4],
    data: Vec<f64>,
}

impl Array {
    fn of(t: &Tensor) -> Self {
        Self { dims: t.dims().try_into().unwrap(), data: flat(t) }
    }

    fn at(&mut self, [n, c, h, w]: [usize; 4]) -> &mut f64 {
        let [_, cs, hs, ws] = self.dims;
        &mut self.data[((n * cs + c) * hs + h) * ws + w]
    }
}

/// Calls `f` with every (n, c, o, map row, map column, kernel row, kernel column, image row, image column) that meet.
fn for_each_product(
    image: [usize; 4],
    map: [usize; 4],
    [kh, kw]: [usize; 2],
    (stride, padding): (usize, usize),
    mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4]),
) {
    for n in 0..image[0] {
        for c in 0..image[1] {
            for o in 0..map[1] {
                for i in 0..map[2] {
                    for j in 0..map[3] {
                        for u in 0..kh {
                            for v in 0..kw {
                                let row = (i * stride + u).wrapping_sub(padding);
                                let column = (j * stride + v).wrapping_sub(padding);
                                if row < image[2] && column < image[3] {
                                    f([n, c, row, column], [n, o, i, j], [o, c, u, v]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn convolutions_match_the_reference(
        n in 1usize..6, c in 1usize..4, o in 1usize..5, h in 1usize..10, w in 1usize..10,
        kh in 1usize..5, kw in 1usize..5, stride in 1usize..4, padding in 0usize..3, seed: u64,
    ) {
        prop_assume!(h + 2 * padding >= kh && w + 2 * padding >= kw);
        let (x, k, b) = (random(seed, &[n, c, h, w]), random(seed ^ 1, &[o, c, kh, kw]), random(seed ^ 2, &[o]));
        let (oh, ow) = ((h + 2 * padding - kh) / stride + 1, (w + 2 * padding - kw) / stride + 1);
        let (mut image, mut weight) = (Array::of(&x), Array::of(&k));
        let mut want = Array { dims: [n, o, oh, ow], data: vec![0.0; n * o * oh * ow] };
        for_each_product([n, c, h, w], [n, o, oh, ow], [kh, kw], (stride, padding), |i, m, k| {
            *want.at(m) += *image.at(i) * *weight.at(k);
        });
        let bias = flat(&b);
        let want: Vec<f64> = want.data.iter().enumerate().map(|(i, y)| y + bias[i / (oh * ow) % o]).collect();
        let y = conv2d(&x, &k, Some(&b), stride, padding, Activation::Identity).unwrap();
        assert_eq!(y.dims(), [n, o, oh, ow]);
        assert_close("convolution", &flat(&y), &want, 1e-12);
        check(&|t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding, Activation::Identity), &[x.clone(), k.clone(), b.clone()]);
        check(&|t| conv2d(&t[0], &t[1], None, stride, padding, Activation::Identity), &[x.clone(), k.clone()]);
        let fused = conv2d(&x, &k, Some(&b), stride, padding, Activation::Tanh).unwrap();
        let apart: Vec<f64> = want.iter().map(|y| y.tanh()).collect();
        assert_close("fused activation", &flat(&fused), &apart, 1e-12);
        check(&|t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding, Activation::Silu), &[x.clone(), k.clone(), b.clone()]);
        check(&|t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding, Activation::Tanh), &[x.clone(), k.clone(), b.clone()]);
        check_nan(&|t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding, Activation::Identity), &[x, k, b]);
    }

    #[test]
    fn transposed_convolutions_match_the_reference(
        n in 1usize..6, c in 1usize..4, o in 1usize..5, h in 1usize..7, w in 1usize..7,
        kh in 1usize..5, kw in 1usize..5, stride in 1usize..4, padding in 0usize..3, extra in 0usize..3, seed: u64,
    ) {
        prop_assume!(extra < stride);
        let side = |h: usize, k: usize| ((h - 1) * stride + k + extra).checked_sub(2 * padding).filter(|s| *s > 0);
        let (oh, ow) = (side(h, kh), side(w, kw));
        prop_assume!(oh.is_some() && ow.is_some());
        let (oh, ow) = (oh.unwrap(), ow.unwrap());
        let (x, k, b) = (random(seed, &[n, c, h, w]), random(seed ^ 1, &[c, o, kh, kw]), random(seed ^ 2, &[o]));
        let (mut map, mut weight) = (Array::of(&x), Array::of(&k));
        let mut want = Array { dims: [n, o, oh, ow], data: vec![0.0; n * o * oh * ow] };
        for_each_product([n, o, oh, ow], [n, c, h, w], [kh, kw], (stride, padding), |i, m, k| {
            *want.at(i) += *map.at(m) * *weight.at(k);
        });
        let bias = flat(&b);
        let want: Vec<f64> = want.data.iter().enumerate().map(|(i, y)| y + bias[i / (oh * ow) % o]).collect();
        let y = conv_transpose2d(&x, &k, Some(&b), stride, padding, extra).unwrap();
        assert_eq!(y.dims(), [n, o, oh, ow]);
        assert_close("transposed convolution", &flat(&y), &want, 1e-12);
        check(&|t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), stride, padding, extra), &[x.clone(), k.clone(), b.clone()]);
        check(&|t| conv_transpose2d(&t[0], &t[1], None, stride, padding, extra), &[x.clone(), k.clone()]);
        check_nan(&|t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), stride, padding, extra), &[x, k, b]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Planes that were never drawn count as planes that were.
    #[test]
    fn a_convolution_with_planes_is_one_over_all_channels(
        n in 1usize..5, c in 1usize..3, planes in 1usize..4, o in 1usize..4, h in 1usize..10, w in 1usize..10,
        kh in 1usize..5, kw in 1usize..5, stride in 1usize..4, padding in 0usize..4, seed: u64,
    ) {
        prop_assume!(h + 2 * padding >= kh && w + 2 * padding >= kw);
        let inputs = [
            random(seed, &[n, c, h, w]), random(seed ^ 1, &[o, c + planes, kh, kw]), random(seed ^ 2, &[o]),
        ];
        let values = random(seed ^ 3, &[n, planes]);
        let run = |bias: bool, activation: Activation| {
            let values = values.clone();
            move |t: &[Tensor]| {
                let values = values.to_dtype(t[0].dtype())?;
                conv2d_with_planes(&t[0], &values, &t[1], bias.then(|| &t[2]), stride, padding, activation)
            }
        };
        let whole = |t: &[Tensor], bias: bool, activation: Activation| {
            conv2d(&with_planes(&t[0], &values).unwrap(), &t[1], bias.then(|| &t[2]), stride, padding, activation)
        };
        for (bias, activation) in [(true, Activation::Tanh), (true, Activation::Silu), (false, Activation::Identity)] {
            let inputs = &inputs[..if bias { 3 } else { 2 }];
            let got = run(bias, activation)(inputs).unwrap();
            let want = whole(inputs, bias, activation).unwrap();
            assert_eq!(got.dims(), want.dims());
            assert_close("with planes", &flat(&got), &flat(&want), 1e-12);
            check(&run(bias, activation), inputs);
        }
        check_nan(&run(true, Activation::Identity), &inputs);
    }
}

#[test]
fn values_of_planes_that_do_not_fit_are_named() {
    let (x, k) = (random(1, &[2, 1, 4, 4]), random(2, &[2, 3, 3, 3]));
    let run = |values: &[usize]| {
        let values = random(3, values);
        conv2d_with_planes(&x, &values, &k, None, 1, 1, Activation::Identity)
            .map_err(|error| error.to_string())
    };
    assert_eq!(run(&[2, 2]).unwrap().dims(), [2, 2, 4, 4]);
    assert!(run(&[3, 2]).unwrap_err().contains("(2, planes)"));
    assert!(run(&[2, 1]).unwrap_err().contains("(N, 2, H, W)"));
    let none = Tensor::zeros((0, 1, 4, 4), DType::F64, &Device::Cpu).unwrap();
    let no_values = Tensor::zeros((0, 2), DType::F64, &Device::Cpu).unwrap();
    let none = conv2d_with_planes(&none, &no_values, &k, None, 1, 1, Activation::Identity).unwrap();
    assert_eq!(none.dims(), [0, 2, 4, 4]);
}

/// The layers of a DCGAN, where several blocks, groups and parts meet: against candle's own, in f64.
#[test]
#[expect(clippy::disallowed_methods, reason = "candle's convolution is the reference here")]
fn layers_of_a_dcgan_match_candle() {
    for (n, c, h, o) in [(9, 3, 32, 64), (5, 64, 16, 40), (11, 128, 8, 72), (3, 1, 28, 24)] {
        let (x, k) = (random(1, &[n, c, h, h]), random(2, &[o, c, 4, 4]));
        let want = x.conv2d(&k, 1, 2, 1, 1).unwrap();
        let (x, k) = (x.to_dtype(DType::F32).unwrap(), k.to_dtype(DType::F32).unwrap());
        assert_close(
            "convolution",
            &flat(&conv2d(&x, &k, None, 2, 1, Activation::Identity).unwrap()),
            &flat(&want),
            1e-5,
        );
        let y = random(3, &[n, o, h / 2, h / 2]);
        let want = y.conv_transpose2d(&k.to_dtype(DType::F64).unwrap(), 1, 0, 2, 1).unwrap();
        let y = y.to_dtype(DType::F32).unwrap();
        let got = conv_transpose2d(&y, &k, None, 2, 1, 0).unwrap();
        assert_close("transposed convolution", &flat(&got), &flat(&want), 1e-5);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let k = candle_core::Var::from_tensor(&k).unwrap();
                let y = conv2d(&x, &k, None, 2, 1, Activation::Identity).unwrap();
                let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                (bits(&[y, store.get(&k).unwrap().clone()]), flat(store.get(&k).unwrap()))
            })
        };
        let (want, gradient) = run(1);
        assert!([2, 3].into_iter().all(|threads| run(threads).0 == want), "threads");
        let k64 = candle_core::Var::from_tensor(&k.to_dtype(DType::F64).unwrap()).unwrap();
        let y = x.to_dtype(DType::F64).unwrap().conv2d(&k64, 1, 2, 1, 1).unwrap();
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert_close("gradient of the weight", &gradient, &flat(store.get(&k64).unwrap()), 1e-5);
    }
}

#[test]
fn an_empty_batch_gives_an_empty_result() {
    let x = Tensor::zeros((0, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let k = Tensor::zeros((5, 3, 4, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(conv2d(&x, &k, None, 2, 1, Activation::Identity).unwrap().dims(), [0, 5, 4, 4]);
    // A kernel that sees nothing but padding.
    let x = Tensor::zeros((2, 3, 8, 0), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(flat(&conv2d(&x, &k, None, 2, 2, Activation::Identity).unwrap()), [0.0; 2 * 5 * 5]);
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, k) = (random(1, &[1, 3, 4, 4]), random(2, &[2, 4, 3, 3]));
    assert!(
        conv2d(&x, &k, None, 1, 0, Activation::Identity).unwrap_err().to_string().contains("[1, 3, 4, 4]")
    );
    assert!(conv2d(&x, &random(2, &[2, 3, 7, 7]), None, 1, 1, Activation::Identity).is_err());
    assert!(conv2d(&x, &random(2, &[2, 3, 3, 3]), None, 0, 1, Activation::Identity).is_err());
    assert!(conv_transpose2d(&x, &k, None, 2, 1, 0).is_err());
    assert!(conv_transpose2d(&x, &random(2, &[3, 2, 4, 4]), None, 2, 1, 2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Channels in whole registers and a kernel of two or three strides: the way of minimal filtering.
    #[test]
    fn filtered_convolutions_match_the_reference(
        n in 1usize..4, c in 1usize..3, o in 1usize..3, h in 1usize..8, w in 1usize..8,
        taps in 2usize..4, stride in 1usize..3, padding in 0usize..3, extra in 0usize..2, seed: u64,
    ) {
        let (c, o, side) = (16 * c, 16 * o, taps * stride);
        prop_assume!(extra < stride && h + 2 * padding >= side && w + 2 * padding >= side);
        let out = |length: usize| (length + 2 * padding - side) / stride + 1;
        let (x, k, b) = (random(seed, &[n, c, h, w]), random(seed ^ 1, &[o, c, side, side]), random(seed ^ 2, &[o]));
        let (mut image, mut weight) = (Array::of(&x), Array::of(&k));
        let shape = [n, o, out(h), out(w)];
        let mut want = Array { dims: shape, data: vec![0.0; shape.iter().product()] };
        for_each_product([n, c, h, w], shape, [side, side], (stride, padding), |i, m, k| {
            *want.at(m) += *image.at(i) * *weight.at(k);
        });
        let bias = flat(&b);
        let plane = out(h) * out(w);
        let want: Vec<f64> = want.data.iter().enumerate().map(|(i, y)| (y + bias[i / plane % o]).tanh()).collect();
        let y = conv2d(&x, &k, Some(&b), stride, padding, Activation::Tanh).unwrap();
        assert_close("convolution", &flat(&y), &want, 1e-12);
        check(&|t| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding, Activation::Tanh), &[x, k, b]);

        let side_of = |length: usize| ((length - 1) * stride + side + extra).checked_sub(2 * padding).filter(|s| *s > 0);
        if let (Some(oh), Some(ow)) = (side_of(h), side_of(w)) {
            let (x, k, b) = (random(seed, &[n, c, h, w]), random(seed ^ 1, &[c, o, side, side]), random(seed ^ 2, &[o]));
            let (mut map, mut weight) = (Array::of(&x), Array::of(&k));
            let mut want = Array { dims: [n, o, oh, ow], data: vec![0.0; n * o * oh * ow] };
            for_each_product([n, o, oh, ow], [n, c, h, w], [side, side], (stride, padding), |i, m, k| {
                *want.at(i) += *map.at(m) * *weight.at(k);
            });
            let want: Vec<f64> =
                want.data.iter().enumerate().map(|(i, y)| y + bias_of(&b, i / (oh * ow) % o)).collect();
            let y = conv_transpose2d(&x, &k, Some(&b), stride, padding, extra).unwrap();
            assert_close("transposed convolution", &flat(&y), &want, 1e-12);
            check(&|t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), stride, padding, extra), &[x, k, b]);
        }
    }
}

fn bias_of(bias: &Tensor, channel: usize) -> f64 {
    flat(bias)[channel]
}
