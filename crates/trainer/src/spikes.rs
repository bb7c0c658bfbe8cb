//! Spikes: steps with values far above those logged before. Such a step is always logged.

use std::collections::BTreeMap;
use std::path::Path;

use crate::metrics;
use crate::{Error, Result};

/// A spike is this many times the value of the newest logged step.
const FACTOR: f64 = 1e3;
/// A smaller logged value counts as this value.
const LEAST: f64 = 1e3;
/// The value that counts as logged before the first line.
const BEFORE: f64 = 1e5;
/// The most warnings about spikes per process.
const WARNINGS: u32 = 3;

/// Compares every step that is read with the newest line at a multiple of `log_every`. A resumed run finds
/// that line in the file, so a run has the same lines however often it is interrupted.
#[derive(Debug)]
pub(crate) struct Spikes {
    logged: BTreeMap<String, f64>,
    warned: u32,
}

impl Spikes {
    /// Continues from the lines of `path`; only those at multiples of `log_every` count for comparison.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn after(path: &Path, log_every: u64) -> Result<Self> {
        let lines = match metrics::read(path) {
            Err(Error::Core(_)) if !path.exists() => Vec::new(),
            lines => lines?,
        };
        let mut spikes = Self { logged: BTreeMap::new(), warned: 0 };
        for (step, values) in lines.iter().filter(|(step, _)| step.is_multiple_of(log_every)) {
            let values = values.iter().filter(|(name, _)| !name.starts_with("validation/"));
            let values: Vec<(String, f64)> =
                values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
            spikes.log(*step, log_every, &values);
        }
        Ok(spikes)
    }

    /// Keeps the values of a step at a multiple of `log_every`, for comparison with later steps.
    pub(crate) fn log(&mut self, step: u64, log_every: u64, values: &[(String, f64)]) {
        if step.is_multiple_of(log_every) {
            self.logged.extend(values.iter().cloned());
        }
    }

    /// Whether a step has a spike. Warns about the value that is furthest out.
    pub(crate) fn at(&mut self, step: u64, values: &[(String, f64)]) -> bool {
        let usual = |name: &str| self.logged.get(name).map_or(BEFORE, |value| value.abs().max(LEAST));
        let furthest = values
            .iter()
            // The factor of loss scaling is not a measurement.
            .filter(|(name, value)| !name.starts_with("scale/") && value.abs() > FACTOR * usual(name))
            .max_by(|a, b| (a.1.abs() / usual(&a.0)).total_cmp(&(b.1.abs() / usual(&b.0))));
        let Some((name, value)) = furthest else { return false };
        if self.warned < WARNINGS {
            let before = self.logged.get(name);
            let before = before.map_or_else(String::new, |before| format!(", after {before:.4}"));
            tracing::warn!("spike at step {step}: `{name}` is {value:.4e}{before}");
            self.warned += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(kl: f64, norm: f64) -> Vec<(String, f64)> {
        vec![("kl".to_owned(), kl), ("grad_norm/encoder".to_owned(), norm)]
    }

    #[test]
    fn a_spike_is_large_and_a_thousand_times_the_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut spikes = Spikes::after(&path, 10).unwrap();
        // Before any line: the gradients of large images are in the tens of thousands.
        assert!(!spikes.at(1, &values(0.4, 9e4)) && spikes.at(3, &values(9e13, 3e13)));
        spikes.log(3, 10, &values(9e13, 3e13));
        spikes.log(10, 10, &values(80.0, 5e4));
        assert!(!spikes.at(11, &values(9e5, 4.9e7)) && spikes.at(12, &values(1.1e6, 5e4)));
        assert!(spikes.at(13, &values(-1.1e6, 5e4)) && spikes.at(14, &values(80.0, 5.1e7)));
        assert!(!spikes.at(15, &[("scale/loss".to_owned(), 1e9)]));
    }

    #[test]
    fn a_resumed_run_compares_with_the_lines_that_were_due() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = metrics::MetricsFile::open(&path, 0).unwrap();
        for (step, kl) in [(10, 5e4), (13, 9e13), (20, 6e4)] {
            file.append(step, [("kl", kl)]).unwrap();
        }
        file.append(20, [("validation/kl", 1.0)]).unwrap();
        file.append(23, [("kl", 8e13)]).unwrap();
        let mut spikes = Spikes::after(&path, 10).unwrap();
        assert!(!spikes.at(24, &values(5.9e7, 1.0)) && spikes.at(24, &values(6.1e7, 1.0)));
    }
}
