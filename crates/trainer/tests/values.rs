//! Values that no model can be right with are never written: training ends with the tensor named and the checkpoint before it kept.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should fail where it stands"
)]

use std::path::Path;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{
    Device, GenerativeModel, ParamSet, SampleRequest, Tensor, Trainable, TrainingState, store,
};
use waxwork_data::DataConfig;
use waxwork_media::preview;
use waxwork_trainer::{
    Environment, Error, Event, Observer, Outcome, RunFolder, RunInfo, Stop, TrainConfig, Training,
};
use waxwork_vae::{Network, Vae, VaeConfig};

/// Sets the first value of a tensor once a step is done, as an overflow would.
struct Spoiler {
    params: ParamSet,
    name: &'static str,
    value: f32,
    after: u64,
}

impl Observer for Spoiler {
    fn on(&mut self, event: Event<'_>) {
        if let Event::Step(report) = event
            && report.step + 1 == self.after
        {
            let var = self.params.get(self.name).unwrap();
            let mut values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[0] = self.value;
            var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
        }
    }
}

/// Ten steps with a checkpoint after every second one; after step 5 a value of `name` is `value`.
fn train(path: &Path, name: &'static str, value: f32) -> Result<Outcome, Error> {
    let data = waxwork_data::load(&DataConfig { limit: Some(64), ..DataConfig::named("digits") }).unwrap();
    let network = Network::Conv { channels: vec![2, 4], hidden: 8, batch_norm: true };
    let config = VaeConfig { latent_dim: 2, network, ..VaeConfig::default() };
    let vae = Vae::new(config, data.info.sample(), ParamSet::fresh(0, &Device::Cpu)).unwrap();
    let mut state = TrainingState::new(&vae, OptimizerConfig::default(), 0, 10).unwrap();
    let config = TrainConfig {
        batch_size: 8,
        steps: Some(10),
        log_every: 1,
        checkpoint_every: 2,
        sample_every: 10,
        ..TrainConfig::default()
    };
    let environment = Environment::here("test", &Device::Cpu);
    let info = RunInfo::new(environment, "description = \"x\"", vae.info().clone(), "digits", 0);
    let folder = RunFolder::create(path, &info, None).unwrap();
    let mut spoiler = Spoiler { params: vae.params().clone(), name, value, after: 5 };
    let kind = data.info.kind.clone();
    let show = || {
        let samples = vae.sample(&SampleRequest::new(0, 4))?;
        waxwork_core::values::check("samples", &samples)?;
        Ok(preview(&kind, &samples)?)
    };
    Training {
        model: &vae,
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
        observers: vec![&mut spoiler],
    }
    .run()
}

#[test]
fn a_value_that_is_wrong_is_named_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| folder.path().join(name);
    assert_eq!(train(&run("fine"), "encoder.down.1.norm.running_mean", 0.25).unwrap().steps, 10);
    // Training normalises by the batch, so that no loss shows it.
    for (place, value, said) in [
        ("negative", -4.0, "running_var` is -"),
        ("infinite", f32::INFINITY, "running_var` is inf at [0]: every value must be finite"),
    ] {
        let error = train(&run(place), "encoder.down.1.norm.running_var", value).unwrap_err();
        let Error::Diverged { source, checkpoint } = &error else { panic!("{error}") };
        assert!(matches!(source, waxwork_core::Error::Value { .. }), "{source}");
        assert!(error.to_string().contains(said), "{error}");
        let checkpoint = checkpoint.as_ref().unwrap();
        assert!(checkpoint.ends_with("step-000004"), "{}", checkpoint.display());
        let kept = store::load(&checkpoint.join("params.safetensors"), &Device::Cpu).unwrap();
        waxwork_core::values::check_all(&kept).unwrap();
        assert!(!run(place).join("model.safetensors").exists());
        assert_eq!(std::fs::read_dir(run(place).join("checkpoints")).unwrap().count(), 2);
    }
}
