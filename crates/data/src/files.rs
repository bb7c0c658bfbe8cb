//! Where the files of a data set are: in a folder that the user names, or in the cache.

use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::{Error, Result};

/// The folder in which data sets are kept: `WAXWORK_DATA_DIR`, or `waxwork` in the user's cache folder.
///
/// # Errors
/// [`Error::Config`] if neither is known.
pub fn cache_dir() -> Result<PathBuf> {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = from("WAXWORK_DATA_DIR") {
        return Ok(dir);
    }
    let user_cache = if cfg!(windows) {
        from("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        from("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    user_cache.map(|dir| dir.join("waxwork")).ok_or_else(|| Error::Config {
        key: "data.dir",
        reason: "there is no cache folder on this system; name a folder or set WAXWORK_DATA_DIR".to_owned(),
    })
}

/// The file `name` of a data set below `dir`, raw or gzipped. A folder that carries the data set's name comes before
/// `dir` itself, since the files of MNIST and of Fashion-MNIST have the same names.
pub(crate) fn find(dir: &Path, manifest: &Manifest, name: &str) -> Option<PathBuf> {
    let folders = manifest.folders.iter().map(|folder| dir.join(folder)).chain([dir.to_path_buf()]);
    let names = [name.to_owned(), format!("{name}.gz")];
    folders.flat_map(|folder| names.clone().map(|name| folder.join(name))).find(|path| path.is_file())
}

/// The packed form of a data set below `dir`, which `fetch` leaves there.
pub(crate) fn packed(dir: &Path, manifest: &Manifest) -> PathBuf {
    dir.join(format!("{}.waxpack", manifest.name))
}
