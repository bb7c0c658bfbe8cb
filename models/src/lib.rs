//! Recipes, and the only place that turns a recipe or a run folder into a model.
//!
//! A recipe is a TOML file next to this package's `Cargo.toml`: data, model, optimiser, training. Its table
//! `model` is a [`ModelConfig`]. Here only [`Recipe::steady`] depends on a model's family.
//!
//! ```
//! use waxwork_core::{Device, ParamSet, SampleRequest};
//! use waxwork_models::Recipe;
//!
//! let recipe = Recipe::named("cvae-digits", &["model.latent_dim=4".to_owned()])?;
//! let data = waxwork_data::load(&recipe.data)?;
//! let params = ParamSet::fresh(recipe.train.seed, &Device::Cpu);
//! let model = recipe.model.build(data.info.sample(), data.info.condition(), params)?;
//! let sevens = SampleRequest::of_classes(0, &[7; 5])?;
//! assert_eq!(model.sample(&sevens)?.dims(), [5, 1, 28, 28]); // not trained: no sevens yet
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`train`] makes a run folder from a recipe, [`evaluate`] measures it, and [`Run::open`] opens it; its
//! `model` samples, encodes and decodes.

mod calibration;
mod claims;
mod classes;
pub mod completion;
pub mod embedded;
mod error;
pub mod evaluation;
mod faults;
pub mod forecast;
pub mod import;
pub mod prior;
mod recipe;
pub mod resume;
pub mod rows;
mod run;
pub mod sampling;
pub mod schema;
pub mod sounds;
pub mod sweep;
pub mod texts;
pub mod training;
mod validation;

pub use classes::Classes;
pub use error::{Error, Result};
pub use evaluation::{EvaluationConfig, evaluate, evaluate_on};
pub use forecast::{Forecast, ForecastPart};
pub use recipe::{Difference, Recipe};
pub use run::{Run, Weights};
pub use training::{TrainingRun, train};
pub use waxwork_families::ModelConfig;
pub use waxwork_vae::GivenPart;
pub use waxwork_vae::PriorConfig;
