//! `waxwork encode` and `waxwork decode`: samples to latent vectors and back, through NumPy files.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::walk::Walk;
use waxwork_core::{Condition, Device, Encode, Tensor, device, npy, values};
use waxwork_data::Split;
use waxwork_data::table::encode::Encoder;
use waxwork_eval::arrays;
use waxwork_models::sampling::{self, in_turn};
use waxwork_models::{Classes, Run, rows};

use crate::args::{DecodeArguments, EncodeArguments, WantedArgs};
use crate::commands::sample::{data, labels_for, only_for_tables, open};
use crate::commands::walk::generated;
use crate::commands::{foreign, sample_rows};
use crate::failure::Failure;
use crate::output::{self, Form, Labelled};

pub(crate) fn encode(arguments: &EncodeArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let encoder = run.needed_encoder()?;
    let means = match (&arguments.images, &run.encoder_of_rows) {
        (Some(path), Some(rows)) if foreign::is_table(path) => {
            let (_, rows) = foreign::read_rows(path, rows)?;
            means_of(encoder, &rows, &device)?
        }
        (Some(path), _) => {
            let classes = Classes::of(&run);
            let (images, labels) = foreign::read_tensor(path, &Form::from(&run), &classes)?;
            foreign::check_labelled(path, labels.is_some(), &classes)?;
            let bar = output::bar(images.dim(0)?, "encoding");
            sampling::encode(encoder, &device, &images, labels.as_deref(), |done| {
                bar.set_position(done as u64);
            })?
        }
        (None, _) => means_of(encoder, &data(&run, arguments.data_dir.as_ref())?.test, &device)?,
    };
    npy::save(&arguments.out, &means)?;
    let (count, length, out) = (means.dim(0)?, means.dim(1)?, arguments.out.display());
    Ok(match run.model.info().latent.code_count() {
        None => format!("{count} latent vectors of length {length} in {out}\n"),
        Some(codes) => format!("{count} maps of {length} codes, each from 0 to {}, in {out}\n", codes - 1),
    })
}

/// The posterior means of all samples of a split, each under its own condition.
fn means_of(encoder: &dyn Encode, split: &Split, device: &Device) -> Result<Tensor, Failure> {
    let bar = output::bar(split.len(), "encoding");
    let mut means = Vec::new();
    for batch in split.batches(EVALUATION_BATCH, device)? {
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
    Ok(means)
}

pub(crate) fn decode(arguments: &DecodeArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let form = Form::from(&run);
    output::check_target(&arguments.out, &form.kind)?;
    let latents = npy::load(&arguments.latents)?;
    let latents = arrays::latents(&latents, run.model.info().latent_dim())
        .map_err(|error| Failure::from(error).at(&arguments.latents))?
        .to_device(&device)?;
    let (count, classes) = (latents.dim(0)?, Classes::of(&run));
    let labels = arguments.labels.as_ref().map(|labels| labels_for(&run, &classes, labels));
    let labels = labels.transpose()?.map(|labels| in_turn(&labels, count));
    let condition = match (&run.encoder_of_rows, &labels) {
        (Some(rows), _) => wanted(&run, rows, &arguments.wanted, count)?,
        (None, labels) => {
            only_for_tables(&arguments.wanted)?;
            labels.as_ref().map(|labels| Condition::classes(labels)).transpose()?.unwrap_or_default()
        }
    };
    let samples = generated(&run, &Walk { latents, condition })?;
    let labelled = labels.as_ref().map(|labels| Labelled { labels, classes: &classes });
    output::write_samples(&arguments.out, &form, &samples, labelled, 0)?;
    let mut text = format!("{} {} in {}\n", samples.dim(0)?, form.kind.plural(), arguments.out.display());
    if let Some(rows) = form.rows.as_ref().filter(|_| !arguments.wanted.asked.is_empty()) {
        text += &sample_rows::obeyed(&rows::decode(rows, &samples, 0)?, &arguments.wanted.asked)?;
    }
    Ok(output::written(&arguments.out, text))
}

/// The values of columns that rows are decoded with. Conditional models of tables need them, as other
/// conditional models need labels.
fn wanted(run: &Run, encoder: &Encoder, wanted: &WantedArgs, count: usize) -> Result<Condition, Failure> {
    let condition = sample_rows::condition(run, encoder, wanted, count)?;
    if condition.is_empty() && run.model.info().condition.is_columns() {
        return Err(Failure::new(
            "this model needs values of columns: pass --where COLUMN=VALUE, or --like FILE --columns COLUMNS",
        ));
    }
    Ok(condition)
}
