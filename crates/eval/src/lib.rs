//! Evaluation: a model in, numbers out, each with its error and with what it means.

pub mod likelihood;
pub mod neighbours;

pub use likelihood::{Estimate, Likelihood, likelihood};
pub use neighbours::{Neighbour, nearest};
