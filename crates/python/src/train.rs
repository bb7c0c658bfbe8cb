//! Training and resuming runs. `waxwork.train` and `waxwork.resume` in Python document what the functions do.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pyo3::prelude::*;
use waxwork_cli::{environment, finish_run};
use waxwork_core::{Device, device};
use waxwork_data::manifest::MEMORY;
use waxwork_models::resume::{Resumable, Resumer};
use waxwork_models::{Recipe, TrainingRun};
use waxwork_trainer::{Event, Observer, RunFolder, RunInfo};

use crate::compute::{Watch, compute, count};
use crate::data::{self, Data, Source};
use crate::errors::{Class, Fault};
use crate::run::{Run, absolute};

/// A recipe: its name, its file or a run folder; or, if the flag is set, its keys as JSON.
#[derive(FromPyObject)]
pub(crate) struct Asked(String, bool);

/// The name of a recipe that is given by its keys.
const GIVEN: &str = "the given keys";

impl Asked {
    /// The recipe with `settings` applied. If it was made for other data than the user's own, it is adapted
    /// and loses its results, as with `waxwork train`.
    fn recipe(&self, settings: &[String]) -> Result<Recipe, Fault> {
        let mut recipe = self.plain(settings)?;
        // A recipe may be complete only with a setting.
        let original = self.plain(&[]).ok();
        recipe.steady_on_own_images(original.as_ref(), settings);
        match original {
            Some(original) => recipe.disclaim(&original, &self.name())?,
            None => recipe.results.clear(),
        }
        Ok(recipe)
    }

    fn name(&self) -> Cow<'_, str> {
        let stem = Path::new(&self.0).file_stem().filter(|_| !self.1);
        stem.map_or(GIVEN.into(), OsStr::to_string_lossy)
    }

    fn plain(&self, settings: &[String]) -> Result<Recipe, Fault> {
        let Self(text, is_json) = self;
        if !is_json {
            return Ok(Recipe::find(text, settings)?);
        }
        let wrong = |reason: String| Fault::new(Class::Recipe, format!("recipe `{GIVEN}`: {reason}"));
        let keys: toml::Table = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let text = toml::to_string(&keys).map_err(|error| wrong(error.to_string()))?;
        Ok(Recipe::parse(&text, GIVEN, settings)?)
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the function of Python that calls it names them")]
pub(crate) fn train(
    py: Python<'_>,
    recipe: Asked,
    settings: Vec<String>,
    data: Option<Bound<'_, Data>>,
    out: PathBuf,
    command: String,
    device: &str,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Run> {
    let source = data.map(|data| data.get().source());
    let workers = count(threads)?;
    compute(py, threads, progress.as_ref(), |watch| {
        let (out, device) = (absolute(out), device::open(device)?);
        let recipe = recipe.recipe(&settings)?;
        recipe.train.check()?;
        RunFolder::check_free(&out)?;
        let data = loaded(&recipe, source.as_ref(), watch)?;
        let mut run = TrainingRun::new(recipe, data, &device, None)?;
        let info = RunInfo { command: vec![command], ..run.info(environment(&device, workers))? };
        let folder = run.create_folder(&out, &info, None)?;
        go(&mut run, &folder, &device, watch)?;
        drop(folder);
        Run::opened(&out, device, source)
    })
}

#[pyfunction]
pub(crate) fn resume(
    py: Python<'_>,
    path: PathBuf,
    data: Option<Bound<'_, Data>>,
    command: String,
    device: &str,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Run> {
    let source = data.map(|data| data.get().source());
    let workers = count(threads)?;
    compute(py, threads, progress.as_ref(), |watch| {
        let (path, device) = (absolute(path), device::open(device)?);
        let recipe = |folder: &RunFolder| Ok(Recipe::of_run(folder, &[])?);
        let load = |recipe: &Recipe| loaded(recipe, source.as_ref(), watch);
        let Resumable { folder, mut info, recipe, data } = Resumable::open::<Fault>(&path, recipe, load)?;
        if let Some(data) = data {
            let mut run = TrainingRun::new(recipe, data, &device, folder.initial()?.as_ref())?;
            let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
            let environment = environment(&device, workers);
            run.resume(&folder, &mut info, Resumer { command: vec![command], environment, started })?;
            go(&mut run, &folder, &device, watch)?;
        }
        drop(folder);
        Run::opened(&path, device, source)
    })
}

fn loaded(recipe: &Recipe, source: Option<&Source>, watch: &Watch) -> Result<waxwork_data::Dataset, Fault> {
    if source.is_some() && recipe.data.name == MEMORY {
        data::check(&recipe.data)?;
    }
    let data = data::load(&recipe.data, source, None, &|done, total| {
        watch.progress("loading data", done, total);
    })?;
    let label = recipe.data.table.as_ref().and_then(|table| table.label.as_deref());
    match (label, &data.info.tables) {
        (Some(label), Some(tables)) => _ = tables.train.schema().position(label)?,
        (Some(_), None) => {
            let reason = format!("only tables have it, not `{}`", data.info.name);
            return Err(Fault::new(Class::Recipe, format!("invalid `data.table.label`: {reason}")));
        }
        (None, _) => {}
    }
    Ok(data)
}

/// Trains to the end, or until an interrupt. A finished run gets its page and its card.
fn go(run: &mut TrainingRun, folder: &RunFolder, device: &Device, watch: &Watch) -> Result<(), Fault> {
    let mut reporter = Reporter { watch, total: 0 };
    let outcome = run.train(folder, watch.stop(), vec![&mut reporter])?;
    if outcome.stopped.is_some() {
        // The caller raises what stopped it.
        return Err(Fault::stopped(format!("stopped after {} steps", outcome.steps)));
    }
    Ok(finish_run(folder, &run.data, &run.recipe, &outcome, device)?)
}

/// Reports steps, and the values that are logged.
struct Reporter<'a> {
    watch: &'a Watch,
    total: u64,
}

impl Observer for Reporter<'_> {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started { done, total, .. } => {
                self.total = total;
                self.watch.report("training", done, total, &[]);
            }
            Event::Step(report) => self.watch.report("training", report.step + 1, self.total, &[]),
            Event::Logged { step, values, .. } => self.watch.report("training", step, self.total, values),
            _ => {}
        }
    }
}
