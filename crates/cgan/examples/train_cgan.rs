//! Trains a conditional GAN on embedded digits with its own training loop, and writes a class
//! grid: `samples.png`.

use waxwork_cgan::{Cgan, CganConfig, Conditioning};
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::{Device, GenerativeModel, ParamSet, SampleRequest, TrainingState, store};
use waxwork_data::{DataConfig, Loader, LoaderConfig, load};
use waxwork_media::grid;

const SEED: u64 = 0;
const STEPS: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = load(&DataConfig::named("digits"))?;
    let (shape, classes) = (data.info.image()?, data.info.classes.len());
    let conditioning = Some(Conditioning::AuxiliaryClassifier { weight: 0.5 });
    let config = CganConfig { conditioning, ..CganConfig::default() };
    let cgan = Cgan::new(config, shape, classes, ParamSet::fresh(SEED, &Device::Cpu))?;
    let mut state = TrainingState::new(&cgan, OptimizerConfig::default(), SEED, STEPS)?;

    let batches = Loader::new(&data.train, &LoaderConfig::new(64, SEED), &Device::Cpu)?;
    for batch in batches.take(STEPS as usize) {
        let report = state.step(&cgan, &batch?)?;
        if report.step % 100 == 0 {
            println!("step {}: {:?}", report.step, report.scalars);
        }
    }

    let images = cgan.sample(&SampleRequest::new(SEED, 100))?; // (100, 1, 28, 28) in [0, 1], a column a class
    store::write("samples.png".as_ref(), &grid::grid(&images, classes)?.png()?)?;
    Ok(())
}
