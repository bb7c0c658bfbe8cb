//! What the pictures of a folder contain, so that a packed file is never taken for that of other pictures.
//!
//! A packed file is named by the SHA-256 of every picture's bytes, its part and its class, and the shape of the images: the same pictures
//! have one packed file wherever they lie, and no others can have it. To hash all of them takes reading all of them, so what was
//! found is kept in a note beside the packed file. The note is named by what the system says of every file without opening it: path, size,
//! and on Unix the file's number and the time of its last change, which no program can set. Elsewhere there is no such time, and
//! every start hashes.

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

/// Raised by any change to which pictures are taken and how they are made into images.
const VERSION: u32 = 2;

/// What one look at a picture's bytes gives.
pub(super) struct Looked {
    /// SHA-256 of the file; None if it cannot be read.
    pub(super) hash: Option<[u8; 32]>,
    /// None if it cannot be read, or is no picture.
    pub(super) header: Option<Header>,
}

/// Reads every picture's bytes, in the order in which they are listed.
///
/// # Errors
/// [`Error::Io`], but not of a single picture that is missing or locked away: the decoder says that again.
pub(super) fn look(listing: &Listing, progress: &Progress<'_>) -> Result<Vec<Looked>> {
    let pictures: Vec<&Picture> = listing.train.iter().chain(&listing.test).collect();
    let done = AtomicU64::new(0);
    let look = |picture: &&Picture| {
        let looked = match picture::read(&picture.path) {
            Ok(bytes) => Ok(Looked { hash: Some(hash(&bytes)), header: picture::header(&bytes).ok() }),
            Err(error) if is_of_one_file(&error) => Ok(Looked { hash: None, header: None }),
            Err(error) => Err(error),
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, pictures.len() as u64);
        looked
    };
    pictures.par_iter().map(look).collect()
}

pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether a file alone cannot be read or is too large, so that leaving it out helps.
pub(super) fn is_of_one_file(error: &Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, PermissionDenied};
    match error {
        Error::Picture { .. } => true,
        Error::Io { source, .. } => matches!(source.kind(), NotFound | PermissionDenied | InvalidData),
        _ => false,
    }
}

/// Names the packed file of these pictures as images of `shape`.
pub(super) fn key(config: &FolderConfig, shape: ImageShape, listing: &Listing, looked: &[Looked]) -> String {
    let skip = config.skip_unreadable;
    let mut hash = Sha256::new_with_prefix(format!("waxwork-data folder {VERSION} {shape} {skip}\n"));
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

/// Where the packed file with this key is.
pub(super) fn packed(cache: &Path, key: &str) -> PathBuf {
    cache.join("folders").join(format!("{key}.waxpack"))
}

/// What a note about a folder's files is called, before they are opened; None where the system does not tell enough to rely on, or a file
/// was changed so shortly before `now` that it may be changed again without its time being another.
pub(super) fn note(
    now: SystemTime,
    cache: &Path,
    dir: &Path,
    config: &FolderConfig,
    listing: &Listing,
) -> Option<PathBuf> {
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut hash = Sha256::new_with_prefix(format!("waxwork-data files {VERSION} {config:?}\n"));
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

/// The key that a note holds.
pub(super) fn recall(note: &Path) -> Option<String> {
    let key = fs::read_to_string(note).ok()?;
    let fine = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    fine.then_some(key)
}

/// Keeps a key in a note. Without it the next start hashes again, so that nothing is lost if this fails.
pub(super) fn remember(note: &Path, key: &str) {
    _ = waxwork_core::store::write(note, key.as_bytes());
}

/// Everything that the system says of a file and that changes with its contents; `now` in seconds.
#[cfg(unix)]
fn state(path: &Path, now: u64) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    /// The coarsest clock of a file system that is still met, in seconds.
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
