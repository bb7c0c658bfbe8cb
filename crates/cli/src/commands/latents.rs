//! `waxwork encode` and `waxwork decode`: images to latent vectors and back, through NumPy files.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Tensor, device, npy, values};
use waxwork_eval::arrays;
use waxwork_models::{Classes, Run};

use crate::args::{DecodeArguments, EncodeArguments};
use crate::commands::foreign;
use crate::commands::sample::{data, encoder, in_turn, labels_for, open};
use crate::failure::Failure;
use crate::output::{self, Labelled};

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
            let classes = Classes::of(&run);
            let (images, labels) = foreign::read_tensor(path, run.model.info().image, &classes)?;
            foreign::check_labelled(path, labels.is_some(), &classes)?;
            let bar = output::bar(images.dim(0)?, "encoding");
            for first in (0..images.dim(0)?).step_by(EVALUATION_BATCH) {
                let count = EVALUATION_BATCH.min(images.dim(0)? - first);
                // A part by itself: on the way to a device candle copies all of what a tensor is a part of.
                let part = images.narrow(0, first, count)?.force_contiguous()?;
                let labels =
                    labels.as_ref().map(|labels| Tensor::new(&labels[first..first + count], &Device::Cpu));
                encode(&part.to_device(&device)?, labels.transpose()?.as_ref())?;
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
    values::check("latents", &means)?;
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
    output::check_target(&arguments.out)?;
    let run = open(&arguments.run, &device)?;
    let latents = npy::load(&arguments.latents)?;
    let latents = arrays::latents(&latents, run.model.info().latent_dim)
        .map_err(|error| Failure::from(error).at(&arguments.latents))?
        .to_device(&device)?;
    let (count, classes) = (latents.dim(0)?, Classes::of(&run));
    let labels = arguments.labels.as_ref().map(|labels| labels_for(&run, &classes, labels));
    let labels = labels.transpose()?.map(|labels| in_turn(&labels, count));
    let asked = labels.as_ref().map(|labels| Tensor::new(labels.as_slice(), &device));
    let images = generate(&run, &latents, asked.transpose()?.as_ref())?;
    let labelled = labels.as_ref().map(|labels| Labelled { labels, classes: &classes });
    output::write_images(&arguments.out, &images, labelled, 0)?;
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
