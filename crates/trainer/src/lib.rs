//! The training loop: it takes any [`Trainable`](waxwork_core::Trainable) and a split of a data set, and leaves a run
//! folder with metrics, pictures, checkpoints and the finished weights. It knows no family.

pub mod checkpoint;
pub mod config;
pub mod contents;
pub mod error;
pub mod memory;
pub mod metrics;
pub mod observer;
pub mod progress;
pub mod run_folder;
pub mod stop;
pub mod tensorboard;
pub mod train;

pub use checkpoint::{Best, Checkpoint};
pub use config::{Length, TrainConfig};
pub use contents::Contents;
pub use error::{Error, Result};
pub use observer::{Event, Observer};
pub use progress::Progress;
pub use run_folder::{Environment, RunFolder, RunInfo};
pub use stop::Stop;
pub use tensorboard::TensorBoard;
pub use train::{Outcome, Training};
