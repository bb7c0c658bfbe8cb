//! The parts of a VAE as ONNX graphs.

use waxwork_core::model::{GenerativeModel, ModelInfo};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::{ConditionSpec, Error, Result};

use crate::{DECODER, ENCODER, Vae};

/// The decoder with the mean of its observation model, or one step of a decoder of tokens; the encoder; or the map
/// from noise to latents. In a model that completes images, only the last has a condition: the given values (0
/// where a value is missing), followed by 1 for every given value and 0 for the others.
///
/// # Errors
/// [`Error::NoPart`] for a part that the model does not have.
pub(crate) fn graph(vae: &Vae, part: Part) -> Result<Graph> {
    let no_part = || Error::NoPart { family: vae.info.family.clone(), part, parts: vae.parts() };
    let ModelInfo { sample, latent, condition, .. } = &vae.info;
    let latent_dim = latent.len();
    let seen = if vae.generation.completion.is_some() { &ConditionSpec::None } else { condition };
    let mut graph = Graph::new(part.name());
    match part {
        Part::Decoder => {
            let latents = graph.input("latents", &[latent_dim]);
            let labels = graph.condition(seen)?;
            let latents = match vae.upper {
                Some(_) => graph.root().columns(&latents, 0, vae.config.latent_dim),
                None => latents,
            };
            vae.generation.observation.export(&mut graph, &latents, labels.as_ref())?;
        }
        Part::Encoder => {
            let images = graph.input(sample.name(), sample.dims());
            let labels = graph.condition(seen)?;
            let (mut mean, mut log_var) =
                vae.encoder.export(graph.root().enter(ENCODER), &images, labels.as_ref())?;
            if let Some(upper) = &vae.upper {
                let mut root = graph.root();
                let mut scope = root.enter(ENCODER);
                let (means, log_vars) = upper.export(scope.enter("upper"), &mean)?;
                mean = scope.beside(&mean, Some(&means));
                log_var = scope.beside(&log_var, Some(&log_vars));
            }
            graph.output("mean", &mean, &[latent_dim]);
            graph.output("log_var", &log_var, &[latent_dim]);
        }
        Part::Prior => {
            let noise = graph.input("noise", &[latent_dim]);
            let labels = match (&vae.generation.completion, graph.condition(condition)?) {
                (Some(completion), Some(encoded)) => Some(completion.export(graph.root(), &encoded)?),
                (_, labels) => labels,
            };
            let mut root = graph.root();
            let mut decoder = root.enter(DECODER);
            let latents = vae.generation.prior.export(decoder.enter("prior"), &noise, labels.as_ref())?;
            graph.output("latents", &latents.ok_or_else(no_part)?, &[latent_dim]);
        }
        Part::Generator => return Err(no_part()),
    }
    Ok(graph)
}
