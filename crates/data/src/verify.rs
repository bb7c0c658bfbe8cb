//! Checks of the files of a data set against its manifest, file by file, for `waxwork data verify`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::{Error, Result, files, packed};
use waxwork_core::hash::hex;

/// What was found about one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name in the manifest.
    pub name: String,
    /// Where it is; None if it is missing.
    pub path: Option<PathBuf>,
    /// What is the matter with it.
    pub status: FileStatus,
}

/// Whether a file is what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum FileStatus {
    /// The hash is the manifest's.
    Verified,
    /// The size is right; the manifest has no hash to compare with this one.
    Unknown {
        /// SHA-256 of the uncompressed bytes.
        sha256: String,
    },
    /// Another hash.
    WrongHash {
        /// The manifest's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Another size.
    WrongSize {
        /// The manifest's, bytes uncompressed.
        expected: u64,
        /// The file's; one more than expected if it is any larger.
        found: u64,
    },
    /// It is not there.
    Missing,
    /// It cannot be read or decompressed.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl FileStatus {
    /// True for [`FileStatus::Verified`] and [`FileStatus::Unknown`].
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Verified | Self::Unknown { .. })
    }
}

/// Checks every file of the data set `name` below `dir` (default: the cache). An embedded data set has none.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Config`]; what is wrong with the files is in the report.
pub fn verify(name: &str, dir: Option<&Path>) -> Result<Vec<FileReport>> {
    let manifest = Manifest::find(name)?;
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => files::cache_dir()?,
    };
    let mut reports = Vec::new();
    for file in &manifest.files {
        let path = files::find(&dir, &manifest, &file.name);
        let status = match &path {
            None => FileStatus::Missing,
            Some(path) => match hash(path, file.bytes) {
                Err(error) => FileStatus::Unreadable { reason: error.to_string() },
                Ok((found, _)) if found != file.bytes => {
                    FileStatus::WrongSize { expected: file.bytes, found }
                }
                Ok((_, found)) => match &file.sha256 {
                    None => FileStatus::Unknown { sha256: found },
                    Some(expected) if *expected == found => FileStatus::Verified,
                    Some(expected) => FileStatus::WrongHash { expected: expected.clone(), found },
                },
            },
        };
        reports.push(FileReport { name: file.name.clone(), path, status });
    }
    let path = files::packed(&dir, &manifest);
    if path.is_file() {
        let status = match packed::open(&path) {
            Ok(_) => FileStatus::Verified,
            Err(error) => FileStatus::Unreadable { reason: error.to_string() },
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The packed file stands for all others.
        reports.retain(|report| report.status != FileStatus::Missing);
        reports.push(FileReport { name, path: Some(path), status });
    }
    Ok(reports)
}

/// Size, counted to one more than `expected`, and SHA-256 of the uncompressed bytes.
fn hash(path: &Path, expected: u64) -> Result<(u64, String)> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut contents = files::unpacked(file).map_err(Error::io("read", path))?.take(expected + 1);
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match contents.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok((size, hex(&hash.finalize()))),
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
