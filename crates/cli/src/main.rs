//! The binary `waxwork`: arguments in, one call to a library, a report out.

mod args;
mod commands;
mod completion;
mod environment;
mod failure;
mod output;
mod pages;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::failure::Failure;

/// Training allocates and frees the same large tensors at every step, which glibc's allocator gives back to the system
/// each time: with mimalloc a step takes less than half as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

fn run(arguments: &Arguments) -> Result<String, Failure> {
    let threads = arguments.threads();
    leave_the_processors_to_rayon();
    output::start_messages(&arguments.messages);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    // On a thread of the pool a kernel starts at once; from outside, each of the hundreds in a step would wake a worker
    // and wait for it.
    rayon::scope(|_| commands::run(&arguments.command, threads))
}

/// Candle adds gradients up on a pool of its own whose workers spin after every operation, against rayon's, which does
/// all heavy work here: with that pool at one thread, a training step takes two thirds of the time. The variable is all
/// that candle lets us set.
#[expect(unsafe_code, reason = "no safe function sets a variable of the environment")]
fn leave_the_processors_to_rayon() {
    // SAFETY: called at the start of main, before any other thread exists that could read the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
}
