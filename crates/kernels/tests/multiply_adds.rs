//! The count of multiply-adds. It is one per process, so this test has a process of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use candle_core::{DType, Device, Tensor};
use waxwork_kernels::{self as kernels, Activation};

#[test]
fn products_and_convolutions_are_counted_by_their_shapes() {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let counted = |work: &dyn Fn()| {
        let before = kernels::multiply_adds();
        work();
        kernels::multiply_adds() - before
    };
    let product = counted(&|| drop(kernels::matmul(&ones(&[30, 1000]), &ones(&[1000, 70])).unwrap()));
    assert_eq!(product, 30 * 1000 * 70);
    let linear =
        || drop(kernels::linear(&ones(&[64, 784]), &ones(&[400, 784]), None, Activation::Relu).unwrap());
    assert_eq!(counted(&linear), 64 * 784 * 400);
    let (x, weight) = (ones(&[5, 3, 28, 28]), ones(&[8, 3, 4, 4]));
    let conv = || drop(kernels::conv2d(&x, &weight, None, [2; 2], [1; 2], Activation::Identity).unwrap());
    assert_eq!(counted(&conv), 5 * 8 * 14 * 14 * 3 * 4 * 4);
    let map = ones(&[5, 8, 14, 14]);
    let transposed = || drop(kernels::conv_transpose2d(&map, &weight, None, [2; 2], [1; 2], [0; 2]).unwrap());
    assert_eq!(counted(&transposed), 5 * 8 * 14 * 14 * 3 * 4 * 4);
}
