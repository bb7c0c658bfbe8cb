//! The binary `waxwork`: arguments in, one call to a library, a report out.

mod args;
mod commands;
mod completion;
mod environment;
mod failure;
mod notes;
mod output;
mod pages;
mod processes;

use std::process::ExitCode;

use clap::Parser;
use waxwork_distributed::Launch;

use crate::args::Arguments;
use crate::failure::Failure;

/// Training allocates and frees the same large tensors at every step, which glibc's allocator gives back to the system
/// each time: with mimalloc a step takes less than half as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Checks standard output before Rust's runtime replaces a closed one by /dev/null, where output would be lost without an
/// error.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only the loader calls a function before the runtime starts")]
#[used]
// SAFETY: the section holds pointers to functions without arguments. The loader calls them while there is one thread.
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STANDARD_OUTPUT: extern "C" fn() = output::look_at_standard_output;

fn main() -> ExitCode {
    completion::answer();
    let arguments = Arguments::parse();
    match run(&arguments).and_then(|report| output::report(&report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failed(&failure);
            ExitCode::from(failure.code)
        }
    }
}

#[expect(unsafe_code, reason = "the environment is changed, which is safe while there is one thread")]
fn run(arguments: &Arguments) -> Result<String, Failure> {
    let launch = Launch::of_environment()?;
    let threads = arguments.threads(launch.as_ref());
    // SAFETY: called at the start of main, before any other thread exists that could read the environment.
    unsafe { waxwork_kernels::threads::init(threads) }?;
    output::start_messages(&arguments.messages, launch.as_ref().map(|launch| launch.rank));
    waxwork_kernels::threads::enter(|| commands::run(&arguments.command, threads, launch))
}
