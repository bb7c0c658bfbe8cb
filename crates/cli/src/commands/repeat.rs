//! `waxwork repeat`: trains the recipe of a run again and compares the bytes.

use waxwork_models::Recipe;
use waxwork_models::resume::{data_differences, recipe_differences};
use waxwork_trainer::run_info::Status;
use waxwork_trainer::{Contents, RunFolder, Stop};

use crate::args::RepeatArguments;
use crate::commands::sample::load;
use crate::commands::train::{self, Session, Weights};
use crate::failure::Failure;
use crate::processes::Together;

pub(crate) fn run(arguments: &RepeatArguments, threads: usize) -> Result<String, Failure> {
    let path = arguments.run.display();
    let folder = RunFolder::open(&arguments.run)?;
    let info = folder.info()?;
    if info.status != Status::Finished {
        return Err(Failure::new(format!(
            "`{path}` is not finished, so there is no result to compare with; finish it with `waxwork train --resume {path}`"
        )));
    }
    let expected = Contents::of(&folder)?;
    let mut recipe = Recipe::of_run(&folder, &[])?;
    let mut differences = recipe_differences(&info, &recipe)?;
    if let Some(dir) = arguments.data_dir.as_ref() {
        recipe.data.dir = Some(std::path::absolute(dir)?);
    }
    let data = load(&recipe.data)?;
    differences.extend(data_differences(&info, &data));
    if !differences.is_empty() {
        let differences = differences.join(", ");
        return Err(Failure::new(format!("`{path}` was trained with different settings: {differences}")));
    }
    let initial = folder.initial()?.zip(info.forked_from.clone());
    let weights = initial.map(|(tensors, from)| Weights { tensors, run: from.run, step: from.step });
    let session = Session::new(&arguments.device, threads, Stop::new(None), &Together::alone())?;
    let out = arguments.out.clone().unwrap_or_else(|| folder.beside("-repeated"));
    train::start(recipe, data, &out, weights.as_ref(), &session)?;

    let new = RunFolder::open(&out)?;
    let others = new.info()?.environment.differences(&info.environment);
    verdict(&folder, &new, &expected, &others)
}

/// Reports that all bytes of `new` are those of `run`, or fails with the first difference. `others` lists
/// other differences, of the environment.
pub(crate) fn verdict(
    run: &RunFolder,
    new: &RunFolder,
    expected: &Contents,
    others: &[String],
) -> Result<String, Failure> {
    let found = Contents::of(new)?;
    let (run, new) = (run.path().display(), new.path().display());
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    match found.first_difference(expected)? {
        None => {
            let count = found.hashes()?.len();
            Ok(format!("the bytes of `{new}` and `{run}` agree: {count} tensors and files{others}\n"))
        }
        Some(difference) => {
            Err(Failure::different(format!("the bytes of `{new}` and `{run}` differ: {difference}{others}")))
        }
    }
}
