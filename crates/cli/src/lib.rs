//! The command `waxwork` as a library, for the binary and for other programs that include it: takes
//! arguments, calls one library function, returns a report. The items that the Python package needs are
//! public; the rest is private to the command.

mod args;
mod clips;
mod commands;
mod completion;
mod environment;
mod failure;
mod notes;
mod output;
mod pages;
mod processes;
mod texts;

use std::ffi::OsString;

use clap::Parser;
use waxwork_distributed::Launch;

use crate::args::Arguments;

pub use crate::commands::{finish_run, write_evaluation, write_report};
pub use crate::environment::environment;
pub use crate::failure::Failure;
#[cfg(target_os = "linux")]
pub use crate::output::look_at_standard_output;

/// Runs the command line `arguments`, which start with the program's name, and returns its exit code.
/// Before any computation, calls `threads` with the number of threads to start. An invalid command
/// line ends the process.
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
