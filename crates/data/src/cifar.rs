//! The binary version of CIFAR-10: records of one label byte and 3,072 pixel bytes, channel first, rows from
//! the top.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use waxwork_core::ImageShape;

use crate::manifest::{Manifest, Role};
use crate::parts::{Parts, check_file, locate_all};
use crate::{Error, InMemory, Result};
use waxwork_core::hash::hex;

/// Reads the six files of `manifest` below `dir`, and checks their hashes if the manifest has them.
///
/// # Errors
/// [`Error::Missing`], [`Error::Io`], [`Error::Format`], [`Error::Label`], [`Error::Hash`].
pub(crate) fn load(manifest: &Manifest, dir: &Path) -> Result<Parts> {
    let shape = manifest.image_shape()?;
    let part = |role: Role| -> Result<InMemory> {
        let count = if role == Role::Train { manifest.train } else { manifest.test };
        let mut pixels = Vec::with_capacity(count * shape.len());
        let mut labels = Vec::with_capacity(count);
        for (file, path) in locate_all(manifest, dir, role)? {
            let bytes = read(&path, file.bytes)?;
            let (more_pixels, more_labels) = records(&path, &bytes, shape, manifest.classes.len())?;
            check_file(manifest, file, &path, &hex(&Sha256::digest(&bytes)), bytes.len())?;
            pixels.extend(more_pixels);
            labels.extend(more_labels);
        }
        InMemory::new(shape, pixels, Some(labels))
    };
    Parts::new(part(Role::Train)?, part(Role::Test)?, &manifest.classes)
}

/// Returns the pixels and the labels of a file's records.
///
/// # Errors
/// [`Error::Format`] if the bytes are not a whole number of records, at least one; [`Error::Label`] if a
/// label is not below `classes`. `path` only appears in errors.
pub fn records(path: &Path, bytes: &[u8], shape: ImageShape, classes: usize) -> Result<(Vec<u8>, Vec<u32>)> {
    let size = shape.len() + 1;
    if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::format(path, format!("records of {size} bytes, at least one"), found));
    }
    let mut pixels = Vec::with_capacity(bytes.len() / size * shape.len());
    let mut labels = Vec::with_capacity(bytes.len() / size);
    for (index, record) in bytes.chunks_exact(size).enumerate() {
        let label = u32::from(record[0]);
        if label as usize >= classes {
            return Err(Error::Label { path: path.to_path_buf(), index, label, classes });
        }
        labels.push(label);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok((pixels, labels))
}

/// Reads at most one byte more than the manifest says, so that a wrong file costs no memory.
fn read(path: &Path, expected: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(expected + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let found = bytes.len() as u64;
    if found != expected {
        let found = if found > expected { "more".to_owned() } else { format!("{found}") };
        return Err(Error::format(path, format!("{expected} bytes"), found));
    }
    Ok(bytes)
}
