//! Arguments of the commands that measure and show runs: `evaluate`, `compare`, `rate` and `report`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::shared::{DataDirArg, DeviceArg, RunArg};
use super::values::{Samples, at_least_one, not_negative};
use crate::completion;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork evaluate runs/RUN
  waxwork evaluate runs/RUN --samples 10000
  waxwork evaluate runs/RUN --importance-samples 500 -n 1000 --json
  waxwork evaluate --samples their-images.npy --data mnist
  waxwork evaluate --samples theirs --data folder --data-dir pictures --set data.folder.size=32

Writes RUN/metrics.json, or metrics.json next to the images. Each metric is stored with its
protocol (data set, split, numbers of images, feature extractor), and `waxwork compare` compares
only metrics of the same protocol.")]
pub(crate) struct EvaluateArguments {
    /// Run folder; omit it to evaluate the images that --samples names
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) run: Option<PathBuf>,
    /// Use N test samples for likelihoods, with the classes in proportion [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<usize>,
    /// Compare N samples of the run, or the images in PATH, with real ones
    ///
    /// The real images are those of the data set. If N is 0, only likelihoods are measured. PATH has images
    /// made by any program: FILE.npy, FILE.safetensors or a folder; for rows: FILE.csv; for texts:
    /// FILE.txt, FILE.tsv or FILE.jsonl.
    #[arg(long, value_name = "N|PATH", default_value = "2000", value_hint = ValueHint::AnyPath)]
    pub(crate) samples: Samples,
    /// Compare the images in PATH with this data set
    ///
    /// `waxwork data list` lists the data sets. A run is always compared with the data set that it was trained on.
    #[arg(long, value_name = "NAME", conflicts_with = "run", add = ArgValueCandidates::new(completion::data_sets))]
    pub(crate) data: Option<String>,
    /// Set a key of the data set; repeatable
    ///
    /// For example data.folder.size=32. Only for images in PATH, since a run has its own settings.
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "run", add = ArgValueCompleter::new(completion::settings))]
    pub(crate) set: Vec<String>,
    /// Also measure FID, KID and inception score with these weights
    ///
    /// The weights of Inception-v3, as a file or as hf:OWNER/NAME/FILE on the Hugging Face Hub.
    /// docs/evaluation.md says where to get them.
    #[arg(long, value_name = "FILE.safetensors", value_hint = ValueHint::FilePath)]
    pub(crate) inception: Option<PathBuf>,
    /// Also measure the classification accuracy score
    ///
    /// Trains a classifier on labelled samples and reports its accuracy on real test images.
    #[arg(long)]
    pub(crate) accuracy_score: bool,
    /// Also score texts with language models
    ///
    /// Trains one language model on the real texts, which scores generated ones, and one on the generated texts, which scores real ones.
    #[arg(long)]
    pub(crate) language_model: bool,
    /// Also compare texts at these temperatures, such as 0.5,0.7,1
    ///
    /// For each temperature, draws as many texts as --samples says, and measures how good they are and how much they are alike. `waxwork report` draws the curve. Only for models that draw texts.
    #[arg(long, value_name = "T,…", value_delimiter = ',', value_parser = not_negative, requires = "run")]
    pub(crate) temperatures: Vec<f64>,
    /// Seed the samples with N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Estimate log p(x) with K samples per image
    ///
    /// Importance sampling, for VAEs (Burda et al. 2016); 0 skips it. More samples give a tighter bound, and take proportionally longer.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) importance_samples: usize,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork compare runs/a runs/b
  waxwork compare runs/a runs/b --html both.html
  waxwork compare --evaluate runs/sweep

Runs that differ only in their seed share one column, with mean and standard deviation. Metrics
that were measured under different protocols are not compared; the reason is printed below the
table. Runs without an evaluation (`waxwork evaluate RUN`) show only their costs.")]
pub(crate) struct CompareArguments {
    /// Run folders, folders of runs, or metrics.json files of evaluated images
    #[arg(required = true, num_args = 1.., value_name = "RUN", value_hint = ValueHint::AnyPath)]
    pub(crate) runs: Vec<PathBuf>,
    /// First evaluate the runs that have no evaluation
    ///
    /// Evaluates them as `waxwork evaluate RUN` does by default. Unfinished runs are skipped.
    #[arg(long)]
    pub(crate) evaluate: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    pub(crate) json: bool,
    /// Write an HTML page with samples, curves and metrics side by side
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork rate runs/RUN -n 30
  waxwork rate runs/RUN --out test.html

The page shows pairs of one real and one generated image and asks which one is real. At the end, it
shows the error rate with its 95 % confidence interval. It contains its images and needs no
network access.")]
pub(crate) struct RateArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Ask N questions
    #[arg(short = 'n', long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Seed the samples and their order with N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write the page to FILE.html [default: RUN/rate.html]
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork report runs/RUN
  waxwork evaluate runs/RUN && waxwork report runs/RUN

Training writes the page when it ends; run `waxwork report` again to add the results of `waxwork
evaluate`. The page contains its images and needs no network access.")]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write the page to FILE.html [default: RUN/report.html]
    #[arg(long, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}
