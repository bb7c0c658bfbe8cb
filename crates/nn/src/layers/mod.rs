//! Layers that several families need, built on our own kernels and initialisation.
//!
//! A layer holds plain tensors taken from a [`ParamSet`](waxwork_core::ParamSet). Weights have PyTorch's
//! names and shapes.

mod conv;
mod conv1d;
mod embedding;
mod gates;
mod gru;
mod linear;
mod lstm;
mod norm;
mod recurrent;
mod weight;

use candle_core::{DType, Tensor};

use waxwork_core::Result;

pub use conv::{Conv2d, ConvGeometry, ConvTranspose2d};
pub use conv1d::{Conv1d, ConvTranspose1d};
pub use embedding::Embedding;
pub use gru::Gru;
pub use linear::Linear;
pub use lstm::Lstm;
pub use norm::{BatchNorm, ConditionalBatchNorm, Norm, NormKind};
pub use recurrent::{CellKind, Recurrent};
pub use weight::{Weight, WeightInit, WeightStyle};

/// A weight in the compute precision.
fn cast(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    if weight.dtype() == dtype { Ok(weight.clone()) } else { Ok(weight.to_dtype(dtype)?) }
}
