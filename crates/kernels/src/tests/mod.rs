//! Tests of the kernels: shared helpers, and one file per kind of kernel.
//!
//! [`check`] tests every differentiable kernel: gradients against central finite differences in f64, f32
//! against f64, inputs that are not contiguous or start inside their storage, equal bits with pools of 1, 2,
//! 3 and 8 threads and with every instruction set of this machine, and the operation that other devices run
//! instead. [`check_nan`] follows a NaN from the input to the output. Expected values come from plain f64
//! references in the file of each kind of kernel. The test profile enables debug assertions, which check
//! every index that unsafe code uses.

mod composed;
mod convolutions;
mod losses;
mod norms;
mod optimiser;
mod pools;
mod products;
mod resamplings;
mod segments;
mod sequences;

use candle_core::{DType, Device, Tensor, Var};

use crate::Result;
use crate::device::without_kernels;
use crate::simd::on_every_instruction_set;

/// Pseudorandom numbers in [−1, 1), a fixed function of the seed.
pub(super) fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The number is exact in f32, so that f32 and f64 get the same inputs.
            f64::from((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
        })
        .collect()
}

/// An f64 tensor of [`numbers`].
pub(super) fn random(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

pub(super) fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The same values with the first two dimensions swapped in memory, if there are two dimensions.
fn strided(tensor: &Tensor) -> Tensor {
    if tensor.rank() < 2 {
        return tensor.clone();
    }
    tensor.transpose(0, 1).unwrap().contiguous().unwrap().transpose(0, 1).unwrap()
}

/// The same values as part of longer rows.
fn inset(tensor: &Tensor) -> Tensor {
    let Some(last) = tensor.rank().checked_sub(1) else { return tensor.clone() };
    let len = tensor.dims()[last];
    tensor.pad_with_zeros(last, 2, 1).unwrap().narrow(last, 2, len).unwrap()
}

/// The same values in a storage with other values before them: contiguous, but not from its start.
fn shifted(tensor: &Tensor) -> Tensor {
    if tensor.rank() == 0 {
        return tensor.clone();
    }
    let len = tensor.dims()[0];
    Tensor::cat(&[&tensor.zeros_like().unwrap(), tensor], 0).unwrap().narrow(0, len, len).unwrap()
}

#[track_caller]
pub(super) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |scale, x| scale.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "{what}: element {i} is {got}, not {want}");
    }
}

type Kernel<'a> = &'a (dyn Fn(&[Tensor]) -> Result<Tensor> + Sync);

/// The output and the gradient of Σ output · weights for every input.
fn run(f: Kernel<'_>, inputs: &[Tensor], layout: fn(&Tensor) -> Tensor) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| layout(v.as_tensor())).collect();
    let y = f(&tensors).unwrap();
    let weights = random(99, y.dims()).to_dtype(y.dtype()).unwrap();
    let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let grads = vars.iter().map(|v| grads.get(v.as_tensor()).unwrap().clone()).collect();
    (y, grads)
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u32>> {
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensors.iter().map(|t| bits(t).into_iter().map(f32::to_bits).collect()).collect()
}

/// Tests all properties that every differentiable kernel has. `inputs` are f64.
pub(super) fn check(f: Kernel<'_>, inputs: &[Tensor]) {
    check_within(f, inputs, 2e-5);
}

/// [`check`] with the tolerance of f32 outputs against f64.
pub(super) fn check_within(f: Kernel<'_>, inputs: &[Tensor], tolerance: f64) {
    let (y, grads) = run(f, inputs, Tensor::clone);

    // Central differences of Σ y · weights in f64, at up to ten elements of each input.
    let weights = flat(&random(99, y.dims()));
    let value = |inputs: &[Tensor]| -> f64 {
        flat(&f(inputs).unwrap()).iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    const STEP: f64 = 1e-5;
    for (which, grad) in grads.iter().enumerate() {
        let (values, grad) = (flat(&inputs[which]), flat(grad));
        let stride = values.len().div_ceil(10).max(1);
        for element in (0..values.len()).step_by(stride) {
            let moved = |by: f64| {
                let mut values = values.clone();
                values[element] += by;
                let mut inputs = inputs.to_vec();
                inputs[which] = Tensor::from_vec(values, inputs[which].shape(), &Device::Cpu).unwrap();
                value(&inputs)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let error = (slope - grad[element]).abs();
            assert!(
                error < 1e-6 * (1.0 + slope.abs()) * (1.0 + weights.len() as f64).sqrt(),
                "input {which}, element {element}: gradient {} but finite difference {slope}",
                grad[element]
            );
        }
    }

    // If only one argument is on the tape, its gradient is the same, and the others have none.
    for lone in 0..inputs.len() {
        let var = Var::from_tensor(&inputs[lone]).unwrap();
        let mut tensors = inputs.to_vec();
        tensors[lone] = var.as_tensor().clone();
        let y = f(&tensors).unwrap();
        let store = (&y * random(99, y.dims())).unwrap().sum_all().unwrap().backward().unwrap();
        assert_close(
            "gradient of a lone argument",
            &flat(store.get(&var).unwrap()),
            &flat(&grads[lone]),
            1e-12,
        );
        assert!(tensors.iter().enumerate().all(|(i, t)| i == lone || store.get(t).is_none()));
    }

    // The operation that other devices run instead, composed of candle's.
    for layout in [Tensor::clone, strided] {
        let (composed, composed_grads) = without_kernels(|| run(f, inputs, layout));
        assert_eq!(composed.dims(), y.dims());
        assert_close("composed output", &flat(&composed), &flat(&y), 1e-11);
        for (got, want) in composed_grads.iter().zip(&grads) {
            assert_close("composed gradient", &flat(got), &flat(want), 1e-11);
        }
    }

    // f32 against f64; any layout, number of threads and instruction set against the first f32 result.
    let single: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
    let (y32, grads32) = run(f, &single, Tensor::clone);
    assert_close("f32 output", &flat(&y32), &flat(&y), tolerance);
    for (got, want) in grads32.iter().zip(&grads) {
        assert_close("f32 gradient", &flat(got), &flat(want), 5e-5);
    }
    let all = |(y, grads): (Tensor, Vec<Tensor>)| bits(&[&[y], grads.as_slice()].concat());
    let want = all((y32, grads32));
    for (name, layout) in
        [("strided", strided as fn(&Tensor) -> Tensor), ("inset", inset), ("shifted", shifted)]
    {
        let (y, grads) = run(f, &single, layout);
        assert_eq!(bits(&[y])[0], want[0], "a {name} input changes the output");
        for (got, want) in bits(&grads).iter().zip(&want[1..]) {
            assert_eq!(got, want, "a {name} input changes a gradient");
        }
    }
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let got = pool.install(|| all(run(f, &single, Tensor::clone)));
        assert!(got == want, "{threads} threads give different bits");
    }
    on_every_instruction_set(|| all(run(f, &single, Tensor::clone)));
}

/// Tests that a NaN in an input element makes every output element NaN that depends on it, and no other. A
/// NaN in the second input may make others NaN too, because a weight also meets the zeros around an image.
/// `inputs` are f64, and `f` must nowhere be constant.
pub(super) fn check_nan(f: Kernel<'_>, inputs: &[Tensor]) {
    for dtype in [DType::F32, DType::F64] {
        let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        let still = flat(&f(&inputs).unwrap());
        for (which, input) in inputs.iter().enumerate() {
            let values = flat(input);
            for element in [0, values.len() / 2, values.len() - 1] {
                let with = |value: f64| {
                    let mut values = values.clone();
                    values[element] = value;
                    let mut inputs = inputs.clone();
                    let moved = Tensor::from_vec(values, input.shape(), &Device::Cpu).unwrap();
                    inputs[which] = moved.to_dtype(dtype).unwrap();
                    flat(&f(&inputs).unwrap())
                };
                let moved = with(values[element] + 4.0);
                for (i, nan) in with(f64::NAN).into_iter().enumerate() {
                    let (depends, found) = (moved[i] != still[i], nan.is_nan());
                    let right = found == depends || (which == 1 && found);
                    assert!(right, "input {which}, element {element}, output {i}, {dtype:?}: {nan} for NaN");
                }
            }
        }
    }
}
