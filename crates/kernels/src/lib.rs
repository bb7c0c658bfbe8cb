//! Fast CPU kernels for candle, with gradients on candle's tape.
//!
//! Nearly every function takes tensors and returns tensors. On the CPU it runs a kernel of this crate, in f32
//! (fast) or f64 (the same code, slower, for tests and finite differences). On other devices it runs the same
//! operation composed of candle's operations (the private module `composed`); the tests compare the two.
//! Gradients come from custom operations, and only arguments that are on the tape get one. They are
//! first-order: a kernel has no gradient of its gradient. [`backward`] is candle's backward pass with fewer
//! copies between kernels; `Tensor::backward` works as well.
//!
//! A two-layer network and one step of Adam:
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use waxwork_kernels::{Activation, AdamStep, adam_step, backward, linear};
//!
//! let device = Device::Cpu;
//! let x = Tensor::new(&[[0.5f32, -1.0], [2.0, 0.25]], &device)?;
//! let hidden = Var::new(&[[0.1f32, 0.4], [-0.3, 0.2], [0.7, -0.1]], &device)?; // (outputs, inputs), as in PyTorch
//! let output = Var::new(&[[0.2f32, -0.5, 0.3]], &device)?;
//! let loss = || -> waxwork_kernels::Result<Tensor> {
//!     let h = linear(&x, &hidden, None, Activation::Relu)?;
//!     Ok(linear(&h, &output, None, Activation::Identity)?.affine(1.0, -1.0)?.sqr()?.mean_all()?)
//! };
//!
//! let before = loss()?;
//! let mut gradients = backward(&before)?;
//! let step = AdamStep { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1, grad_scale: 1.0 };
//! for weight in [&hidden, &output] {
//!     let gradient = gradients.take(weight)?.expect("both weights are in the loss");
//!     adam_step(weight, &gradient, &weight.zeros_like()?, &weight.zeros_like()?, &step, None)?;
//! }
//! assert!(loss()?.to_scalar::<f32>()? < before.to_scalar::<f32>()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bits
//! Results have the same bits for any number of threads: only shapes decide how work is split, and every sum
//! has a fixed order. Elementwise functions are built from exactly rounded steps, so they also agree between
//! AVX-512, AVX2, NEON and scalar code. Matrix products agree between AVX-512 and AVX2 with FMA (see
//! [`matmul`]); without FMA, `gemm` rounds twice where the others round once.
//!
//! # Threads
//! All parallel work runs in rayon's current pool. [`threads::init`] sizes it, and keeps candle's own pools
//! idle.
//!
//! Apart from one line in the binary's `main`, this is the only crate of the workspace that may contain
//! `unsafe`.

mod activate;
mod activation;
mod adam;
mod adam_step;
mod add_scaled;
mod bound;
mod buffer;
mod composed;
mod conv;
mod conv_transpose;
mod convolution;
mod count;
pub mod device;
mod dots;
mod draws;
mod elementwise;
mod embedding;
mod error;
mod exponential;
mod float;
mod gemm;
mod geometry;
mod gru;
mod layout;
mod linear;
mod loss;
mod lstm;
mod matmul;
mod matrix;
mod maxout;
mod mirror;
mod norm;
mod norm_rows;
mod packed;
mod panels;
mod parametric_op;
mod planes;
mod pool;
mod precomputed;
mod real;
mod recurrent;
mod resample;
mod scalars;
mod schedule;
mod scratch;
mod segment_layout;
mod segments;
mod shapes;
mod simd;
mod sums;
mod tape;
pub mod threads;
mod tile;
mod token_likelihood;
mod windows;
mod winograd;

#[cfg(test)]
mod tests;

pub use activate::{activate, activate_tangent};
pub use activation::Activation;
pub use adam::AdamStep;
pub use adam_step::{adam_step, sum_squares};
pub use add_scaled::add_scaled;
pub use bound::soft_bound;
pub use composed::row_norm;
pub use conv::conv2d;
pub use conv_transpose::conv_transpose2d;
pub use count::multiply_adds;
pub use draws::{draw, gumbel, gumbel_of};
pub use embedding::{embedding, largest};
pub use error::{Error, Result};
pub use exponential::{exp, log};
pub use gru::{gru, gru_step};
pub use linear::{linear, linear_to};
pub use loss::{bce_with_logits_sum, gaussian_kl, reparameterize, softplus, squared_error_sum};
pub use lstm::{lstm, lstm_step};
pub use matmul::matmul;
pub use maxout::maxout;
pub use norm::{batch_norm, batch_norm_with};
pub use planes::{conv2d_with_planes, with_planes};
pub use pool::pool2d;
pub use resample::{avg_pool2, slide, translate, upsample2};
pub use scalars::{scalar, scalars};
pub use segment_layout::{SegmentKind, Segments};
pub use segments::{activate_segments, segment_log_likelihood};
pub use tape::{Gradients, backward};
pub use token_likelihood::linear_log_likelihood;
pub use windows::{Pool, Windows};
