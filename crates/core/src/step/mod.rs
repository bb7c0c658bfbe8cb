//! One training step: what a model's own `step` sees, and [`StepContext::update`], the only way to update
//! weights.

mod context;
mod loss;
mod loss_scale;
mod meeting;
mod state;
mod trainable;

#[cfg(test)]
mod tests;

pub use context::StepContext;
pub use loss::Loss;
pub use loss_scale::LossScale;
pub use state::{Counters, StepReport, TrainingState};
pub use trainable::{Batch, Stage, Trainable};
