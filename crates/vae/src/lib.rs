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
mod likelihood;
mod networks;
mod objective;

use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{
    Batch, GenerativeModel, ImageShape, LatentModel, ParamGroup, ParamSet, Result, StepContext, Tensor,
    Trainable,
};

pub use config::{Network, Prior, VaeConfig};
pub use likelihood::{Binarisation, Likelihood, LikelihoodConfig};
pub use objective::{DECODER, ENCODER, Variational};

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct Vae(Variational);

impl Vae {
    /// The model of `config` for images of shape `image`, with its tensors from `params`.
    ///
    /// # Errors
    /// If the configuration makes no sense, or a stored set does not fit it.
    pub fn new(config: VaeConfig, image: ImageShape, params: ParamSet) -> Result<Self> {
        Ok(Self(Variational::new("vae", config, image, 0, params)?))
    }
}

impl Trainable for Vae {
    fn params(&self) -> &ParamSet {
        self.0.params()
    }

    fn groups(&self) -> &[ParamGroup] {
        self.0.groups()
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let loss = self.0.objective(batch, ctx)?;
        ctx.update(&[ENCODER, DECODER], loss)
    }
}

impl GenerativeModel for Vae {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn generate(&self, latents: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        self.0.generate(latents, None)
    }

    fn parts(&self) -> &'static [Part] {
        self.0.parts()
    }

    fn graph(&self, part: Part) -> Result<Graph> {
        self.0.graph(part)
    }

    fn latent(&self) -> Option<&dyn LatentModel> {
        Some(&self.0)
    }
}
