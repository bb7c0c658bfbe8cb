//! Inception weights for an evaluation, and the path of its report.

use std::path::{Path, PathBuf};

use waxwork_eval::Inception;

use crate::failure::Failure;
#[cfg(feature = "hub")]
use crate::output;

/// Opens the weights of Inception-v3, which may be on the Hub.
pub(crate) fn inception(weights: Option<&Path>) -> Result<Option<Inception>, Failure> {
    weights.map(|weights| Ok(Inception::open(&fetched(weights)?)?)).transpose()
}

/// The local path of a file, which may be `hf:owner/name/path` on the Hub.
fn fetched(path: &Path) -> Result<PathBuf, Failure> {
    match path.to_str().and_then(|path| path.strip_prefix("hf:")) {
        Some(address) => from_hub(address),
        None => Ok(path.to_owned()),
    }
}

#[cfg(feature = "hub")]
fn from_hub(address: &str) -> Result<PathBuf, Failure> {
    let bar = output::bar_of_bytes("downloading");
    let path = waxwork_data::fetch_file(address, &|done, all| bar.set(done, all))?;
    bar.finish_and_clear();
    Ok(path)
}

#[cfg(not(feature = "hub"))]
fn from_hub(address: &str) -> Result<PathBuf, Failure> {
    Err(Failure::new(format!("this build cannot download `{address}`: build it with `--features hub`")))
}

/// The path of the report about the images of `path`.
pub(crate) fn report_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("metrics.json") } else { path.with_extension("metrics.json") }
}
