//! Checks the files of a data set against its manifest, file by file, for `waxwork data verify`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::{Error, Result, files, packed};
use waxwork_core::hash::hex;

/// The result for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name in the manifest.
    pub name: String,
    /// Its path; None if it is missing.
    pub path: Option<PathBuf>,
    /// Its status.
    pub status: FileStatus,
}

/// Whether a file matches the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum FileStatus {
    /// The hash matches the manifest.
    Verified,
    /// The size matches; the manifest has no hash to compare with.
    Unknown {
        /// SHA-256 of the uncompressed bytes.
        sha256: String,
    },
    /// The hash is wrong.
    WrongHash {
        /// The hash in the manifest.
        expected: String,
        /// The hash of the file.
        found: String,
    },
    /// The size is wrong.
    WrongSize {
        /// The uncompressed size in the manifest, bytes.
        expected: u64,
        /// The uncompressed size of the file, counted to at most one more than expected.
        found: u64,
    },
    /// The file is missing.
    Missing,
    /// The file cannot be read or decompressed.
    Unreadable {
        /// The reason.
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
/// [`Error::UnknownDataset`], [`Error::Config`]. Faults of the files are in the report instead.
pub fn verify(name: &str, dir: Option<&Path>) -> Result<Vec<FileReport>> {
    let manifest = Manifest::find(name)?.of_files()?;
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
        // The packed file replaces all others.
        reports.retain(|report| report.status != FileStatus::Missing);
        reports.push(FileReport { name, path: Some(path), status });
    }
    Ok(reports)
}

/// Returns the size, counted to one more than `expected`, and the SHA-256 of the uncompressed bytes.
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
