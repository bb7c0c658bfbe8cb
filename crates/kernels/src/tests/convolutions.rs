//! Convolution and transposed convolution.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{assert_close, bits, check, check_nan, check_within, flat, random};
use crate::{Activation, conv_transpose2d, conv2d, conv2d_with_planes, with_planes};

/// The elements of a tensor, by index.
struct Array {
    dims: [usize; 4],
    data: Vec<f64>,
}

impl Array {
    fn of(t: &Tensor) -> Self {
        Self { dims: t.dims().try_into().unwrap(), data: flat(t) }
    }

    fn zeros(dims: [usize; 4]) -> Self {
        Self { dims, data: vec![0.0; dims.iter().product()] }
    }

    fn at(&mut self, [n, c, h, w]: [usize; 4]) -> &mut f64 {
        let [_, cs, hs, ws] = self.dims;
        &mut self.data[((n * cs + c) * hs + h) * ws + w]
    }

    fn plus(mut self, bias: &Tensor) -> Self {
        let (bias, plane) = (flat(bias), self.dims[2] * self.dims[3]);
        for (i, y) in self.data.iter_mut().enumerate() {
            *y += bias[i / plane % bias.len()];
        }
        self
    }
}

/// The windows of a convolution, along the height and along the width.
#[derive(Clone, Copy, Debug)]
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Windows {
    /// The sides of the map, if the kernel fits.
    fn map(&self, image: [usize; 2]) -> Option<[usize; 2]> {
        let side = |i: usize| {
            let room = (image[i] + 2 * self.padding[i]).checked_sub(self.kernel[i])?;
            Some(room / self.stride[i] + 1)
        };
        Some([side(0)?, side(1)?])
    }

    /// The sides of the result of a transposed convolution, if it is not empty.
    fn image(&self, map: [usize; 2], extra: [usize; 2]) -> Option<[usize; 2]> {
        let side = |i: usize| {
            let full = (map[i] - 1) * self.stride[i] + self.kernel[i] + extra[i];
            full.checked_sub(2 * self.padding[i]).filter(|side| *side > 0)
        };
        Some([side(0)?, side(1)?])
    }

    /// Calls `f` with the indices of image, map and weight for every product of the convolution.
    fn for_each_product(
        &self,
        image: [usize; 4],
        map: [usize; 4],
        mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4]),
    ) {
        for n in 0..image[0] {
            for c in 0..image[1] {
                for o in 0..map[1] {
                    for i in 0..map[2] {
                        for j in 0..map[3] {
                            for u in 0..self.kernel[0] {
                                for v in 0..self.kernel[1] {
                                    let row = (i * self.stride[0] + u).wrapping_sub(self.padding[0]);
                                    let column = (j * self.stride[1] + v).wrapping_sub(self.padding[1]);
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

    /// The convolution of an image (N, C, H, W) by a weight (O, C, kh, kw), by its definition.
    fn convolved(&self, image: &Tensor, weight: &Tensor) -> Array {
        let (mut image, mut weight) = (Array::of(image), Array::of(weight));
        let (from, [n, _, h, w]) = (image.dims, image.dims);
        let [rows, columns] = self.map([h, w]).unwrap();
        let mut map = Array::zeros([n, weight.dims[0], rows, columns]);
        self.for_each_product(from, map.dims, |i, m, k| *map.at(m) += *image.at(i) * *weight.at(k));
        map
    }

    /// The transposed convolution of a map (N, O, H', W') by a weight (O, C, kh, kw), by its definition.
    fn transposed(&self, map: &Tensor, weight: &Tensor, extra: [usize; 2]) -> Array {
        let (mut map, mut weight) = (Array::of(map), Array::of(weight));
        let (from, [n, _, h, w]) = (map.dims, map.dims);
        let [rows, columns] = self.image([h, w], extra).unwrap();
        let mut image = Array::zeros([n, weight.dims[1], rows, columns]);
        self.for_each_product(image.dims, from, |i, m, k| *image.at(i) += *map.at(m) * *weight.at(k));
        image
    }

    fn conv2d(&self, t: &[Tensor], activation: Activation) -> crate::Result<Tensor> {
        conv2d(&t[0], &t[1], t.get(2), self.stride, self.padding, activation)
    }

    fn conv_transpose2d(&self, t: &[Tensor], extra: [usize; 2]) -> crate::Result<Tensor> {
        conv_transpose2d(&t[0], &t[1], t.get(2), self.stride, self.padding, extra)
    }

    /// Tests values and gradients of the convolution of (n, c, H, W) to o channels.
    fn check_convolution(&self, [n, c, o]: [usize; 3], [h, w]: [usize; 2], seed: u64) {
        let [kh, kw] = self.kernel;
        let inputs = [random(seed, &[n, c, h, w]), random(seed ^ 1, &[o, c, kh, kw]), random(seed ^ 2, &[o])];
        let want = self.convolved(&inputs[0], &inputs[1]).plus(&inputs[2]);
        let y = self.conv2d(&inputs, Activation::Identity).unwrap();
        assert_eq!(y.dims(), want.dims);
        assert_close("convolution", &flat(&y), &want.data, 1e-12);
        let fused = self.conv2d(&inputs, Activation::Tanh).unwrap();
        let apart: Vec<f64> = want.data.iter().map(|y| y.tanh()).collect();
        assert_close("fused activation", &flat(&fused), &apart, 1e-12);
        check_within(&|t| self.conv2d(t, Activation::Identity), &inputs[..2], tolerance([c, o]));
        for activation in [Activation::Identity, Activation::Silu, Activation::Tanh] {
            check_within(&|t| self.conv2d(t, activation), &inputs, tolerance([c, o]));
        }
        if !may_be_filtered([c, o]) {
            check_nan(&|t| self.conv2d(t, Activation::Identity), &inputs);
        }
    }

    /// Tests values and gradients of the transposed convolution of (n, c, H', W') to o channels.
    fn check_transposed(&self, [n, c, o]: [usize; 3], [h, w]: [usize; 2], extra: [usize; 2], seed: u64) {
        let [kh, kw] = self.kernel;
        let inputs = [random(seed, &[n, c, h, w]), random(seed ^ 1, &[c, o, kh, kw]), random(seed ^ 2, &[o])];
        let want = self.transposed(&inputs[0], &inputs[1], extra).plus(&inputs[2]);
        let y = self.conv_transpose2d(&inputs, extra).unwrap();
        assert_eq!(y.dims(), want.dims);
        assert_close("transposed convolution", &flat(&y), &want.data, 1e-12);
        check_within(&|t| self.conv_transpose2d(t, extra), &inputs, tolerance([c, o]));
        check_within(&|t| self.conv_transpose2d(t, extra), &inputs[..2], tolerance([c, o]));
        if !may_be_filtered([c, o]) {
            check_nan(&|t| self.conv_transpose2d(t, extra), &inputs);
        }
    }

    /// Tests that a convolution with planes equals one of the image with these planes as channels.
    fn check_with_planes(&self, [n, c, o, planes]: [usize; 4], [h, w]: [usize; 2], seed: u64) {
        let [kh, kw] = self.kernel;
        let inputs =
            [random(seed, &[n, c, h, w]), random(seed ^ 1, &[o, c + planes, kh, kw]), random(seed ^ 2, &[o])];
        let values = random(seed ^ 3, &[n, planes]);
        let run = |t: &[Tensor], activation: Activation| {
            let values = values.to_dtype(t[0].dtype())?;
            conv2d_with_planes(&t[0], &values, &t[1], t.get(2), self.stride, self.padding, activation)
        };
        for (count, activation) in [(3, Activation::Tanh), (3, Activation::Silu), (2, Activation::Identity)] {
            let inputs = &inputs[..count];
            let mut whole = inputs.to_vec();
            whole[0] = with_planes(&inputs[0], &values).unwrap();
            let (got, want) = (run(inputs, activation).unwrap(), self.conv2d(&whole, activation).unwrap());
            assert_eq!(got.dims(), want.dims());
            assert_close("with planes", &flat(&got), &flat(&want), 1e-12);
            check(&|t| run(t, activation), inputs);
        }
        check_nan(&|t| run(t, Activation::Identity), &inputs);
    }
}

/// Minimal filtering spreads a NaN over its tile.
fn may_be_filtered(channels: [usize; 2]) -> bool {
    channels.iter().all(|channels| channels % 16 == 0)
}

/// The tolerance of f32 outputs. Minimal filtering adds and subtracts inputs first, which costs digits.
fn tolerance(channels: [usize; 2]) -> f64 {
    if may_be_filtered(channels) { 5e-5 } else { 2e-5 }
}

/// A range for each axis.
fn both(range: std::ops::Range<usize>) -> [std::ops::Range<usize>; 2] {
    [range.clone(), range]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn convolutions_match_the_reference(
        channels in [1usize..6, 1usize..4, 1usize..5], image in both(1..10),
        kernel in both(1..5), stride in both(1..4), padding in both(0..3), seed: u64,
    ) {
        let windows = Windows { kernel, stride, padding };
        prop_assume!(windows.map(image).is_some());
        windows.check_convolution(channels, image, seed);
    }

    #[test]
    fn transposed_convolutions_match_the_reference(
        channels in [1usize..6, 1usize..4, 1usize..5], map in both(1..7),
        kernel in both(1..5), stride in both(1..4), padding in both(0..3), extra in both(0..3), seed: u64,
    ) {
        let windows = Windows { kernel, stride, padding };
        prop_assume!(extra[0] < stride[0] && extra[1] < stride[1] && windows.image(map, extra).is_some());
        windows.check_transposed(channels, map, extra, seed);
    }

    #[test]
    fn a_convolution_with_planes_is_one_over_all_channels(
        channels in [1usize..5, 1usize..3, 1usize..4, 1usize..4], image in both(1..10),
        kernel in both(1..5), stride in both(1..4), padding in both(0..4), seed: u64,
    ) {
        let windows = Windows { kernel, stride, padding };
        prop_assume!(windows.map(image).is_some());
        windows.check_with_planes(channels, image, seed);
    }
}

/// One-dimensional convolutions, and kernels, strides and paddings that differ between the axes. Few channels
/// take the paths for narrow images, many take the general ones.
#[test]
fn axes_may_differ() {
    let cases = [
        // One dimension: kernels of height one on images of height one, with any stride along the height.
        ([1, 17], [1, 5], [1, 1], [0, 2], [0, 0]),
        ([1, 17], [1, 4], [1, 3], [0, 1], [0, 2]),
        ([1, 16], [1, 4], [2, 2], [0, 1], [1, 1]),
        // The layers of WaveGAN.
        ([1, 64], [1, 25], [1, 4], [0, 11], [0, 1]),
        // One dimension along the height.
        ([15, 1], [3, 1], [2, 1], [1, 0], [1, 0]),
        ([15, 1], [5, 1], [3, 3], [2, 0], [2, 0]),
        // Kernels of one row or column on images, as in factorised convolutions.
        ([9, 9], [1, 7], [1, 1], [0, 3], [0, 0]),
        ([9, 9], [7, 1], [1, 1], [3, 0], [0, 0]),
        // Strides with and without a common divisor, and paddings that differ.
        ([11, 13], [3, 4], [2, 3], [1, 0], [1, 2]),
        ([12, 13], [3, 3], [2, 4], [0, 2], [0, 3]),
        ([8, 14], [4, 4], [1, 2], [2, 1], [0, 1]),
        ([8, 9], [2, 2], [1, 1], [0, 1], [0, 0]),
        ([8, 9], [4, 4], [2, 2], [1, 2], [0, 1]),
    ];
    for (seed, (image, kernel, stride, padding, extra)) in (1..).zip(cases) {
        let windows = Windows { kernel, stride, padding };
        let map = windows.map(image).unwrap();
        for channels in [[2, 3, 4], [1, 70, 2]] {
            let [n, c, o] = channels;
            windows.check_convolution(channels, image, seed);
            windows.check_transposed([n, o, c], map, extra, seed);
        }
        windows.check_with_planes([2, 3, 4, 2], image, seed);
    }
}

/// Padding gives the same bits as explicit zeros around the image, for kernels of one row, one
/// column, and others.
#[test]
fn padding_is_zeros_around_the_image() {
    for (kernel, padding) in [([1, 7], [0, 3]), ([7, 1], [3, 0]), ([5, 5], [2, 2]), ([3, 5], [0, 1])] {
        let single = |seed, shape: [usize; 4]| random(seed, &shape).to_dtype(DType::F32).unwrap();
        let (x, k) = (single(1, [2, 20, 17, 17]), single(2, [12, 20, kernel[0], kernel[1]]));
        let [rows, columns] = padding;
        let around = x.pad_with_zeros(2, rows, rows).unwrap().pad_with_zeros(3, columns, columns).unwrap();
        let run = |x, padding| conv2d(x, &k, None, [1; 2], padding, Activation::Relu).unwrap();
        assert_eq!(bits(&[run(&x, padding)]), bits(&[run(&around, [0; 2])]), "{kernel:?}");
    }
}

/// All strides that leave one position give the same result.
#[test]
fn strides_beyond_the_image_leave_one_position() {
    let inputs = [random(1, &[2, 3, 5, 4]), random(2, &[4, 3, 3, 2])];
    let run = |stride| flat(&conv2d(&inputs[0], &inputs[1], None, stride, [1, 0], Activation::Relu).unwrap());
    assert_eq!(run([usize::MAX, usize::MAX]), run([7, 4]));
    let x = random(1, &[2, 3, 1, 1]);
    let run = |stride| {
        flat(
            &conv_transpose2d(&x, &inputs[1].transpose(0, 1).unwrap(), None, stride, [1, 0], [0, 1]).unwrap(),
        )
    };
    assert_eq!(run([usize::MAX, usize::MAX]), run([5, 6]));
}

#[test]
fn values_of_planes_that_do_not_fit_are_named() {
    let (x, k) = (random(1, &[2, 1, 4, 4]), random(2, &[2, 3, 3, 3]));
    let run = |values: &[usize]| {
        let values = random(3, values);
        conv2d_with_planes(&x, &values, &k, None, [1; 2], [1; 2], Activation::Identity)
            .map_err(|error| error.to_string())
    };
    assert_eq!(run(&[2, 2]).unwrap().dims(), [2, 2, 4, 4]);
    assert!(run(&[3, 2]).unwrap_err().contains("(2, planes)"));
    assert!(run(&[2, 1]).unwrap_err().contains("(N, 2, H, W)"));
    let none = Tensor::zeros((0, 1, 4, 4), DType::F64, &Device::Cpu).unwrap();
    let no_values = Tensor::zeros((0, 2), DType::F64, &Device::Cpu).unwrap();
    let none = conv2d_with_planes(&none, &no_values, &k, None, [1; 2], [1; 2], Activation::Identity).unwrap();
    assert_eq!(none.dims(), [0, 2, 4, 4]);
}

/// Layers of a DCGAN, which consist of several blocks, groups and parts, against candle's convolution in f64.
#[test]
#[expect(clippy::disallowed_methods, reason = "candle's convolution is the reference here")]
fn layers_of_a_dcgan_match_candle() {
    let windows = Windows { kernel: [4; 2], stride: [2; 2], padding: [1; 2] };
    for (n, c, h, o) in [(9, 3, 32, 64), (5, 64, 16, 40), (11, 128, 8, 72), (3, 1, 28, 24)] {
        let (x, k) = (random(1, &[n, c, h, h]), random(2, &[o, c, 4, 4]));
        let want = x.conv2d(&k, 1, 2, 1, 1).unwrap();
        let (x, k) = (x.to_dtype(DType::F32).unwrap(), k.to_dtype(DType::F32).unwrap());
        let got = windows.conv2d(&[x.clone(), k.clone()], Activation::Identity).unwrap();
        assert_close("convolution", &flat(&got), &flat(&want), 1e-5);
        let y = random(3, &[n, o, h / 2, h / 2]);
        let want = y.conv_transpose2d(&k.to_dtype(DType::F64).unwrap(), 1, 0, 2, 1).unwrap();
        let y = y.to_dtype(DType::F32).unwrap();
        let got = windows.conv_transpose2d(&[y, k.clone()], [0; 2]).unwrap();
        assert_close("transposed convolution", &flat(&got), &flat(&want), 1e-5);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let k = candle_core::Var::from_tensor(&k).unwrap();
                let y = windows.conv2d(&[x.clone(), k.as_tensor().clone()], Activation::Identity).unwrap();
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
    let y = conv2d(&x, &k, None, [2; 2], [1; 2], Activation::Identity).unwrap();
    assert_eq!(y.dims(), [0, 5, 4, 4]);
    // Windows that contain only padding.
    let x = Tensor::zeros((2, 3, 8, 0), DType::F32, &Device::Cpu).unwrap();
    let y = conv2d(&x, &k, None, [2; 2], [2; 2], Activation::Identity).unwrap();
    assert_eq!(flat(&y), [0.0; 2 * 5 * 5]);
}

#[test]
fn rejects_and_names_mismatched_shapes() {
    let (x, three) = (random(1, &[1, 3, 4, 4]), random(2, &[2, 3, 3, 3]));
    let conv = |k: &Tensor, stride, padding| {
        conv2d(&x, k, None, stride, padding, Activation::Identity)
            .map(|y| y.dims().to_vec())
            .map_err(|e| e.to_string())
    };
    assert!(conv(&random(2, &[2, 4, 3, 3]), [1; 2], [0; 2]).unwrap_err().contains("[1, 3, 4, 4]"));
    // Each axis is checked separately: a kernel of 6 fits along the axis that has padding.
    assert_eq!(conv(&random(2, &[2, 3, 6, 3]), [1; 2], [1, 0]).unwrap(), [1, 2, 1, 2]);
    assert!(conv(&random(2, &[2, 3, 6, 3]), [1; 2], [0, 1]).unwrap_err().contains("padding [0, 1]"));
    assert!(conv(&random(2, &[2, 3, 3, 6]), [1; 2], [1, 0]).is_err());
    assert!(conv(&random(2, &[2, 3, 3, 0]), [1; 2], [0; 2]).is_err());
    assert!(conv(&three, [1, 0], [1; 2]).unwrap_err().contains("`stride`: is [1, 0]"));
    assert!(conv(&three, [0, 1], [1; 2]).is_err());
    assert!(conv(&three, [1; 2], [0, usize::MAX]).is_err());

    let transposed = |k: &[usize], stride, padding, extra| {
        conv_transpose2d(&x, &random(2, k), None, stride, padding, extra)
            .map(|y| y.dims().to_vec())
            .map_err(|e| e.to_string())
    };
    assert!(transposed(&[2, 4, 3, 3], [2; 2], [1; 2], [0; 2]).is_err());
    assert!(
        transposed(&[3, 2, 4, 4], [2; 2], [1; 2], [2, 0])
            .unwrap_err()
            .contains("`output_padding`: is [2, 0]")
    );
    assert!(transposed(&[3, 2, 4, 4], [3, 1], [1; 2], [0, 1]).is_err());
    assert_eq!(transposed(&[3, 2, 4, 4], [3, 1], [1; 2], [2, 0]).unwrap(), [1, 2, 13, 5]);
    assert!(transposed(&[3, 2, 4, 4], [1; 2], [0, 4], [0; 2]).is_err());
    assert!(transposed(&[3, 2, 4, 4], [usize::MAX, 1], [0; 2], [0; 2]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Minimal filtering: channels in multiples of 16, and kernels two or three times as wide as the stride.
    #[test]
    fn filtered_convolutions_match_the_reference(
        n in 1usize..4, c in 1usize..3, o in 1usize..3, image in both(1..8),
        taps in 2usize..4, stride in 1usize..3, padding in both(0..3), extra in both(0..2), seed: u64,
    ) {
        let windows = Windows { kernel: [taps * stride; 2], stride: [stride; 2], padding };
        prop_assume!(windows.map(image).is_some());
        windows.check_convolution([n, 16 * c, 16 * o], image, seed);
        let extra = extra.map(|extra| extra.min(stride - 1));
        if windows.image(image, extra).is_some() {
            windows.check_transposed([n, 16 * c, 16 * o], image, extra, seed);
        }
    }

    /// Minimal filtering along lines: kernels of five, on images of any height.
    #[test]
    fn filtered_lines_match_the_reference(
        n in 1usize..4, c in 1usize..3, o in 1usize..3, height in 1usize..4, width in 1usize..19,
        padding in both(0..4), seed: u64,
    ) {
        let (windows, image) = (Windows { kernel: [1, 5], stride: [1, 1], padding }, [height, width]);
        if windows.map(image).is_some() {
            windows.check_convolution([n, 16 * c, 16 * o], image, seed);
        }
        if windows.image(image, [0; 2]).is_some() {
            windows.check_transposed([n, 16 * c, 16 * o], image, [0; 2], seed);
        }
    }
}

/// Random maps are seldom large enough for tiles of 4 × 4 outputs. These are, and tiles extend beyond them.
#[test]
fn filtered_convolutions_of_large_maps_match_the_reference() {
    for (taps, stride) in [(3, 1), (3, 2), (2, 2)] {
        let windows = Windows { kernel: [taps * stride; 2], stride: [stride; 2], padding: [1; 2] };
        let image = windows.image([7, 9], [0; 2]).unwrap();
        windows.check_convolution([2, 16, 32], image, 1);
        windows.check_transposed([2, 16, 32], [7, 9], [0; 2], 2);
    }
}

/// Constant channels beside a filtered line, as the networks of clips have them.
#[test]
fn planes_beside_a_filtered_line_are_channels() {
    let (x, values, weight) = (random(1, &[2, 16, 1, 9]), random(2, &[2, 3]), random(3, &[16, 19, 1, 5]));
    let whole = with_planes(&x, &values).unwrap();
    let want = conv2d(&whole, &weight, None, [1; 2], [0, 2], Activation::Identity).unwrap();
    let got = conv2d_with_planes(&x, &values, &weight, None, [1; 2], [0, 2], Activation::Identity).unwrap();
    assert_close("with planes", &flat(&got), &flat(&want), 1e-12);
}
