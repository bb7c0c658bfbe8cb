//! Metrics with their protocols; only metrics with equal protocols are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What was measured and how, by name: the extractor and its hash, the data set, the numbers of images … Two
/// metrics can be compared if all entries are equal. The seed is not an entry.
pub type Protocol = BTreeMap<String, String>;

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `neg_elbo`, `fid`, `judge_frechet`, …
    pub name: String,
    /// Its value, in `unit`.
    pub value: f64,
    /// `nats`, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Lower and upper bound; `protocol` says which kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// The same metric of real images: what a perfect model would reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Whether higher is better; None if neither direction is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub higher_is_better: Option<bool>,
    /// What was measured and how.
    pub protocol: Protocol,
}

impl Metric {
    /// A metric without unit, interval, floor or direction.
    pub fn new(name: impl Into<String>, value: f64, protocol: &Protocol) -> Self {
        Self {
            name: name.into(),
            value,
            unit: String::new(),
            interval: None,
            floor: None,
            higher_is_better: None,
            protocol: protocol.clone(),
        }
    }

    /// The same metric in nats.
    #[must_use]
    pub fn nats(mut self) -> Self {
        self.unit = "nats".into();
        self
    }

    /// The same metric with an interval.
    #[must_use]
    pub fn within(mut self, interval: [f64; 2]) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The same metric with the value of real images.
    #[must_use]
    pub fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// The same metric; higher is better.
    #[must_use]
    pub fn higher(mut self) -> Self {
        self.higher_is_better = Some(true);
        self
    }

    /// The same metric; lower is better.
    #[must_use]
    pub fn lower(mut self) -> Self {
        self.higher_is_better = Some(false);
        self
    }
}

/// metrics.json: all metrics of a model or of a set of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program that measured.
    pub version: String,
    /// The run, or the file of images.
    pub subject: String,
    /// Seed of the training, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_seed: Option<u64>,
    /// Seed of the samples, if the model made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_seed: Option<u64>,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

impl Report {
    /// Checks that every value is finite. JSON has no other numbers, and other values could not be compared.
    ///
    /// # Errors
    /// [`Error::Metric`] names the first metric that is NaN or infinite.
    pub fn check(&self) -> Result<()> {
        let wrong = self.metrics.iter().find(|metric| !metric.value.is_finite());
        wrong.map_or(Ok(()), |metric| Err(Error::Metric { name: metric.name.clone(), value: metric.value }))
    }
}

/// A difference between the protocols of two numbers of one name, which keeps them from being compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolMismatch {
    /// The metric.
    pub metric: String,
    /// What differs, in words.
    pub difference: String,
}

/// The differences between two protocols, one entry per difference: `n_generated: 2000 against 10000`.
pub fn differences(one: &Protocol, other: &Protocol) -> Vec<String> {
    let of = |protocol: &Protocol, key: &str| protocol.get(key).cloned().unwrap_or_else(|| "nothing".into());
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {} against {}", of(one, key), of(other, key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_differ_by_value_and_by_key() {
        let protocol = |pairs: &[(&str, &str)]| -> Protocol {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let one = protocol(&[("n_real", "100"), ("split", "test")]);
        assert!(differences(&one, &one).is_empty());
        let other = protocol(&[("n_real", "200"), ("split", "test"), ("resize", "none")]);
        assert_eq!(differences(&one, &other), ["n_real: 100 against 200", "resize: nothing against none"]);
    }

    #[test]
    fn a_report_comes_back_from_its_json() {
        let protocol = Protocol::from([("split".to_owned(), "test".to_owned())]);
        let metrics = vec![
            Metric::new("neg_elbo", 105.5, &protocol).nats().within([105.0, 106.0]).lower(),
            Metric::new("judge_precision", 0.5, &protocol).floor(0.9).higher(),
        ];
        let report = Report {
            version: "1".into(),
            subject: "runs/a".into(),
            training_seed: Some(3),
            sample_seed: None,
            metrics,
        };
        report.check().unwrap();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let mut wrong = report;
        wrong.metrics[1].value = f64::NAN;
        assert_eq!(wrong.check().unwrap_err().to_string(), "judge_precision is NaN, not a finite number");
    }
}
