//! The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014) and its importance-weighted bound
//! (Burda et al. 2016).
//!
//! ```
//! use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, SampleRequest};
//! use waxwork_vae::{Vae, VaeConfig};
//!
//! let params = ParamSet::fresh(0, &Device::Cpu);
//! let vae = Vae::new(VaeConfig::default(), ImageShape::new(1, 28, 28), params)?;
//! let images = vae.sample(&SampleRequest::new(7, 16))?;
//! assert_eq!(images.dims(), [16, 1, 28, 28]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```

mod config;
mod model;
mod networks;

pub use config::{Network, VaeConfig};
pub use model::{DECODER, ENCODER, Vae};
