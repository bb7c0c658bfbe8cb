//! Generator and discriminator with their parameters.

use candle_core::Tensor;

use super::{DISCRIMINATOR, Discriminator, GENERATOR, GanConfig, Generator, to_unit};
use waxwork_core::Mode;
use waxwork_core::model::{self, ImageShape, ModelInfo};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{Error, ParamGroup, ParamSet, Result};

/// The two players of the game, with their parameters and what the model reports about itself.
#[derive(Clone, Debug)]
pub struct Players {
    /// What the model is.
    pub info: ModelInfo,
    /// Every tensor.
    pub params: ParamSet,
    /// [`GENERATOR`] and [`DISCRIMINATOR`].
    pub groups: Vec<ParamGroup>,
    /// From latents to images.
    pub generator: Generator,
    /// From images to logits.
    pub discriminator: Discriminator,
    /// The discriminator on untracked weights, for the generator's loss and for gradients in the image.
    pub frozen: Discriminator,
}

impl Players {
    /// The players of `config` for images of shape `image`, with their tensors from `params`; conditional if there are
    /// `classes`.
    ///
    /// # Errors
    /// If the configuration makes no sense, or a stored set does not fit it.
    pub fn new(
        family: &str,
        config: &GanConfig,
        image: ImageShape,
        classes: usize,
        mut params: ParamSet,
    ) -> Result<Self> {
        config.validate()?;
        let generator = Generator::new(params.root().enter(GENERATOR), config, image, classes)?;
        let discriminator = Discriminator::new(params.root().enter(DISCRIMINATOR), config, image, classes)?;
        let params = params.finish()?;
        let frozen = Discriminator::new(params.frozen().root().enter(DISCRIMINATOR), config, image, classes)?;
        let groups = [GENERATOR, DISCRIMINATOR].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let info = ModelInfo { family: family.into(), image, latent_dim: config.latent_dim, classes };
        Ok(Self { info, params, groups, generator, discriminator, frozen })
    }

    /// Latents `(N, latent_dim)`, and labels `(N)` where the model is conditional → images `(N, C, H, W)` in [0, 1].
    ///
    /// # Errors
    /// If the latents have another length, or labels are missing or outside of the classes.
    pub fn generate(&self, latents: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.info.latent_dim).into())?;
        let labels = self.info.one_hot(labels, &self.params)?;
        Ok(to_unit(&self.generator.forward(latents, labels.as_ref(), Mode::Eval)?)?.detach())
    }

    /// The parts that can be exported by themselves.
    pub const PARTS: [Part; 1] = [Part::Generator];

    /// [`Players::generate`] as a graph.
    ///
    /// # Errors
    /// [`Error::NoPart`] for any part but the generator.
    pub fn graph(&self, part: Part) -> Result<Graph> {
        let ModelInfo { image, latent_dim, classes, .. } = self.info;
        if part != Part::Generator {
            return Err(Error::NoPart { family: self.info.family.clone(), part, parts: &Self::PARTS });
        }
        let mut graph = Graph::new(part.name());
        let latents = graph.input("latents", &[latent_dim]);
        let labels = graph.labels(classes)?;
        let pixels = self.generator.export(graph.root().enter(GENERATOR), &latents, labels.as_ref())?;
        let images = graph.root().affine(&pixels, 0.5, 0.5)?;
        graph.output("images", &images, &[image.channels, image.height, image.width]);
        Ok(graph)
    }
}
