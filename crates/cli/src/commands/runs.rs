//! `waxwork runs`: what was trained, the progress of each run, and whether two runs produced the same bytes.

use std::path::Path;

use serde::Serialize;
use waxwork_core::store;
use waxwork_trainer::{Contents, RunFolder, RunInfo};

use crate::args::{RUNS, RunsCommand};
use crate::failure::Failure;
use crate::output;

/// Maximum number of folders between the listed one and a run.
const DEEPEST: usize = 3;

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) run: String,
    #[serde(flatten)]
    pub(crate) info: RunInfo,
}

/// Runs the subcommand; without one, lists the runs.
pub(crate) fn run(command: Option<&RunsCommand>) -> Result<String, Failure> {
    match command {
        None => list_runs(Path::new(RUNS), false),
        Some(RunsCommand::List { folder, json }) => list_runs(folder, *json),
        Some(RunsCommand::Hash { run, json }) => {
            let hashes = Contents::of(&RunFolder::open(run)?)?.hashes()?;
            if *json {
                return output::json(&hashes);
            }
            Ok(output::table(&hashes.into_iter().map(|(name, hash)| vec![hash, name]).collect::<Vec<_>>()))
        }
        Some(RunsCommand::Diff { run, other }) => {
            let (run, other) = (RunFolder::open(run)?, RunFolder::open(other)?);
            let expected = Contents::of(&run)?;
            let others = other.info()?.environment.differences(&run.info()?.environment);
            super::repeat::verdict(&run, &other, &expected, &others)
        }
    }
}

fn list_runs(folder: &Path, json: bool) -> Result<String, Failure> {
    let rows = list(folder)?;
    if json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        return Ok(format!("no runs in `{}`; make one with `waxwork train`\n", folder.display()));
    }
    let header = ["RUN", "MODEL", "DATA", "STEPS", "STATUS", "TIME"].map(String::from).to_vec();
    let line = |Row { run, info }: &Row| {
        let status = format!("{:?}", info.status).to_lowercase();
        let time = output::seconds(info.seconds);
        vec![run.clone(), info.model.family.clone(), info.data.clone(), info.steps.to_string(), status, time]
    };
    Ok(output::table(&std::iter::once(header).chain(rows.iter().map(line)).collect::<Vec<_>>()))
}

/// Every readable run in a folder, the oldest first: the folder itself if it is a run, else the runs in it
/// and in the folders below.
pub(crate) fn list(folder: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    if folder.exists() {
        collect(folder, 0, &mut rows)?;
    }
    rows.sort_by(|a, b| (a.info.started, &a.run).cmp(&(b.info.started, &b.run)));
    Ok(rows)
}

/// Adds the run at `path`, or the runs below it. Warns about a run that cannot be read, and
/// ignores everything else.
fn collect(path: &Path, depth: usize, rows: &mut Vec<Row>) -> Result<(), Failure> {
    if let Ok(run) = RunFolder::open(path) {
        match run.info() {
            Ok(info) => rows.push(Row { run: path.display().to_string(), info }),
            Err(error) => tracing::warn!("skipped: {error}"),
        }
        return Ok(());
    }
    if depth > DEEPEST {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(store::failed("read", path))? {
        let entry = entry.map_err(store::failed("read", path))?;
        let (below, hidden) = (entry.path(), entry.file_name().to_string_lossy().starts_with('.'));
        // A link may point to a run. Following it deeper could loop.
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if below.is_dir() && !hidden {
            let depth = if link { DEEPEST + 1 } else { depth + 1 };
            if let Err(failure) = collect(&below, depth, rows) {
                tracing::warn!("skipped: {}", failure.message);
            }
        }
    }
    Ok(())
}
