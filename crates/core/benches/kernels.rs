//! Single kernels at the sizes of the reference networks, forward and backward.
//!
//! Throughput is in floating-point operations ("elements") for products and in bytes touched at least once for
//! elementwise passes. Before criterion starts, a table gives each product's rate as a fraction of the machine's peak,
//! measured as a 1024³ product in the same process. Run it as
//! `RAYON_NUM_THREADS=2 CANDLE_NUM_THREADS=1 cargo bench -p waxwork-core`: candle's own pool, which backward uses for its
//! sums, spins between operations and takes the cores from rayon's.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report an error to")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use waxwork_core::kernels::{
    Activation, AdamStep, activate, adam_step, batch_norm, bce_with_logits_sum, conv_transpose2d, conv2d,
    linear, matmul,
};

/// The allocator of the binary: with the C library's, each large tensor's pages go back to the system and return.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any numbers of about unit size; a fixed function of the position.
fn tensor(shape: &[usize]) -> Tensor {
    let numbers = (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0);
    Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&tensor(shape)).unwrap()
}

/// One kernel: what it is called, its floating-point operations, and itself.
struct Case {
    name: String,
    operations: f64,
    run: Box<dyn Fn()>,
}

/// The gradient of a sum, through candle's tape.
fn backward(y: &Tensor) {
    black_box(y.sum_all().unwrap().backward().unwrap());
}

/// Convolutions of one DCGAN step on 32×32 images and one on 28×28 at batch 64: discriminator and generator.
fn products() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case =
        |name: String, operations: f64, run: Box<dyn Fn()>| cases.push(Case { name, operations, run });
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
            Box::new(move || drop(black_box(conv2d(&a, &b, None, 2, 1, Activation::Identity).unwrap()))),
        );
        let (a, b) = (still_x, w.clone());
        case(
            format!("{label} forward, weight"),
            2.0 * operations,
            Box::new(move || backward(&conv2d(&a, &b, None, 2, 1, Activation::Identity).unwrap())),
        );
        let (a, b) = (x, still_w);
        case(
            format!("{label} forward, input"),
            2.0 * operations,
            Box::new(move || backward(&conv2d(&a, &b, None, 2, 1, Activation::Identity).unwrap())),
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
            Box::new(move || drop(black_box(conv_transpose2d(&still_x, &still_w, None, 2, 1, 0).unwrap()))),
        );
        case(
            format!("{label} forward, both"),
            3.0 * operations,
            Box::new(move || backward(&conv_transpose2d(&x, &w, None, 2, 1, 0).unwrap())),
        );
    }
    for (inputs, outputs) in [(784, 400), (400, 784), (4096, 1)] {
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

/// Median time of one call.
fn median(run: &dyn Fn()) -> Duration {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || (start.elapsed() < Duration::from_millis(300) && times.len() < 200) {
        let start = Instant::now();
        run();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn table() {
    let (a, b) = (tensor(&[1024, 1024]), tensor(&[1024, 1024]));
    let peak_time = median(&|| drop(black_box(matmul(&a, &b).unwrap())));
    let peak = 2.0 * 1024f64.powi(3) / peak_time.as_secs_f64();
    println!("{:<40} {:>9} {:>9} {:>6}", "product", "ms", "GFLOP/s", "peak");
    println!(
        "{:<40} {:>9.3} {:>9.1} {:>6.2}",
        "1024 x 1024 x 1024",
        peak_time.as_secs_f64() * 1e3,
        peak * 1e-9,
        1.0
    );
    for case in products() {
        let time = median(&*case.run).as_secs_f64();
        let rate = case.operations / time;
        println!("{:<40} {:>9.3} {:>9.1} {:>6.2}", case.name, time * 1e3, rate * 1e-9, rate / peak);
    }
}

fn benches(criterion: &mut Criterion) {
    table();
    let mut group = criterion.benchmark_group("products");
    group.sample_size(20);
    for case in products() {
        group.throughput(Throughput::Elements(case.operations as u64));
        group.bench_function(&case.name, |bencher| bencher.iter(|| (case.run)()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("passes");
    let shape = [64, 64, 16, 16];
    let (x, t) = (tensor(&shape), activate(&tensor(&shape), Activation::Sigmoid).unwrap());
    let bytes = 4 * x.elem_count() as u64;
    for activation in [Activation::LeakyRelu(0.2), Activation::Tanh, Activation::Sigmoid] {
        group.throughput(Throughput::Bytes(2 * bytes));
        group.bench_function(format!("{activation:?}"), |b| b.iter(|| activate(&x, activation).unwrap()));
    }
    group.throughput(Throughput::Bytes(2 * bytes));
    group.bench_function("bce", |b| b.iter(|| bce_with_logits_sum(&x, &t).unwrap()));
    let (gamma, beta, x_var) = (var(&[64]), var(&[64]), Var::from_tensor(&x).unwrap());
    group.bench_function("batch norm, relu forward", |b| {
        b.iter(|| batch_norm(&x, &gamma, &beta, 1e-5, Activation::Relu).unwrap());
    });
    group.bench_function("batch norm, relu forward, all", |b| {
        b.iter(|| backward(&batch_norm(&x_var, &gamma, &beta, 1e-5, Activation::Relu).unwrap().0));
    });
    let [p, g, m, v] = [1, 2, 3, 4].map(|_| tensor(&[1 << 20]).abs().unwrap());
    let step = AdamStep {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 9,
        grad_scale: 1.0,
    };
    group.throughput(Throughput::Bytes(28 << 20));
    group.bench_function("adam", |b| b.iter(|| adam_step(&p, &g, &m, &v, &step, None).unwrap()));
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
