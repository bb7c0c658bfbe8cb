//! The measurements of one run of Waxwork or of PyTorch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Setting;
use crate::{files, process};

/// Number of training images. It is small, so that they are generated quickly.
const IMAGES: usize = 2048;
/// Number of validation images.
const VALIDATION: usize = 100;
/// Number of images for timing sampling.
const SAMPLES: usize = 10_000;

/// The phases of a step, as timing.jsonl names them.
pub(super) const PHASES: [&str; 5] = ["data", "forward", "backward", "optimiser", "other"];

/// The measurements of one run of Waxwork or of PyTorch.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Seconds per training step.
    pub(super) step: f64,
    /// Number of values of every tensor of the networks, ascending.
    pub(super) sizes: Vec<u64>,
    /// Seconds from the start of the process to the end of the first step.
    pub(super) first: f64,
    /// Peak memory in bytes.
    pub(super) peak: f64,
    /// Seconds to sample 10,000 images into a file, if measured.
    pub(super) sampling: f64,
    /// Seconds per step in each of [`PHASES`]; only for Waxwork.
    pub(super) phases: [f64; PHASES.len()],
}

impl Measured {
    /// The size of the networks, for messages.
    pub(super) fn size(&self) -> String {
        format!("{} tensors with {} values", self.sizes.len(), self.sizes.iter().sum::<u64>())
    }
}

/// Trains with the program. Step times come from timing.jsonl and include batches and logging.
pub(super) fn ours(program: &Path, setting: &Setting<'_>, folder: &Path) -> Result<Measured> {
    let (bench, threads, every) = (setting.bench, setting.threads.to_string(), setting.every);
    let run = folder.join(bench.recipe);
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    let steps = setting.steps.to_string();
    let mut train = Command::new(program);
    train.args(["train", bench.of, "-q", "--data", bench.data, "--threads", &threads, "--steps", &steps]);
    if bench.data == "text" {
        train.arg("--data-dir").arg(write_sentences(folder)?);
    }
    train.args(bench.settings.iter().flat_map(|setting| ["--set", setting]));
    train.args(["--set", &format!("train.batch_size={}", setting.batch)]);
    train.args(["--set", &format!("train.log_every={every}")]);
    train.args(["--set", &format!("train.sample_every={steps}")]);
    train.args(["--set", &format!("train.checkpoint_every={steps}")]);
    train.args(["--set", &format!("data.limit={IMAGES}")]);
    train.args(["--set", &format!("data.validation={VALIDATION}")]);
    if setting.in_phases() {
        train.arg("--profile");
    }
    train.args(["--device", setting.device]).arg("--out").arg(&run).stdout(Stdio::null());
    let timing = run.join("timing.jsonl");
    let started = Instant::now();
    let mut child = train.spawn().context("failed to start `waxwork`")?;
    let (mut first, mut peak) = (None, 0.0_f64);
    let status = loop {
        if first.is_none() && fs::metadata(&timing).is_ok_and(|file| file.len() > 0) {
            first = Some(started.elapsed().as_secs_f64());
        }
        peak = peak.max(peak_memory(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // Poll rarely after the first step, so as not to disturb the run.
        std::thread::sleep(Duration::from_millis(if first.is_none() { 1 } else { 50 }));
    };
    if !status.success() {
        bail!("training of {} failed ({status})", bench.recipe);
    }
    let text = fs::read_to_string(&timing).with_context(|| format!("failed to read {}", timing.display()))?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let steps = |key: &str| differences(&lines, key);
    let times = steps("seconds")?;
    let mut phases = [f64::NAN; PHASES.len()];
    for (mean, name) in phases.iter_mut().zip(PHASES).filter(|_| setting.in_phases()) {
        let times = settled(&steps(name)?).to_vec();
        *mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
    }

    let sampling = if setting.sampling { sample(program, &run, &threads)? } else { f64::NAN };
    let step = step_time(&times, bench.period) / every as f64;
    let sizes = sizes(&run.join("model.safetensors"))?;
    Ok(Measured { step, sizes, first: first.unwrap_or(f64::NAN), peak, sampling, phases })
}

/// Number of values of every tensor in a safetensors file, ascending.
fn sizes(path: &Path) -> Result<Vec<u64>> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    sizes_in(&bytes).with_context(|| format!("{} is no safetensors file", path.display()))
}

/// [`sizes`] of a file's contents: the length of the header, a header in JSON, then the values.
fn sizes_in(bytes: &[u8]) -> Option<Vec<u64>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: Value = serde_json::from_slice(header).ok()?;
    // The entry `__metadata__` has no shape.
    let shapes = header.as_object()?.values().filter_map(|entry| entry["shape"].as_array());
    let mut sizes: Vec<u64> = shapes.map(|shape| shape.iter().filter_map(Value::as_u64).product()).collect();
    sizes.sort_unstable();
    Some(sizes)
}

/// Writes [`sentences`] as a data set of texts and returns its folder.
fn write_sentences(folder: &Path) -> Result<PathBuf> {
    let folder = folder.join("sentences");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let lines = sentences();
    let (train, test) = lines.split_at(IMAGES + VALIDATION);
    for (name, lines) in [("train.txt", train), ("test.txt", test)] {
        files::write(&folder.join(name), &(lines.join("\n") + "\n"))?;
    }
    Ok(folder)
}

/// Sentences of 9,999 words, as many as the Penn Treebank has. Its average sentence has 21 words, as these
/// have; these have between 1 and 41. `sentences` in reference.py draws lengths from the same distribution.
fn sentences() -> Vec<String> {
    /// Consecutive words have distant numbers. It has no common factor with 9,999.
    const STRIDE: usize = 7919;
    let mut words = (0..).map(|place: usize| format!("w{}", place * STRIDE % 9999));
    // Every sum of two numbers below 21 occurs equally often.
    let lengths = (0..IMAGES + 2 * VALIDATION).map(|line| 1 + line % 21 + line / 21 % 21);
    lengths.map(|length| words.by_ref().take(length).collect::<Vec<_>>().join(" ")).collect()
}

/// The increase from each line of a log to the next, for values that only grow.
fn differences(lines: &[Value], key: &str) -> Result<Vec<f64>> {
    let number =
        |line: &Value| line[key].as_f64().with_context(|| format!("a line of timing.jsonl has no `{key}`"));
    let ends: Vec<f64> = lines.iter().map(number).collect::<Result<_>>()?;
    Ok(ends.windows(2).map(|pair| pair[1] - pair[0]).collect())
}

/// Seconds from a file with weights to a file with images, without the start of the process, as the program
/// reports them.
fn sample(program: &Path, run: &Path, threads: &str) -> Result<f64> {
    // Flush what training wrote, so that sampling does not wait for it. If there is no `sync`, it waits.
    _ = Command::new("sync").status();
    let mut sample = Command::new(program);
    sample.arg("sample").arg(run).args(["-n", &SAMPLES.to_string(), "--threads", threads, "--out"]);
    sample.arg(run.join("samples.npy")).args(["-v", "--log-format", "json"]).env_remove("RUST_LOG");
    let printed = process::everything_printed(&mut sample)?;
    let events = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let seconds = events
        .filter(|event| event["message"] == "samples written")
        .find_map(|event| event["seconds"].as_f64());
    seconds.with_context(|| format!("sampling from {} failed:\n{printed}", run.display()))
}

/// Trains and samples with the same networks in PyTorch.
pub(super) fn theirs(python: &Path, root: &Path, setting: &Setting<'_>, folder: &Path) -> Result<Measured> {
    let mut command = Command::new(python);
    command.arg(root.join("xtask/bench/reference.py")).arg(setting.bench.recipe);
    command.args([setting.batch, setting.steps, setting.threads].map(|number| number.to_string()));
    command.arg(if setting.sampling { SAMPLES.to_string() } else { "0".into() }).arg(folder);
    command.args([setting.device, &setting.every.to_string()]);
    command.arg(if setting.compiled { "compiled" } else { "eager" });
    let report: Value = serde_json::from_str(&process::output(&mut command)?)?;
    let number = |key: &str| {
        report[key].as_f64().with_context(|| format!("the output of reference.py has no `{key}`"))
    };
    let times: Vec<f64> =
        report["steps"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let (first, peak, sampling) = (number("first")?, number("peak")?, number("sampling")?);
    let (step, phases) = (step_time(&times, setting.bench.period), [f64::NAN; PHASES.len()]);
    let sizes = report["sizes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    Ok(Measured { step, sizes, first, peak, sampling, phases })
}

/// The median time of a step without the first fifth, over the means of `period` successive steps.
fn step_time(times: &[f64], period: usize) -> f64 {
    let means = settled(times).chunks_exact(period).map(|steps| steps.iter().sum::<f64>() / period as f64);
    median(means.collect())
}

/// All times except the first fifth.
fn settled(times: &[f64]) -> &[f64] {
    &times[times.len() / 5..]
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Peak resident memory in bytes of a running process, if the system reports it.
fn peak_memory(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn excludes_the_first_steps() {
        let times = [9.0, 9.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 2.0, 2.0];
        assert_eq!(step_time(&times, 1), 2.0);
        assert!(step_time(&[], 1).is_nan());
    }

    #[test]
    fn a_step_that_alternates_counts_with_its_mean() {
        let times = [7.0, 7.0, 1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0, 9.0];
        assert_eq!(step_time(&times, 2), 3.0);
    }

    #[test]
    fn sizes_are_products_of_shapes() {
        let header = br#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2,3]},"b":{"shape":[]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend([0_u8; 28]);
        assert_eq!(sizes_in(&file).unwrap(), [1, 6]);
        assert!(sizes_in(&file[..20]).is_none() && sizes_in(b"").is_none());
    }

    #[test]
    fn sentences_have_the_vocabulary_and_the_mean_length_of_the_penn_treebank() {
        let lines = sentences();
        let of = |lines: &[String]| {
            lines.iter().flat_map(|line| line.split(' ')).map(str::to_owned).collect::<Vec<_>>()
        };
        let (train, cycle) = (of(&lines[..IMAGES + VALIDATION]), of(&lines[..21 * 21]));
        assert_eq!(train.iter().collect::<BTreeSet<_>>().len(), 9999);
        assert_eq!(cycle.len(), 21 * 21 * 21);
        assert_eq!(lines.iter().map(|line| line.split(' ').count()).max(), Some(41));
        assert!(lines.len() > IMAGES + VALIDATION);
    }

    #[test]
    fn a_step_is_the_difference_of_two_lines() {
        let lines: Vec<Value> =
            [1.0, 3.0, 4.5].map(|seconds| serde_json::json!({ "seconds": seconds })).to_vec();
        assert_eq!(differences(&lines, "seconds").unwrap(), [2.0, 1.5]);
        assert!(differences(&lines, "data").unwrap_err().to_string().contains("data"));
    }
}
