//! Shell completion: recipes, data sets, and the keys of recipes with their values.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap_complete::engine::{PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, CompletionCandidate, Shell};
use waxwork_data::Manifest;
use waxwork_models::{Recipe, embedded, schema};

use crate::args::Arguments;
use crate::failure::Failure;

/// The variable with which a shell script requests candidates.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "waxwork";

/// Prints candidates and exits, if a shell requests them.
pub(crate) fn answer(arguments: &[OsString]) {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(Arguments::command).var(VARIABLE).bin(PROGRAM);
    match asked.try_complete(arguments.iter().cloned(), here.as_deref()) {
        Ok(false) => {}
        Ok(true) => std::process::exit(0),
        Err(error) => error.exit(),
    }
}

/// The completion script of a shell.
pub(crate) fn script(shell: Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string());
    let completer = completer.ok_or_else(|| Failure::new(format!("no completions for {shell}")))?;
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        script += include_str!("completion.bash");
    }
    Ok(script)
}

/// Recipes by name, TOML files and folders.
pub(crate) fn recipes(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let named = embedded::RECIPES.iter().filter(|(name, _)| name.starts_with(typed.as_ref()));
    let described = named.map(|(name, text)| {
        let recipe = Recipe::parse(text, name, &[]).ok();
        CompletionCandidate::new(*name).help(recipe.map(|recipe| recipe.description.into()))
    });
    let is_recipe = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "toml");
    described.chain(PathCompleter::any().filter(is_recipe).complete(current)).collect()
}

/// Data sets by name.
pub(crate) fn data_sets() -> Vec<CompletionCandidate> {
    let known = Manifest::all().unwrap_or_default().into_iter();
    known.map(|known| CompletionCandidate::new(known.name).help(Some(known.description.into()))).collect()
}

/// Keys of recipes before the equals sign, and their values after it.
pub(crate) fn settings(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let keys = schema::keys();
    if let Some((name, start)) = typed.split_once('=') {
        let values = keys.get(name).map(|key| key.values.as_slice()).unwrap_or_default();
        let fitting = values.iter().filter(|value| value.starts_with(start));
        return fitting.map(|value| CompletionCandidate::new(format!("{name}={value}"))).collect();
    }
    let fitting = keys.into_iter().filter(|(name, _)| name.starts_with(typed.as_ref()));
    fitting
        .map(|(name, key)| CompletionCandidate::new(format!("{name}=")).help(Some(key.description.into())))
        .collect()
}
