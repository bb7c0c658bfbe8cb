//! `waxwork report`: an HTML page about a run, which training also writes at its end.

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use waxwork_core::walk::{Interpolation, Traversal};
use waxwork_core::{Device, Kind, SampleRequest, Tensor, device, store};
use waxwork_data::Dataset;
use waxwork_eval::{Metric, Report};
use waxwork_media::{Artifact, grid, preview};
use waxwork_models::{Classes, Recipe, Run, completion, sounds};
use waxwork_trainer::{Meter, RunFolder, RunInfo};

use crate::args::ReportArguments;
use crate::commands::evaluate::said_once;
use crate::commands::report_rows::RowsView;
use crate::commands::report_texts::TextsView;
use crate::commands::run_view::{Grid, evaluation_of, facts, grids, logged};
use crate::commands::{complete, sample, walk};
use crate::failure::Failure;
use crate::output::{self, number};
use crate::pages::curves::{Chart, Line, charts};
use crate::pages::scatter::{self, Scatter};
use crate::pages::{self, Image, quoted};

/// Parts of the page that take time, for the progress bar.
const PARTS: usize = 7;
/// Images per row, also in a row of one class.
const COLUMNS: usize = 10;
/// Classes that get a row of their own.
const MOST_CLASSES: usize = 20;
/// Rows of interpolations.
const WAYS: usize = 6;
/// Test images that are shown with their reconstructions.
const RECONSTRUCTED: usize = 30;
/// Test images that are shown with their completions.
const COMPLETED: usize = 10;
/// Sounds per class, or pairs of sounds, that a page plays. Each takes as much space as a hundred images.
const HEARD: usize = 3;
/// Samples that are shown with the nearest training image.
const NEIGHBOURS: usize = 20;

/// The contents of the page. Parts that a run lacks are omitted.
#[derive(Serialize)]
struct ReportPage<'a> {
    name: String,
    description: String,
    facts: Vec<[String; 2]>,
    grids: Vec<Grid>,
    charts: Vec<Chart>,
    classes: Vec<Class>,
    panels: Vec<Panel>,
    table: Option<RowsView>,
    texts: Option<TextsView>,
    evaluation: Option<Evaluation>,
    recipe: String,
    environment: Vec<[String; 2]>,
    repeat: String,
    left_out: Vec<[String; 2]>,
    version: &'static str,
    repository: &'static str,
    /// Number of [`PARTS`] that are done.
    #[serde(skip)]
    done: usize,
    #[serde(skip)]
    bar: Meter,
    #[serde(skip)]
    progress: &'a dyn Fn(usize, usize),
}

/// Samples of one class.
#[derive(Serialize)]
struct Class {
    name: String,
    image: Image,
    sound: Option<String>,
}

/// An image with a heading and a description.
#[derive(Serialize)]
struct Panel {
    title: &'static str,
    text: String,
    image: Image,
    sound: Option<String>,
}

/// The contents of metrics.json.
#[derive(Serialize)]
struct Evaluation {
    rows: Vec<Row>,
    /// Protocol entries, and the metrics that they apply to.
    protocol: Vec<(String, String)>,
    any_floor: bool,
    /// Curves of quality and diversity.
    temperatures: Vec<Scatter>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: String,
    interval: String,
    floor: String,
    better: &'static str,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let load = |run: &Run| sample::data(run, arguments.data_dir.as_ref());
    let page = write(&arguments.run, arguments.out.as_deref(), load, &device, &|_, _| ())?;
    Ok(format!("{}: open it in a browser\n", page.display()))
}

/// Writes the page of a run to `out`, by default RUN/report.html, and returns its path. `data` loads the
/// run's data set. `progress` gets the number of finished parts and the number of all parts, several times
/// during a long part.
///
/// # Errors
/// If the folder is not a run, or the page cannot be written. Parts that cannot be drawn are left out, and
/// the page gives the reason.
pub fn write(
    path: &Path,
    out: Option<&Path>,
    data: impl FnOnce(&Run) -> Result<Dataset, Failure>,
    device: &Device,
    progress: &dyn Fn(usize, usize),
) -> Result<PathBuf, Failure> {
    let folder = RunFolder::open(path)?;
    let recipe = Recipe::of_run(&folder, &[])?;
    let info = folder.info()?;
    let mut shown = ReportPage {
        name: folder.name(),
        description: recipe.description.clone(),
        facts: facts(&info),
        grids: grids(&folder, &info)?,
        charts: Vec::new(),
        classes: Vec::new(),
        panels: Vec::new(),
        table: None,
        texts: None,
        evaluation: None,
        repeat: repeat(&folder, &info),
        environment: environment(&info),
        recipe: folder.recipe()?,
        left_out: Vec::new(),
        version: env!("CARGO_PKG_VERSION"),
        repository: env!("CARGO_PKG_REPOSITORY"),
        done: 0,
        bar: output::bar(PARTS, "drawing the page"),
        progress,
    };
    shown.add("Losses", |shown| {
        shown.charts = charts(&logged(&folder.metrics())?);
        shown.environment.extend(costs(&logged(&folder.timing())?));
        Ok(())
    });
    shown.add("Evaluation", |shown| {
        shown.evaluation = evaluation_of(path)?.map(|report| Evaluation::new(&report));
        Ok(())
    });
    shown.add("Images from the model", |shown| {
        let run = sample::open(path, device)?;
        let values: usize = run.model.params().tensors().values().map(Tensor::elem_count).sum();
        shown.facts.push(["Stored parameters".into(), output::count(values)]);
        let data = data(&run);
        if run.encoder_of_rows.is_some() {
            // An image of encoded rows means nothing to most readers.
            shown.grids.clear();
            shown.add("Rows beside real ones", |shown| {
                let tables = data?.info.tables;
                shown.table = tables.map(|tables| RowsView::of(&run, &tables)).transpose()?;
                Ok(())
            });
            return Ok(());
        }
        if matches!(run.info.kind(), Kind::Text { .. }) {
            shown.add("Texts", |shown| {
                shown.texts = Some(TextsView::of(&run, &data?)?);
                Ok(())
            });
            return Ok(());
        }
        if run.model.completer().is_some() {
            shown.add("Completions", |shown| shown.completions(&run, &data?));
            return Ok(());
        }
        shown.add("Samples of each class", |shown| shown.classes(&run));
        if run.model.info().latent.code_count().is_none() {
            shown.add("Interpolations", |shown| shown.interpolations(&run));
            shown.add("Latent dimensions", |shown| shown.latent_values(&run));
        }
        shown.add("Reconstructions and nearest training images", |shown| {
            let data = data?;
            shown.reconstructions(&run, &data)?;
            shown.neighbours(&run, &data)
        });
        Ok(())
    });
    let out = out.map_or_else(|| default_page(&folder), Path::to_owned);
    // Some kinds of runs have fewer parts.
    progress(PARTS, PARTS);
    store::write(&out, pages::page("report.html", &shown)?.as_bytes())?;
    Ok(out)
}

/// The default path of a run's page.
pub(crate) fn default_page(folder: &RunFolder) -> PathBuf {
    folder.path().join("report.html")
}

impl ReportPage<'_> {
    /// Adds a part, or warns that it is omitted.
    fn add(&mut self, part: &str, add: impl FnOnce(&mut Self) -> Result<(), Failure>) {
        if let Err(failure) = add(self) {
            self.left_out.push([part.to_owned(), failure.message]);
        }
        self.done += 1;
        self.bar.inc(1);
        self.tell();
    }

    fn tell(&self) {
        (self.progress)(self.done, PARTS);
    }

    fn classes(&mut self, run: &Run) -> Result<(), Failure> {
        let classes = Classes::of(run);
        for label in 0..classes.len().min(MOST_CLASSES) {
            let name = classes.name(label as u32);
            let images = run.model.sample(&SampleRequest::of_classes(0, &[label as u32; COLUMNS])?)?;
            let image = picture(run, &images, format!("{COLUMNS} samples of the class {name}"))?;
            let sound = sound(run, &images.narrow(0, 0, HEARD)?)?;
            self.classes.push(Class { name, image, sound });
            self.tell();
        }
        Ok(())
    }

    fn completions(&mut self, run: &Run, data: &Dataset) -> Result<(), Failure> {
        let test = data.test.subset(COMPLETED);
        let batch = test.batch(&(0..test.len()).collect::<Vec<_>>(), &Device::Cpu)?;
        let given = run.needed_completer()?.given(&batch.inputs, &batch.indices)?;
        let made = completion::complete(run.model.as_ref(), &given, COLUMNS - 2, 0, |_| {})?;
        let (rows, _) = complete::rows(&given, &made, Some(&batch.inputs))?;
        self.panels.push(Panel {
            title: "Completions",
            text: "Each row shows the given part of a test image, with missing pixels in grey, followed by several completions and the original image.".into(),
            image: picture(run, &rows, format!("{} rows of images: a given part, its completions and the original", test.len()))?,
            sound: None,
        });
        Ok(())
    }

    fn interpolations(&mut self, run: &Run) -> Result<(), Failure> {
        let classes = run.model.info().classes() as u32;
        let ends: Vec<(u32, u32)> = (0..classes).map(|label| (label, (label + 1) % classes)).collect();
        let way = Interpolation { rows: WAYS, steps: COLUMNS, classes: &ends, fixed_latent: false, seed: 0 };
        let images = walk::generated(run, &waxwork_core::walk::interpolation(run.model.as_ref(), &way)?)?;
        let also = if classes > 0 { " and from one class to the next" } else { "" };
        self.panels.push(Panel {
            title: "Interpolations",
            text: format!("Each row goes from one random latent vector to another{also}; no jumps and no blur half-way are good signs."),
            image: picture(run, &images, format!("{WAYS} rows of images, each changing from the first to the last in {COLUMNS} steps"))?,
            // The first row.
            sound: sound(run, &images.narrow(0, 0, COLUMNS)?)?,
        });
        Ok(())
    }

    fn latent_values(&mut self, run: &Run) -> Result<(), Failure> {
        let info = run.model.info();
        let dims: Vec<u32> = (0..walk::DIMS.min(info.latent_dim() as u32)).collect();
        let way = Traversal { dims: &dims, steps: COLUMNS, class: 0, seed: None };
        let images = walk::generated(run, &waxwork_core::walk::traversal(run.model.as_ref(), &way)?)?;
        let of_class = if info.classes() > 0 {
            format!(" All are of the class {}.", Classes::of(run).name(0))
        } else {
            String::new()
        };
        self.panels.push(Panel {
            title: "Latent dimensions",
            text: format!("In each row one of the first {} of {} latent dimensions goes from −3 to 3 while the others stay at 0.{of_class} A row that does not change shows a dimension that the model does not use.", dims.len(), info.latent_dim()),
            image: picture(run, &images, format!("{} rows of images, in each of which one latent dimension changes", dims.len()))?,
            sound: sound(run, &images.narrow(0, 0, COLUMNS)?)?,
        });
        Ok(())
    }

    fn reconstructions(&mut self, run: &Run, data: &Dataset) -> Result<(), Failure> {
        let Some(reconstructor) = run.reconstructor() else { return Ok(()) };
        let images = data.test.subset(RECONSTRUCTED);
        let (originals, made) = sample::reconstructions(reconstructor, &images, run.model.params().device())?;
        self.panels.push(Panel {
            title: "Reconstructions",
            text: "Test images, each with its reconstruction below.".into(),
            image: pairs(
                run,
                &originals,
                &made,
                format!("{} test images, each above its reconstruction", images.len()),
            )?,
            sound: paired(run, &originals, &made)?,
        });
        Ok(())
    }

    fn neighbours(&mut self, run: &Run, data: &Dataset) -> Result<(), Failure> {
        let samples = run.model.sample(&SampleRequest::new(0, NEIGHBOURS))?.to_device(&Device::Cpu)?;
        let (found, distances) = sample::neighbours_of(&samples, &data.train)?;
        self.panels.push(Panel {
            title: "Nearest training images",
            text: format!(
                "Samples, each above the nearest of {} training images: memorised images would show up here. RMS pixel distance: minimum {}, median {}.",
                data.train.len(),
                number(distances[0]),
                number(distances[distances.len() / 2])
            ),
            image: pairs(
                run,
                &samples,
                &found,
                format!("{NEIGHBOURS} samples, each above the nearest training image"),
            )?,
            sound: paired(run, &samples, &found)?,
        });
        Ok(())
    }
}

impl Evaluation {
    fn new(report: &Report) -> Self {
        let row = |metric: &Metric| Row {
            name: metric.name.clone(),
            value: format!("{} {}", number(metric.value), metric.unit).trim_end().to_owned(),
            interval: metric
                .interval
                .map_or_else(String::new, |[low, high]| format!("{} to {}", number(low), number(high))),
            floor: metric.floor.map_or_else(String::new, number),
            better: match metric.higher_is_better {
                Some(true) => "higher",
                Some(false) => "lower",
                None => "",
            },
        };
        Self {
            rows: report.metrics.iter().map(row).collect(),
            protocol: said_once(report),
            any_floor: report.metrics.iter().any(|metric| metric.floor.is_some()),
            temperatures: scatter::of_temperatures(report),
        }
    }
}

/// Samples as an image on a page.
fn picture(run: &Run, samples: &Tensor, alt: String) -> Result<Image, Failure> {
    let kind = run.info.kind();
    match preview::moving(&kind, samples, COLUMNS)? {
        Some(animation) => Image::moving(&animation, alt),
        None => Image::new(&preview::picture(&kind, samples, COLUMNS)?, alt),
    }
}

/// Samples, each above the one that belongs to it, as an image on a page.
fn pairs(run: &Run, above: &Tensor, below: &Tensor, alt: String) -> Result<Image, Failure> {
    let kind = run.info.kind();
    match preview::moving_pairs(&kind, above, below, COLUMNS)? {
        Some(animation) => Image::moving(&animation, alt),
        None => Image::new(&preview::pairs(&kind, above, below, COLUMNS)?, alt),
    }
}

/// Samples as a page plays them, one after the other; None if they are not sounds.
fn sound(run: &Run, samples: &Tensor) -> Result<Option<String>, Failure> {
    let (kind, view) = (run.info.kind(), run.info.view());
    let Kind::Sound { rate, .. } = kind else { return Ok(None) };
    let heard = sounds::at_rest(&kind, &view, samples, 0)?;
    Ok(Some(pages::sound_address(&Artifact::of_sounds(rate, &heard, kind.bytes())?.bytes)))
}

/// The first samples, each followed by the one that belongs to it.
fn paired(run: &Run, above: &Tensor, below: &Tensor) -> Result<Option<String>, Failure> {
    let count = HEARD.min(above.dim(0)?);
    let pairs = grid::interleaved(&above.narrow(0, 0, count)?, &below.narrow(0, 0, count)?, 1)?;
    sound(run, &pairs)
}

fn environment(info: &RunInfo) -> Vec<[String; 2]> {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let started = OffsetDateTime::from_unix_timestamp(info.started as i64).ok();
    let started = started.and_then(|time| time.format(form).ok());
    let on = &info.environment;
    let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let typed = info.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let forked = info.forked_from.as_ref();
    let rows = [
        ("Waxwork", told(&on.version)),
        ("Git revision", on.revision.clone()),
        ("Started by", told(&typed)),
        ("Weights to start from", forked.map(|from| format!("{}, step {}", from.run.display(), from.step))),
        ("Started", started),
        ("Compiler", told(&on.toolchain)),
        ("Build", told(format!("{} {}", on.profile, on.target).trim())),
        ("Machine", told(&on.machine)),
        ("Class of the processor", told(&on.cpu_class)),
        ("Device", told(&on.device)),
        ("Threads", Some(on.threads.to_string())),
        ("Hash of the data", told(&info.data_identity)),
        ("SHA-256 of the weights", info.model_sha256.clone()),
    ];
    rows.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).collect()
}

/// Rate and memory from the last line of timing.jsonl.
fn costs(timing: &[Line]) -> Vec<[String; 2]> {
    let last = |key: &str| timing.last()?.1.get(key)?.as_f64();
    let rate = last("images_per_second")
        .map(|rate| ["Training speed, images per second".to_owned(), format!("{rate:.0}")]);
    let memory =
        timing.iter().filter_map(|(_, values)| values.get("peak_memory_bytes")?.as_f64()).reduce(f64::max);
    let memory = memory.map(|bytes| ["Peak training memory".to_owned(), output::bytes(bytes as u64)]);
    rate.into_iter().chain(memory).collect()
}

/// The command that repeats the run and compares the bytes.
fn repeat(folder: &RunFolder, info: &RunInfo) -> String {
    let run = quoted(&folder.path().display().to_string());
    let device = &info.environment.device;
    let device = if device == "cpu" { String::new() } else { format!(" --device {}", quoted(device)) };
    format!("waxwork repeat {run}{device}")
}
