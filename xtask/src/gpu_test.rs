//! `cargo xtask gpu-test`: compares training on a device with training on the CPU from the same seed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Train, resume, sample and evaluate each family on a device; compare with the CPU

Usage: cargo xtask gpu-test [--device DEVICE] [--steps N] [--program FILE] [RECIPE ...]

The command trains each recipe twice from the same seed, on the CPU and on the device. The default
recipes are those of `cargo xtask train`, one per family. Both runs get the same inputs, but the
device rounds differently, and training amplifies rounding errors. These differences of the losses
are allowed:

  first logged step                  0.5 %, because gradients and optimiser are the same
  mean of the second half            3 %; 30 % for GANs
  the same, for runs in bf16 or f16  10 %; 50 % for GANs

The samples of a trained model may differ by 0.01 between device and CPU, on a scale from 0 to 1,
and its metrics on test images by 1 %. A run that is cut back to its middle and resumed must end
like the complete run.

Options:
  --device DEVICE   cuda, cuda:N, metal, or cpu, which compares the CPU with itself at another
                    number of threads and requires the same bits [default: cuda]
  --steps N         Number of training steps [default: 300]
  --program FILE    Use this program instead of building one

The run folders stay in target/gpu-test.

Examples:
  cargo xtask gpu-test
  cargo xtask gpu-test --device cpu --steps 40 vae-digits";

/// Steps between log lines. Between them, nothing is read from the device.
const LOG_EVERY: usize = 10;
/// Largest difference between the first logged losses.
const EARLY: f64 = 0.005;
/// Largest difference between the means of the second half, without and with an adversary.
const LATE: [f64; 2] = [0.03, 0.30];
/// The same for runs that compute in half precision.
const HALF: [f64; 2] = [0.10, 0.50];
/// Largest difference between pixels of samples.
const PIXELS: f64 = 0.01;
/// Largest difference between metrics of a trained model.
const NUMBERS: f64 = 0.01;
/// Number of samples to compare.
const SAMPLES: &str = "64";

struct Options {
    device: String,
    steps: usize,
    program: Option<PathBuf>,
    recipes: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = parse(args)?;
    let workspace = Workspace::load()?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => waxwork::build_for(&workspace, Profile::Release, Hub::Off, &options.device)?,
    };
    let recipes = match options.recipes.as_slice() {
        [] => waxwork::quickstart(&waxwork::recipes(&program)?),
        recipes => recipes.to_vec(),
    };
    let mut text = String::new();
    let mut problems = Vec::new();
    for recipe in &recipes {
        let test = Test {
            program: &program,
            recipe,
            options: &options,
            folder: workspace.target.join("gpu-test").join(recipe),
        };
        let found = test.run().with_context(|| format!("`{recipe}`"))?;
        problems.extend(found.problems.iter().map(|problem| format!("{recipe}: {problem}")));
        writeln!(text, "{recipe}: {}", found.measured.join(", "))?;
    }
    print!("{text}");
    ensure!(problems.is_empty(), "the device and the CPU differ:\n  {}", problems.join("\n  "));
    println!("{} agrees with the CPU", options.device);
    Ok(ExitCode::SUCCESS)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options { device: "cuda".into(), steps: 300, program: None, recipes: vec![] };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--device" => options.device.clone_from(value()?),
            "--steps" => options.steps = value()?.parse().context("`--steps` needs a whole number")?,
            "--program" => options.program = Some(value()?.into()),
            other if other.starts_with('-') => {
                bail!("unknown option `{other}`; `cargo xtask gpu-test --help` lists the options")
            }
            recipe => options.recipes.push(recipe.to_owned()),
        }
    }
    // The log is split into two halves of whole lines, and the second must not be empty.
    let unit = 2 * LOG_EVERY;
    ensure!(
        options.steps >= 2 * unit && options.steps.is_multiple_of(unit),
        "`--steps` must be a multiple of {unit}, at least {}",
        2 * unit
    );
    Ok(options)
}

/// The test of one recipe.
struct Test<'a> {
    program: &'a Path,
    recipe: &'a str,
    options: &'a Options,
    folder: PathBuf,
}

/// Values to report, and differences that exceed their bounds.
#[derive(Default)]
struct Found {
    measured: Vec<String>,
    problems: Vec<String>,
}

impl Found {
    /// Records a difference, which must not exceed `bound`.
    fn compare(&mut self, what: &str, difference: f64, bound: f64) {
        self.measured.push(format!("{what} {difference:.2e}"));
        // NaN never counts as agreement.
        if difference.is_nan() || difference > bound {
            self.problems.push(format!("{what} differ by {difference:.3e}; the limit is {bound}"));
        }
    }
}

impl Test<'_> {
    fn run(&self) -> Result<Found> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("failed to clear {}", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)?;
        let itself = self.options.device == "cpu";
        let [reference, run, resumed] = ["cpu", "device", "resumed"].map(|name| self.folder.join(name));
        self.train(&reference, "cpu", "2", &[])?;
        self.train(&run, &self.options.device, "1", &[])?;

        let mut found = Found::default();
        let (expected, log) = (losses(&reference)?, losses(&run)?);
        let adversary = usize::from(log.contains_key("generator"));
        let late = LATE[adversary];
        found.compare("early losses", early(&expected, &log)?, if itself { 0.0 } else { EARLY });
        found.compare("late losses", second_half(&expected, &log)?, if itself { 0.0 } else { late });
        found.measured.push(format!("{:.0} images/s (CPU {:.0})", rate(&run)?, rate(&reference)?));

        // The CPU does not support half precision.
        for dtype in ["bf16", "f16"].iter().filter(|_| !itself) {
            let half = self.folder.join(dtype);
            self.train(&half, &self.options.device, "1", &["--dtype", dtype])?;
            let what = format!("late losses in {dtype}");
            found.compare(&what, second_half(&expected, &losses(&half)?)?, HALF[adversary]);
            found.measured.push(format!("{:.0} images/s", rate(&half)?));
        }

        cut_back(&run, &resumed, self.options.steps / 2)?;
        self.call(&["train", "-q", "--resume", text(&resumed)?, "--device", &self.options.device])?;
        let whole = losses(&run)?;
        found.compare(
            "losses after resuming",
            second_half(&whole, &losses(&resumed)?)?,
            if itself { 0.0 } else { late },
        );
        let bytes = |run: &Path| fs::read(run.join("model.safetensors"));
        let same = bytes(&run)? == bytes(&resumed)?;
        found
            .measured
            .push(if same { "resumed with the same bits" } else { "resumed with different bits" }.into());
        if itself && !same {
            found.problems.push("the resumed run ends with different bits".into());
        }

        let samples = |device: &str| -> Result<Vec<f32>> {
            let path = self.folder.join(format!("{}.npy", device.replace(':', "-")));
            self.call(&["sample", text(&run)?, "-n", SAMPLES, "--device", device, "--out", text(&path)?])?;
            npy(&fs::read(&path)?).with_context(|| format!("{} is not a NumPy array of f32", path.display()))
        };
        let (ours, theirs) = (samples("cpu")?, samples(&self.options.device)?);
        let pairs = ours.iter().zip(&theirs).map(|(a, b)| f64::from((a - b).abs()));
        ensure!(
            ours.len() == theirs.len() && !ours.is_empty(),
            "the CPU and the device gave different numbers of samples"
        );
        found.compare("samples", largest(pairs), if itself { 0.0 } else { PIXELS });

        let numbers = |device: &str| -> Result<BTreeMap<String, f64>> {
            let count = if log.contains_key("generator") { "100" } else { "0" };
            let arguments =
                ["evaluate", text(&run)?, "-n", "500", "--samples", count, "--json", "--device", device];
            metrics(&self.call(&arguments)?)
        };
        let (ours, theirs) = (numbers("cpu")?, numbers(&self.options.device)?);
        ensure!(
            ours.keys().eq(theirs.keys()) && !ours.is_empty(),
            "the CPU and the device gave different metrics: {ours:?}, {theirs:?}"
        );
        // A judge counts images, and a single image in another class is not an error. Compare only continuous
        // metrics.
        let continuous = |name: &str| !name.starts_with("judge_") && name != "active_units";
        let pairs = ours
            .iter()
            .filter(|(name, _)| continuous(name))
            .map(|(name, value)| relative(*value, theirs[name]));
        found.compare("evaluations", largest(pairs), if itself { 0.0 } else { NUMBERS });
        Ok(found)
    }

    fn train(&self, run: &Path, device: &str, threads: &str, more: &[&str]) -> Result<()> {
        let steps = self.options.steps.to_string();
        let half = format!("train.checkpoint_every={}", self.options.steps / 2);
        let log = format!("train.log_every={LOG_EVERY}");
        let mut arguments =
            vec!["train", self.recipe, "-q", "--seed", "0", "--steps", &steps, "--out", text(run)?];
        arguments.extend(["--set", &log, "--set", &half, "--set", "train.keep=9"]);
        arguments.extend(["--device", device, "--threads", threads]);
        arguments.extend(more);
        self.call(&arguments).map(drop)
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        eprintln!("$ waxwork {}", arguments.join(" "));
        process::output(Command::new(self.program).args(arguments).stdin(Stdio::null()))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The losses of a run by name, one value per logged step. They depend only on training.
fn losses(run: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let path = run.join("metrics.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    parse_losses(&text).with_context(|| format!("{} has an unexpected structure", path.display()))
}

fn parse_losses(text: &str) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut losses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let values = line.as_object().context("a line is not a JSON object")?;
        // Names of losses have no slash; `logits/real`, `grad_norm/…` and `validation/…` are not losses.
        for (name, value) in values.iter().filter(|(name, _)| !name.contains('/') && *name != "step") {
            losses.entry(name.clone()).or_default().push(value.as_f64().unwrap_or(f64::NAN));
        }
    }
    ensure!(losses.values().any(|values| values.len() > 1), "no loss has two or more values");
    Ok(losses)
}

type Losses = BTreeMap<String, Vec<f64>>;

/// The largest relative difference between the first logged losses.
fn early(expected: &Losses, found: &Losses) -> Result<f64> {
    differences(expected, found, |values| values.first().copied().unwrap_or(f64::NAN))
}

/// The largest relative difference between the means of the second half.
fn second_half(expected: &Losses, found: &Losses) -> Result<f64> {
    differences(expected, found, |values| {
        let half = &values[values.len() / 2..];
        half.iter().sum::<f64>() / half.len() as f64
    })
}

fn differences(expected: &Losses, found: &Losses, of: impl Fn(&[f64]) -> f64) -> Result<f64> {
    ensure!(
        expected.len() == found.len()
            && expected
                .iter()
                .all(|(name, values)| found.get(name).is_some_and(|found| found.len() == values.len())),
        "the runs did not log the same losses"
    );
    Ok(largest(expected.iter().map(|(name, values)| relative(of(values), of(&found[name])))))
}

/// A difference relative to the larger value, or to 0.1 if both are smaller.
fn relative(a: f64, b: f64) -> f64 {
    (a - b).abs() / a.abs().max(b.abs()).max(0.1)
}

/// The largest value; NaN if any value is NaN.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, value| if value.is_nan() || value > most { value } else { most })
}

/// Images per second at the end of a run.
fn rate(run: &Path) -> Result<f64> {
    let text = fs::read_to_string(run.join("timing.jsonl"))?;
    let last: Value = serde_json::from_str(text.lines().last().context("timing.jsonl is empty")?)?;
    last["images_per_second"].as_f64().context("the last line of timing.jsonl has no `images_per_second`")
}

/// Copies a finished run as it was at the checkpoint of `step`.
fn cut_back(run: &Path, to: &Path, step: usize) -> Result<()> {
    let kept = format!("step-{step:06}");
    ensure!(run.join("checkpoints").join(&kept).is_dir(), "there is no checkpoint {kept} to resume from");
    copy(run, to, &|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name != "model.safetensors" && name != "run.lock" && (!name.starts_with("step-") || name == *kept)
    })?;
    let path = to.join("run.json");
    let mut info: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    info["status"] = "interrupted".into();
    fs::write(&path, info.to_string())?;
    Ok(())
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if !wanted(&path) {
            continue;
        }
        if path.is_dir() { copy(&path, &to, wanted)? } else { _ = fs::copy(&path, &to)? }
    }
    Ok(())
}

/// The metrics of `waxwork evaluate --json` by name.
fn metrics(json: &str) -> Result<BTreeMap<String, f64>> {
    let report: Value = serde_json::from_str(json)?;
    let metrics = report["metrics"].as_array().context("the report has no metrics")?;
    let one = |metric: &Value| Some((metric["name"].as_str()?.to_owned(), metric["value"].as_f64()?));
    metrics
        .iter()
        .map(|metric| one(metric).context("a metric in the report has no name or no value"))
        .collect()
}

/// The values of a NumPy file of f32.
fn npy(bytes: &[u8]) -> Option<Vec<f32>> {
    let length = u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?) as usize;
    let header = std::str::from_utf8(bytes.get(10..10 + length)?).ok()?;
    if !bytes.starts_with(b"\x93NUMPY\x01")
        || !header.contains("'<f4'")
        || header.contains("'fortran_order': True")
    {
        return None;
    }
    let values = bytes.get(10 + length..)?.chunks_exact(4);
    Some(values.map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(scale: f64) -> Losses {
        let line = |step: usize| {
            let loss = scale * 100.0 / step as f64;
            format!(
                "{{\"step\":{step},\"loss\":{loss},\"grad_norm/a\":{step}}}\n{{\"step\":{step},\"validation/x\":1}}\n"
            )
        };
        parse_losses(&(1..=4).map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn compares_losses_by_name_and_position() {
        let (a, b) = (log(1.0), log(1.1));
        assert_eq!(a.keys().collect::<Vec<_>>(), ["loss"]);
        assert_eq!((early(&a, &a).unwrap(), second_half(&a, &a).unwrap()), (0.0, 0.0));
        for difference in [early(&a, &b).unwrap(), second_half(&a, &b).unwrap()] {
            assert!((difference - 0.1 / 1.1).abs() < 1e-12, "{difference}");
        }
        let shorter = Losses::from([("loss".into(), a["loss"][1..].to_vec())]);
        assert!(early(&a, &shorter).is_err() && parse_losses("{\"step\":1}").is_err());
    }

    #[test]
    fn nan_never_agrees() {
        let mut found = Found::default();
        found.compare("x", largest([0.0, f64::NAN, 0.0].into_iter()), 1.0);
        found.compare("y", 0.5, 0.4);
        found.compare("z", 0.0, 0.0);
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
        assert!(
            parse_losses("{\"step\":1,\"loss\":null}\n{\"step\":2,\"loss\":1}").unwrap()["loss"][0].is_nan()
        );
    }

    #[test]
    fn reads_arrays_and_metrics() {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend([0.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(npy(&bytes), Some(vec![0.5, -2.0]));
        assert_eq!(npy(b"\x93NUMPY"), None);
        assert_eq!(metrics(r#"{"metrics": [{"name": "a", "value": 2}]}"#).unwrap()["a"], 2.0);
    }

    #[test]
    fn cuts_a_run_back_to_its_middle() {
        let folder = std::env::temp_dir().join(format!("xtask-gpu-{}", std::process::id()));
        let (run, to) = (folder.join("run"), folder.join("to"));
        for path in [
            "checkpoints/step-000010/a",
            "checkpoints/step-000020/a",
            "samples/step-000020.png",
            "model.safetensors",
            "run.lock",
        ] {
            fs::create_dir_all(run.join(path).parent().unwrap()).unwrap();
            fs::write(run.join(path), "x").unwrap();
        }
        fs::write(run.join("run.json"), r#"{"status":"finished","steps":20}"#).unwrap();
        assert!(cut_back(&run, &to, 15).is_err());
        cut_back(&run, &to, 10).unwrap();
        assert!(
            to.join("checkpoints/step-000010/a").is_file() && !to.join("checkpoints/step-000020").exists()
        );
        assert!(!to.join("model.safetensors").exists() && !to.join("run.lock").exists());
        assert!(fs::read_to_string(to.join("run.json")).unwrap().contains("\"interrupted\""));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn rejects_steps_without_two_whole_halves() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse(&args("--device cpu --steps 40 vae-digits")).unwrap().recipes, ["vae-digits"]);
        assert!(parse(&args("--steps 30")).is_err() && parse(&args("--steps 0")).is_err());
        assert!(parse(&args("--devise cpu")).is_err());
    }
}
