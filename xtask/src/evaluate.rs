//! `cargo xtask evaluate`: builds the program and evaluates runs with it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::waxwork::{self, DataAsked, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the program `waxwork`, optimised, and evaluate runs on test data

Usage: cargo xtask evaluate RUN ... [options]

The command evaluates each run on the test part of its data set. Give the run folders first. The
options are passed to `waxwork evaluate` unchanged.

Examples:
  cargo xtask evaluate runs/vae-digits-1
  cargo xtask evaluate runs/a runs/b --data-dir path/to/data";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let split = args.iter().position(|arg| arg.starts_with('-')).unwrap_or(args.len());
    let (runs, options) = args.split_at(split);
    if runs.is_empty() {
        bail!("no run was given; give a run folder, as in `cargo xtask evaluate runs/vae-digits-1`");
    }
    let workspace = Workspace::load()?;
    let device = value_of(options, "--device").unwrap_or("cpu");
    let program = waxwork::build_for(&workspace, Profile::Release, Hub::Off, device)?;
    let recipes = runs.iter().map(|run| Path::new(run).join("recipe.toml"));
    let asked = recipes.filter_map(|recipe| DataAsked::of_recipe_file(&recipe));
    let asked = asked.map(|data| DataAsked {
        dir: value_of(options, "--data-dir").map(str::to_owned).or(data.dir),
        ..data
    });
    waxwork::add_hub_if_needed(&workspace, &program, &asked.collect::<Vec<_>>(), device)?;
    for run in runs {
        let code = process::forward(Command::new(&program).arg("evaluate").arg(run).args(options))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The value of an option, which is the next argument or follows an equals sign.
fn value_of<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    let of_next = options.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
    of_next.or_else(|| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_value_of_an_option_in_both_forms() {
        let of = |options: &[&str]| {
            let options = options.iter().map(ToString::to_string).collect::<Vec<_>>();
            value_of(&options, "--data-dir").map(str::to_owned)
        };
        assert_eq!(of(&["-q", "--data-dir", "d"]).as_deref(), Some("d"));
        assert_eq!(of(&["--data-dir=d"]).as_deref(), Some("d"));
        assert_eq!(of(&["--data-dir"]), None);
    }
}
