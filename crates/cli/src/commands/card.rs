//! The model card: README.md of a finished run, in the format of the Hub.

use std::fmt::Write;
use std::path::PathBuf;

use waxwork_core::model::ModelInfo;
use waxwork_core::{Kind, store};
use waxwork_data::{Manifest, manifest};
use waxwork_eval::Report;
use waxwork_models::{Classes, Recipe};
use waxwork_trainer::{Outcome, RunFolder, RunInfo, metrics};

use crate::commands::complete::command_of;
use crate::failure::Failure;
use crate::output;

/// The lines before and after the YAML front matter of a card.
pub(crate) const FENCE: &str = "---\n";
/// Texts that a card shows.
const LINES: usize = 10;
/// Writes the card and returns its path. Every number in it is read from the run.
pub(crate) fn write(folder: &RunFolder, recipe: &Recipe, outcome: &Outcome) -> Result<PathBuf, Failure> {
    let info = folder.info()?;
    let model = &info.model;
    let mut card = front(folder, &info, None)?;
    let family = model.family.to_uppercase();
    writeln!(card, "# {}\n\n{}\n", folder.name(), recipe.description)?;
    let shown = info.model_step.unwrap_or(outcome.steps);
    let lines = folder.sample(shown, "txt");
    if matches!(info.kind(), Kind::Text { .. }) && lines.is_file() {
        let lines = String::from_utf8_lossy(&store::read(&lines)?).into_owned();
        let some: String = lines.lines().take(LINES).map(|line| format!("    {line}\n")).collect();
        writeln!(card, "{some}")?;
    } else {
        writeln!(card, "![samples](samples/step-{shown:06}.png)\n")?;
    }
    let latents = codes(model).unwrap_or_else(|| format!("latent dimension {}", model.latent_dim()));
    writeln!(card, "| | |\n|---|---|\n| model | {family}, {latents} |")?;
    match info.kind() {
        Kind::Image(shape) => writeln!(card, "| images | {shape}, values in [0, 1] |")?,
        kind @ (Kind::Points { .. }
        | Kind::Rows(_)
        | Kind::Sound { .. }
        | Kind::Text { .. }
        | Kind::Clip { .. }) => {
            writeln!(card, "| samples | {kind} |")?;
        }
    }
    writeln!(card, "| data | {} |", info.data)?;
    if !info.data_classes.is_empty() {
        writeln!(card, "| classes | {} |", in_a_cell(&class_names(&info.data_classes)))?;
    }
    if info.steps > 0 {
        writeln!(card, "| training | {} steps in {} |", info.steps, output::seconds(info.seconds))?;
        if let Some(step) = info.model_step {
            writeln!(card, "| weights | of step {step}, which measured best |")?;
        }
        writeln!(card, "| made by | waxwork {}, seed {} |", info.environment.version, info.seed)?;
    } else {
        writeln!(
            card,
            "| training | by another program |\n| imported by | waxwork {} |",
            info.environment.version
        )?;
        for part in &info.untrained {
            writeln!(card, "| {part} | not imported: random values |")?;
        }
    }
    if let Some((step, values)) = metrics::read(&folder.metrics())?.last() {
        for (name, value) in values.iter().filter(|(name, _)| !name.starts_with("grad_norm")) {
            writeln!(card, "| {name} at step {step} | {:.4} |", value.as_f64().unwrap_or(f64::NAN))?;
        }
    }
    let (does, command) =
        (if model.condition.is_part() { "Complete images" } else { "Sample from it" }, command_of(model));
    write!(card, "\n{does} with `waxwork {command} {}`", folder.name())?;
    // Without a checkpoint there is nothing to compare with: another program trained it, or its prior was
    // fitted afterwards.
    match folder.checkpoints().newest() {
        Ok(_) => writeln!(card, "; repeat it with `waxwork repeat {}`.", folder.name())?,
        Err(_) => writeln!(card, ".")?,
    }
    store::write(&folder.card(), card.as_bytes())?;
    Ok(folder.card())
}

/// What latents are in words, if they are codes.
pub(crate) fn codes(model: &ModelInfo) -> Option<String> {
    let count = model.latent.code_count()?;
    Some(format!("maps of {} codes, each one of {count}", model.latent_dim()))
}

/// The number of classes and their names; empty without classes.
pub(crate) fn class_names(names: &[String]) -> String {
    let classes = Classes::named(names);
    match classes.len() {
        0 => String::new(),
        count => format!("{count}: {}", classes.list(0..count as u32)),
    }
}

/// Escapes text so that it does not end a cell or a row of a Markdown table.
fn in_a_cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// The YAML front matter of a card, with the Hub's keys. A JSON string is a YAML string.
pub(crate) fn front(folder: &RunFolder, info: &RunInfo, report: Option<&Report>) -> Result<String, Failure> {
    let quoted = |text: &str| serde_json::to_string(text);
    let known = Manifest::find(&info.data).ok();
    let title = known.as_ref().map_or(info.data.as_str(), |manifest| manifest.title.as_str());
    let on_hub = match info.data.strip_prefix(manifest::HUB) {
        Some(address) => Some(address.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")),
        None => known.as_ref().and_then(|known| known.hub.as_ref()).map(|hub| hub.repository.clone()),
    };
    let task = match info.kind() {
        Kind::Text { .. } => "text-generation",
        Kind::Clip { .. } => "unconditional-video-generation",
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Sound { .. } => {
            "unconditional-image-generation"
        }
    };
    let mut front = FENCE.to_owned();
    writeln!(front, "library_name: waxwork\npipeline_tag: {task}\ntags:\n- {}", info.model.family)?;
    if let Some(repository) = &on_hub {
        writeln!(front, "datasets:\n- {}", quoted(repository)?)?;
    }
    if let Some(report) = report.filter(|report| !report.metrics.is_empty()) {
        writeln!(front, "model-index:\n- name: {}\n  results:", quoted(&folder.name())?)?;
        writeln!(front, "  - task:\n      type: {task}")?;
        writeln!(front, "    dataset:\n      name: {}", quoted(title)?)?;
        writeln!(
            front,
            "      type: {}\n      split: test\n    metrics:",
            quoted(on_hub.as_deref().unwrap_or(&info.data))?
        )?;
        for metric in report.metrics.iter().filter(|metric| metric.value.is_finite()) {
            writeln!(front, "    - type: {}\n      value: {}", quoted(&metric.name)?, metric.value)?;
            if !metric.unit.is_empty() {
                writeln!(front, "      name: {}", quoted(&format!("{} ({})", metric.name, metric.unit))?)?;
            }
            writeln!(front, "      args: {}", serde_json::to_string(&metric.protocol)?)?;
        }
    }
    Ok(front + FENCE)
}
