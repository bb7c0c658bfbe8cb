//! `waxwork encode` and `waxwork decode`: images to latent vectors and back, through NumPy files.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::walk::Walk;
use waxwork_core::{Condition, Device, Tensor, device, npy, values};
use waxwork_eval::arrays;
use waxwork_models::Classes;
use waxwork_models::sampling::{self, in_turn};

use crate::args::{DecodeArguments, EncodeArguments};
use crate::commands::foreign;
use crate::commands::sample::{data, labels_for, open};
use crate::commands::walk::generated;
use crate::failure::Failure;
use crate::output::{self, Form, Labelled};

pub(crate) fn encode(arguments: &EncodeArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let encoder = run.needed_encoder()?;
    let means = match &arguments.images {
        Some(path) => {
            let classes = Classes::of(&run);
            let (images, labels) = foreign::read_tensor(path, &Form::from(&run.info), &classes)?;
            foreign::check_labelled(path, labels.is_some(), &classes)?;
            let bar = output::bar(images.dim(0)?, "encoding");
            sampling::encode(encoder, &device, &images, labels.as_deref(), |done| {
                bar.set_position(done as u64);
            })?
        }
        None => {
            let test = data(&run, arguments.data_dir.as_ref())?.test;
            let bar = output::bar(test.len(), "encoding");
            let mut means = Vec::new();
            for batch in test.batches(EVALUATION_BATCH, &device)? {
                let batch = batch?;
                means.push(encoder.encode(&batch.inputs, &batch.condition)?.mean.to_device(&Device::Cpu)?);
                bar.inc(batch.len() as u64);
            }
            bar.finish_and_clear();
            if means.is_empty() {
                return Err(Failure::new("there is nothing to encode"));
            }
            let means = Tensor::cat(&means, 0)?;
            values::check("latents", &means)?;
            means
        }
    };
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
    let form = Form::from(&run.info);
    output::check_target(&arguments.out, &form.kind)?;
    let latents = npy::load(&arguments.latents)?;
    let latents = arrays::latents(&latents, run.model.info().latent_dim())
        .map_err(|error| Failure::from(error).at(&arguments.latents))?
        .to_device(&device)?;
    let (count, classes) = (latents.dim(0)?, Classes::of(&run));
    let labels = arguments.labels.as_ref().map(|labels| labels_for(&run, &classes, labels));
    let labels = labels.transpose()?.map(|labels| in_turn(&labels, count));
    let asked = labels.as_ref().map(|labels| Condition::classes(labels)).transpose()?.unwrap_or_default();
    let samples = generated(&run, &Walk { latents, condition: asked })?;
    let labelled = labels.as_ref().map(|labels| Labelled { labels, classes: &classes });
    output::write_samples(&arguments.out, &form, &samples, labelled, 0)?;
    let text = format!("{} {} in {}\n", samples.dim(0)?, form.kind.plural(), arguments.out.display());
    Ok(output::written(&arguments.out, text))
}
