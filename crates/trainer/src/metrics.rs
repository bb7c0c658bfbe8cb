//! metrics.jsonl and timing.jsonl: one line per logged step, in order. On resume, lines after the checkpoint
//! are cut.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use waxwork_core::{hash, store};

use crate::{Error, Result};

/// An append-only file of JSON objects, each with a `step`.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    hash: Sha256,
}

/// A mark of a file's contents: its first `bytes` bytes have this hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    bytes: u64,
    sha256: String,
}

impl Mark {
    /// Whether `contents` still begin with the marked bytes.
    pub fn fits(&self, contents: &[u8]) -> bool {
        let marked = usize::try_from(self.bytes).ok().and_then(|bytes| contents.get(..bytes));
        marked.is_some_and(|marked| hash::sha256(marked) == self.sha256)
    }
}

impl MetricsFile {
    /// Opens `path` for appending, after removing every line beyond `step` and an incomplete last line.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let mut kept = String::new();
        if path.exists() {
            kept = lines_up_to(path, step)?;
            store::write(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(store::failed("open", path))?;
        let (bytes, hash) = (kept.len() as u64, Sha256::new_with_prefix(&kept));
        Ok(Self { path: path.to_owned(), file, bytes, hash })
    }

    /// Appends one line: the step, then the values in the order given. Values that are not finite become
    /// `null`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.extend(values.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
        let mut bytes = Value::Object(line).to_string();
        bytes.push('\n');
        self.file.write_all(bytes.as_bytes()).map_err(store::failed("write", &self.path))?;
        self.bytes += bytes.len() as u64;
        self.hash.update(&bytes);
        Ok(())
    }

    /// Syncs the file to disk and returns a mark of its contents.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn sync(&self) -> Result<Mark> {
        self.file.sync_data().map_err(store::failed("sync", &self.path))?;
        Ok(Mark { bytes: self.bytes, sha256: hash::hex(&self.hash.clone().finalize()) })
    }
}

/// Reads a metrics file back: steps with their named values.
///
/// # Errors
/// [`Error::Damaged`] names the line.
pub fn read(path: &Path) -> Result<Vec<(u64, Map<String, Value>)>> {
    let text = String::from_utf8_lossy(&store::read(path)?).into_owned();
    let parse = |(number, line): (usize, &str)| {
        let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        let mut values: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| damaged(format!("line {}: {error}", number + 1)))?;
        let step = values.remove("step").and_then(|step| step.as_u64());
        Ok((step.ok_or_else(|| damaged(format!("line {} has no step", number + 1)))?, values))
    };
    text.lines().enumerate().map(parse).collect()
}

/// The newest value called `name`, if there is one.
pub fn last(path: &Path, name: &str) -> Result<Option<f64>> {
    let lines = read(path)?;
    Ok(lines.iter().rev().find_map(|(_, values)| values.get(name)?.as_f64()))
}

fn lines_up_to(path: &Path, step: u64) -> Result<String> {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    let mut kept = String::new();
    for line in store::read(path)?.split(|&byte| byte == b'\n') {
        match serde_json::from_slice::<Step>(line) {
            Ok(found) if found.step <= step => kept.push_str(&String::from_utf8_lossy(line)),
            // A line beyond the checkpoint, or one cut off by a crash. Nothing after it counts.
            _ => break,
        }
        kept.push('\n');
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_file_is_cut_back_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, resumed) = (folder.path().join("whole.jsonl"), folder.path().join("resumed.jsonl"));
        let write = |path: &Path, from: u64, to: u64| {
            let mut file = MetricsFile::open(path, from).unwrap();
            (from + 1..=to).for_each(|step| file.append(step, [("loss", 1.0 / step as f64)]).unwrap());
        };
        write(&whole, 0, 6);
        write(&resumed, 0, 5);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&resumed)
            .unwrap()
            .write_all(b"{\"step\":6,\"lo")
            .unwrap();
        write(&resumed, 3, 6);
        assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&resumed).unwrap());
        assert_eq!(read(&whole).unwrap().len(), 6);
    }

    #[test]
    fn values_are_read_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        let mut draws = waxwork_core::rng::Stream::new(0, "value", 0).at(0);
        let mut bits = || u64::from(draws.bits()) << 32 | u64::from(draws.bits());
        let any = std::iter::repeat_with(|| f64::from_bits(bits()));
        let values: Vec<f64> = any.filter(|value| value.is_finite()).take(10_000).collect();
        let mut file = MetricsFile::open(&path, 0).unwrap();
        (1..).zip(&values).for_each(|(step, value)| file.append(step, [("loss", *value)]).unwrap());
        for ((_, line), value) in read(&path).unwrap().iter().zip(values) {
            assert_eq!(line["loss"].as_f64().unwrap().to_bits(), value.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn names_keep_their_order_and_nan_is_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        MetricsFile::open(&path, 0).unwrap().append(1, [("z", f64::NAN), ("a", 0.5)]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1,\"z\":null,\"a\":0.5}\n");
    }
}
