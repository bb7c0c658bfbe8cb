//! What every reader of files shares: finding a manifest's files, checking their hashes, and the two parts
//! that they give.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::manifest::{Manifest, ManifestFile, Role};
use crate::{Error, Result, Source, files, identity};

/// The original training and test part of a data set, before anything is held out.
pub(crate) struct Parts {
    pub(crate) train: Arc<dyn Source>,
    pub(crate) test: Arc<dyn Source>,
    pub(crate) identity: String,
}

impl Parts {
    pub(crate) fn new(
        train: impl Source + 'static,
        test: impl Source + 'static,
        classes: &[String],
    ) -> Result<Self> {
        let identity = identity::of_content(classes, &train, &test)?;
        Ok(Self { train: Arc::new(train), test: Arc::new(test), identity })
    }
}

/// The files of `role` below `dir`, in the order of the manifest.
pub(crate) fn locate_all<'m>(
    manifest: &'m Manifest,
    dir: &Path,
    role: Role,
) -> Result<Vec<(&'m ManifestFile, PathBuf)>> {
    let of_role = manifest.files.iter().filter(|file| file.role == role);
    of_role
        .map(|file| match files::find(dir, manifest, &file.name) {
            Some(path) => Ok((file, path)),
            None => Err(missing(manifest, file, dir)),
        })
        .collect()
}

/// The one file of `role` below `dir`.
pub(crate) fn locate<'m>(
    manifest: &'m Manifest,
    dir: &Path,
    role: Role,
) -> Result<(&'m ManifestFile, PathBuf)> {
    locate_all(manifest, dir, role)?.into_iter().next().ok_or_else(|| Error::Manifest {
        dataset: manifest.name.clone(),
        reason: format!("it has no file of role {role:?}"),
    })
}

fn missing(manifest: &Manifest, file: &ManifestFile, dir: &Path) -> Error {
    Error::Missing {
        dataset: manifest.name.clone(),
        file: file.name.clone(),
        dir: dir.to_path_buf(),
        near: files::nearly(dir, manifest, &file.name),
    }
}

/// Compares the hash and the size of a file's uncompressed bytes with the manifest's. If the manifest has no
/// hash, the file may still be recognised as another data set's.
pub(crate) fn check_file(
    manifest: &Manifest,
    file: &ManifestFile,
    path: &Path,
    found: &str,
    bytes: usize,
) -> Result<()> {
    if file.sha256.as_deref() == Some(found) {
        return Ok(());
    }
    for other in Manifest::all()?.iter().filter(|other| other.name != manifest.name) {
        if other.files.iter().any(|file| file.sha256.as_deref() == Some(found)) {
            let (dataset, found) = (manifest.name.clone(), other.name.clone());
            return Err(Error::OtherDataset { path: path.to_path_buf(), dataset, found });
        }
    }
    match &file.sha256 {
        None if bytes as u64 == file.bytes => Ok(()),
        None => Err(Error::format(path, format!("{} bytes uncompressed", file.bytes), bytes.to_string())),
        Some(expected) => Err(Error::Hash {
            path: path.to_path_buf(),
            dataset: manifest.name.clone(),
            expected: expected.clone(),
            found: found.to_owned(),
        }),
    }
}
