//! Priors that are fitted to a finished run.

use std::collections::BTreeMap;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::rng::Stream;
use waxwork_core::{ConditionSpec, Device, GenerativeModel, ParamSet, Tensor};
use waxwork_data::Split;
use waxwork_vae::{PriorConfig, aggregate};

use crate::{Error, Recipe, Result, Run};

/// Samples that are encoded at most.
const MOST_SAMPLES: usize = 30_000;

/// A run's model with a prior of its own.
pub struct FittedPrior {
    /// The run's recipe with the prior.
    pub recipe: Recipe,
    /// The run's model with the prior.
    pub model: Box<dyn GenerativeModel>,
    /// The number of samples that it was fitted to.
    pub samples: usize,
}

/// Fits a mixture of `components` Gaussians to one draw from q(z | x) per sample of `data`, and to at most
/// 30,000 of them; one mixture per class if the model is conditional. `progress` gets what is being done, the
/// number done and the number of all.
///
/// # Errors
/// [`Error::NoPrior`] for a family without one, [`Error::NoEncoder`] and [`Error::NotImported`];
/// [`Error::Core`] if there are too few samples.
pub fn fit_prior(
    run: &Run,
    data: &Split,
    components: usize,
    seed: u64,
    device: &Device,
    progress: &mut dyn FnMut(&'static str, usize, usize),
) -> Result<FittedPrior> {
    let mut recipe = run.recipe.clone();
    let info = run.model.info();
    let Some(prior) = recipe.model.prior_mut() else {
        return Err(Error::NoPrior { family: info.family.clone() });
    };
    *prior = PriorConfig::Mixture { components };
    prior.validate(info.condition.width())?;
    let encoder = run.needed_encoder()?;
    let (latent_dim, groups) = (info.latent_dim(), info.classes().max(1));
    if !matches!(info.condition, ConditionSpec::None | ConditionSpec::Classes { .. }) {
        return Err(Error::NoPrior { family: format!("{} of columns", info.family) });
    }

    let data = data.subset(data.len().min(MOST_SAMPLES));
    let stream = Stream::new(seed, "prior/latent", 0);
    let mut latents = vec![Vec::new(); groups];
    let mut done = 0;
    for batch in data.batches(EVALUATION_BATCH, device)? {
        let batch = batch?;
        let posterior = encoder.encode(&batch.inputs, &batch.condition)?;
        let noise = stream.normal(&batch.indices, latent_dim, device)?;
        for (row, z) in aggregate::draws(posterior, &noise)?.iter().enumerate() {
            let label = if groups > 1 { data.label(done + row).unwrap_or_default() as usize } else { 0 };
            latents[label.min(groups - 1)].extend(z);
        }
        done += batch.len();
        progress("encoding", done, data.len());
    }

    let fitted = aggregate::fit(&latents, latent_dim, components, seed, |group| {
        progress("fitting", group, groups);
    })?;
    let own = run.model.params().tensors().into_iter();
    let mut tensors: BTreeMap<String, Tensor> =
        own.filter(|(name, _)| !name.starts_with(aggregate::PREFIX)).collect();
    tensors.extend(fitted);
    let params = ParamSet::stored(tensors, device)?;
    let model = recipe.model.build(info.sample.clone(), info.condition.clone(), params)?;
    let params = model.params().frozen();
    let model = recipe.model.build(info.sample.clone(), info.condition.clone(), params)?;
    recipe.results.clear();
    recipe.description = format!("{}; prior fitted: {components} Gaussians", recipe.description);
    Ok(FittedPrior { recipe, model, samples: data.len() })
}
