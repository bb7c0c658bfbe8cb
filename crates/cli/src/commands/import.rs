//! `waxwork import`: makes a run of tensors that another program trained.

use std::fmt::Write;
use std::path::Path;

use waxwork_core::{ConditionSpec, Device, Kind, ParamSet, SampleRequest, hash, store};
use waxwork_data::View;
use waxwork_media::preview_count;
use waxwork_models::import::{self, Fitted};
use waxwork_trainer::run_info::Status;
use waxwork_trainer::{Outcome, RunFolder, RunInfo};

use crate::args::ImportArguments;
use crate::commands::card;
use crate::commands::sample::load;
use crate::commands::train::{default_path, named};
use crate::environment::{command_line, environment};
use crate::failure::Failure;
use crate::output::{self, Form};

pub(crate) fn run(arguments: &ImportArguments, threads: usize) -> Result<String, Failure> {
    let (_, mut recipe) = named(&arguments.recipe, &arguments.set)?;
    // The results of a recipe do not apply to other weights.
    recipe.results.clear();
    recipe.tags.clear();
    let (kind, classes) = waxwork_data::describe(&recipe.data)?;
    // The view of sounds contains statistics and that of texts a vocabulary, which need the data.
    let view = match kind {
        Kind::Sound { .. } | Kind::Text { .. } => load(&recipe.data)?.info.view,
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Clip { .. } => View::of(&kind),
    };
    let (sample, condition) = (view.spec(&kind), ConditionSpec::classes(classes.len()));
    let state = store::load(&arguments.file, &Device::Cpu)?;
    let count = state.len();
    let Fitted { tensors, renamed, untrained } =
        import::fit(&recipe, sample.clone(), condition.clone(), state)
            .map_err(|error| Failure::from(error).at(&arguments.file))?;
    let stored = ParamSet::stored(tensors, &Device::Cpu);
    let stored = stored.map_err(|error| Failure::from(error).at(&arguments.file))?;
    let model = recipe.model.build(sample, condition, stored)?;
    let bytes = store::encode(&model.params().tensors())?;
    let (environment, data) = (environment(&Device::Cpu, threads), &recipe.data.name);
    // Only the other program knows what the model was trained on, so the data has no identity.
    let info = RunInfo {
        command: command_line(),
        data_classes: classes.clone(),
        data_kind: Some(kind.clone()),
        data_view: Some(view.clone()),
        untrained: untrained.clone(),
        status: Status::Finished,
        model_sha256: Some(hash::sha256(&bytes)),
        ..RunInfo::new(environment, recipe.to_toml()?, model.info().clone(), data, recipe.train.seed)
    };
    // Sample before the folder is created, so that weights that make no images leave nothing behind.
    let samples = model.sample(&SampleRequest::new(recipe.train.seed, preview_count(&kind)))?;
    let stem = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
    let path = arguments.out.clone().unwrap_or_else(|| default_path(&stem));
    let folder = RunFolder::create(&path, &info, None)?;
    store::write(&folder.model(), &bytes)?;
    store::write(&folder.metrics(), b"")?;
    let form = Form { kind, view, rows: None };
    let grid = folder.sample(0, form.ending());
    std::fs::create_dir_all(grid.parent().unwrap_or(Path::new(".")))?;
    output::write_samples(&grid, &form, &samples, None, 0)?;
    card::write(&folder, &recipe, &Outcome { steps: 0, stopped: None, best: None, checkpoint: None })?;
    let path = path.display();
    let mut said = format!("{count} tensors of `{}` in {path}\n", arguments.file.display());
    if let Some(renamed) = renamed {
        writeln!(said, "names: {renamed}")?;
    }
    for part in untrained {
        writeln!(said, "the {part} is not in the file: it gets random values; only training uses it")?;
    }
    writeln!(said, "samples: {}\nnext: waxwork sample {path} · waxwork evaluate {path}", grid.display())?;
    Ok(said)
}
