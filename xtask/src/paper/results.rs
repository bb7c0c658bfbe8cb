//! `models/papers/NAME/results.json`: the results of a table's runs, which are kept with the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::table::{Form, Row};
use crate::{files, waxwork};

/// The result of one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The row's name.
    pub(super) row: String,
    pub(super) form: Form,
    pub(super) seed: u64,
    /// The key of the row at the time of the run.
    pub(super) key: String,
    /// Seconds of training.
    pub(super) seconds: f64,
    /// The version and revision of the program that trained.
    pub(super) program: String,
    pub(super) metrics: BTreeMap<String, f64>,
    /// What was measured and how, by metric.
    pub(super) protocols: BTreeMap<String, String>,
}

impl Outcome {
    /// The outcome of a finished and evaluated run of `row`.
    pub(super) fn of_run(run: &Path, row: &Row, form: Form, seed: u64, key: &str) -> Result<Self> {
        let info = read(&run.join("run.json"))?;
        if info["status"] != "finished" {
            bail!("{}: the run is not finished", run.display());
        }
        let report = read(&run.join("metrics.json"))?;
        let listed = report["metrics"].as_array().context("metrics.json has no list of metrics")?;
        let (mut metrics, mut protocols) = (BTreeMap::new(), BTreeMap::new());
        for published in &row.values {
            let name = &published.metric;
            let found = listed.iter().find(|metric| metric["name"] == *name);
            let found = found.with_context(|| format!("{}: no metric `{name}`", run.display()))?;
            let value = found["value"].as_f64().with_context(|| format!("`{name}` has no value"))?;
            let protocol = found["protocol"].as_object().into_iter().flatten();
            let protocol: Vec<String> = protocol
                .map(|(key, value)| format!("{key}: {}", value.as_str().unwrap_or_default()))
                .collect();
            metrics.insert(name.clone(), value);
            protocols.insert(name.clone(), protocol.join("; "));
        }
        Ok(Self {
            row: row.name.clone(),
            form,
            seed,
            key: key.to_owned(),
            seconds: info["seconds"].as_f64().context("run.json has no `seconds`")?,
            program: waxwork::version_in(&info),
            metrics,
            protocols,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "row": self.row,
            "form": self.form.name(),
            "seed": self.seed,
            "key": self.key,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "program": self.program,
            "metrics": self.metrics,
            "protocols": self.protocols,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let metrics = value.get("metrics")?.as_object()?;
        let protocols = value.get("protocols")?.as_object()?;
        Some(Self {
            row: text("row")?,
            form: Form::named(&text("form")?)?,
            seed: value.get("seed")?.as_u64()?,
            key: text("key")?,
            seconds: value.get("seconds")?.as_f64()?,
            program: text("program")?,
            metrics: metrics
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                .collect::<Option<_>>()?,
            protocols: protocols
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>()?,
        })
    }
}

/// The results of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Results(Vec<Outcome>);

impl Results {
    /// Reads results.json in the folder of a table; no results if there is no such file.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let value = read(&path)?;
        let outcomes = value.as_array().and_then(|list| list.iter().map(Outcome::from_json).collect());
        Ok(Self(outcomes.with_context(|| format!("{} has an unexpected structure", path.display()))?))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join("results.json");
        let list: Vec<Value> = self.0.iter().map(Outcome::to_json).collect();
        let text = serde_json::to_string_pretty(&list)? + "\n";
        files::write(&path, &text)
    }

    /// Adds an outcome, in place of an earlier one of the same row, form and seed.
    pub(super) fn add(&mut self, outcome: Outcome) {
        let id = |outcome: &Outcome| (outcome.row.clone(), outcome.form.name(), outcome.seed);
        self.0.retain(|known| id(known) != id(&outcome));
        self.0.push(outcome);
        self.0.sort_by_key(id);
    }

    /// The outcomes of a row whose key is the current one, in order of seeds.
    pub(super) fn of(&self, row: &Row, form: Form, key: &str) -> Vec<&Outcome> {
        let current =
            |outcome: &&Outcome| outcome.row == row.name && outcome.form == form && outcome.key == key;
        self.0.iter().filter(current).collect()
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not valid JSON", path.display()))
}

#[cfg(test)]
impl Outcome {
    /// The same outcome, measured by another program.
    pub(super) fn by(self, program: &str) -> Self {
        Self { program: program.into(), ..self }
    }

    /// An outcome with one metric.
    pub(super) fn with(row: &str, form: Form, seed: u64, key: &str, metric: (&str, f64)) -> Self {
        Self {
            row: row.into(),
            form,
            seed,
            key: key.into(),
            seconds: 90.0,
            program: "0.1.0 (abc)".into(),
            metrics: BTreeMap::from([(metric.0.into(), metric.1)]),
            protocols: BTreeMap::from([(metric.0.into(), "data: some; draws: 5".into())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_replaces_that_of_the_same_run() {
        let mut results = Results::default();
        let outcome = |seed, key, value| Outcome::with("one", Form::Full, seed, key, ("a", value));
        results.add(outcome(1, "k", 3.0));
        results.add(outcome(0, "k", 2.0));
        results.add(outcome(1, "k", 4.0));
        results.add(Outcome::with("one", Form::Quick, 0, "q", ("a", 9.0)));
        let values: Vec<f64> = results.0.iter().map(|outcome| outcome.metrics["a"]).collect();
        assert_eq!(values, [2.0, 4.0, 9.0]);
    }

    #[test]
    fn results_survive_their_file() {
        let folder = std::env::temp_dir().join(format!("waxwork-results-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut results = Results::default();
        assert_eq!(Results::read(&folder).unwrap(), results);
        results.add(Outcome::with("one", Form::Quick, 7, "0123abcd", ("a", 86.761)));
        results.write(&folder).unwrap();
        assert_eq!(Results::read(&folder).unwrap(), results);
        fs::write(folder.join("results.json"), "[{}]").unwrap();
        assert!(Results::read(&folder).unwrap_err().to_string().contains("unexpected structure"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_finished_runs_have_an_outcome() {
        let folder = std::env::temp_dir().join(format!("waxwork-outcome-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let tables = super::super::tables().unwrap();
        let row = &tables[0].rows[0];
        let of_run = || Outcome::of_run(&folder, row, Form::Full, 0, "k");
        fs::write(folder.join("run.json"), r#"{"status": "interrupted", "seconds": 3.5}"#).unwrap();
        assert!(of_run().unwrap_err().to_string().contains("not finished"));
        let finished = r#"{"status": "finished", "seconds": 3.5, "version": "1.0.0"}"#;
        fs::write(folder.join("run.json"), finished).unwrap();
        fs::write(folder.join("metrics.json"), r#"{"metrics": []}"#).unwrap();
        assert!(of_run().unwrap_err().to_string().contains("no metric"));
        let metrics: Vec<Value> = row
            .values
            .iter()
            .map(|value| json!({"name": value.metric, "value": 1.5, "protocol": {"draws": "5"}}))
            .collect();
        fs::write(folder.join("metrics.json"), json!({ "metrics": metrics }).to_string()).unwrap();
        let outcome = of_run().unwrap();
        assert_eq!((outcome.seconds, outcome.metrics[&row.values[0].metric]), (3.5, 1.5));
        assert_eq!(outcome.protocols[&row.values[0].metric], "draws: 5");
        assert_eq!(outcome.program, "1.0.0 (unknown)");
        fs::remove_dir_all(&folder).unwrap();
    }
}
