//! Layers compute in the precision of their parameter set, by whichever of their methods they are called.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::device::without_kernels;
use waxwork_core::rng::Stream;
use waxwork_core::{DType, Device, Mode, ParamSet, Precision, Tensor};
use waxwork_kernels::Activation;
use waxwork_nn::layers::{Linear, WeightInit};

fn layer(precision: Precision) -> Linear {
    let mut params = ParamSet::fresh(3, &Device::Cpu).with_precision(precision).unwrap();
    Linear::new(params.root(), 16, 12, WeightInit::Pytorch).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    assert_eq!(x.dtype(), DType::F32);
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_linear_layer_gives_the_same_values_whatever_shape_its_rows_take() {
    let x = Stream::new(5, "x", 0).normal(&[0, 1, 2], 16, &Device::Cpu).unwrap();
    // Reduced precision is for other devices, of which this is a stand-in.
    without_kernels(|| {
        let mut seen: Vec<Vec<f32>> = vec![];
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let layer = layer(precision);
            let rows = layer.forward(&x, Activation::Tanh, Mode::Eval).unwrap();
            let maps = layer.forward_to(&x, &[3, 2, 2], Activation::Tanh, Mode::Eval).unwrap();
            assert_eq!(maps.dims(), [3, 3, 2, 2]);
            assert_eq!(values(&rows), values(&maps), "{precision:?}");
            seen.push(values(&maps));
        }
        assert!(seen[0] != seen[1] && seen[0] != seen[2] && seen[1] != seen[2], "a precision was not used");
    });
}
