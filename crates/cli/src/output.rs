//! What commands print and the files that they write: tables, progress, pictures, tensors.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use waxwork_core::{Tensor, grid, npy, store};

use crate::failure::Failure;

/// Images per row of a grid that a command writes.
const GRID_COLUMNS: usize = 10;

/// Sends warnings, or what `RUST_LOG` asks for, to standard error.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    // A second initialisation, as in tests, changes nothing.
    _ = log.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init();
}

/// A progress bar that appears once something takes two seconds, on a terminal only.
pub(crate) fn bar(length: usize, what: &'static str) -> ProgressBar {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(length as u64) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
    bar.with_style(style.unwrap_or(ProgressStyle::default_bar())).with_message(what)
}

/// Pretty JSON with a newline.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Rows as aligned columns, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Four digits, or as many as an integer has.
pub(crate) fn number(value: f64) -> String {
    let digits = if value == 0.0 || !value.is_finite() { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", (3 - digits).clamp(0, 4) as usize)
}

/// Bytes in the unit that a person would choose.
pub(crate) fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}

/// Seconds in the unit that a person would choose.
pub(crate) fn seconds(seconds: f64) -> String {
    indicatif::HumanDuration(Duration::from_secs_f64(seconds.max(0.0))).to_string()
}

/// Writes images `(N, C, H, W)` in [0, 1] as what the path's ending says: a grid (.png), an array (.npy), a tensor file
/// (.safetensors, with `labels` where there are any); a path without an ending is a folder of PNG files, numbered
/// from `first`.
pub(crate) fn write_images(
    path: &Path,
    images: &Tensor,
    labels: Option<&[u32]>,
    first: u64,
) -> Result<(), Failure> {
    match extension(path).as_deref() {
        Some("png") => store::write(path, &grid::grid(images, GRID_COLUMNS)?.png()?)?,
        Some("npy") => npy::save(path, images)?,
        Some("safetensors") => {
            let mut tensors = BTreeMap::from([("images".to_owned(), images.clone())]);
            if let Some(labels) = labels {
                tensors.insert("labels".to_owned(), Tensor::new(labels, images.device())?);
            }
            store::save(path, &tensors)?;
        }
        None => {
            std::fs::create_dir_all(path).map_err(store::failed("create", path))?;
            for i in 0..images.dim(0)? {
                let file = path.join(format!("{:06}.png", first + i as u64));
                store::write(&file, &grid::single(&images.get(i)?)?.png()?)?;
            }
        }
        Some(other) => {
            let path = path.display();
            return Err(Failure::new(format!(
                "`{path}`: cannot write .{other} files; use .png, .npy, .safetensors, or a folder (no ending)"
            )));
        }
    }
    Ok(())
}

/// The path's ending in lower case.
pub(crate) fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bbb", "c"], ["aaaa", "b", ""]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "a     bbb  c\naaaa  b\n");
    }
}
