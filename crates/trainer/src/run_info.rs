//! run.json: what ran, where and when, and its progress.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use waxwork_core::{Device, Kind, ModelInfo, device};
use waxwork_data::View;

/// run.json: what ran, where and when, and everything needed to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The program and machine that started the run.
    #[serde(flatten)]
    pub environment: Environment,
    /// The command line that started it.
    #[serde(default)]
    pub command: Vec<String>,
    /// The text of the recipe.toml that it was started with.
    #[serde(default)]
    pub recipe: String,
    /// Description of the model.
    pub model: ModelInfo,
    /// Name of the data set.
    pub data: String,
    /// Identity of the data set: a hash of its contents.
    pub data_identity: String,
    /// The kind of its samples. Older versions did not record it; their runs have images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_kind: Option<Kind>,
    /// How its samples become the tensors that networks see. Older versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_view: Option<View>,
    /// Number of samples in each split.
    #[serde(default)]
    pub data_images: BTreeMap<String, usize>,
    /// Names of its classes; label `k` is name `k`. Empty if there are no labels, and for runs of older
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_classes: Vec<String>,
    /// Seed of the run.
    pub seed: u64,
    /// The origin of its initial weights, for a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Origin>,
    /// One entry per resume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumption>,
    /// Parameter groups that an imported run lacks; they have random values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrained: Vec<String>,
    /// `running`, `interrupted`, `finished` or `failed`.
    pub status: Status,
    /// The error that ended the run early, if any.
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
    /// The step whose weights model.safetensors has, if not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_step: Option<u64>,
    /// SHA-256 of quantiles.json, if the final weights have quantile maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles_sha256: Option<String>,
}

impl RunInfo {
    /// The information of a new run that draws its own weights from `seed`. `recipe` is the text of
    /// recipe.toml. Set the fields that only some runs have afterwards.
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
            model_step: None,
            quantiles_sha256: None,
        }
    }
}

impl RunInfo {
    /// The kind of the samples. For runs of older versions, images of the model's shape.
    pub fn kind(&self) -> Kind {
        self.data_kind.clone().unwrap_or_else(|| Kind::seen_as(&self.model.sample))
    }

    /// How networks see the samples.
    pub fn view(&self) -> View {
        self.data_view.clone().unwrap_or_else(|| View::of(&self.kind()))
    }

    /// SHA-256, in hex, of the view through which networks see the samples.
    pub fn view_hash(&self) -> String {
        self.view().hash(&self.kind())
    }
}

/// Everything else that a result could depend on besides the recipe and the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Waxwork's version.
    pub version: String,
    /// Git revision of the build, if known; ends in `-dirty` if the sources had uncommitted changes.
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
    /// Class of the processor, by the instruction sets that kernels are selected for.
    #[serde(default)]
    pub cpu_class: String,
    /// `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Size of the thread pool; results do not depend on it.
    pub threads: usize,
    /// The processes that shared the work and their MPI library, if there was more than one process. Results
    /// depend on neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Processes>,
}

/// The processes of a run on several processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// Number of processes.
    pub count: usize,
    /// The MPI library's version text.
    pub mpi: String,
}

impl Environment {
    /// The environment of this process, which computes on `device`. Fields that only the build knows are
    /// empty.
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
            processes: None,
        }
    }

    /// Describes every difference that may change bytes: all but the number of threads, the profile and the
    /// machine's name.
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
    /// Steps done at that time.
    pub step: u64,
    /// Seconds since 1970.
    pub started: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The program and machine that resumed it.
    #[serde(flatten)]
    pub environment: Environment,
}

/// The initial weights of a fork: those of another run, copied to initial.safetensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The other run's folder.
    pub run: PathBuf,
    /// Steps that it had done.
    pub step: u64,
    /// SHA-256 of initial.safetensors.
    pub sha256: String,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// Training, or killed while training.
    Running,
    /// Stopped by a signal or a time limit; can be resumed.
    Interrupted,
    /// Finished.
    Finished,
    /// A loss, gradient or weight was not finite. A resume would diverge again; a fork with other settings
    /// may not.
    Failed,
}
