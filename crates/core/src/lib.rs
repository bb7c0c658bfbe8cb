//! The base of every Waxwork crate: shapes, randomness, parameters, losses, the optimiser, and the contract
//! between a model and the code that trains, samples or evaluates it.
//!
//! A model has named tensors, lists the groups of them that are updated together, and can do a training step.
//! This one learns the mean image of its data:
//!
//! ```
//! use waxwork_core::optim::OptimizerConfig;
//! use waxwork_core::params::Init;
//! use waxwork_core::{
//!     Batch, Device, Loss, ParamGroup, ParamSet, Result, StepContext, Tensor, Trainable, TrainingState,
//! };
//!
//! struct MeanImage { params: ParamSet, groups: Vec<ParamGroup>, image: Tensor }
//!
//! impl MeanImage {
//!     fn new(mut params: ParamSet) -> Result<Self> {
//!         let image = params.root().weight("image", (1, 28, 28), Init::Constant(0.5))?;
//!         let params = params.finish()?;
//!         Ok(Self { groups: vec![params.group("all", "")], params, image })
//!     }
//! }
//!
//! impl Trainable for MeanImage {
//!     fn params(&self) -> &ParamSet { &self.params }
//!     fn groups(&self) -> &[ParamGroup] { &self.groups }
//!     fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
//!         let error = batch.inputs.broadcast_sub(&self.image)?.sqr()?.mean_all()?;
//!         ctx.update(&["all"], Loss::new("error", error))
//!     }
//! }
//!
//! let model = MeanImage::new(ParamSet::fresh(0, &Device::Cpu))?;
//! let mut state = TrainingState::new(&model, OptimizerConfig::default(), 0, 2)?;
//! let images = Tensor::zeros((4, 1, 28, 28), waxwork_core::DType::F32, &Device::Cpu)?; // all black
//! let batch = Batch::unlabelled(images, vec![0, 1, 2, 3]);
//! let errors = [state.step(&model, &batch)?, state.step(&model, &batch)?].map(|report| report.scalars[0].1);
//! assert!(errors[0] == 0.25 && errors[1] < 0.25);
//! # Ok::<(), waxwork_core::Error>(())
//! ```
//!
//! Conventions: samples are `(N, ..)` as a [`SampleSpec`] describes them. Images are `(N, C, H, W)`, f32, in
//! [0, 1] in every public interface and in [−1, 1] inside a GAN. Likelihoods and divergences are in nats.
//! Functions that take tensors return an error, and do not panic, if a shape or type is not the documented
//! one.

pub mod collective;
pub mod condition;
pub mod device;
pub mod error;
pub mod hash;
pub mod latent;
pub mod mode;
pub mod model;
pub mod npy;
pub mod onnx;
pub mod optim;
pub mod params;
mod prefetch;
pub mod profile;
pub mod rng;
pub mod sample;
mod scalar;
pub mod schedule;
pub mod sharing;
pub mod step;
pub mod store;
pub mod values;
pub mod walk;

pub(crate) use waxwork_kernels as kernels;

pub use candle_core::{DType, Device, Tensor};
pub use condition::{ColumnSpec, Condition, ConditionSpec};
pub use error::{Error, Result};
pub use latent::LatentLayout;
pub use mode::{Mode, StatisticsLog};
pub use model::{
    Bound, Choices, Complete, Density, Drawing, Encode, Exact, GenerativeModel, ModelInfo, Reconstruct,
    SampleRequest,
};
pub use params::{ParamGroup, ParamSet, Precision};
pub use profile::{Phase, Profile};
pub use sample::{ImageShape, Kind, SampleSpec};
pub use step::{Batch, Loss, StepContext, Trainable, TrainingState};
