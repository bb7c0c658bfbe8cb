//! The conditional variational autoencoder (Sohn et al. 2015). Encoder and decoder receive the label; the
//! prior is standard normal or depends on the label. With [`CompletionConfig`], the condition is a part of the
//! image instead, and the model completes it.
//!
//! ```
//! use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, SampleRequest};
//! use waxwork_cvae::{Cvae, CvaeConfig};
//!
//! let params = ParamSet::fresh(0, &Device::Cpu);
//! let cvae = Cvae::new(CvaeConfig::default(), ImageShape::new(1, 28, 28), 10, params)?;
//! let sevens = SampleRequest::of_classes(0, &[7; 16])?;
//! assert_eq!(cvae.sample(&sevens)?.dims(), [16, 1, 28, 28]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```

use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{
    Batch, Bound, Choices, Complete, Condition, ConditionSpec, Density, Drawing, Encode, Error,
    GenerativeModel, ParamGroup, ParamSet, Reconstruct, Result, SampleSpec, StepContext, Tensor, Trainable,
};
use waxwork_vae::Vae;

pub use waxwork_vae::{
    CompletionConfig, DECODER, ENCODER, GUESS, GivenPart, LatentConfig, Network, PRIOR, PriorConfig,
    VaeConfig as CvaeConfig,
};

/// The family's name.
const FAMILY: &str = "cvae";

/// The model of `config` for samples like `sample` with a condition, with its tensors from `params`. If latents
/// are codes, it is a [`waxwork_vae::CodeVae`], whose networks and prior receive the label.
///
/// # Errors
/// As [`Cvae::new`].
pub fn build(
    config: CvaeConfig,
    sample: impl Into<SampleSpec>,
    condition: impl Into<ConditionSpec>,
    params: ParamSet,
) -> Result<Box<dyn GenerativeModel>> {
    let sample = sample.into();
    let condition = given(&config, &sample, condition.into())?;
    waxwork_vae::build(FAMILY, config, sample, condition, params)
}

/// The condition of the model, which must not be None. For a model that completes images, it is a part of the
/// sample.
fn given(config: &CvaeConfig, sample: &SampleSpec, condition: ConditionSpec) -> Result<ConditionSpec> {
    match (config.completion, condition) {
        (Some(_), _) => Ok(ConditionSpec::Part { len: sample.len() }),
        (None, ConditionSpec::None) => Err(Error::NoClasses { family: FAMILY, unconditional: "vae" }),
        (None, condition) => Ok(condition),
    }
}

/// A conditional variational autoencoder: a [`Vae`] whose encoder and decoder receive the label, as
/// does the prior if the configuration says so. Its step is the VAE's, with every distribution
/// conditional on the label.
#[derive(Clone, Debug)]
pub struct Cvae(Vae);

impl Cvae {
    /// Builds the model of `config` for samples like `sample`, with its tensors from `params`. `condition` is
    /// what samples can be conditioned on: a number of classes, or any other [`ConditionSpec`]. A model that
    /// completes images ([`CvaeConfig::completion`]) does not need it.
    ///
    /// # Errors
    /// If the configuration is invalid, there is no condition, or a stored parameter set does not fit.
    pub fn new(
        config: CvaeConfig,
        sample: impl Into<SampleSpec>,
        condition: impl Into<ConditionSpec>,
        params: ParamSet,
    ) -> Result<Self> {
        let sample = sample.into();
        let condition = given(&config, &sample, condition.into())?;
        Ok(Self(Vae::conditional(FAMILY, config, sample, condition, params)?))
    }
}

impl Trainable for Cvae {
    fn params(&self) -> &ParamSet {
        self.0.params()
    }

    fn groups(&self) -> &[ParamGroup] {
        self.0.groups()
    }

    fn updates(&self) -> usize {
        self.0.updates()
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        self.0.step(batch, ctx)
    }
}

impl GenerativeModel for Cvae {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        self.0.generate(latents, condition, drawing)
    }

    fn latents(&self, noise: &Tensor, condition: &Condition) -> Result<Tensor> {
        self.0.latents(noise, condition)
    }

    fn direct_latents(&self) -> usize {
        self.0.direct_latents()
    }

    fn parts(&self) -> &'static [Part] {
        self.0.parts()
    }

    fn graph(&self, part: Part) -> Result<Graph> {
        self.0.graph(part)
    }

    fn encoder(&self) -> Option<&dyn Encode> {
        self.0.encoder()
    }

    fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        self.0.reconstructor()
    }

    fn completer(&self) -> Option<&dyn Complete> {
        self.0.completer()
    }

    fn bound(&self) -> Option<&dyn Bound> {
        self.0.bound()
    }

    fn density(&self) -> Option<&dyn Density> {
        self.0.density()
    }

    fn choices(&self) -> Option<&dyn Choices> {
        self.0.choices()
    }
}
