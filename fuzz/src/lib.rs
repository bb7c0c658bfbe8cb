//! Helpers for the fuzz targets: seeds for their corpora, and a folder for readers that need a path.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Adds a seed to the corpus of a target, because a fuzzer that starts from nothing seldom
/// finds a magic number.
pub fn seed(target: &str, name: &str, bytes: &[u8]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus).unwrap();
    fs::write(corpus.join(name), bytes).unwrap();
}

/// A folder of this process alone, in memory if the system has `/dev/shm`.
pub fn scratch() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let memory = Path::new("/dev/shm");
    let make = || if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    FOLDER.get_or_init(|| make().unwrap()).path().to_owned()
}

/// The recipe of a model with a handful of weights, for readers of files that belong to a model.
pub const RECIPE: &str = r#"
description = "tiny"

[data]
name = "digits"

[model]
family = "vae"
latent_dim = 2
network = { kind = "mlp", hidden = [3] }

[train]
steps = 3
"#;
