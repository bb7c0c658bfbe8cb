//! An opened run folder, with a model that can sample.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::model::ModelInfo;
use waxwork_core::onnx::Part;
use waxwork_core::{
    Bound, Complete, Density, Device, Encode, Exact, GenerativeModel, ParamSet, Reconstruct, Tensor,
};
use waxwork_data::DataConfig;
use waxwork_data::table::Tables;
use waxwork_data::table::encode::Encoder;
use waxwork_trainer::{Checkpoint, RunFolder, RunInfo};

use crate::{Error, Recipe, Result};

/// A run with its model.
pub struct Run {
    /// Its folder.
    pub folder: RunFolder,
    /// The recipe that it was made from.
    pub recipe: Recipe,
    /// What ran, where and when.
    pub info: RunInfo,
    /// The trained model; its tensors track no gradient.
    pub model: Box<dyn GenerativeModel>,
    /// The source of its weights.
    pub weights: Weights,
    /// The encoder between table rows and vectors, with the quantile maps of the weights if they have any;
    /// None if the run was not trained on a table.
    pub encoder_of_rows: Option<Encoder>,
}

/// The source of a run's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// model.safetensors of a finished run.
    Finished,
    /// The newest intact checkpoint of a run that is not finished.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Newer checkpoints that were skipped, and why.
        damaged: Vec<String>,
    },
}

impl Run {
    /// Opens a run folder and loads its model: the final weights if the run is finished, else its newest
    /// intact checkpoint.
    ///
    /// # Errors
    /// If the folder is not a run, has no weights yet, or the weights do not fit the recipe.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::with_weights(path, device, load_weights)
    }

    /// Opens a run with the weights of the newest intact checkpoint as training left them, not their moving
    /// average.
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

    /// The encoder, if the model has one and it was imported with the rest.
    pub fn encoder(&self) -> Option<&dyn Encode> {
        self.model.encoder().filter(|_| self.is_whole())
    }

    /// The encoder, or an error if there is none.
    ///
    /// # Errors
    /// [`Error::NoEncoder`], or [`Error::NotImported`] if the import left it out.
    pub fn needed_encoder(&self) -> Result<&dyn Encode> {
        self.encoder().ok_or_else(|| self.without_encoder())
    }

    /// The reconstructor, or an error if there is none.
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

    /// Exports a part of the model as an ONNX file, and says which part it is. The default is the part that
    /// makes samples.
    ///
    /// # Errors
    /// [`Error::NothingToExport`], [`Error::NotImported`], or the model's error if it has no such part.
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

    /// The reconstructor, if the model has one and all of its parts were imported.
    pub fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        self.model.reconstructor().filter(|_| self.is_whole())
    }

    /// The interface that chooses given parts, or an error if the model does not complete samples.
    ///
    /// # Errors
    /// [`Error::NoCompletion`].
    pub fn needed_completer(&self) -> Result<&dyn Complete> {
        let family = || self.info.model.family.clone();
        self.model.completer().ok_or_else(|| Error::NoCompletion { family: family() })
    }

    /// The encoder that decodes generated rows: the run's own, or that of its data if the run has none.
    pub fn encoder_for<'a>(&'a self, tables: &'a Tables) -> &'a Encoder {
        self.encoder_of_rows.as_ref().unwrap_or(&tables.encoder)
    }

    /// The evidence lower bound, if the model has one and all of its parts were imported.
    pub fn bound(&self) -> Option<&dyn Bound> {
        self.model.bound().filter(|_| self.is_whole())
    }

    /// The interface for the exact log p(x), if the model can compute it and all of its parts were
    /// imported.
    pub fn exact(&self) -> Option<&dyn Exact> {
        self.model.exact().filter(|_| self.is_whole())
    }

    /// The estimator of log p(x), if the model has one and all of its parts were imported.
    pub fn density(&self) -> Option<&dyn Density> {
        self.model.density().filter(|_| self.is_whole())
    }

    /// All of the data set, from `dir` or else from where the run found it. None if the run already saw all
    /// of it, without added noise.
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
        let model = recipe.model.build_frozen(sample.clone(), condition.clone(), stored).map_err(fit)?;
        let encoder_of_rows = match weights {
            Weights::Finished => folder.encoder_with_maps()?,
            Weights::Checkpoint { .. } => folder.encoder()?,
        };
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
