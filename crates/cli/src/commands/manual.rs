//! `waxwork man`: the manual pages of this program.

use std::path::Path;

use clap::CommandFactory;
use waxwork_core::store;

use crate::args::Arguments;
use crate::failure::Failure;

/// Writes a page for the program and one for every command into `folder`, which is created if
/// it does not exist.
pub(crate) fn run(folder: &Path) -> Result<String, Failure> {
    std::fs::create_dir_all(folder).map_err(store::failed("create", folder))?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(store::failed("write", folder))?;
    Ok(format!("manual pages in {0}: man -l {0}/waxwork.1\n", folder.display()))
}
