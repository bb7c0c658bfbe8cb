//! Trains a conditional VAE on embedded digits with its own training loop, and writes sevens: `samples.png`.

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{Device, GenerativeModel, ParamSet, SampleRequest, TrainingState, store};
use waxwork_cvae::{Cvae, CvaeConfig};
use waxwork_data::{DataConfig, Loader, LoaderConfig, load};
use waxwork_media::grid;

const SEED: u64 = 0;
const STEPS: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = load(&DataConfig::named("digits"))?;
    let (shape, classes) = (data.info.image()?, data.info.classes.len());
    let cvae = Cvae::new(CvaeConfig::default(), shape, classes, ParamSet::fresh(SEED, &Device::Cpu))?;
    let adam = OptimizerConfig { lr: 1e-3, betas: [0.9, 0.999], ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&cvae, adam, SEED, STEPS)?;

    let batches = Loader::new(&data.train, &LoaderConfig::new(128, SEED), &Device::Cpu)?;
    for batch in batches.take(STEPS as usize) {
        let report = state.step(&cvae, &batch?)?;
        if report.step % 100 == 0 {
            println!("step {}: {:?}", report.step, report.scalars);
        }
    }

    let request = SampleRequest::of_classes(SEED, &[7; 100])?;
    let images = cvae.sample(&request)?; // (100, 1, 28, 28) in [0, 1]
    store::write("samples.png".as_ref(), &grid::grid(&images, 10)?.png()?)?;
    Ok(())
}
