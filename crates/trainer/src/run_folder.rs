//! The run folder: what is where, who may write to it, and run.json.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use waxwork_core::{Device, ModelInfo, Tensor, device, hash, store};

use crate::checkpoint::Checkpoints;
use crate::{Error, Result};

const RECIPE: &str = "recipe.toml";
const RUN: &str = "run.json";
const LOCK: &str = "run.lock";
const INITIAL: &str = "initial.safetensors";
const CHECKPOINTS: &str = "checkpoints";
const SAMPLES: &str = "samples";
/// All that there can be in the folder when its creation ends, or is cut short.
const BEFORE_THE_FIRST_STEP: [&str; 4] = [RECIPE, RUN, LOCK, INITIAL];

/// run.json: what ran, where and when, and all that is needed to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// What the run was started by and on.
    #[serde(flatten)]
    pub environment: Environment,
    /// The command line that started it.
    #[serde(default)]
    pub command: Vec<String>,
    /// The text of the recipe.toml that it was started with.
    #[serde(default)]
    pub recipe: String,
    /// What the model is.
    pub model: ModelInfo,
    /// Name of the data set.
    pub data: String,
    /// Hash of what the data set is.
    pub data_identity: String,
    /// Images of each of its parts.
    #[serde(default)]
    pub data_images: BTreeMap<String, usize>,
    /// Names of its classes; label `k` is name `k`. Empty if there are no labels, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
    /// Seed of the run.
    pub seed: u64,
    /// Where its first weights came from, if it did not draw them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Origin>,
    /// One entry per resume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumption>,
    /// Groups of parameters that an imported run does not have: random values stand in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrained: Vec<String>,
    /// `running`, `interrupted`, `finished` or `failed`.
    pub status: Status,
    /// Why the run ended early, if it did so by an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Steps done.
    pub steps: u64,
    /// Seconds spent training, over all resumptions.
    pub seconds: f64,
    /// Seconds since 1970 when the run was started.
    pub started: u64,
    /// SHA-256 of model.safetensors, once the run is finished.
    pub model_sha256: Option<String>,
}

impl RunInfo {
    /// What is known before the first step of a run of `seed` that draws its own weights. `recipe` is kept as recipe.toml: whatever
    /// it takes to know what was trained. Fields that only some runs have can be set afterwards.
    pub fn new(
        environment: Environment,
        recipe: impl Into<String>,
        model: ModelInfo,
        data: impl Into<String>,
        seed: u64,
    ) -> Self {
        let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
        Self {
            environment,
            command: Vec::new(),
            recipe: recipe.into(),
            model,
            data: data.into(),
            data_identity: String::new(),
            data_images: BTreeMap::new(),
            data_classes: Vec::new(),
            seed,
            forked_from: None,
            resumed: Vec::new(),
            untrained: Vec::new(),
            status: Status::Running,
            failure: None,
            steps: 0,
            seconds: 0.0,
            started,
            model_sha256: None,
        }
    }
}

/// What a result could depend on besides recipe and data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Waxwork's version.
    pub version: String,
    /// Git revision of the build, where it was known; ends in `-dirty` if the sources had changed since.
    pub revision: Option<String>,
    /// The compiler of the build.
    #[serde(default)]
    pub toolchain: String,
    /// The target of the build, such as `x86_64-unknown-linux-gnu`.
    #[serde(default)]
    pub target: String,
    /// `debug` or `release`.
    #[serde(default)]
    pub profile: String,
    /// Operating system and processor.
    pub machine: String,
    /// Class of the processor, by the instructions that kernels choose their code by.
    #[serde(default)]
    pub cpu_class: String,
    /// `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Size of the thread pool; results do not depend on it.
    pub threads: usize,
}

impl Environment {
    /// This process, of a program of this version that computes on `device`; what only its build knows is left empty.
    pub fn here(version: impl Into<String>, device: &Device) -> Self {
        Self {
            version: version.into(),
            revision: None,
            toolchain: String::new(),
            target: String::new(),
            profile: String::new(),
            machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu_class: device::cpu_class().into(),
            device: device::name(device),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Every difference that may change bytes, in words: all but the number of threads, the profile and the machine's name.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let revision = |of: &Self| of.revision.clone().unwrap_or_else(|| "unknown".into());
        let pairs = [
            ("version", self.version.clone(), other.version.clone()),
            ("revision", revision(self), revision(other)),
            ("toolchain", self.toolchain.clone(), other.toolchain.clone()),
            ("target", self.target.clone(), other.target.clone()),
            ("class of processor", self.cpu_class.clone(), other.cpu_class.clone()),
            ("device", self.device.clone(), other.device.clone()),
        ];
        let differ = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
        differ.map(|(what, ours, theirs)| format!("{what} {ours} instead of {theirs}")).collect()
    }
}

/// A record of one resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// Steps that were done then.
    pub step: u64,
    /// Seconds since 1970.
    pub started: u64,
    /// The command line.
    pub command: Vec<String>,
    /// What went on with it.
    #[serde(flatten)]
    pub environment: Environment,
}

/// The weights that a run began with: those of another run, kept in its own initial.safetensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The other run's folder.
    pub run: PathBuf,
    /// Steps that it had done.
    pub step: u64,
    /// SHA-256 of initial.safetensors.
    pub sha256: String,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// Training now, or killed.
    Running,
    /// Stopped by a signal or a time limit; can be resumed.
    Interrupted,
    /// Came to its end.
    Finished,
    /// A loss, gradient or weight was not finite. A resume would repeat it; a fork with other settings need not.
    Failed,
}

/// A folder that holds one run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held as long as this process may write; the system lets go of it when the process dies.
    lock: Option<File>,
}

impl RunFolder {
    /// Checks that a run can be made at `path`, before anything that takes long.
    ///
    /// # Errors
    /// If something else is there.
    pub fn check_free(path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self { path: path.to_owned(), lock: None }.refuse_unless_unborn(),
            Err(_) => Ok(()),
        }
    }

    /// Makes a new run folder and writes what is known before the first step, with the weights to begin with unless the
    /// run draws them itself. `path` may be empty, or what a process left that was killed in here; if anything fails,
    /// nothing is left behind.
    ///
    /// # Errors
    /// [`Error::RunExists`] if there is anything else at `path`, [`Error::Locked`] if another process is at it.
    pub fn create(path: &Path, info: &RunInfo, initial: Option<&[u8]>) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(store::failed("create", parent))?;
        }
        let made = match fs::create_dir(path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(store::failed("create", path)(error).into()),
        };
        let mut run = Self { path: path.to_owned(), lock: None };
        run.refuse_unless_unborn()?;
        run.lock().inspect_err(|_| {
            if made {
                let _ = fs::remove_dir(path);
            }
        })?;
        // Another process may have filled it before we had the lock.
        run.refuse_unless_unborn()?;
        let fill = || {
            store::sync_folder(path.parent().unwrap_or(Path::new(".")))?;
            if let Some(weights) = initial {
                store::write(&path.join(INITIAL), weights)?;
            }
            run.write_info(info)?;
            // The last: a folder is a run once this is there.
            store::write(&path.join(RECIPE), info.recipe.as_bytes()).map_err(Error::from)
        };
        if let Err(error) = fill() {
            // The first error is the one to report.
            for name in BEFORE_THE_FIRST_STEP {
                let _ = fs::remove_file(path.join(name));
            }
            if made {
                let _ = fs::remove_dir(path);
            }
            return Err(error);
        }
        Ok(run)
    }

    /// Nothing is lost if a run is made in a folder that holds no more than a process that was killed while it made one.
    fn refuse_unless_unborn(&self) -> Result<()> {
        let exists = || Error::RunExists(self.path.clone());
        if !self.path.is_dir() {
            return Err(exists());
        }
        for entry in fs::read_dir(&self.path).map_err(store::failed("read", &self.path))? {
            let name = entry.map_err(store::failed("read", &self.path))?.file_name();
            let ours = |name: &str| {
                let unfinished = name.starts_with('.') && name.ends_with(&format!(".{}", store::UNFINISHED));
                unfinished || BEFORE_THE_FIRST_STEP.contains(&name)
            };
            if name == RECIPE || !name.to_str().is_some_and(ours) {
                return Err(exists());
            }
        }
        Ok(())
    }

    /// Opens an existing run for reading.
    ///
    /// # Errors
    /// [`Error::NotARun`] if there is no recipe in it.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(RECIPE).is_file() {
            let reason = if path.is_dir() {
                format!("it has no {RECIPE}")
            } else {
                "there is no such folder; `waxwork runs` lists those in runs/".to_owned()
            };
            return Err(Error::NotARun { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned(), lock: None })
    }

    /// Makes this process the only writer, and removes what an earlier one was writing when it was killed.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is; [`Error::Damaged`] if a link leads out of the folder.
    pub fn lock(&mut self) -> Result<()> {
        let path = self.path.join(LOCK);
        for file in [&path, &self.metrics(), &self.timing()] {
            refuse_unless(fs::Metadata::is_file, "a file", file)?;
        }
        for folder in [self.samples(), self.path.join(CHECKPOINTS)] {
            refuse_unless(fs::Metadata::is_dir, "a folder", &folder)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(store::failed("create", &path))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => return Err(store::failed("lock", &path)(error).into()),
        }
        for folder in [self.path.clone(), self.samples(), self.path.join(CHECKPOINTS)] {
            remove_unfinished(&folder)?;
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        self.named().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A path beside the folder, whose name goes on with `ending`.
    pub fn beside(&self, ending: &str) -> PathBuf {
        let named = self.named();
        let mut name = named.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        named.with_file_name(name)
    }

    /// The folder by its name, which `.` does not tell.
    fn named(&self) -> PathBuf {
        let nameless = self.path.file_name().is_none();
        nameless.then(|| fs::canonicalize(&self.path).ok()).flatten().unwrap_or_else(|| self.path.clone())
    }

    /// The complete recipe, as TOML.
    ///
    /// # Errors
    /// If the file cannot be read or is not UTF-8.
    pub fn recipe(&self) -> Result<String> {
        let path = self.path.join(RECIPE);
        let damaged = |_| Error::Damaged { path: path.clone(), reason: "it is not UTF-8".into() };
        String::from_utf8(store::read(&path)?).map_err(damaged)
    }

    /// Reads run.json.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is no run.json of this version.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.path.join(RUN);
        let bytes = store::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged { path, reason: error.to_string() })
    }

    /// Writes run.json.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_info(&self, info: &RunInfo) -> Result<()> {
        let json = serde_json::to_vec_pretty(info).map_err(Error::Json)?;
        Ok(store::write(&self.path.join(RUN), &json)?)
    }

    /// The weights that the run began with, if it did not draw them itself.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they do not have the hash that run.json gives.
    pub fn initial(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let Some(origin) = self.info()?.forked_from else { return Ok(None) };
        load_with_hash(&self.path.join(INITIAL), Some(&origin.sha256)).map(Some)
    }

    /// The run's checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join(CHECKPOINTS))
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
        load_with_hash(&path, self.info()?.model_sha256.as_deref()).map(Some)
    }

    /// Losses and metrics by step; deterministic.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Rates and times by step.
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// The folder of the sample grids.
    pub fn samples(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// The sample grid after `step` steps.
    pub fn sample_grid(&self, step: u64) -> PathBuf {
        self.samples().join(format!("step-{step:06}.png"))
    }

    /// The steps after which there is a sample grid, ascending.
    ///
    /// # Errors
    /// If the folder with the grids is there and cannot be read.
    pub fn sample_steps(&self) -> Result<Vec<u64>> {
        let folder = self.path.join("samples");
        let mut steps = Vec::new();
        if folder.is_dir() {
            for entry in fs::read_dir(&folder).map_err(store::failed("read", &folder))? {
                let name = entry.map_err(store::failed("read", &folder))?.file_name();
                let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".png"));
                steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
            }
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The model card.
    pub fn card(&self) -> PathBuf {
        self.path.join("README.md")
    }
}

fn load_with_hash(path: &Path, expected: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    let bytes = store::read(path)?;
    let found = hash::sha256(&bytes);
    match expected {
        Some(expected) if expected != found => {
            let reason = format!("its SHA-256 is {found}, not {expected}");
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        _ => Ok(store::decode(&bytes, path, &Device::Cpu)?),
    }
}

/// What is written in place must be there itself: a link would lead out of the folder, and a pipe wait for ever.
fn refuse_unless(is_right: fn(&fs::Metadata) -> bool, what: &str, path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !is_right(&found) => {
            let reason = format!("it is not {what}, or is a link to one");
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// Removes files and folders that were being written beside their places when their writer died.
fn remove_unfinished(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(store::failed("read", folder))? {
        let entry = entry.map_err(store::failed("read", folder))?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != store::UNFINISHED) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(store::failed("remove", &path))?;
    }
    Ok(())
}

/// Bytes of all files below a folder.
///
/// # Errors
/// If a folder cannot be read.
pub fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(store::failed("read", folder))? {
        let entry = entry.map_err(store::failed("read", folder))?;
        let found = entry.metadata().map_err(store::failed("look at", folder))?;
        bytes += if found.is_dir() { bytes_in(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
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
