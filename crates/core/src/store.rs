//! Tensors in safetensors files, and atomic file writes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use crate::{Error, Result};

/// The extension of a file that is being written next to its final place. After a crash such files can be
/// removed.
pub const UNFINISHED: &str = "tmp";

/// Encodes tensors as a safetensors file; equal tensors give equal bytes.
///
/// # Errors
/// If the format does not support the type of a tensor.
pub fn encode(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut contiguous = BTreeMap::new();
    for (name, tensor) in tensors {
        contiguous.insert(name, to_host(tensor)?.contiguous()?);
    }
    Ok(safetensors::serialize(contiguous, None).map_err(candle_core::Error::from)?)
}

/// The tensor in host memory; a tensor that is there already shares its storage.
///
/// # Errors
/// If it cannot be copied.
pub fn to_host(tensor: &Tensor) -> Result<Tensor> {
    // Copying from a device copies the whole storage, of which the tensor may be a small part.
    let tensor = tensor.detach();
    let tensor = if tensor.device().is_cpu() { tensor } else { tensor.force_contiguous()? };
    Ok(tensor.to_device(&Device::Cpu)?)
}

/// Decodes the bytes of a safetensors file. `origin` is the path to name in an error.
///
/// # Errors
/// [`Error::Damaged`] names `origin` if the bytes are not a complete safetensors file.
pub fn decode(bytes: &[u8], origin: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let damaged = |reason: String| Error::Damaged { path: origin.to_owned(), reason };
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if checked_len(view.shape()).is_none() {
            return Err(damaged(format!("its tensor `{name}` has the shape {:?}", view.shape())));
        }
        let tensor = if view.dtype() == safetensors::Dtype::BOOL {
            // As in NumPy's files: booleans become the numbers 0 and 1, not 8-bit values.
            let numbers: Vec<f32> = view.data().iter().map(|&byte| f32::from(u8::from(byte != 0))).collect();
            Tensor::from_vec(numbers, view.shape(), device)
        } else {
            view.load(device)
        };
        let tensor = tensor.map_err(|error| damaged(format!("its tensor `{name}`: {error}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The number of values in a tensor of this shape. None if the product of the nonzero sides overflows,
/// because candle multiplies them unchecked.
pub(crate) fn checked_len(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// Reads a safetensors file.
///
/// # Errors
/// If the file cannot be read or is not a complete safetensors file; both errors name the path.
pub fn load(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    decode(&read(path)?, path, device)
}

/// Writes a safetensors file atomically.
///
/// # Errors
/// [`Error::File`] names the path and the operation.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    write(path, &encode(tensors)?)
}

/// Reads a file.
///
/// # Errors
/// [`Error::File`] names the path.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    refuse_special(path).and_then(|()| fs::read(path)).map_err(failed("read", path))
}

/// Refuses pipes and devices: reading a pipe may never end, reading a device may fill the memory, and a file
/// must not replace either.
///
/// # Errors
/// If `path` exists and is neither a file nor a folder.
pub fn refuse_special(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(std::io::Error::other("it is a device, a pipe or a socket, not a file"));
    }
    Ok(())
}

/// Writes a file atomically: writes it next to its place, syncs it and renames it. Whatever happens, `path`
/// is the old file or the new one.
///
/// # Errors
/// [`Error::File`] names the path and the operation.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = GrowingFile::create(path)?;
    file.append(bytes)?;
    file.finish()
}

/// A file that is written part by part next to its final place, and moved there when it is complete. Until
/// then `path` is unchanged, and it stays so if the file is never completed.
#[derive(Debug)]
pub struct GrowingFile {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    /// Bytes that may not have reached the disk yet.
    unsynced: usize,
    finished: bool,
}

impl GrowingFile {
    /// Bytes after which the file is synced. The disk then works between the writes and has little left to do
    /// at the end.
    const SYNC_EVERY: usize = 4 << 20;

    /// Starts a file; `path` is its final place.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        refuse_special(path).map_err(failed("write", path))?;
        let beside = beside(path);
        // A process with this number that died may have left such a file. `create_new` follows no link, so
        // nothing is written outside the folder.
        _ = fs::remove_file(&beside);
        let file = File::create_new(&beside).map_err(failed("write", &beside))?;
        Ok(Self { path: path.to_owned(), beside, file, unsynced: 0, finished: false })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If the bytes cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(failed("write", &self.beside))?;
        self.unsynced += bytes.len();
        if self.unsynced >= Self::SYNC_EVERY {
            self.file.sync_data().map_err(failed("write", &self.beside))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Syncs the file and renames it to its final place.
    ///
    /// # Errors
    /// If it cannot be synced or renamed; `path` is then unchanged.
    pub fn finish(mut self) -> Result<()> {
        self.file.sync_all().map_err(failed("write", &self.beside))?;
        fs::rename(&self.beside, &self.path).map_err(failed("rename", &self.beside))?;
        self.finished = true;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for GrowingFile {
    fn drop(&mut self) {
        if !self.finished {
            // The cause has been reported. A file that cannot be removed either is overwritten next time.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Writes a file in place and waits until it is on the disk.
///
/// # Errors
/// [`Error::File`] names the path and the operation.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed("write", path))
}

/// Waits until a folder's entries are on the disk. Does nothing on platforms that cannot sync a folder.
///
/// # Errors
/// [`Error::File`] names the folder.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
    }
    Ok(())
}

/// Adds the action and the path to an I/O error.
pub fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// The temporary path of a file: a different one per process, so that if two processes write one file, each
/// leaves a complete one.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{UNFINISHED}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn a_file_that_never_becomes_whole_leaves_its_place_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"old").unwrap();
        let mut file = GrowingFile::create(&path).unwrap();
        file.append(b"new").unwrap();
        drop(file);
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut file = GrowingFile::create(&path).unwrap();
        file.append(b"ne").unwrap();
        file.append(b"w").unwrap();
        file.finish().unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn writing_never_follows_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (folder.path().join("a"), folder.path().join("precious"));
        fs::write(&precious, "old").unwrap();
        for link in [beside(&path), path.clone()] {
            std::os::unix::fs::symlink(&precious, link).unwrap();
            write(&path, b"new").unwrap();
            assert_eq!(read(&precious).unwrap(), b"old");
            assert!(!path.is_symlink() && read(&path).unwrap() == b"new");
            fs::remove_file(&path).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn neither_reads_nor_replaces_special_files() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, zeros) = (folder.path().join("socket"), folder.path().join("zeros"));
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &zeros).unwrap();
        for path in [&socket, &zeros] {
            for error in [read(path).unwrap_err(), write(path, b"x").unwrap_err()] {
                assert!(matches!(&error, Error::File { path: named, .. } if named == path), "{error}");
            }
        }
        assert!(zeros.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
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

    /// A tensor file made of a header and its numbers.
    fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), numbers].concat()
    }

    #[test]
    fn rejects_false_headers() {
        let decode = |bytes: &[u8]| decode(bytes, Path::new("x"), &Device::Cpu);
        let good = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        assert_eq!(decode(&file(good, &[0; 8])).unwrap()["a"].dims(), [1, 2]);
        let large = "4611686018427387904";
        for (shape, end) in [("3", "8"), ("2", "9"), (large, "8"), (&format!("{large},{large},0"), "0")] {
            let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#);
            assert!(matches!(decode(&file(&header, &[0; 8])), Err(Error::Damaged { .. })), "{header}");
        }
        let truths = r#"{"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}"#;
        let truths = decode(&file(truths, &[0, 1, 1])).unwrap().remove("a").unwrap();
        assert_eq!(truths.to_vec1::<f32>().unwrap(), [0.0, 1.0, 1.0]);
        let mut long = file(good, &[0; 8]);
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode(&long), Err(Error::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_and_never_panic(
            sides in proptest::collection::vec(0usize..4, 0..4), cut: prop::sample::Index, bit: prop::sample::Index,
        ) {
            let values: Vec<f32> = (0..sides.iter().product()).map(|i| i as f32).collect();
            let tensor = Tensor::from_vec(values, sides, &Device::Cpu).unwrap();
            let tensors = BTreeMap::from([("a".to_owned(), tensor.clone()), ("b".to_owned(), tensor)]);
            let whole = encode(&tensors).unwrap();
            let origin = Path::new("x");
            prop_assert_eq!(&encode(&decode(&whole, origin, &Device::Cpu).unwrap()).unwrap(), &whole);
            prop_assert!(decode(&whole[..cut.index(whole.len())], origin, &Device::Cpu).is_err());
            let (mut flipped, bit) = (whole.clone(), bit.index(8 * whole.len()));
            flipped[bit / 8] ^= 1 << (bit % 8);
            _ = decode(&flipped, origin, &Device::Cpu);
        }
    }
}
