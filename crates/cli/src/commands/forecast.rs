//! `waxwork train --dry-run`: what would be trained, and its cost.

use std::fmt::Write;

use waxwork_core::device;
use waxwork_data::table::encode::Encoder;
use waxwork_models::{Forecast, TrainingRun};
use waxwork_trainer::Stop;

use crate::failure::Failure;
use crate::output;

/// Maximum number of columns whose share of a row is printed.
const WIDEST: usize = 10;

/// Returns the recipe as TOML, followed by comments with the cost of `seeds` runs of it. Writes no file.
pub(super) fn write(run: TrainingRun, seeds: u64, stop: &Stop) -> Result<String, Failure> {
    let columns = run.data.info.tables.as_ref().map(|tables| widths(&tables.encoder));
    let (recipe, device) = (run.recipe.to_toml()?, device::name(run.device()));
    let bar = output::bar(0, "measuring steps");
    let measured = run.forecast(stop)?;
    bar.finish_and_clear();
    let Some(forecast) = measured else {
        return Err(Failure::interrupted("interrupted; nothing was written"));
    };
    let parameters =
        forecast.parameters.iter().map(|(group, count)| format!("{group} {}", output::count(*count)));
    let parameters = parameters.collect::<Vec<_>>().join(", ");
    let spent =
        forecast.parts.iter().filter(|part| !part.each.is_zero()).map(|part| {
            format!("{} {} of {:.1} ms", part.count, part.what, 1000.0 * part.each.as_secs_f64())
        });
    let spent = spent.collect::<Vec<_>>().join(", ");
    let runs = if seeds > 1 { format!("{seeds} runs, each ") } else { String::new() };
    let Forecast { measured_steps, memory, disk, .. } = &forecast;

    let mut text = format!(
        "{recipe}\n# Nothing was trained. Estimate from {measured_steps} steps measured on {device}:\n"
    );
    writeln!(text, "# parameters: {parameters}")?;
    if let Some(columns) = columns {
        writeln!(text, "# {columns}")?;
    }
    writeln!(text, "# time: {runs}{} ({spent})", output::seconds(forecast.seconds()))?;
    match memory {
        Some(peak) => writeln!(text, "# memory: {}", output::bytes(*peak))?,
        None => writeln!(text, "# memory: unknown on this system")?,
    }
    writeln!(text, "# disk: {runs}at most {}", output::bytes(*disk))?;
    Ok(text)
}

/// The share of each column in an encoded row, the widest first. It determines the cost of the first
/// and the last layer.
fn widths(encoder: &Encoder) -> String {
    let mut widths = vec![0; encoder.schema().columns.len()];
    for segment in &encoder.layout().segments {
        widths[segment.column] += segment.shape.width();
    }
    let names = encoder.schema().columns.iter().map(|column| column.name.as_str());
    let mut columns: Vec<(&str, usize)> = names.zip(widths).filter(|(_, width)| *width > 0).collect();
    columns.sort_by_key(|(_, width)| std::cmp::Reverse(*width));
    let (shown, rest) = columns.split_at(columns.len().min(WIDEST));
    let said: Vec<String> = shown.iter().map(|(name, width)| format!("{name} {width}")).collect();
    let rest = match rest.iter().map(|(_, width)| width).sum::<usize>() {
        0 => String::new(),
        others => format!(", {} others {others}", rest.len()),
    };
    format!("columns: a row is {} numbers: {}{rest}", encoder.layout().width(), said.join(", "))
}
