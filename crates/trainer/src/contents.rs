//! The reproducible parts of a run: their hashes, and the first difference between two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Map, Value};
use waxwork_core::{DType, Tensor, hash, store};

use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::run_folder::{QUANTILES, RunFolder};

const METRICS: &str = "metrics.jsonl";
const STATE: &str = "state";

/// The parts in the order of comparison. Metrics come first because they show the earliest step at which two
/// runs diverge.
const GROUPS: [&str; 8] = [METRICS, STATE, "weights", "average", "optimizer", "result", QUANTILES, "samples"];

/// The contents of a run folder that recipe, data, seed and version determine.
#[derive(Debug)]
pub struct Contents {
    metrics: Vec<u8>,
    state: String,
    /// `weights/NAME`, `average/NAME`, `optimizer/first/NAME` of the newest intact checkpoint, `result/NAME`
    /// of model.safetensors.
    tensors: BTreeMap<String, Tensor>,
    /// quantiles.json, if there is one.
    quantiles: Option<Vec<u8>>,
    /// `samples/step-000500.png` and so on.
    samples: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    /// Reads the contents of a run folder.
    ///
    /// # Errors
    /// If there is no intact checkpoint, or a file cannot be read or does not have the recorded hash.
    pub fn of(folder: &RunFolder) -> Result<Self> {
        let (checkpoint, _) = folder.checkpoints().newest()?;
        let named = checkpoint.named_tensors().into_iter().map(|(name, tensor)| (name, tensor.clone()));
        let mut tensors: BTreeMap<String, Tensor> = named.collect();
        let result = folder.load_model()?.unwrap_or_default();
        tensors.extend(result.into_iter().map(|(name, tensor)| (format!("result/{name}"), tensor)));
        let quantiles = folder.quantiles();
        Ok(Self {
            metrics: store::read(&folder.metrics())?,
            state: state(&checkpoint),
            tensors,
            quantiles: quantiles.is_file().then(|| store::read(&quantiles)).transpose()?,
            samples: samples(folder)?,
        })
    }

    /// The SHA-256 of each part by its name. A tensor's hash also covers its type and shape.
    ///
    /// # Errors
    /// If a tensor cannot be brought to the CPU.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let mut hashes = BTreeMap::from([
            (METRICS.to_owned(), hash::sha256(&self.metrics)),
            (STATE.to_owned(), hash::sha256(self.state.as_bytes())),
        ]);
        for (name, tensor) in &self.tensors {
            let alone = BTreeMap::from([("tensor".to_owned(), tensor.clone())]);
            hashes.insert(name.clone(), hash::sha256(&store::encode(&alone)?));
        }
        hashes.extend(self.quantiles.iter().map(|bytes| (QUANTILES.to_owned(), hash::sha256(bytes))));
        hashes.extend(self.samples.iter().map(|(name, bytes)| (name.clone(), hash::sha256(bytes))));
        Ok(hashes)
    }

    /// Describes the first difference of `self` from `expected`, if there is one: the earliest step in the
    /// metrics, else the first value of the first tensor, else the first file.
    ///
    /// # Errors
    /// As [`Contents::hashes`].
    pub fn first_difference(&self, expected: &Self) -> Result<Option<String>> {
        let (found, wanted) = (self.hashes()?, expected.hashes()?);
        let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
        let group = |name: &str| GROUPS.iter().position(|group| name.split('/').next() == Some(*group));
        let differ = names.into_iter().filter(|name| found.get(*name) != wanted.get(*name));
        let Some(name) = differ.min_by_key(|name| group(name)) else { return Ok(None) };
        let (Some(_), Some(_)) = (found.get(name), wanted.get(name)) else {
            let place = if found.contains_key(name) { "only here" } else { "missing" };
            return Ok(Some(format!("{name} is {place}")));
        };
        Ok(Some(match name.as_str() {
            METRICS => first_line(&self.metrics, &expected.metrics),
            STATE => format!("the last checkpoint has {} instead of {}", self.state, expected.state),
            QUANTILES => format!("{QUANTILES} has other quantile maps"),
            _ => match (self.tensors.get(name), expected.tensors.get(name)) {
                (Some(found), Some(wanted)) => first_value(name, found, wanted)?,
                _ => format!("{name} is a different image"),
            },
        }))
    }
}

fn state(checkpoint: &Checkpoint) -> String {
    let best = checkpoint.best.as_ref();
    let best = best.map_or_else(String::new, |best| {
        format!(", best {} {} at step {}", best.metric, best.value, best.step)
    });
    format!("{} steps, updates {:?}{best}", checkpoint.counters.step, checkpoint.counters.updates)
}

fn samples(folder: &RunFolder) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut samples = BTreeMap::new();
    let path = folder.samples();
    if path.is_dir() {
        for entry in fs::read_dir(&path).map_err(store::failed("read", &path))? {
            let entry = entry.map_err(store::failed("read", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                samples.insert(format!("samples/{name}"), store::read(&entry.path())?);
            }
        }
    }
    Ok(samples)
}

/// The first line of metrics that differs, and the first value in it.
fn first_line(found: &[u8], expected: &[u8]) -> String {
    let (found, expected) = (String::from_utf8_lossy(found), String::from_utf8_lossy(expected));
    let (mut found_lines, mut expected_lines) = (found.lines(), expected.lines());
    for number in 1.. {
        let (found, expected) = match (found_lines.next(), expected_lines.next()) {
            (None, None) => break,
            (found, expected) if found == expected => continue,
            (found, expected) => (found.unwrap_or("nothing"), expected.unwrap_or("nothing")),
        };
        let parse = |line: &str| serde_json::from_str::<Map<String, Value>>(line).ok();
        if let (Some(found), Some(expected)) = (parse(found), parse(expected))
            && found.get("step") == expected.get("step")
            && let Some((name, value)) = found.iter().find(|(name, value)| expected.get(*name) != Some(value))
        {
            let step = found.get("step").unwrap_or(&Value::Null);
            let other = expected.get(name).unwrap_or(&Value::Null);
            return format!("{METRICS} at step {step}: {name} is {value} instead of {other}");
        }
        return format!("{METRICS} line {number}: {found} instead of {expected}");
    }
    format!("{METRICS} differs in its line endings")
}

fn first_value(name: &str, found: &Tensor, expected: &Tensor) -> Result<String> {
    if (found.dtype(), found.dims()) != (expected.dtype(), expected.dims()) {
        let text = |tensor: &Tensor| format!("{:?} {:?}", tensor.dtype(), tensor.dims());
        return Ok(format!("{name} is {} instead of {}", text(found), text(expected)));
    }
    // An f64 can represent every f32.
    let values = |tensor: &Tensor| -> waxwork_core::Result<Vec<f64>> {
        Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
    };
    let (found, expected) = (values(found)?, values(expected)?);
    let differ = |(a, b): (&f64, &f64)| a.to_bits() != b.to_bits();
    let count = found.iter().zip(&expected).filter(|pair| differ(*pair)).count();
    let first = found.iter().zip(&expected).position(differ).unwrap_or(0);
    Ok(format!(
        "{name}, value {first} of {}: {:e} instead of {:e} ({count} values differ)",
        found.len(),
        found[first],
        expected[first]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwork_core::Device;

    fn contents(metrics: &str, weights: &[f32]) -> Contents {
        let tensor = Tensor::new(weights, &Device::Cpu).unwrap();
        Contents {
            metrics: metrics.into(),
            state: "4 steps".into(),
            tensors: BTreeMap::from([("weights/w".to_owned(), tensor)]),
            quantiles: None,
            samples: BTreeMap::from([("samples/a.png".to_owned(), vec![1])]),
        }
    }

    #[test]
    fn the_earliest_difference_is_named() {
        let log = "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n";
        let whole = contents(log, &[1.0, 2.0, 3.0]);
        let said = |found: &Contents| found.first_difference(&whole).unwrap();
        assert_eq!(said(&contents(log, &[1.0, 2.0, 3.0])), None);
        let other = contents(&log.replace("0.25", "0.75"), &[0.0, 0.0, 0.0]);
        assert_eq!(said(&other).unwrap(), "metrics.jsonl at step 2: loss is 0.75 instead of 0.25");
        let other = contents(&log[..log.len() / 2], &[1.0, 2.0, 3.0]);
        assert!(said(&other).unwrap().starts_with("metrics.jsonl line 2: nothing instead of"));
        let other = contents(log, &[1.0, 2.0, -3.0]);
        let expected = "weights/w, value 2 of 3: -3e0 instead of 3e0 (1 values differ)";
        assert_eq!(said(&other).unwrap(), expected);
        let other = contents(log, &[1.0, 2.0]);
        assert_eq!(said(&other).unwrap(), "weights/w is F32 [2] instead of F32 [3]");
        let mut other = contents(log, &[1.0, 2.0, 3.0]);
        other.quantiles = Some(vec![3]);
        assert_eq!(said(&other).unwrap(), "quantiles.json is only here");
        let mut other = contents(log, &[1.0, 2.0, 3.0]);
        other.samples.insert("samples/b.png".into(), vec![2]);
        assert_eq!(said(&other).unwrap(), "samples/b.png is only here");
        other.samples.clear();
        assert_eq!(said(&other).unwrap(), "samples/a.png is missing");
    }

    #[test]
    fn minus_zero_is_not_zero() {
        let (minus, plus) = (contents("", &[-0.0]), contents("", &[0.0]));
        assert_ne!(minus.hashes().unwrap(), plus.hashes().unwrap());
        assert!(minus.first_difference(&plus).unwrap().unwrap().contains("-0e0 instead of 0e0"));
    }
}
