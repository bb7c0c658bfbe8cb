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
mod texts;

use std::ffi::OsString;

use clap::Parser;
use waxwork_distributed::Launch;

use crate::args::Arguments;

pub use crate::commands::{finish_run, write_report};
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
