//! The ground that every Waxwork crate stands on: shapes, randomness, parameters, losses, layers, the optimiser,
//! CPU kernels, and the contract between a model and whatever trains, samples or evaluates it.

pub mod adversarial;
pub mod device;
pub mod dual;
pub mod error;
pub mod grid;
pub mod kernels;
pub mod latent;
pub mod layers;
pub mod likelihood;
pub mod loss;
pub mod model;
pub mod nets;
pub mod npy;
pub mod onnx;
pub mod optim;
pub mod params;
mod prefetch;
pub mod rng;
pub mod schedule;
pub mod step;
pub mod store;
pub mod variational;

pub use candle_core::{DType, Device, Tensor};
pub use error::{Error, Result};
pub use model::{Batch, GenerativeModel, ImageShape, LatentModel, ModelInfo, SampleRequest, Trainable};
pub use params::{ParamGroup, ParamSet, Precision};
pub use step::{Loss, StepContext, TrainingState};
