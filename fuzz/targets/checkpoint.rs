//! Checkpoints. The input replaces one of the three files. The hashes are corrected, because an attacker
//! could do that too.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waxwork_core::hash::sha256;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, TrainingState};
use waxwork_fuzz::{RECIPE, scratch, seed};
use waxwork_models::Recipe;
use waxwork_trainer::checkpoint::Checkpoints;
use waxwork_trainer::metrics::MetricsFile;

const FILES: [&str; 3] = ["state.json", "params.safetensors", "optimizers.safetensors"];

fn model() -> (Box<dyn GenerativeModel>, TrainingState) {
    let recipe = Recipe::parse(RECIPE, "x", &[]).unwrap();
    let params = ParamSet::fresh(0, &Device::Cpu);
    let model = recipe.model.build(ImageShape::new(1, 4, 4), 0, params).unwrap();
    let adam = OptimizerConfig { ema: Some(0.9), ..OptimizerConfig::default() };
    let state = TrainingState::new(&*model, adam, 0, 3).unwrap();
    (model, state)
}

/// The files of an intact checkpoint.
static WHOLE: LazyLock<BTreeMap<&'static str, Vec<u8>>> = LazyLock::new(|| {
    let (model, state) = model();
    let metrics = MetricsFile::open(&scratch().join("metrics.jsonl"), 0).unwrap().sync().unwrap();
    let path = Checkpoints::new(scratch().join("whole")).save(&*model, &state, None, &metrics).unwrap();
    FILES.map(|name| (name, fs::read(path.join(name)).unwrap())).into()
});

/// state.json with correct hashes, if it is JSON of that form.
fn signed(state: &[u8], folder: &Path) -> Option<Vec<u8>> {
    let mut state: Value = serde_json::from_slice(state).ok()?;
    for name in &FILES[1..] {
        *state.get_mut("files")?.get_mut(name)? = sha256(&fs::read(folder.join(name)).unwrap()).into();
    }
    *state.get_mut("sha256")? = "".into();
    let own = sha256(&serde_json::to_vec_pretty(&state).unwrap());
    *state.get_mut("sha256")? = own.into();
    Some(serde_json::to_vec_pretty(&state).unwrap())
}

fuzz_target!(
    init: {
        for (number, name) in FILES.iter().enumerate() {
            seed("checkpoint", name, &[&[number as u8], WHOLE[name].as_slice()].concat());
        }
    },
    |input: &[u8]| {
        let Some((which, bytes)) = input.split_first() else { return };
        let mut files = WHOLE.clone();
        files.insert(FILES[*which as usize % 3], bytes.to_vec());
        let folder = scratch().join("checkpoints");
        let path = folder.join("step-000000");
        fs::create_dir_all(&path).unwrap();
        for (name, bytes) in &files {
            fs::write(path.join(name), bytes).unwrap();
        }
        if let Some(state) = signed(&files["state.json"], &path) {
            fs::write(path.join("state.json"), state).unwrap();
        }
        if let Ok((checkpoint, _)) = Checkpoints::new(folder).newest_with_log(&scratch().join("metrics.jsonl")) {
            let (model, mut state) = model();
            _ = checkpoint.restore(&*model, &mut state);
            _ = checkpoint.into_sampling_weights();
        }
    }
);
