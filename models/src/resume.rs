//! Resuming runs: what prevents it, and the run as its newest checkpoint left it.

use waxwork_data::Dataset;
use waxwork_trainer::run_info::Resumption;
use waxwork_trainer::{Environment, RunFolder, RunInfo};

use crate::{Recipe, Result, TrainingRun};

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
    let started = Recipe::parse(&info.recipe, "run.json", &[])?;
    Ok(started.differences(recipe)?.iter().map(ToString::to_string).collect())
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
