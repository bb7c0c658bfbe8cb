//! `waxwork sample` and `waxwork reconstruct`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Kind, Reconstruct, Tensor, device, values};
use waxwork_data::manifest::{CLIPS, FOLDER, HUB, SOUND, TEXT};
use waxwork_data::{DataConfig, Dataset, FileKind, Manifest, Split};
use waxwork_eval::judging::SHIFT;
use waxwork_eval::{NEIGHBOUR_BATCH, nearest, nearest_shifted};
use waxwork_models::sampling::{Draw, draw, in_turn};
use waxwork_models::{Classes, Run, Weights, rows, sounds};

use crate::args::{ReconstructArguments, SampleArguments, WantedArgs};
use crate::commands::{foreign, sample_rows};
use crate::failure::Failure;
use crate::notes;
use crate::output::{self, Form, Labelled};
use crate::processes::Together;
use crate::texts;

/// Default number of samples in an image or a folder.
pub(crate) const SAMPLES: usize = 100;
/// Default number of clips, of which each is as large as many images.
const FEW: usize = 40;

pub(crate) fn sample(arguments: &SampleArguments, together: &Together) -> Result<String, Failure> {
    if arguments.data_dir.is_some() && !arguments.neighbours {
        return Err(Failure::usage(
            "--data-dir needs --neighbours: without it, `sample` does not read the data set",
        ));
    }
    let started = Instant::now();
    let device = together.open_device(&arguments.device)?;
    let run =
        if arguments.raw { Run::open_raw(&arguments.run, &device)? } else { open(&arguments.run, &device)? };
    together.agree_on_weights(&run)?;
    if let Some(encoder) = &run.encoder_of_rows {
        return sample_rows::sample(&run, encoder, arguments, together);
    }
    only_for_tables(&arguments.wanted)?;
    let form = Form::from(&run);
    let usual = || arguments.run.join("sample").with_extension(form.ending());
    let out = arguments.out.clone().unwrap_or_else(usual);
    let kind = &form.kind;
    output::check_target(&out, kind)?;
    let is_sound = matches!(kind, Kind::Sound { .. });
    let is_text = matches!(kind, Kind::Text { .. });
    let is_clip = matches!(kind, Kind::Clip { .. });
    if is_text && arguments.neighbours {
        return Err(Failure::new(
            "--neighbours is for images and sounds: `waxwork evaluate` counts copied texts",
        ));
    }
    let classes = Classes::of(&run);
    let asked = match &arguments.labels {
        Some(labels) => labels_for(&run, &classes, labels)?,
        None => (0..classes.len() as u32).collect(),
    };
    // People listen to a file of sounds from start to end, so it has one sound of each requested class.
    let few = is_sound && output::extension(&out).as_deref() == Some("wav");
    let usual = if few {
        asked.len().max(1)
    } else if is_clip {
        FEW
    } else {
        SAMPLES
    };
    let count = arguments.count.unwrap_or(usual);
    let labels = in_turn(&asked, count);
    let labelled = (!labels.is_empty()).then_some(Labelled { labels: &labels, classes: &classes });
    let (bar, collective) = (output::bar(count, "sampling"), together.collective());
    let make = |hand_over: &mut dyn FnMut(Tensor) -> Result<(), Failure>| {
        let SampleArguments { seed, truncation, temperature, .. } = *arguments;
        let collective = collective.as_ref();
        let asked = Draw { truncation, temperature, collective, ..Draw::new(count, seed, &labels) };
        draw(run.model.as_ref(), &asked, |part| {
            bar.inc(part.dim(0)? as u64);
            hand_over(part)
        })?;
        bar.finish_and_clear();
        Ok(())
    };
    if !together.is_first() {
        make(&mut |_| Ok(()))?;
        return Ok(String::new());
    }
    if is_text {
        // One-hot rows of many texts would not fit into memory.
        let mut texts = Vec::new();
        make(&mut |part| {
            values::check("texts", &part)?;
            texts.extend(sounds::at_rest(kind, &form.view, &part, 0)?);
            Ok(())
        })?;
        texts::write(&out, &form, &texts, labelled)?;
    } else if !arguments.neighbours && !is_sound && output::extension(&out).as_deref() == Some("npy") {
        output::stream_npy(&out, run.info.model.sample.batch(count).dims(), make)?;
        output::write_labels_beside(&out, labelled)?;
    } else {
        let mut parts = Vec::new();
        make(&mut |part| {
            parts.push(part);
            Ok(())
        })?;
        let samples = Tensor::cat(&parts, 0)?;
        if arguments.neighbours {
            return neighbours(&run, &samples, arguments);
        }
        output::write_samples(&out, &form, &samples, labelled, 0)?;
    }
    tracing::info!(samples = count, seconds = started.elapsed().as_secs_f64(), "samples written");
    let of = match asked.len() {
        0 => String::new(),
        1 => format!(", of the class {}", classes.list(asked)),
        _ => format!(", of the classes {} in turn", classes.list(asked)),
    };
    Ok(output::written(&out, format!("{count} {} in {}{of}\n", kind.plural(), out.display())))
}

/// Refuses values of columns for a model that is not of tables.
pub(crate) fn only_for_tables(wanted: &WantedArgs) -> Result<(), Failure> {
    if wanted.is_given() {
        return Err(Failure::new("--where and --like are for models of tables"));
    }
    Ok(())
}

/// The labels that a list of names and numbers means for a run's model.
pub(crate) fn labels_for(run: &Run, classes: &Classes, list: &str) -> Result<Vec<u32>, Failure> {
    if classes.is_empty() {
        return Err(no_labels(run));
    }
    Ok(classes.labels(list)?)
}

/// The failure for labels that are given to a model without classes.
pub(crate) fn no_labels(run: &Run) -> Failure {
    if run.encoder_of_rows.is_some() {
        return Failure::new("this model takes no labels: it makes rows of a table");
    }
    if run.model.info().condition.is_part() {
        return Failure::new("this model takes no labels: it completes images with `waxwork complete`");
    }
    Failure::new(format!("this model takes no labels: {} models are unconditional", run.info.model.family))
}

/// Writes each sample above the nearest training sample.
fn neighbours(run: &Run, samples: &Tensor, arguments: &SampleArguments) -> Result<String, Failure> {
    let (training, form) = (data(run, arguments.data_dir.as_ref())?.train, Form::from(run));
    let kind = &form.kind;
    let (found, distances) = neighbours_of(samples, &training)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("neighbours.png"));
    output::write_pairs(&out, &form, samples, &found)?;
    let of = match kind {
        Kind::Image(_) | Kind::Clip { .. } => "pixel",
        Kind::Points { .. } | Kind::Rows(_) => "coordinate",
        Kind::Sound { .. } => "spectrogram",
        Kind::Text { .. } => "token",
    };
    let what = kind.plural();
    let text = format!(
        "{} {what}, each above the nearest of {} training {what}, in {}\nRMS {of} distance: minimum {:.3}, median {:.3}\n",
        samples.dim(0)?,
        training.len(),
        out.display(),
        distances[0],
        distances[distances.len() / 2]
    );
    Ok(output::written(&out, text))
}

/// The training sample that is nearest to each sample, and the distances in ascending order.
pub(crate) fn neighbours_of(samples: &Tensor, training: &Split) -> Result<(Tensor, Vec<f64>), Failure> {
    let bar = output::bar(training.len(), "searching the training samples");
    let batches = training.batches(NEIGHBOUR_BATCH, &Device::Cpu)?.map(|batch| batch.map_err(Failure::from));
    let progress = |done: usize| bar.set_position(done as u64);
    let nearest = match training.kind() {
        // A sound that begins a little later counts as the same.
        Kind::Sound { .. } => nearest_shifted(samples, SHIFT, batches, progress)?,
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. } | Kind::Clip { .. } => {
            nearest(samples, batches, progress)?
        }
    };
    bar.finish_and_clear();
    let found: Vec<Tensor> = nearest.iter().map(|neighbour| neighbour.sample.clone()).collect();
    let mut distances: Vec<f64> = nearest.iter().map(|neighbour| neighbour.distance).collect();
    distances.sort_by(f64::total_cmp);
    Ok((Tensor::stack(&found, 0)?, distances))
}

pub(crate) fn reconstruct(arguments: &ReconstructArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let reconstructor = run.needed_reconstructor()?;
    let form = Form::from(&run);
    let (samples, rows, part) = match (&arguments.images, &run.encoder_of_rows) {
        (Some(path), Some(encoder)) if foreign::is_table(path) => {
            let (rows, samples) = foreign::read_rows(path, encoder)?;
            (samples, Some(rows), "")
        }
        (Some(path), _) => {
            let classes = Classes::of(&run);
            let samples = foreign::read_split(path, &form, &classes)?;
            foreign::check_labelled(path, samples.labels().is_some(), &classes)?;
            (samples, None, "")
        }
        (None, _) => {
            let data = data(&run, arguments.data_dir.as_ref())?;
            (data.test, data.info.tables.map(|tables| tables.test.clone()), "test ")
        }
    };
    let (split, what) = (samples.subset(arguments.count), form.kind.plural());
    if split.is_empty() {
        return Err(Failure::new(format!("there are no {part}{what} to reconstruct")));
    }
    let (originals, made) = reconstructions(reconstructor, &split, &device)?;
    let usual = || arguments.run.join("reconstructions").with_extension(form.ending());
    let out = arguments.out.clone().unwrap_or_else(usual);
    match &run.encoder_of_rows {
        Some(encoder) if output::is_rows(&out) => {
            // The rows as they were read, not as networks see them. An array has only encoded rows.
            let originals = match rows {
                Some(rows) => {
                    rows.subset(&split.indices().iter().map(|&row| row as usize).collect::<Vec<_>>())
                }
                None => rows::decode(encoder, &originals, 0)?,
            };
            rows::reconstructions(encoder, &originals, &made)?.write(&out)?;
        }
        _ => output::write_pairs(&out, &form, &originals, &made)?,
    }
    let text = format!("{} {part}{what}, each above its reconstruction, in {}\n", split.len(), out.display());
    Ok(output::written(&out, text))
}

/// Samples and their reconstructions by a model, on the CPU.
pub(crate) fn reconstructions(
    reconstructor: &dyn Reconstruct,
    samples: &Split,
    device: &Device,
) -> Result<(Tensor, Tensor), Failure> {
    let bar = output::bar(samples.len(), "reconstructing");
    let (mut originals, mut made) = (Vec::new(), Vec::new());
    for batch in samples.batches(EVALUATION_BATCH, device)? {
        let batch = batch?;
        made.push(reconstructor.reconstruct(&batch.inputs, &batch.condition)?.to_device(&Device::Cpu)?);
        originals.push(batch.inputs.to_device(&Device::Cpu)?);
        bar.inc(batch.len() as u64);
    }
    Ok((Tensor::cat(&originals, 0)?, Tensor::cat(&made, 0)?))
}

/// Opens a run and warns if its weights are not the final ones.
pub(crate) fn open(path: &Path, device: &Device) -> Result<Run, Failure> {
    let run = Run::open(path, device)?;
    tracing::info!(run = %path.display(), family = run.info.model.family, weights = ?run.weights, "run opened");
    if let Weights::Checkpoint { step, damaged } = &run.weights {
        for reason in damaged {
            tracing::warn!("{reason}");
        }
        tracing::warn!("this run is not finished: using its checkpoint at step {step}");
    }
    Ok(run)
}

/// The run's data set, from `folder` if given, else from where the run found it.
pub(crate) fn data(run: &Run, folder: Option<&PathBuf>) -> Result<Dataset, Failure> {
    let mut config = run.recipe.data.clone();
    if let Some(folder) = folder {
        config.dir = Some(folder.clone());
    }
    load(&config)
}

/// Loads a data set. Shows progress while a new folder of images is decoded, or a data set of the Hub is
/// downloaded.
pub(crate) fn load(config: &DataConfig) -> Result<Dataset, Failure> {
    let bar = match config.files() {
        FileKind::Recording => output::bar(0, "reading recordings"),
        FileKind::Clip => output::bar(0, "reading clips"),
        FileKind::Other if config.name == FOLDER => output::bar(0, "reading images"),
        FileKind::Other => output::bar_of_bytes("loading data"),
    };
    let data = waxwork_data::load_with_progress(config, &|done, all| bar.set(done, all));
    bar.finish_and_clear();
    let data = data.map_err(|error| with_advice(error, config))?;
    let embedded = Manifest::find(&config.name).is_ok_and(|manifest| manifest.is_embedded());
    if let (true, Some(dir)) = (embedded, &config.dir) {
        tracing::warn!(
            "`{}` is embedded and not read from `{}`; to use your own images, give `--data {FOLDER}`",
            config.name,
            dir.display()
        );
    }
    tracing::info!(
        name = data.info.name,
        identity = data.info.identity,
        train = data.train.len(),
        validation = data.validation.len(),
        test = data.test.len(),
        "data loaded"
    );
    if [CLIPS, FOLDER, SOUND, TEXT].contains(&config.name.as_str()) || config.name.starts_with(HUB) {
        notes::taken(&data);
    }
    notes::say(&data.notes);
    Ok(data)
}

/// The failure of a data set. If the data is neither here nor downloaded, it adds the option that names its
/// folder.
fn with_advice(error: waxwork_data::Error, config: &DataConfig) -> Failure {
    use waxwork_data::Error::{Hub, Missing};
    let absent = matches!(error, Hub { .. } | Missing { .. }) && config.dir.is_none();
    let mut failure = Failure::from(error);
    if absent && Manifest::find(&config.name).is_ok() && !failure.message.contains("--data-dir") {
        failure.message += "; or give the folder of its files with `--data-dir DIR`";
    }
    failure
}
