//! A training run in memory: a recipe's data, model, optimiser and moving average, and the call that trains
//! it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use waxwork_core::collective::Collective;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{
    Condition, Device, GenerativeModel, Kind, ParamSet, Precision, SampleRequest, Tensor, TrainingState,
    store, values,
};
use waxwork_data::table::encode::Encoder;
use waxwork_data::text::one_line;
use waxwork_data::{Dataset, DatasetInfo, LoaderConfig, Split};
use waxwork_media::{Artifact, preview, preview_count};
use waxwork_trainer::{
    Best, Checkpoint, Environment, Following, Observer, Outcome, RunFolder, RunInfo, Stop, TensorBoard,
    TrainConfig, Training, follow, run_folder, train,
};

use waxwork_vae::aggregate::is_of_prior;
use waxwork_vae::start;

use crate::validation::Validation;
use crate::{Error, Recipe, Result, calibration, prior};

/// A training run in memory.
pub struct TrainingRun {
    /// The recipe that it is made from.
    pub recipe: Recipe,
    /// The data that it is trained on.
    pub data: Dataset,
    /// The model that is trained.
    pub model: Box<dyn GenerativeModel>,
    /// Optimiser, moving average and step.
    pub state: TrainingState,
    /// The model for previews and validation: the moving average if there is one. Tracks no gradient.
    pub shown: Box<dyn GenerativeModel>,
    /// The condition of previews, if the model completes images.
    given: Condition,
    device: Device,
    best: Option<Best>,
}

impl TrainingRun {
    /// The run of `recipe` on `data` before its first step. Starts from `weights` if given.
    ///
    /// # Errors
    /// If the recipe is invalid for the data, or the weights do not fit it.
    pub fn new(
        mut recipe: Recipe,
        mut data: Dataset,
        device: &Device,
        weights: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<Self> {
        // A run may be resumed from another working directory.
        recipe.data = recipe.data.with_absolute_paths();
        let (sample, condition) = (data.info.sample(), data.info.condition());
        let params = ParamSet::fresh(recipe.train.seed, device).with_precision(recipe.train.dtype)?;
        let model = recipe.model.build(sample.clone(), condition.clone(), params)?;
        if model.info().condition.is_columns() {
            data.train = data.train.by_column();
        }
        if data.info.tables.is_some() {
            fit_batch(&mut recipe.train, data.train.len(), model.batch_multiple());
        }
        check_micro_batches(&recipe.train, model.batch_multiple())?;
        if recipe.train.calibrate {
            calibration::choices_of(model.as_ref())?;
        }
        let length = recipe.train.length(data.train.len())?;
        let TrainConfig { batch_size, seed, flip, .. } = recipe.train;
        LoaderConfig { flip, ..LoaderConfig::new(batch_size, seed) }.check(&data.train)?;
        for line in recipe.beyond(length.steps)?.into_iter().chain(recipe.across_stages()?) {
            tracing::warn!("{line}");
        }
        match weights {
            Some(weights) => model.params().assign(&without_fit(&recipe, model.as_ref(), weights)?)?,
            None if recipe.model.starts_at_mean() => {
                let mean = mean_sample(&data.train)?;
                start::at_mean(model.params(), &mean)?;
            }
            None => {}
        }
        let state =
            TrainingState::new(model.as_ref(), recipe.optimizer.clone(), recipe.train.seed, length.steps)?
                .with_training_samples(data.train.len())
                .with_micro_batches(recipe.train.micro_batches)?;
        for group in model.groups() {
            tracing::info!(group = group.name, tensors = group.params.len(), "model built");
        }
        let shown = state.ema().unwrap_or_else(|| model.params().frozen()).with_precision(Precision::F32)?;
        let shown = recipe.model.build(sample, condition, shown)?;
        let given = given_of(model.as_ref(), &data)?;
        Ok(Self { recipe, data, model, state, shown, given, device: device.clone(), best: None })
    }

    /// Shares the run with other processes. Each process has made the same run, and gets the first one's
    /// weights when it trains.
    ///
    /// # Errors
    /// If the recipe's micro-batches cannot be divided among them.
    pub fn with_collective(mut self, collective: Arc<dyn Collective>) -> Result<Self> {
        let state = self.state.with_collective(collective);
        self.state = state.with_micro_batches(self.recipe.train.micro_batches)?;
        Ok(self)
    }

    /// Trains as one of the processes after the first, and writes nothing. Returns true if the run was
    /// stopped before its end.
    ///
    /// # Errors
    /// As [`Following::run`].
    pub fn follow(&mut self, stop: Stop) -> Result<bool> {
        follow::share(self.model.as_ref(), &mut self.state)?;
        let together = self.state.collective().clone();
        let (shown, config) = (self.shown.as_ref(), &self.recipe.train);
        let validation = Validation::of(shown, &self.data, config, &self.device, &together);
        let validate = validation.as_ref().map(|validation| || validation.measure());
        let following = Following {
            model: self.model.as_ref(),
            state: &mut self.state,
            data: &self.data.train,
            device: &self.device,
            config,
            validate: validate.as_ref().map(|validate| validate as _),
            stop,
        };
        Ok(following.run()?)
    }

    /// The run's device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Restores the state of a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint does not fit the model.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<()> {
        checkpoint.restore(self.model.as_ref(), &mut self.state)?;
        self.best = checkpoint.best;
        Ok(())
    }

    /// The contents of run.json before the first step.
    ///
    /// # Errors
    /// If the recipe has no TOML form.
    pub fn info(&self, environment: Environment) -> Result<RunInfo> {
        let data = &self.data.info;
        Ok(RunInfo {
            data_identity: data.identity.clone(),
            data_kind: Some(data.kind.clone()),
            data_view: Some(data.view.clone()),
            data_images: self.data.sizes(),
            data_classes: data.classes.clone(),
            ..RunInfo::new(
                environment,
                self.recipe.to_toml()?,
                self.model.info().clone(),
                &data.name,
                self.recipe.train.seed,
            )
        })
    }

    /// Creates the run's folder, if there is room for everything that training may write. `initial` are the
    /// initial weights, if the run does not draw them.
    ///
    /// # Errors
    /// If the folder exists, there is too little space, or it cannot be written.
    pub fn create_folder(&self, path: &Path, info: &RunInfo, initial: Option<&[u8]>) -> Result<RunFolder> {
        let needed =
            train::space_needed(self.model.as_ref(), &self.state, &self.recipe.train, &self.data.train)?;
        run_folder::check_space(path, needed)?;
        Ok(RunFolder::create(path, info, initial)?)
    }

    /// Files that show the model's progress, always from the same latents.
    ///
    /// # Errors
    /// If a sample is not finite, or cannot be shown.
    pub fn preview(&self) -> waxwork_trainer::Result<Vec<Artifact>> {
        let info = &self.data.info;
        preview_of(self.shown.as_ref(), info, encoder_of(info), self.recipe.train.seed, &self.given)
    }

    /// Trains to the end, or until a stop is requested, in a folder that [`RunFolder::create`] made with
    /// [`TrainingRun::info`]. `observers` watch, in addition to the writer of TensorBoard's event file.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn train(
        &mut self,
        folder: &RunFolder,
        stop: Stop,
        observers: Vec<&mut dyn Observer>,
    ) -> Result<Outcome> {
        follow::share(self.model.as_ref(), &mut self.state)?;
        let hyperparameters = self.recipe.hyperparameters()?;
        if let Some(encoder) = encoder_of(&self.data.info) {
            folder.write_encoder(encoder)?;
        }
        let every = self.recipe.train.histogram_every;
        let mut board = TensorBoard::new(folder.path(), &hyperparameters, self.model.params(), every);
        let together = self.state.collective().clone();
        let (shown, config) = (self.shown.as_ref(), &self.recipe.train);
        let validation = Validation::of(shown, &self.data, config, &self.device, &together);
        let metric = validation.as_ref().map_or("", Validation::selection_metric);
        let validate = validation.as_ref().map(|validation| || validation.measure());
        let (shown, info, seed) = (self.shown.as_ref(), &self.data.info, self.recipe.train.seed);
        let given = &self.given;
        let show = || preview_of(shown, info, encoder_of(info), seed, given);
        let (recipe, data, device) = (&self.recipe, &self.data, &self.device);
        let is_completed = recipe.model.mixture().is_some() || recipe.train.calibrate;
        let complete = |tensors: BTreeMap<String, Tensor>, step: u64| -> waxwork_trainer::Result<_> {
            let stored = ParamSet::stored(tensors, device)?;
            let (sample, condition) = (data.info.sample(), data.info.condition());
            let mut model = recipe.model.build_frozen(sample, condition, stored)?;
            if recipe.model.mixture().is_some() {
                model = prior::fitted(recipe, model.as_ref(), &data.train, device)?;
            }
            let mut encoder = encoder_of(&data.info).cloned();
            if recipe.train.calibrate {
                model = calibration::calibrated(recipe, model.as_ref(), &data.train, device)?;
                let calibrate =
                    |encoder| calibration::with_quantile_maps(encoder, model.as_ref(), data, seed);
                encoder = encoder.map(calibrate).transpose()?;
            }
            for artifact in preview_of(model.as_ref(), &data.info, encoder.as_ref(), seed, given)? {
                store::write(&folder.sample(step, artifact.extension), &artifact.bytes)?;
            }
            let quantile_maps = encoder.and_then(|encoder| encoder.quantile_maps().cloned());
            Ok(train::Completed { tensors: model.params().tensors(), quantile_maps })
        };
        let mut watching: Vec<&mut dyn Observer> = vec![&mut board];
        watching.extend(observers.into_iter().map(|observer| observer as &mut dyn Observer));
        let training = Training {
            model: self.model.as_ref(),
            state: &mut self.state,
            data: &self.data.train,
            device: &self.device,
            config: &self.recipe.train,
            folder,
            best: self.best.take(),
            validate: validate.as_ref().map(|validate| (validate as _, metric)),
            preview: Some(&show),
            complete: is_completed.then_some(&complete as &train::Complete<'_>),
            stop,
            observers: watching,
        };
        Ok(training.run()?)
    }
}

/// Weights to start from, without a prior that was fitted to another run's latents: training starts with a
/// standard normal one.
fn without_fit(
    recipe: &Recipe,
    model: &dyn GenerativeModel,
    weights: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut weights = weights.clone();
    if recipe.model.mixture().is_some() {
        weights.retain(|name, _| !is_of_prior(name));
        let fresh = model.params().deep_copy()?.tensors().into_iter();
        weights.extend(fresh.filter(|(name, _)| is_of_prior(name)));
    }
    Ok(weights)
}

/// The mean of a split's samples, value by value, as networks see them.
pub(crate) fn mean_sample(split: &Split) -> waxwork_trainer::Result<Vec<f64>> {
    let mut sums = Vec::new();
    for batch in split.batches(EVALUATION_BATCH, &Device::Cpu)? {
        let rows = batch?.inputs.flatten_from(1).and_then(|rows| rows.to_vec2::<f32>());
        for row in rows.map_err(waxwork_core::Error::from)? {
            sums.resize(row.len(), 0.0);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(value));
        }
    }
    let n = split.len() as f64;
    Ok(sums.into_iter().map(|sum| sum / n).collect())
}

/// Checks that micro-batches are equal, and multiples of the number of samples that the model judges
/// together.
fn check_micro_batches(config: &TrainConfig, multiple: usize) -> Result<()> {
    let (batch, parts) = (config.batch_size, config.micro_batches.max(1));
    if batch.is_multiple_of(parts) && (parts == 1 || (batch / parts).is_multiple_of(multiple.max(1))) {
        return Ok(());
    }
    Err(waxwork_core::Error::Config {
        key: "train.micro_batches".into(),
        reason: format!(
            "a batch of {batch} samples cannot be cut into {parts} parts of a multiple of {multiple}"
        ),
    }
    .into())
}

/// If a table has fewer rows than a batch, reduces the batch size to the largest possible multiple of what
/// the model needs.
fn fit_batch(config: &mut TrainConfig, rows: usize, multiple: usize) {
    let multiple = multiple.max(1) * config.micro_batches;
    let fitting = rows - rows % multiple;
    if rows >= config.batch_size || fitting == 0 {
        return;
    }
    let wanted = std::mem::replace(&mut config.batch_size, fitting);
    tracing::warn!("the table has {rows} training rows: batches of {fitting} instead of {wanted}");
}

/// The given parts of held-out images that a model completes in its previews; None for other models.
fn given_of(model: &dyn GenerativeModel, data: &Dataset) -> Result<Condition> {
    let Some(completer) = model.completer() else { return Ok(Condition::None) };
    let split = if data.validation.is_empty() { &data.train } else { &data.validation };
    let shown = split.subset(preview_count(&data.info.kind));
    let batch = shown.batch(&(0..shown.len()).collect::<Vec<_>>(), &Device::Cpu)?;
    Ok(completer.given(&batch.inputs, &batch.indices)?)
}

/// The encoder of the rows of a table, without quantile maps.
fn encoder_of(info: &DatasetInfo) -> Option<&Encoder> {
    info.tables.as_deref().map(|tables| &tables.encoder)
}

/// Files that show samples; with conditions, one sample per condition. `encoder` decodes them if they are rows
/// of a table.
pub(crate) fn preview_of(
    model: &dyn GenerativeModel,
    info: &DatasetInfo,
    encoder: Option<&Encoder>,
    seed: u64,
    given: &Condition,
) -> waxwork_trainer::Result<Vec<Artifact>> {
    let count = given.len().unwrap_or(preview_count(&info.kind));
    let request = SampleRequest { condition: given.clone(), ..SampleRequest::new(seed, count) };
    let samples = model.sample(&request)?;
    values::check("samples", &samples)?;
    let mut artifacts = preview(&info.kind, &samples)?;
    if let Kind::Sound { rate, .. } = info.kind {
        let sounds = info.view.sounds(&info.kind, &samples, 0)?;
        artifacts.push(Artifact::of_sounds(rate, &sounds, info.kind.bytes())?);
    }
    if let Kind::Text { .. } = info.kind {
        let lines = info.view.lines(&info.kind, &samples)?;
        artifacts.push(Artifact::of_lines(&lines.iter().map(|line| one_line(line)).collect::<Vec<_>>()));
    }
    if let Some(encoder) = encoder {
        let mut bytes = Vec::new();
        let rows = encoder.decode_generated(&crate::rows::host(&samples)?, 0);
        let rows = rows.map_err(waxwork_data::Error::from)?;
        // Writing to a vector cannot fail.
        _ = rows.write_csv(&mut bytes);
        artifacts.push(Artifact { extension: "csv", bytes, picture: None, sound: None });
    }
    Ok(artifacts)
}

/// Trains a recipe in a new run folder `path` on `device`, from the data to the final weights. For progress,
/// signals or initial weights, see [`TrainingRun`].
///
/// ```
/// use waxwork_core::Device;
/// use waxwork_models::{Recipe, train};
///
/// let settings = ["train.steps=2", "train.batch_size=8", "data.limit=32"].map(String::from);
/// let recipe = Recipe::named("vae-ring", &settings)?;
/// let folder = tempfile::tempdir()?;
/// let outcome = train(&recipe, &folder.path().join("run"), &Device::Cpu)?;
/// assert_eq!(outcome.steps, 2);
/// assert!(folder.path().join("run/model.safetensors").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the data cannot be read, the folder exists, or training diverges.
pub fn train(recipe: &Recipe, path: &Path, device: &Device) -> Result<Outcome> {
    let data = waxwork_data::load(&recipe.data)?;
    let mut run = TrainingRun::new(recipe.clone(), data, device, None)?;
    let environment = Environment::here(env!("CARGO_PKG_VERSION"), device);
    let folder = run.create_folder(path, &run.info(environment)?, None)?;
    run.train(&folder, Stop::default(), Vec::new())
}

impl Recipe {
    /// Its keys and values for a table of runs, without the descriptive texts, which would be very wide
    /// columns.
    fn hyperparameters(&self) -> Result<serde_json::Value> {
        let mut keys = serde_json::to_value(self).map_err(|error| Error::Recipe {
            origin: self.description.clone(),
            reason: error.to_string(),
            nearest: None,
        })?;
        if let Some(keys) = keys.as_object_mut() {
            keys.retain(|key, _| !["description", "tags", "results"].contains(&key.as_str()));
        }
        Ok(keys)
    }
}
