//! `models/RECIPE.lock`: the results of a short run of a recipe, by processor class, and the tolerances for
//! other machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::outcome::{GROUPS, Outcome, different_groups};
use crate::process;

/// Number of log lines that a lock keeps.
const FIRST: usize = 3;
/// Largest relative difference of the values in these lines if bits may differ. It is small, because rounding
/// errors have not grown yet.
const NEAR: f64 = 1e-4;
/// Largest difference of the last values, in standard deviations over seeds.
const SPREAD: f64 = 3.0;

type Values = BTreeMap<String, f64>;

/// The properties of a machine that may change bits.
pub(crate) struct Machine {
    pub(crate) version: String,
    pub(crate) cpu_class: String,
    pub(crate) toolchain: String,
}

impl Machine {
    /// Reads the properties from `waxwork doctor`.
    pub(crate) fn of(program: &Path) -> Result<Self> {
        let text = process::output(Command::new(program).args(["doctor", "--json"]))?;
        let report: Value =
            serde_json::from_str(&text).context("failed to parse the output of `waxwork doctor --json`")?;
        let field = |name: &str| {
            let value = report[name].as_str().map(str::to_owned);
            value.with_context(|| format!("the output of `waxwork doctor --json` has no `{name}`"))
        };
        Ok(Self {
            version: field("version")?,
            cpu_class: field("cpu_class")?,
            toolchain: field("toolchain")?,
        })
    }
}

/// A lock, as read from its file.
pub(crate) struct Lock(Value);

/// The result of a comparison: one line for the table, and complaints.
pub(crate) struct Verdict {
    pub(crate) said: String,
    pub(crate) complaints: Vec<String>,
}

impl Lock {
    /// Reads the lock at `path`; None if the file does not exist.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let value =
            serde_json::from_str(&text).with_context(|| format!("{} is not a valid lock", path.display()))?;
        Ok(Some(Self(value)))
    }

    /// The reason why this lock does not apply, or None if it applies.
    pub(crate) fn outdated(&self, machine: &Machine, settings: &[&str]) -> Option<String> {
        let version = self.0["version"].as_str().unwrap_or("none");
        if version != machine.version {
            return Some(format!("it is for version {version}, and this is version {}", machine.version));
        }
        (self.0["settings"] != json!(settings)).then(|| "it is for other settings".to_owned())
    }

    /// Compares an outcome with this lock: bits on the same class of processor with the same compiler,
    /// otherwise values.
    pub(crate) fn check(&self, machine: &Machine, outcome: &Outcome) -> Verdict {
        let class = &machine.cpu_class;
        let none = Map::new();
        let classes = self.0["classes"].as_object().unwrap_or(&none);
        let same = |entry: &Value| different_groups(&GROUPS, &locked(entry), outcome);
        if let Some((same_class, _)) = classes.iter().find(|(_, entry)| same(entry).is_empty()) {
            let said = format!("the same bits as on {same_class}");
            return Verdict { said, complaints: Vec::new() };
        }
        let why_not_bits = match classes.get(class) {
            Some(entry) if entry["toolchain"] == machine.toolchain.as_str() => {
                let groups = same(entry).join(", ");
                let values = self.far(outcome);
                let near =
                    if values.is_empty() { "the values still agree".into() } else { values.join("; ") };
                let complaint = format!("on {class}, the bits of {groups} differ; {near}");
                return Verdict { said: "BITS DIFFER".into(), complaints: vec![complaint] };
            }
            Some(entry) => format!("has bits for {} only", entry["toolchain"].as_str().unwrap_or("?")),
            None => format!("has no bits for {class}"),
        };
        let complaints = self.far(outcome);
        let near = if complaints.is_empty() { "values agree" } else { "VALUES DIFFER" };
        Verdict { said: format!("{why_not_bits}; {near}"), complaints }
    }

    /// Values that differ by more than the tolerances for other machines.
    fn far(&self, outcome: &Outcome) -> Vec<String> {
        let mut complaints = Vec::new();
        let lines = self.0["first"].as_array().cloned().unwrap_or_default();
        if lines.is_empty() {
            complaints.push("the lock has no losses of the first steps".to_owned());
        }
        for line in &lines {
            let step = line["step"].as_u64().unwrap_or(0);
            let found = outcome.metrics.iter().find(|(found, _)| *found == step).map(|(_, values)| values);
            for (name, expected) in numbers(line) {
                let value = found.and_then(|values| values.get(&name)).copied().unwrap_or(f64::NAN);
                // NaN never counts as agreement.
                let near = (value - expected).abs() <= NEAR * expected.abs() + NEAR * NEAR;
                if !near {
                    complaints.push(format!("{name} at step {step} is {value} instead of {expected}"));
                }
            }
        }
        let last = last_values(&outcome.metrics);
        for (name, spread) in self.0["last"].as_object().into_iter().flatten() {
            let (mean, sd) =
                (spread["mean"].as_f64().unwrap_or(f64::NAN), spread["sd"].as_f64().unwrap_or(f64::NAN));
            let value = last.get(name).copied().unwrap_or(f64::NAN);
            let near = (value - mean).abs() <= SPREAD * sd + NEAR * mean.abs();
            if !near {
                complaints
                    .push(format!("{name} ends at {value}, which is not within {mean} ± {SPREAD} × {sd}"));
            }
        }
        complaints
    }
}

/// The text of a lock: one outcome, and the last values of several seeds. It keeps the bits of other classes
/// from the lock `before`, unless the bits of this class have changed, because then those are outdated too.
pub(crate) fn text(
    machine: &Machine,
    settings: &[&str],
    outcome: &Outcome,
    finals: &[Values],
    before: Option<&Lock>,
) -> String {
    let first = outcome.metrics.iter().take(FIRST).map(|(step, values)| {
        let mut line = Map::from_iter([("step".to_owned(), json!(step))]);
        line.extend(values.iter().map(|(name, value)| (name.clone(), json!(value))));
        Value::Object(line)
    });
    let last = finals.first().into_iter().flat_map(Values::keys).map(|name| {
        let values: Vec<f64> = finals.iter().filter_map(|values| values.get(name)).copied().collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let sd = (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt();
        (name.clone(), json!({ "mean": mean, "sd": sd, "seeds": values.len() }))
    });
    let mut classes = Map::new();
    if let Some(before) = before.filter(|before| before.outdated(machine, settings).is_none()) {
        let old = before.0["classes"].as_object().cloned().unwrap_or_default();
        let ours = old.get(&machine.cpu_class);
        if ours.is_none_or(|ours| different_groups(&GROUPS, &locked(ours), outcome).is_empty()) {
            classes = old;
        }
    }
    classes.insert(
        machine.cpu_class.clone(),
        json!({ "toolchain": machine.toolchain, "hashes": outcome.groups }),
    );
    let lock = json!({
        "version": machine.version,
        "settings": settings,
        "first": first.collect::<Vec<_>>(),
        "last": Map::from_iter(last),
        "classes": classes,
    });
    format!("{lock:#}\n")
}

/// The mean of each value over the last quarter of the log.
pub(crate) fn last_values(metrics: &[(u64, Values)]) -> Values {
    let end = metrics.last().map_or(0, |(step, _)| *step);
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (_, values) in metrics.iter().filter(|(step, _)| *step > end - end / 4) {
        for (name, value) in values {
            let (sum, count) = sums.entry(name.clone()).or_default();
            (*sum, *count) = (*sum + value, *count + 1.0);
        }
    }
    sums.into_iter().map(|(name, (sum, count))| (name, sum / count)).collect()
}

/// The hashes of a class as an outcome, without metrics.
fn locked(entry: &Value) -> Outcome {
    let hashes = entry["hashes"].as_object().into_iter().flatten();
    let groups = hashes.filter_map(|(group, hash)| Some((group.clone(), hash.as_str()?.to_owned())));
    Outcome { groups: groups.collect(), metrics: Vec::new() }
}

fn numbers(line: &Value) -> Vec<(String, f64)> {
    let values = line.as_object().into_iter().flatten().filter(|(name, _)| *name != "step");
    values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cpu_class: &str, toolchain: &str) -> Machine {
        let (version, toolchain) = ("1.0.0".to_owned(), toolchain.to_owned());
        Machine { version, cpu_class: cpu_class.to_owned(), toolchain }
    }

    /// Eight steps whose loss is `scale` over the step; all hashes are `hash`.
    fn outcome(scale: f64, hash: &str) -> Outcome {
        let line = |step: u64| (step, Values::from([("loss".to_owned(), scale / step as f64)]));
        let groups = ["weights", "metrics.jsonl"].map(|group| (group.to_owned(), hash.to_owned()));
        Outcome { groups: groups.into(), metrics: (1..=8).map(line).collect() }
    }

    fn lock_of(machine: &Machine, before: Option<&Lock>, hash: &str) -> Lock {
        let finals = [1.0, 1.1, 0.9].map(|scale| last_values(&outcome(scale, "").metrics));
        Lock(serde_json::from_str(&text(machine, &["a=1"], &outcome(1.0, hash), &finals, before)).unwrap())
    }

    #[test]
    fn last_values_are_means_of_the_last_quarter() {
        let expected = (1.0 / 7.0 + 1.0 / 8.0) / 2.0;
        assert!((last_values(&outcome(1.0, "").metrics)["loss"] - expected).abs() < 1e-12);
    }

    #[test]
    fn compares_bits_on_the_same_machine_and_values_on_others() {
        let here = machine("v4", "rustc 1");
        let lock = lock_of(&here, None, "a");
        assert!(lock.check(&here, &outcome(1.0, "a")).complaints.is_empty());
        // The same values with other bits: an error here, but not with another compiler or on another class.
        let complaints = lock.check(&here, &outcome(1.0, "b")).complaints;
        assert!(complaints[0].contains("the bits of metrics.jsonl, weights differ"), "{complaints:?}");
        assert!(lock.check(&machine("v4", "rustc 2"), &outcome(1.0, "b")).complaints.is_empty());
        let elsewhere = machine("v3", "rustc 1");
        let verdict = lock.check(&elsewhere, &outcome(1.0 + 1e-6, "b"));
        assert!(verdict.complaints.is_empty() && verdict.said.contains("no bits for v3"), "{}", verdict.said);
        assert_eq!(lock.check(&elsewhere, &outcome(1.0, "a")).said, "the same bits as on v4");
        // The first losses must agree closely, and the last ones within the spread.
        let complaints = lock.check(&elsewhere, &outcome(1.001, "b")).complaints;
        assert!(complaints.len() == 3 && complaints[0].contains("loss at step 1"), "{complaints:?}");
        let complaints = lock.check(&elsewhere, &outcome(1.5, "b")).complaints;
        assert!(complaints[3].contains("not within"), "{complaints:?}");
        let complaints = lock.check(&elsewhere, &outcome(f64::NAN, "b")).complaints;
        assert_eq!(complaints.len(), 4, "NaN never agrees: {complaints:?}");
    }

    #[test]
    fn a_lock_of_another_version_or_other_settings_is_outdated() {
        let here = machine("v4", "rustc 1");
        let lock = lock_of(&here, None, "a");
        assert_eq!(lock.outdated(&here, &["a=1"]), None);
        assert_eq!(lock.outdated(&here, &["a=2"]).unwrap(), "it is for other settings");
        let newer = Machine { version: "2.0.0".into(), ..machine("v4", "rustc 1") };
        assert_eq!(
            lock.outdated(&newer, &["a=1"]).unwrap(),
            "it is for version 1.0.0, and this is version 2.0.0"
        );
    }

    #[test]
    fn keeps_bits_of_other_classes_while_those_of_this_class_are_unchanged() {
        let (v3, v4) = (machine("v3", "rustc 1"), machine("v4", "rustc 1"));
        let lock = lock_of(&v4, Some(&lock_of(&v3, None, "b")), "a");
        let classes =
            |lock: &Lock| lock.0["classes"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(classes(&lock), ["v3", "v4"]);
        assert_eq!(classes(&lock_of(&v4, Some(&lock), "a")), ["v3", "v4"]);
        assert_eq!(classes(&lock_of(&v4, Some(&lock), "c")), ["v4"]);
    }
}
