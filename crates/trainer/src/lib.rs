//! The training loop. It trains any [`Trainable`](waxwork_core::Trainable) on a split of a data set, and
//! leaves a run folder with metrics, samples, checkpoints and the final weights. It does not depend on any
//! model family.
//!
//! ```
//! use waxwork_trainer::{Length, TrainConfig};
//!
//! let config = TrainConfig { batch_size: 64, epochs: Some(2), ..TrainConfig::default() };
//! assert_eq!(config.length(50_000)?, Length { steps: 1562, steps_per_epoch: 781 });
//! # Ok::<(), waxwork_trainer::Error>(())
//! ```
//!
//! [`Training`] holds everything that a run needs, and [`Training::run`] is the loop.

pub mod checkpoint;
pub mod config;
pub mod contents;
pub mod error;
pub mod follow;
pub mod memory;
pub mod metrics;
pub mod observer;
pub mod progress;
pub mod run_folder;
pub mod run_info;
mod spikes;
pub mod stop;
pub mod tensorboard;
pub mod train;

pub use checkpoint::{Best, Checkpoint};
pub use config::{FinalWeights, Length, TrainConfig};
pub use contents::Contents;
pub use error::{Error, Result};
pub use follow::Following;
pub use observer::{Event, Observer};
pub use progress::{Display, Meter, Progress, Unit};
pub use run_folder::RunFolder;
pub use run_info::{Environment, RunInfo, Status};
pub use stop::Stop;
pub use tensorboard::TensorBoard;
pub use train::{Outcome, Training};
