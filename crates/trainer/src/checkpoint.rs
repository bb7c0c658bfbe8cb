//! Checkpoints: folders that are either complete or recognised as damaged by their hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use waxwork_core::step::Counters;
use waxwork_core::{Device, Tensor, Trainable, TrainingState, hash, store, values};

use crate::metrics::Mark;
use crate::{Error, Result};

const PARAMS: &str = "params.safetensors";
const OPTIMIZERS: &str = "optimizers.safetensors";
const STATE: &str = "state.json";
/// Prefix of the moving average's tensors among the optimiser's.
const AVERAGE: &str = "ema/";

/// The best validation result so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done when it was measured.
    pub step: u64,
    /// Name of the metric; lower is better.
    pub metric: String,
    /// Its value.
    #[serde(with = "exact")]
    pub value: f64,
}

/// A number as text: JSON cannot represent NaN and infinities.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// state.json: counters and hashes. Its own hash `sha256` is computed with that field empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: String,
    counters: Counters,
    best: Option<Best>,
    metrics: Mark,
    files: BTreeMap<String, String>,
    sha256: String,
}

/// A checkpoint in memory, with verified hashes.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Steps and updates done.
    pub counters: Counters,
    /// The best validation result up to then.
    pub best: Option<Best>,
    /// A mark of metrics.jsonl at that time.
    metrics: Mark,
    params: BTreeMap<String, Tensor>,
    optimizers: BTreeMap<String, Tensor>,
}

/// The checkpoints of one run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints below `folder`, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes a checkpoint under a temporary name, syncs it and renames it. `metrics` marks the synced
    /// metrics.jsonl.
    ///
    /// An intact checkpoint of the same step that fits the log is kept, because a step has one result. A
    /// damaged one is replaced.
    ///
    /// # Errors
    /// Names the file that cannot be written, or a tensor with a value that is not finite; existing files are
    /// unchanged.
    pub fn save(
        &self,
        model: &dyn Trainable,
        state: &TrainingState,
        best: Option<&Best>,
        metrics: &Mark,
    ) -> Result<PathBuf> {
        if !self.folder.exists() {
            fs::create_dir_all(&self.folder).map_err(store::failed("create", &self.folder))?;
            store::sync_folder(self.folder.parent().unwrap_or(Path::new(".")))?;
        }
        let path = self.path(state.steps_done());
        if path.exists() && self.load(state.steps_done()).is_ok_and(|whole| whole.metrics == *metrics) {
            return Ok(path);
        }
        let beside = path.with_extension(store::UNFINISHED);
        remove(&beside)?;
        let written = write_folder(&beside, model, state, best, metrics).and_then(|()| {
            // The removed checkpoint is damaged or belongs to another log, so no intact one is missing in
            // between.
            remove(&path)?;
            fs::rename(&beside, &path).map_err(store::failed("rename", &beside))?;
            Ok(store::sync_folder(&self.folder)?)
        });
        if written.is_err() {
            // Report the first error; the next save removes what is left.
            let _ = fs::remove_dir_all(&beside);
        }
        written.map(|()| path)
    }

    /// Steps of all checkpoints, intact or not, in ascending order.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(store::failed("read", &self.folder))? {
            let entry = entry.map_err(store::failed("read", &self.folder))?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix("step-"));
            steps.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Returns the newest intact checkpoint, and what is wrong with newer ones.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] names every damaged one.
    pub fn newest(&self) -> Result<(Checkpoint, Vec<String>)> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => return Ok((checkpoint, damaged)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        let path = self.folder.parent().unwrap_or(&self.folder).to_owned();
        Err(Error::NoCheckpoint { path, damaged })
    }

    /// Returns the newest intact checkpoint that fits the log `metrics`, and what is wrong with newer ones.
    /// If the log lost lines that a checkpoint was written with, an older checkpoint is used, so that
    /// training writes them again. If no checkpoint fits the log, the newest one is used, and the last
    /// message says so.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] names every damaged one.
    pub fn newest_with_log(&self, metrics: &Path) -> Result<(Checkpoint, Vec<String>)> {
        let log = if metrics.exists() { store::read(metrics)? } else { Vec::new() };
        let (newest, mut damaged) = self.newest()?;
        if newest.metrics.fits(&log) {
            return Ok((newest, damaged));
        }
        let complain = |of: &Checkpoint| {
            format!("`{}` changed after `{}` was written", metrics.display(), of.path.display())
        };
        damaged.push(complain(&newest));
        let step = newest.counters.step;
        for step in self.steps()?.into_iter().rev().filter(|older| *older < step) {
            match self.load(step) {
                Ok(checkpoint) if checkpoint.metrics.fits(&log) => return Ok((checkpoint, damaged)),
                Ok(checkpoint) => damaged.push(complain(&checkpoint)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        damaged.push(format!("resuming from step {step} anyway; some log lines are lost"));
        Ok((newest, damaged))
    }

    /// Reads the checkpoint of `step` and checks every hash.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the file and what is wrong with it.
    pub fn load(&self, step: u64) -> Result<Checkpoint> {
        let path = self.path(step);
        let state_path = path.join(STATE);
        let damaged = |path: &Path, reason: String| Error::Damaged { path: path.to_owned(), reason };
        let json = store::read(&state_path)?;
        let state: State =
            serde_json::from_slice(&json).map_err(|error| damaged(&state_path, error.to_string()))?;
        if state.sha256 != own_hash(&json, &state.sha256) {
            return Err(damaged(&state_path, "its SHA-256 does not match the recorded one".into()));
        }
        if state.counters.step != step {
            return Err(damaged(&state_path, format!("it belongs to step {}", state.counters.step)));
        }
        let tensors = |name: &str| {
            let file = path.join(name);
            let bytes = store::read(&file)?;
            let (expected, found) =
                (state.files.get(name).cloned().unwrap_or_default(), hash::sha256(&bytes));
            if expected != found {
                return Err(damaged(&file, format!("its SHA-256 is {found}, not {expected}")));
            }
            let tensors = store::decode(&bytes, &file, &Device::Cpu)?;
            values::check_all(&tensors).map_err(|error| damaged(&file, error.to_string()))?;
            Ok(tensors)
        };
        let (params, optimizers) = (tensors(PARAMS)?, tensors(OPTIMIZERS)?);
        Ok(Checkpoint {
            path,
            counters: state.counters,
            best: state.best,
            metrics: state.metrics,
            params,
            optimizers,
        })
    }

    /// Removes the checkpoints up to step `done`, except the `keep` newest and the one of step `best`. Later
    /// ones are damaged, or the run would have resumed from them. They do not count, and the run replaces
    /// them in time.
    ///
    /// # Errors
    /// If a folder cannot be removed.
    pub fn prune(&self, done: u64, keep: usize, best: Option<u64>) -> Result<()> {
        let mut steps = self.steps()?;
        steps.retain(|step| *step <= done);
        for &step in &steps[..steps.len().saturating_sub(keep)] {
            if Some(step) != best {
                remove(&self.path(step))?;
            }
        }
        Ok(())
    }

    /// The path of the checkpoint of `step`.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }
}

impl Checkpoint {
    /// Restores a model and a training state of the same recipe.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, because the checkpoint belongs to another recipe.
    pub fn restore(&self, model: &dyn Trainable, state: &mut TrainingState) -> Result<()> {
        model.params().assign(&self.params)?;
        Ok(state.restore(&self.optimizers, &self.counters)?)
    }

    /// Every tensor by a descriptive name: `weights/NAME`, `average/NAME`, `optimizer/first/NAME` …
    pub fn named_tensors(&self) -> BTreeMap<String, &Tensor> {
        let weights = self.params.iter().map(|(name, tensor)| (format!("weights/{name}"), tensor));
        let others = self.optimizers.iter().map(|(name, tensor)| match name.strip_prefix(AVERAGE) {
            Some(name) => (format!("average/{name}"), tensor),
            None => (format!("optimizer/{name}"), tensor),
        });
        weights.chain(others).collect()
    }

    /// The parameters as training left them.
    pub fn into_params(self) -> BTreeMap<String, Tensor> {
        self.params
    }

    /// The weights to sample from: the moving average if there is one, else the parameters.
    pub fn into_sampling_weights(self) -> BTreeMap<String, Tensor> {
        let averages = self.optimizers.into_iter();
        let averages: BTreeMap<String, Tensor> = averages
            .filter_map(|(name, tensor)| {
                name.strip_prefix(AVERAGE).map(|name| (name.to_owned(), tensor.clone()))
            })
            .collect();
        if averages.is_empty() { self.params } else { averages }
    }
}

fn write_folder(
    folder: &Path,
    model: &dyn Trainable,
    state: &TrainingState,
    best: Option<&Best>,
    metrics: &Mark,
) -> Result<()> {
    fs::create_dir(folder).map_err(store::failed("create", folder))?;
    let mut files = BTreeMap::new();
    for (name, tensors) in [(PARAMS, model.params().tensors()), (OPTIMIZERS, state.tensors())] {
        // Copy to the host once, for both the check and the file.
        let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, store::to_host(&tensor)?)));
        let tensors: BTreeMap<String, Tensor> = tensors.collect::<waxwork_core::Result<_>>()?;
        values::check_all(&tensors)?;
        let bytes = store::encode(&tensors)?;
        store::write_synced(&folder.join(name), &bytes)?;
        files.insert(name.to_owned(), hash::sha256(&bytes));
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let (counters, best, metrics) = (state.counters(), best.cloned(), metrics.clone());
    let mut state = State { version, counters, best, metrics, files, sha256: String::new() };
    state.sha256 = own_hash(&to_json(&state)?, "");
    store::write_synced(&folder.join(STATE), &to_json(&state)?)?;
    Ok(store::sync_folder(folder)?)
}

/// SHA-256 of state.json from before it held `written`, this hash. It covers the bytes of the file, not the
/// parsed values.
fn own_hash(json: &[u8], written: &str) -> String {
    let json = String::from_utf8_lossy(json);
    hash::sha256(
        json.rsplit_once(written)
            .map_or_else(|| json.to_string(), |(before, after)| [before, after].concat())
            .as_bytes(),
    )
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(Error::Json)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(store::failed("remove", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_value_comes_back_to_the_bit() {
        let mut draws = waxwork_core::rng::Stream::new(0, "best", 0).at(0);
        for _ in 0..10_000 {
            let bits = u64::from(draws.bits()) << 32 | u64::from(draws.bits());
            let best = Best { step: 1, metric: "m".into(), value: f64::from_bits(bits) };
            let back: Best = serde_json::from_str(&serde_json::to_string(&best).unwrap()).unwrap();
            assert!(back.value.to_bits() == bits || best.value.is_nan(), "{bits:x}");
        }
    }
}
