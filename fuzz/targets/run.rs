//! Run folders as sampling and comparing read them: one of the files is the input's.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use waxwork_core::{Device, ImageShape, ParamSet, SampleRequest, store};
use waxwork_eval::{Report, differences};
use waxwork_fuzz::{RECIPE, scratch, seed};
use waxwork_models::{Recipe, Run};
use waxwork_trainer::metrics::{self, MetricsFile};

const RUN: &str = r#"{"version": "0.1.0", "revision": null, "machine": "linux x86_64", "device": "cpu", "threads": 1,
  "model": {"family": "vae", "image": {"channels": 1, "height": 4, "width": 4}, "latent_dim": 2, "classes": 0},
  "data": "digits", "data_identity": "0", "seed": 0, "status": "finished", "steps": 3, "seconds": 1.0, "started": 0,
  "model_sha256": null}"#;
const TIMING: &str =
    "{\"step\":1,\"seconds\":0.5,\"peak_memory_bytes\":1000}\n{\"step\":2,\"seconds\":1.0}\n";
const METRICS: &str = r#"{"version": "0.1.0", "subject": "runs/a", "training_seed": 0, "metrics": [{"name": "neg_elbo",
  "value": 105.5, "unit": "nats", "interval": [105, 106], "floor": 0.5, "higher_is_better": false,
  "protocol": {"split": "test"}}, {"name": "neg_elbo", "value": 1, "protocol": {"split": "train"}}]}"#;

/// The files of a whole run.
fn whole() -> [(&'static str, Vec<u8>); 5] {
    let recipe = Recipe::parse(RECIPE, "x", &[]).unwrap();
    let model = recipe.model.build(ImageShape::new(1, 4, 4), 0, ParamSet::fresh(0, &Device::Cpu)).unwrap();
    [
        ("recipe.toml", RECIPE.into()),
        ("run.json", RUN.into()),
        ("model.safetensors", store::encode(&model.params().tensors()).unwrap()),
        ("timing.jsonl", TIMING.into()),
        ("metrics.json", METRICS.into()),
    ]
}

fuzz_target!(
    init: {
        for (number, (name, bytes)) in whole().iter().enumerate() {
            seed("run", name, &[&[number as u8], bytes.as_slice()].concat());
        }
    },
    |input: &[u8]| {
        let Some((which, bytes)) = input.split_first() else { return };
        let run = scratch().join("run");
        fs::create_dir_all(&run).unwrap();
        for (number, (name, whole)) in whole().iter().enumerate() {
            let bytes = if number == *which as usize % 5 { bytes } else { whole };
            fs::write(run.join(name), bytes).unwrap();
        }
        if let Ok(run) = Run::open(&run, &Device::Cpu) {
            _ = run.model.sample(&SampleRequest::new(0, 2));
            _ = metrics::read(&run.folder.timing());
        }
        _ = MetricsFile::open(&run.join("timing.jsonl"), 1);
        if let Ok(report) = serde_json::from_slice::<Report>(&fs::read(run.join("metrics.json")).unwrap()) {
            for pair in report.metrics.windows(2) {
                _ = differences(&pair[0].protocol, &pair[1].protocol);
            }
        }
    }
);
