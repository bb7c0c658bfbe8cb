//! The page of `waxwork compare --html`: samples, numbers and curves of several runs side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use waxwork_core::{Device, store};
use waxwork_eval::report::ProtocolMismatch;

use crate::commands::run_view;
use crate::commands::sample::open;
use crate::failure::Failure;
use crate::pages::curves::{Chart, Curve, curves, heading};
use crate::pages::{self, Image};

/// A run as the page shows it next to others.
#[derive(Serialize)]
struct RunSummary {
    name: String,
    description: String,
    facts: Vec<[String; 2]>,
    image: Option<Image>,
    /// The path of its own page, relative to this one.
    page: Option<String>,
}

/// Writes the page: the runs, the table of their numbers without refused ones, and their curves.
pub(crate) fn write(
    out: &Path,
    runs: &[PathBuf],
    rows: &[Vec<String>],
    refused: &[ProtocolMismatch],
) -> Result<String, Failure> {
    let mut beside = Vec::new();
    let mut named: Vec<(String, Vec<Curve>)> = Vec::new();
    for (colour, path) in runs.iter().enumerate() {
        let name = path.display().to_string();
        let (mut description, mut facts, mut image) = (String::new(), Vec::new(), None);
        if path.join("run.json").is_file() {
            let run = open(path, &Device::Cpu)?;
            description.clone_from(&run.recipe.description);
            facts = run_view::facts(&run.info);
            image = run_view::grids(&run.folder, &run.info)?.pop().map(|grid| grid.image);
            for curve in curves(&run_view::logged(&run.folder.metrics())?) {
                let overlaid = Curve { name: name.clone(), colour, points: curve.points };
                match named.iter_mut().find(|(known, _)| *known == curve.name) {
                    Some((_, curves)) => curves.push(overlaid),
                    None => named.push((curve.name, vec![overlaid])),
                }
            }
        }
        let page = path.join("report.html");
        let page = if page.is_file() { link(out, &page)? } else { None };
        beside.push(RunSummary { name, description, facts, image, page });
    }
    // Losses first, then names with a group.
    named.sort_by_key(|(name, _)| name.contains('/'));
    let charts: Vec<Chart> =
        named.into_iter().filter_map(|(name, curves)| Chart::new(heading(&name), curves)).collect();
    let mut differences: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ProtocolMismatch { metric, difference } in refused {
        differences.entry(metric).or_default().push(difference);
    }
    let shown = serde_json::json!({
        "runs": beside,
        "charts": charts,
        "rows": rows,
        "differences": differences,
        "version": env!("CARGO_PKG_VERSION"),
        "repository": env!("CARGO_PKG_REPOSITORY"),
    });
    store::write(out, pages::page("compare.html", &shown)?.as_bytes())?;
    Ok(format!("{}: open it in a browser\n", out.display()))
}

/// The relative path from one page to another; None if there is none, as between two drives.
fn link(from: &Path, to: &Path) -> Result<Option<String>, Failure> {
    let (from, to) = (std::path::absolute(from)?, std::path::absolute(to)?);
    let way = from.parent().and_then(|folder| pathdiff::diff_paths(&to, folder));
    let parts = |way: PathBuf| way.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
    Ok(way.map(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_pages_in_other_folders() {
        let way = |from: &str, to: &str| link(Path::new(from), Path::new(to)).unwrap().unwrap();
        assert_eq!(way("runs/index.html", "runs/a b/report.html"), "a b/report.html");
        assert_eq!(way("pages/x.html", "runs/a/report.html"), "../runs/a/report.html");
    }
}
