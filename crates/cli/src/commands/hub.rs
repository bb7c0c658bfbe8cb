//! `waxwork pull` and `waxwork push`: download runs from the Hub, and upload them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxwork_core::{Device, store};
use waxwork_data::hub::{Hub, Kind, Wanted};
use waxwork_eval::Report;
use waxwork_models::{Recipe, Run, Weights};
use waxwork_trainer::{RunFolder, RunInfo};

use crate::args::{PullArguments, PushArguments};
use crate::commands::card;
use crate::commands::complete::command_of;
use crate::commands::judging::report_of;
use crate::failure::Failure;
use crate::output;

/// Files that a repository must have to be a run.
const NEEDED: [&str; 3] = ["recipe.toml", "run.json", "model.safetensors"];
/// Optional files.
const MORE: [&str; 3] = ["README.md", "metrics.jsonl", "metrics.json"];

/// Keys of a card's front matter that are generated from the run; all others are kept.
const OURS: [&str; 5] = ["library_name:", "pipeline_tag:", "tags:", "datasets:", "model-index:"];

pub(crate) fn pull(arguments: &PullArguments) -> Result<String, Failure> {
    let repository = &arguments.repository;
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
    if out.exists() {
        return Err(waxwork_trainer::Error::RunExists(out).into());
    }
    let is_grid =
        |file: &str| file.starts_with("samples/") && (file.ends_with(".png") || file.ends_with(".txt"));
    let wanted = |file: &str| NEEDED.contains(&file) || MORE.contains(&file) || is_grid(file);
    let bar = output::bar_of_bytes("fetching");
    let snapshot = Hub::from_environment()?.fetch(
        Kind::Model,
        repository,
        &arguments.revision,
        Wanted::All(&wanted),
        &|done, all| bar.set(done, all),
    )?;
    bar.finish_and_clear();
    if let Some(missing) = NEEDED.iter().find(|file| !snapshot.files.contains_key(**file)) {
        return Err(Failure::new(format!(
            "`{repository}` is not a Waxwork run: it has no {missing}; `waxwork import` makes a run of weights alone"
        )));
    }
    // Fill and open the run under a temporary name first, so that whatever is at `out` is a working run.
    let beside = out.with_extension("pulling");
    let result = fill(&beside, &snapshot.files).and_then(|run| {
        std::fs::rename(&beside, &out).map_err(store::failed("rename", &beside))?;
        Ok(run)
    });
    if result.is_err() {
        // Report the first error.
        _ = std::fs::remove_dir_all(&beside);
    }
    let run = result?;
    let (path, makes) = (out.display(), command_of(&run.info.model));
    Ok(format!(
        "`{repository}` at {} in {path}: a {} of {} {}\nnext: waxwork {makes} {path} · waxwork evaluate {path}\n",
        snapshot.commit.get(..12).unwrap_or(&snapshot.commit),
        run.info.model.family,
        run.info.data,
        run.info.kind().plural()
    ))
}

/// Creates the run folder `path` from fetched files, and opens it.
fn fill(path: &Path, files: &std::collections::BTreeMap<String, PathBuf>) -> Result<Run, Failure> {
    for (name, file) in files {
        let target = path.join(name);
        let parent = target.parent().unwrap_or(path);
        std::fs::create_dir_all(parent).map_err(store::failed("create", parent))?;
        std::fs::copy(file, &target).map_err(store::failed("write", &target))?;
    }
    let folder = RunFolder::open(path)?;
    let recipe = anywhere(&folder)?;
    store::write(&path.join("recipe.toml"), recipe.as_bytes())?;
    Ok(Run::open(path, &Device::Cpu)?)
}

/// The recipe without the folders of this machine.
fn anywhere(folder: &RunFolder) -> Result<String, Failure> {
    let mut recipe = Recipe::of_run(folder, &[])?;
    recipe.data.dir = None;
    for path in recipe.data.paths_mut() {
        *path = path.file_name().map_or_else(PathBuf::new, PathBuf::from);
    }
    Ok(recipe.to_toml()?)
}

pub(crate) fn push(arguments: &PushArguments) -> Result<String, Failure> {
    let (path, repository) = (&arguments.run, &arguments.repository);
    let run = Run::open(path, &Device::Cpu)?;
    if run.weights != Weights::Finished {
        return Err(Failure::new(format!(
            "`{}` is not finished: resume it with `waxwork train --resume {0}`, then push it",
            path.display()
        )));
    }
    let report = report_of(path);
    let report: Option<Report> = if report.is_file() {
        Some(
            serde_json::from_slice(&store::read(&report)?)
                .map_err(|error| Failure::from(error).at(&report))?,
        )
    } else {
        tracing::warn!(
            "the model card has no metrics; to add them, run `waxwork evaluate {}` first",
            path.display()
        );
        None
    };
    let card = renewed(&run.folder, &run.info, report.as_ref(), repository)?;
    let mut files = vec![
        ("README.md".to_owned(), card.into_bytes()),
        ("recipe.toml".to_owned(), anywhere(&run.folder)?.into_bytes()),
    ];
    // Leave out paths of this machine, which the command line may contain too.
    let info = RunInfo { recipe: anywhere(&run.folder)?, command: Vec::new(), ..run.info.clone() };
    files.push(("run.json".to_owned(), output::json(&info)?.into_bytes()));
    let grid = run.folder.sample_shown(run.info.steps);
    let grid = format!("samples/{}", grid.file_name().unwrap_or_default().to_string_lossy());
    for name in ["model.safetensors", "metrics.jsonl", "metrics.json", &grid] {
        let file = path.join(name);
        if file.is_file() {
            files.push((name.to_owned(), store::read(&file)?));
        }
    }
    let size: usize = files.iter().map(|(_, contents)| contents.len()).sum();
    let (count, size) = (files.len(), output::bytes(size as u64));
    let message = format!("{} by waxwork {}", run.folder.name(), run.info.environment.version);
    let bar = Arc::new(output::bar_of_bytes("pushing"));
    let told = bar.clone();
    let progress = move |done, all| told.set(done, all);
    let address = Hub::from_environment()?.push(repository, arguments.private, &message, files, progress)?;
    bar.finish_and_clear();
    Ok(format!("{count} files ({size}) in {address}\nnext: waxwork pull {repository}\n"))
}

/// Returns the run's card with new front matter that has the metrics of `report`. The text of the card is
/// kept.
fn renewed(
    folder: &RunFolder,
    info: &RunInfo,
    report: Option<&Report>,
    repository: &str,
) -> Result<String, Failure> {
    let path = folder.card();
    let card = if path.is_file() {
        String::from_utf8_lossy(&store::read(&path)?).into_owned()
    } else {
        String::new()
    };
    let (theirs, body) = match card
        .strip_prefix(card::FENCE)
        .and_then(|rest| rest.split_once(&format!("\n{}", card::FENCE)))
    {
        Some((front, body)) => (kept(front), body),
        None => (String::new(), card.as_str()),
    };
    let mut renewed = card::front(folder, info, report)?;
    renewed.insert_str(card::FENCE.len(), &theirs);
    renewed += body;
    if !body.contains("waxwork pull") {
        write!(renewed, "\nGet it with `waxwork pull {repository}`.\n")?;
    }
    Ok(renewed)
}

/// The lines of the front matter whose keys are not in [`OURS`].
fn kept(front: &str) -> String {
    let mut keep = true;
    let lines = front.lines().filter(|line| {
        if !line.starts_with([' ', '-', '\t']) {
            keep = !OURS.iter().any(|key| line.starts_with(key));
        }
        keep
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_users_front_matter() {
        let front = "license: mit\ntags:\n- vae\n- mine\nlanguage:\n- en\nmodel-index:\n- name: x\n  results:\n  - a: 1\nlast: 1";
        assert_eq!(kept(front), "license: mit\nlanguage:\n- en\nlast: 1\n");
    }
}
