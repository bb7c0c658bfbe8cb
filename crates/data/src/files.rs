//! Where the files of a data set are: in a folder that the user names, or in the cache.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::manifest::{Manifest, Storage};
use crate::{Error, Result};

/// Returns the folder in which data sets are kept: `WAXWORK_DATA_DIR`, or `waxwork` in the user's cache
/// folder.
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
        reason: "this system has no cache folder; set `data.dir` or the variable WAXWORK_DATA_DIR".to_owned(),
    })
}

/// Finds the file `name` of a data set below `dir`, raw or gzipped. Looks into a folder with the data set's
/// name before `dir` itself, because MNIST and Fashion-MNIST use the same file names.
pub(crate) fn find(dir: &Path, manifest: &Manifest, name: &str) -> Option<PathBuf> {
    let folders = manifest.folders.iter().map(|folder| dir.join(folder)).chain([dir.to_path_buf()]);
    let names = names(manifest, name);
    folders
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)).collect::<Vec<_>>())
        .find(|path| path.is_file())
}

/// Returns the paths that the file `name` may have. Archives of MNIST have `train-images.idx3-ubyte` for
/// `train-images-idx3-ubyte`, and some unpack each file into a folder of its own name.
fn names(manifest: &Manifest, name: &str) -> Vec<String> {
    let mut plain = vec![name.to_owned()];
    if manifest.storage == Storage::Idx {
        plain.push(name.replacen("-idx", ".idx", 1));
    }
    let mut names: Vec<String> = plain.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]).collect();
    if manifest.storage == Storage::Idx {
        let inside = plain.iter().flat_map(|folder| names.iter().map(move |name| format!("{folder}/{name}")));
        let inside: Vec<String> = inside.collect();
        names.extend(inside);
    }
    names
}

/// Returns the contents of a file, decompressed if its first bytes say that it is gzipped.
pub(crate) fn unpacked(file: File) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(file);
    let gzipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Finds a file or folder in `dir` that may be the file `name` under another name, such as an archive or a
/// numbered download.
pub(crate) fn nearly(dir: &Path, manifest: &Manifest, name: &str) -> Option<PathBuf> {
    let stem = name.split("-idx").next().unwrap_or(name);
    let folders = manifest.folders.iter().map(|folder| dir.join(folder)).chain([dir.to_path_buf()]);
    let mut entries: Vec<PathBuf> = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
        .collect();
    entries.sort();
    let near = |path: &PathBuf| {
        path.file_name().is_some_and(|found| found.to_string_lossy().to_lowercase().starts_with(stem))
    };
    entries.into_iter().find(near)
}

/// Returns the path of the packed form of a data set below `dir`, where `fetch` puts it.
pub(crate) fn packed(dir: &Path, manifest: &Manifest) -> PathBuf {
    dir.join(format!("{}.waxpack", manifest.name))
}
