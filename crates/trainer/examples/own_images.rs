//! Trains a VAE on images of one's own with the trainer: logs, sample grids, checkpoints and the finished weights in a run folder,
//! which is resumed where it was stopped.
//!
//! `cargo run --release -p waxwork-trainer --example own_images -- runs/bars`; stop it and run it again to see it resume.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Bound, Device, GenerativeModel, ImageShape, ParamSet, SampleRequest, Trainable, TrainingState,
};
use waxwork_data::{InMemory, Split};
use waxwork_media::preview;
use waxwork_trainer::{Environment, Progress, RunFolder, RunInfo, Stop, TrainConfig, Training};
use waxwork_vae::{Vae, VaeConfig};

const SEED: u64 = 0;
const SHAPE: ImageShape = ImageShape::new(1, 16, 16);
const STEPS: u64 = 1000;

/// `count` images of one bright bar, upright or lying, as bytes: one image after the other, channel first, 255 is white. Your own
/// images come from wherever they are; only this form is asked for.
fn bars(count: u64, stream: &Stream) -> Vec<u8> {
    let mut pixels = Vec::new();
    for number in 0..count {
        let mut draws = stream.at(number);
        let (upright, place) = (draws.below(2) == 0, draws.below(14) as usize);
        let across = |pixel: usize| if upright { pixel % SHAPE.width } else { pixel / SHAPE.width };
        pixels.extend(
            (0..SHAPE.len()).map(|pixel| u8::from((place..place + 3).contains(&across(pixel))) * 255),
        );
    }
    pixels
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs/bars".to_owned()));
    let device = Device::Cpu;
    let split = |name: &str, count: u64| -> Result<Split, Box<dyn std::error::Error>> {
        let pixels = bars(count, &Stream::new(SEED, name, 0));
        Ok(Split::all(Arc::new(InMemory::new(SHAPE, pixels, None)?))?)
    };
    let (train, validation) = (split("train", 4000)?, split("validation", 400)?);

    let model = VaeConfig { latent_dim: 8, ..VaeConfig::default() };
    let vae = Vae::new(model.clone(), SHAPE, ParamSet::fresh(SEED, &device))?;
    let optimizer =
        OptimizerConfig { lr: 1e-3, betas: [0.9, 0.999], ema: Some(0.99), ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&vae, optimizer, SEED, STEPS)?;
    let config = TrainConfig {
        batch_size: 100,
        steps: Some(STEPS),
        sample_every: 250,
        checkpoint_every: 250,
        ..TrainConfig::default()
    };

    let mut best = None;
    let folder = if path.join("run.json").exists() {
        let mut folder = RunFolder::open(&path)?;
        folder.lock()?;
        if !folder.checkpoints().steps()?.is_empty() {
            let (checkpoint, damaged) = folder.checkpoints().newest_with_log(&folder.metrics())?;
            damaged.iter().for_each(|reason| eprintln!("skipped: {reason}"));
            checkpoint.restore(&vae, &mut state)?;
            best = checkpoint.best;
        }
        folder
    } else {
        // What is kept of the configuration is up to you; here, what the VAE was told.
        let environment = Environment::here(env!("CARGO_PKG_VERSION"), &device);
        let recipe = format!("description = \"a VAE on bars\"\nmodel = '''{model:?}'''\n");
        let info = RunInfo::new(environment, recipe, vae.info().clone(), "bars", SEED);
        RunFolder::create(&path, &info, None)?
    };

    // The moving average is what is validated, shown and kept.
    let average = state.ema().unwrap_or_else(|| vae.params().frozen());
    let average = Vae::new(model, SHAPE, average)?;
    let kind = train.kind();
    let show = || Ok(preview(kind, &average.sample(&SampleRequest::new(SEED, 50))?)?);
    let validate = || {
        let mut neg_elbo = 0.0;
        for batch in validation.batches(EVALUATION_BATCH, &device)? {
            let elbo = average.elbo(&batch?, &Stream::new(SEED, "validation", 0))?;
            let sum = (elbo.kl - elbo.reconstruction).and_then(|nats| nats.sum_all()?.to_scalar::<f32>());
            neg_elbo += f64::from(sum.map_err(waxwork_core::Error::from)?) / validation.len() as f64;
        }
        Ok(BTreeMap::from([("validation/neg_elbo".to_owned(), neg_elbo)]))
    };
    let mut progress = Progress::default();
    let outcome = Training {
        model: &vae,
        state: &mut state,
        data: &train,
        device: &device,
        config: &config,
        folder: &folder,
        best,
        validate: Some((&validate, "validation/neg_elbo")),
        preview: Some(&show),
        complete: None,
        stop: Stop::default(), // `Stop::request` from a signal handler, or a time limit
        observers: vec![&mut progress],
    }
    .run()?;
    if let Some(best) = outcome.best {
        println!("best {} {:.2} at step {}", best.metric, best.value, best.step);
    }
    println!("weights in {}, pictures in {}", folder.model().display(), folder.samples().display());
    Ok(())
}
