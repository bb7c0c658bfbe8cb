//! The cache of models used for measurements, such as judges: for each, a file of weights, and next to it a
//! file of notes that describe the weights.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use waxwork_core::hash::sha256;
use waxwork_core::store;

use crate::{Error, Result};

/// The place of one model in the cache.
pub(crate) struct Place {
    kind: &'static str,
    weights: PathBuf,
    notes: PathBuf,
}

impl Place {
    /// The place of the model of this kind, such as `language model`, that `key` identifies.
    pub(crate) fn new(cache: &Path, kind: &'static str, key: &str) -> Self {
        let name = format!("{}-{}", kind.replace(' ', "-"), &sha256(key.as_bytes())[..32]);
        let file = |ending: &str| cache.join(format!("{name}.{ending}"));
        Self { kind, weights: file("safetensors"), notes: file("json") }
    }

    /// Loads the model stored here, if any. `decode` creates it from the weights, the notes, and the path
    /// to name in an error. A damaged model counts as missing, after a warning.
    pub(crate) fn load<M>(&self, decode: impl FnOnce(&[u8], &[u8], &Path) -> Result<M>) -> Option<M> {
        if !self.weights.is_file() {
            return None;
        }
        let read = || -> Result<_> { Ok((store::read(&self.weights)?, store::read(&self.notes)?)) };
        match read().and_then(|(weights, notes)| decode(&weights, &notes, &self.weights)) {
            Ok(model) => Some(model),
            Err(error) => {
                tracing::warn!("training the {} again: {error}", self.kind);
                None
            }
        }
    }

    /// Stores a model here, and creates the cache if it is missing.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn store(&self, weights: &[u8], notes: &impl Serialize) -> Result<()> {
        if let Some(cache) = self.weights.parent() {
            std::fs::create_dir_all(cache).map_err(store::failed("create", cache))?;
        }
        store::write(&self.weights, weights)?;
        let json = serde_json::to_vec_pretty(notes).map_err(|error| damaged(&self.notes, &error))?;
        Ok(store::write(&self.notes, &json)?)
    }
}

/// The fields that all notes contain.
#[derive(Deserialize)]
struct Identity {
    sha256: String,
    data_identity: String,
}

/// Reads the notes of weights that were trained on the data with this identity. `origin` is the path to
/// name in an error.
///
/// # Errors
/// If the notes cannot be parsed, or belong to other weights or other data.
pub(crate) fn notes<N: DeserializeOwned>(
    weights: &[u8],
    notes: &[u8],
    of_data: &str,
    origin: &Path,
) -> Result<N> {
    let unreadable = |error: serde_json::Error| damaged(origin, &format!("its notes: {error}"));
    let identity: Identity = serde_json::from_slice(notes).map_err(unreadable)?;
    if identity.sha256 != sha256(weights) || identity.data_identity != of_data {
        return Err(damaged(origin, &"its hash is not that of its notes"));
    }
    serde_json::from_slice(notes).map_err(unreadable)
}

/// The error for a damaged file.
pub(crate) fn damaged(path: &Path, reason: &dyn Display) -> Error {
    Error::Core(waxwork_core::Error::Damaged { path: path.to_owned(), reason: reason.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Info {
        sha256: String,
        data_identity: String,
        steps: u64,
    }

    #[test]
    fn only_an_undamaged_model_of_the_same_data_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("new");
        let place = Place::new(&cache, "language model", "version 1 of some data");
        let load =
            |of_data: &str| place.load(|weights, json, path| notes::<Info>(weights, json, of_data, path));
        assert_eq!(load("some"), None, "nothing is there yet");
        let info = || Info { sha256: sha256(b"weights"), data_identity: "some".into(), steps: 3 };
        place.store(b"weights", &info()).unwrap();
        assert_eq!(load("some"), Some(info()));
        assert_eq!(load("other"), None);
        let mut names = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.all(|name| name.to_string_lossy().starts_with("language-model-")));
        std::fs::write(&place.weights, b"damaged").unwrap();
        assert_eq!(load("some"), None);
        std::fs::write(&place.weights, b"weights").unwrap();
        std::fs::write(&place.notes, b"{}").unwrap();
        assert_eq!(load("some"), None);
        std::fs::remove_file(&place.notes).unwrap();
        assert_eq!(load("some"), None);
    }
}
