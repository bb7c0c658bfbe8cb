//! The binary `waxwork`: the command line of this process, its threads and its allocator.

use std::process::ExitCode;

/// Training allocates and frees the same large tensors at every step. glibc's allocator returns them to the
/// system each time; with mimalloc, a step takes less than half as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Checks standard output before Rust's runtime replaces a closed one by /dev/null, which would lose
/// output without an error.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "only the loader calls a function before the runtime starts")]
#[used]
// SAFETY: the section holds pointers to functions without arguments. The loader calls them while
// there is one thread.
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STANDARD_OUTPUT: extern "C" fn() = waxwork_cli::look_at_standard_output;

fn main() -> ExitCode {
    ExitCode::from(waxwork_cli::main(std::env::args_os().collect(), threads))
}

#[expect(unsafe_code, reason = "the environment is changed, which is safe while there is one thread")]
fn threads(count: usize) -> waxwork_kernels::Result<()> {
    // SAFETY: called at the start of main, before any other thread exists that could read the environment.
    unsafe { waxwork_kernels::threads::init(count) }
}
