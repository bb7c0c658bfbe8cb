//! `cargo xtask bench --quality`: the sample quality of Waxwork and PyTorch after given minutes of training.
//!
//! Three processes train on the same images. They take turns: one runs while the others are stopped. Only the
//! running time of a process counts, including its start. At each mark, the same judge measures samples of
//! each process.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

/// The data sets, each with Waxwork's recipe, whose networks `best` in quality.py copies.
const CONTESTS: [(&str, &str); 3] =
    [("mnist", "cgan-mnist"), ("fashion-mnist", "cgan-fashion-mnist"), ("cifar10", "cgan-cifar10")];

/// How long one process runs before the next takes its turn.
const TURN: Duration = Duration::from_secs(20);
/// More steps than any machine takes in this time.
const ENDLESS: &str = "100000000";
/// Samples per measurement.
const SAMPLES: &str = "10000";

/// The options of `--quality`.
pub(super) struct Options {
    pub(super) data_dir: PathBuf,
    /// When to measure, in minutes, ascending.
    pub(super) marks: Vec<f64>,
}

/// A system to compare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    /// PyTorch with the plain reference networks.
    Plain,
    /// PyTorch with the networks of Waxwork's recipe.
    Best,
}

const SIDES: [Side; 3] = [Side::Ours, Side::Plain, Side::Best];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "Waxwork",
            Self::Plain => "PyTorch, plain networks",
            Self::Best => "PyTorch, Waxwork's networks",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ours => "#d1495b",
            Self::Plain => "#7a7f87",
            Self::Best => "#30638e",
        }
    }
}

/// One measurement.
struct Point {
    data: &'static str,
    side: Side,
    minutes: f64,
    frechet: f64,
    agreement: f64,
    recall: f64,
}

/// A system that trains on one data set.
struct Contender<'a> {
    side: Side,
    data: &'static str,
    recipe: &'static str,
    folder: PathBuf,
    program: &'a Path,
    python: &'a Path,
    root: &'a Path,
    options: &'a Options,
    threads: String,
    child: Option<Child>,
    /// The total running time of its processes.
    active: Duration,
}

impl Contender<'_> {
    fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Starts its first process, or a new one that resumes where the last one stopped.
    fn start(&mut self) -> Result<()> {
        let mut command = if self.side == Side::Ours {
            let mut command = Command::new(self.program);
            if self.run_folder().exists() {
                command.args(["train", "-q", "--resume"]).arg(self.run_folder());
            } else {
                command
                    .args(["train", self.recipe, "-q", "--steps", ENDLESS, "--out"])
                    .arg(self.run_folder());
                command.arg("--data-dir").arg(&self.options.data_dir);
                // This command measures the samples itself, and the run must not choose weights.
                for set in [
                    "train.final_weights=last",
                    "optimizer.schedule={kind=\"constant\"}",
                    "train.validate_every=100000000",
                    "train.sample_every=100000000",
                    "train.checkpoint_every=100000000",
                ] {
                    command.args(["--set", set]);
                }
            }
            command.args(["--threads", &self.threads]);
            command
        } else {
            let networks = if self.side == Side::Plain { "plain" } else { "best" };
            let mut command = Command::new(self.python);
            command.arg(self.root.join("xtask/bench/quality.py")).args([networks, self.data]);
            command.arg(&self.options.data_dir).arg(&self.folder).arg(&self.threads);
            command
        };
        let started = Instant::now();
        let child = command.stdout(Stdio::null()).spawn().context("failed to start a training process")?;
        self.active += started.elapsed();
        self.child = Some(child);
        Ok(())
    }

    /// Lets the process run until its total time reaches `until`.
    fn run_until(&mut self, until: Duration) -> Result<()> {
        let Some(left) = until.checked_sub(self.active) else { return Ok(()) };
        let began = Instant::now();
        match self.child {
            None => self.start()?,
            Some(_) => self.signal("CONT")?,
        }
        std::thread::sleep(left.saturating_sub(began.elapsed()));
        self.signal("STOP")?;
        self.active += began.elapsed();
        Ok(())
    }

    fn signal(&mut self, name: &str) -> Result<()> {
        let child = self.child.as_mut().context("there is no process to signal")?;
        if let Some(status) = child.try_wait()? {
            bail!("training with {} on {} ended early ({status})", self.side.name(), self.data);
        }
        let signal = format!("-{name}");
        let pid = child.id().to_string();
        if !Command::new("kill").args([&signal, &pid]).status().context("failed to start `kill`")?.success() {
            bail!("failed to send signal {name} to process {pid}");
        }
        Ok(())
    }

    /// Measures samples of the current weights. The time that this takes does not count.
    fn measure(&mut self, minutes: f64) -> Result<Point> {
        let mut evaluate = Command::new(self.program);
        if self.side == Side::Ours {
            // On this signal the process writes a checkpoint and ends.
            self.signal("TERM")?;
            self.signal("CONT")?;
            let mut child = self.child.take().context("there is no process to wait for")?;
            child.wait()?;
            evaluate.arg("evaluate").arg(self.run_folder()).args(["--samples", SAMPLES]);
        } else {
            let written = self.folder.join("written");
            self.signal("USR1")?;
            self.signal("CONT")?;
            while !written.exists() {
                std::thread::sleep(Duration::from_millis(20));
                self.signal("CONT")?;
            }
            self.signal("STOP")?;
            fs::remove_file(&written)?;
            evaluate
                .args(["evaluate", "--data", self.data, "--samples"])
                .arg(self.folder.join("samples.npy"));
        }
        evaluate.arg("--data-dir").arg(&self.options.data_dir).args(["--json", "-q"]);
        let report: Value = serde_json::from_str(&process::output(&mut evaluate)?)?;
        let number = |name: &str| {
            let metrics = report["metrics"].as_array().into_iter().flatten();
            let found = metrics.into_iter().find(|metric| metric["name"] == name);
            found
                .and_then(|metric| metric["value"].as_f64())
                .with_context(|| format!("the evaluation report has no `{name}`"))
        };
        let (frechet, agreement) = (number("judge_frechet")?, number("judge_agreement")?);
        let point = Point {
            data: self.data,
            side: self.side,
            minutes,
            frechet,
            agreement,
            recall: number("judge_recall")?,
        };
        eprintln!(
            "{}, {}, {minutes} min: Fréchet {frechet:.1}, agreement {agreement:.3}, recall {:.3}",
            self.data,
            self.side.name(),
            point.recall
        );
        Ok(point)
    }
}

impl Drop for Contender<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Checks the names of data sets.
///
/// # Errors
/// If a data set is not part of this benchmark.
pub(super) fn check(chosen: &[String]) -> Result<()> {
    let known = CONTESTS.map(|(data, _)| data);
    match chosen.iter().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => bail!("unknown data set `{unknown}`; known data sets: {}", known.join(", ")),
        None => Ok(()),
    }
}

/// Compares the systems on all data sets. Returns the table, and writes the plot to `picture`.
pub(super) fn run(
    workspace: &Workspace,
    python: &Path,
    threads: usize,
    chosen: &[String],
    options: &Options,
    picture: Option<&Path>,
) -> Result<String> {
    if !cfg!(unix) {
        bail!(
            "`--quality` needs Unix signals to stop and continue processes; this system does not have them"
        );
    }
    let program = waxwork::build(workspace, Profile::Release, Hub::Off)?;
    let mut points = Vec::new();
    for (data, recipe) in CONTESTS {
        if !chosen.is_empty() && !chosen.iter().any(|name| name == data) {
            continue;
        }
        let mut contenders = Vec::new();
        for side in SIDES {
            let folder =
                workspace.target.join("bench/quality").join(data).join(side.name().replace([',', ' '], ""));
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            contenders.push(Contender {
                side,
                data,
                recipe,
                folder,
                program: &program,
                python,
                root: &workspace.root,
                options,
                threads: threads.to_string(),
                child: None,
                active: Duration::ZERO,
            });
        }
        for &minutes in &options.marks {
            let mark = Duration::from_secs_f64(60.0 * minutes);
            while let Some(turn) = next_turn(contenders.iter().map(|one| one.active), mark) {
                for contender in &mut contenders {
                    contender.run_until(turn)?;
                }
            }
            for contender in &mut contenders {
                points.push(contender.measure(minutes)?);
            }
        }
    }
    if let Some(picture) = picture {
        fs::write(picture, drawing(&points))
            .with_context(|| format!("failed to write {}", picture.display()))?;
    }
    Ok(table(&points))
}

/// The running time up to which each process runs next on the way to `mark`; None if all have reached it.
fn next_turn(active: impl Iterator<Item = Duration>, mark: Duration) -> Option<Duration> {
    let least = active.min()?;
    (least < mark).then(|| (least + TURN).min(mark))
}

fn table(points: &[Point]) -> String {
    let mut table = String::from(
        "| data | minutes | side | judge Fréchet | Waxwork / this | label agreement | recall |\n|---|---|---|---|---|---|---|\n",
    );
    for point in points {
        let ours = points
            .iter()
            .find(|other| {
                other.side == Side::Ours && (other.data, other.minutes) == (point.data, point.minutes)
            })
            .map_or(f64::NAN, |ours| ours.frechet);
        _ = writeln!(
            table,
            "| {} | {} | {} | {:.1} | {:.2} | {:.1} % | {:.3} |",
            point.data,
            point.minutes,
            point.side.name(),
            point.frechet,
            ours / point.frechet,
            100.0 * point.agreement,
            point.recall,
        );
    }
    table
}

/// Plots Fréchet distance against minutes on log axes as SVG, one panel per data set.
fn drawing(points: &[Point]) -> String {
    const PANEL: f64 = 260.0;
    const HEIGHT: f64 = 240.0;
    let mut sets: Vec<&str> = points.iter().map(|point| point.data).collect();
    sets.dedup();
    let width = PANEL * sets.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 300\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>Judge Fréchet distance against minutes of training</title>\n\
         <rect width=\"{width}\" height=\"300\" fill=\"#ffffff\"/>\n"
    );
    for (panel, data) in sets.iter().enumerate() {
        let own: Vec<&Point> = points.iter().filter(|point| point.data == *data).collect();
        let (left, top) = (PANEL * panel as f64 + 40.0, 30.0);
        let ends = |value: fn(&Point) -> f64| {
            let logs = own.iter().map(|point| value(point).max(1e-3).ln());
            logs.fold((f64::MAX, f64::MIN), |(least, most), log| (least.min(log), most.max(log)))
        };
        let (minutes, frechet) = (ends(|point| point.minutes), ends(|point| point.frechet));
        let share = |log: f64, (least, most): (f64, f64)| {
            if most > least { (log - least) / (most - least) } else { 0.5 }
        };
        let x = |value: f64| left + (PANEL - 70.0) * share(value.ln(), minutes);
        let y = |value: f64| top + (HEIGHT - 50.0) * (1.0 - share(value.max(1e-3).ln(), frechet));
        _ = writeln!(svg, "<text x=\"{left}\" y=\"16\" font-weight=\"bold\" fill=\"#222222\">{data}</text>");
        for side in SIDES {
            let line: Vec<&&Point> = own.iter().filter(|point| point.side == side).collect();
            let path: Vec<String> =
                line.iter().map(|point| format!("{:.1},{:.1}", x(point.minutes), y(point.frechet))).collect();
            let colour = side.colour();
            _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for point in line {
                let (x, y) = (x(point.minutes), y(point.frechet));
                _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{:.1}</text>",
                    x + 5.0,
                    y - 5.0,
                    point.frechet
                );
            }
        }
        for point in own.iter().filter(|point| point.side == Side::Ours) {
            let x = x(point.minutes);
            _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#222222\">{} min</text>",
                top + HEIGHT - 25.0,
                point.minutes
            );
        }
    }
    for (i, side) in SIDES.iter().enumerate() {
        let x = 40.0 + 200.0 * i as f64;
        _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"284\" r=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"288\" fill=\"#222222\">{}</text>",
            side.colour(),
            x + 10.0,
            side.name()
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_short_and_end_at_the_mark() {
        let seconds = Duration::from_secs;
        let all = |active: [u64; 2], mark| next_turn(active.map(seconds).into_iter(), seconds(mark));
        assert_eq!(all([0, 0], 60), Some(TURN));
        assert_eq!(all([50, 55], 60), Some(seconds(60)));
        assert_eq!(all([60, 61], 60), None);
    }

    #[test]
    fn the_table_has_ratios_and_the_plot_one_line_per_system() {
        let point = |side, minutes, frechet| Point {
            data: "mnist",
            side,
            minutes,
            frechet,
            agreement: 0.5,
            recall: 0.25,
        };
        let points = [
            point(Side::Ours, 1.0, 20.0),
            point(Side::Plain, 1.0, 80.0),
            point(Side::Ours, 3.0, 10.0),
            point(Side::Plain, 3.0, 40.0),
        ];
        let table = table(&points);
        assert!(
            table.contains("| mnist | 1 | PyTorch, plain networks | 80.0 | 0.25 | 50.0 % | 0.250 |"),
            "{table}"
        );
        let drawing = drawing(&points);
        assert_eq!(drawing.matches("<polyline").count(), SIDES.len());
        assert_eq!(drawing.matches("<circle").count(), points.len() + SIDES.len());
    }

    /// The networks of quality.py have the numbers of the recipes.
    #[test]
    fn the_reference_matches_the_recipes() {
        let script = include_str!("../../bench/quality.py");
        for (recipe, call) in [
            (
                include_str!("../../../models/cgan-mnist.toml"),
                "TowerTrainer(64, 1, 28, (64, 48), 0.4, 4e-4, 0.998), 32, False",
            ),
            (
                include_str!("../../../models/cgan-fashion-mnist.toml"),
                "TowerTrainer(64, 1, 28, (64, 48), 0.4, 4e-4, 0.998), 32, False",
            ),
        ] {
            assert!(script.contains(call));
            for line in [
                "latent_dim = 64",
                "generator = { kind = \"tower\", width = 64 }",
                "discriminator = { kind = \"tower\", width = 48, norm = \"batch\" }",
                "weight = 0.4",
                "lr = 4e-4",
                "ema = 0.998",
                "batch_size = 32",
            ] {
                assert!(recipe.contains(line), "{line} in\n{recipe}");
            }
        }
    }
}
