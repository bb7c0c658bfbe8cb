//! `cargo xtask bench`: compares training steps of the reference recipes with the same networks in
//! PyTorch.

mod device;
mod measure;
mod quality;
mod report;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use self::report::Rounds;
use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Benchmark training steps of the reference recipes against PyTorch

Usage: cargo xtask bench [--python PYTHON] [--threads N] [--rounds N] [--plain] [--write]
                         [RECIPE ...]
       cargo xtask bench --device DEVICE [--program FILE] [--steps N] [--batches N,N,...]
                         [--python PYTHON] [--rounds N] [RECIPE ...]
       cargo xtask bench --quality DATA_DIR [--minutes N,N,...] [--networks LIST]
                         [--python PYTHON] [--threads N] [--write] [DATA ...]

The command trains the same networks with Waxwork and with PyTorch. The two run alternately, never
at the same time, on samples of the recipe's shape that are in memory before the clock starts. The
step time is the median of a round, without the first fifth of its steps. The ratio is Waxwork's
step time divided by PyTorch's: its median, minimum and maximum over the rounds. More tables show
the phases of a step, the step time with one thread, and batch sizes from 32 to 512. The command
fails if the tensors of both sides have different sizes. Run it on an idle machine, because load
slows PyTorch's threads down most. It takes about half an hour, and five minutes with --plain and
--rounds 1.

With --device, both train DCGANs and residual networks on that device, with batch sizes from 64 to
1024, in f32 without TF32. Losses are read from the device only at every tenth step, so the step
time is a tenth of the median time between two readings. The command prints the tables and writes no
file.

With --quality, the command compares sample quality after the same training time. It trains
conditional GANs on MNIST, Fashion-MNIST and CIFAR-10 from DATA_DIR: Waxwork's recipe; in PyTorch,
the DCGANs of cgan-dcgan-mnist and gan-dcgan-cifar10, with labels; and, in PyTorch, the networks of
Waxwork's recipe. These run in turns of twenty seconds. The command measures the samples of each
after 1, 3 and 10 minutes of its own running time. This takes half an hour per data set. The results
are written to target/bench/quality/results.json. With --write, they replace those of the same data
sets in xtask/bench/quality.json, and the command writes docs/images/quality.svg and the table in
docs/benchmarks.md from that file.

Options:
  --python PYTHON   Python with torch [default: python3]
  --threads N       Number of threads, for Waxwork and for PyTorch [default: 2]
  --rounds N        Number of rounds; each runs Waxwork and PyTorch once [default: 3]
  --plain           Measure the recipes only as they are, not with one thread or other batch sizes
  --write           Also write docs/benchmarks.md
  --device DEVICE   cuda, cuda:N, metal, or cpu, to test this option without a GPU
  --program FILE    With --device: use this program instead of building one
  --steps N         With --device: steps per round, a multiple of 10, at least 40 [default: 300]
  --batches N,...   With --device: batch sizes [default: 64,128,256,512,1024]
  --minutes N,...   With --quality: training times at which to measure, such as 0.5,2
                    [default: 1,3,10]
  --networks LIST   With --quality: what to train: waxwork, plain, and best, which means Waxwork's
                    networks in PyTorch [default: waxwork,plain,best]

Examples:
  cargo xtask bench --python ~/venv/bin/python --write
  cargo xtask bench --rounds 1 --plain vae-mlp-mnist
  cargo xtask bench --device cuda --python ~/venv/bin/python
  cargo xtask bench --quality data --minutes 1,3 --python ~/venv/bin/python mnist";

/// A recipe that the PyTorch reference also implements, with a data set of the same shape that needs no
/// files, a batch size and the number of steps per round.
struct Bench {
    recipe: &'static str,
    /// The embedded recipe that Waxwork trains, with `settings`.
    of: &'static str,
    settings: &'static [&'static str],
    /// The data set's name. `text` is one that [`measure::ours`] writes.
    data: &'static str,
    batch: usize,
    steps: usize,
    /// Steps after which the work repeats: `n_critic` of the recipe.
    period: usize,
    /// Whether it is also timed with other batch sizes.
    scaled: bool,
    /// Whether sampling is timed, too.
    sampled: bool,
}

impl Bench {
    const fn plain(
        recipe: &'static str,
        data: &'static str,
        batch: usize,
        steps: usize,
        scaled: bool,
    ) -> Self {
        Self { recipe, of: recipe, settings: &[], data, batch, steps, period: 1, scaled, sampled: true }
    }
}

const BENCHES: [Bench; 14] = [
    Bench::plain("vae-mlp-mnist", "digits", 128, 400, true),
    Bench::plain("cvae-mlp-mnist", "digits", 128, 400, false),
    Bench::plain("gan-dcgan-mnist", "digits", 64, 60, true),
    Bench::plain("cgan-dcgan-mnist", "digits", 64, 60, false),
    Bench::plain("gan-dcgan-cifar10", "shapes", 64, 40, false),
    Bench::plain("cgan-digits", "digits", 32, 100, false),
    // Without the choice of the best weights, for which a judge would be trained.
    Bench {
        settings: &["train.final_weights='last'"],
        ..Bench::plain("cgan-mnist", "digits", 32, 60, false)
    },
    Bench {
        of: "cgan-mnist",
        settings: &["train.final_weights='last'"],
        ..Bench::plain("cgan-tower-cifar10", "shapes", 32, 60, false)
    },
    // Ten thousand clips would be a file of two gigabytes.
    Bench {
        recipe: "gan-clip",
        of: "gan-motions",
        settings: &[
            "model.latent_dim=32",
            "model.generator={kind='clip',width=16,features=64,motion=16}",
            "model.discriminator={kind='clip',width=16,features=64,norm='spectral'}",
            "model.loss='non-saturating'",
        ],
        data: "motions",
        batch: 16,
        steps: 40,
        period: 1,
        scaled: false,
        sampled: false,
    },
    Bench {
        recipe: "vae-clip",
        of: "vae-motions",
        settings: &[
            "model.latent_dim=32",
            "model.network={kind='clip',width=16,features=64,hidden=256,motion=16}",
            "model.activation='silu'",
            "model.likelihood={kind='gaussian',scale=0.1,learned=true}",
            "model.prior='standard'",
        ],
        data: "motions",
        batch: 16,
        steps: 60,
        period: 1,
        scaled: false,
        sampled: false,
    },
    // Sentences with as many words as those of the Penn Treebank, whose files a benchmark cannot expect.
    Bench {
        settings: &["data.text.length=83"],
        sampled: false,
        ..Bench::plain("vae-ptb", "text", 32, 30, false)
    },
    Bench { period: 2, sampled: false, ..Bench::plain("gan-phrases", "phrases", 64, 100, false) },
    Bench { sampled: false, ..Bench::plain("cgan-drums", "drums", 32, 60, false) },
    Bench { period: 2, sampled: false, ..Bench::plain("cgan-drums-wave", "drums", 32, 60, false) },
];

/// The batch sizes of scaled recipes.
const BATCHES: [usize; 5] = [32, 64, 128, 256, 512];
/// With fewer steps, a large batch would leave too few values for a median.
const LEAST_STEPS: usize = 15;

/// One configuration of a benchmark.
struct Setting<'a> {
    bench: &'static Bench,
    batch: usize,
    threads: usize,
    steps: usize,
    device: &'a str,
    /// Steps between readings of the losses.
    every: usize,
    /// Whether images are sampled after training.
    sampling: bool,
    /// Whether PyTorch compiles its networks first.
    compiled: bool,
}

impl Setting<'_> {
    /// A setting on the CPU, where every step is timed, in phases.
    fn on_cpu(bench: &'static Bench, batch: usize, threads: usize, sampling: bool) -> Self {
        // This gives about the same number of images per round for each batch size.
        let steps = (bench.steps * bench.batch / batch).clamp(LEAST_STEPS, bench.steps);
        let sampling = sampling && bench.sampled;
        Self { bench, batch, threads, steps, device: "cpu", every: 1, sampling, compiled: false }
    }

    /// A setting on the CPU against networks that `torch.compile` has compiled.
    fn beside_compiled(bench: &'static Bench, threads: usize) -> Self {
        Self { compiled: true, ..Self::on_cpu(bench, bench.batch, threads, false) }
    }

    /// Whether to time a step's phases. On a device, that would wait for it in each phase.
    fn in_phases(&self) -> bool {
        self.every == 1
    }

    /// Measures Waxwork and PyTorch alternately, `rounds` times.
    fn measure(
        &self,
        rounds: usize,
        program: &Path,
        python: &Path,
        root: &Path,
        folder: &Path,
    ) -> Result<Rounds> {
        let Self { bench, batch, threads, device, .. } = self;
        let mut measured = Vec::new();
        for _ in 0..rounds {
            let ours = measure::ours(program, self, folder)?;
            let theirs = measure::theirs(python, root, self, folder)?;
            ensure!(
                ours.sizes == theirs.sizes,
                "the networks of {} differ: Waxwork's have {}, PyTorch's {}",
                bench.recipe,
                ours.size(),
                theirs.size()
            );
            measured.push((ours, theirs));
        }
        let (ours, theirs) = measured.last().map_or((f64::NAN, f64::NAN), |(a, b)| (a.step, b.step));
        let how = if self.compiled { ", compiled" } else { "" };
        eprintln!(
            "{}, batch {batch}, {device}, {threads} threads{how}: Waxwork {:.2} ms, PyTorch {:.2} ms",
            bench.recipe,
            1e3 * ours,
            1e3 * theirs
        );
        Ok(measured)
    }
}

struct Options {
    python: PathBuf,
    threads: usize,
    rounds: usize,
    plain: bool,
    write: bool,
    device: Option<device::Options>,
    quality: Option<quality::Options>,
    recipes: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = parse(args)?;
    let workspace = Workspace::load()?;
    if let Some(on) = &options.quality {
        let torch = if on.needs_torch() { Some(torch_version(&options.python)?) } else { None };
        quality::run(&workspace, &options, on, torch.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let torch = torch_version(&options.python)?;
    if let Some(on) = &options.device {
        return device::run(&workspace, &options, on, &torch);
    }
    let program = waxwork::build(&workspace, Profile::Release, Hub::Off)?;
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder)?;

    let asked = |bench: &&Bench| {
        options.recipes.is_empty() || options.recipes.iter().any(|name| name == bench.recipe)
    };
    let chosen: Vec<&'static Bench> = BENCHES.iter().filter(asked).collect();
    let compiles = process::succeeds(Command::new("c++").arg("--version"));
    if !compiles {
        eprintln!("skipped torch.compile: it needs a C++ compiler, and there is no `c++` on PATH");
    }
    // The key is the recipe, the batch size, the threads and whether PyTorch compiles, because tables share
    // some measurements.
    let mut measured: BTreeMap<(&str, usize, usize, bool), Rounds> = BTreeMap::new();
    for setting in settings(&chosen, &options, compiles) {
        let key = (setting.bench.recipe, setting.batch, setting.threads, setting.compiled);
        if let Entry::Vacant(place) = measured.entry(key) {
            let rounds =
                setting.measure(options.rounds, &program, &options.python, &workspace.root, &folder)?;
            place.insert(rounds);
        }
    }
    let rounds =
        |bench: &Bench, batch: usize, threads: usize| &measured[&(bench.recipe, batch, threads, false)];
    let plain = |bench: &Bench| rounds(bench, bench.batch, options.threads);
    let compiled = |bench: &Bench| measured.get(&(bench.recipe, bench.batch, options.threads, true));

    let mut tables: String = report::HEAD.to_owned();
    tables.extend(chosen.iter().map(|bench| report::row(bench, plain(bench), compiled(bench))));
    tables += "\n## Where the time of a step goes\n\n";
    tables += &report::phases(&chosen.iter().map(|bench| (*bench, plain(bench))).collect::<Vec<_>>());
    if !options.plain {
        tables += "\n## Threads\n\n";
        let recipes = chosen.iter().map(|bench| (*bench, rounds(bench, bench.batch, 1), plain(bench)));
        tables += &report::threads(options.threads, &recipes.collect::<Vec<_>>());
        let of_each = |bench: &&'static Bench| {
            BATCHES.map(|batch| (bench.recipe, batch, rounds(bench, batch, options.threads)))
        };
        let rows: Vec<_> = chosen.iter().filter(|bench| bench.scaled).flat_map(of_each).collect();
        if !rows.is_empty() {
            tables += "\n## Batches\n\n";
            tables += &report::batches(&rows);
        }
    }
    print!("{tables}");
    if options.write {
        let path = workspace.root.join("docs/benchmarks.md");
        report::replace_steps(&path, &report::document(&tables, &options, &torch)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The version of PyTorch.
fn torch_version(python: &Path) -> Result<String> {
    let mut command = Command::new(python);
    let version = process::output(command.args(["-c", "import torch; print(torch.__version__)"]))
        .context("failed to import torch; name a Python that has it with `--python`")?;
    Ok(version.trim().to_owned())
}

/// All settings to measure. The unchanged recipes come first.
fn settings(chosen: &[&'static Bench], options: &Options, compiles: bool) -> Vec<Setting<'static>> {
    let threads = options.threads;
    let plain = chosen.iter().map(|bench| Setting::on_cpu(bench, bench.batch, threads, true));
    let mut settings: Vec<Setting<'_>> = plain.collect();
    if compiles {
        settings.extend(chosen.iter().map(|bench| Setting::beside_compiled(bench, threads)));
    }
    if options.plain {
        return settings;
    }
    settings.extend(chosen.iter().map(|bench| Setting::on_cpu(bench, bench.batch, 1, false)));
    for bench in chosen.iter().filter(|bench| bench.scaled) {
        settings.extend(BATCHES.map(|batch| Setting::on_cpu(bench, batch, threads, false)));
    }
    settings
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        python: "python3".into(),
        threads: 2,
        rounds: 3,
        plain: false,
        write: false,
        device: None,
        quality: None,
        recipes: Vec::new(),
    };
    let (mut minutes, mut sides) = (None, None);
    let (mut device, mut on) = (None, device::Options::default());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        let number = |text: &str| -> Result<usize> {
            let number = text.parse::<usize>().ok().filter(|number| *number > 0);
            number.with_context(|| format!("`{arg}` needs a whole number of at least 1, not `{text}`"))
        };
        match arg.as_str() {
            "--python" => options.python = value()?.into(),
            "--threads" => options.threads = number(value()?)?,
            "--rounds" => options.rounds = number(value()?)?,
            "--plain" => options.plain = true,
            "--write" => options.write = true,
            "--device" => device = Some(value()?.clone()),
            "--program" => on.program = Some(value()?.into()),
            "--steps" => on.steps = number(value()?)?,
            "--quality" => {
                options.quality = Some(quality::Options::new(value()?.into()));
            }
            "--networks" => sides = Some(quality::Side::listed(value()?)?),
            "--minutes" => {
                let marks = value()?.split(',').map(|text| {
                    let mark = text.parse::<f64>().ok().filter(|mark| *mark > 0.0 && mark.is_finite());
                    mark.with_context(|| format!("`--minutes` needs positive numbers, not `{text}`"))
                });
                let mut marks = marks.collect::<Result<Vec<f64>>>()?;
                marks.sort_by(f64::total_cmp);
                minutes = Some(marks);
            }
            "--batches" => on.batches = value()?.split(',').map(number).collect::<Result<_>>()?,
            other if other.starts_with('-') => {
                bail!("unknown option `{other}`; `cargo xtask bench --help` lists the options")
            }
            recipe => options.recipes.push(recipe.to_owned()),
        }
    }
    match &mut options.quality {
        Some(quality) => {
            if let Some(minutes) = minutes {
                quality.marks = minutes;
            }
            if let Some(sides) = sides {
                quality.sides = sides;
            }
        }
        None if minutes.is_some() => bail!("`--minutes` needs `--quality`"),
        None if sides.is_some() => bail!("`--networks` needs `--quality`"),
        None => {}
    }
    if options.quality.is_some() {
        if options.plain || device.is_some() || on != device::Options::default() {
            bail!(
                "`--quality` can be combined only with `--minutes`, `--networks`, `--python`, `--threads` and \
                 `--write`"
            );
        }
        quality::check(&options.recipes)?;
        return Ok(options);
    }
    let known: &[Bench] = if device.is_some() { &device::BENCHES } else { &BENCHES };
    let is_known = |name: &&String| known.iter().any(|bench| bench.recipe == *name);
    if let Some(unknown) = options.recipes.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = known.iter().map(|bench| bench.recipe).collect();
        bail!("unknown recipe `{unknown}`; known recipes: {}", known.join(", "));
    }
    match device {
        Some(device) if options.plain || options.write => {
            bail!("`--device {device}` cannot be combined with `--plain` or `--write`")
        }
        Some(device) => options.device = Some(device::Options { device, ..on }.checked()?),
        None if on != device::Options::default() => {
            bail!("`--program`, `--steps` and `--batches` need `--device`")
        }
        None => {}
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options> {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments() {
        let given = options("--rounds 2 vae-mlp-mnist --python x").unwrap();
        assert_eq!((given.rounds, given.recipes.len(), given.python), (2, 1, PathBuf::from("x")));
        assert!(options("vae-digits").is_err() && options("--threads").is_err());
        assert!(options("--rounds 0").is_err_and(|error| error.to_string().contains("--rounds")));
        assert!(options("--plain").unwrap().device.is_none() && options("--steps 40").is_err());
    }

    #[test]
    fn arguments_of_a_device() {
        let given = options("--device cuda:1 --steps 40 --batches 64,96 gan-residual").unwrap();
        let on = given.device.unwrap();
        assert_eq!((on.device.as_str(), on.steps, on.batches), ("cuda:1", 40, vec![64, 96]));
        assert_eq!(options("--device cuda").unwrap().device.unwrap().batches, [64, 128, 256, 512, 1024]);
        for wrong in ["--steps 45", "--steps 30", "--batches 0", "--batches x", "--write", "vae-mlp-mnist"] {
            assert!(options(&format!("--device cuda {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_of_quality() {
        let given = options("--quality data --minutes 3,0.5 cifar10").unwrap();
        let quality = given.quality.unwrap();
        assert_eq!((quality.data_dir, quality.marks), (PathBuf::from("data"), vec![0.5, 3.0]));
        assert_eq!(options("--quality data").unwrap().quality.unwrap().marks, [1.0, 3.0, 10.0]);
        let chosen = options("--networks plain,waxwork --quality data").unwrap().quality.unwrap();
        assert_eq!(chosen.sides, quality::Side::listed("waxwork,plain").unwrap());
        for wrong in [
            "--minutes 1",
            "--networks plain",
            "--quality d --networks torch",
            "--quality d --minutes 0",
            "--quality d vae-mlp-mnist",
            "--quality d --plain",
        ] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn large_batches_have_fewer_steps_but_enough_for_a_median() {
        let steps = |batch| Setting::on_cpu(&BENCHES[2], batch, 1, false).steps;
        assert_eq!(BATCHES.map(steps), [60, 60, 30, 15, 15]);
    }

    #[test]
    fn the_reference_has_every_recipe() {
        let script = include_str!("../bench/reference.py");
        let (_, table) = script.split_once("TRAINERS = {").unwrap();
        let (table, _) = table.split_once('}').unwrap();
        for bench in BENCHES.iter().chain(&device::BENCHES) {
            assert!(table.contains(&format!("    \"{}\": ", bench.recipe)), "{}", bench.recipe);
        }
    }

    #[test]
    fn the_work_of_a_step_repeats_after_the_updates_of_the_critic() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        for bench in &BENCHES {
            let text = fs::read_to_string(models.join(format!("{}.toml", bench.of))).unwrap();
            let recipe: serde_json::Value = toml::from_str(&text).unwrap();
            let n_critic = recipe["model"]["n_critic"].as_u64().unwrap_or(1);
            assert_eq!(n_critic, bench.period as u64, "{}", bench.recipe);
        }
    }
}
