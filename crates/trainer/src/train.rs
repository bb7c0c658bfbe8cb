//! The training loop, from the first step to the last.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use waxwork_core::device::runs_on_cpu_kernels;
use waxwork_core::{Batch, Device, Phase, Profile, Tensor, Trainable, TrainingState, hash, store, values};
use waxwork_data::table::quantile_map::QuantileMaps;
use waxwork_data::{Loader, LoaderConfig, Split};
use waxwork_media::{Artifact, preview_bytes};

use crate::checkpoint::{Best, Checkpoints};
use crate::config::{FinalWeights, Length, TrainConfig};
use crate::follow::{compare_weights, stops};
use crate::memory;
use crate::metrics::{self, MetricsFile};
use crate::observer::{Event, Observer};
use crate::run_folder::{self, RunFolder};
use crate::run_info::Status;
use crate::spikes::Spikes;
use crate::stop::{Reason, Stop};
use crate::{Error, Result};

/// Measures the model on the validation split and returns metrics by name.
pub type Validate<'a> = dyn Fn() -> Result<BTreeMap<String, f64>> + 'a;
/// Makes the files that show the model's progress, always from the same latents.
pub type Preview<'a> = dyn Fn() -> Result<Vec<Artifact>> + 'a;

/// Completes the final weights of a run, such as by fitting a prior. The number is the step that they are of.
pub type Complete<'a> = dyn Fn(BTreeMap<String, Tensor>, u64) -> Result<Completed> + 'a;

/// The completed final weights of a run.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The weights.
    pub tensors: BTreeMap<String, Tensor>,
    /// The quantile maps that were fitted to a model with these weights, if any.
    pub quantile_maps: Option<QuantileMaps>,
}

/// One run: everything that the training loop needs.
pub struct Training<'a> {
    /// The model to train.
    pub model: &'a dyn Trainable,
    /// Optimiser and step; may come from a checkpoint.
    pub state: &'a mut TrainingState,
    /// Training samples.
    pub data: &'a Split,
    /// The device that batches are copied to.
    pub device: &'a Device,
    /// Intervals and sizes.
    pub config: &'a TrainConfig,
    /// The folder that everything is written to.
    pub folder: &'a RunFolder,
    /// The best validation result so far, for a resumed run.
    pub best: Option<Best>,
    /// Measures the validation split; the named metric (lower is better) chooses the best checkpoint.
    pub validate: Option<(&'a Validate<'a>, &'a str)>,
    /// Shows the model's progress in files.
    pub preview: Option<&'a Preview<'a>>,
    /// Completes the weights that training ends with, before they are written.
    pub complete: Option<&'a Complete<'a>>,
    /// When to stop before the end.
    pub stop: Stop,
    /// The observers of the run.
    pub observers: Vec<&'a mut dyn Observer>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Total number of steps done.
    pub steps: u64,
    /// Why it stopped before its end, if it did.
    pub stopped: Option<Reason>,
    /// The best validation result.
    pub best: Option<Best>,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
}

impl Training<'_> {
    /// Trains to the end, or until a stop is requested. Both end with a checkpoint.
    ///
    /// # Errors
    /// [`Error::Diverged`] names the term and the last good checkpoint; other errors name the file. run.json
    /// then has the reason, and the status [`Status::Failed`] for a run that diverged or
    /// [`Status::Interrupted`] for one that can be resumed.
    pub fn run(mut self) -> Result<Outcome> {
        let result = self.train();
        if let Err(error) = &result {
            self.record_failure(error);
        }
        self.tell(Event::Finished);
        result
    }

    /// Writes the reason for the run's end to run.json; if that fails, only warns.
    fn record_failure(&self, error: &Error) {
        let recorded = self.folder.info().and_then(|mut info| {
            let diverged = matches!(error, Error::Diverged { .. });
            info.status = if diverged { Status::Failed } else { Status::Interrupted };
            info.failure = Some(error.to_string());
            info.steps = self.state.steps_done();
            self.folder.write_info(&info)
        });
        if let Err(error) = recorded {
            tracing::warn!("failed to write the reason to the run folder: {error}");
        }
    }

    fn train(&mut self) -> Result<Outcome> {
        let length = self.config.length(self.data.len())?;
        let checkpoints = self.folder.checkpoints();
        // A resumed run has already written a part of it.
        let needed = space_needed(self.model, self.state, self.config, self.data)?;
        let needed = needed.saturating_sub(run_folder::bytes_in(self.folder.path())?);
        run_folder::check_space(self.folder.path(), needed)?;
        let start = self.state.steps_done();
        if start > length.steps {
            let reason = format!(
                "its newest checkpoint is at step {start}, but the run has only {} steps",
                length.steps
            );
            return Err(Error::Damaged { path: self.folder.path().to_owned(), reason });
        }
        let mut log = MetricsFile::open(&self.folder.metrics(), start)?;
        let mut spikes = Spikes::after(&self.folder.metrics(), self.config.log_every)?;
        let mut timing = MetricsFile::open(&self.folder.timing(), start)?;
        let mut loader = loader(self.config, self.state, self.data, self.device)?;
        let mut info = self.folder.info()?;
        info.status = Status::Running;
        info.failure = None;
        self.folder.write_info(&info)?;
        tracing::info!(done = start, steps = length.steps, samples = self.data.len(), "training");
        self.tell(Event::Started { done: start, total: length.steps, batch_size: self.config.batch_size });

        // After a killed process, the last line has the time that it spent.
        let spent = metrics::last(&self.folder.timing(), "seconds")?.unwrap_or(0.0);
        let (began, seconds_before) = (Instant::now(), info.seconds.max(spent));
        let mut newest = None;
        let mut stopped = None;
        let mut patient = !self.out_of_patience(start, length);
        for done in start + 1..=length.steps {
            stopped = stops(self.state, &self.stop, patient)?;
            if stopped.is_some() {
                break;
            }
            self.state.enter(Phase::Data)?;
            let no_more = || Error::NoMoreBatches { done: done - 1, steps: length.steps };
            let batch = loader.next().ok_or_else(no_more)??;
            let mut failed = None;
            let mut more = || further(&mut loader, &mut failed);
            let last = done == length.steps;
            let logged = done.is_multiple_of(self.config.log_every) || last;
            // Reading a loss waits for the device, so only logged losses are read.
            let report = if logged || runs_on_cpu_kernels(self.device) {
                self.state.step_with(self.model, &batch, &mut more)
            } else {
                self.state.step_unread_with(self.model, &batch, &mut more)
            };
            if let Some(error) = failed {
                return Err(error.into());
            }
            let report = report.map_err(|source| diverged(source, &checkpoints))?;
            let spike = spikes.at(done, &report.scalars);
            if logged || spike {
                spikes.log(done, self.config.log_every, &report.scalars);
                log.append(done, report.scalars.iter().map(|(name, value)| (name.as_str(), *value)))?;
                let seconds = began.elapsed().as_secs_f64();
                let rate = ((done - start) as usize * self.config.batch_size) as f64 / seconds.max(1e-9);
                let mut costs = vec![("seconds", seconds_before + seconds), ("images_per_second", rate)];
                costs.extend(memory::peak().map(|bytes| ("peak_memory_bytes", bytes as f64)));
                let profile = self.state.profile();
                let spent = profile.as_ref().map(Profile::spent).into_iter().flatten();
                costs.extend(spent.map(|(phase, time)| (phase.name(), time.as_secs_f64())));
                timing.append(done, costs.iter().copied())?;
                self.tell(Event::Logged { step: done, values: &report.scalars, costs: &costs });
            }
            self.tell(Event::Step(&report));
            let mut kept = false;
            if due(done, self.config.checkpoint_every, length.steps) || last {
                compare_weights(self.model, self.state)?;
            }
            if due(done, self.config.validate_every, length.steps_per_epoch) || last {
                kept = self.validate(done, &mut log)?;
                patient = !self.out_of_patience(done, length);
            }
            let last = last || !patient;
            if due(done, self.config.sample_every, length.steps) || last || kept {
                self.draw(done, &checkpoints)?;
            }
            if due(done, self.config.checkpoint_every, length.steps) || last {
                newest = Some(self.checkpoint(&checkpoints, &log)?);
            }
        }
        stopped = stopped.filter(|_| patient);
        if stopped.is_some() && self.state.steps_done() > start {
            newest = Some(self.checkpoint(&checkpoints, &log)?);
        }
        if stopped.is_none() {
            // A process that died right after its last checkpoint may have left one too many.
            checkpoints.prune(
                self.state.steps_done(),
                self.config.keep,
                self.best.as_ref().map(|best| best.step),
            )?;
            let (bytes, step) = match self.best_weights()? {
                Some((bytes, step)) => (bytes, Some(step)),
                None => (self.weights(&checkpoints)?, None),
            };
            let bytes = match self.complete {
                Some(complete) => {
                    let tensors = store::decode(&bytes, &self.folder.model(), &Device::Cpu)?;
                    let completed = complete(tensors, step.unwrap_or(self.state.steps_done()))?;
                    // Before the weights, so that they are never found without their maps.
                    info.quantiles_sha256 = match &completed.quantile_maps {
                        Some(maps) => {
                            let json = RunFolder::json_of_quantile_maps(maps)?;
                            store::write(&self.folder.quantiles(), &json)?;
                            Some(hash::sha256(&json))
                        }
                        None => {
                            // Weights of an earlier end of the run may have had maps.
                            remove_if_there(&self.folder.quantiles())?;
                            None
                        }
                    };
                    store::encode(&completed.tensors)?
                }
                None => bytes,
            };
            store::write(&self.folder.model(), &bytes)?;
            info.model_sha256 = Some(hash::sha256(&bytes));
            info.model_step = step.filter(|step| *step != self.state.steps_done());
            remove_if_there(&self.folder.best())?;
        }

        info.status = if stopped.is_some() { Status::Interrupted } else { Status::Finished };
        info.steps = self.state.steps_done();
        info.seconds = seconds_before + began.elapsed().as_secs_f64();
        self.folder.write_info(&info)?;
        tracing::info!(steps = info.steps, seconds = info.seconds, status = ?info.status, "training ended");
        self.state.enter(Phase::Other)?;
        Ok(Outcome { steps: info.steps, stopped, best: self.best.take(), checkpoint: newest })
    }

    /// The weights to use: the moving average if there is one.
    fn weights(&self, checkpoints: &Checkpoints) -> Result<Vec<u8>> {
        let tensors = self.state.ema_tensors().unwrap_or_else(|| self.model.params().tensors());
        values::check_all(&tensors).map_err(|source| diverged(source, checkpoints))?;
        Ok(store::encode(&tensors)?)
    }

    /// The best weights and their step, if the run is to end with them.
    fn best_weights(&self) -> Result<Option<(Vec<u8>, u64)>> {
        let Some(best) = self.best.as_ref().filter(|_| self.config.final_weights == FinalWeights::Best)
        else {
            return Ok(None);
        };
        let path = self.folder.best();
        if !path.is_file() {
            tracing::warn!("`{}` is missing: the run ends with its last weights", path.display());
            return Ok(None);
        }
        Ok(Some((store::read(&path)?, best.step)))
    }

    /// True if none of the last `patience` measurements was a new best.
    fn out_of_patience(&self, done: u64, length: Length) -> bool {
        let every = interval(self.config.validate_every, length.steps_per_epoch);
        let waited = |best: &Best| done.saturating_sub(best.step) / every >= self.config.patience;
        self.config.patience > 0 && self.best.as_ref().is_some_and(waited)
    }

    /// Measures the model. Returns true if its weights were kept as the best so far, for the run to end with.
    fn validate(&mut self, done: u64, log: &mut MetricsFile) -> Result<bool> {
        let Some((validate, chooses)) = self.validate else { return Ok(false) };
        let mut kept = false;
        let values = validate()?;
        log.append(done, values.iter().map(|(name, value)| (name.as_str(), *value)))?;
        if let Some(&value) = values.get(chooses)
            && self.best.as_ref().is_none_or(|best| value < best.value)
        {
            self.best = Some(Best { step: done, metric: chooses.to_owned(), value });
            if self.config.final_weights == FinalWeights::Best {
                let weights = self.weights(&self.folder.checkpoints())?;
                store::write(&self.folder.best(), &weights)?;
                kept = true;
            }
        }
        self.tell(Event::Validated { step: done, metrics: &values });
        Ok(kept)
    }

    fn draw(&mut self, done: u64, checkpoints: &Checkpoints) -> Result<()> {
        let Some(preview) = self.preview else { return Ok(()) };
        let folder = self.folder.samples();
        std::fs::create_dir_all(&folder).map_err(store::failed("create", &folder))?;
        let artifacts = preview().map_err(|error| match error {
            Error::Core(source) => diverged(source, checkpoints),
            other => other,
        })?;
        for artifact in &artifacts {
            store::write(&self.folder.sample(done, artifact.extension), &artifact.bytes)?;
        }
        self.tell(Event::Drawn { step: done, artifacts: &artifacts });
        Ok(())
    }

    fn checkpoint(&mut self, checkpoints: &Checkpoints, log: &MetricsFile) -> Result<PathBuf> {
        self.state.settle().map_err(|source| diverged(source, checkpoints))?;
        let metrics = log.sync()?;
        let path = checkpoints.save(self.model, self.state, self.best.as_ref(), &metrics);
        let path = path.map_err(|error| match error {
            Error::Core(source) => diverged(source, checkpoints),
            other => other,
        })?;
        let best = self.best.as_ref().map(|best| best.step);
        checkpoints.prune(self.state.steps_done(), self.config.keep, best)?;
        tracing::info!(step = self.state.steps_done(), path = %path.display(), "checkpoint written");
        self.tell(Event::Checkpoint(&path));
        Ok(path)
    }

    fn tell(&mut self, event: Event<'_>) {
        self.observers.iter_mut().for_each(|observer| observer.on(event));
    }
}

/// Estimated disk space of a run in bytes: all checkpoints that exist at once, the final model, sample grids
/// and logs.
///
/// # Errors
/// As [`TrainConfig::length`].
pub fn space_needed(
    model: &dyn Trainable,
    state: &TrainingState,
    config: &TrainConfig,
    data: &Split,
) -> Result<u64> {
    let steps = config.length(data.len())?.steps;
    let bytes = |tensors: &BTreeMap<String, Tensor>| -> u64 {
        tensors.values().map(|tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64).sum()
    };
    let params = bytes(&model.params().tensors());
    let checkpoint = params + bytes(&state.tensors());
    // The checkpoints kept, the best one, and the one being written. Saturate, because a recipe may ask for
    // more than 64 bits can count.
    let at_once = (config.keep as u64).saturating_add(2);
    let grids = steps.checked_div(config.sample_every).unwrap_or(0).saturating_add(1);
    let grid = preview_bytes(data.kind()) as u64;
    // The event file holds images and numbers a second time.
    let logs = grids.saturating_mul(grid).saturating_add((steps / config.log_every).saturating_mul(400));
    let tensors = model.params().iter().count() as u64;
    let histograms = steps.checked_div(config.histogram_every).unwrap_or(0).saturating_mul(1024 * tensors);
    let weights = if config.final_weights == FinalWeights::Best { 2 * params } else { params };
    let all = [checkpoint.saturating_mul(at_once), weights, logs.saturating_mul(2), histograms, 1 << 20];
    Ok(all.into_iter().fold(0, u64::saturating_add))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(store::failed("remove", path)(error).into()),
        _ => Ok(()),
    }
}

/// This process's part of the remaining batches.
pub(crate) fn loader(
    config: &TrainConfig,
    state: &TrainingState,
    data: &Split,
    device: &Device,
) -> Result<Loader> {
    let TrainConfig { batch_size, seed, flip, .. } = *config;
    let part = (state.collective().rank(), state.collective().size());
    let batches = LoaderConfig { batch_size, seed, first_batch: state.batches_taken(), flip, part };
    Ok(Loader::new(data, &batches, device)?)
}

/// Another batch for the same step; stores an error in `failed`.
pub(crate) fn further(loader: &mut Loader, failed: &mut Option<waxwork_data::Error>) -> Option<Batch> {
    match loader.next()? {
        Ok(batch) => Some(batch),
        Err(error) => {
            *failed = Some(error);
            None
        }
    }
}

/// The interval of an event in steps: `every`, or `otherwise` if that is 0.
fn interval(every: u64, otherwise: u64) -> u64 {
    if every == 0 { otherwise } else { every }
}

pub(crate) fn due(done: u64, every: u64, otherwise: u64) -> bool {
    done.is_multiple_of(interval(every, otherwise))
}

fn diverged(source: waxwork_core::Error, checkpoints: &Checkpoints) -> Error {
    if !matches!(source, waxwork_core::Error::NonFinite { .. } | waxwork_core::Error::Value { .. }) {
        return source.into();
    }
    let newest = checkpoints.newest().ok().map(|(checkpoint, _)| checkpoint.path);
    Error::Diverged { source, checkpoint: newest }
}
