//! What the fuzz targets share: first inputs for their corpora, and a folder for readers that want a path.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Puts a first input into the corpus of a target: a fuzzer that starts from nothing seldom finds a magic number.
pub fn seed(target: &str, name: &str, bytes: &[u8]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus).unwrap();
    fs::write(corpus.join(name), bytes).unwrap();
}

/// A folder of this process alone, in memory where the system has a place for that.
pub fn scratch() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let memory = Path::new("/dev/shm");
    let make = || if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    FOLDER.get_or_init(|| make().unwrap()).path().to_owned()
}

/// A model of a handful of weights, for readers of what belongs to a model.
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
