//! run.json: what ran, where and when, and how far it came.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use waxwork_core::{Device, Kind, ModelInfo, device};
use waxwork_data::View;

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
    /// What its samples are; images in runs of older versions, which do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_kind: Option<Kind>,
    /// How its samples become what networks see; runs of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_view: Option<View>,
    /// Samples of each of its parts.
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
            data_kind: None,
            data_view: None,
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

impl RunInfo {
    /// What the samples are. Runs of older versions have images of the model's shape.
    pub fn kind(&self) -> Kind {
        self.data_kind.clone().unwrap_or_else(|| Kind::seen_as(&self.model.sample))
    }

    /// SHA-256 in hex of what networks see of a sample.
    pub fn view_hash(&self) -> String {
        let kind = self.kind();
        self.data_view.clone().unwrap_or_else(|| View::of(&kind)).hash(&kind)
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
