//! A run folder as a model that samples.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::Part;
use waxwork_core::{Bound, Density, Device, Encode, GenerativeModel, ParamSet, Reconstruct, Tensor};
use waxwork_data::DataConfig;
use waxwork_data::table::encode::Encoder;
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
    /// What makes rows of what the model makes; None if it has not learned from a table.
    pub encoder_of_rows: Option<Encoder>,
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

    /// The encoder, where the model has one and it was imported with the rest.
    pub fn encoder(&self) -> Option<&dyn Encode> {
        self.model.encoder().filter(|_| self.is_whole())
    }

    /// The encoder.
    ///
    /// # Errors
    /// [`Error::NoEncoder`], or [`Error::NotImported`] if it was left out of what was imported.
    pub fn needed_encoder(&self) -> Result<&dyn Encode> {
        self.encoder().ok_or_else(|| self.without_encoder())
    }

    /// What makes samples again.
    ///
    /// # Errors
    /// As [`Run::needed_encoder`].
    pub fn needed_reconstructor(&self) -> Result<&dyn Reconstruct> {
        self.reconstructor().ok_or_else(|| self.without_encoder())
    }

    fn without_encoder(&self) -> Error {
        match self.info.untrained.as_slice() {
            [] => Error::NoEncoder { family: self.info.model.family.clone() },
            parts => Error::NotImported { parts: parts.join(" and ") },
        }
    }

    /// A part of the model as the bytes of an ONNX file, and which it is: by default the one that makes samples.
    ///
    /// # Errors
    /// [`Error::NothingToExport`], [`Error::NotImported`], or that the model has no such part.
    pub fn onnx(&self, part: Option<Part>) -> Result<(Part, Vec<u8>)> {
        let family = || self.info.model.family.clone();
        let first =
            || self.model.parts().first().copied().ok_or_else(|| Error::NothingToExport { family: family() });
        let part = part.map_or_else(first, Ok)?;
        if self.info.untrained.iter().any(|untrained| untrained == part.name()) {
            return Err(Error::NotImported { parts: part.name().to_owned() });
        }
        Ok((part, self.model.graph(part)?.encode()?))
    }

    /// What makes a sample again, where the model can and all that takes was imported.
    pub fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        self.model.reconstructor().filter(|_| self.is_whole())
    }

    /// The evidence lower bound, where the model has one and all that takes was imported.
    pub fn bound(&self) -> Option<&dyn Bound> {
        self.model.bound().filter(|_| self.is_whole())
    }

    /// log p(x), where the model can estimate it and all that takes was imported.
    pub fn density(&self) -> Option<&dyn Density> {
        self.model.density().filter(|_| self.is_whole())
    }

    /// All of the data set, from `dir` or else from where the run found it, if the run saw only a part of it, or saw it with noise.
    pub fn whole_data(&self, dir: Option<&Path>) -> Option<DataConfig> {
        let mut config = self.recipe.data.clone();
        config.dir = dir.map(Path::to_owned).or(config.dir);
        let cut = config.limit.take().is_some() | config.validation.take().is_some();
        let changed = cut | config.noise.take().is_some() | config.leave_out.take().is_some();
        changed.then_some(config)
    }

    fn is_whole(&self) -> bool {
        self.info.untrained.is_empty()
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
        let ModelInfo { sample, condition, .. } = &info.model;
        let build = |params| recipe.model.build(sample.clone(), condition.clone(), params).map_err(fit);
        let tracked = build(stored)?;
        let model = build(tracked.params().frozen())?;
        let encoder_of_rows = folder.encoder()?;
        Ok(Self { folder, recipe, info, model, weights, encoder_of_rows })
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
