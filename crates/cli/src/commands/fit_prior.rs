//! `waxwork fit-prior`: a copy of a run whose prior is fitted to the latents of its training data.

use std::path::{Path, PathBuf};
use std::time::Instant;

use waxwork_core::{device, hash, store};
use waxwork_models::PriorConfig;
use waxwork_models::prior::{FittedPrior, fit_prior};
use waxwork_trainer::run_folder::check_space;
use waxwork_trainer::{Outcome, RunFolder, RunInfo, Status};

use crate::args::{FitPriorArguments, FittedKind};
use crate::commands::card;
use crate::commands::sample::{data, open};
use crate::environment::{command_line, environment};
use crate::failure::Failure;
use crate::output::Stages;

/// The default number of Gaussians.
const COMPONENTS: usize = 10;

pub(crate) fn run(arguments: &FitPriorArguments, threads: usize) -> Result<String, Failure> {
    let prior = match (arguments.kind, arguments.components) {
        (FittedKind::Gmm, components) => {
            PriorConfig::Mixture { components: components.unwrap_or(COMPONENTS) }
        }
        (FittedKind::Maf, None) => PriorConfig::maf(),
        (FittedKind::Maf, Some(_)) => return Err(Failure::usage("--components is for --kind gmm")),
    };
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    if run.info.status != Status::Finished {
        return Err(Failure::new(format!(
            "`{}` is not finished: a prior is fitted to a finished run",
            arguments.run.display()
        )));
    }
    let path = arguments.out.clone().unwrap_or_else(|| beside(&arguments.run));
    // Before the fit, which takes a while.
    if RunFolder::open(&path).is_ok() {
        return Err(waxwork_trainer::Error::RunExists(path).into());
    }
    let data = data(&run, arguments.data_dir.as_ref())?;
    let started = Instant::now();
    let mut stages = Stages::default();
    let mut progress = |what: &'static str, done: usize, all: usize| stages.set(what, done, all);
    let fitted = fit_prior(&run, &data, prior, arguments.seed, &device, &mut progress)?;
    stages.finish();
    let FittedPrior { recipe, model, encoder_of_rows, preview } = fitted;
    let seconds = started.elapsed().as_secs_f64();

    let bytes = store::encode(&model.params().tensors())?;
    let maps = encoder_of_rows.as_ref().and_then(|encoder| encoder.quantile_maps());
    let maps = maps.map(RunFolder::json_of_quantile_maps).transpose()?;
    let info = RunInfo {
        environment: environment(&device, threads),
        command: command_line(),
        recipe: recipe.to_toml()?,
        model_sha256: Some(hash::sha256(&bytes)),
        quantiles_sha256: maps.as_deref().map(hash::sha256),
        // No training led to these weights.
        forked_from: None,
        ..run.info.clone()
    };
    let metrics = match run.folder.metrics() {
        path if path.is_file() => store::read(&path)?,
        _ => Vec::new(),
    };
    check_space(&path, 2 * bytes.len() as u64)?;
    let folder = RunFolder::create(&path, &info, None)?;
    let step = info.model_step.unwrap_or(info.steps);
    let write = || -> Result<(), Failure> {
        if let Some(encoder) = &encoder_of_rows {
            folder.write_encoder(encoder)?;
        }
        if let Some(maps) = &maps {
            store::write(&folder.quantiles(), maps)?;
        }
        store::write(&folder.metrics(), &metrics)?;
        std::fs::create_dir_all(folder.samples()).map_err(store::failed("create", &path))?;
        for artifact in &preview {
            store::write(&folder.sample(step, artifact.extension), &artifact.bytes)?;
        }
        store::write(&folder.model(), &bytes)?;
        let outcome = Outcome { steps: info.steps, stopped: None, best: None, checkpoint: None };
        card::write(&folder, &recipe, &outcome)?;
        Ok(())
    };
    if let Err(error) = write() {
        // It would stand in the way of the next attempt.
        _ = std::fs::remove_dir_all(&path);
        return Err(error);
    }

    let (path, classes) = (path.display(), model.info().classes());
    let what = match (prior, classes) {
        (PriorConfig::Mixture { components }, 0) => format!("{components} Gaussians"),
        (PriorConfig::Mixture { components }, _) => format!("{components} Gaussians per class"),
        (_, 0) => "masked autoregressive flow".to_owned(),
        (..) => "class-conditional masked autoregressive flow".to_owned(),
    };
    Ok(format!(
        "{what} fitted to the latents of training {} in {seconds:.1} s\n\
         run: {path}\nsamples: {}\nnext: waxwork sample {path} · waxwork evaluate {path}\n",
        info.kind().plural(),
        folder.sample_shown(step).display()
    ))
}

/// `runs/NAME-prior` for `runs/NAME`.
fn beside(run: &Path) -> PathBuf {
    let mut name = run.file_name().unwrap_or_default().to_owned();
    name.push("-prior");
    run.with_file_name(name)
}
