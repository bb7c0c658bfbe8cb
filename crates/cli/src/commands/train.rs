//! `waxwork train`: arguments → a complete recipe → one call to the trainer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, GenerativeModel, ParamSet, SampleRequest, TrainingState, device, store};
use waxwork_data::Dataset;
use waxwork_eval::likelihood;
use waxwork_models::Recipe;
use waxwork_trainer::run_folder::{self, Status};
use waxwork_trainer::stop::Reason;
use waxwork_trainer::train;
use waxwork_trainer::{Best, Outcome, Progress, RunFolder, RunInfo, Stop, Training};

use crate::args::TrainArguments;
use crate::commands::sample::load;
use crate::failure::Failure;
use crate::output;

/// Images in a sample grid, from the same latents every time.
const PICTURES: usize = 100;
/// Validation images that choose the best checkpoint: enough for a tenth of a nat.
const VALIDATION_IMAGES: usize = 2000;
/// The metric that chooses the best checkpoint.
const CHOOSES: &str = "validation/neg_elbo";

pub(crate) fn run(arguments: &TrainArguments, threads: usize) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let stop = Stop::new(arguments.max_time);
    let handler = stop.clone();
    ctrlc::set_handler(move || handler.request())?;
    if let Some(path) = &arguments.resume {
        return resume(path, arguments, &device, stop);
    }
    let (name, recipe) = resolve(arguments)?;
    let path = arguments.out.clone().unwrap_or_else(|| default_path(&name));
    let Some(seeds) = arguments.seeds else {
        return start(recipe, &path, arguments, &device, threads, stop);
    };
    let (mut said, mut paths) = (String::new(), Vec::new());
    for number in 0..seeds {
        let mut recipe = recipe.clone();
        recipe.train.seed = recipe.train.seed.wrapping_add(number);
        let path = format!("{}-seed-{}", path.display(), recipe.train.seed);
        said += &start(recipe, Path::new(&path), arguments, &device, threads, stop.clone())?;
        paths.push(path);
    }
    Ok(format!("{said}then, evaluated: waxwork compare {}\n", paths.join(" ")))
}

/// Everything of a run that is in memory.
struct Run {
    recipe: Recipe,
    data: Dataset,
    model: Box<dyn GenerativeModel>,
    state: TrainingState,
    /// The model that is shown and validated: the moving average where there is one. Tracks no gradient.
    shown: Box<dyn GenerativeModel>,
    best: Option<Best>,
}

impl Run {
    fn new(recipe: Recipe, device: &Device) -> Result<Self, Failure> {
        let data = load(&recipe.data)?;
        let length = recipe.train.length(data.train.len())?;
        let (image, classes) = (data.info.shape, data.info.classes.len());
        let model = recipe.model.build(image, classes, ParamSet::fresh(recipe.train.seed, device))?;
        let state =
            TrainingState::new(model.as_ref(), recipe.optimizer.clone(), recipe.train.seed, length.steps)?;
        let shown =
            recipe.model.build(image, classes, state.ema().unwrap_or_else(|| model.params().frozen()))?;
        Ok(Self { recipe, data, model, state, shown, best: None })
    }

    fn train(
        mut self,
        folder: &RunFolder,
        arguments: &TrainArguments,
        device: &Device,
        stop: Stop,
    ) -> Result<String, Failure> {
        let mut progress = Progress::new();
        let pictures = || self.shown.sample(&SampleRequest::new(self.recipe.train.seed, PICTURES));
        let validation = self.data.validation.first(VALIDATION_IMAGES);
        let validate = || {
            let Some(latent) = self.shown.latent() else { return Ok(BTreeMap::new()) };
            let batches = validation.batches(EVALUATION_BATCH, device)?;
            let batches = batches.map(|batch| batch.map_err(waxwork_trainer::Error::from));
            let measured = likelihood(latent, batches, 0, |_| {})?;
            let named = [(CHOOSES, measured.neg_elbo), ("validation/kl", measured.kl)];
            Ok(named.map(|(name, estimate)| (name.to_owned(), estimate.mean)).into())
        };
        let training = Training {
            model: self.model.as_ref(),
            state: &mut self.state,
            data: &self.data.train,
            device,
            config: &self.recipe.train,
            folder,
            best: self.best,
            validate: self.shown.latent().is_some().then_some((&validate, CHOOSES)),
            pictures: Some(&pictures),
            stop,
            observers: if arguments.quiet { vec![] } else { vec![&mut progress] },
        };
        report(folder, &training.run()?, &self.recipe)
    }
}

fn start(
    recipe: Recipe,
    path: &Path,
    arguments: &TrainArguments,
    device: &Device,
    threads: usize,
    stop: Stop,
) -> Result<String, Failure> {
    let run = Run::new(recipe, device)?;
    let needed = train::space_needed(run.model.as_ref(), &run.state, &run.recipe.train, &run.data.train)?;
    run_folder::check_space(path, needed)?;
    let info = RunInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: option_env!("WAXWORK_REVISION").map(str::to_owned),
        machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        device: device::name(device),
        threads,
        model: run.model.info().clone(),
        data: run.data.info.name.clone(),
        data_identity: run.data.info.identity.clone(),
        seed: run.recipe.train.seed,
        status: Status::Running,
        steps: 0,
        seconds: 0.0,
        started: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
        model_sha256: None,
    };
    let folder = RunFolder::create(path, &run.recipe.to_toml()?, &info)?;
    run.train(&folder, arguments, device, stop)
}

fn resume(path: &Path, arguments: &TrainArguments, device: &Device, stop: Stop) -> Result<String, Failure> {
    let mut folder = RunFolder::open(path)?;
    folder.lock()?;
    let info = folder.info()?;
    if info.status == Status::Finished {
        return Ok(format!("`{}` is finished already, after {} steps\n", path.display(), info.steps));
    }
    let origin = path.join("recipe.toml").display().to_string();
    let mut run = Run::new(Recipe::parse(&folder.recipe()?, &origin, &[])?, device)?;
    if run.data.info.identity != info.data_identity {
        return Err(Failure::new(format!(
            "the data set `{}` is not the one that `{}` was started with: its identity is {}, not {}",
            info.data,
            path.display(),
            run.data.info.identity,
            info.data_identity
        )));
    }
    // A run that was killed before its first checkpoint starts again, which comes to the same thing.
    if !folder.checkpoints().steps()?.is_empty() {
        let (checkpoint, damaged) = folder.checkpoints().newest()?;
        for reason in damaged {
            tracing::warn!("passed over a checkpoint: {reason}");
        }
        checkpoint.restore(run.model.as_ref(), &mut run.state)?;
        run.best = checkpoint.best;
    }
    run.train(&folder, arguments, device, stop)
}

/// The recipe with everything that the command line changes in it, and the name to call the run by.
fn resolve(arguments: &TrainArguments) -> Result<(String, Recipe), Failure> {
    let asked = arguments.recipe.as_deref().unwrap_or("vae-digits");
    let is_file = output::extension(Path::new(asked)).is_some_and(|extension| extension == "toml");
    let (name, mut recipe) = if is_file {
        let path = Path::new(asked);
        let text = String::from_utf8_lossy(&store::read(path)?).into_owned();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (stem, Recipe::parse(&text, asked, &arguments.set)?)
    } else {
        (asked.to_owned(), Recipe::named(asked, &arguments.set)?)
    };
    if let Some(data) = &arguments.data {
        recipe.data.name.clone_from(data);
    }
    if let Some(folder) = &arguments.data_dir {
        // The run may be resumed from another working directory.
        recipe.data.dir = Some(std::path::absolute(folder)?);
    }
    if arguments.skip_unreadable {
        recipe.data.folder.get_or_insert_default().skip_unreadable = true;
    }
    if let Some(seed) = arguments.seed {
        recipe.train.seed = seed;
    }
    if arguments.epochs.is_some() || arguments.steps.is_some() {
        (recipe.train.epochs, recipe.train.steps) = (arguments.epochs, arguments.steps);
    }
    Ok((name, recipe))
}

fn default_path(name: &str) -> PathBuf {
    let format = format_description!("[year][month][day]-[hour][minute][second]");
    let now = OffsetDateTime::now_utc().format(&format).unwrap_or_default();
    Path::new("runs").join(format!("{name}-{now}"))
}

fn report(folder: &RunFolder, outcome: &Outcome, recipe: &Recipe) -> Result<String, Failure> {
    let path = folder.path().display();
    match outcome.stopped {
        Some(Reason::Requested) => Err(Failure::interrupted(format!(
            "interrupted after {} steps; go on with `waxwork train --resume {path}`",
            outcome.steps
        ))),
        Some(Reason::Deadline) => Ok(format!(
            "stopped after {} steps, as asked; go on with `waxwork train --resume {path}`\n",
            outcome.steps
        )),
        None => {
            let card = crate::commands::card::write(folder, recipe, outcome)?;
            let best = outcome.best.as_ref();
            let best = best.map_or_else(String::new, |best| {
                format!("best {} {:.2} at step {}\n", best.metric, best.value, best.step)
            });
            let grid = folder.sample_grid(outcome.steps);
            Ok(format!(
                "trained {} steps into {path}\n{best}pictures: {}\nmodel card: {}\nnext: waxwork sample {path} · waxwork evaluate {path}\n",
                outcome.steps,
                grid.display(),
                card.display()
            ))
        }
    }
}
