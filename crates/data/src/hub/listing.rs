//! The files of a repository as the Hub lists them, with the expected hashes of their contents.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use futures::StreamExt;
use hf_hub::repository::{HFRepository, RepoTreeEntry};
use hf_hub::{HFError, RepoType};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use waxwork_core::hash::hex;

use super::client::Wanted;
use crate::{Error, Result};

/// A file as the Hub describes it.
pub(super) struct Remote {
    /// Its path in the repository.
    pub(super) path: String,
    /// Size in bytes.
    pub(super) size: u64,
    /// Hash of its contents.
    pub(super) hash: Hash,
}

/// The expected hash of a file's contents, which is also its name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// SHA-256 of the contents, for large files.
    Sha256(String),
    /// SHA-1 of the git blob.
    Git(String),
}

impl Hash {
    /// Returns the hash in hex.
    pub(super) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Git(hex) => hex,
        }
    }

    /// Describes the hash, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Sha256(hex) => format!("SHA-256 {hex}"),
            Self::Git(hex) => format!("git hash {hex}"),
        }
    }

    /// Whether a file has this hash.
    pub(super) fn fits(&self, path: &Path) -> Result<bool> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let (mut sha256, mut git) = (Sha256::new(), Sha1::new_with_prefix(format!("blob {size}\0")));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
            match self {
                _ if read == 0 => break,
                Self::Sha256(_) => sha256.update(&buffer[..read]),
                Self::Git(_) => git.update(&buffer[..read]),
            }
        }
        Ok(match self {
            Self::Sha256(expected) => *expected == hex(&sha256.finalize()),
            Self::Git(expected) => *expected == hex(&git.finalize()),
        })
    }
}

/// Returns the wanted files of a repository.
pub(super) async fn listing<T: RepoType>(
    repo: &HFRepository<T>,
    revision: &str,
    wanted: Wanted<'_>,
) -> Result<Vec<Remote>, HFError> {
    let mut entries = Vec::new();
    match wanted {
        Wanted::One(path) => {
            entries = repo.get_paths_info().paths(vec![path.to_owned()]).revision(revision).send().await?;
        }
        Wanted::All(_) => {
            let listing = repo.list_tree().revision(revision).recursive(true).send()?;
            futures::pin_mut!(listing);
            while let Some(entry) = listing.next().await {
                entries.push(entry?);
            }
        }
    }
    let remotes = entries.into_iter().filter_map(|entry| remote(entry).transpose());
    let remotes: Vec<Remote> = remotes.collect::<Result<_, _>>()?;
    Ok(remotes.into_iter().filter(|remote| wanted.includes(&remote.path)).collect())
}

/// Returns a file of a listing, None for a directory, or an error for a name that would lead out of the
/// cache.
fn remote(entry: RepoTreeEntry) -> Result<Option<Remote>, HFError> {
    let RepoTreeEntry::File { oid, size, path, lfs, .. } = entry else { return Ok(None) };
    let hash = match lfs.and_then(|lfs| lfs.sha256) {
        Some(sha256) => Hash::Sha256(sha256),
        None => Hash::Git(oid),
    };
    let is_hash = !hash.hex().is_empty() && hash.hex().bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_below(&path) || !is_hash {
        return Err(HFError::InvalidParameter(format!("it has a file `{path}` with hash `{}`", hash.hex())));
    }
    Ok(Some(Remote { path, size, hash }))
}

/// Whether a name from the Hub stays below the folder that it is joined to.
pub(super) fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty()
        && !name.contains('\\')
        && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}
