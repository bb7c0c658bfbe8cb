//! Waxwork and PyTorch on a device: images per second by batch size.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use super::report::{self, Rounds};
use super::{Bench, Setting};
use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

/// Steps between readings of the losses.
const EVERY: usize = 10;

/// The networks of DCGAN and of spectral normalisation (Miyato et al. 2018, table 3).
pub(super) const BENCHES: [Bench; 3] = [
    Bench::plain("gan-dcgan-mnist", "digits", 64, 0, true),
    Bench::plain("gan-dcgan-cifar10", "shapes", 64, 0, true),
    Bench {
        recipe: "gan-residual",
        of: "gan-dcgan-cifar10",
        settings: &[
            "model.generator={kind='residual',channels=256,blocks=3}",
            "model.discriminator={kind='residual',channels=128,blocks=4,norm='spectral'}",
            "model.loss='hinge'",
        ],
        data: "shapes",
        batch: 64,
        steps: 0,
        period: 1,
        scaled: true,
        sampled: true,
    },
];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) device: String,
    pub(super) program: Option<PathBuf>,
    pub(super) steps: usize,
    pub(super) batches: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: String::new(), program: None, steps: 300, batches: vec![64, 128, 256, 512, 1024] }
    }
}

impl Options {
    pub(super) fn checked(self) -> Result<Self> {
        ensure!(
            self.steps >= 4 * EVERY && self.steps.is_multiple_of(EVERY),
            "`--steps` must be a multiple of {EVERY}, at least {}",
            4 * EVERY
        );
        Ok(self)
    }
}

pub(super) fn run(
    workspace: &Workspace,
    options: &super::Options,
    on: &Options,
    version: &str,
) -> Result<ExitCode> {
    // Check this before the build, which takes a long time.
    let name = name_of_device(&options.python, &on.device)?;
    let program = match &on.program {
        Some(program) => program.clone(),
        None => waxwork::build_for(workspace, Profile::Release, Hub::Off, &on.device)?,
    };
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder)?;
    let asked = |bench: &&Bench| {
        options.recipes.is_empty() || options.recipes.iter().any(|name| name == bench.recipe)
    };
    let mut measured: Vec<(&str, usize, Rounds)> = vec![];
    for bench in BENCHES.iter().filter(asked) {
        for &batch in &on.batches {
            let (steps, threads, device) = (on.steps, options.threads, on.device.as_str());
            let setting = Setting {
                bench,
                batch,
                threads,
                steps,
                device,
                every: EVERY,
                sampling: false,
                compiled: false,
            };
            let rounds =
                setting.measure(options.rounds, &program, &options.python, &workspace.root, &folder)?;
            measured.push((bench.recipe, batch, rounds));
        }
    }
    println!("{name}, PyTorch {version} (eager), f32 without TF32, {} rounds\n", options.rounds);
    let rows: Vec<_> = measured.iter().map(|(recipe, batch, rounds)| (*recipe, *batch, rounds)).collect();
    print!("{}", report::batches(&rows));
    Ok(ExitCode::SUCCESS)
}

/// Returns PyTorch's name for the device. Fails if PyTorch cannot use it, because then there is nothing to
/// compare.
fn name_of_device(python: &PathBuf, device: &str) -> Result<String> {
    let code = match device.split(':').next() {
        Some("cpu") => return Ok("the CPU".into()),
        Some("cuda") => {
            let index = device.split_once(':').map_or("0", |(_, index)| index);
            ensure!(index.parse::<usize>().is_ok(), "`{index}` is not a GPU number");
            format!(
                "import torch as t; print(t.cuda.get_device_name({index}) if t.cuda.device_count() > {index} else '')"
            )
        }
        Some("metal") => {
            "import torch as t; print('Metal' if t.backends.mps.is_available() else '')".to_owned()
        }
        _ => bail!("unknown device `{device}`; `--device` takes cpu, cuda, cuda:N or metal"),
    };
    let name = process::output(Command::new(python).args(["-c", &code]))
        .context("failed to query PyTorch for the device")?;
    match name.trim() {
        "" => bail!("PyTorch cannot use device `{device}` on this machine, so there is nothing to compare"),
        name => Ok(name.to_owned()),
    }
}
