//! The run folder: what is where, who may write to it, and run.json.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use waxwork_core::{Device, ModelInfo, Tensor, store};

use crate::checkpoint::{self, Checkpoints};
use crate::{Error, Result};

const RECIPE: &str = "recipe.toml";
const RUN: &str = "run.json";
const LOCK: &str = "run.lock";

/// run.json: what ran, where and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Waxwork's version.
    pub version: String,
    /// Git revision of the build, where it was known.
    pub revision: Option<String>,
    /// Operating system and processor.
    pub machine: String,
    /// `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Size of the thread pool.
    pub threads: usize,
    /// What the model is.
    pub model: ModelInfo,
    /// Name of the data set.
    pub data: String,
    /// Hash of what the data set is.
    pub data_identity: String,
    /// Seed of the run.
    pub seed: u64,
    /// `running`, `interrupted` or `finished`.
    pub status: Status,
    /// Steps done.
    pub steps: u64,
    /// Seconds spent training, over all resumptions.
    pub seconds: f64,
    /// Seconds since 1970 when the run was started.
    pub started: u64,
    /// SHA-256 of model.safetensors, once the run is finished.
    pub model_sha256: Option<String>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Training now, or killed.
    Running,
    /// Stopped by a signal or a time limit; can be resumed.
    Interrupted,
    /// Came to its end.
    Finished,
}

/// A folder that holds one run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held as long as this process may write; the system lets go of it when the process dies.
    lock: Option<File>,
}

impl RunFolder {
    /// Makes a new run folder and writes what is known before the first step. All or nothing: if anything fails, the
    /// folder is not left behind.
    ///
    /// # Errors
    /// [`Error::RunExists`] if there is anything at `path`.
    pub fn create(path: &Path, recipe: &str, info: &RunInfo) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(store::failed("create", parent))?;
        }
        fs::create_dir(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::RunExists(path.to_owned()),
            _ => store::failed("create", path)(error).into(),
        })?;
        let fill = || {
            let mut run = Self { path: path.to_owned(), lock: None };
            run.lock()?;
            store::write(&path.join(RECIPE), recipe.as_bytes())?;
            run.write_info(info)?;
            Ok(run)
        };
        fill().inspect_err(|_| {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(path);
        })
    }

    /// Opens an existing run for reading.
    ///
    /// # Errors
    /// [`Error::NotARun`] if there is no recipe in it.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(RECIPE).is_file() {
            return Err(Error::NotARun { path: path.to_owned(), missing: RECIPE });
        }
        Ok(Self { path: path.to_owned(), lock: None })
    }

    /// Makes this process the only writer.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is.
    pub fn lock(&mut self) -> Result<()> {
        let path = self.path.join(LOCK);
        let file = File::create(&path).map_err(store::failed("create", &path))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => return Err(store::failed("lock", &path)(error).into()),
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The complete recipe, as TOML.
    pub fn recipe(&self) -> Result<String> {
        let path = self.path.join(RECIPE);
        let damaged = |_| Error::Damaged { path: path.clone(), reason: "it is not UTF-8".into() };
        String::from_utf8(store::read(&path)?).map_err(damaged)
    }

    /// Reads run.json.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.path.join(RUN);
        let bytes = store::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged { path, reason: error.to_string() })
    }

    /// Writes run.json.
    pub fn write_info(&self, info: &RunInfo) -> Result<()> {
        let json = serde_json::to_vec_pretty(info)
            .map_err(|error| waxwork_core::Error::Unsupported(format!("cannot write JSON: {error}")))?;
        Ok(store::write(&self.path.join(RUN), &json)?)
    }

    /// The run's checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join("checkpoints"))
    }

    /// Where the weights to sample from are, once the run is finished.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The weights to sample from, if the run is finished.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they do not have the hash that run.json gives.
    pub fn load_model(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let path = self.model();
        if !path.exists() {
            return Ok(None);
        }
        let (bytes, expected) = (store::read(&path)?, self.info()?.model_sha256);
        let found = checkpoint::hash(&bytes);
        match expected {
            Some(expected) if expected != found => {
                Err(Error::Damaged { path, reason: format!("its SHA-256 is {found}, not {expected}") })
            }
            _ => Ok(Some(store::decode(&bytes, &path, &Device::Cpu)?)),
        }
    }

    /// Losses and metrics by step; deterministic.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Rates and times by step.
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// The sample grid after `step` steps.
    pub fn sample_grid(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step-{step:06}.png"))
    }

    /// The model card.
    pub fn card(&self) -> PathBuf {
        self.path.join("README.md")
    }
}

/// Checks that `needed` bytes can be written below `path`, which need not exist yet.
///
/// # Errors
/// [`Error::DiskSpace`] with both numbers.
pub fn check_space(path: &Path, needed: u64) -> Result<()> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let available =
        fs4::available_space(existing).map_err(store::failed("ask for the free space of", existing))?;
    if available < needed {
        return Err(Error::DiskSpace { path: path.to_owned(), needed, available });
    }
    Ok(())
}
