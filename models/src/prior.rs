//! Priors that are fitted to a trained model.

use std::collections::BTreeMap;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::rng::Stream;
use waxwork_core::{Condition, ConditionSpec, Device, GenerativeModel, ModelInfo, ParamSet, Tensor};
use waxwork_data::table::encode::Encoder;
use waxwork_data::{Dataset, Split};
use waxwork_media::Artifact;
use waxwork_vae::{PriorConfig, aggregate, maf};

use crate::training::preview_of;
use crate::{Error, Recipe, Result, Run, calibration};

/// The key of the prior in a recipe.
const PRIOR: &str = "model.prior";

/// Samples that are encoded at most.
const MOST_SAMPLES: usize = 30_000;

/// A run's model with another prior.
pub struct FittedPrior {
    /// The run's recipe with the prior.
    pub recipe: Recipe,
    /// The run's model with the prior.
    pub model: Box<dyn GenerativeModel>,
    /// The run's encoder of table rows. If the run is calibrated, the quantile maps are fitted to this model.
    pub encoder_of_rows: Option<Encoder>,
    /// Samples, as files.
    pub preview: Vec<Artifact>,
}

/// Fits a mixture or a masked autoregressive flow to one draw from q(z | x) for each training sample, or for
/// 30,000 of them; if the model is conditional, one mixture per class, or a flow that depends on the class.
/// `progress` receives the activity, the number done and the total.
///
/// # Errors
/// [`Error::NoPrior`] for a family without one, for two groups of latents and for latents that are codes,
/// [`Error::PriorUnfit`] for a key of the run that does not go with such a prior, [`Error::NotImported`] if
/// there is no encoder; [`Error::Core`] if `fitted` is another prior, or its size is not possible.
pub fn fit_prior(
    run: &Run,
    data: &Dataset,
    fitted: PriorConfig,
    seed: u64,
    device: &Device,
    progress: &mut dyn FnMut(&'static str, usize, usize),
) -> Result<FittedPrior> {
    let mut recipe = run.recipe.clone();
    let info = run.model.info();
    if info.latent.code_count().is_some() {
        return Err(Error::NoPrior { family: format!("discrete {}", info.family) });
    }
    if recipe.model.has_two_groups() {
        return Err(Error::NoPrior { family: format!("two-level {}", info.family) });
    }
    let Some(prior) = recipe.model.prior_mut() else {
        return Err(Error::NoPrior { family: info.family.clone() });
    };
    *prior = fitted;
    if !matches!(info.condition, ConditionSpec::None | ConditionSpec::Classes { .. }) {
        let of = if info.condition.is_part() { "image-completing" } else { "column-conditional" };
        return Err(Error::NoPrior { family: format!("{of} {}", info.family) });
    }
    // Before the fit, which takes a while.
    recipe.model.check_prior(info.condition.width()).map_err(|error| match error {
        waxwork_core::Error::Config { key, .. } if key != PRIOR => Error::PriorUnfit { key },
        error => error.into(),
    })?;
    run.needed_encoder()?;
    recipe.results.clear();
    let shape = match fitted {
        PriorConfig::Mixture { components } => format!("{components} Gaussians"),
        PriorConfig::Maf { layers, hidden } => format!("a flow of {layers} layers with {hidden} units"),
        PriorConfig::Standard
        | PriorConfig::Label
        | PriorConfig::Vamp { .. }
        | PriorConfig::Autoregressive { .. } => return Err(unfit().into()),
    };
    recipe.description = format!("{}; prior fitted: {shape}", recipe.description);
    let fit = (fitted, seed);
    let model = with_prior(&recipe, run.model.as_ref(), &data.train, fit, device, progress)?;
    let mut encoder = run.encoder_of_rows.clone();
    if recipe.train.calibrate {
        let calibrate = |encoder| calibration::with_quantile_maps(encoder, model.as_ref(), data, seed);
        encoder = encoder.map(calibrate).transpose()?;
    }
    let preview = preview_of(model.as_ref(), &data.info, encoder.as_ref(), run.info.seed, &Condition::None)?;
    Ok(FittedPrior { recipe, model, encoder_of_rows: encoder, preview })
}

/// The model of `recipe` as training ended, with its prior fitted to the training data.
pub(crate) fn fitted(
    recipe: &Recipe,
    model: &dyn GenerativeModel,
    data: &Split,
    device: &Device,
) -> waxwork_trainer::Result<Box<dyn GenerativeModel>> {
    let components = recipe.model.mixture().unwrap_or(1);
    tracing::info!(components, "fitting the prior");
    let fit = (PriorConfig::Mixture { components }, recipe.train.seed);
    with_prior(recipe, model, data, fit, device, &mut |_, _, _| {})
}

/// The error for a prior that is not fitted to latents.
fn unfit() -> waxwork_core::Error {
    waxwork_core::Error::Config {
        key: PRIOR.into(),
        reason: "only mixture and maf priors can be fitted to latents".into(),
    }
}

/// Encodes `data` with `model`, and returns the model of `recipe` with the same networks and a prior that is
/// fitted with a seed.
fn with_prior(
    recipe: &Recipe,
    model: &dyn GenerativeModel,
    data: &Split,
    (prior, seed): (PriorConfig, u64),
    device: &Device,
    progress: &mut dyn FnMut(&'static str, usize, usize),
) -> waxwork_trainer::Result<Box<dyn GenerativeModel>> {
    let ModelInfo { sample, condition, .. } = model.info();
    let (latent_dim, groups) = (model.info().latent_dim(), model.info().classes().max(1));
    let data = data.subset(data.len().min(MOST_SAMPLES));
    let stream = Stream::new(seed, "prior/latent", 0);
    let mut latents = vec![Vec::new(); groups];
    let mut done = 0;
    let encoder = model.encoder().ok_or_else(|| waxwork_core::Error::Config {
        key: PRIOR.into(),
        reason: "a prior is fitted to latents, and this model has no encoder".into(),
    })?;
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
    let fitted = match prior {
        PriorConfig::Mixture { components } => {
            for (label, latents) in latents.iter().enumerate() {
                let rows = latents.len() / latent_dim;
                let fewer = aggregate::fitting(rows, latent_dim, components);
                if fewer < components {
                    let of = if groups > 1 { format!(" of class {label}") } else { String::new() };
                    tracing::warn!(
                        "{rows} training samples{of} are fitted with {fewer} of {components} Gaussians"
                    );
                }
            }
            aggregate::fit(&latents, latent_dim, components, seed, |group| {
                progress("fitting", group, groups);
            })?
        }
        PriorConfig::Maf { layers, hidden } => {
            let width = condition.width();
            maf::fit(&latents, (latent_dim, width), (layers, hidden), seed, |step, steps| {
                progress("fitting", step as usize, steps as usize);
            })?
        }
        PriorConfig::Standard
        | PriorConfig::Label
        | PriorConfig::Vamp { .. }
        | PriorConfig::Autoregressive { .. } => return Err(unfit().into()),
    };
    let own = model.params().tensors().into_iter();
    let mut tensors: BTreeMap<String, Tensor> =
        own.filter(|(name, _)| !aggregate::is_of_prior(name)).collect();
    tensors.extend(fitted);
    let stored = ParamSet::stored(tensors, device)?;
    Ok(recipe.model.build_frozen(sample.clone(), condition.clone(), stored)?)
}
