//! The parts of a run that pages and tables show: its facts, log, images and evaluation.

use std::path::Path;

use serde::Serialize;
use waxwork_core::{Kind, store};
use waxwork_eval::Report;
use waxwork_trainer::run_info::Status;
use waxwork_trainer::{RunFolder, RunInfo, metrics};

use crate::commands::card;
use crate::failure::Failure;
use crate::output;
use crate::pages::curves::Line;
use crate::pages::{Image, sound_address};

/// Maximum number of sample grids in the slider; if there are more, some are skipped.
const MOST_GRIDS: usize = 24;

/// The samples after a number of steps.
#[derive(Serialize)]
pub(crate) struct Grid {
    pub(crate) step: u64,
    pub(crate) image: Image,
    /// Only for the last grid, because a sound takes as much space as many images.
    pub(crate) sound: Option<String>,
}

/// The main facts of a run.
pub(crate) fn facts(info: &RunInfo) -> Vec<[String; 2]> {
    let model = &info.model;
    let status = match info.status {
        Status::Finished => "finished",
        Status::Interrupted => "interrupted",
        Status::Running => "running, or killed",
        Status::Failed => "diverged",
        _ => "unknown",
    };
    let latents = card::codes(model).unwrap_or_else(|| format!("{} latent dimensions", model.latent_dim()));
    let mut facts = vec![
        ("Model", format!("{}, {latents}", model.family)),
        ("Data", info.data.clone()),
        match info.kind() {
            Kind::Image(shape) => {
                let colours = if shape.channels == 1 { "grey" } else { "RGB" };
                ("Images", format!("{}×{}, {colours}", shape.height, shape.width))
            }
            kind @ (Kind::Points { .. }
            | Kind::Rows(_)
            | Kind::Sound { .. }
            | Kind::Text { .. }
            | Kind::Clip { .. }) => ("Samples", kind.to_string()),
        },
        ("Classes", card::class_names(&info.data_classes)),
        ("Steps", info.steps.to_string()),
        ("Training time", output::seconds(info.seconds)),
        ("Seed", info.seed.to_string()),
        ("Status", status.into()),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    facts.into_iter().map(|(name, value)| [name.to_owned(), value]).collect()
}

/// The logged values; empty if there is no log yet.
pub(crate) fn logged(path: &Path) -> Result<Vec<Line>, Failure> {
    if path.is_file() { Ok(metrics::read(path)?) } else { Ok(Vec::new()) }
}

/// The sample grids of a run. If there are many, only some of them, but always the first and the last.
pub(crate) fn grids(folder: &RunFolder, info: &RunInfo) -> Result<Vec<Grid>, Failure> {
    let mut steps = folder.sample_steps()?;
    if steps.len() > MOST_GRIDS {
        let last = steps.len() - 1;
        steps = (0..MOST_GRIDS).map(|place| steps[place * last / (MOST_GRIDS - 1)]).collect();
    }
    let order = if info.model.classes() > 0 { ", of the classes in turn" } else { "" };
    let mut grids = Vec::new();
    for step in steps {
        let picture = folder.sample_picture(step);
        if !picture.is_file() {
            continue;
        }
        let bytes = store::read(&picture)?;
        // Skip a file that is not a PNG image.
        let image = Image::of_png(&bytes, format!("samples after {step} steps{order}"));
        let image = image.map(|image| image.with_still(&bytes));
        grids.extend(image.map(|image| Grid { step, image, sound: None }));
    }
    if let Some(last) = grids.last_mut() {
        let heard = folder.sample(last.step, "wav");
        last.sound = heard.is_file().then(|| store::read(&heard)).transpose()?.map(|wav| sound_address(&wav));
    }
    Ok(grids)
}

/// The metrics.json of a run, or the file itself; None if it does not exist.
pub(crate) fn evaluation_of(run: &Path) -> Result<Option<Report>, Failure> {
    let path = if run.is_dir() { run.join("metrics.json") } else { run.to_owned() };
    if !path.is_file() {
        return Ok(None);
    }
    let report = serde_json::from_slice(&store::read(&path)?);
    report.map(Some).map_err(|error| Failure::from(error).at(&path))
}
