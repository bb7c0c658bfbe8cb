//! The same operations composed of candle's own, for devices that our kernels do not run on.
//!
//! Candle's tape would differentiate each of them, but on a GPU that is wrong in places and slow in others: every node
//! costs several launches, the gradient of a convolution goes through a naive kernel, and a leaky ReLU has a slope of
//! its own at 0. So an operation is computed without a graph, and [`attach`] gives the result a gradient that is
//! written out, again in candle's operations. All of it runs on CPU tensors too, where tests compare it with our kernels.
//!
//! # Precision
//! Where the weight of a layer has another type than its input (bf16 or f16 against f32), the products are made in the
//! weight's type, forward and backward, and everything else (biases, sums, activations, normalisation) in the input's.

mod adam;
mod backward;
mod convolution;
mod norm;
mod pointwise;
mod products;
mod resampling;

pub(crate) use adam::adam_step;
pub use adam::row_norm;
pub(crate) use norm::{batch_norm, batch_norm_with};
pub(crate) use pointwise::{activate, bce_with_logits_sum, exp, gaussian_kl, log, reparameterize, softplus};
pub(crate) use products::{conv_transpose2d, conv2d, linear, matmul};
pub(crate) use resampling::{avg_pool2, pool2d, translate, upsample2};
