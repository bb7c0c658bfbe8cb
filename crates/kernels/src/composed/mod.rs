//! The same operations composed of candle's, for devices on which the kernels of this crate do not run.
//!
//! Candle's tape could differentiate them, but on a GPU the gradients are partly wrong and partly slow: every
//! node costs several launches, the gradient of a convolution runs a naive kernel, and the slope of a leaky
//! ReLU at 0 differs. So each operation is computed without a graph, and [`backward::attach`] gives its
//! result an explicit gradient, again in candle's operations. All of this runs on CPU tensors too, where
//! tests compare it with the kernels.
//!
//! # Precision
//! If the weight of a layer has a different type than its input (bf16 or f16 instead of f32), products are
//! computed in the type of the weight, forward and backward, and everything else (biases, sums, activations,
//! normalisation) in that of the input.

mod adam;
mod backward;
mod convolution;
mod norm;
mod pointwise;
mod products;
mod recurrent;
mod resampling;
mod segments;
mod tokens;

pub(crate) use adam::adam_step;
pub use adam::row_norm;
pub(crate) use norm::{batch_norm, batch_norm_with};
pub(crate) use pointwise::{
    activate, activate_tangent, add_scaled, bce_with_logits_sum, exp, gaussian_kl, log, maxout,
    reparameterize, soft_bound, softplus, squared_error_sum,
};
pub(crate) use products::{conv_transpose2d, conv2d, linear, matmul};
pub(crate) use recurrent::{gru, gru_step, lstm, lstm_step};
pub(crate) use resampling::{avg_pool2, pool2d, slide, translate, upsample2};
pub(crate) use segments::{activate_segments, segment_log_likelihood};
pub(crate) use tokens::{embedding, largest, linear_log_likelihood};
