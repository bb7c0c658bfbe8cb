//! The command `waxwork` as a library, for the binary and for other programs that carry it: arguments in, one call to a library, a
//! report out. What the Python package needs of it is public; the rest is the command's own.

mod args;
mod commands;
mod completion;
mod environment;
mod failure;
mod notes;
mod output;
mod pages;
mod processes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use waxwork_core::Device;
use waxwork_data::Dataset;
use waxwork_distributed::Launch;
use waxwork_models::{Recipe, Run};
use waxwork_trainer::{Outcome, RunFolder};

use crate::args::Arguments;

pub use crate::environment::environment;
pub use crate::failure::Failure;
#[cfg(target_os = "linux")]
pub use crate::output::look_at_standard_output;

/// Runs the command line `arguments`, the program's name first, and returns its exit code. `threads` starts as many threads as it is
/// given, before anything is computed. What is wrong with the command line ends the process.
pub fn main(arguments: Vec<OsString>, threads: impl FnOnce(usize) -> waxwork_kernels::Result<()>) -> u8 {
    let arguments = environment::keep_command_line(arguments);
    completion::answer(arguments);
    let arguments = Arguments::parse_from(arguments);
    match run(&arguments, threads).and_then(|report| output::report(&report)) {
        Ok(()) => 0,
        Err(failure) => {
            output::failed(&failure);
            failure.code
        }
    }
}

fn run(
    arguments: &Arguments,
    threads: impl FnOnce(usize) -> waxwork_kernels::Result<()>,
) -> Result<String, Failure> {
    let launch = Launch::of_environment()?;
    let count = arguments.threads(launch.as_ref());
    threads(count)?;
    output::start_messages(&arguments.messages, launch.as_ref().map(|launch| launch.rank));
    waxwork_kernels::threads::enter(|| commands::run(&arguments.command, count, launch))
}

/// Writes the page of a run to `out`, by default RUN/report.html, and returns its path; `data` loads the run's data set.
///
/// # Errors
/// If the folder is no run, or the page cannot be written. Parts that cannot be drawn are left out, and the page says why.
pub fn write_report(
    run: &Path,
    out: Option<&Path>,
    data: impl FnOnce(&Run) -> Result<Dataset, Failure>,
    device: &Device,
) -> Result<PathBuf, Failure> {
    commands::write_report(run, out, data, device)
}

/// Writes what belongs to a run that has been trained to its end: its page, and the model card.
///
/// # Errors
/// If the card cannot be written. A page can be written again at any time, so that its failure is only logged.
pub fn finish_run(
    folder: &RunFolder,
    data: &Dataset,
    recipe: &Recipe,
    outcome: &Outcome,
    device: &Device,
) -> Result<(), Failure> {
    commands::finish_run(folder, data, recipe, outcome, device)
}
