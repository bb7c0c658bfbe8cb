//! Tensors in safetensors files, and files that are either whole or not there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// The tensors as the bytes of a safetensors file; equal tensors give equal bytes.
pub fn encode(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut contiguous = BTreeMap::new();
    for (name, tensor) in tensors {
        contiguous.insert(name, tensor.detach().to_device(&Device::Cpu)?.contiguous()?);
    }
    Ok(safetensors::serialize(contiguous, None).map_err(candle_core::Error::from)?)
}

/// The tensors in the bytes of a safetensors file. `origin` is the path to name in an error.
pub fn decode(bytes: &[u8], origin: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let tensors = candle_core::safetensors::load_buffer(bytes, device)
        .map_err(|error| Error::Damaged { path: origin.to_owned(), reason: error.to_string() })?;
    Ok(tensors.into_iter().collect())
}

/// Reads a safetensors file.
///
/// # Errors
/// If the file cannot be read or is not a whole safetensors file; both name the path.
pub fn load(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    decode(&read(path)?, path, device)
}

/// Writes a safetensors file, whole or not at all.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    write(path, &encode(tensors)?)
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(failed("read", path))
}

/// Writes a file beside its place, syncs it, and renames it: whatever happens, `path` is the old file or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    let result = write_synced(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path).map_err(failed("rename", &beside)))
        .and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))));
    if result.is_err() {
        // The error that matters is the first one; a file that cannot be removed either is overwritten next time.
        let _ = fs::remove_file(&beside);
    }
    result
}

/// Writes a file in place and waits until it is on the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed("write", path))
}

/// Waits until a folder's entries are on the disk. Platforms that cannot sync a folder are passed over.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
    }
    Ok(())
}

/// Turns an I/O error into ours, with what was tried and where.
pub fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_and_equal_ones_give_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let tensors = BTreeMap::from([("x.t".into(), tensor.t().unwrap()), ("x".into(), tensor.clone())]);
        save(&path, &tensors).unwrap();
        let loaded = load(&path, &Device::Cpu).unwrap();
        assert_eq!(loaded["x.t"].to_vec2::<f32>().unwrap(), tensor.t().unwrap().to_vec2::<f32>().unwrap());
        assert_eq!(encode(&loaded).unwrap(), encode(&tensors).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing may be left beside the file");
    }

    #[test]
    fn damage_and_absence_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        assert!(load(&path, &Device::Cpu).unwrap_err().to_string().contains("a.safetensors"));
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(matches!(load(&path, &Device::Cpu), Err(Error::Damaged { .. })));
        assert!(matches!(write(&folder.path().join("no/such/file"), b"x"), Err(Error::File { .. })));
    }
}
