//! The parsed command line: the options of the program and its commands, with one file per group of commands.

mod exchange;
mod images;
mod listing;
mod measuring;
mod shared;
#[cfg(test)]
mod tests;
mod training;
mod values;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use waxwork_distributed::Launch;

pub(crate) use self::exchange::{ExportArguments, ExportFormat, ExportPart, ImportArguments};
pub(crate) use self::exchange::{PullArguments, PushArguments};
pub(crate) use self::images::{CompleteArguments, DecodeArguments, EncodeArguments, InterpolateArguments};
pub(crate) use self::images::{PartOfImage, ReconstructArguments, SampleArguments};
pub(crate) use self::images::{TraverseArguments, WantedArgs};
pub(crate) use self::listing::{DataCommand, RUNS, RecipesCommand, RunsCommand};
pub(crate) use self::measuring::{CompareArguments, EvaluateArguments, RateArguments, ReportArguments};
pub(crate) use self::training::{
    FitPriorArguments, FittedKind, RepeatArguments, SweepArguments, TrainArguments,
};
pub(crate) use self::values::Samples;

/// Train, sample and evaluate generative models of images, tables, sounds and texts
///
/// Waxwork trains GANs and VAEs, with and without class labels, and measures what they make. A recipe names the model, the
/// data set and the training settings; training writes a run folder, which the other commands work on.
#[derive(Debug, Parser)]
#[command(name = "waxwork", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Use `waxwork COMMAND -h` for the options of a command, and `--help` for details and examples."
)]
#[command(after_long_help = "\
Examples:
  waxwork train vae-digits                      train on embedded data; no files needed
  waxwork train vae-mnist --data-dir ~/data     train on the MNIST files in a folder
  waxwork sample runs/RUN -n 100 --out grid.png
  waxwork evaluate runs/RUN
  waxwork compare runs/A runs/B

Results go to standard output; progress, warnings and errors go to standard error.

Exit codes:
  0     success
  1     failure; one line says why
  2     the command line is not valid
  3     the bytes differ (repeat, runs diff)
  130   training was interrupted and wrote a checkpoint

Environment:
  WAXWORK_DATA_DIR   folder of data sets and caches [default: `waxwork` in the user's cache folder]
  WAXWORK_MPI        MPI library to open under mpirun or srun, or `none` for independent processes
  WAXWORK_NCCL       NCCL library for GPUs under mpirun or srun; `none` disables NCCL
  RUST_LOG           log filter, finer than -v, such as RUST_LOG=waxwork_trainer=debug
  NO_COLOR           disables colours (which only terminals get anyway)")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Use N threads [default: the number of available processors]
    ///
    /// Results do not depend on the number of threads. CPU affinity and control groups limit the available processors, and the
    /// processes that mpirun or srun starts on one machine share them.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Global options")]
    threads: Option<u16>,

    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// What is written to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Messages {
    /// Print only warnings and errors; show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Print more messages; -vv and -vvv print even more
    ///
    /// -v prints what happens, -vv more detail, and -vvv the messages of other libraries too. Each of
    /// them also prints the causes of an error, one per line.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Write messages and progress as text or json [default: text]
    ///
    /// With json, each message is a JSON object on its own line. Progress messages have
    /// `"target":"waxwork::progress"`.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) log_format: LogFormat,
}

/// The format of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

impl Arguments {
    /// The number of threads asked for, else the number of processors that affinity and control groups allow, or this process's share
    /// of them.
    pub(crate) fn threads(&self, launch: Option<&Launch>) -> usize {
        let available = || {
            let all = std::thread::available_parallelism().map_or(1, usize::from);
            launch.map_or(all, |launch| launch.threads(all))
        };
        self.threads.map_or_else(available, usize::from)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model, or resume a run
    ///
    /// Trains the model of a recipe and writes a run folder: the recipe, metrics, checkpoints, sample grids, the final
    /// model, a report page and a model card.
    Train(TrainArguments),
    /// List or train the runs of a sweep over settings and seeds
    ///
    /// Prints one `waxwork train` command per job, for any scheduler.
    Sweep(SweepArguments),
    /// Train a run again and compare the bytes
    ///
    /// Trains the recipe of a finished run from the start, in a new folder, and checks that the results are identical.
    Repeat(RepeatArguments),
    /// Fit the prior of a finished VAE to its training data, for better samples
    ///
    /// Copies the run, and replaces the prior with a mixture of Gaussians or a flow that is fitted to the
    /// latents of the training data. The networks do not change.
    FitPrior(FitPriorArguments),
    /// Draw images from a trained model
    ///
    /// Draws latent vectors from the prior and writes the images that the model makes from them.
    Sample(SampleArguments),
    /// Interpolate between latent vectors, and between labels
    ///
    /// Writes a grid in which each row goes from one latent vector to another.
    Interpolate(InterpolateArguments),
    /// Vary one latent dimension at a time
    ///
    /// Writes a grid with one row per latent dimension.
    Traverse(TraverseArguments),
    /// Show test images and their reconstructions
    ///
    /// Encodes images, decodes their posterior means, and writes both as a grid.
    Reconstruct(ReconstructArguments),
    /// Fill in the missing parts of images
    ///
    /// Keeps the given pixels of each image and draws several versions of the others. The model must have been
    /// trained to complete images.
    Complete(CompleteArguments),
    /// Encode images as latent vectors
    ///
    /// Writes the means of the approximate posterior. The model must have an encoder, as VAEs do.
    Encode(EncodeArguments),
    /// Decode latent vectors to images
    ///
    /// Reads latent vectors, such as those that `waxwork encode` writes, and writes the images that the
    /// model makes from them.
    Decode(DecodeArguments),
    /// Export a model to ONNX or to a web page
    Export(ExportArguments),
    /// Import the weights of a PyTorch model as a run
    ///
    /// Writes a run folder, so that all other commands work with the imported model.
    Import(ImportArguments),
    /// Download a run from the Hugging Face Hub
    Pull(PullArguments),
    /// Upload a run to the Hugging Face Hub, with a model card
    Push(PushArguments),
    /// Measure a trained model, or images made by any program
    ///
    /// Compares samples with the test images (distances between features, precision and recall, distance to
    /// the training images), and measures the likelihood and the latent space of a VAE.
    Evaluate(EvaluateArguments),
    /// Compare the metrics and costs of runs
    Compare(CompareArguments),
    /// Write a page that asks people which image is real
    Rate(RateArguments),
    /// Write an HTML report of a run
    ///
    /// The page shows the recipe, curves, samples, nearest training images and, if available, the results of
    /// `waxwork evaluate`.
    Report(ReportArguments),
    /// List runs, and compare their bytes
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
    /// List, show and compare recipes
    Recipes {
        #[command(subcommand)]
        command: Option<RecipesCommand>,
    },
    /// List, download, check and show data sets
    Data {
        #[command(subcommand)]
        command: Option<DataCommand>,
    },
    /// Report what this machine and this build support
    ///
    /// Prints the version, the features of the build, the processor, the number of threads and the cache folder.
    /// Include this output in bug reports.
    #[command(after_long_help = "\
Examples:
  waxwork doctor
  waxwork doctor --json")]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write manual pages to a folder
    #[command(after_long_help = "\
Examples:
  waxwork man ~/.local/share/man/man1")]
    Man {
        /// Folder to write to
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print a completion script for a shell
    ///
    /// The script asks `waxwork` for candidates, so it also completes recipes, data sets, and the keys of
    /// --set.
    #[command(after_long_help = "\
Examples:
  waxwork completions bash > ~/.local/share/bash-completion/completions/waxwork
  waxwork completions zsh > ~/.zfunc/_waxwork
  waxwork completions fish > ~/.config/fish/completions/waxwork.fish

For zsh, the folder must be in fpath before compinit runs.")]
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}
