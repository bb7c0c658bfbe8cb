//! Fast kernels for the CPU, as operations on candle's tape.
//!
//! Every function takes tensors and returns tensors. On the CPU it runs a kernel of this module, in f32 (fast) or f64
//! (the same code, slower; for tests and finite differences); for other devices `composed` has it in candle's own
//! operations, and the tests compare the two.
//! Gradients come from custom operations, and only for arguments that are on the tape. First order only: a gradient of
//! a gradient is not there.
//!
//! # Bits
//! Results are the same bits for any number of threads: work is cut by shapes alone, and sums have one order.
//! Elementwise functions are built from exactly rounded steps, so they also agree between AVX-512, AVX2, NEON and plain
//! code; matrix products agree between AVX2 with FMA and AVX-512 (see `matmul`). Without FMA, `gemm` rounds twice where
//! the others round once.
//!
//! # Threads
//! All parallelism is rayon's current pool. Candle's own pools are not used.
//!
//! This is the one module of the workspace that may hold `unsafe`.

mod activation;
mod adam;
mod attach;
mod buffer;
mod composed;
mod conv;
mod conv_transpose;
mod convolution;
mod count;
mod dots;
mod exponential;
mod filtering;
mod layout;
mod linear;
mod loss;
mod matmul;
mod norm;
mod panels;
mod planes;
mod pool;
mod real;
mod resample;
mod tape;
mod tile;
mod weighted;
mod winograd;

#[cfg(test)]
mod tests;

pub use activation::{Activation, activate};
pub use adam::{AdamStep, adam_step, sum_squares};
pub(crate) use composed::norm as row_norm;
pub use conv::conv2d;
pub use conv_transpose::conv_transpose2d;
pub use count::multiply_adds;
pub use exponential::{exp, log};
pub use linear::{linear, linear_to};
pub use loss::{bce_with_logits_sum, gaussian_kl, reparameterize, softplus};
pub use matmul::matmul;
pub use norm::{batch_norm, batch_norm_with};
pub use planes::{conv2d_with_planes, with_planes};
pub use pool::{Pool, Windows, pool2d};
pub use resample::{avg_pool2, translate, upsample2};
pub use tape::{Gradients, backward};
