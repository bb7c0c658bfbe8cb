//! A run folder as a model that samples.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::model::ModelInfo;
use waxwork_core::{Device, GenerativeModel, LatentModel, ParamSet, Tensor};
use waxwork_trainer::{Checkpoint, RunFolder, RunInfo};

use crate::{Error, Recipe, Result};

/// A run with its model.
pub struct Run {
    /// Where it is.
    pub folder: RunFolder,
    /// What it was made of.
    pub recipe: Recipe,
    /// What ran, where and when.
    pub info: RunInfo,
    /// The trained model; its tensors track no gradient.
    pub model: Box<dyn GenerativeModel>,
    /// Where its weights came from.
    pub weights: Weights,
}

/// Where a run's weights came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// model.safetensors of a finished run.
    Finished,
    /// The newest whole checkpoint of a run that is not finished.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Newer checkpoints that were passed over, and why.
        damaged: Vec<String>,
    },
}

impl Run {
    /// Opens a run folder and loads its model: the result if the run is finished, else its newest whole checkpoint.
    ///
    /// # Errors
    /// If the folder is no run, has no weights yet, or the weights do not fit the recipe.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::with_weights(path, device, load_weights)
    }

    /// The same with the weights of the newest whole checkpoint as training left them, not their moving average.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn open_raw(path: &Path, device: &Device) -> Result<Self> {
        Self::with_weights(path, device, |folder| {
            let (checkpoint, damaged) = newest_checkpoint(folder)?;
            let weights = Weights::Checkpoint { step: checkpoint.counters.step, damaged };
            Ok((checkpoint.into_params(), weights))
        })
    }

    /// Access by latent vectors, where the model has an encoder and that was imported with it.
    pub fn latent(&self) -> Option<&dyn LatentModel> {
        self.model.latent().filter(|_| self.info.untrained.is_empty())
    }

    fn with_weights(
        path: &Path,
        device: &Device,
        load: impl FnOnce(&RunFolder) -> Result<(BTreeMap<String, Tensor>, Weights)>,
    ) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        let recipe = Recipe::of_run(&folder, &[])?;
        let info = folder.info()?;
        let (tensors, weights) = load(&folder)?;
        let stored = ParamSet::stored(tensors, device);
        let stored = stored.map_err(|source| Error::Values { path: path.to_owned(), source })?;
        let fit = |source| Error::Weights { path: path.to_owned(), source };
        let ModelInfo { image, classes, .. } = info.model;
        let tracked = recipe.model.build(image, classes, stored).map_err(fit)?;
        let model = recipe.model.build(image, classes, tracked.params().frozen()).map_err(fit)?;
        Ok(Self { folder, recipe, info, model, weights })
    }
}

fn load_weights(folder: &RunFolder) -> Result<(BTreeMap<String, Tensor>, Weights)> {
    if let Some(tensors) = folder.load_model()? {
        return Ok((tensors, Weights::Finished));
    }
    let (checkpoint, damaged) = newest_checkpoint(folder)?;
    let step = checkpoint.counters.step;
    Ok((checkpoint.into_sampling_weights(), Weights::Checkpoint { step, damaged }))
}

fn newest_checkpoint(folder: &RunFolder) -> Result<(Checkpoint, Vec<String>)> {
    let newest = folder.checkpoints().newest();
    newest.map_err(|error| Error::NoWeights { path: folder.path().to_owned(), reason: error.to_string() })
}
