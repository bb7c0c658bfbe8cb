//! The ground that every Waxwork crate stands on: shapes, randomness, parameters, losses, layers, the optimiser,
//! CPU kernels, and the contract between a model and whatever trains, samples or evaluates it.

pub mod error;
pub mod model;
pub mod rng;

pub use candle_core::{DType, Device, Tensor};
pub use error::{Error, Result};
