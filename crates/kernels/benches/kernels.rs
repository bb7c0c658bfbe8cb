//! Single kernels at the sizes of the reference networks, forward and backward.
//!
//! Before criterion starts, a table shows the rate of each kernel. For products, convolutions and sequences these are
//! floating-point operations per second, and the fraction of the machine's peak, measured as a 1024³ product in the
//! same process. For passes over memory (losses, activations, batch norm, Adam, resampling) these are bytes per second,
//! where every byte counts once, and the fraction of the rate of a plain copy of large arrays; the passes of candle's
//! tape count as time but not as bytes. Criterion reports the same numbers as throughput, with operations as
//! "elements". Run it as `RAYON_NUM_THREADS=2 CANDLE_NUM_THREADS=1 cargo bench -p waxwork-kernels`, because candle's
//! pool, which computes sums in the backward pass, spins between operations and takes the cores from rayon's pool.
//! `TABLE=1` stops after the table.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![expect(clippy::unwrap_used, reason = "a benchmark cannot recover from an error")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use waxwork_kernels::{
    Activation, AdamStep, activate, adam_step, avg_pool2, batch_norm, batch_norm_with, bce_with_logits_sum,
    conv_transpose2d, conv2d, gaussian_kl, linear, linear_log_likelihood, lstm, matmul, reparameterize,
    softplus, sum_squares, translate, upsample2,
};

/// The allocator of the program. The C library's would return the pages of every large tensor to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Numbers of about unit size, a fixed function of the position.
fn tensor(shape: &[usize]) -> Tensor {
    let numbers = (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0);
    Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&tensor(shape)).unwrap()
}

/// One kernel: its name, its work (floating-point operations of a product, bytes of a pass), and one call of it.
struct Case {
    name: String,
    work: f64,
    run: Box<dyn Fn()>,
}

/// The gradient of a sum, through candle's tape.
fn backward(y: &Tensor) {
    black_box(y.sum_all().unwrap().backward().unwrap());
}

/// Matrix products, the convolutions of a DCGAN step on 32×32 and on 28×28 images at batch size 64 (discriminator and
/// generator), and linear layers.
fn products() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: String, work: f64, run: Box<dyn Fn()>| cases.push(Case { name, work, run });
    for (rows, inner, columns) in [(1024, 1024, 1024), (128, 784, 400), (400, 128, 784), (64, 4096, 1)] {
        let (a, b) = (tensor(&[rows, inner]), tensor(&[inner, columns]));
        case(
            format!("matmul {rows}x{inner}x{columns}"),
            2.0 * (rows * inner * columns) as f64,
            Box::new(move || drop(black_box(matmul(&a, &b).unwrap()))),
        );
    }
    let batch = 64;
    for (channels, side, outputs) in [(3, 32, 64), (64, 16, 128), (128, 8, 256), (11, 28, 64), (64, 14, 128)]
    {
        let operations = 2.0 * (batch * outputs * (side / 2) * (side / 2) * channels * 16) as f64;
        let (x, w) = (var(&[batch, channels, side, side]), var(&[outputs, channels, 4, 4]));
        let (still_x, still_w) = (x.as_detached_tensor(), w.as_detached_tensor());
        let label = format!("conv {channels}x{side}x{side}-{outputs}");
        let (a, b) = (still_x.clone(), still_w.clone());
        case(
            format!("{label} forward"),
            operations,
            Box::new(move || {
                drop(black_box(conv2d(&a, &b, None, [2; 2], [1; 2], Activation::Identity).unwrap()));
            }),
        );
        let (a, b) = (still_x, w.clone());
        case(
            format!("{label} forward, weight"),
            2.0 * operations,
            Box::new(move || backward(&conv2d(&a, &b, None, [2; 2], [1; 2], Activation::Identity).unwrap())),
        );
        let (a, b) = (x, still_w);
        case(
            format!("{label} forward, input"),
            2.0 * operations,
            Box::new(move || backward(&conv2d(&a, &b, None, [2; 2], [1; 2], Activation::Identity).unwrap())),
        );
    }
    for (channels, side, outputs) in [(256, 4, 128), (128, 8, 64), (64, 16, 3), (128, 7, 64), (64, 14, 1)] {
        let operations = 2.0 * (batch * outputs * side * side * channels * 16) as f64;
        let (x, w) = (var(&[batch, channels, side, side]), var(&[channels, outputs, 4, 4]));
        let (still_x, still_w) = (x.as_detached_tensor(), w.as_detached_tensor());
        let label = format!("convT {channels}x{side}x{side}-{outputs}");
        case(
            format!("{label} forward"),
            operations,
            Box::new(move || {
                drop(black_box(conv_transpose2d(&still_x, &still_w, None, [2; 2], [1; 2], [0; 2]).unwrap()));
            }),
        );
        case(
            format!("{label} forward, both"),
            3.0 * operations,
            Box::new(move || backward(&conv_transpose2d(&x, &w, None, [2; 2], [1; 2], [0; 2]).unwrap())),
        );
    }
    for (inputs, outputs) in [(784, 400), (400, 784), (400, 40), (100, 6272), (4096, 1)] {
        let operations = 2.0 * (128 * inputs * outputs) as f64;
        let (x, w, b) = (var(&[128, inputs]), var(&[outputs, inputs]), var(&[outputs]));
        let still = [&x, &w, &b].map(Var::as_detached_tensor);
        case(
            format!("linear 128x{inputs}-{outputs} forward"),
            operations,
            Box::new(move || {
                black_box(linear(&still[0], &still[1], Some(&still[2]), Activation::Relu).unwrap());
            }),
        );
        case(
            format!("linear 128x{inputs}-{outputs} forward, all"),
            3.0 * operations,
            Box::new(move || backward(&linear(&x, &w, Some(&b), Activation::Relu).unwrap())),
        );
    }
    cases
}

/// The recurrent part of an LSTM, and the likelihood of tokens, of sentences of Penn Treebank: 32 sequences
/// of 7 to 38 tokens, hidden states of 256, and ten thousand words.
fn sequences() -> Vec<Case> {
    let (n, width, words) = (32, 256, 10_000);
    let lengths: Vec<usize> = (0..n).map(|sequence| 7 + sequence).collect();
    let steps: usize = lengths.iter().sum();
    let mut cases = Vec::new();
    let operations = 2.0 * (steps * 4 * width * width) as f64;
    let (x, w, start) = (var(&[steps, 4 * width]), var(&[4 * width, width]), var(&[n, 2 * width]));
    let still = [&x, &w, &start].map(Var::as_detached_tensor);
    let mut case = |name: &str, work: f64, run: Box<dyn Fn()>| {
        cases.push(Case { name: name.to_owned(), work, run });
    };
    let l = lengths.clone();
    case("lstm 720x256 forward", operations, {
        Box::new(move || drop(black_box(lstm(&still[0], &still[1], &still[2], &l).unwrap())))
    });
    case("lstm 720x256 forward, all", 3.0 * operations, {
        Box::new(move || backward(&lstm(&x, &w, &start, &lengths).unwrap()))
    });
    let (x, w, bias) = (var(&[steps, width]), var(&[words, width]), var(&[words]));
    let targets: Vec<u32> = (0..steps).map(|i| (i * 7919 % words) as u32).collect();
    let operations = 2.0 * (steps * width * words) as f64;
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    let still = [&x, &w, &bias].map(Var::as_detached_tensor);
    let t = targets.clone();
    case("likelihood 720x256-10000 forward", operations, {
        let run = move || linear_log_likelihood(&still[0], &still[1], &still[2], &t).unwrap();
        Box::new(move || drop(black_box(run())))
    });
    case("likelihood 720x256-10000 forward, all", 3.0 * operations, {
        Box::new(move || backward(&linear_log_likelihood(&x, &w, &bias, &targets).unwrap()))
    });
    cases
}

/// Elementwise passes over the maps of a DCGAN, the images and latents of a VAE, and a large weight.
fn passes() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, floats: usize, run: Box<dyn Fn()>| {
        cases.push(Case { name: name.to_owned(), work: 4.0 * floats as f64, run });
    };
    let shape = [64, 64, 16, 16];
    let maps = tensor(&shape);
    let len = maps.elem_count();
    for activation in [
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Silu,
    ] {
        let (x, tracked) = (maps.clone(), Var::from_tensor(&maps).unwrap());
        case(
            &format!("{activation:?} forward"),
            2 * len,
            Box::new(move || drop(black_box(activate(&x, activation).unwrap()))),
        );
        case(
            &format!("{activation:?} forward, backward"),
            5 * len,
            Box::new(move || backward(&activate(&tracked, activation).unwrap())),
        );
    }

    let (gamma, beta, x) = (var(&[64]), var(&[64]), Var::from_tensor(&maps).unwrap());
    let (mean, variance) = (tensor(&[64]), tensor(&[64]).abs().unwrap());
    let [a, b, c] = [maps.clone(), gamma.as_detached_tensor(), beta.as_detached_tensor()];
    case("batch norm, relu forward", 2 * len, {
        let (a, b, c) = (a.clone(), b.clone(), c.clone());
        Box::new(move || drop(black_box(batch_norm(&a, &b, &c, 1e-5, Activation::Relu).unwrap())))
    });
    case(
        "batch norm, relu forward, fixed",
        2 * len,
        Box::new(move || {
            let y = batch_norm_with(&a, &b, &c, &mean, &variance, 1e-5, Activation::Relu);
            drop(black_box(y.unwrap()));
        }),
    );
    case(
        "batch norm, relu forward, all",
        6 * len,
        Box::new(move || backward(&batch_norm(&x, &gamma, &beta, 1e-5, Activation::Relu).unwrap().0)),
    );

    let (logits, targets) =
        (tensor(&[128, 784]), activate(&tensor(&[128, 784]), Activation::Sigmoid).unwrap());
    let tracked = Var::from_tensor(&logits).unwrap();
    let len = logits.elem_count();
    let (x, t) = (logits, targets.clone());
    case("bce forward", 2 * len, Box::new(move || drop(black_box(bce_with_logits_sum(&x, &t).unwrap()))));
    case(
        "bce forward, backward",
        5 * len,
        Box::new(move || backward(&bce_with_logits_sum(&tracked, &targets).unwrap())),
    );
    let [mean, log_var] = [1, 2].map(|_| var(&[128, 20]));
    let noise = tensor(&[128, 20]);
    let len = noise.elem_count();
    let (m, v) = (mean.clone(), log_var.clone());
    case("gaussian kl forward, backward", 8 * len, Box::new(move || backward(&gaussian_kl(&m, &v).unwrap())));
    case(
        "reparameterise forward, backward",
        8 * len,
        Box::new(move || backward(&reparameterize(&mean, &log_var, &noise).unwrap())),
    );
    let x = var(&[64]);
    case("softplus forward, backward", 5 * 64, Box::new(move || backward(&softplus(&x).unwrap())));

    let len = maps.elem_count();
    let (a, b, c) = (maps.clone(), maps.clone(), maps);
    case("halve", len * 5 / 4, Box::new(move || drop(black_box(avg_pool2(&a).unwrap()))));
    case("double", len * 5, Box::new(move || drop(black_box(upsample2(&b).unwrap()))));
    let (down, right): (Vec<isize>, Vec<isize>) = (0..64).map(|i| (i % 5 - 2, i % 3 - 1)).unzip();
    case("translate", 2 * len, Box::new(move || drop(black_box(translate(&c, &down, &right).unwrap()))));

    let len = 1 << 20;
    let [p, g, m, v, average] = [1, 2, 3, 4, 5].map(|_| tensor(&[len]).abs().unwrap());
    let step = AdamStep {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 9,
        grad_scale: 1.0,
    };
    let gradient = g.clone();
    case("sum of squares", len, Box::new(move || _ = black_box(sum_squares(&gradient).unwrap())));
    let tensors = [p.clone(), g.clone(), m.clone(), v.clone()];
    case(
        "adam",
        7 * len,
        Box::new(move || {
            let [p, g, m, v] = &tensors;
            adam_step(p, g, m, v, &step, None).unwrap();
        }),
    );
    case(
        "adam with moving average",
        9 * len,
        Box::new(move || adam_step(&p, &g, &m, &v, &step, Some((&average, 0.999))).unwrap()),
    );
    cases
}

/// Median time of one call in seconds.
fn median(run: &dyn Fn()) -> f64 {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || (start.elapsed() < Duration::from_millis(300) && times.len() < 200) {
        let start = Instant::now();
        run();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Bytes per second that a copy of 64 MiB reads and writes.
fn copied_bytes() -> f64 {
    let len = 1 << 24;
    let (from, to) = (vec![1f32; len], std::cell::RefCell::new(vec![0f32; len]));
    let copy = || {
        let mut to = to.borrow_mut();
        to.par_chunks_mut(1 << 16)
            .zip(from.par_chunks(1 << 16))
            .for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
    };
    8.0 * len as f64 / median(&copy)
}

fn table(products: &[Case], passes: &[Case]) {
    let (a, b) = (tensor(&[1024, 1024]), tensor(&[1024, 1024]));
    let operations = 2.0 * 1024f64.powi(3) / median(&|| drop(black_box(matmul(&a, &b).unwrap())));
    for (cases, unit, peak) in [(products, "GFLOP/s", operations), (passes, "GB/s", copied_bytes())] {
        println!("{:<44} {:>9} {:>9} {:>6}", "kernel", "ms", unit, "peak");
        println!("{:<44} {:>9} {:>9.1} {:>6.2}", "peak", "", peak * 1e-9, 1.0);
        for case in cases {
            let time = median(&*case.run);
            let rate = case.work / time;
            println!("{:<44} {:>9.3} {:>9.1} {:>6.2}", case.name, time * 1e3, rate * 1e-9, rate / peak);
        }
        println!();
    }
}

fn benches(criterion: &mut Criterion) {
    let (mut products, passes) = (products(), passes());
    products.extend(sequences());
    table(&products, &passes);
    if std::env::var_os("TABLE").is_some() {
        std::process::exit(0)
    }
    for (name, cases) in [("products", &products), ("passes", &passes)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for case in cases {
            let work = case.work as u64;
            let elements = name == "products";
            group.throughput(if elements { Throughput::Elements(work) } else { Throughput::Bytes(work) });
            group.bench_function(&case.name, |bencher| bencher.iter(|| (case.run)()));
        }
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
