//! Trains a small classifier with the kernels, candle's tensors and nothing else of Waxwork: two spirals, told apart by a
//! network of two hidden layers.
//!
//! `cargo run --release -p waxwork-kernels --example train_mlp`

use candle_core::{DType, Device, Tensor, Var};
use waxwork_kernels::{Activation, AdamStep, Gradients, adam_step, backward, bce_with_logits_sum, linear};

const POINTS: usize = 400;
const HIDDEN: usize = 32;
const STEPS: u64 = 300;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let (points, labels) = spirals()?;
    let mut network = Mlp::new(&[2, HIDDEN, HIDDEN, 1])?;
    for step in 1..=STEPS {
        let logits = network.forward(&points)?;
        // The kernel sums over all but the first dimension: one value per point, in nats.
        let loss = bce_with_logits_sum(&logits, &labels)?.mean_all()?;
        network.update(&mut backward(&loss)?, step)?;
        if step % 50 == 0 || step == 1 {
            let right = logits.ge(0.0)?.to_dtype(DType::F32)?.eq(&labels)?.to_dtype(DType::F32)?;
            let (loss, accuracy) = (loss.to_scalar::<f32>()?, right.mean_all()?.to_scalar::<f32>()?);
            println!("step {step:>3}: loss {loss:.4}, accuracy {accuracy:.3}");
        }
    }
    Ok(())
}

/// Points `(POINTS, 2)` on two spirals, and the spiral of each, 0 or 1, `(POINTS, 1)`.
fn spirals() -> candle_core::Result<(Tensor, Tensor)> {
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for i in 0..POINTS {
        let (spiral, t) = (i % 2, i as f32 / POINTS as f32);
        let angle = 6.0 * t + std::f32::consts::PI * spiral as f32;
        points.extend([t * angle.cos(), t * angle.sin()]);
        labels.push(spiral as f32);
    }
    let points = Tensor::from_vec(points, (POINTS, 2), &Device::Cpu)?;
    Ok((points, Tensor::from_vec(labels, (POINTS, 1), &Device::Cpu)?))
}

/// Linear layers, each followed by a leaky ReLU but the last, with the moments that Adam keeps of each weight.
struct Mlp {
    layers: Vec<[Parameter; 2]>,
}

struct Parameter {
    value: Var,
    first_moment: Tensor,
    second_moment: Tensor,
}

impl Mlp {
    fn new(widths: &[usize]) -> candle_core::Result<Self> {
        let layer = |sides: &[usize]| {
            let (inputs, outputs) = (sides[0], sides[1]);
            Ok([Parameter::new(&[outputs, inputs], inputs)?, Parameter::new(&[outputs], inputs)?])
        };
        Ok(Self { layers: widths.windows(2).map(layer).collect::<candle_core::Result<_>>()? })
    }

    /// Points `(N, 2)` → logits `(N, 1)`.
    fn forward(&self, x: &Tensor) -> waxwork_kernels::Result<Tensor> {
        let mut x = x.clone();
        for (i, [weight, bias]) in self.layers.iter().enumerate() {
            let hidden = i + 1 < self.layers.len();
            let activation = if hidden { Activation::LeakyRelu(0.1) } else { Activation::Identity };
            x = linear(&x, &weight.value, Some(&bias.value), activation)?;
        }
        Ok(x)
    }

    fn update(&mut self, gradients: &mut Gradients, step: u64) -> waxwork_kernels::Result<()> {
        let step = AdamStep {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            step,
            grad_scale: 1.0,
        };
        for Parameter { value, first_moment, second_moment } in self.layers.iter().flatten() {
            if let Some(gradient) = gradients.take(value)? {
                adam_step(value, &gradient, first_moment, second_moment, &step, None)?;
            }
        }
        Ok(())
    }
}

impl Parameter {
    /// Start values in ±1/√inputs: a fixed, uneven sequence, so that every run is the same.
    fn new(shape: &[usize], inputs: usize) -> candle_core::Result<Self> {
        let uneven = |i: usize| ((i as f32 * 0.618_034).fract() * 2.0 - 1.0) / (inputs as f32).sqrt();
        let values: Vec<f32> = (0..shape.iter().product()).map(uneven).collect();
        let value = Var::from_vec(values, shape, &Device::Cpu)?;
        let (first_moment, second_moment) = (value.zeros_like()?, value.zeros_like()?);
        Ok(Self { value, first_moment, second_moment })
    }
}
