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
use serde_json::{Map, Value, json};

use super::report;
use crate::files;
use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

/// The data sets, each with Waxwork's recipe, whose networks `best` in quality.py has.
const CONTESTS: [(&str, &str); 3] =
    [("mnist", "cgan-mnist"), ("fashion-mnist", "cgan-fashion-mnist"), ("cifar10", "cgan-cifar10")];

/// How long one process runs before the next takes its turn.
const TURN: Duration = Duration::from_secs(20);
/// More steps than any machine takes in this time.
const ENDLESS: &str = "100000000";
/// Samples per measurement.
const SAMPLES: &str = "10000";

/// The path in the workspace of the results that docs/benchmarks.md shows.
const KEPT: &str = "xtask/bench/quality.json";

/// The options of `--quality`.
pub(super) struct Options {
    pub(super) data_dir: PathBuf,
    /// When to measure, in minutes, ascending.
    pub(super) marks: Vec<f64>,
    /// The systems to compare.
    pub(super) sides: Vec<Side>,
}

impl Options {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, marks: vec![1.0, 3.0, 10.0], sides: SIDES.to_vec() }
    }

    pub(super) fn needs_torch(&self) -> bool {
        self.sides.iter().any(|side| *side != Side::Ours)
    }
}

/// A system to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    /// PyTorch with the plain reference networks.
    Plain,
    /// PyTorch with the networks of Waxwork's recipe.
    Best,
}

const SIDES: [Side; 3] = [Side::Ours, Side::Plain, Side::Best];

impl Side {
    /// The systems of a list such as `waxwork,best`, without repetitions, in the order of tables.
    pub(super) fn listed(list: &str) -> Result<Vec<Self>> {
        let names: Vec<&str> = list.split(',').map(str::trim).collect();
        let known = SIDES.map(Self::key);
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            bail!("unknown networks `{unknown}`; `--networks` takes {}", known.join(", "));
        }
        Ok(SIDES.into_iter().filter(|side| names.contains(&side.key())).collect())
    }

    /// The name in options and files.
    fn key(self) -> &'static str {
        match self {
            Self::Ours => "waxwork",
            Self::Plain => "plain",
            Self::Best => "best",
        }
    }

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
#[derive(Clone, Debug, PartialEq)]
struct Point {
    data: &'static str,
    side: Side,
    minutes: f64,
    frechet: f64,
    agreement: f64,
    recall: f64,
}

impl Point {
    fn to_json(&self) -> Value {
        json!({
            "networks": self.side.key(),
            "minutes": self.minutes,
            "judge_frechet": self.frechet,
            "judge_agreement": self.agreement,
            "judge_recall": self.recall,
        })
    }

    fn from_json(data: &'static str, value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key)?.as_f64();
        Some(Self {
            data,
            side: SIDES.into_iter().find(|side| value["networks"] == side.key())?,
            minutes: number("minutes")?,
            frechet: number("judge_frechet")?,
            agreement: number("judge_agreement")?,
            recall: number("judge_recall")?,
        })
    }
}

/// The measurements on one data set, and their setting.
#[derive(Clone, Debug, PartialEq)]
struct Contest {
    data: &'static str,
    /// The processor, the number of threads, PyTorch's version and the date, in words.
    setting: String,
    points: Vec<Point>,
}

impl Contest {
    /// Reads the stored results, in the order of [`CONTESTS`]; none if there is no such file.
    fn read_all(path: &Path) -> Result<Vec<Self>> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Self::from_text(&text).with_context(|| format!("{} has an unexpected structure", path.display()))
    }

    fn from_text(text: &str) -> Option<Vec<Self>> {
        let value: Value = serde_json::from_str(text).ok()?;
        let mut contests = Vec::new();
        for (data, _) in CONTESTS {
            let Some(contest) = value.as_object()?.get(data) else { continue };
            let points = contest.get("points")?.as_array()?.iter().map(|point| Point::from_json(data, point));
            let setting = contest.get("setting")?.as_str()?.to_owned();
            contests.push(Self { data, setting, points: points.collect::<Option<_>>()? });
        }
        Some(contests)
    }

    fn write_all(contests: &[Self], path: &Path) -> Result<()> {
        let of = |contest: &Self| {
            let points: Vec<Value> = contest.points.iter().map(Point::to_json).collect();
            (contest.data.to_owned(), json!({ "setting": contest.setting, "points": points }))
        };
        let all: Map<String, Value> = contests.iter().map(of).collect();
        let text = serde_json::to_string_pretty(&all)? + "\n";
        files::write(path, &text)
    }

    /// Replaces the results of the data sets in `new`, and keeps those of others.
    fn merged(kept: Vec<Self>, new: Vec<Self>) -> Vec<Self> {
        let place = |contest: &Self| CONTESTS.iter().position(|(data, _)| *data == contest.data);
        let mut all = kept;
        all.retain(|kept| new.iter().all(|new| new.data != kept.data));
        all.extend(new);
        all.sort_by_key(place);
        all
    }
}

/// A system that trains on one data set.
struct Contender<'a> {
    side: Side,
    data: &'static str,
    recipe: &'static str,
    /// The complete recipe as JSON.
    complete: &'a str,
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
            let mut command = Command::new(self.python);
            command.arg(self.root.join("xtask/bench/quality.py")).args([self.side.key(), self.data]);
            command.arg(&self.options.data_dir).arg(&self.folder).arg(&self.threads);
            if self.side == Side::Best {
                command.arg(self.complete);
            }
            command
        };
        let child = command.stdout(Stdio::null()).spawn().context("failed to start a training process")?;
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

/// Compares the systems on all data sets, and prints the table. With `--write`, also writes the results, the
/// plot, and the section in docs/benchmarks.md.
pub(super) fn run(
    workspace: &Workspace,
    options: &super::Options,
    on: &Options,
    torch: Option<&str>,
) -> Result<()> {
    if !cfg!(unix) {
        bail!(
            "`--quality` needs Unix signals to stop and continue processes; this system does not have them"
        );
    }
    let program = waxwork::build(workspace, Profile::Release, Hub::Off)?;
    let folder = workspace.target.join("bench/quality");
    let mut contests = Vec::new();
    for (data, recipe) in CONTESTS {
        if !options.recipes.is_empty() && !options.recipes.iter().any(|name| name == data) {
            continue;
        }
        let complete = complete(&program, recipe)?;
        let mut contenders = Vec::new();
        for &side in &on.sides {
            let folder = folder.join(data).join(side.key());
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            contenders.push(Contender {
                side,
                data,
                recipe,
                complete: &complete,
                folder,
                program: &program,
                python: &options.python,
                root: &workspace.root,
                options: on,
                threads: options.threads.to_string(),
                child: None,
                active: Duration::ZERO,
            });
        }
        let torch = torch.map(|version| format!(", PyTorch {version} (eager)")).unwrap_or_default();
        let setting =
            format!("{}, {} threads{torch}, {}", report::processor(), options.threads, report::date()?);
        contests.push(Contest { data, setting, points: contest(&mut contenders, &on.marks)? });
        // After an interruption, only the results of the current data set are lost.
        Contest::write_all(&contests, &folder.join("results.json"))?;
    }
    if !options.write {
        print!("{}", table(&all_points(&contests)));
        eprintln!("the results are in {}", folder.join("results.json").display());
        return Ok(());
    }
    let kept = workspace.root.join(KEPT);
    let contests = Contest::merged(Contest::read_all(&kept)?, contests);
    Contest::write_all(&contests, &kept)?;
    let points = all_points(&contests);
    let picture = workspace.root.join("docs/images/quality.svg");
    files::write(&picture, &drawing(&points))?;
    print!("{}", table(&points));
    let settings = contests
        .iter()
        .map(|contest| format!("| {} | {} |\n", contest.data, contest.setting))
        .collect::<String>();
    report::replace_quality(&workspace.root.join("docs/benchmarks.md"), &settings, &table(&points))
}

/// The complete recipe as JSON, which quality.py reads.
fn complete(program: &Path, recipe: &str) -> Result<String> {
    let text = process::output(Command::new(program).args(["recipes", "show", recipe]))?;
    as_json(&text).with_context(|| format!("`waxwork recipes show {recipe}` printed no recipe"))
}

fn as_json(recipe: &str) -> Result<String> {
    Ok(toml::from_str::<Value>(recipe)?.to_string())
}

fn all_points(contests: &[Contest]) -> Vec<Point> {
    contests.iter().flat_map(|contest| contest.points.iter().cloned()).collect()
}

/// Lets the systems train in turns, and measures each of them at every training time.
fn contest(contenders: &mut [Contender<'_>], marks: &[f64]) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for &minutes in marks {
        let mark = Duration::from_secs_f64(60.0 * minutes);
        while let Some(turn) = next_turn(contenders.iter().map(|one| one.active), mark) {
            for contender in &mut *contenders {
                contender.run_until(turn)?;
            }
        }
        for contender in &mut *contenders {
            points.push(contender.measure(minutes)?);
        }
    }
    Ok(points)
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
            .map_or_else(|| "–".to_owned(), |ours| format!("{:.2}", ours.frechet / point.frechet));
        _ = writeln!(
            table,
            "| {} | {} | {} | {:.1} | {ours} | {:.1} % | {:.3} |",
            point.data,
            point.minutes,
            point.side.name(),
            point.frechet,
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
    let sides: Vec<Side> =
        SIDES.into_iter().filter(|side| points.iter().any(|point| point.side == *side)).collect();
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
        for &side in &sides {
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
        // All sides are measured at the same times.
        for point in own.iter().filter(|point| Some(&point.side) == sides.first()) {
            let x = x(point.minutes);
            _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#222222\">{} min</text>",
                top + HEIGHT - 25.0,
                point.minutes
            );
        }
    }
    for (i, side) in sides.iter().enumerate() {
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
        assert_eq!(drawing.matches("<polyline").count(), 2);
        assert_eq!(drawing.matches("<circle").count(), points.len() + 2);
        let alone = super::table(&points[1..2]);
        assert!(alone.contains("| 80.0 | – | 50.0 %"), "{alone}");
    }

    #[test]
    fn networks_are_chosen_by_name() {
        assert_eq!(Side::listed("best, waxwork,best").unwrap(), [Side::Ours, Side::Best]);
        let error = Side::listed("waxwork,bets").unwrap_err().to_string();
        let mut options = Options::new("data".into());
        assert!(options.needs_torch());
        options.sides = Side::listed("waxwork").unwrap();
        assert!(!options.needs_torch());
        assert_eq!(error, "unknown networks `bets`; `--networks` takes waxwork, plain, best");
    }

    #[test]
    fn results_survive_their_file_and_new_ones_replace_old_ones() {
        let contest = |data, frechet| {
            let point =
                Point { data, side: Side::Plain, minutes: 0.5, frechet, agreement: 0.5, recall: 0.25 };
            Contest { data, setting: "a processor, 2 threads".into(), points: vec![point] }
        };
        let folder = std::env::temp_dir().join(format!("waxwork-quality-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("quality.json");
        assert_eq!(Contest::read_all(&path).unwrap(), []);
        let old = vec![contest("mnist", 1.0), contest("cifar10", 2.0)];
        let merged = Contest::merged(old, vec![contest("fashion-mnist", 3.0), contest("mnist", 4.0)]);
        let expected = [contest("mnist", 4.0), contest("fashion-mnist", 3.0), contest("cifar10", 2.0)];
        assert_eq!(merged, expected);
        Contest::write_all(&merged, &path).unwrap();
        assert_eq!(Contest::read_all(&path).unwrap(), expected);
        fs::write(&path, "{\"mnist\": {}}").unwrap();
        assert!(Contest::read_all(&path).unwrap_err().to_string().contains("unexpected structure"));
        fs::remove_dir_all(&folder).unwrap();
    }

    /// quality.py supports every kind of network, loss and conditioning of the recipes, and stops with an
    /// error for any other.
    #[test]
    fn the_reference_supports_the_recipes() {
        let script = include_str!("../../bench/quality.py");
        let (_, table) = script.split_once("SUPPORTED = {").unwrap();
        let (table, _) = table.split_once('}').unwrap();
        let supports = |key: &str, kind: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(&format!("\"{key}\"")));
            line.is_some_and(|line| line.contains(&format!("\"{kind}\"")))
        };
        for recipe in [
            include_str!("../../../models/cgan-mnist.toml"),
            include_str!("../../../models/cgan-fashion-mnist.toml"),
            include_str!("../../../models/cgan-cifar10.toml"),
        ] {
            let recipe: Value = serde_json::from_str(&as_json(recipe).unwrap()).unwrap();
            assert_eq!(recipe["model"]["family"], "cgan");
            for key in ["generator", "discriminator", "conditioning", "penalty", "loss", "init"] {
                let value = &recipe["model"][key];
                if let Some(kind) = value["kind"].as_str().or_else(|| value.as_str()) {
                    assert!(supports(key, kind), "{key} = {value}");
                }
            }
        }
    }
}
