//! The model card: README.md of a finished run.

use std::fmt::Write;
use std::path::PathBuf;

use waxwork_core::store;
use waxwork_models::Recipe;
use waxwork_trainer::{Outcome, RunFolder, metrics};

use crate::failure::Failure;
use crate::output;

/// Writes the card and returns its path. Every number in it is read from the run.
pub(crate) fn write(folder: &RunFolder, recipe: &Recipe, outcome: &Outcome) -> Result<PathBuf, Failure> {
    let info = folder.info()?;
    let model = &info.model;
    let mut card = String::new();
    let family = model.family.to_uppercase();
    writeln!(
        card,
        "---\nlibrary_name: waxwork\npipeline_tag: unconditional-image-generation\ntags: [{}]\n---",
        model.family
    )?;
    writeln!(card, "# {}\n\n{}\n", folder.name(), recipe.description)?;
    writeln!(card, "![samples](samples/step-{:06}.png)\n", outcome.steps)?;
    writeln!(card, "| | |\n|---|---|\n| model | {family}, latent dimension {} |", model.latent_dim)?;
    writeln!(card, "| images | {}, values in [0, 1] |\n| data | {} |", model.image, info.data)?;
    writeln!(card, "| training | {} steps in {} |", info.steps, output::seconds(info.seconds))?;
    writeln!(card, "| made by | waxwork {}, seed {} |", info.environment.version, info.seed)?;
    if let Some((step, values)) = metrics::read(&folder.metrics())?.last() {
        for (name, value) in values.iter().filter(|(name, _)| !name.starts_with("grad_norm")) {
            writeln!(card, "| {name} at step {step} | {:.4} |", value.as_f64().unwrap_or(f64::NAN))?;
        }
    }
    writeln!(
        card,
        "\nSample from it with `waxwork sample {0}`; repeat it with `waxwork repeat {0}`.",
        folder.name()
    )?;
    store::write(&folder.card(), card.as_bytes())?;
    Ok(folder.card())
}
