//! `waxwork import`: a run out of tensors that another program trained.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::{Device, ParamSet, SampleRequest, store};
use waxwork_models::import;
use waxwork_trainer::run_folder::Status;
use waxwork_trainer::{Outcome, RunFolder, RunInfo, checkpoint};

use crate::args::ImportArguments;
use crate::commands::card;
use crate::commands::train::{PICTURES, default_path, named};
use crate::environment::{command_line, environment, now};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &ImportArguments, threads: usize) -> Result<String, Failure> {
    let (_, recipe) = named(&arguments.recipe, &arguments.set)?;
    let (image, classes) = waxwork_data::describe(&recipe.data)?;
    let state = store::load(&arguments.file, &Device::Cpu)?;
    let tensors = import::fit(&recipe, image, classes.len(), state)
        .map_err(|error| Failure::from(error).at(&arguments.file))?;
    let model = recipe.model.build(image, classes.len(), ParamSet::stored(tensors, &Device::Cpu)?)?;
    let bytes = store::encode(&model.params().tensors())?;
    let info = RunInfo {
        environment: environment(&Device::Cpu, threads),
        command: command_line(),
        recipe: recipe.to_toml()?,
        model: model.info().clone(),
        data: recipe.data.name.clone(),
        // What it was trained on, only the other program knows.
        data_identity: String::new(),
        data_images: BTreeMap::new(),
        seed: recipe.train.seed,
        forked_from: None,
        resumed: Vec::new(),
        status: Status::Finished,
        steps: 0,
        seconds: 0.0,
        started: now(),
        model_sha256: Some(checkpoint::hash(&bytes)),
    };
    // Made before the folder, so that weights that make no images leave nothing behind.
    let pictures = model.sample(&SampleRequest::new(recipe.train.seed, PICTURES))?;
    let stem = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
    let path = arguments.out.clone().unwrap_or_else(|| default_path(&stem));
    let folder = RunFolder::create(&path, &info, None)?;
    store::write(&folder.model(), &bytes)?;
    store::write(&folder.metrics(), b"")?;
    let grid = folder.sample_grid(0);
    std::fs::create_dir_all(grid.parent().unwrap_or(Path::new(".")))?;
    output::write_images(&grid, &pictures, None, 0)?;
    card::write(&folder, &recipe, &Outcome { steps: 0, stopped: None, best: None, checkpoint: None })?;
    let path = path.display();
    Ok(format!(
        "{} tensors of `{}` in {path}\npictures: {}\nnext: waxwork sample {path} · waxwork evaluate {path}\n",
        model.params().tensors().len(),
        arguments.file.display(),
        grid.display()
    ))
}
