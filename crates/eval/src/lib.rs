//! Evaluation: a model in, numbers out, each with its error and with what it means.

pub mod bootstrap;
pub mod codes;
pub mod distances;
mod error;
pub mod exposure;
pub mod extractor;
pub mod features;
pub mod frechet;
pub mod inception;
pub mod judge;
pub mod kernel_distance;
pub mod likelihood;
pub mod manifold;
pub mod neighbours;
pub mod proportion;
pub mod report;
pub mod resize;
pub mod samples;

pub use codes::{Codes, codes};
pub use distances::Distances;
pub use error::{Error, Result};
pub use exposure::{Exposure, Probe};
pub use extractor::{Extractor, features, features_of};
pub use features::Features;
pub use frechet::{Moments, frechet, frechet_distance};
pub use inception::{Inception, InceptionScore, inception_score};
pub use judge::{Judge, JudgeInfo, classification_accuracy};
pub use kernel_distance::{KernelDistance, kernel_distance};
pub use likelihood::{Estimate, Likelihood, likelihood};
pub use manifold::{Cover, cover};
pub use neighbours::{Neighbour, nearest};
pub use proportion::wilson;
pub use report::{Metric, Protocol, Report, differences};
pub use samples::{Judged, diversity, judged};
