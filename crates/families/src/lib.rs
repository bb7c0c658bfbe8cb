//! The configuration of a model of any family. To add a family, add its variant to [`ModelConfig`]. A program
//! that only samples needs this crate, a configuration and weights; recipes and run folders are in
//! `waxwork-models`.
//!
//! ```
//! use waxwork_core::{Device, ImageShape, ParamSet, SampleRequest};
//! use waxwork_families::ModelConfig;
//!
//! let config: ModelConfig = serde_json::from_str(r#"{ "family": "cvae", "latent_dim": 4 }"#)?;
//! let image = ImageShape { channels: 1, height: 28, width: 28 };
//! let model = config.build(image, 10, ParamSet::fresh(0, &Device::Cpu))?;
//! let sevens = SampleRequest::of_classes(0, &[7; 5])?;
//! assert_eq!(model.sample(&sevens)?.dims(), [5, 1, 28, 28]); // not trained: no sevens yet
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_cgan::{Cgan, CganConfig};
use waxwork_core::{ConditionSpec, GenerativeModel, ParamSet, Result, SampleSpec};
use waxwork_cvae::CvaeConfig;
use waxwork_gan::{Gan, GanConfig};
use waxwork_vae::{CompletionConfig, PriorConfig, VaeConfig};

/// A family and its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "family", rename_all = "lowercase")]
pub enum ModelConfig {
    /// Variational autoencoder.
    Vae(VaeConfig),
    /// Conditional variational autoencoder.
    Cvae(CvaeConfig),
    /// Generative adversarial network.
    Gan(GanConfig),
    /// Conditional generative adversarial network.
    Cgan(CganConfig),
}

impl ModelConfig {
    /// Builds the model of this configuration for samples like `sample`, with its tensors from `params`. A
    /// conditional family takes `condition`, such as a number of classes; other families ignore it. Apart
    /// from the keys below and the defaults that recipes for a user's own images get, no other place in the
    /// workspace depends on a model's family.
    ///
    /// # Errors
    /// If the configuration is invalid for such samples, or a stored set does not fit it.
    pub fn build(
        &self,
        sample: impl Into<SampleSpec>,
        condition: impl Into<ConditionSpec>,
        params: ParamSet,
    ) -> Result<Box<dyn GenerativeModel>> {
        Ok(match self {
            Self::Vae(config) => {
                waxwork_vae::build("vae", config.clone(), sample, ConditionSpec::None, params)?
            }
            Self::Cvae(config) => waxwork_cvae::build(config.clone(), sample, condition, params)?,
            Self::Gan(config) => Box::new(Gan::new(config.clone(), sample, params)?),
            Self::Cgan(config) => Box::new(Cgan::new(config.clone(), sample, condition, params)?),
        })
    }

    /// [`ModelConfig::build`], with tensors that track no gradient.
    ///
    /// # Errors
    /// As [`ModelConfig::build`].
    pub fn build_frozen(
        &self,
        sample: SampleSpec,
        condition: ConditionSpec,
        params: ParamSet,
    ) -> Result<Box<dyn GenerativeModel>> {
        let tracked = self.build(sample.clone(), condition.clone(), params)?;
        self.build(sample, condition, tracked.params().frozen())
    }

    /// The number of Gaussians of the prior, if it is fitted after training.
    pub fn mixture(&self) -> Option<usize> {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return None };
        match config.prior {
            PriorConfig::Mixture { components } => Some(components),
            PriorConfig::Standard
            | PriorConfig::Label
            | PriorConfig::Vamp { .. }
            | PriorConfig::Maf { .. }
            | PriorConfig::Autoregressive { .. } => None,
        }
    }

    /// Whether the latents form two groups, of which the second generates the first.
    pub fn has_two_groups(&self) -> bool {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return false };
        config.upper.is_some()
    }

    /// Whether training starts with the mean of the training samples as the model's output.
    pub fn starts_at_mean(&self) -> bool {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return false };
        config.start_at_mean
    }

    /// The settings of completion, if the model completes images.
    pub fn completion(&self) -> Option<CompletionConfig> {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return None };
        config.completion
    }

    /// Whether samples depend on the weights of the encoder, as those of a VampPrior do.
    pub fn samples_with_encoder(&self) -> bool {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return false };
        matches!(config.prior, PriorConfig::Vamp { .. })
    }

    /// The prior's configuration, for families that have one.
    pub fn prior_mut(&mut self) -> Option<&mut PriorConfig> {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return None };
        Some(&mut config.prior)
    }

    /// Checks that the prior is compatible with the other keys, for a model whose condition has `width`
    /// values.
    ///
    /// # Errors
    /// If it does not, as [`ModelConfig::build`].
    pub fn check_prior(&self, width: usize) -> Result<()> {
        let (Self::Vae(config) | Self::Cvae(config)) = self else { return Ok(()) };
        config.validate(width)
    }
}
