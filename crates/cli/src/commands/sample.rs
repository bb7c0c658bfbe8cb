//! `waxwork sample` and `waxwork reconstruct`.

use std::path::{Path, PathBuf};

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, LatentModel, SampleRequest, Tensor, device};
use waxwork_data::Dataset;
use waxwork_models::{Run, Weights};

use crate::args::{ReconstructArguments, SampleArguments};
use crate::failure::Failure;
use crate::output;

/// Reconstructions per row.
const COLUMNS: usize = 10;

pub(crate) fn sample(arguments: &SampleArguments) -> Result<String, Failure> {
    let run = open(&arguments.run, &device::open(&arguments.device)?)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("sample.png"));
    let bar = output::bar(arguments.count, "sampling");
    let mut parts = Vec::new();
    for first in (0..arguments.count).step_by(EVALUATION_BATCH) {
        let count = EVALUATION_BATCH.min(arguments.count - first);
        let request = SampleRequest { first: first as u64, ..SampleRequest::new(arguments.seed, count) };
        parts.push(run.model.sample(&request)?.to_device(&Device::Cpu)?);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    if parts.is_empty() {
        return Err(Failure::new("nothing to do: -n is 0"));
    }
    output::write_images(&out, &Tensor::cat(&parts, 0)?, None, 0)?;
    Ok(format!("{} images in {}\n", arguments.count, out.display()))
}

pub(crate) fn reconstruct(arguments: &ReconstructArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let latent = encoder(&run)?;
    let split = data(&run, arguments.data_dir.as_ref())?.test.first(arguments.count);
    let mut rows = Vec::new();
    for batch in split.batches(COLUMNS, &device)? {
        let batch = batch?;
        let means = latent.encode(&batch.images, batch.labels.as_ref())?.mean;
        rows.push(batch.images.clone());
        rows.push(latent.decode(&means, batch.labels.as_ref())?);
        // A short last row is filled up, so that every reconstruction stands below its image.
        if batch.len() < COLUMNS && rows.len() > 2 {
            for row in rows.iter_mut().rev().take(2) {
                *row = row.pad_with_zeros(0, 0, COLUMNS - batch.len())?;
            }
        }
    }
    if rows.is_empty() {
        return Err(Failure::new("nothing to do: -n is 0"));
    }
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("reconstructions.png"));
    output::write_images(&out, &Tensor::cat(&rows, 0)?.to_device(&Device::Cpu)?, None, 0)?;
    Ok(format!("{} test images, each above its reconstruction, in {}\n", split.len(), out.display()))
}

/// Opens a run and warns if its weights are not the final ones.
pub(crate) fn open(path: &Path, device: &Device) -> Result<Run, Failure> {
    let run = Run::open(path, device)?;
    if let Weights::Checkpoint { step, damaged } = &run.weights {
        for reason in damaged {
            tracing::warn!("passed over a checkpoint: {reason}");
        }
        tracing::warn!("this run is not finished: using its checkpoint after {step} steps");
    }
    Ok(run)
}

/// The run's data set, from `folder` if given, else from where the run found it.
pub(crate) fn data(run: &Run, folder: Option<&PathBuf>) -> Result<Dataset, Failure> {
    let mut config = run.recipe.data.clone();
    if let Some(folder) = folder {
        config.dir = Some(folder.clone());
    }
    Ok(waxwork_data::load(&config)?)
}

/// The model's access by latent vectors.
pub(crate) fn encoder(run: &Run) -> Result<&dyn LatentModel, Failure> {
    let missing = || Failure::new(format!("a {} has no encoder", run.info.model.family));
    run.model.latent().ok_or_else(missing)
}
