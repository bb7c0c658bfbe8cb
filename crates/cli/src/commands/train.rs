//! `waxwork train`: turns arguments into a complete recipe and calls the trainer once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;
use waxwork_core::collective::Collective;
use waxwork_core::{Device, Profile, Tensor, device, store};
use waxwork_data::manifest::FOLDER;
use waxwork_data::{DataConfig, Dataset};
use waxwork_models::resume::{Resumable, Resumer};
use waxwork_models::{Recipe, TrainingRun};
use waxwork_trainer::run_info::Origin;
use waxwork_trainer::stop::Reason;
use waxwork_trainer::{Environment, FinalWeights, Outcome, Progress, RunFolder, RunInfo, Stop};

use crate::args::{RUNS, TrainArguments};
use crate::commands::complete::command_of;
use crate::commands::sample::load;
use crate::commands::{forecast, report};
use crate::environment::{command_line, environment, now};
use crate::failure::{Failure, INTERRUPTED};
use crate::output;
use crate::processes::{News, Together};

pub(crate) fn run(
    arguments: &TrainArguments,
    threads: usize,
    together: &Together,
) -> Result<String, Failure> {
    // Only the clock of the first process counts.
    let stop = Stop::new(arguments.max_time.filter(|_| together.is_first()));
    let session = Session::new(&arguments.device, threads, stop, together)?;
    let session = Session { profile: arguments.profile, ..session };
    if !together.is_alone() {
        together.agree_on_the_program(session.environment())?;
        if arguments.dry_run {
            return Err(Failure::shared("`--dry-run` measures one process: start it without mpirun or srun"));
        }
    }
    if together.is_first() { in_session(arguments, &session) } else { follow(&session) }
}

/// Trains what the arguments ask for. If there are several processes, only the first decides what that is.
pub(crate) fn in_session(arguments: &TrainArguments, session: &Session) -> Result<String, Failure> {
    let there = arguments.out.as_ref().filter(|path| arguments.go_on && RunFolder::open(path).is_ok());
    if let Some(path) = arguments.resume.as_ref().or(there) {
        return resume(path, arguments, session);
    }
    let source = arguments.fork.as_deref().map(RunFolder::open).transpose()?;
    let weights = source.as_ref().map(Weights::of).transpose()?;
    let (name, recipe) = resolve(arguments, source.as_ref())?;
    // Check this before data is read or downloaded, which may be slow.
    recipe.train.check()?;
    session.together.check_shares(recipe.train.micro_batches)?;
    // A file may be a valid recipe only with a setting.
    let original = asked(arguments, source.as_ref(), &[]).map(|(_, original)| original).ok();
    let own = |mut recipe: Recipe| -> Result<Recipe, Failure> {
        if let Some(original) = &original {
            recipe.disclaim(original, &name)?;
        }
        if weights.is_some() || original.is_none() {
            // The recipe's results do not apply to a fork, nor to a file that needs settings to be a recipe.
            recipe.results.clear();
        }
        Ok(recipe)
    };
    if arguments.dry_run {
        let recipe = own(recipe)?;
        let data = load(&recipe.data)?;
        let run = prepared(recipe, data, session, weights.as_ref().map(|weights| &weights.tensors))?;
        return forecast::write(run, arguments.seeds.unwrap_or(1), &session.stop);
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_path(&name));
    let Some(seeds) = arguments.seeds else {
        RunFolder::check_free(&path)?;
        let data = load(&recipe.data)?;
        return start(own(recipe)?, data, &path, weights.as_ref(), session);
    };
    let (mut said, mut paths) = (String::new(), Vec::new());
    for number in 0..seeds {
        let mut recipe = recipe.clone();
        recipe.train.seed = recipe.train.seed.wrapping_add(number);
        let mut path = path.clone().into_os_string();
        path.push(format!("-seed-{}", recipe.train.seed));
        let data = load(&recipe.data)?;
        said += &start(own(recipe)?, data, Path::new(&path), weights.as_ref(), session)?;
        paths.push(path.display().to_string());
    }
    Ok(format!("{said}next: evaluate each run, then waxwork compare {}\n", paths.join(" ")))
}

/// The context of training in this process, the same for all of its runs.
pub(crate) struct Session {
    device: Device,
    threads: usize,
    stop: Stop,
    together: Together,
    /// The processes for training, which are joined before the first run.
    joined: OnceLock<Arc<dyn Collective>>,
    /// Whether to report at the end where the time went.
    profile: bool,
}

impl Session {
    /// Opens the device, and installs the signal handler.
    pub(crate) fn new(
        device: &str,
        threads: usize,
        stop: Stop,
        together: &Together,
    ) -> Result<Self, Failure> {
        let device = device::open(&together.device(device))?;
        let handler = stop.clone();
        // A launcher may forward a signal that its processes have already received.
        let patience = if together.is_alone() { Duration::ZERO } else { Duration::from_secs(2) };
        let first = OnceLock::new();
        ctrlc::set_handler(move || {
            if first.get_or_init(Instant::now).elapsed() >= patience || handler.reason().is_none() {
                interrupt(&handler);
            }
        })?;
        Ok(Self {
            device,
            threads,
            stop,
            together: together.clone(),
            joined: OnceLock::new(),
            profile: false,
        })
    }

    /// The processes that share the batch of every step. All of them make the first call.
    fn collective(&self) -> Result<Arc<dyn Collective>, Failure> {
        if let Some(joined) = self.joined.get() {
            return Ok(Arc::clone(joined));
        }
        let joined = self.together.collective_on(&self.device)?;
        Ok(Arc::clone(self.joined.get_or_init(|| joined)))
    }

    /// The environment on which this process's results could depend, besides recipe and data.
    fn environment(&self) -> Environment {
        let processes = self.together.described();
        Environment { processes, ..environment(&self.device, self.threads) }
    }
}

/// The initial weights of a run that does not draw them.
pub(crate) struct Weights {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) run: PathBuf,
    pub(crate) step: u64,
}

impl Weights {
    /// The weights of a run's newest intact checkpoint as training left them, else its result.
    fn of(folder: &RunFolder) -> Result<Self, Failure> {
        let run = folder.path().to_owned();
        match folder.checkpoints().newest() {
            Ok((checkpoint, damaged)) => {
                passed_over(&damaged);
                let step = checkpoint.counters.step;
                Ok(Self { tensors: checkpoint.into_params(), run, step })
            }
            Err(error) => match folder.load_model()? {
                Some(tensors) => {
                    let info = folder.info()?;
                    for part in &info.untrained {
                        tracing::warn!("the {part} was not imported: it starts with random values");
                    }
                    tracing::warn!("{error}; starting from `{}`", folder.model().display());
                    Ok(Self { tensors, run, step: info.steps })
                }
                None => Err(error.into()),
            },
        }
    }
}

/// Handles a signal: the first asks for a checkpoint, the second does not wait for it. A checkpoint is
/// written under a temporary name and renamed, so an interruption never leaves half of one.
fn interrupt(stop: &Stop) {
    if stop.reason() == Some(Reason::Requested) {
        std::process::exit(i32::from(INTERRUPTED));
    }
    stop.request();
    tracing::warn!(
        "stopping after this step, with a checkpoint; interrupt again to stop at once, without one"
    );
}

/// Trains in an existing folder, and returns a report of how it ended.
fn train(mut run: TrainingRun, folder: &RunFolder, session: &Session) -> Result<String, Failure> {
    if session.profile {
        run.state.start_profile(&session.device);
    }
    let mut progress = Progress::new(output::display());
    let outcome = run.train(folder, session.stop.clone(), vec![&mut progress])?;
    let page = outcome.stopped.is_none().then(|| page(folder, &run.data, &session.device));
    let said = finished(folder, &outcome, &run.recipe, page.flatten())?;
    Ok(said + &run.state.profile().map_or_else(String::new, |profile| profile_table(&profile)))
}

/// The run of a recipe before its first step. An error about the precision names a device that supports it.
fn prepared(
    recipe: Recipe,
    data: Dataset,
    session: &Session,
    weights: Option<&BTreeMap<String, Tensor>>,
) -> Result<TrainingRun, Failure> {
    use waxwork_core::Error::Precision;
    if !session.together.is_alone() {
        if session.together.is_first() {
            session.together.announce(&News::Train(recipe.to_toml()?))?;
        }
        session.together.agree_on_data(&data)?;
    }
    let collective = session.collective()?;
    let run = TrainingRun::new(recipe, data, &session.device, weights);
    run.and_then(|run| run.with_collective(collective)).map_err(|error| match error {
        waxwork_models::Error::Core(error @ Precision { .. }) => {
            Failure::new(format!("invalid `train.dtype`: {error}, such as `--device cuda`"))
        }
        error => error.into(),
    })
}

/// Trains every recipe that the first process announces, until it announces the end.
fn follow(session: &Session) -> Result<String, Failure> {
    loop {
        let recipe = match session.together.listen()? {
            News::Train(recipe) => Recipe::parse(&recipe, "the first process", &[])?,
            News::End(0) => return Ok(String::new()),
            News::End(code) => return Err(Failure::silent(code)),
        };
        let data = load(&recipe.data)?;
        prepared(recipe, data, session, None)?.follow(session.stop.clone())?;
    }
}

/// Trains a new run in a new folder `path`, from `weights` if there are any.
pub(crate) fn start(
    recipe: Recipe,
    data: Dataset,
    path: &Path,
    weights: Option<&Weights>,
    session: &Session,
) -> Result<String, Failure> {
    let run = prepared(recipe, data, session, weights.map(|weights| &weights.tensors));
    let run = run.map_err(|failure| match weights {
        Some(weights) => failure.at(&weights.run),
        None => failure,
    })?;
    let initial = weights.map(|weights| store::encode(&weights.tensors)).transpose()?;
    let forked_from = weights.zip(initial.as_ref()).map(|(weights, bytes)| Origin {
        // This name is for people. JSON cannot hold a name that is not Unicode.
        run: weights.run.to_string_lossy().into_owned().into(),
        step: weights.step,
        sha256: waxwork_core::hash::sha256(bytes),
    });
    let environment = session.environment();
    let info = RunInfo { command: command_line(), forked_from, ..run.info(environment)? };
    let folder = run.create_folder(path, &info, initial.as_deref())?;
    train(run, &folder, session)
}

fn resume(path: &Path, arguments: &TrainArguments, session: &Session) -> Result<String, Failure> {
    let recipe = |folder: &RunFolder| resolve(arguments, Some(folder)).map(|(_, recipe)| recipe);
    let found = Resumable::open::<Failure>(path, recipe, |recipe| load(&recipe.data))?;
    let Resumable { folder, mut info, recipe, data } = found;
    match data {
        Some(data) => go_on(&folder, &mut info, recipe, data, session),
        None => finished_already(&folder, &info, &recipe, &session.device),
    }
}

fn go_on(
    folder: &RunFolder,
    info: &mut RunInfo,
    recipe: Recipe,
    data: Dataset,
    session: &Session,
) -> Result<String, Failure> {
    let mut run = prepared(recipe, data, session, folder.initial()?.as_ref())?;
    let environment = session.environment();
    run.resume(folder, info, Resumer { command: command_line(), environment, started: now() })?;
    train(run, folder, session)
}

/// Reports that there is nothing left to do. Writes the page and the card first, if the process was killed
/// before it wrote them.
fn finished_already(
    folder: &RunFolder,
    info: &RunInfo,
    recipe: &Recipe,
    device: &Device,
) -> Result<String, Failure> {
    if !report::default_page(folder).exists() {
        page(folder, &load(&recipe.data)?, device);
    }
    if !folder.card().exists() {
        let outcome = Outcome { steps: info.steps, stopped: None, best: None, checkpoint: None };
        crate::commands::card::write(folder, recipe, &outcome)?;
    }
    Ok(format!("`{}` is already finished, after {} steps\n", folder.path().display(), info.steps))
}

fn passed_over(damaged: &[String]) {
    for reason in damaged {
        tracing::warn!("{reason}");
    }
}

/// Returns the recipe with all changes from the command line, and the name of the run. Without a recipe on
/// the command line, uses that of the run `source`, if there is one.
fn resolve(arguments: &TrainArguments, source: Option<&RunFolder>) -> Result<(String, Recipe), Failure> {
    let mut settings = arguments.set.to_vec();
    let original = asked(arguments, source, &[]).map(|(_, original)| original).ok();
    settings.extend(short_flags(arguments, original.as_ref())?);
    let (name, mut recipe) = asked(arguments, source, &settings)?;
    if source.is_none() {
        recipe.steady_on_own_images(original.as_ref(), &settings);
    }
    Ok((name, recipe))
}

/// The flags that stand for keys of the recipe, as settings like those of `--set`. They are
/// applied after `--set`. `original` is the recipe without settings.
fn short_flags(arguments: &TrainArguments, original: Option<&Recipe>) -> Result<Vec<String>, Failure> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut settings = Vec::new();
    let mut set = |key: &str, value: Option<String>| {
        settings.extend(value.map(|value| format!("{key}={value}")));
    };
    set("data.name", arguments.data.as_deref().map(quoted));
    // Make the path absolute, because the run may be resumed from another working directory.
    let dir = arguments.data_dir.as_ref().map(std::path::absolute).transpose()?;
    let in_unicode = |dir: PathBuf| dir.to_str().map(quoted).ok_or(dir);
    let dir = dir.map(in_unicode).transpose().map_err(|dir| {
        Failure::new(format!(
            "`{}` cannot be written to a recipe, since its name is not Unicode",
            dir.display()
        ))
    })?;
    set("data.dir", dir);
    if arguments.skip_unreadable {
        let data = arguments.data.clone().or_else(|| original.map(|recipe| recipe.data.name.clone()));
        let config = DataConfig::named(data.unwrap_or_else(|| FOLDER.to_owned()));
        set(config.skip_unreadable_key(), Some("true".to_owned()));
    }
    set("train.seed", arguments.seed.map(|seed| seed.to_string()));
    set("train.dtype", arguments.dtype.map(|dtype| quoted(&format!("{dtype:?}").to_lowercase())));
    set("train.epochs", arguments.epochs.map(|epochs| epochs.to_string()));
    set("train.steps", arguments.steps.map(|steps| steps.to_string()));
    Ok(settings)
}

/// Returns the recipe of the command line, or that of the run `source`, with `settings` applied, and
/// the name of the run.
fn asked(
    arguments: &TrainArguments,
    source: Option<&RunFolder>,
    settings: &[String],
) -> Result<(String, Recipe), Failure> {
    if let (None, Some(source)) = (&arguments.recipe, source) {
        return Ok((format!("{}-fork", source.name()), Recipe::of_run(source, settings)?));
    }
    named(arguments.recipe.as_deref().unwrap_or("vae-digits"), settings)
}

/// Returns the requested recipe with `settings` applied, and its name.
pub(crate) fn named(asked: &str, settings: &[String]) -> Result<(String, Recipe), Failure> {
    let path = Path::new(asked);
    let is_file = output::extension(path).is_some_and(|extension| extension == "toml");
    let name = if is_file { path.file_stem() } else { path.file_name() };
    Ok((name.unwrap_or_default().to_string_lossy().into_owned(), Recipe::find(asked, settings)?))
}

pub(crate) fn default_path(name: &str) -> PathBuf {
    let format = format_description!("[year][month][day]-[hour][minute][second]");
    let now = OffsetDateTime::now_utc().format(&format).unwrap_or_default();
    Path::new(RUNS).join(format!("{name}-{now}"))
}

/// A table of where the time of a run went. The parts sum to the total, up to rounding.
fn profile_table(profile: &Profile) -> String {
    let spent = profile.spent().map(|(phase, time)| (phase.name(), time.as_secs_f64()));
    let whole: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
    let row = |(name, seconds): (&str, f64)| {
        let of_a_step = 1e3 * seconds / profile.steps().max(1) as f64;
        let share = 100.0 * seconds / whole.max(f64::MIN_POSITIVE);
        [name.to_owned(), format!("{seconds:.3}"), format!("{of_a_step:.3}"), format!("{share:.1} %")]
    };
    let head = ["phase", "seconds", "ms per step", "share"].map(str::to_owned);
    let rows = spent.into_iter().chain([("all", whole)]).map(row);
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(|row| row.to_vec()).collect();
    output::table(&rows)
}

/// Writes the page and the model card of a finished run.
///
/// # Errors
/// If the card cannot be written. A failure to write the page is only logged, because it can be written
/// again at any time.
pub fn finish_run(
    folder: &RunFolder,
    data: &Dataset,
    recipe: &Recipe,
    outcome: &Outcome,
    device: &Device,
) -> Result<(), Failure> {
    page(folder, data, device);
    crate::commands::card::write(folder, recipe, outcome).map(drop)
}

/// Writes the run's page. A failure is only logged, because the page can be written again at any time.
fn page(folder: &RunFolder, data: &Dataset, device: &Device) -> Option<PathBuf> {
    let page = report::write(folder.path(), None, |_| Ok(data.clone()), device, &|_, _| ());
    page.inspect_err(|failure| tracing::warn!("failed to write report.html: {}", failure.message)).ok()
}

fn finished(
    folder: &RunFolder,
    outcome: &Outcome,
    recipe: &Recipe,
    page: Option<PathBuf>,
) -> Result<String, Failure> {
    let path = folder.path().display();
    match outcome.stopped {
        Some(Reason::Requested) => Err(Failure::interrupted(format!(
            "interrupted after {} steps; resume with `waxwork train --resume {path}`",
            outcome.steps
        ))),
        Some(Reason::Deadline) => Ok(format!(
            "stopped after {} steps, as requested; resume with `waxwork train --resume {path}`\n",
            outcome.steps
        )),
        None => {
            let card = crate::commands::card::write(folder, recipe, outcome)?;
            let best = outcome.best.as_ref();
            let best = best.map_or_else(String::new, |best| {
                let kept = if recipe.train.final_weights == FinalWeights::Best {
                    "; the run keeps these weights"
                } else {
                    ""
                };
                format!("best {} {:.2} at step {}{kept}\n", best.metric, best.value, best.step)
            });
            let info = folder.info()?;
            let (shown, makes) = (info.model_step.unwrap_or(outcome.steps), command_of(&info.model));
            let grid = folder.sample_shown(shown);
            let page = page.map_or_else(String::new, |page| format!("report: {}\n", page.display()));
            Ok(format!(
                "trained {} steps into {path}\n{best}samples: {}\n{page}model card: {}\nnext: waxwork {makes} {path} · waxwork evaluate {path}\n",
                outcome.steps,
                grid.display(),
                card.display()
            ))
        }
    }
}
