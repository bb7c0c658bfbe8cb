//! Evaluation of models: metrics, each with its error and its meaning.
//!
//! Distances compare features from any source, one row per sample:
//!
//! ```
//! use waxwork_core::{Device, Tensor, rng::Stream};
//! use waxwork_eval::{Distances, Features};
//!
//! let draw = |seed| Stream::new(seed, "features", 0).normal(&(0..200).collect::<Vec<_>>(), 4, &Device::Cpu);
//! let real = Features::new("real", &draw(0)?)?; // (200, 4)
//! let alike = Features::new("generated", &draw(1)?)?;
//! let shifted = Features::new("generated", &(draw(1)? + 3.0)?)?;
//! let (near, far) = (Distances::between(&real, &alike)?, Distances::between(&real, &shifted)?);
//! assert!(near.frechet < 1.0 && far.frechet > 30.0); // ‖shift‖² = 36
//! assert!(near.precision > 0.5 && far.precision < 0.2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arrays;
pub mod bootstrap;
mod cache;
pub mod choosing;
pub mod clips;
pub mod codes;
pub mod coverage;
pub mod disentanglement;
pub mod distances;
pub mod drums;
mod error;
pub mod extractor;
pub mod features;
pub mod frechet;
pub mod inception;
pub mod judge;
pub mod judging;
pub mod kernel_distance;
pub mod latent_probes;
pub mod likelihood;
pub mod manifold;
pub mod mutual_information;
pub mod ndb;
pub mod neighbours;
pub mod proportion;
pub mod report;
pub mod resize;
pub mod samples;
pub mod stacked;
pub mod table;
pub mod text;

pub use arrays::ArrayError;
pub use choosing::{Chooser, Closeness};
pub use codes::{CodeUse, Codes, codes};
pub use coverage::{Coverage, Covered, coverage};
pub use disentanglement::Disentanglement;
pub use distances::Distances;
pub use error::{Error, Result};
pub use extractor::{
    Extractor, evaluation_batch, evaluation_batches, evaluation_places, features, features_of,
};
pub use features::Features;
pub use frechet::{Moments, frechet, frechet_distance, frechet_with_progress};
pub use inception::{Inception, InceptionScore, inception_score};
pub use judge::{Judge, JudgeInfo, classification_accuracy, second_opinions};
pub use judging::{Judging, NEIGHBOUR_BATCH};
pub use kernel_distance::{KernelDistance, kernel_distance, kernel_distance_with_progress};
pub use latent_probes::{LatentProbes, Probe};
pub use likelihood::{Estimate, Likelihood, likelihood};
pub use manifold::{Cover, cover, cover_with_progress};
pub use mutual_information::MutualInformation;
pub use ndb::{DifferentBins, different_bins};
pub use neighbours::{Neighbour, nearest, nearest_shifted};
pub use proportion::wilson;
pub use report::{Metric, Protocol, Report, differences};
pub use samples::{Judged, diversity, judged};
pub use stacked::StackedModes;
