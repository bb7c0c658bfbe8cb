//! Samples in formats for people: images, plots, sounds and animations. This is the only crate of the workspace that
//! writes such formats; the data crate reads them.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//!
//! let images = Tensor::zeros((6, 1, 28, 28), DType::F32, &Device::Cpu)?; // six black images
//! let picture = waxwork_media::grid::grid(&images, 3)?;
//! assert_eq!((picture.width, picture.height), (92, 62));
//! std::fs::write(std::env::temp_dir().join("black.png"), picture.png()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod clips;
mod error;
pub mod grid;
pub mod preview;
pub mod scatter;
mod spectrograms;
pub mod wav;

pub use error::{Error, Result};
pub use preview::{Artifact, Sound, preview, preview_bytes, preview_count};
