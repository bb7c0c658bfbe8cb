//! `cargo xtask mpi-test`: compares runs on several processes, with every installed MPI, with the same runs
//! on one process.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Train and evaluate on several processes with every MPI; compare the bytes with one process

Usage: cargo xtask mpi-test [--short] [--resumes N] [--kills N] [--program FILE]

The command tests the launchers mpirun.openmpi, mpirun.mpich and mpirun that it finds on PATH. To
test others, set WAXWORK_TEST_MPI to their paths, separated by colons; then each of them must work.

The command trains every family, with batch norm and with spectral norm for GANs. With each MPI, 1,
2, 4 and 8 processes must write the same metrics.jsonl, samples and tensors as one process without
MPI. So must `waxwork evaluate` and `waxwork sample`. A failure must print one line. Then the
command kills one of four processes at a random moment. The others must end within five seconds,
and the run must resume with two processes to the same bytes.

Options:
  --short          Test one GAN and one VAE, with 2 and 4 processes and one kill, as CI does
  --resumes N      Number of kills after which to resume with two processes [default: 10]
  --kills N        Number of kills [default: 20]
  --program FILE   Use this program instead of building one

The run folders stay in target/mpi-test, and the judges of evaluations in target/mpi-test-cache.

Examples:
  cargo xtask mpi-test --short
  cargo xtask mpi-test --kills 200";

/// The launchers to look for by default.
const LAUNCHERS: [&str; 3] = ["mpirun.openmpi", "mpirun.mpich", "mpirun"];

/// The variable that names the launchers to test. If it is set, all of them must work.
const ASKED: &str = "WAXWORK_TEST_MPI";

/// The longest time that processes may take to end after one is killed.
const MOST_TO_END: Duration = Duration::from_secs(5);

/// The longest time that one run may take on a busy machine.
const MOST_TO_TRAIN: Duration = Duration::from_secs(300);

/// The longest time that an evaluation may take, which may train a judge first.
const MOST_TO_EVALUATE: Duration = Duration::from_secs(900);

/// The longest time until processes that fail in the same way have ended: less than the others wait for the
/// report of the first one.
const MOST_TO_FAIL: Duration = Duration::from_secs(15);

/// Numbers of samples to evaluate and to draw: more than one batch, and not a multiple of it.
const EVALUATED: &str = "230";
const DRAWN: &str = "330";

/// The name of a run of texts, which are also drawn at several temperatures.
const TEXTS: &str = "vae-texts";

/// The runs: name, recipe and settings.
const RUNS: [(&str, &str, &[&str]); 7] = [
    ("gan-batch-norm", "gan-digits", &[]),
    ("vae", "vae-digits", &[]),
    ("cvae", "cvae-digits", &[]),
    ("cgan", "cgan-digits", &[]),
    (
        "gan-spectral-norm",
        "gan-shapes",
        &[
            "model.generator={kind=\"dcgan\", channels=[64, 32, 16]}",
            "model.discriminator={kind=\"dcgan\", channels=[16, 32, 64], norm=\"spectral\"}",
        ],
    ),
    (TEXTS, "vae-phrases", &[]),
    (
        "gan-penalty",
        "gan-shapes",
        &[
            "model.generator={kind=\"dcgan\", channels=[64, 32, 16]}",
            "model.discriminator={kind=\"dcgan\", channels=[16, 32, 64]}",
            "model.augment=[\"translation\", \"cutout\"]",
            "model.penalty={kind=\"gradient\", weight=10.0}",
        ],
    ),
];

/// Settings that make runs small, with more than one checkpoint and more than one epoch.
const SMALL: [&str; 9] = [
    "train.micro_batches=8",
    "train.batch_size=32",
    "train.log_every=1",
    "train.sample_every=3",
    "train.checkpoint_every=2",
    "train.validate_every=3",
    "data.limit=200",
    "data.validation=64",
    "optimizer.ema=0.9",
];

const STEPS: &str = "6";

/// Number of the runs whose processes are killed, the first ones: a GAN, and a VAE, whose processes share the
/// measurement of the validation split.
const KILLED: usize = 2;

struct Options {
    short: bool,
    resumes: u64,
    kills: u64,
    program: Option<PathBuf>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut options = Options { short: false, resumes: 10, kills: 20, program: None };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--short" => options.short = true,
            "--resumes" => options.resumes = value()?.parse().context("`--resumes` needs a whole number")?,
            "--kills" => options.kills = value()?.parse().context("`--kills` needs a whole number")?,
            "--program" => options.program = Some(value()?.into()),
            _ => bail!("unknown argument `{arg}`; `cargo xtask mpi-test --help` lists the options"),
        }
    }
    test(&Workspace::load()?, &options)?;
    Ok(ExitCode::SUCCESS)
}

/// The step in `cargo xtask ci`.
pub(crate) fn short(workspace: &Workspace) -> Result<()> {
    test(workspace, &Options { short: true, resumes: 1, kills: 1, program: None })
}

fn test(workspace: &Workspace, options: &Options) -> Result<()> {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: this test finds processes in /proc, which exists only on Linux");
        return Ok(());
    }
    let launchers = launchers()?;
    if launchers.is_empty() {
        eprintln!(
            "skipped: there is no mpirun on PATH (run `apt-get install openmpi-bin mpich`, or set {ASKED})"
        );
        return Ok(());
    }
    let program = match &options.program {
        Some(program) => fs::canonicalize(program)?,
        None => waxwork::build(workspace, Profile::Dev, Hub::Off)?,
    };
    let folder = workspace.target.join("mpi-test");
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let bench = Bench { program, folder };
    fs::create_dir_all(bench.cache())?;
    let (runs, sizes) =
        if options.short { (&RUNS[..2], &[2, 4][..]) } else { (&RUNS[..], &[1, 2, 4, 8][..]) };
    for (name, recipe, set) in runs {
        let whole = bench.hashes(&bench.alone(name, recipe, set)?)?;
        for launcher in &launchers {
            for &size in sizes {
                let out = bench.folder.join(format!("{name}-{}-{size}", launcher.name));
                let arguments = arguments(recipe, set, STEPS, &out);
                let started = Instant::now();
                bench.finish(bench.start(launcher, size, &arguments)?, MOST_TO_TRAIN)?;
                let found = bench.hashes(&out)?;
                ensure!(
                    found == whole,
                    "{} differs from the run on one process:\n{}",
                    out.display(),
                    differing(&found, &whole)
                );
                let took = started.elapsed().as_secs_f64();
                eprintln!(
                    "{name}: {} with {size} processes gives the same bytes as one process ({took:.1} s)",
                    launcher.name
                );
            }
        }
    }
    for (name, ..) in runs {
        let run = bench.folder.join(format!("{name}-alone"));
        shared(&bench, &run, &launchers, if options.short { &[2][..] } else { &[1, 2, 4][..] })?;
    }
    for launcher in &launchers {
        failure(&bench, launcher)?;
        if !options.short {
            bench.forget("")?;
            bench.results(&bench.folder.join("vae-alone"), Some((launcher, 2)))?;
            eprintln!("{}: the first of two processes trained the judge of both", launcher.name);
        }
    }
    kills(&bench, &launchers, options)
}

/// Evaluates and samples a run on several processes, and compares the files with those of one process.
fn shared(bench: &Bench, run: &Path, launchers: &[Launcher], sizes: &[usize]) -> Result<()> {
    let expected = bench.results(run, None)?;
    for launcher in launchers {
        for &size in sizes {
            // Otherwise there would be no features left to share.
            bench.forget("features-")?;
            let started = Instant::now();
            let found = bench.results(run, Some((launcher, size)))?;
            for ((name, bytes), (_, expected)) in found.iter().zip(&expected) {
                ensure!(
                    bytes == expected,
                    "{}: {size} processes of {} write another {name} than one process",
                    run.display(),
                    launcher.name
                );
            }
            let took = started.elapsed().as_secs_f64();
            eprintln!(
                "{}: {} with {size} processes evaluates and samples with the bytes of one process ({took:.1} s)",
                run.display(),
                launcher.name
            );
        }
    }
    Ok(())
}

/// A failure that all processes find must end them with one line.
fn failure(bench: &Bench, launcher: &Launcher) -> Result<()> {
    for command in ["evaluate", "sample"] {
        let nowhere = bench.folder.join("no-such-run").display().to_string();
        let mut running = bench.start(launcher, 2, &[command.to_owned(), nowhere])?;
        let code = wait(&mut running, MOST_TO_FAIL)?;
        ensure!(code.is_some_and(|code| code != 0), "`{command}` without a run ended with {code:?}");
        let log = bench.log()?;
        let errors = log.lines().filter(|line| line.starts_with("error: ")).count();
        ensure!(errors == 1, "{}: `{command}` without a run prints:\n{log}", launcher.name);
    }
    Ok(())
}

/// Kills random processes at random moments, and resumes with another number of processes.
fn kills(bench: &Bench, launchers: &[Launcher], options: &Options) -> Result<()> {
    let arguments_of = |run: usize, out: &Path| {
        let (_, recipe, set) = RUNS[run];
        // Enough steps that most kills happen during training.
        arguments(recipe, set, "24", out)
    };
    let mut whole = Vec::new();
    for run in 0..KILLED {
        let out = bench.folder.join(format!("whole-{run}"));
        bench.finish(bench.command_alone(&arguments_of(run, &out)).spawn()?, MOST_TO_TRAIN)?;
        whole.push(bench.hashes(&out)?);
    }
    for launcher in launchers {
        let mut random = Random(7);
        // Measure how long such runs take here.
        let mut usual = Vec::new();
        for run in 0..KILLED {
            let out = bench.folder.join(format!("timed-{}-{run}", launcher.name));
            let started = Instant::now();
            bench.finish(bench.start(launcher, 4, &arguments_of(run, &out))?, MOST_TO_TRAIN)?;
            usual.push(started.elapsed());
        }
        let (mut killed, mut longest) = (0, Duration::ZERO);
        for number in 0..options.resumes.max(options.kills) {
            let run = number as usize % KILLED;
            let out = bench.folder.join(format!("killed-{}-{number}", launcher.name));
            let mut running = bench.start(launcher, 4, &arguments_of(run, &out))?;
            thread::sleep(usual[run].mul_f64(random.next()));
            let ranks = bench.processes(&out);
            if let Some(rank) = ranks.get((random.next() * ranks.len() as f64) as usize) {
                process::succeeds(Command::new("kill").args(["-9", &rank.to_string()]));
                killed += 1;
                let dead = Instant::now();
                let status = wait(&mut running, MOST_TO_END)?;
                ensure!(
                    status.is_some(),
                    "{}: the other processes did not end after one was killed",
                    out.display()
                );
                while !bench.processes(&out).is_empty() {
                    ensure!(
                        dead.elapsed() < MOST_TO_END,
                        "{}: a process is still running after one was killed",
                        out.display()
                    );
                    thread::sleep(Duration::from_millis(20));
                }
                longest = longest.max(dead.elapsed());
            } else {
                bench.finish(running, MOST_TO_TRAIN)?;
            }
            if number < options.resumes || number % 10 == 0 {
                bench.finish(bench.start(launcher, 2, &arguments_of(run, &out))?, MOST_TO_TRAIN)?;
                let found = bench.hashes(&out)?;
                ensure!(
                    found == whole[run],
                    "{}: the resumed run ended with different bytes:\n{}",
                    out.display(),
                    differing(&found, &whole[run])
                );
            }
            _ = fs::remove_dir_all(&out);
        }
        let longest = longest.as_secs_f64();
        eprintln!(
            "{}: killed one of four processes {killed} times; resumed {} times with two processes, to the same bytes as one process; all other processes ended within {longest:.1} s",
            launcher.name, options.resumes
        );
    }
    Ok(())
}

/// A launcher of processes.
struct Launcher {
    program: PathBuf,
    /// Its name in messages and folders.
    name: String,
}

/// The launchers that are installed, one per MPI library.
fn launchers() -> Result<Vec<Launcher>> {
    let asked = env::var(ASKED).ok().filter(|asked| !asked.is_empty());
    let names: Vec<String> = match &asked {
        Some(asked) => asked.split(':').map(str::to_owned).collect(),
        None => LAUNCHERS.map(str::to_owned).to_vec(),
    };
    let mut found: Vec<Launcher> = Vec::new();
    for name in names {
        let program = PathBuf::from(&name);
        let version = process::everything_printed(Command::new(&program).arg("--version"));
        let version = match version {
            Ok(version) => version,
            Err(error) if asked.is_some() => {
                return Err(error).context(format!("failed to use `{name}`, which {ASKED} names"));
            }
            Err(_) => continue,
        };
        let open_mpi = version.contains("Open MPI") || version.contains("OpenRTE");
        let family = if open_mpi { "openmpi" } else { "mpich" };
        let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let name = format!("{family}-{}", number.unwrap_or("unknown"));
        if found.iter().all(|known| known.name != name) {
            eprintln!("testing with {name}, `{}`", program.display());
            found.push(Launcher { program, name });
        }
    }
    Ok(found)
}

fn arguments(recipe: &str, set: &[&str], steps: &str, out: &Path) -> Vec<String> {
    let mut all: Vec<String> = ["train", recipe, "-q", "--steps", steps].map(str::to_owned).to_vec();
    for setting in SMALL.iter().chain(set) {
        all.extend(["--set".to_owned(), (*setting).to_owned()]);
    }
    all.extend(["--out".to_owned(), out.display().to_string(), "--continue".to_owned()]);
    all
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn command_alone(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn alone(&self, name: &str, recipe: &str, set: &[&str]) -> Result<PathBuf> {
        let out = self.folder.join(format!("{name}-alone"));
        self.finish(self.command_alone(&arguments(recipe, set, STEPS, &out)).spawn()?, MOST_TO_TRAIN)?;
        Ok(out)
    }

    fn start(&self, launcher: &Launcher, size: usize, arguments: &[String]) -> Result<Child> {
        let log = fs::File::create(self.folder.join("log.txt"))?;
        let mut command = self.command(launcher, size, arguments);
        command.stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("failed to start `{}`", launcher.program.display()))
    }

    fn command(&self, launcher: &Launcher, size: usize, arguments: &[String]) -> Command {
        let mut command = Command::new(&launcher.program);
        command.args(["-n", &size.to_string()]).arg(&self.program).args(arguments);
        // In a container, the tests run as root, with fewer processors than processes. Open MPI refuses
        // both by default.
        for (name, value) in [
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("PRTE_ALLOW_RUN_AS_ROOT", "1"),
            ("PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
            ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ] {
            command.env(name, value);
        }
        command.stdin(Stdio::null());
        command
    }

    /// What the processes of the latest launch printed.
    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("log.txt"))?)
    }

    /// The cache of evaluations. It stays between tests, because training a judge takes long.
    fn cache(&self) -> PathBuf {
        self.folder.with_file_name("mpi-test-cache")
    }

    /// Removes the files of the cache whose names begin with `prefix`.
    fn forget(&self, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(self.cache())? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name().to_string_lossy().starts_with(prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Evaluates and samples a run, on one process or on those of a launcher. Returns the names and bytes of
    /// the files that this writes.
    fn results(&self, run: &Path, on: Option<(&Launcher, usize)>) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let evaluate = ["evaluate", "--samples", EVALUATED, "-n", EVALUATED, "--importance-samples", "3"];
        let sample = ["sample", "--seed", "5", "-n", DRAWN, "--out"];
        let files: [(&str, &[&str]); 3] =
            [("metrics.json", &evaluate[..]), ("drawn.npy", &sample[..]), ("drawn.safetensors", &sample[..])];
        let mut found = Vec::new();
        for (name, words) in files {
            let file = run.join(name);
            _ = fs::remove_file(&file);
            let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            if words.contains(&"--out") {
                arguments.push(file.display().to_string());
            } else if run.ends_with(format!("{TEXTS}-alone")) {
                arguments.extend(["--temperatures", "0.5,1"].map(String::from));
            }
            arguments.push(run.display().to_string());
            let mut command = match on {
                Some((launcher, size)) => self.command(launcher, size, &arguments),
                None => self.command_alone(&arguments),
            };
            let log = fs::File::create(self.folder.join("log.txt"))?;
            command.arg("-q").env("WAXWORK_DATA_DIR", self.cache()).stdout(log.try_clone()?).stderr(log);
            self.finish(command.spawn()?, MOST_TO_EVALUATE)?;
            let (log, place) = (self.log()?, file.display().to_string());
            ensure!(log.matches(&place).count() == 1, "{place} is not reported once, but:\n{log}");
            found.push((name, fs::read(&file)?));
        }
        Ok(found)
    }

    fn finish(&self, mut running: Child, limit: Duration) -> Result<()> {
        match wait(&mut running, limit)? {
            Some(0) => Ok(()),
            Some(code) => {
                let log = fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default();
                bail!("the program failed with code {code}:\n{log}")
            }
            None => bail!("the program did not finish within {} s", limit.as_secs()),
        }
    }

    /// SHA-256 of everything that a run determines.
    fn hashes(&self, out: &Path) -> Result<String> {
        process::output(Command::new(&self.program).args(["runs", "hash"]).arg(out))
    }

    /// The processes whose run folder is `out`.
    fn processes(&self, out: &Path) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |number: &u32| {
            let text = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
            words.first() == Some(&self.program.as_os_str().as_encoded_bytes())
                && words.contains(&out.as_os_str().as_encoded_bytes())
        };
        numbers.filter(ours).collect()
    }
}

/// Waits for a process. Returns its exit code, or 128 after a signal. Kills the process and returns None if
/// it does not end within `limit`.
fn wait(running: &mut Child, limit: Duration) -> Result<Option<i32>> {
    let started = Instant::now();
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(Some(status.code().unwrap_or(128)));
        }
        if started.elapsed() > limit {
            running.kill()?;
            running.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of `found` that are not in `expected`.
fn differing(found: &str, expected: &str) -> String {
    let new: Vec<&str> = found.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    new.join("\n")
}

/// Pseudorandom numbers in [0, 1), always the same sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
