//! The command line as it was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};
use waxwork_core::Precision;

use crate::completion;

/// Train, sample and evaluate generative image models.
#[derive(Debug, Parser)]
#[command(name = "waxwork", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Examples:
  waxwork train vae-digits                      train on embedded data, no files needed
  waxwork train vae-mnist --data-dir ~/data     train on MNIST files
  waxwork sample runs/RUN -n 100 --out grid.png
  waxwork evaluate runs/RUN

Results go to standard output, progress and messages to standard error.

Exit codes: 0 done; 1 failed, and one line says why; 2 the command line is not understood; 3 bytes differ
(repeat, runs diff); 130 training was interrupted, and a checkpoint was written.

Environment: RUST_LOG chooses messages more finely than -v, e.g. RUST_LOG=waxwork_trainer=debug; NO_COLOR takes
colours away, which only a terminal gets; WAXWORK_DATA_DIR is where data sets are.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Threads to use [default: the processors that this process may use]. Results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Global options")]
    threads: Option<u16>,

    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// What is written to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Messages {
    /// Show no progress, only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say what happens; -vv in detail, -vvv inside other libraries too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How messages and progress are written: text, or one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
}

/// For whom messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Arguments {
    /// What was asked for, or what affinity and control groups let this process use.
    pub(crate) fn threads(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(available, usize::from)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model, or go on with a run
    Train(TrainArguments),
    /// Train a run once more, and say whether the bytes agree
    Repeat(RepeatArguments),
    /// Make new images with a trained model
    Sample(SampleArguments),
    /// Walk from one latent vector to another, and from label to label
    Interpolate(InterpolateArguments),
    /// Change one latent value at a time
    Traverse(TraverseArguments),
    /// Show test images beside what encoder and decoder make of them
    Reconstruct(ReconstructArguments),
    /// Turn images into latent vectors
    Encode(EncodeArguments),
    /// Turn latent vectors into images
    Decode(DecodeArguments),
    /// Write a part of a model as a file that other programs run
    Export(ExportArguments),
    /// Make a run of tensors that PyTorch trained
    Import(ImportArguments),
    /// Get a run from the Hub
    Pull(PullArguments),
    /// Put a run on the Hub, with a model card
    Push(PushArguments),
    /// Measure a trained model on the test images
    Evaluate(EvaluateArguments),
    /// Put the numbers of evaluated runs beside each other
    Compare(CompareArguments),
    /// Write a page that asks people which of two images is real
    Rate(RateArguments),
    /// Write a page with all that is known of a run
    Report(ReportArguments),
    /// List runs, and compare their bytes
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
    /// List and show recipes
    Recipes {
        #[command(subcommand)]
        command: Option<RecipesCommand>,
    },
    /// List, check and look at data sets
    Data {
        #[command(subcommand)]
        command: Option<DataCommand>,
    },
    /// Say what this machine and this build can do
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write manual pages into a folder
    #[command(after_help = "Example:\n  waxwork man ~/.local/share/man/man1")]
    Man {
        /// Folder to write to
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  waxwork completions bash > ~/.local/share/bash-completion/completions/waxwork
  waxwork completions zsh > ~/.zfunc/_waxwork    where ~/.zfunc is in fpath, before compinit

The script asks the program itself, so that it knows recipes, data sets and the keys of --set too.")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork train vae-digits --steps 200
  waxwork train vae-mlp-mnist --data-dir ~/data --epochs 10 --out runs/plain
  waxwork train vae-digits --seeds 3 --out runs/three
  waxwork train gan-shapes --data folder --data-dir pictures --set data.folder.size=32
  waxwork train gan-mnist --data-dir ~/data --dry-run
  waxwork train my-recipe.toml --set model.latent_dim=8 --set train.checkpoint_every=100
  waxwork train --resume runs/plain
  waxwork train --fork runs/plain --set optimizer.lr=1e-4 --steps 1000

Ctrl-C, SIGTERM and the end of --max-time all stop after the current step, write a checkpoint, and say how to resume:
`waxwork train --resume RUN`. The exit code is 130 after a signal, and 0 after --max-time, which was asked for. A second Ctrl-C
stops at once, without a checkpoint.")]
pub(crate) struct TrainArguments {
    /// A recipe's name (`waxwork recipes list`), a TOML file, or another run to take it from [default: vae-digits, or the
    /// recipe of the run]
    #[arg(value_name = "RECIPE|FILE.toml|RUN", add = ArgValueCompleter::new(completion::recipes))]
    pub(crate) recipe: Option<String>,

    /// Train on another data set (`waxwork data list`), or on one of the Hub: hf:OWNER/NAME
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::data_sets))]
    pub(crate) data: Option<String>,

    /// Where the data set's files are
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,

    /// Leave out the pictures of a folder that cannot be decoded, and say how many
    #[arg(long)]
    pub(crate) skip_unreadable: bool,

    /// The run folder to make [default: runs/RECIPE-TIME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath, conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,

    /// Change a key of the recipe, e.g. train.batch_size=64; may be repeated
    #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
    pub(crate) set: Vec<String>,

    /// Passes over the training images, instead of what the recipe says
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub(crate) epochs: Option<u64>,

    /// Training steps, instead of what the recipe says
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,

    /// Seed of everything random
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Train so many runs, of this seed and those after it, one after the other: RUN-seed-0, RUN-seed-1 …
    #[arg(long, value_name = "N", conflicts_with_all = ["resume", "max_time"], value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,

    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,

    /// The type in which layers multiply: f32, or on a GPU bf16 or f16
    #[arg(long, value_name = "TYPE", value_parser = precision, conflicts_with = "resume")]
    pub(crate) dtype: Option<Precision>,

    /// Stop after this time, e.g. 90s, 15m, 2h, with a checkpoint, as Ctrl-C does
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,

    /// Train nothing and write no run: print the recipe as it would be trained, its parameters, and what time, memory and
    /// disk it would take, by a few steps that are measured
    #[arg(long, conflicts_with_all = ["resume", "max_time"])]
    pub(crate) dry_run: bool,

    /// At the end, say how much time went into data, forward, backward, optimiser and the rest
    #[arg(long)]
    pub(crate) profile: bool,

    /// Go on with a run that was interrupted; it finishes what its own recipe asked for, and refuses another one
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) resume: Option<PathBuf>,

    /// Start a new run from the weights of this one, with its recipe and whatever is changed in it
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath, conflicts_with = "resume")]
    pub(crate) fork: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  waxwork repeat runs/RUN

Trains once more what RUN's folder says, and compares metrics.jsonl, every tensor of the last checkpoint and of the
result, and the sample grids. Exit codes: 0 the bytes agree, 3 they differ, 1 it could not be tried.")]
pub(crate) struct RepeatArguments {
    /// A finished run
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// The run folder to make [default: RUN-repeated]
    #[arg(long, value_name = "NEW", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork sample runs/RUN                              a grid of 100 images in runs/RUN/sample.png
  waxwork sample runs/RUN --labels 7                   sevens only
  waxwork sample runs/RUN --labels 0..9                a column for each of ten classes
  waxwork sample runs/RUN --labels cat,dog             by the names of their classes
  waxwork sample runs/RUN --neighbours                 each image above the training image that is nearest
  waxwork sample runs/RUN -n 10000 --out images.npy    (N,C,H,W) f32 in [0,1]
  waxwork sample runs/RUN -n 1000 --out folder         one PNG per image

A conditional model's labels are written too: as `labels` into FILE.safetensors, beside FILE.npy in FILE.labels.npy, and as
a folder per class. A number is the number of a class, from 0, unless classes are named by numbers: then it is a name.")]
pub(crate) struct SampleArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Number of images
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Seed of the latent vectors; image i depends on it and on i alone
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Classes to ask for, in turn, by name or number: cat,dog or 7 or 0..9 (the last included) [default: all in turn]
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// Draw latent values anew until their magnitude is at most this: less odd, less different
    #[arg(long, value_name = "MAGNITUDE")]
    pub(crate) truncation: Option<f32>,
    /// Temperature of outputs that a model draws (points): 1 is the model's own distribution, 0 its mean
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) temperature: f64,
    /// Use the weights of the newest checkpoint as they are, not their moving average
    #[arg(long)]
    pub(crate) raw: bool,
    /// Show below each image the nearest training image, so that copying would be seen
    #[arg(long)]
    pub(crate) neighbours: bool,
    /// Where the data set's files are, if not where the run found them; for --neighbours
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "neighbours")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to write: FILE.png (a grid), FILE.npy, FILE.safetensors, or a folder [default: RUN/sample.png]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork interpolate runs/RUN                       ten rows, each from one random latent vector to another
  waxwork interpolate runs/RUN --labels 3,8          from threes to eights

Latent vectors are interpolated on the sphere (White 2016), mixtures of labels in a line.")]
pub(crate) struct InterpolateArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Number of rows
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = at_least_one)]
    pub(crate) rows: usize,
    /// The class, or two classes to go between, by name or number: 7 or cat,dog
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// Keep the latent vector and change the label only
    #[arg(long, requires = "labels")]
    pub(crate) fixed_latent: bool,
    /// Seed of the latent vectors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// PNG file to write [default: RUN/interpolation.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "One row per latent value, which goes from −3 to 3 while the others stay.\n\nExample:\n  waxwork traverse runs/RUN --dims 0..9"
)]
pub(crate) struct TraverseArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Latent values to change: 7, 0..9 or 1,3,5 [default: the first ten]
    #[arg(long, value_name = "DIMS", value_parser = dims)]
    pub(crate) dims: Option<Dims>,
    /// The class of all images, by name or number [default: the first]
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Seed of the latent vector to start from [default: all zero, the centre]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// PNG file to write [default: RUN/traversal.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Rows alternate: images, then their reconstructions.\n\nExamples:\n  waxwork reconstruct runs/RUN --out pairs.png\n  waxwork reconstruct runs/RUN --images my-pictures"
)]
pub(crate) struct ReconstructArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Number of images
    #[arg(short = 'n', long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Images to reconstruct: FILE.npy, FILE.safetensors or a folder [default: the test images of the run's data]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// PNG file to write [default: RUN/reconstructions.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork encode runs/RUN --out latents.npy                       the test images of the run's data
  waxwork encode runs/RUN --images images.npy --out latents.npy   your own

Writes the posterior means, (N, latent_dim) f32. Images are (N,C,H,W) or (N,H,W,C): uint8 from 0 to 255, floats from 0 to 1, or
booleans; anything else is refused. A conditional model needs labels too: FILE.safetensors with `images` and `labels`, a folder
per class, or FILE.labels.npy beside FILE.npy.")]
pub(crate) struct EncodeArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Images to encode: FILE.npy, FILE.safetensors or a folder [default: the test images of the run's data]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) out: PathBuf,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  waxwork decode runs/RUN latents.npy --out images.png")]
pub(crate) struct DecodeArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Latent vectors, (N, latent_dim) f32
    #[arg(value_name = "FILE.npy")]
    pub(crate) latents: PathBuf,
    /// Classes, in turn, for a conditional model, by name or number: cat,dog or 7 or 0..9
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// Where to write: FILE.png (a grid), FILE.npy, FILE.safetensors, or a folder
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork export runs/RUN                            the generator or decoder, in runs/RUN/generator.onnx
  waxwork export runs/RUN --part encoder --out encoder.onnx

Inputs and outputs have names: latents (N, latent_dim) and, for a conditional model, labels (N) int64 → images (N,C,H,W) from 0
to 1; images → mean and log_var; noise → latents. N is open.")]
pub(crate) struct ExportArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Onnx)]
    pub(crate) format: ExportFormat,
    /// Which part of the model [default: the one that makes images]
    #[arg(long, value_enum)]
    pub(crate) part: Option<ExportPart>,
    /// File to write [default: RUN/PART.onnx]
    #[arg(long, value_name = "FILE.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// A form in which other programs take models.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportFormat {
    /// ONNX, opset 17
    Onnx,
}

/// A part of a model.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportPart {
    /// Latents to images, of a GAN
    Generator,
    /// Latents to images, of a VAE
    Decoder,
    /// Images to latents, of a VAE
    Encoder,
    /// Noise to latents, where the prior depends on the label
    Prior,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork import state.safetensors --recipe vae-mnist
  waxwork import state.safetensors --recipe my-recipe.toml --out runs/theirs

The file is a state dict as safetensors writes it: save_file(model.state_dict(), path). Its names and shapes are those of the
recipe's model; python/README.md shows modules that have them.")]
pub(crate) struct ImportArguments {
    /// The tensors
    #[arg(value_name = "FILE.safetensors", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The recipe that the tensors belong to: a name (`waxwork recipes list`) or a TOML file
    #[arg(long, value_name = "RECIPE|FILE.toml", add = ArgValueCompleter::new(completion::recipes))]
    pub(crate) recipe: String,
    /// Change a key of the recipe, e.g. model.latent_dim=8; may be repeated
    #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
    pub(crate) set: Vec<String>,
    /// The run folder to make [default: runs/FILE-TIME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  waxwork pull OWNER/NAME --out runs/theirs

Only the files of a run are fetched, checked against the Hub's hashes, and kept in the Hub's cache (HF_HOME); a download that broke
off goes on. HF_TOKEN, or the token of `hf auth login`, opens private repositories; HF_ENDPOINT names another server;
HF_HUB_OFFLINE=1 uses the cache alone.")]
pub(crate) struct PullArguments {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repository: String,
    /// Branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub(crate) revision: String,
    /// The run folder to make [default: runs/NAME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  waxwork evaluate runs/RUN && waxwork push runs/RUN OWNER/NAME

Pushes weights, recipe, run.json, metrics, the last sample grid and README.md as the model card, with the numbers of `waxwork evaluate`
in the Hub's own form. HF_TOKEN, or the token of `hf auth login`, must have the right to write.")]
pub(crate) struct PushArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// The repository, which is made if there is none
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repository: String,
    /// Make a new repository private
    #[arg(long)]
    pub(crate) private: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork evaluate runs/RUN
  waxwork evaluate runs/RUN --samples 10000
  waxwork evaluate runs/RUN --importance-samples 500 -n 1000 --json
  waxwork evaluate --samples their-images.npy --data mnist
  waxwork evaluate --samples theirs --data folder --data-dir pictures --set data.folder.size=32

Writes RUN/metrics.json, or metrics.json beside the images.")]
pub(crate) struct EvaluateArguments {
    /// Run folder; leave it out to measure the images of a file
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: Option<PathBuf>,
    /// Use only N test images, of all classes alike, for likelihoods [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<usize>,
    /// How many samples to compare with real images, 0 for none; or any program's images: .npy, .safetensors, a folder
    #[arg(long, value_name = "N|PATH", default_value = "2000", value_hint = ValueHint::AnyPath)]
    pub(crate) samples: Samples,
    /// Data set that images of a file are compared with (`waxwork data list`)
    #[arg(long, value_name = "NAME", conflicts_with = "run", add = ArgValueCandidates::new(completion::data_sets))]
    pub(crate) data: Option<String>,
    /// Change a key of a recipe's data for images of a file, e.g. data.folder.size=32; may be repeated
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "run", add = ArgValueCompleter::new(completion::settings))]
    pub(crate) set: Vec<String>,
    /// Weights of Inception-v3, for fid, kid and inception_score: a file, or hf:OWNER/NAME/FILE (docs/evaluation.md says
    /// where from)
    #[arg(long, value_name = "FILE.safetensors", value_hint = ValueHint::FilePath)]
    pub(crate) inception: Option<PathBuf>,
    /// Also train a classifier on the labelled samples, and say how well it knows real images
    #[arg(long)]
    pub(crate) accuracy_score: bool,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Draws per image for log p(x) by importance sampling; 0 leaves it out
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) importance_samples: usize,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  waxwork compare runs/a runs/b
  waxwork compare runs/a runs/b --html both.html

Runs of one recipe that differ by their seed alone are one column, with mean and standard deviation. A number that was
measured under different protocols is marked as not compared, with what differs; the others are shown. Of runs that were not
evaluated (`waxwork evaluate RUN`), it shows what they cost. Text, JSON and page say the same.")]
pub(crate) struct CompareArguments {
    /// Run folders, or the metrics.json of images
    #[arg(required = true, num_args = 1.., value_name = "RUN", value_hint = ValueHint::AnyPath)]
    pub(crate) runs: Vec<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    pub(crate) json: bool,
    /// Write a page with the runs' samples, curves and numbers side by side
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  waxwork rate runs/RUN -n 30

The page holds its images and needs no network. It shows a real and a generated image side by side, and at the end the
share of errors with its 95 % interval.")]
pub(crate) struct RateArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// How many questions
    #[arg(short = 'n', long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Seed of the samples and of the order
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The page to write [default: RUN/rate.html]
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  waxwork evaluate runs/RUN && waxwork report runs/RUN

Training writes the page at its end; do it again once there is a metrics.json. The page holds its images and needs no
network.")]
pub(crate) struct ReportArguments {
    /// Run folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Where the data set's files are, if not where the run found them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The page to write [default: RUN/report.html]
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

/// The folder that new runs are in.
pub(crate) const RUNS: &str = "runs";

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs in a folder, and in folders below it
    List {
        /// Folder that holds runs, or folders of runs
        #[arg(default_value = RUNS, value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the SHA-256 of everything in a run that recipe, seed and version decide
    Hash {
        /// Run folder
        #[arg(value_hint = ValueHint::DirPath)]
        run: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the bytes of two runs agree, and where they first differ
    #[command(after_help = "Exit codes: 0 the bytes agree, 3 they differ, 1 they could not be read.")]
    Diff {
        /// Run folder
        #[arg(value_hint = ValueHint::DirPath)]
        run: PathBuf,
        /// Another one
        #[arg(value_hint = ValueHint::DirPath)]
        other: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesCommand {
    /// List the recipes with what each is good for
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a recipe, complete with defaults
    Show {
        /// A recipe's name, a TOML file or a run folder
        #[arg(value_name = "RECIPE|FILE.toml|RUN", add = ArgValueCompleter::new(completion::recipes))]
        recipe: String,
        /// Change a key, e.g. train.batch_size=64; may be repeated
        #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
        set: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what differs between two recipes in data, model, optimiser and training
    #[command(after_help = "Examples:
  waxwork recipes diff vae-digits vae-mnist
  waxwork recipes diff runs/RUN my-recipe.toml")]
    Diff {
        /// A recipe's name, a TOML file or a run folder
        #[arg(value_name = "A", add = ArgValueCompleter::new(completion::recipes))]
        first: String,
        /// Another
        #[arg(value_name = "B", add = ArgValueCompleter::new(completion::recipes))]
        second: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of recipes, by which editors complete and check them
    #[command(after_help = "Example:
  waxwork recipes schema > recipe.schema.json

With `#:schema recipe.schema.json` as the first line of a recipe, editors that use Taplo (such as Visual Studio Code with
Even Better TOML) know its keys.")]
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the known data sets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what a data set is and where its files are looked for
    Info {
        /// Name of the data set
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download a data set from the Hub into the cache
    Fetch {
        /// Name of the data set, or hf:OWNER/NAME
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
    },
    /// Check a data set's files against the hashes of its manifest
    Verify {
        /// Name of the data set
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// Where the files are
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        data_dir: Option<PathBuf>,
    },
    /// Say what the columns of a table are: kinds, missing values, modes, and what will be slow
    #[command(after_help = "Examples:
  waxwork data describe patients.csv
  waxwork data describe patients.csv --set data.table.columns.ward.kind=category")]
    Describe {
        /// A file of comma-separated values (.csv) or of parquet (.parquet)
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Change a key of a recipe's data, e.g. data.table.max_categories=50; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a grid of a data set's images
    #[command(after_help = "Examples:
  waxwork data show digits --out digits.png
  waxwork data show folder --data-dir pictures --set data.folder.size=32 --out grid.png")]
    Show {
        /// Name of the data set
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// Number of training images
        #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = at_least_one)]
        count: usize,
        /// Where the files are
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        data_dir: Option<PathBuf>,
        /// Change a key of a recipe's data, e.g. data.folder.size=32; may be repeated
        #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
        set: Vec<String>,
        /// Where to write: FILE.png (a grid), FILE.npy, FILE.safetensors, or a folder
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
    },
}

/// Numbers of latent values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dims(pub(crate) Vec<u32>);

/// How many there are to be.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number, at least 1".into()),
    }
}

/// A finite number, zero or more.
fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number >= 0.0 => Ok(number),
        _ => Err("must be a number, zero or more".into()),
    }
}

/// Numbers such as `7`, `0..9` (the last included) or `1,3,5`.
fn dims(text: &str) -> Result<Dims, String> {
    const MOST: u32 = 100_000;
    let number = |text: &str| {
        let number = text.trim().parse::<u32>();
        number.map_err(|_| format!("`{text}` is not a number; use 7, 0..9 or 1,3,5"))
    };
    if let Some((first, last)) = text.split_once("..") {
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > MOST {
            return Err(format!("`{text}` must go up, and not beyond {MOST}"));
        }
        return Ok(Dims((first..=last).collect()));
    }
    Ok(Dims(text.split(',').map(number).collect::<Result<_, _>>()?))
}

/// What `evaluate` compares with real images.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    /// So many of a model.
    Count(usize),
    /// Those of a file or folder.
    Of(PathBuf),
}

impl std::str::FromStr for Samples {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Of(text.into()), Self::Count))
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        "f16" => Ok(Precision::F16),
        _ => Err("choose one of f32, bf16, f16".to_owned()),
    }
}

/// A time such as `90s`, `15m`, `2h`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of time; use s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    /// The commands that a text shows: in documents those of its `sh` blocks, in a help text the lines of its examples.
    fn shown(text: &str, in_blocks: bool) -> Vec<String> {
        let mut inside = !in_blocks;
        let mut commands = Vec::new();
        // A backslash at its end joins a line with the next.
        for line in text.replace("\\\n", " ").lines() {
            if line.starts_with("```") {
                inside = line == "```sh";
            }
            let line = line.split(" #").next().unwrap_or_default();
            let parts = line.split("&&").flat_map(|part| part.split(" | ")).map(str::trim);
            // A redirection and a variable that is set for a command are the shell's.
            let plain = parts.map(|part| part.split(['>', '<']).next().unwrap_or_default().trim());
            let plain = plain.map(|part| part.split_at(part.find("waxwork ").unwrap_or(0)));
            let ours = plain.filter(|(before, part)| {
                part.starts_with("waxwork ") && before.split_whitespace().all(|word| word.contains('='))
            });
            if inside {
                commands.extend(ours.map(|(_, part)| part.trim_end_matches(" 2").to_owned()));
            }
        }
        commands
    }

    #[test]
    fn every_command_in_documents_and_help_is_understood() {
        use clap::CommandFactory;
        fn examples(command: &clap::Command, into: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // Beside an example, three spaces away, stands what it does.
            let lines = help.lines().filter_map(|line| line.strip_prefix("  waxwork "));
            into.extend(lines.flat_map(|line| {
                shown(&format!("waxwork {}", line.split("   ").next().unwrap_or_default()), false)
            }));
            command.get_subcommands().for_each(|command| examples(command, into));
        }
        let mut commands = Vec::new();
        examples(&Arguments::command(), &mut commands);
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for folder in ["", "docs", "docs/book", "python"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "md") {
                    commands.extend(shown(&std::fs::read_to_string(path).unwrap(), true));
                }
            }
        }
        assert!(commands.len() > 100, "{}", commands.len());
        for command in commands {
            let words = shlex::split(&command).unwrap();
            if let Err(error) = Arguments::try_parse_from(words) {
                let is_help = error.kind() == clap::error::ErrorKind::DisplayHelp;
                assert!(is_help, "`{command}`: {error}");
            }
        }
    }

    #[test]
    fn lists_of_numbers() {
        assert_eq!(dims("7").unwrap().0, [7]);
        assert_eq!(dims("0..2").unwrap().0, [0, 1, 2]);
        assert_eq!(dims("5,1").unwrap().0, [5, 1]);
        assert!(dims("3..1").is_err() && dims("a").is_err() && dims("").is_err());
        assert!(dims("0..4000000000").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert!(duration("2d").is_err() && duration("x").is_err() && duration("-1s").is_err());
    }
}
