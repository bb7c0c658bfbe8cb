//! Data sets for Waxwork: files in the formats of MNIST and CIFAR-10, image folders, the Hub (feature `hub`),
//! and embedded generators that need no files at all.
//!
//! ```
//! use candle_core::Device;
//! use waxwork_data::{DataConfig, Loader, LoaderConfig, load};
//!
//! # fn main() -> Result<(), waxwork_data::Error> {
//! let data = load(&DataConfig::named("digits"))?;
//! let mut batches = Loader::new(&data.train, &LoaderConfig::new(128, 42), &Device::Cpu)?;
//! let batch = batches.next().expect("a loader has no end")?;
//! assert_eq!(batch.inputs.dims(), [128, 1, 28, 28]); // f32 in [0, 1]
//! # Ok(())
//! # }
//! ```
//!
//! Images are u8 at rest and f32 in [0, 1] in a [`Batch`](waxwork_core::Batch), channels first. A [`View`]
//! defines this conversion for each kind of sample. Batches use rayon's global pool; their contents do not
//! depend on its size.

mod asking;
pub mod cifar;
pub mod clips;
pub mod dataset;
pub mod embedded;
pub mod error;
mod exponential;
pub mod files;
pub mod folder;
#[cfg(feature = "hub")]
pub mod hub;
mod identity;
pub mod idx;
mod left_out;
pub mod load;
pub mod loader;
mod longer;
pub mod manifest;
pub mod memory;
pub mod mnist;
pub mod names;
mod natural;
mod noise;
pub mod notes;
mod packed;
#[cfg(feature = "parquet")]
#[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "only the Hub needs all of it"))]
pub mod parquet;
mod parts;
mod picture;
mod selection;
pub mod sound;
pub mod source;
mod splits;
pub mod stacked;
pub mod table;
pub mod text;
pub mod verify;
pub mod view;

pub use clips::ClipsConfig;
pub use dataset::{Dataset, DatasetInfo, Split};
pub use error::{Error, Result};
pub use folder::FolderConfig;
#[cfg(feature = "hub")]
pub use hub::{fetch, fetch_file};
pub use left_out::LeftOut;
pub use load::{
    DataConfig, FileKind, OracleConfig, PointsConfig, Progress, describe, load, load_with_progress,
};
pub use loader::{Batches, Loader, LoaderConfig};
pub use manifest::Manifest;
pub use noise::NoiseConfig;
pub use notes::Note;
pub use sound::SoundConfig;
pub use source::{Cached, Factor, InMemory, Source};
pub use text::{TextConfig, Vocabulary};
pub use verify::{FileReport, FileStatus, verify};
pub use view::View;
