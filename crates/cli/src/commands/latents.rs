//! `waxwork encode` and `waxwork decode`: images to latent vectors and back, through NumPy files.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{DType, Device, Tensor, device, npy};
use waxwork_models::Run;

use crate::args::{DecodeArguments, EncodeArguments};
use crate::commands::sample::{data, encoder, open};
use crate::failure::Failure;
use crate::output;

pub(crate) fn encode(arguments: &EncodeArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let latent = encoder(&run)?;
    let mut means = Vec::new();
    let mut encode = |images: &Tensor, labels: Option<&Tensor>| -> Result<(), Failure> {
        means.push(latent.encode(images, labels)?.mean.to_device(&Device::Cpu)?);
        Ok(())
    };
    match &arguments.images {
        Some(path) => {
            let images = npy::load(path)?.to_dtype(DType::F32)?;
            let bar = output::bar(images.dim(0)?, "encoding");
            for first in (0..images.dim(0)?).step_by(EVALUATION_BATCH) {
                let count = EVALUATION_BATCH.min(images.dim(0)? - first);
                // A part by itself: on the way to a device candle copies all of what a tensor is a part of.
                let part = images.narrow(0, first, count)?.force_contiguous()?;
                encode(&part.to_device(&device)?, None)?;
                bar.inc(count as u64);
            }
        }
        None => {
            let test = data(&run, arguments.data_dir.as_ref())?.test;
            let bar = output::bar(test.len(), "encoding");
            for batch in test.batches(EVALUATION_BATCH, &device)? {
                let batch = batch?;
                encode(&batch.images, batch.labels.as_ref())?;
                bar.inc(batch.len() as u64);
            }
            bar.finish_and_clear();
        }
    }
    if means.is_empty() {
        return Err(Failure::new("there are no images to encode"));
    }
    let means = Tensor::cat(&means, 0)?;
    npy::save(&arguments.out, &means)?;
    Ok(format!(
        "{} latent vectors of length {} in {}\n",
        means.dim(0)?,
        means.dim(1)?,
        arguments.out.display()
    ))
}

pub(crate) fn decode(arguments: &DecodeArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let latents = npy::load(&arguments.latents)?.to_dtype(DType::F32)?.to_device(&device)?;
    let count = latents.dims().first().copied().unwrap_or(0);
    let labels = arguments.labels.as_ref().map(|labels| Tensor::new(labels.in_turn(count), &device));
    let images = generate(&run, &latents, labels.transpose()?.as_ref())?;
    output::write_images(&arguments.out, &images, None, 0)?;
    Ok(format!("{} images in {}\n", images.dim(0)?, arguments.out.display()))
}

/// The images of latents `(N, latent_dim)`, and labels where there are any, in passes; on the CPU.
pub(crate) fn generate(run: &Run, latents: &Tensor, labels: Option<&Tensor>) -> Result<Tensor, Failure> {
    let count = latents.dims().first().copied().unwrap_or(0);
    let bar = output::bar(count, "generating");
    let mut images = Vec::new();
    for first in (0..count).step_by(EVALUATION_BATCH) {
        let many = EVALUATION_BATCH.min(count - first);
        let rows = |tensor: &Tensor| tensor.narrow(0, first, many);
        let labels = labels.map(rows).transpose()?;
        images.push(run.model.generate(&rows(latents)?, labels.as_ref())?.to_device(&Device::Cpu)?);
        bar.inc(many as u64);
    }
    if images.is_empty() {
        return Err(Failure::new("there are no latent vectors to turn into images"));
    }
    Ok(Tensor::cat(&images, 0)?)
}
