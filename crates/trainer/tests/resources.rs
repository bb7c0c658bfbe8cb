//! A run gives back all that it took: threads, file handles, memory, and what it wrote beside its places. One test, because
//! it counts what the whole process has.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::path::Path;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::params::Init;
use waxwork_core::{
    Batch, ConditionSpec, Device, ImageShape, LatentLayout, Loss, ModelInfo, ParamGroup, ParamSet, Result,
    StepContext, Tensor, Trainable, TrainingState,
};
use waxwork_data::{DataConfig, Dataset};
use waxwork_media::preview;
use waxwork_trainer::{Environment, RunFolder, RunInfo, Stop, TrainConfig, Training};

/// Learns the mean image.
struct Mean {
    params: ParamSet,
    groups: Vec<ParamGroup>,
    mean: Tensor,
}

impl Mean {
    fn new() -> Self {
        let mut params = ParamSet::fresh(0, &Device::Cpu);
        let mean = params.root().weight("mean", (1, 28, 28), Init::Constant(0.0)).unwrap();
        let groups = vec![params.group("mean", "mean")];
        Self { params, groups, mean }
    }
}

impl Trainable for Mean {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let error = batch.inputs.broadcast_sub(&self.mean)?.sqr()?.mean_all()?;
        ctx.update(&["mean"], Loss::new("loss", error))
    }
}

fn info() -> RunInfo {
    let (sample, latent) = (ImageShape::new(1, 28, 28).into(), LatentLayout::normal(1));
    let model = ModelInfo { family: "mean".into(), sample, latent, condition: ConditionSpec::None };
    RunInfo::new(Environment::here("test", &Device::Cpu), "description = \"the mean\"", model, "digits", 0)
}

fn train(path: &Path, data: &Dataset, steps: u64) {
    let model = Mean::new();
    let optimizer = OptimizerConfig { ema: Some(0.9), ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&model, optimizer, 0, steps).unwrap();
    let config = TrainConfig {
        batch_size: 8,
        steps: Some(steps),
        log_every: 5,
        checkpoint_every: 20,
        sample_every: 20,
        ..TrainConfig::default()
    };
    let folder = RunFolder::create(path, &info(), None).unwrap();
    let show = || {
        let image = model
            .mean
            .clamp(0.0, 1.0)
            .and_then(|mean| mean.unsqueeze(0))
            .map_err(waxwork_core::Error::from)?;
        Ok(preview(data.train.kind(), &image)?)
    };
    let training = Training {
        model: &model,
        state: &mut state,
        data: &data.train,
        device: &Device::Cpu,
        config: &config,
        folder: &folder,
        best: None,
        validate: None,
        preview: Some(&show),
        complete: None,
        stop: Stop::default(),
        observers: vec![],
    };
    training.run().unwrap();
}

/// How many entries a folder of /proc/self has.
fn count(name: &str) -> usize {
    std::fs::read_dir(Path::new("/proc/self").join(name)).unwrap().count()
}

/// Resident memory in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn assert_nothing_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.extension().is_none_or(|extension| extension != "tmp"), "{}", path.display());
        if path.is_dir() {
            assert_nothing_unfinished(&path);
        }
    }
}

#[test]
fn releases_threads_handles_and_memory_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = waxwork_data::load(&DataConfig { limit: Some(64), ..DataConfig::named("digits") }).unwrap();
    // What a process does once, such as starting rayon's pool, is no leak.
    train(&folder.path().join("first"), &data, 500);
    let before = (count("fd"), count("task"));
    let memory = resident();
    train(&folder.path().join("second"), &data, 2000);
    assert_eq!((count("fd"), count("task")), before, "file handles and threads");
    let grown = resident() - memory;
    assert!(grown < 4096, "{grown} KiB more after four times as many steps, which is more than 2 KiB a step");
    assert_nothing_unfinished(folder.path());
}
