//! The commands; one file per command or per few related ones.

mod card;
mod compare;
mod compare_page;
mod complete;
mod data;
mod doctor;
mod evaluate;
mod export;
mod fit_prior;
mod forecast;
pub(crate) mod foreign;
#[cfg(feature = "hub")]
mod hub;
mod import;
mod judging;
mod latents;
mod manual;
mod rate;
mod recipes;
mod repeat;
mod report;
mod report_rows;
mod report_texts;
mod run_view;
mod runs;
mod sample;
mod sample_rows;
mod sampler_page;
mod sweep;
mod tables;
mod train;
mod walk;

use waxwork_distributed::Launch;

pub use evaluate::write_evaluation;
pub use report::write as write_report;
pub use train::finish_run;

use crate::args::Command;
use crate::completion;
use crate::failure::Failure;
use crate::processes::Together;

/// Runs a command and returns its report for standard output.
pub(crate) fn run(command: &Command, threads: usize, launch: Option<Launch>) -> Result<String, Failure> {
    if let (Some(Launch { launcher, size, .. }), false) = (&launch, may_be_shared(command)) {
        return Err(Failure::usage(format!(
            "{launcher} started {size} processes, but only `waxwork train`, `evaluate` and `sample` share their work: start \
             this command once, or set WAXWORK_MPI=none if each process has work of its own"
        )));
    }
    match command {
        Command::Train(arguments) => {
            Together::run(launch, |together| train::run(arguments, threads, together))
        }
        Command::Sweep(arguments) => sweep::run(arguments, threads),
        Command::Repeat(arguments) => repeat::run(arguments, threads),
        Command::FitPrior(arguments) => fit_prior::run(arguments, threads),
        Command::Sample(arguments) => {
            Together::run_alike(launch, |together| sample::sample(arguments, together))
        }
        Command::Interpolate(arguments) => walk::interpolate(arguments),
        Command::Traverse(arguments) => walk::traverse(arguments),
        Command::Reconstruct(arguments) => sample::reconstruct(arguments),
        Command::Complete(arguments) => complete::run(arguments),
        Command::Encode(arguments) => latents::encode(arguments),
        Command::Decode(arguments) => latents::decode(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments, threads),
        #[cfg(feature = "hub")]
        Command::Pull(arguments) => hub::pull(arguments),
        #[cfg(feature = "hub")]
        Command::Push(arguments) => hub::push(arguments),
        #[cfg(not(feature = "hub"))]
        Command::Pull(_) | Command::Push(_) => {
            Err(Failure::new("this build cannot reach the Hub: build it with `--features hub`"))
        }
        Command::Evaluate(arguments) => {
            Together::run_alike(launch, |together| evaluate::run(arguments, together))
        }
        Command::Compare(arguments) => compare::run(arguments),
        Command::Rate(arguments) => rate::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Runs { command } => runs::run(command.as_ref()),
        Command::Recipes { command } => recipes::run(command.as_ref()),
        Command::Data { command } => data::run(command.as_ref()),
        Command::Doctor { json } => doctor::run(*json, threads),
        Command::Man { folder } => manual::run(folder),
        Command::Completions { shell } => completion::script(*shell),
    }
}

/// Whether several processes can run a command, together or each by itself.
fn may_be_shared(command: &Command) -> bool {
    matches!(command, Command::Train(_) | Command::Evaluate(_) | Command::Sample(_) | Command::Doctor { .. })
}
