//! Trains a VAE on images of your own with a loop of your own: drawn discs, validation at every hundredth step, the weights
//! in `discs.safetensors`, and samples of the loaded weights in `discs.png`.

use std::path::Path;
use std::sync::Arc;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Bound, Device, GenerativeModel, ImageShape, Kind, ParamSet, SampleRequest, Trainable, TrainingState,
    store,
};
use waxwork_data::{Dataset, DatasetInfo, Loader, LoaderConfig, Source};
use waxwork_media::grid;
use waxwork_vae::{Vae, VaeConfig};

const SEED: u64 = 0;
const STEPS: u64 = 1000;
const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

/// Grey images of one disc. Image i is a function of the stream and i, so every epoch and every machine sees the same images.
struct Discs {
    stream: Stream,
    count: usize,
}

impl Source for Discs {
    fn kind(&self) -> Kind {
        SHAPE.into()
    }

    fn len(&self) -> usize {
        self.count
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> waxwork_data::Result<()> {
        let mut draws = self.stream.at(index as u64);
        let radius = draws.between(3.0, 9.0);
        let [x, y] = [SHAPE.width, SHAPE.height].map(|side| draws.between(radius, side as f32 - radius));
        for (place, value) in out.iter_mut().enumerate() {
            let (row, column) = (place / SHAPE.width, place % SHAPE.width);
            let distance = (column as f32 - x).hypot(row as f32 - y);
            *value = (255.0 * (radius - distance + 0.5).clamp(0.0, 1.0)) as u8;
        }
        Ok(())
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }
}

fn discs() -> waxwork_data::Result<Dataset> {
    let part = |name, count| Arc::new(Discs { stream: Stream::new(SEED, name, 0), count });
    let info = DatasetInfo::new("discs", SHAPE, &[], "discs 1");
    Dataset::new(info, part("discs/train", 6000), part("discs/test", 1000), None, None)
}

/// Mean −ELBO in nats of the first hundred validation images.
fn validate(vae: &dyn Bound, data: &Dataset) -> Result<f32, Box<dyn std::error::Error>> {
    let batch = data.validation.batch(&(0..100).collect::<Vec<_>>(), &Device::Cpu)?;
    let elbo = vae.elbo(&batch, &Stream::new(SEED, "validation", 0))?;
    Ok((elbo.kl - elbo.reconstruction)?.mean_all()?.to_scalar()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = discs()?;
    let config = VaeConfig { latent_dim: 3, ..VaeConfig::default() };
    let vae = Vae::new(config.clone(), SHAPE, ParamSet::fresh(SEED, &Device::Cpu))?;
    let adam = OptimizerConfig { lr: 1e-3, betas: [0.9, 0.999], ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&vae, adam, SEED, STEPS)?;

    let batches = Loader::new(&data.train, &LoaderConfig::new(64, SEED), &Device::Cpu)?;
    for batch in batches.take(STEPS as usize) {
        let report = state.step(&vae, &batch?)?;
        if report.step % 100 == 0 {
            let (loss, held_out) = (report.scalars[0].1, validate(&vae, &data)?);
            println!("step {}: −ELBO {loss:.2} nats, validation {held_out:.2}", report.step);
        }
    }

    let file = Path::new("discs.safetensors");
    store::save(file, &vae.params().tensors())?;
    let stored = ParamSet::stored(store::load(file, &Device::Cpu)?, &Device::Cpu)?;
    let loaded = Vae::new(config, SHAPE, stored)?;
    let images = loaded.sample(&SampleRequest::new(SEED, 40))?; // (40, 1, 28, 28) in [0, 1]
    store::write("discs.png".as_ref(), &grid::grid(&images, 10)?.png()?)?;
    Ok(())
}
