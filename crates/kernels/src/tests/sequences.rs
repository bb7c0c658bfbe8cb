//! The LSTM, the GRU, embeddings and likelihoods of tokens.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::{assert_close, bits, check, check_nan, flat, numbers, random};
use crate::device::without_kernels;
use crate::{
    Activation, draw, embedding, gru, gru_step, largest, linear, linear_log_likelihood, lstm, lstm_step,
};

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The textbook's loops: hidden states `(T, H)` of sequences with these numbers of steps, and the last state
/// `(N, 2H)`.
fn by_loops(x: &Tensor, weight: &Tensor, start: &Tensor, lengths: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let gates = x.dim(1).unwrap();
    let width = gates / 4;
    let (x, w, start) = (flat(x), flat(weight), flat(start));
    let (mut all, mut last) = (Vec::new(), Vec::new());
    let mut contributions = x.chunks_exact(gates);
    for (state, &length) in start.chunks_exact(2 * width).zip(lengths) {
        let (mut h, mut c) = (state[..width].to_vec(), state[width..].to_vec());
        for x in contributions.by_ref().take(length) {
            let a: Vec<f64> = (0..gates)
                .map(|gate| {
                    let recurrent: f64 = (0..width).map(|j| w[gate * width + j] * h[j]).sum();
                    x[gate] + recurrent
                })
                .collect();
            for j in 0..width {
                let [i, f, g, o] = [0, 1, 2, 3].map(|part| a[part * width + j]);
                c[j] = sigmoid(f) * c[j] + sigmoid(i) * g.tanh();
                h[j] = sigmoid(o) * c[j].tanh();
            }
            all.extend(&h);
        }
        last.extend(h.into_iter().chain(c));
    }
    (all, last)
}

/// The textbook's loops for a GRU: hidden states `(T, H)` of sequences with these numbers of steps, and the
/// last hidden state `(N, H)`.
fn gru_by_loops(x: &Tensor, weight: &Tensor, start: &Tensor, lengths: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let gates = x.dim(1).unwrap();
    let width = gates / 3;
    let (x, w, start) = (flat(x), flat(weight), flat(start));
    let (mut all, mut last) = (Vec::new(), Vec::new());
    let mut contributions = x.chunks_exact(gates);
    for (state, &length) in start.chunks_exact(2 * width).zip(lengths) {
        let (h, bias) = state.split_at(width);
        let mut h = h.to_vec();
        for a in contributions.by_ref().take(length) {
            let recurrent: Vec<f64> =
                (0..gates).map(|gate| (0..width).map(|j| w[gate * width + j] * h[j]).sum()).collect();
            for j in 0..width {
                let [r, z] = [j, width + j].map(|place| sigmoid(a[place] + recurrent[place]));
                let n = (a[2 * width + j] + r * (recurrent[2 * width + j] + bias[j])).tanh();
                h[j] = (1.0 - z) * n + z * h[j];
            }
            all.extend(&h);
        }
        last.extend(h);
    }
    (all, last)
}

/// Numbers of steps of up to four sequences: equal or not, some of them 0, but not all.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let equal = (1usize..5, 1usize..6).prop_map(|(n, steps)| vec![steps; n]);
    let different = proptest::collection::vec(0usize..6, 1..5);
    prop_oneof![equal, different.prop_filter("no steps", |lengths| lengths.iter().any(|steps| *steps > 0))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn grus_match_the_loops(lengths in lengths(), width in 1usize..9, seed: u64) {
        let x = (random(seed, &[lengths.iter().sum(), 3 * width]) * 2.0).unwrap();
        let weight = random(seed ^ 1, &[3 * width, width]);
        let start = random(seed ^ 2, &[lengths.len(), 2 * width]);
        let (want, _) = gru_by_loops(&x, &weight, &start, &lengths);
        let got = gru(&x, &weight, &start, &lengths).unwrap();
        assert_eq!(got.dims(), [lengths.iter().sum(), width]);
        assert_close("hidden states", &flat(&got), &want, 1e-12);
        check(&|t| gru(&t[0], &t[1], &t[2], &lengths), &[x, weight, start]);
    }

    #[test]
    fn lstms_match_the_loops(lengths in lengths(), width in 1usize..9, seed: u64) {
        let x = (random(seed, &[lengths.iter().sum(), 4 * width]) * 2.0).unwrap();
        let weight = random(seed ^ 1, &[4 * width, width]);
        let start = random(seed ^ 2, &[lengths.len(), 2 * width]);
        let (want, _) = by_loops(&x, &weight, &start, &lengths);
        let got = lstm(&x, &weight, &start, &lengths).unwrap();
        assert_eq!(got.dims(), [lengths.iter().sum(), width]);
        assert_close("hidden states", &flat(&got), &want, 1e-12);
        check(&|t| lstm(&t[0], &t[1], &t[2], &lengths), &[x, weight, start]);
    }

    #[test]
    fn likelihoods_match_their_formulas(n in 1usize..7, inputs in 1usize..6, tokens in 1usize..40, seed: u64) {
        let x = random(seed, &[n, inputs]);
        let weight = (random(seed ^ 1, &[tokens, inputs]) * 2.0).unwrap();
        let bias = random(seed ^ 2, &[tokens]);
        let draws = numbers(seed ^ 3, n);
        let targets: Vec<u32> = draws.iter().map(|x| ((x + 1.0) / 2.0 * tokens as f64) as u32).collect();
        let logits = flat(&linear(&x, &weight, Some(&bias), Activation::Identity).unwrap());
        let each = logits.chunks(tokens).zip(&targets);
        let want: Vec<f64> = each
            .map(|(logits, &target)| {
                let sum: f64 = logits.iter().map(|x| x.exp()).sum();
                logits[target as usize] - sum.ln()
            })
            .collect();
        let targets = Tensor::new(targets, &Device::Cpu).unwrap();
        let of = |t: &[Tensor]| linear_log_likelihood(&t[0], &t[1], &t[2], &targets);
        let inputs = [x, weight, bias];
        assert_close("likelihood", &flat(&of(&inputs).unwrap()), &want, 1e-12);
        check(&of, &inputs);
    }

    #[test]
    fn embeddings_are_rows(rows in 1usize..9, width in 1usize..9, places in 1usize..40, seed: u64) {
        let table = random(seed, &[rows, width]);
        let numbers: Vec<u32> =
            numbers(seed ^ 1, 2 * places).iter().map(|x| ((x + 1.0) / 2.0 * rows as f64) as u32).collect();
        let all = flat(&table);
        let want: Vec<f64> =
            numbers.iter().flat_map(|&row| all[row as usize * width..][..width].to_vec()).collect();
        let numbers = Tensor::from_vec(numbers, (2, places), &Device::Cpu).unwrap();
        let got = embedding(&table, &numbers).unwrap();
        assert_eq!(got.dims(), [2, places, width]);
        assert_close("rows", &flat(&got), &want, 0.0);
        check(&|t| embedding(&t[0], &numbers), &[table]);
    }
}

/// More sequences than a task has, more columns than a panel, and an inner dimension of two blocks: bits for
/// any number of threads, f32 against f64, and the way of other devices; with one length, and with several.
#[test]
fn large_lstms_have_all_properties_too() {
    for (n, steps, width) in [(37, 4, 70), (3, 2, 530)] {
        let weight = (random(2, &[4 * width, width]) * (1.0 / (width as f64).sqrt())).unwrap();
        let start = random(3, &[n, 2 * width]);
        let x = random(1, &[n * steps, 4 * width]);
        let equal = vec![steps; n];
        let (want, last) = by_loops(&x, &weight, &start, &equal);
        assert_close("hidden states", &flat(&lstm(&x, &weight, &start, &equal).unwrap()), &want, 1e-12);
        let mut state = start.clone();
        for step in 0..steps {
            let of_step = x.reshape((n, steps, 4 * width)).unwrap().narrow(1, step, 1).unwrap();
            let contributions = of_step.squeeze(1).unwrap();
            let next = lstm_step(&contributions, &weight, &state).unwrap();
            let composed = without_kernels(|| lstm_step(&contributions, &weight, &state).unwrap());
            assert_close("composed", &flat(&composed), &flat(&next), 1e-12);
            state = next;
        }
        assert_close("last state", &flat(&state), &last, 1e-12);
        for lengths in [equal, several(n, steps)] {
            let x = random(1, &[lengths.iter().sum(), 4 * width]);
            let (want, _) = by_loops(&x, &weight, &start, &lengths);
            assert_close("hidden states", &flat(&lstm(&x, &weight, &start, &lengths).unwrap()), &want, 1e-12);
            check(&|t| lstm(&t[0], &t[1], &t[2], &lengths), &[x, weight.clone(), start.clone()]);
        }
    }
}

/// The same for a GRU, whose steps keep the bias in the second half of the state.
#[test]
fn large_grus_have_all_properties_too() {
    for (n, steps, width) in [(37, 4, 70), (3, 2, 530)] {
        let weight = (random(2, &[3 * width, width]) * (1.0 / (width as f64).sqrt())).unwrap();
        let start = random(3, &[n, 2 * width]);
        let x = random(1, &[n * steps, 3 * width]);
        let equal = vec![steps; n];
        let (want, last) = gru_by_loops(&x, &weight, &start, &equal);
        assert_close("hidden states", &flat(&gru(&x, &weight, &start, &equal).unwrap()), &want, 1e-12);
        let mut state = start.clone();
        for step in 0..steps {
            let of_step = x.reshape((n, steps, 3 * width)).unwrap().narrow(1, step, 1).unwrap();
            let contributions = of_step.squeeze(1).unwrap();
            let next = gru_step(&contributions, &weight, &state).unwrap();
            let composed = without_kernels(|| gru_step(&contributions, &weight, &state).unwrap());
            assert_close("composed", &flat(&composed), &flat(&next), 1e-12);
            state = next;
        }
        let half = |state: &Tensor, number: usize| flat(&state.narrow(1, number * width, width).unwrap());
        assert_close("last state", &half(&state, 0), &last, 1e-12);
        assert_close("bias", &half(&state, 1), &half(&start, 1), 0.0);
        for lengths in [equal, several(n, steps)] {
            let x = random(1, &[lengths.iter().sum(), 3 * width]);
            let (want, _) = gru_by_loops(&x, &weight, &start, &lengths);
            assert_close("hidden states", &flat(&gru(&x, &weight, &start, &lengths).unwrap()), &want, 1e-12);
            check(&|t| gru(&t[0], &t[1], &t[2], &lengths), &[x, weight.clone(), start.clone()]);
        }
    }
}

/// Numbers of steps of `n` sequences, all from 0 to `most`.
fn several(n: usize, most: usize) -> Vec<usize> {
    (0..n).map(|sequence| (sequence * 7 + 1) % (most + 1)).collect()
}

type Cell = fn(&Tensor, &Tensor, &Tensor, &[usize]) -> crate::Result<Tensor>;
type Step = fn(&Tensor, &Tensor, &Tensor) -> crate::Result<Tensor>;

/// f32 values.
fn single(seed: u64, shape: &[usize]) -> Tensor {
    random(seed, shape).to_dtype(DType::F32).unwrap()
}

/// The bits of a sequence's states are those that it has alone, and so are those of its gradients, whether
/// the tasks change the order of the rows or not.
#[test]
fn the_other_sequences_of_a_batch_do_not_matter() {
    let width = 40;
    // In the first batch, rows of sequences and of steps change places; in the second, none; in the third,
    // those of steps.
    for lengths in [several(37, 5), vec![1; 37], vec![5, 3, 3, 1, 0]] {
        for (cell, gates) in [(lstm as Cell, 4), (gru as Cell, 3)] {
            let x = single(1, &[lengths.iter().sum(), gates * width]);
            let start = single(3, &[lengths.len(), 2 * width]);
            let weight = single(2, &[gates * width, width]);
            // Hidden states, and gradients of contributions and start.
            let of = |x: &Tensor, start: &Tensor, lengths: &[usize]| -> [Vec<f64>; 3] {
                let (x, start) = (Var::from_tensor(x).unwrap(), Var::from_tensor(start).unwrap());
                let y = cell(&x, &weight, &start, lengths).unwrap();
                let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [flat(&y), flat(gradients.get(&x).unwrap()), flat(gradients.get(&start).unwrap())]
            };
            let [y, for_x, for_start] = of(&x, &start, &lengths);
            let mut at = 0;
            for (sequence, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
                let own = x.narrow(0, at, length).unwrap();
                let [alone, own_for_x, own_for_start] =
                    of(&own, &start.narrow(0, sequence, 1).unwrap(), &[length]);
                assert_eq!(alone, y[at * width..][..length * width], "{sequence}");
                assert_eq!(own_for_x, for_x[at * gates * width..][..length * gates * width], "{sequence}");
                assert_eq!(own_for_start, for_start[sequence * 2 * width..][..2 * width], "{sequence}");
                at += length;
            }
        }
    }
}

/// The bits of a step are those of a sequence of one step. After a second step they are those of the second
/// step of a sequence, which depends on the whole state.
#[test]
fn steps_are_those_of_sequences() {
    let (n, width) = (37, 40);
    for (cell, step, gates) in [(lstm as Cell, lstm_step as Step, 4), (gru as Cell, gru_step as Step, 3)] {
        let [x, next_x] = [1, 4].map(|seed| single(seed, &[n, gates * width]));
        let (weight, start) = (single(2, &[gates * width, width]), single(3, &[n, 2 * width]));
        let state = step(&x, &weight, &start).unwrap();
        let next_state = step(&next_x, &weight, &state).unwrap();
        let [hidden, next_hidden] = [state, next_state].map(|state| state.narrow(1, 0, width).unwrap());
        let y = cell(&x, &weight, &start, &vec![1; n]).unwrap();
        assert_eq!(bits(&[hidden]), bits(&[y]));
        let both = Tensor::stack(&[x, next_x], 1).unwrap().flatten(0, 1).unwrap();
        let y = cell(&both, &weight, &start, &vec![2; n]).unwrap().reshape((n, 2 * width)).unwrap();
        assert_eq!(bits(&[next_hidden]), bits(&[y.narrow(1, width, width).unwrap()]));
    }
}

#[test]
fn large_vocabularies_have_all_properties_too() {
    let (n, inputs, tokens) = (150, 20, 1100);
    let (x, weight) = (random(1, &[n, inputs]), random(2, &[tokens, inputs]));
    let bias = random(3, &[tokens]);
    let targets: Vec<u32> = (0..n as u32).map(|i| i * 7 % tokens as u32).collect();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    check(&|t| linear_log_likelihood(&t[0], &t[1], &t[2], &targets), &[x, weight, bias]);
}

/// The first backward pass overwrites what the forward pass kept.
#[test]
fn a_likelihood_goes_backward_twice() {
    let x = Var::from_tensor(&random(1, &[5, 3])).unwrap();
    let (weight, bias) = (random(2, &[20, 3]), random(3, &[20]));
    let targets = Tensor::new(&[3u32, 19, 0, 7, 7], &Device::Cpu).unwrap();
    let sum = linear_log_likelihood(&x, &weight, &bias, &targets).unwrap().sum_all().unwrap();
    let gradient = || flat(sum.backward().unwrap().get(&x).unwrap());
    assert_eq!(gradient(), gradient());
}

#[test]
fn nan_stays_in_its_row_and_extreme_logits_are_finite() {
    let of = [random(1, &[6, 8]), random(2, &[8, 2]), random(3, &[3, 4])];
    check_nan(&|t| lstm(&t[0], &t[1], &t[2], &[2, 1, 3]), &of);
    let of = [random(1, &[6, 6]), random(2, &[6, 2]), random(3, &[3, 4])];
    check_nan(&|t| gru(&t[0], &t[1], &t[2], &[2, 1, 3]), &of);
    let targets = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
    let of = |x: [[f32; 1]; 2]| {
        let x = Tensor::new(&x, &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[1f32], [-1.0]], &Device::Cpu).unwrap();
        let bias = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        flat(&linear_log_likelihood(&x, &weight, &bias, &targets).unwrap())
    };
    assert_eq!(of([[1000.0], [1000.0]]), [0.0, -2000.0]);
    let nan = of([[f32::NAN], [0.0]]);
    assert!(nan[0].is_nan() && (nan[1] + 2f64.ln()).abs() < 1e-6, "{nan:?}");
}

/// Values and gradients of `torch.nn.LSTM` (PyTorch 2.15):
///
/// ```python
/// import torch
/// torch.set_default_dtype(torch.float64)
/// def numbers(seed, *shape):
///     n = 1
///     for s in shape: n *= s
///     return torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + seed).reshape(shape)
///
/// n, steps, inputs, hidden = 2, 3, 2, 2
/// cell = torch.nn.LSTM(inputs, hidden, batch_first=True)
/// with torch.no_grad():
///     cell.weight_ih_l0.copy_(numbers(1, 4 * hidden, inputs))
///     cell.weight_hh_l0.copy_(numbers(2, 4 * hidden, hidden))
///     cell.bias_ih_l0.copy_(numbers(3, 4 * hidden))
///     cell.bias_hh_l0.copy_(numbers(4, 4 * hidden))
/// x = numbers(5, n, steps, inputs).requires_grad_()
/// start = numbers(6, n, 2 * hidden).requires_grad_()
/// h, c = start[:, :hidden].unsqueeze(0).contiguous(), start[:, hidden:].unsqueeze(0).contiguous()
/// y, _ = cell(x, (h, c))
/// (y * numbers(7, n, steps, hidden)).sum().backward()
/// for name, t in [("y", y), ("x", x.grad), ("start", start.grad), ("weight_ih", cell.weight_ih_l0.grad),
///                 ("weight_hh", cell.weight_hh_l0.grad), ("bias", cell.bias_ih_l0.grad)]:
///     print(name, [round(v, 12) for v in t.flatten().tolist()])
/// ```
#[test]
fn an_lstm_agrees_with_pytorch() {
    let numbers = |seed: f64, shape: &[usize]| {
        let values: Vec<f64> =
            (0..shape.iter().product::<usize>()).map(|i| (i as f64 * 0.7 + seed).sin()).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    };
    let (weight_ih, weight_hh) = (numbers(1.0, &[8, 2]), numbers(2.0, &[8, 2]));
    let (bias_ih, bias_hh) = (numbers(3.0, &[8]), numbers(4.0, &[8]));
    let (x, start) = (numbers(5.0, &[2, 3, 2]), numbers(6.0, &[2, 4]));
    let bias = (bias_ih.as_tensor() + bias_hh.as_tensor()).unwrap();
    let rows = x.reshape((6, 2)).unwrap();
    let contributions = linear(&rows, &weight_ih, Some(&bias), Activation::Identity).unwrap();
    let y = lstm(&contributions, &weight_hh, &start, &[3, 3]).unwrap();
    let loss = (&y * numbers(7.0, &[6, 2]).as_tensor()).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let close = |what: &str, got: &Tensor, want: &[f64]| assert_close(what, &flat(got), want, 1e-11);
    let gradient = |variable: &Var| gradients.get(variable).unwrap().clone();
    close("y", &y, &Y);
    close("x", &gradient(&x), &FOR_X);
    close("start", &gradient(&start), &FOR_START);
    close("weight_ih", &gradient(&weight_ih), &FOR_WEIGHT_IH);
    close("weight_hh", &gradient(&weight_hh), &FOR_WEIGHT_HH);
    close("bias", &gradient(&bias_ih), &FOR_BIAS);
    close("the other bias", &gradient(&bias_hh), &FOR_BIAS);
}

const Y: [f64; 12] = [
    0.214_577_240_931,
    0.445_698_427_912,
    0.337_606_847_209,
    0.151_284_661_949,
    0.437_072_003_139,
    0.109_521_666_856,
    -0.003_709_659_331,
    -0.051_124_206_467,
    -0.065_174_330_867,
    -0.068_334_824_472,
    -0.045_262_571_865,
    0.053_911_533_686,
];
const FOR_X: [f64; 12] = [
    -0.231_742_188_805,
    -0.176_509_914_531,
    0.077_263_213_778,
    0.055_876_993_831,
    -0.005_645_633_145,
    0.041_027_723_132,
    -0.126_109_313_008,
    -0.279_547_689_307,
    0.066_922_596_703,
    0.053_789_135_233,
    0.159_037_987_814,
    0.219_707_530_635,
];
const FOR_START: [f64; 8] = [
    -0.124_249_106_577,
    0.030_992_096_763,
    0.206_802_127_05,
    0.426_222_355_979,
    -0.307_292_741_417,
    -0.265_593_885_28,
    -0.076_068_189_214,
    0.006_256_167_763,
];
const FOR_WEIGHT_IH: [f64; 16] = [
    0.049_187_250_273,
    0.097_968_685_894,
    -0.035_862_092_005,
    0.016_619_300_076,
    -0.101_263_342_503,
    -0.086_744_754_296,
    -0.162_579_850_451,
    -0.078_373_062_904,
    -0.238_295_744_944,
    0.135_797_103_047,
    -0.170_636_139_45,
    -0.106_620_764_314,
    -0.050_275_989_979,
    0.026_858_557_359,
    -0.073_338_415_074,
    -0.041_807_906_278,
];
const FOR_WEIGHT_HH: [f64; 16] = [
    0.004_545_335_041,
    0.026_828_824_482,
    -0.011_525_137_507,
    -0.009_853_666_341,
    -0.005_506_297_776,
    0.047_667_359_145,
    -0.052_395_194_586,
    0.084_161_920_507,
    -0.156_955_391_418,
    0.049_778_962_723,
    -0.018_329_724_974,
    0.013_391_275_334,
    0.001_327_752_264,
    0.047_757_755_366,
    -0.016_668_133_326,
    0.007_535_601_483,
];
const FOR_BIAS: [f64; 8] = [
    -0.048_283_090_898,
    -0.036_518_423_369,
    0.159_427_469_534,
    0.164_015_021_927,
    0.089_310_127_72,
    0.212_848_621_404,
    0.068_361_929_2,
    -0.007_511_283_445,
];

#[test]
fn the_largest_of_a_row_is_the_first_of_equal_ones() {
    let x = Tensor::new(
        &[[[0f32, 1.0, 1.0], [2.0, 0.0, 0.0]], [[-3.0, -2.0, -1.0], [0.0, 0.0, 0.0]]],
        &Device::Cpu,
    );
    let x = x.unwrap();
    let numbers = |x: &Tensor| largest(x).unwrap().to_vec2::<u32>().unwrap();
    assert_eq!(numbers(&x), [[1, 0], [2, 0]]);
    assert_eq!(without_kernels(|| numbers(&x)), [[1, 0], [2, 0]]);
    assert!(largest(&Tensor::zeros((2, 0), DType::F32, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn rejects_mismatched_inputs() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let lstm = |x: &[usize], w: &[usize], start: &[usize]| {
        lstm(&zeros(x), &zeros(w), &zeros(start), &[2; 3])
            .map(|y| y.dims().to_vec())
            .map_err(|error| error.to_string())
    };
    assert_eq!(lstm(&[6, 8], &[8, 2], &[3, 4]).unwrap(), [6, 2]);
    assert!(lstm(&[0, 8], &[8, 2], &[3, 4]).unwrap_err().contains("the contributions to an LSTM"));
    assert!(
        lstm(&[7, 8], &[8, 2], &[3, 4])
            .unwrap_err()
            .contains("(T, 8), T not 0 and the sum of the lengths, 6")
    );
    assert!(lstm(&[6, 9], &[8, 2], &[3, 4]).unwrap_err().contains("(T, 8)"));
    assert!(lstm(&[6, 8], &[8, 3], &[3, 4]).unwrap_err().contains("the recurrent weight"));
    assert!(lstm(&[6, 8], &[8, 2], &[3, 2]).unwrap_err().contains("the start of an LSTM"));
    assert!(lstm(&[6, 8], &[8, 2], &[2, 4]).unwrap_err().contains("there are 3 for 2 sequences"));
    assert!(lstm_step(&zeros(&[6, 8]), &zeros(&[8, 2]), &zeros(&[3, 4])).is_err());
    let gru = |x: &[usize], w: &[usize], start: &[usize]| {
        gru(&zeros(x), &zeros(w), &zeros(start), &[1, 0, 5])
            .map(|y| y.dims().to_vec())
            .map_err(|error| error.to_string())
    };
    assert_eq!(gru(&[6, 6], &[6, 2], &[3, 4]).unwrap(), [6, 2]);
    assert!(gru(&[0, 6], &[6, 2], &[3, 4]).unwrap_err().contains("the contributions to a GRU"));
    assert!(gru(&[7, 6], &[6, 2], &[3, 4]).unwrap_err().contains("(T, 6)"));
    assert!(gru(&[6, 8], &[6, 2], &[3, 4]).unwrap_err().contains("(T, 6)"));
    assert!(gru(&[6, 6], &[8, 2], &[3, 4]).unwrap_err().contains("the recurrent weight"));
    assert!(gru(&[6, 6], &[6, 2], &[3, 2]).unwrap_err().contains("the start of a GRU"));
    assert!(gru_step(&zeros(&[6, 6]), &zeros(&[6, 2]), &zeros(&[3, 4])).is_err());
    let numbers = Tensor::new(&[0u32, 5], &Device::Cpu).unwrap();
    let error = embedding(&zeros(&[5, 2]), &numbers).unwrap_err().to_string();
    assert!(error.contains("no 5 among 5"), "{error}");
    let floats = embedding(&zeros(&[5, 2]), &zeros(&[2])).unwrap_err().to_string();
    assert!(floats.contains("u32"), "{floats}");
    let likelihood = |tokens: usize, rows: usize| {
        let (x, w, bias) = (zeros(&[rows, 3]), zeros(&[tokens, 3]), zeros(&[tokens]));
        linear_log_likelihood(&x, &w, &bias, &numbers).is_ok()
    };
    assert!(likelihood(6, 2) && !likelihood(5, 2) && !likelihood(6, 3));
}

/// At temperature T the shares are proportional to p^(1/T). The number of equally spaced uniform numbers that
/// select a position is proportional to its share, and positions are selected in order.
#[test]
fn positions_are_drawn_as_often_as_their_shares_say() {
    let n = 10_000;
    let uniforms: Vec<f32> = (0..n).map(|i| (i as f32 + 0.5) / n as f32).collect();
    for width in [3usize, 64, 200] {
        let p: Vec<f64> = (0..width).map(|i| 1.0 + (i % 7) as f64).collect();
        let logits: Vec<f64> = p.iter().map(|p| p.ln()).collect();
        for dtype in [DType::F32, DType::F64] {
            let logits = Tensor::new(&logits[..], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let logits = logits.unsqueeze(0).unwrap().repeat((n, 1)).unwrap();
            for temperature in [1.0, 0.5, 2.0] {
                let drawn = draw(&logits, temperature, &uniforms).unwrap();
                assert!(drawn.is_sorted(), "{width}");
                assert_eq!(without_kernels(|| draw(&logits, temperature, &uniforms).unwrap()), drawn);
                let powers: Vec<f64> = p.iter().map(|p| p.powf(1.0 / temperature)).collect();
                let all: f64 = powers.iter().sum();
                for (position, power) in powers.iter().enumerate() {
                    let found = drawn.iter().filter(|drawn| **drawn as usize == position).count() as f64;
                    let want = power / all * n as f64;
                    assert!((found - want).abs() <= 2.0, "{width} {temperature} {position}: {found}, {want}");
                }
            }
        }
    }
}

#[test]
fn positions_without_a_share_are_never_drawn() {
    let none = f32::NEG_INFINITY;
    let mut logits = vec![none; 100];
    logits[70] = 0.0;
    let logits = Tensor::new(&logits[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    for uniform in [0.0, 0.5, 1.0 - f32::EPSILON / 2.0] {
        assert_eq!(draw(&logits, 1.0, &[uniform]).unwrap(), [70]);
    }
    for temperature in [0.0, 1e-300, 1e-37] {
        assert_eq!(draw(&logits, temperature, &[0.9]).unwrap(), [70]);
    }
    assert!(draw(&logits, -1.0, &[0.5]).is_err() && draw(&logits, 1.0, &[]).is_err());
}
