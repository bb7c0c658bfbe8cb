//! The native half of the Python package `waxwork`: calls the libraries without the interpreter's lock, and
//! turns their errors and warnings into those of Python. The package in `python/waxwork` is its only user.

#![expect(
    clippy::needless_pass_by_value,
    reason = "PyO3 gives functions the values that it makes of their arguments"
)]

mod arrays;
mod compute;
mod data;
mod errors;
mod metrics;
mod rows;
mod run;
mod train;
mod warnings;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Training allocates and frees the same large tensors at every step; see the program's `main`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command `waxwork` with these arguments, which start with the program's name, and returns its
/// exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| waxwork_cli::main(arguments, waxwork_kernels::threads::start))
}

/// The names of the embedded recipes.
#[pyfunction]
fn recipes() -> Vec<&'static str> {
    waxwork_models::embedded::RECIPES.iter().map(|(name, _)| *name).collect()
}

/// Whether this is the name of a data set, rather than of a file or a folder.
#[pyfunction]
fn is_data(name: &str) -> bool {
    use waxwork_data::manifest::{CLIPS, FOLDER, HUB, Manifest, SOUND, TABLE, TEXT};
    [CLIPS, FOLDER, SOUND, TABLE, TEXT].contains(&name)
        || name.starts_with(HUB)
        || Manifest::find(name).is_ok()
}

/// Panics, for the test of what Python then sees. Only a build with debug assertions has it.
#[cfg(debug_assertions)]
#[pyfunction]
fn fail(py: Python<'_>, message: &str, computing: bool) -> PyResult<()> {
    use std::panic::panic_any;
    if computing {
        return compute::compute(py, None, None, |_| panic_any(message.to_owned()));
    }
    errors::guard(|| panic_any(message.to_owned()))
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::arrays::{grid, labels};
    #[pymodule_export]
    use super::command;
    #[pymodule_export]
    use super::data::Data;
    #[cfg(debug_assertions)]
    #[pymodule_export]
    use super::fail;
    #[pymodule_export]
    use super::is_data;
    #[pymodule_export]
    use super::metrics::{cover_of, frechet_of, kernel_of, score_of};
    #[pymodule_export]
    use super::recipes;
    #[pymodule_export]
    use super::run::{Run, open};
    #[pymodule_export]
    use super::train::{resume, train};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
