//! Arguments of the commands that train: `train` and `repeat`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};
use waxwork_core::Precision;

use super::shared::{DataDirArg, DeviceArg, RunArg, SetArg};
use super::values::{duration, precision};
use crate::completion;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork train vae-digits --steps 200
  waxwork train vae-mlp-mnist --data-dir ~/data --epochs 10 --out runs/plain
  waxwork train vae-digits --seeds 3 --out runs/three
  waxwork train gan-shapes --data folder --data-dir pictures --set data.folder.size=32
  waxwork train gan-mnist --data-dir ~/data --dry-run
  waxwork train my-recipe.toml --set model.latent_dim=8 --set train.checkpoint_every=100
  waxwork train --resume runs/plain
  waxwork train vae-digits --out runs/plain --continue
  mpirun -n 4 waxwork train gan-shapes --set train.micro_batches=4
  waxwork train --fork runs/plain --set optimizer.lr=1e-4 --steps 1000

Several processes:
  mpirun and srun start one run on several processes, which share every batch and give the same
  bytes as one process. `train.micro_batches` is the number of parts that each batch is split
  into.

Interruption:
  Ctrl-C and SIGTERM stop the run after the current step, with a checkpoint; `waxwork train
  --resume RUN` finishes it. The exit code is 130. A second Ctrl-C stops at once, without a
  checkpoint.")]
pub(crate) struct TrainArguments {
    /// Recipe name, TOML file, or run folder whose recipe to use [default: vae-digits]
    ///
    /// `waxwork recipes list` lists the recipes. With --resume or --fork, the default is the recipe of that run.
    #[arg(value_name = "RECIPE|FILE.toml|RUN", add = ArgValueCompleter::new(completion::recipes))]
    pub(crate) recipe: Option<String>,

    /// Train on the data set NAME instead of the recipe's
    ///
    /// NAME is a data set listed by `waxwork data list`, `folder` for your own images (with --data-dir), or
    /// `hf:OWNER/NAME` for images, sounds or texts on the Hugging Face Hub.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::data_sets))]
    pub(crate) data: Option<String>,

    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,

    /// Skip files that cannot be decoded, and warn about them
    ///
    /// Without it, the first such file is an error. Sets the key `data.folder.skip_unreadable`; for sounds,
    /// `data.sound.skip_unreadable`; for clips, `data.clips.skip_unreadable`.
    #[arg(long)]
    pub(crate) skip_unreadable: bool,

    /// Write the run to the new folder RUN [default: runs/RECIPE-TIME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath, conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) set: SetArg,

    /// Train for N epochs (passes over the training images)
    ///
    /// Replaces the length that the recipe gives in `train.epochs` or `train.steps`.
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub(crate) epochs: Option<u64>,

    /// Train for N steps (updates, each on one batch)
    ///
    /// Replaces the length that the recipe gives in `train.epochs` or `train.steps`.
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,

    /// Seed all randomness with N
    ///
    /// Sets the key `train.seed`. The same recipe, seed and version give the same bytes, for any number of threads.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Train N runs in sequence, with consecutive seeds
    ///
    /// The seeds are SEED, SEED+1, …; the runs are written to RUN-seed-SEED, RUN-seed-SEED+1, …. SEED is the
    /// recipe's or that of --seed. `waxwork compare` then shows the mean and standard deviation of their
    /// metrics.
    #[arg(long, value_name = "N", conflicts_with_all = ["resume", "max_time"], value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,

    #[command(flatten)]
    pub(crate) device: DeviceArg,

    /// Compute layers in this precision: f32; on a GPU also bf16 or f16
    ///
    /// Parameters stay in f32. Sets the key `train.dtype`. [default: that of the recipe]
    #[arg(long, value_name = "TYPE", value_parser = precision, conflicts_with = "resume")]
    pub(crate) dtype: Option<Precision>,

    /// Stop after TIME with a checkpoint, for example 90s, 15m or 2h
    ///
    /// The run can be resumed, as after Ctrl-C, but the exit code is 0. A number without a unit is in seconds.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,

    /// Print the complete recipe and the estimated cost; train nothing
    ///
    /// The time, memory and disk space that the run would need are estimated from a few measured steps. No run is
    /// written.
    #[arg(long, conflicts_with_all = ["resume", "max_time"])]
    pub(crate) dry_run: bool,

    /// At the end, print the time that each phase of a step took
    ///
    /// The phases are data, forward pass, backward pass, optimiser, and the rest.
    #[arg(long)]
    pub(crate) profile: bool,

    /// Resume an interrupted run from its newest checkpoint
    ///
    /// The run finishes with its own recipe. Settings that differ from it are refused, and the error names
    /// them. To continue with other settings, use --fork.
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) resume: Option<PathBuf>,

    /// Start the run in --out, or resume it if it exists
    ///
    /// Starts a new run if the folder does not exist, resumes the run if it does, and does nothing if it is
    /// finished. A scheduler can therefore repeat the same command after any interruption.
    #[arg(long = "continue", requires = "out", conflicts_with_all = ["resume", "seeds", "dry_run"])]
    pub(crate) go_on: bool,

    /// Start a new run from the weights of RUN
    ///
    /// The recipe is that of RUN, changed as the other options say. The new run counts its steps from 0.
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath, conflicts_with = "resume")]
    pub(crate) fork: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork repeat runs/RUN
  waxwork repeat runs/RUN --out runs/again

The comparison covers metrics.jsonl, every tensor of the last checkpoint and of the final model, and
the sample grids.

Exit codes:
  0   the bytes agree
  3   the bytes differ
  1   the run could not be repeated")]
pub(crate) struct RepeatArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Write the new run to the folder NEW [default: RUN-repeated]
    #[arg(long, value_name = "NEW", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

/// A kind of prior that is fitted after training.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FittedKind {
    /// A mixture of Gaussians with full covariances
    Gmm,
    /// A masked autoregressive flow
    Maf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork fit-prior runs/RUN
  waxwork fit-prior runs/RUN --components 30 --out runs/fitted
  waxwork fit-prior runs/RUN --kind maf

The decoder of a VAE is trained on latents of images, but sampled with latents drawn from the
prior. Where the two differ, samples are worse than reconstructions, and a fitted prior helps. It is
part of the new run: `sample`, `evaluate`, `interpolate` and `export --part prior` use it.")]
pub(crate) struct FitPriorArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Fit a prior of this kind
    #[arg(long, value_enum, default_value_t = FittedKind::Gmm)]
    pub(crate) kind: FittedKind,
    /// Number of Gaussians, per class if the model is conditional [default: 10]
    ///
    /// Only for `--kind gmm`.
    #[arg(long, value_name = "N")]
    pub(crate) components: Option<usize>,
    /// Seed the fit, and the latents that are drawn for it, with N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Write the new run to the folder NEW [default: RUN-prior]
    #[arg(long, value_name = "NEW", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork sweep rates.toml > jobs.txt
  waxwork sweep rates.toml --run
  waxwork compare --evaluate runs/rates

A sweep file:
  recipe = \"vae-digits\"
  seeds = [0, 1]

  [grid]
  \"optimizer.lr\" = [1e-3, 2e-3]

  [random]
  draws = 5
  \"model.latent_dim\" = { from = 4, to = 64 }

Each job is one `waxwork train … --continue`, which you can repeat after any interruption.")]
pub(crate) struct SweepArguments {
    /// TOML file with a recipe and the values to try for its keys
    #[arg(value_name = "SWEEP.toml", value_hint = ValueHint::FilePath)]
    pub(crate) sweep: PathBuf,
    /// Run the jobs on this machine, one after another
    #[arg(long, conflicts_with_all = ["slurm", "parallel"])]
    pub(crate) run: bool,
    /// Write the list of jobs and a script for a SLURM job array
    ///
    /// Both are written in the folder of the runs. A job close to its time limit stops with a checkpoint,
    /// and the script requeues it.
    #[arg(long, conflicts_with = "parallel")]
    pub(crate) slurm: bool,
    /// Write the list of jobs, and print a command for GNU parallel
    #[arg(long)]
    pub(crate) parallel: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}
