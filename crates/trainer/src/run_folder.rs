//! The run folder: its layout and its lock.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use waxwork_core::{Device, Tensor, hash, store};
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::quantile_map::QuantileMaps;

use crate::checkpoint::Checkpoints;
use crate::run_info::RunInfo;
use crate::{Error, Result};

const RECIPE: &str = "recipe.toml";
const RUN: &str = "run.json";
const TABLE: &str = "table.json";
pub(crate) const QUANTILES: &str = "quantiles.json";
const LOCK: &str = "run.lock";
const INITIAL: &str = "initial.safetensors";
const CHECKPOINTS: &str = "checkpoints";
const SAMPLES: &str = "samples";
/// Files that may exist before the first training step.
const BEFORE_THE_FIRST_STEP: [&str; 4] = [RECIPE, RUN, LOCK, INITIAL];

/// A folder that holds one run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held while this process may write. The system releases it when the process dies.
    lock: Option<File>,
}

impl RunFolder {
    /// Checks that a run can be created at `path`. Call this before anything slow.
    ///
    /// # Errors
    /// [`Error::RunExists`] if something else is at `path`.
    pub fn check_free(path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self { path: path.to_owned(), lock: None }.refuse_unless_unborn(),
            Err(_) => Ok(()),
        }
    }

    /// Creates a run folder and writes everything that is known before the first step, and the initial
    /// weights of a fork. `path` may be an empty folder, or the remains of a process that was killed while it
    /// created a run. On failure, nothing is left behind.
    ///
    /// # Errors
    /// [`Error::RunExists`] if there is anything else at `path`, [`Error::Locked`] if another process uses
    /// it.
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
        // Another process may have filled the folder before we had the lock.
        run.refuse_unless_unborn()?;
        let fill = || {
            store::sync_folder(path.parent().unwrap_or(Path::new(".")))?;
            if let Some(weights) = initial {
                store::write(&path.join(INITIAL), weights)?;
            }
            run.write_info(info)?;
            // Write the recipe last, because a folder counts as a run once it has one.
            store::write(&path.join(RECIPE), info.recipe.as_bytes()).map_err(Error::from)
        };
        if let Err(error) = fill() {
            // Report the first error.
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

    /// Checks that creating a run here loses no data: the folder has only the files of an interrupted
    /// creation.
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
    /// [`Error::NotARun`] if the folder has no recipe.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(RECIPE).is_file() {
            let reason = if path.is_dir() {
                format!("it has no {RECIPE}")
            } else {
                "there is no such folder".to_owned()
            };
            return Err(Error::NotARun { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned(), lock: None })
    }

    /// Makes this process the only writer, and removes incomplete files of a killed process.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is the writer; [`Error::Damaged`] if a link leads out of the
    /// folder.
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

    /// A path next to the folder, with `ending` appended to its name.
    pub fn beside(&self, ending: &str) -> PathBuf {
        let named = self.named();
        let mut name = named.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        named.with_file_name(name)
    }

    /// The folder under its real name, which a path such as `.` lacks.
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
    /// [`Error::Damaged`] if it is not a run.json of this version.
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

    /// Writes table.json: the schema of a table, and the encoder of its rows.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_encoder(&self, encoder: &Encoder) -> Result<()> {
        let json = serde_json::to_vec_pretty(encoder).map_err(Error::Json)?;
        Ok(store::write(&self.path.join(TABLE), &json)?)
    }

    /// The encoder between a table's rows and vectors; None if the run was not trained on a table.
    ///
    /// # Errors
    /// [`Error::Damaged`] if [`RunFolder::write_encoder`] did not write the file.
    pub fn encoder(&self) -> Result<Option<Encoder>> {
        let path = self.path.join(TABLE);
        if !path.is_file() {
            return Ok(None);
        }
        let encoder = serde_json::from_slice(&store::read(&path)?);
        encoder.map(Some).map_err(|error| Error::Damaged { path, reason: error.to_string() })
    }

    /// The file of the quantile maps for the final weights of a calibrated model of table rows.
    pub fn quantiles(&self) -> PathBuf {
        self.path.join(QUANTILES)
    }

    /// The contents of quantiles.json. Their hash is in run.json.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn json_of_quantile_maps(maps: &QuantileMaps) -> Result<Vec<u8>> {
        serde_json::to_vec(maps).map_err(Error::Json)
    }

    /// [`RunFolder::encoder`] with the quantile maps for the final weights, if there are any.
    ///
    /// # Errors
    /// As [`RunFolder::encoder`], and [`Error::Damaged`] if the hash of the maps is not the one in run.json,
    /// or they do not fit the encoder.
    pub fn encoder_with_maps(&self) -> Result<Option<Encoder>> {
        let Some(encoder) = self.encoder()? else { return Ok(None) };
        let (path, expected) = (self.quantiles(), self.info()?.quantiles_sha256);
        if expected.is_none() && !path.exists() {
            return Ok(Some(encoder));
        }
        let bytes = read_with_hash(&path, expected.as_deref())?;
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let maps: QuantileMaps =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        encoder.with_quantile_maps(Some(maps)).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// The initial weights of a fork.
    ///
    /// # Errors
    /// [`Error::Damaged`] if their hash is not the one in run.json.
    pub fn initial(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let Some(origin) = self.info()?.forked_from else { return Ok(None) };
        load_with_hash(&self.path.join(INITIAL), Some(&origin.sha256)).map(Some)
    }

    /// The run's checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join(CHECKPOINTS))
    }

    /// The file of the final weights, written when the run finishes.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The file of the best weights so far, for a run that is to end with them.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The weights to sample from, if the run is finished.
    ///
    /// # Errors
    /// [`Error::Damaged`] if their hash is not the one in run.json.
    pub fn load_model(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        let path = self.model();
        if !path.exists() {
            return Ok(None);
        }
        load_with_hash(&path, self.info()?.model_sha256.as_deref()).map(Some)
    }

    /// The file of losses and metrics by step, which are deterministic.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The file of rates and times by step.
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// The folder of the files that show samples.
    pub fn samples(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// The file with this extension that shows samples after `step` steps.
    pub fn sample(&self, step: u64, extension: &str) -> PathBuf {
        self.samples().join(format!("step-{step:06}.{extension}"))
    }

    /// The PNG file that shows samples after `step` steps.
    pub fn sample_picture(&self, step: u64) -> PathBuf {
        self.sample(step, "png")
    }

    /// The file that shows samples after `step` steps: their image, or their lines if they are texts.
    pub fn sample_shown(&self, step: u64) -> PathBuf {
        let (picture, lines) = (self.sample_picture(step), self.sample(step, "txt"));
        if !picture.is_file() && lines.is_file() { lines } else { picture }
    }

    /// The steps after which samples were shown, ascending.
    ///
    /// # Errors
    /// If the folder of samples exists and cannot be read.
    pub fn sample_steps(&self) -> Result<Vec<u64>> {
        let folder = self.path.join("samples");
        let mut steps = Vec::new();
        if folder.is_dir() {
            for entry in fs::read_dir(&folder).map_err(store::failed("read", &folder))? {
                let name = entry.map_err(store::failed("read", &folder))?.file_name();
                let of = |name: &str| {
                    let name = name.strip_prefix("step-")?;
                    name.strip_suffix(".png").or_else(|| name.strip_suffix(".txt"))?.parse::<u64>().ok()
                };
                steps.extend(name.to_str().and_then(of));
            }
        }
        steps.sort_unstable();
        steps.dedup();
        Ok(steps)
    }

    /// The model card.
    pub fn card(&self) -> PathBuf {
        self.path.join("README.md")
    }
}

fn load_with_hash(path: &Path, expected: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    Ok(store::decode(&read_with_hash(path, expected)?, path, &Device::Cpu)?)
}

fn read_with_hash(path: &Path, expected: Option<&str>) -> Result<Vec<u8>> {
    let bytes = store::read(path)?;
    let found = hash::sha256(&bytes);
    match expected {
        Some(expected) if expected != found => {
            let reason = format!("its SHA-256 is {found}, not {expected}");
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        _ => Ok(bytes),
    }
}

/// Files that are written in place must be regular files: a link would lead out of the folder, and a pipe
/// would block.
fn refuse_unless(is_right: fn(&fs::Metadata) -> bool, what: &str, path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !is_right(&found) => {
            let reason = format!("it is not {what}, or it is a link");
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// Removes incomplete files and folders of a process that died while it wrote them.
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

/// The total size in bytes of all files below a folder.
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

/// Checks that `needed` bytes can be written below `path`, which may not exist yet.
///
/// # Errors
/// [`Error::DiskSpace`] with both numbers.
pub fn check_space(path: &Path, needed: u64) -> Result<()> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let available =
        fs4::available_space(existing).map_err(store::failed("determine the free space of", existing))?;
    if available < needed {
        return Err(Error::DiskSpace { path: path.to_owned(), needed, available });
    }
    Ok(())
}
