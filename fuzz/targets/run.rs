//! Run folders as sampling reads them. The input replaces one of the files.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use waxwork_core::{Device, ImageShape, ParamSet, SampleRequest, store};
use waxwork_fuzz::{RECIPE, scratch, seed};
use waxwork_models::{Recipe, Run};
use waxwork_trainer::metrics::{self, MetricsFile};

const RUN: &str = r#"{"version": "0.1.0", "revision": null, "machine": "linux x86_64", "device": "cpu", "threads": 1,
  "model": {"family": "vae", "image": {"channels": 1, "height": 4, "width": 4}, "latent_dim": 2, "classes": 0},
  "data": "digits", "data_identity": "0", "seed": 0, "status": "finished", "steps": 3, "seconds": 1.0, "started": 0,
  "model_sha256": null}"#;
const TIMING: &str =
    "{\"step\":1,\"seconds\":0.5,\"peak_memory_bytes\":1000}\n{\"step\":2,\"seconds\":1.0}\n";

/// The files of an intact run.
static WHOLE: LazyLock<[(&str, Vec<u8>); 4]> = LazyLock::new(|| {
    let recipe = Recipe::parse(RECIPE, "x", &[]).unwrap();
    let model = recipe.model.build(ImageShape::new(1, 4, 4), 0, ParamSet::fresh(0, &Device::Cpu)).unwrap();
    [
        ("recipe.toml", RECIPE.into()),
        ("run.json", RUN.into()),
        ("model.safetensors", store::encode(&model.params().tensors()).unwrap()),
        ("timing.jsonl", TIMING.into()),
    ]
});

fuzz_target!(
    init: {
        for (number, (name, bytes)) in WHOLE.iter().enumerate() {
            seed("run", name, &[&[number as u8], bytes.as_slice()].concat());
        }
    },
    |input: &[u8]| {
        let Some((which, bytes)) = input.split_first() else { return };
        let run = scratch().join("run");
        fs::create_dir_all(&run).unwrap();
        for (number, (name, whole)) in WHOLE.iter().enumerate() {
            let bytes = if number == *which as usize % 4 { bytes } else { whole };
            fs::write(run.join(name), bytes).unwrap();
        }
        if let Ok(run) = Run::open(&run, &Device::Cpu) {
            _ = run.model.sample(&SampleRequest::new(0, 2));
            _ = metrics::read(&run.folder.timing());
        }
        _ = MetricsFile::open(&run.join("timing.jsonl"), 1);
    }
);
