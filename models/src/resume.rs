//! Resuming runs: what prevents it, and the run as its newest checkpoint left it.

use std::path::Path;

use waxwork_data::Dataset;
use waxwork_trainer::run_info::{Resumption, Status};
use waxwork_trainer::{Environment, RunFolder, RunInfo};

use crate::{Error, Recipe, Result, TrainingRun};

/// A run that can be resumed.
#[derive(Debug)]
pub struct Resumable {
    /// Its folder, which is locked.
    pub folder: RunFolder,
    /// What ran, where and when.
    pub info: RunInfo,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its data set; None if the run is finished, so that nothing is left to train.
    pub data: Option<Dataset>,
}

impl Resumable {
    /// Opens and locks a run. `recipe` gives the recipe to resume it with, and `load` the data set of that
    /// recipe, which is loaded only if it is needed. If the weights of a finished run or their quantile maps
    /// are missing or damaged, the run is resumed to write them again, which is logged.
    ///
    /// # Errors
    /// [`Error::Failed`] if training had failed, [`Error::Changed`] if the recipe or the data differ from
    /// those at the start; if the folder is not a run or in use; the errors of `recipe` and `load`.
    pub fn open<E: From<Error>>(
        path: &Path,
        recipe: impl FnOnce(&RunFolder) -> Result<Recipe, E>,
        load: impl FnOnce(&Recipe) -> Result<Dataset, E>,
    ) -> Result<Self, E> {
        let (folder, info) = locked(path)?;
        let recipe = recipe(&folder)?;
        let mut differences = recipe_differences(&info, &recipe)?;
        if differences.is_empty() && info.status == Status::Finished {
            match folder.encoder_with_maps().and_then(|_| folder.load_model()) {
                Ok(Some(_)) => return Ok(Self { folder, info, recipe, data: None }),
                Ok(None) => tracing::warn!("`{}` is missing; writing it again", folder.model().display()),
                Err(error) => tracing::warn!("writing the model again: {error}"),
            }
        }
        let path = path.to_owned();
        if differences.is_empty() && info.status == Status::Failed {
            let failure = info.failure.unwrap_or_else(|| "training diverged".to_owned());
            return Err(Error::Failed { path, failure }.into());
        }
        // If the keys of the data set differ, they name the difference, and the data need not be available.
        if differences.iter().all(|difference| !difference.starts_with("data.")) {
            let data = load(&recipe)?;
            differences.extend(data_differences(&info, &data));
            if differences.is_empty() {
                return Ok(Self { folder, info, recipe, data: Some(data) });
            }
        }
        Err(Error::Changed { path, differences }.into())
    }
}

fn locked(path: &Path) -> Result<(RunFolder, RunInfo)> {
    let mut folder = RunFolder::open(path)?;
    folder.lock()?;
    let info = folder.info()?;
    Ok((folder, info))
}

/// The command that resumes a run, for run.json.
#[derive(Clone, Debug)]
pub struct Resumer {
    /// The command line.
    pub command: Vec<String>,
    /// Everything else that the bytes could depend on.
    pub environment: Environment,
    /// Seconds since 1970.
    pub started: u64,
}

/// Every difference between `recipe` and the recipe that a run was started with, in words that begin with the
/// key.
///
/// # Errors
/// If the run's own recipe cannot be read.
pub fn recipe_differences(info: &RunInfo, recipe: &Recipe) -> Result<Vec<String>> {
    if info.recipe.is_empty() {
        return Ok(Vec::new());
    }
    let rooted = |recipe: Recipe| Recipe { data: recipe.data.with_absolute_paths(), ..recipe };
    let started = rooted(Recipe::parse(&info.recipe, "run.json", &[])?);
    Ok(started.differences(&rooted(recipe.clone()))?.iter().map(ToString::to_string).collect())
}

/// Every difference between a data set and the one that a run was started with, in words.
pub fn data_differences(info: &RunInfo, data: &Dataset) -> Vec<String> {
    if data.info.identity == info.data_identity {
        let view = (data.info.view_hash() != info.view_hash()).then(|| {
            format!("networks would see the data set `{}` in a different form than before", info.data)
        });
        return view.into_iter().collect();
    }
    let found = data.sizes();
    let counts = info.data_images.iter().filter(|(part, count)| found.get(*part) != Some(count));
    let counts = counts.map(|(part, count)| {
        let found = found.get(part).map_or_else(|| "none".to_owned(), ToString::to_string);
        let (data, what) = (&info.data, data.info.kind.plural());
        format!("the data set `{data}` has {found} {part} {what}, but had {count}")
    });
    let identity = format!(
        "the contents of the data set `{}` changed: their identity is {}, but was {}",
        info.data, data.info.identity, info.data_identity
    );
    counts.chain([identity]).collect()
}

impl TrainingRun {
    /// Restores a run, whose folder is locked, from its newest intact checkpoint, and records the resume in
    /// run.json. A run that was killed before its first checkpoint starts again, with the same result.
    /// Skipped checkpoints are logged.
    ///
    /// # Errors
    /// If there are checkpoints but none is intact, or it does not fit the model.
    pub fn resume(&mut self, folder: &RunFolder, info: &mut RunInfo, resumer: Resumer) -> Result<()> {
        if !folder.checkpoints().steps()?.is_empty() {
            let (checkpoint, damaged) = folder.checkpoints().newest_with_log(&folder.metrics())?;
            damaged.iter().for_each(|reason| tracing::warn!("{reason}"));
            self.restore(checkpoint)?;
        }
        let Resumer { command, environment, started } = resumer;
        let other = environment.differences(&info.environment);
        if !other.is_empty() {
            tracing::warn!("bytes may differ from those of an uninterrupted run: {}", other.join(", "));
        }
        // Runs of older versions lack these fields.
        info.data_classes.clone_from(&self.data.info.classes);
        info.data_kind = Some(self.data.info.kind.clone());
        info.data_view = Some(self.data.info.view.clone());
        info.resumed.push(Resumption { step: self.state.steps_done(), started, command, environment });
        Ok(folder.write_info(info)?)
    }
}
