//! Recipes, and the one place that turns a recipe or a run folder into a model.
//!
//! A recipe is a TOML file beside this package's `Cargo.toml`: data, model, optimiser, training. To add a family, add
//! its variant to [`ModelConfig`]; nothing else in the workspace asks which family a model is of.

pub mod embedded;
mod error;
pub mod import;
mod recipe;
mod run;

pub use error::{Error, Result};
pub use recipe::{Difference, ModelConfig, Recipe};
pub use run::{Run, Weights};
