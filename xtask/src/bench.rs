//! `cargo xtask bench`: training steps of the plain reference recipes against the same networks in PyTorch.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Times training steps of the plain reference recipes against the same networks in PyTorch

Usage: cargo xtask bench [--python PYTHON] [--threads N] [--rounds N] [--write] [RECIPE ...]

Both sides run alternately, never at once, on images of the recipe's shape that are in memory before
the clock starts. The time of a step is the median of a round, without the first fifth of its steps;
the ratio is ours to PyTorch's, the median of the rounds with the least and the largest. Run it on a
machine that does nothing else: PyTorch's threads suffer most from company.

Options:
  --python PYTHON   a Python that has torch (default: python3)
  --threads N       threads of either side (default: 2)
  --rounds N        how often each side runs (default: 3)
  --write           write docs/benchmarks.md too

Examples:
  cargo xtask bench --python ~/venv/bin/python --write
  cargo xtask bench --rounds 1 vae-mlp-mnist";

/// A recipe, a data set of the same shape that needs no files, its batch and the steps of a round.
struct Bench {
    recipe: &'static str,
    data: &'static str,
    batch: usize,
    steps: usize,
}

const BENCHES: [Bench; 5] = [
    Bench { recipe: "vae-mlp-mnist", data: "digits", batch: 128, steps: 400 },
    Bench { recipe: "cvae-mlp-mnist", data: "digits", batch: 128, steps: 400 },
    Bench { recipe: "gan-dcgan-mnist", data: "digits", batch: 64, steps: 60 },
    Bench { recipe: "cgan-dcgan-mnist", data: "digits", batch: 64, steps: 60 },
    Bench { recipe: "gan-dcgan-cifar10", data: "shapes", batch: 64, steps: 40 },
];

/// Images that are trained on: so few that they are all made soon.
const IMAGES: usize = 2048;
/// Images of the sampling time.
const SAMPLES: usize = 10_000;

/// What one run of one side took.
struct Measured {
    /// Seconds of a training step.
    step: f64,
    /// Seconds from the start of the process to the end of the first step.
    first: f64,
    /// Peak memory in bytes.
    peak: f64,
    /// Seconds for 10,000 images, with the writing of the file; ours with the start of the process too.
    sampling: f64,
}

struct Options {
    python: PathBuf,
    threads: String,
    rounds: usize,
    write: bool,
    recipes: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = parse(args)?;
    let workspace = Workspace::load()?;
    let version =
        process::output(Command::new(&options.python).args(["-c", "import torch; print(torch.__version__)"]))
            .context("a Python with torch is needed: name it with --python")?;
    let program = waxwork::build(&workspace, Profile::Release, Hub::Off)?;
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder)?;

    let mut table = String::from(
        "| recipe, batch | step: ours | PyTorch | ratio (least–largest) | first step | peak memory | 10,000 samples |\n|---|---|---|---|---|---|---|\n",
    );
    let chosen = |bench: &&Bench| {
        options.recipes.is_empty() || options.recipes.iter().any(|name| name == bench.recipe)
    };
    for bench in BENCHES.iter().filter(chosen) {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let ours = ours(&program, bench, &options, &folder)?;
            rounds.push((ours, theirs(&workspace.root, bench, &options)?));
        }
        let row = row(bench, &rounds);
        eprint!("{row}");
        table += &row;
    }
    print!("{table}");
    if options.write {
        let path = workspace.root.join("docs/benchmarks.md");
        fs::write(&path, document(&table, &options, version.trim())?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        python: "python3".into(),
        threads: "2".into(),
        rounds: 3,
        write: false,
        recipes: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--python" => options.python = value()?.into(),
            "--threads" => options.threads.clone_from(value()?),
            "--rounds" => {
                options.rounds = value()?.parse::<usize>().context("--rounds takes a number")?.max(1);
            }
            "--write" => options.write = true,
            name if BENCHES.iter().any(|bench| bench.recipe == name) => options.recipes.push(name.to_owned()),
            other => bail!("unknown option or recipe `{other}`; `cargo xtask bench --help` lists them"),
        }
    }
    Ok(options)
}

/// Trains with the program; a line of timing.jsonl a step tells how long each took, batches and log included.
fn ours(program: &Path, bench: &Bench, options: &Options, folder: &Path) -> Result<Measured> {
    let run = folder.join(bench.recipe);
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    let steps = bench.steps.to_string();
    let mut train = Command::new(program);
    train.args(["train", bench.recipe, "-q", "--data", bench.data, "--threads", &options.threads]);
    train.args(["--steps", &steps, "--set", &format!("train.batch_size={}", bench.batch)]);
    train.args(["--set", "train.log_every=1", "--set", &format!("train.sample_every={steps}")]);
    train.args(["--set", &format!("train.checkpoint_every={steps}")]);
    train.args(["--set", &format!("data.limit={IMAGES}"), "--set", "data.validation=100"]);
    train.arg("--out").arg(&run).stdout(Stdio::null());
    let timing = run.join("timing.jsonl");
    let started = Instant::now();
    let mut child = train.spawn().context("failed to start the program")?;
    let (mut first, mut peak) = (None, 0.0_f64);
    let status = loop {
        if first.is_none() && fs::metadata(&timing).is_ok_and(|file| file.len() > 0) {
            first = Some(started.elapsed().as_secs_f64());
        }
        peak = peak.max(peak_memory(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // Rarely enough not to disturb, once the first step is seen.
        std::thread::sleep(Duration::from_millis(if first.is_none() { 1 } else { 50 }));
    };
    if !status.success() {
        bail!("training {} failed ({status})", bench.recipe);
    }
    let text = fs::read_to_string(&timing).with_context(|| format!("failed to read {}", timing.display()))?;
    let mut ends = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        ends.push(line["seconds"].as_f64().context("a line of timing.jsonl without seconds")?);
    }
    let times: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();

    let started = Instant::now();
    let mut sample = Command::new(program);
    sample.arg("sample").arg(&run).args(["-n", &SAMPLES.to_string(), "--threads", &options.threads, "--out"]);
    let sampled = sample.arg(run.join("samples.npy")).stdout(Stdio::null()).status()?;
    if !sampled.success() {
        bail!("sampling from {} failed ({sampled})", bench.recipe);
    }
    let sampling = started.elapsed().as_secs_f64();
    Ok(Measured { step: settled(&times), first: first.unwrap_or(f64::NAN), peak, sampling })
}

fn theirs(root: &Path, bench: &Bench, options: &Options) -> Result<Measured> {
    let mut python = Command::new(&options.python);
    python.arg(root.join("xtask/bench/reference.py")).arg(bench.recipe);
    python.args([&bench.batch.to_string(), &bench.steps.to_string(), &options.threads]);
    let report: Value = serde_json::from_str(&process::output(&mut python)?)?;
    let number = |key: &str| report[key].as_f64().with_context(|| format!("the reference gave no `{key}`"));
    let times: Vec<f64> =
        report["steps"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let (first, peak, sampling) = (number("first")?, number("peak")?, number("sampling")?);
    Ok(Measured { step: settled(&times), first, peak, sampling })
}

/// The median without the first fifth.
fn settled(times: &[f64]) -> f64 {
    median(times.iter().skip(times.len() / 5).copied().collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Peak resident memory of a process that still runs, in bytes; where the system tells.
fn peak_memory(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn row(bench: &Bench, rounds: &[(Measured, Measured)]) -> String {
    let of = |f: fn(&Measured) -> f64| {
        let ours = median(rounds.iter().map(|(ours, _)| f(ours)).collect());
        let theirs = median(rounds.iter().map(|(_, theirs)| f(theirs)).collect());
        (ours, theirs, ours / theirs)
    };
    let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours.step / theirs.step).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = ratios.iter().copied().fold(0.0, f64::max);
    let (step, first) = (of(|m| m.step), of(|m| m.first));
    let (peak, sampling) = (of(|m| m.peak), of(|m| m.sampling));
    format!(
        "| {}, {} | {:.2} ms | {:.2} ms | **{:.2}** ({least:.2}–{largest:.2}) | {:.2} s / {:.2} s = {:.3} | {:.0} / {:.0} MB = {:.2} | {:.2} s / {:.2} s = {:.2} |\n",
        bench.recipe,
        bench.batch,
        1e3 * step.0,
        1e3 * step.1,
        median(ratios.clone()),
        first.0,
        first.1,
        first.2,
        peak.0 / 1e6,
        peak.1 / 1e6,
        peak.2,
        sampling.0,
        sampling.1,
        sampling.2,
    )
}

fn document(table: &str, options: &Options, torch: &str) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let date = process::output(Command::new("date").args(["-u", "+%F"]))?;
    let rust = process::output(Command::new("rustc").arg("--version"))?;
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench --write`; run it again rather than edit this.\n\n",
    );
    writeln!(
        text,
        "{}, {} threads a side, {} rounds, PyTorch {torch} (eager), {}, {}.\n",
        cpu.trim_start_matches([' ', '\t', ':']),
        options.threads,
        options.rounds,
        rust.trim(),
        date.trim()
    )?;
    text += table;
    text += "\nEach pair is ours / PyTorch's. A step is the median of a round without its first fifth; ours has the making of the\nbatch and a line of log in it, PyTorch's neither. The first step counts from the start of the process. Sampling\nends with a NumPy file that is synced to disk; ours has the start of the process in it.\n";
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_do_not_count() {
        assert_eq!(settled(&[9.0, 9.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 2.0, 2.0]), 2.0);
        assert!(settled(&[]).is_nan());
    }

    #[test]
    fn options() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = parse(&args("--rounds 2 vae-mlp-mnist --python x")).unwrap();
        assert_eq!((options.rounds, options.recipes.len(), options.python), (2, 1, PathBuf::from("x")));
        assert!(parse(&args("vae-digits")).is_err() && parse(&args("--threads")).is_err());
    }
}
