//! `xtask/noise/results.json`: the results of the runs on damaged data, which are stored with the
//! sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{files, waxwork};

/// The metrics that are stored. A family without a bound, or without labels, lacks some of them.
pub(super) const METRICS: [&str; 5] =
    ["judge_frechet", "judge_agreement", "judge_class_entropy", "judge_recall", "neg_elbo"];

/// The result of one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The name of the row.
    pub(super) row: String,
    /// The key of the row at the time of the run.
    pub(super) key: String,
    /// Seconds of training.
    pub(super) seconds: f64,
    /// The version and revision of the program that trained.
    pub(super) program: String,
    /// The available values of [`METRICS`].
    pub(super) metrics: BTreeMap<String, f64>,
}

impl Outcome {
    /// The outcome of a finished run, whose samples were measured by `report`.
    pub(super) fn of_run(run: &Path, report: &Path, row: &str, key: &str) -> Result<Self> {
        let info = read(&run.join("run.json"))?;
        if info["status"] != "finished" {
            bail!("{}: the run is not finished", run.display());
        }
        let report = read(report)?;
        let listed = report["metrics"].as_array().context("metrics.json has no list of metrics")?;
        let value = |name: &str| {
            let metric = listed.iter().find(|metric| metric["name"] == name)?;
            Some((name.to_owned(), metric["value"].as_f64()?))
        };
        let metrics: BTreeMap<String, f64> = METRICS.into_iter().filter_map(value).collect();
        if !metrics.contains_key(METRICS[0]) {
            bail!("{}: no metric `{}`", run.display(), METRICS[0]);
        }
        Ok(Self {
            row: row.to_owned(),
            key: key.to_owned(),
            seconds: info["seconds"].as_f64().context("run.json has no `seconds`")?,
            program: waxwork::version_in(&info),
            metrics,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "row": self.row,
            "key": self.key,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "program": self.program,
            "metrics": self.metrics,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let metrics = value.get("metrics")?.as_object()?.iter();
        let metrics = metrics.map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        Some(Self {
            row: text("row")?,
            key: text("key")?,
            seconds: value.get("seconds")?.as_f64()?,
            program: text("program")?,
            metrics: metrics.collect::<Option<_>>()?,
        })
    }
}

/// The results of all rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Results(Vec<Outcome>);

impl Results {
    /// Reads a file; no results if it does not exist.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let value = read(path)?;
        let outcomes = value.as_array().and_then(|list| list.iter().map(Outcome::from_json).collect());
        Ok(Self(outcomes.with_context(|| format!("{} has an unexpected structure", path.display()))?))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        }
        let list: Vec<Value> = self.0.iter().map(Outcome::to_json).collect();
        let text = serde_json::to_string_pretty(&list)? + "\n";
        files::write(path, &text)
    }

    /// Adds an outcome and replaces an earlier one of the same row.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.0.retain(|known| known.row != outcome.row);
        self.0.push(outcome);
        self.0.sort_by(|a, b| a.row.cmp(&b.row));
    }

    /// The outcome of a row whose key is the current one.
    pub(super) fn of(&self, row: &str, key: &str) -> Option<&Outcome> {
        self.0.iter().find(|outcome| outcome.row == row && outcome.key == key)
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not valid JSON", path.display()))
}

#[cfg(test)]
impl Outcome {
    /// An outcome with this Fréchet distance and label agreement.
    pub(super) fn with(row: &str, key: &str, frechet: f64, agreement: f64) -> Self {
        let metrics = [(METRICS[0], frechet), (METRICS[1], agreement)];
        Self {
            row: row.into(),
            key: key.into(),
            seconds: 90.0,
            program: "0.1.0 (abc)".into(),
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_their_file_and_replace_each_other() {
        let folder = std::env::temp_dir().join(format!("waxwork-noise-{}", std::process::id()));
        let path = folder.join("kept/results.json");
        let mut results = Results::default();
        assert_eq!(Results::read(&path).unwrap(), results);
        for frechet in [2.0, 3.0] {
            results.add(Outcome::with("b", "k", frechet, 0.5));
        }
        results.add(Outcome::with("a", "k", 1.0, 0.25));
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        assert_eq!(results.0.iter().map(|one| one.metrics["judge_frechet"]).collect::<Vec<_>>(), [1.0, 3.0]);
        assert!(results.of("a", "k").is_some() && results.of("a", "other").is_none());
        fs::write(&path, "[{}]").unwrap();
        assert!(Results::read(&path).unwrap_err().to_string().contains("unexpected structure"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_finished_and_measured_runs_have_an_outcome() {
        let folder = std::env::temp_dir().join(format!("waxwork-noisy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let report = folder.join("metrics.json");
        let of_run = || Outcome::of_run(&folder, &report, "row", "k");
        fs::write(folder.join("run.json"), r#"{"status": "interrupted", "seconds": 3.5}"#).unwrap();
        assert!(of_run().unwrap_err().to_string().contains("not finished"));
        let finished = r#"{"status": "finished", "seconds": 3.5, "version": "1.0.0"}"#;
        fs::write(folder.join("run.json"), finished).unwrap();
        assert!(of_run().is_err());
        fs::write(&report, r#"{"metrics": [{"name": "neg_elbo", "value": 90.5}]}"#).unwrap();
        assert!(of_run().unwrap_err().to_string().contains("no metric `judge_frechet`"));
        let metrics = json!([
            {"name": "judge_frechet", "value": 12.5}, {"name": "other", "value": 1.0},
            {"name": "neg_elbo", "value": 90.5},
        ]);
        fs::write(&report, json!({ "metrics": metrics }).to_string()).unwrap();
        let outcome = of_run().unwrap();
        assert_eq!((outcome.seconds, outcome.program.as_str()), (3.5, "1.0.0 (unknown)"));
        assert_eq!(outcome.metrics.keys().collect::<Vec<_>>(), ["judge_frechet", "neg_elbo"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
