//! The players of a game, by how the generator learns.

use super::{GanConfig, GeneratorNetwork, Players, Policy};
use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{
    Choices, Condition, ConditionSpec, Drawing, Error, Exact, ParamGroup, ParamSet, Result, SampleSpec,
    Tensor,
};

/// The two players, by how the generator learns.
#[derive(Clone, Debug)]
pub enum Game {
    /// Gradients pass from the discriminator to the generator.
    Gradients(Box<Players>),
    /// The discriminator rewards the samples of the generator.
    Rewards(Box<Policy>),
}

impl Game {
    /// The players of `config` for samples like `sample`, with their tensors from `params`. `condition` says on what
    /// they can be conditioned.
    ///
    /// # Errors
    /// If the configuration is invalid or does not fit the samples, or a stored set does not fit it.
    pub fn new(
        family: &str,
        config: &GanConfig,
        sample: SampleSpec,
        condition: ConditionSpec,
        params: ParamSet,
    ) -> Result<Self> {
        if matches!(config.generator, GeneratorNetwork::Autoregressive { .. }) {
            let policy = Policy::new(family, config, &sample, condition, params)?;
            return Ok(Self::Rewards(Box::new(policy)));
        }
        Ok(Self::Gradients(Box::new(Players::new(family, config, sample, condition, params)?)))
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        match self {
            Self::Gradients(players) => &players.info,
            Self::Rewards(policy) => &policy.info,
        }
    }

    /// Every tensor.
    pub fn params(&self) -> &ParamSet {
        match self {
            Self::Gradients(players) => &players.params,
            Self::Rewards(policy) => &policy.params,
        }
    }

    /// [`GENERATOR`](crate::GENERATOR) and [`DISCRIMINATOR`](crate::DISCRIMINATOR).
    pub fn groups(&self) -> &[ParamGroup] {
        match self {
            Self::Gradients(players) => &players.groups,
            Self::Rewards(policy) => &policy.groups,
        }
    }

    /// Latents, and a condition if the model takes one → samples `(N, ..)`.
    ///
    /// # Errors
    /// If the latents have another length, or the condition does not fit.
    pub fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        match self {
            Self::Gradients(players) => players.generate(latents, condition),
            Self::Rewards(policy) => policy.generate(latents, condition, drawing),
        }
    }

    /// The parts that can be exported separately.
    pub fn parts(&self) -> &'static [Part] {
        match self {
            Self::Gradients(_) => &Players::PARTS,
            Self::Rewards(_) => &[],
        }
    }

    /// [`Game::generate`] as a graph.
    ///
    /// # Errors
    /// [`Error::NoPart`] for a part that the model does not have.
    pub fn graph(&self, part: Part) -> Result<Graph> {
        match self {
            Self::Gradients(players) => players.graph(part),
            Self::Rewards(policy) => {
                Err(Error::NoPart { family: policy.info.family.clone(), part, parts: self.parts() })
            }
        }
    }

    /// The interface to log p(x), if the model can compute it.
    pub fn exact(&self) -> Option<&dyn Exact> {
        match self {
            Self::Gradients(_) => None,
            Self::Rewards(policy) => Some(policy.as_ref()),
        }
    }

    /// The interface to the logits of choices, if samples are rows.
    pub fn choices(&self) -> Option<&dyn Choices> {
        match self {
            Self::Gradients(players) => players.choices(),
            Self::Rewards(_) => None,
        }
    }
}
