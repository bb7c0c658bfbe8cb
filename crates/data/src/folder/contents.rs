//! Hashes of the images or clips of a folder, so that a packed file is never used for other files.
//!
//! The name of a packed file is a SHA-256 over the bytes, the part and the class of every file, and the
//! output shape. So the same images share one packed file wherever they are, and other images cannot have the
//! same one. Hashing needs a read of every image, so the result is kept in a note next to the packed file.
//! The name of the note depends on what the system says about every file without opening it: its path and
//! size, and on Unix its inode number and change time (ctime), which no program can set. Other systems have
//! no such time, so every start hashes again.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use waxwork_core::ImageShape;

use super::FolderConfig;
use super::layout::{Listing, Picture};
use crate::picture::{self, Header};
use crate::{Error, Progress, Result};
use waxwork_core::hash::hex;

/// Increase this whenever the choice of images or their conversion changes.
const VERSION: u32 = 2;

/// The hash and the header of an image file.
pub(crate) struct Looked {
    /// SHA-256 of the file; None if it is unreadable.
    pub(crate) hash: Option<[u8; 32]>,
    /// None if the file is unreadable or not an image.
    pub(super) header: Option<Header>,
}

/// Reads the bytes of every file, in the order of the listing. A file of more than `most` bytes counts as
/// unreadable.
///
/// # Errors
/// [`Error::Io`], but not for a single file that is missing or unreadable: the decoder reports that later.
pub(crate) fn look(listing: &Listing, most: u64, progress: &Progress<'_>) -> Result<Vec<Looked>> {
    let pictures: Vec<&Picture> = listing.train.iter().chain(&listing.test).collect();
    let done = AtomicU64::new(0);
    let look = |picture: &&Picture| {
        let looked = match picture::read_up_to(&picture.path, most) {
            Ok(bytes) => Ok(Looked { hash: Some(hash(&bytes)), header: picture::header(&bytes).ok() }),
            Err(error) if is_of_one_file(&error) => Ok(Looked { hash: None, header: None }),
            Err(error) => Err(error),
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, pictures.len() as u64);
        looked
    };
    pictures.par_iter().map(look).collect()
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether the error concerns a single file (unreadable or too large), so that leaving out the file helps.
pub(super) fn is_of_one_file(error: &Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, PermissionDenied};
    match error {
        Error::Picture { .. } => true,
        Error::Io { source, .. } => matches!(source.kind(), NotFound | PermissionDenied | InvalidData),
        _ => false,
    }
}

/// Returns the key of the packed file of these images, converted to `shape`.
pub(super) fn key(config: &FolderConfig, shape: ImageShape, listing: &Listing, looked: &[Looked]) -> String {
    let skip = config.skip_unreadable;
    key_of(&format!("waxwork-data folder {VERSION} {shape} {skip}\n"), listing, looked)
}

/// Returns the key of the packed file for these files. `settings` describes how they are converted.
pub(crate) fn key_of(settings: &str, listing: &Listing, looked: &[Looked]) -> String {
    let mut hash = Sha256::new_with_prefix(settings);
    for class in &listing.classes {
        hash.update((class.len() as u64).to_le_bytes());
        hash.update(class);
    }
    let parts = [&listing.train, &listing.test].map(Vec::len);
    hash.update(format!("\n{} {} {}\n", listing.classes.len(), parts[0], parts[1]));
    for (picture, looked) in listing.train.iter().chain(&listing.test).zip(looked) {
        hash.update(picture.label.unwrap_or(u32::MAX).to_le_bytes());
        hash.update(looked.hash.unwrap_or_default());
    }
    hex(&hash.finalize())
}

/// Returns the path of the packed file with this key.
pub(crate) fn packed(cache: &Path, key: &str) -> PathBuf {
    cache.join("folders").join(format!("{key}.waxpack"))
}

/// Returns the path of the note for a folder's files, without opening them. Returns None if the system does
/// not say enough to rely on, or if a file changed so shortly before `now` that a further change may leave
/// its time the same. `settings` describe how the files are converted.
pub(crate) fn note(
    now: SystemTime,
    cache: &Path,
    dir: &Path,
    settings: &impl Debug,
    listing: &Listing,
) -> Option<PathBuf> {
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut hash = Sha256::new_with_prefix(format!("waxwork-data files {VERSION} {settings:?}\n"));
    hash.update(fs::canonicalize(dir).ok()?.as_os_str().as_encoded_bytes());
    for (part, pictures) in [("train", &listing.train), ("test", &listing.test)] {
        hash.update(format!("\n{part} {}\n", pictures.len()));
        for Picture { path, label } in pictures {
            let class = label.and_then(|label| listing.classes.get(label as usize));
            hash.update(format!("\n{class:?} {}\n", state(path, now)?));
            hash.update(path.strip_prefix(dir).unwrap_or(path).as_os_str().as_encoded_bytes());
        }
    }
    Some(cache.join("folders").join(format!("{}.known", hex(&hash.finalize()))))
}

/// Reads the key in a note.
pub(crate) fn recall(note: &Path) -> Option<String> {
    let key = fs::read_to_string(note).ok()?;
    let fine = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    fine.then_some(key)
}

/// Writes a key to a note. A failure is harmless: the next start hashes again.
pub(crate) fn remember(note: &Path, key: &str) {
    _ = waxwork_core::store::write(note, key.as_bytes());
}

/// Returns everything that the system says about a file and that changes with its contents; `now` is in
/// seconds.
#[cfg(unix)]
fn state(path: &Path, now: u64) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    /// The coarsest file system clock still in use, in seconds.
    const TICK: u64 = 2;
    let file = fs::metadata(path).ok()?;
    let settled = u64::try_from(file.ctime()).is_ok_and(|changed| changed > 0 && changed + TICK < now);
    settled.then(|| {
        let (changed, written) = ((file.ctime(), file.ctime_nsec()), (file.mtime(), file.mtime_nsec()));
        format!("{} {} {} {changed:?} {written:?}", file.dev(), file.ino(), file.size())
    })
}

#[cfg(not(unix))]
fn state(_: &Path, _: u64) -> Option<String> {
    None
}
