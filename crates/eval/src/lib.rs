//! Evaluation: a model in, numbers out, each with its error and with what it means.

mod error;
pub mod judge;
pub mod likelihood;
pub mod neighbours;
pub mod samples;

pub use error::{Error, Result};
pub use judge::{Judge, JudgeInfo};
pub use likelihood::{Estimate, Likelihood, likelihood};
pub use neighbours::{Neighbour, nearest};
pub use samples::{Judged, judged};
