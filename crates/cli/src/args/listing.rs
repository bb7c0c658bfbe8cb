//! Arguments of the commands with subcommands: `runs`, `recipes` and `data`.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::shared::{FilesDirArg, RunArg, SetArg};
use super::values::{at_least_one, share};
use crate::completion;

/// The folder that new runs are in.
pub(crate) const RUNS: &str = "runs";

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs in a folder and its subfolders
    #[command(after_long_help = "\
Examples:
  waxwork runs list
  waxwork runs list experiments --json")]
    List {
        /// Folder that contains runs, directly or in subfolders
        #[arg(default_value = RUNS, value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the SHA-256 of every reproducible part of a run
    ///
    /// These are the metrics, every tensor of the last checkpoint and of the final model, and the sample grids: all that
    /// the recipe, the seed and the version of Waxwork determine.
    #[command(after_long_help = "\
Examples:
  waxwork runs hash runs/RUN
  waxwork runs hash runs/RUN --json > hashes.json")]
    Hash {
        #[command(flatten)]
        run: RunArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare the bytes of two runs
    ///
    /// Prints that they agree, or else the first difference.
    #[command(after_long_help = "\
Examples:
  waxwork runs diff runs/A runs/B

Exit codes:
  0   the bytes agree
  3   the bytes differ
  1   a run could not be read")]
    Diff {
        #[command(flatten)]
        run: RunArg,
        /// Another run folder
        #[arg(value_name = "OTHER", value_hint = ValueHint::DirPath)]
        other: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesCommand {
    /// List the recipes
    #[command(after_long_help = "\
Examples:
  waxwork recipes list
  waxwork recipes list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a recipe, complete with defaults
    #[command(after_long_help = "\
Examples:
  waxwork recipes show vae-digits
  waxwork recipes show vae-digits --set model.latent_dim=8 > mine.toml")]
    Show {
        /// Recipe name, TOML file, or run folder
        #[arg(value_name = "RECIPE|FILE.toml|RUN", add = ArgValueCompleter::new(completion::recipes))]
        recipe: String,
        #[command(flatten)]
        set: SetArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two recipes key by key
    #[command(after_long_help = "\
Examples:
  waxwork recipes diff vae-digits vae-mnist
  waxwork recipes diff runs/RUN my-recipe.toml")]
    Diff {
        /// Recipe name, TOML file, or run folder
        #[arg(value_name = "A", add = ArgValueCompleter::new(completion::recipes))]
        first: String,
        /// Another recipe name, TOML file, or run folder
        #[arg(value_name = "B", add = ArgValueCompleter::new(completion::recipes))]
        second: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of recipes
    ///
    /// Editors can use it to complete and check recipes.
    #[command(after_long_help = "\
Examples:
  waxwork recipes schema > recipe.schema.json

Put `#:schema recipe.schema.json` on the first line of a recipe. Editors with Taplo support,
such as Visual Studio Code with the extension Even Better TOML, then complete and check its
keys.")]
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the known data sets
    #[command(after_long_help = "\
Examples:
  waxwork data list
  waxwork data list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a data set's description, licence, files and search path
    #[command(after_long_help = "\
Examples:
  waxwork data info mnist
  waxwork data info mnist --json")]
    Info {
        /// Data set name
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download a data set from the Hugging Face Hub into the cache
    #[command(after_long_help = "\
Examples:
  waxwork data fetch mnist
  waxwork data fetch hf:OWNER/NAME

The cache is the folder that WAXWORK_DATA_DIR names, or `waxwork` in the user's cache folder.")]
    Fetch {
        /// Data set name, or hf:OWNER/NAME
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
    },
    /// Check a data set's files against the hashes in its manifest
    #[command(after_long_help = "\
Examples:
  waxwork data verify mnist
  waxwork data verify mnist --data-dir ~/data")]
    Verify {
        /// Data set name
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        #[command(flatten)]
        data_dir: FilesDirArg,
    },
    /// Describe the columns of a table, or the texts of a file
    ///
    /// For each column, prints its kind, its numbers of missing values, distinct values and mixture modes, and
    /// its encoded width. Lists the columns that make training slow. For texts, prints their number, lengths,
    /// tokens and labels.
    #[command(after_long_help = "\
Examples:
  waxwork data describe patients.csv
  waxwork data describe patients.csv --set data.table.columns.ward.kind=category
  waxwork data describe reviews.tsv --set data.text.min_count=2")]
    Describe {
        /// Table (.csv, .parquet), texts (.txt, .tsv, .jsonl), or folder of texts
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Set a key of the data set, such as data.table.max_categories=50; repeatable
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the training images whose labels a classifier doubts
    ///
    /// Trains two classifiers, each on one half of the training images. Each then checks the labels of the
    /// other half. The indices of images whose label is not the most probable class are written to a file; to
    /// train without them, use --set data.leave_out=FILE.
    #[command(after_long_help = "\
Examples:
  waxwork data doubts mnist --data-dir ~/data --out doubts.txt
  waxwork data doubts folder --data-dir pictures --share 0.05 --out doubts.txt
  waxwork train cgan-mnist --data-dir ~/data --set data.leave_out=doubts.txt")]
    Doubts {
        /// Data set name
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// List this share of images (such as 0.05): those with the least probable labels
        #[arg(long, value_name = "SHARE", value_parser = share)]
        share: Option<f64>,
        #[command(flatten)]
        data_dir: FilesDirArg,
        /// Set a key of the data set, such as data.folder.size=32; repeatable
        #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
        set: Vec<String>,
        /// Write to PATH: a hash of the data set, then one index per line
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
    },
    /// Write a grid of training images, or print training texts
    #[command(after_long_help = "\
Examples:
  waxwork data show digits --out digits.png
  waxwork data show folder --data-dir pictures --set data.folder.size=32 --out grid.png
  waxwork data show phrases -n 20
  waxwork data show clinic --out rows.csv")]
    Show {
        /// Data set name
        #[arg(add = ArgValueCandidates::new(completion::data_sets))]
        name: String,
        /// Write N training images, always the same ones
        ///
        /// Classes are represented in proportion.
        #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = at_least_one)]
        count: usize,
        #[command(flatten)]
        data_dir: FilesDirArg,
        /// Set a key of the data set, such as data.folder.size=32; repeatable
        #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
        set: Vec<String>,
        /// Write to PATH: .png, .npy, .safetensors or a folder
        ///
        /// The extension selects the format. `.png` is a grid. `.npy` is an array (N,C,H,W) of f32 in [0, 1].
        /// `.safetensors` holds the tensor `images`. A path without an extension is a new folder with one
        /// PNG file per image. Texts go to `.txt` or `.jsonl`; without this option, they are printed. Rows of a
        /// table go to `.csv` or `.parquet`.
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
    },
}
