//! The parts of a run that can be compared with another run: hashes by group, and the values of its log.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The groups that must agree: the names that `waxwork runs hash` prints, up to the first slash.
pub(crate) const GROUPS: [&str; 8] =
    ["metrics.jsonl", "weights", "average", "optimizer", "result", "samples", "state", "quantiles.json"];
/// The groups that depend only on training.
pub(crate) const TRAINED: [&str; 4] = ["weights", "average", "optimizer", "result"];

/// The outcome of a run.
pub(crate) struct Outcome {
    /// SHA-256 of each group, over the names and hashes of all its members.
    pub(crate) groups: BTreeMap<String, String>,
    /// Steps and their named values.
    pub(crate) metrics: Vec<(u64, BTreeMap<String, f64>)>,
}

/// The SHA-256 of each group of `waxwork runs hash`, over the names and hashes of all its members.
pub(crate) fn groups(hashes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, hash) in hashes {
        let group = name.split('/').next().unwrap_or_default();
        *texts.entry(group.to_owned()).or_default() += &format!("{name} {hash}\n");
    }
    texts.into_iter().map(|(group, text)| (group, hex(&text))).collect()
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The groups that are missing from one of two outcomes, or have different hashes in them.
pub(crate) fn different_groups<'a>(
    compared: &[&'a str],
    expected: &Outcome,
    found: &Outcome,
) -> Vec<&'a str> {
    let differs = |group: &&&str| expected.groups.get(**group) != found.groups.get(**group);
    compared.iter().filter(differs).copied().collect()
}

/// The lines of metrics.jsonl.
pub(crate) fn parse_metrics(log: &str) -> Result<Vec<(u64, BTreeMap<String, f64>)>> {
    let parse = |line: &str| {
        let values: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
        let step = values.get("step")?.as_u64()?;
        let numbers = values.iter().filter(|(name, _)| *name != "step");
        Some((step, numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()))
    };
    let lines = log
        .lines()
        .map(|line| parse(line).with_context(|| format!("failed to parse a line of metrics.jsonl: {line}")));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_depend_on_names_and_hashes() {
        let of = |pairs: &[(&str, &str)]| {
            groups(&pairs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect())
        };
        let both = of(&[("weights/a", "1"), ("weights/b", "2"), ("metrics.jsonl", "3")]);
        assert_eq!(both.keys().collect::<Vec<_>>(), ["metrics.jsonl", "weights"]);
        assert_ne!(both["weights"], of(&[("weights/a", "2"), ("weights/b", "1")])["weights"]);
        assert_ne!(both["weights"], of(&[("weights/a", "1")])["weights"]);
    }

    #[test]
    fn names_different_and_missing_groups() {
        let outcome = |pairs: &[(&str, &str)]| Outcome {
            groups: pairs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect(),
            metrics: Vec::new(),
        };
        let expected = outcome(&[("weights", "1"), ("samples", "2"), ("result", "3")]);
        let found = outcome(&[("weights", "1"), ("samples", "9")]);
        assert_eq!(different_groups(&GROUPS, &expected, &found), ["result", "samples"]);
        assert_eq!(different_groups(&TRAINED, &expected, &found), ["result"]);
        assert!(different_groups(&GROUPS, &expected, &expected).is_empty());
    }

    #[test]
    fn reads_logs() {
        let log = "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":null,\"more\":2}\n";
        let metrics = parse_metrics(log).unwrap();
        assert_eq!((metrics.len(), metrics[0].1["loss"], metrics[1].1.len()), (2, 0.5, 1));
        assert!(parse_metrics("torn").is_err());
    }
}
