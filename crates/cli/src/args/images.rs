//! Arguments of the commands that make images, or latent vectors, with a trained model.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::shared::{DataDirArg, DeviceArg, RunArg};
use super::values::{IndexList, assignment, at_least_one, not_negative};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork sample runs/RUN                              a grid of 100 images, runs/RUN/sample.png
  waxwork sample runs/RUN --labels 7                   sevens only
  waxwork sample runs/RUN --labels 0..9                one column per class
  waxwork sample runs/RUN --labels cat,dog             classes by name
  waxwork sample runs/RUN --neighbours                 the nearest training image below each
  waxwork sample runs/RUN -n 10000 --out images.npy    an array, (N,C,H,W) f32 in [0,1]
  waxwork sample runs/RUN -n 1000 --out folder         one PNG file per image
  waxwork sample runs/RUN --labels 7 --out seven.wav   one sound, from a model of sounds
  waxwork sample runs/RUN -n 1000 --out texts.txt      one text per line, from a model of texts
  waxwork sample runs/RUN --out clips.gif              moving clips, from a model of clips
  waxwork sample runs/RUN -n 10000 --out rows.csv      rows of a table, formatted like its file
  waxwork sample runs/RUN --where sex=Female           rows with that value

Labels in the output:
  The labels of a conditional model are written too: as `labels` in FILE.safetensors, as
  FILE.labels.npy next to FILE.npy, and as one subdirectory per class in a folder.")]
pub(crate) struct SampleArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Draw N samples [default: 100; 40 clips; for a .wav file, one per label]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<usize>,
    /// Seed the latent vectors with N
    ///
    /// Image i depends only on the seed and on i: a larger --count keeps the first images.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Draw these classes in turn, for example 7, 0..9 or cat,dog [default: all]
    ///
    /// Classes are given by name or by number, counted from 0; ranges include both ends. If class names are
    /// themselves numbers, a number is read as a name.
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    /// Truncate latents: redraw values beyond MAGNITUDE
    ///
    /// Trades diversity for quality. MAGNITUDE is in standard deviations of the prior, usually
    /// 0.5 to 2.
    #[arg(long, value_name = "MAGNITUDE")]
    pub(crate) truncation: Option<f32>,
    /// Scale the noise of sampled outputs by T
    ///
    /// For models whose output is sampled from a distribution, such as a VAE trained on 2-D points or on
    /// texts: 1 is the model's own distribution, and 0 its mean or its most likely value. Images are always
    /// the mean, without noise.
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) temperature: f64,
    /// Use the raw weights of the newest checkpoint, not their EMA
    ///
    /// By default, images are drawn with the exponential moving average (EMA) of the weights, if the recipe has one.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Show the nearest training image below each image
    ///
    /// The distance is the root mean square (RMS) of pixel differences. Use it to look for memorised training
    /// images. Writes RUN/neighbours.png unless --out is given.
    #[arg(long)]
    pub(crate) neighbours: bool,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write to PATH: .png, .npy, .safetensors or a folder; clips: .gif, .y4m; rows: .csv; sounds: .wav; texts: .txt
    ///
    /// The extension selects the format. `.png` is a grid. `.npy` is an array (N,C,H,W) of f32 in [0, 1].
    /// `.safetensors` holds the tensor `images`. A path without an extension is a new folder with one PNG
    /// file per image. Rows of a table go to `.csv` or `.parquet`. Sounds go to `.wav`, one after the other,
    /// or to a folder of `.wav` files. For sounds, `.npy` holds the waveforms (N,length), f32 in [-1, 1],
    /// and `.png` shows the spectrograms, with a `.wav` file next to it. Texts go to `.txt`, one per line,
    /// or to `.jsonl` with their labels. For texts, `.npy` and `.safetensors` hold the token numbers
    /// (N,length). Of clips, `.png` is an animated grid, `.gif` and `.y4m` are the same as GIF and as video,
    /// `-` is Y4M video on standard output, and a folder has one strip of frames per clip; `.npy` is an array
    /// (N,T,C,H,W).
    /// [default: RUN/sample.png, RUN/sample.csv or RUN/sample.txt]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

/// Values of columns that rows should have, for conditional models of tables.
#[derive(Debug, Args)]
pub(crate) struct WantedArgs {
    /// Draw rows in which COLUMN has VALUE; repeatable
    ///
    /// For conditional models of tables (cgan, cvae). COLUMN must hold categories or booleans; an empty VALUE
    /// stands for a missing one. The model is conditioned on these values; rows that do not have them are not
    /// rejected. The share of drawn rows that have them is printed.
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = assignment, conflicts_with = "labels")]
    pub(crate) asked: Vec<(String, String)>,
    /// For each row of FILE, draw a row with the same values in --columns
    #[arg(long, value_name = "FILE", requires = "columns", conflicts_with_all = ["labels", "asked"])]
    pub(crate) like: Option<PathBuf>,
    /// Columns whose values --like takes from FILE, such as sex,race
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "like")]
    pub(crate) columns: Vec<String>,
}

impl WantedArgs {
    /// Whether any value is asked for.
    pub(crate) fn is_given(&self) -> bool {
        !self.asked.is_empty() || self.like.is_some()
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork interpolate runs/RUN                  ten rows between random latent vectors
  waxwork interpolate runs/RUN --labels 3,8     from threes to eights
  waxwork interpolate runs/RUN --out rows.csv   paths of ten rows, from a model of tables

Latent vectors are interpolated on the sphere (slerp; White 2016), labels linearly.

A model of tables writes rows in the format of its training file, one path after the other.")]
pub(crate) struct InterpolateArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Write N rows of ten images
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = at_least_one)]
    pub(crate) rows: usize,
    /// Draw one class (7), or interpolate between two (cat,dog)
    ///
    /// Classes are given by name or by number, counted from 0. [default: the first class]
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// Keep the latent vector of a row fixed; vary the label only
    #[arg(long, requires = "labels")]
    pub(crate) fixed_latent: bool,
    /// Seed the latent vectors with N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Write the grid to FILE.png, texts to .txt, rows to .csv [default: RUN/interpolation.png, .txt or .csv]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork traverse runs/RUN
  waxwork traverse runs/RUN --dims 0..4 --seed 1
  waxwork traverse runs/RUN --dims 0 --out rows.csv   ten rows, from a model of tables

Each row varies one latent dimension from −3 to 3 standard deviations, in ten steps; the others stay
fixed. In a model with two groups of latents, a row that varies the second group also moves the
first, as the prior does. A model of tables writes ten rows per dimension, in the format of its
training file.")]
pub(crate) struct TraverseArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Vary these latent dimensions: 7, 0..9 or 1,3,5 [default: the first ten]
    ///
    /// Dimensions are counted from 0; ranges include both ends.
    #[arg(long, value_name = "DIMS")]
    pub(crate) dims: Option<IndexList>,
    /// Draw this class, by name or number [default: the first]
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Start at the latent vector of seed N [default: the zero vector]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write the grid to FILE.png, texts to .txt, rows to .csv [default: RUN/traversal.png, .txt or .csv]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork reconstruct runs/RUN --out pairs.png
  waxwork reconstruct runs/RUN --images my-images
  waxwork reconstruct runs/RUN --images mine.csv --out pairs.csv

Rows alternate: ten images, then their reconstructions. The model must have an encoder, as
VAEs do.

For a table, each row is followed by its reconstruction. An additional first column, `version`, is
`original` or `reconstruction`. Identifiers are not learned, so both rows have the same one.")]
pub(crate) struct ReconstructArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Reconstruct N images, always the same ones
    ///
    /// Classes are represented in proportion.
    #[arg(short = 'n', long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Reconstruct the images in PATH: .npy, .safetensors or a folder; texts: .txt, .tsv, .jsonl; rows: .csv
    ///
    /// The default is the test images of the run's data set. `waxwork encode --help` describes the formats.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write the grid to FILE.png, texts to .txt, rows to .csv [default: RUN/reconstructions.png, .txt or .csv]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork complete runs/RUN                                      ten test images, eight times each
  waxwork complete runs/RUN seven.png --given left --out seven-completed.png
  waxwork complete runs/RUN photo.png --mask mask.png -n 4 --out folder
  waxwork complete runs/RUN images.npy --out completions.npy

The model must have been trained to complete images, with `model.completion` in its recipe, as in
`cvae-digits-holes`. Given pixels stay exactly as they are.")]
pub(crate) struct CompleteArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Complete these images: image files, folders, .npy or .safetensors [default: test images]
    ///
    /// They must have the size of the model's images.
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Vec<PathBuf>,
    /// Keep this part of every image [default: the part given in training]
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "mask")]
    pub(crate) given: Option<PartOfImage>,
    /// Complete the pixels that are white in FILE, and keep those that are black
    ///
    /// FILE is an image of the same size. Grey pixels count as black or white, whichever is nearer.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) mask: Option<PathBuf>,
    /// Complete every image N times
    #[arg(short = 'n', long, value_name = "N", default_value = "8", value_parser = at_least_one)]
    pub(crate) draws: usize,
    /// Complete N test images, always the same ones
    ///
    /// Only without IMAGE. Classes are represented in proportion.
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one, conflicts_with = "images")]
    pub(crate) count: usize,
    /// Seed the latent vectors with N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write to PATH: .png, .npy, .safetensors or a folder [default: RUN/completions.png]
    ///
    /// The extension selects the format. `.png` is a grid with one row per image: its given part, its
    /// completions and, unless --mask is used, the image itself. Other formats hold only the completions,
    /// grouped by image.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

/// The part of an image that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartOfImage {
    /// The lower left quadrant
    LowerLeft,
    /// The left half
    Left,
    /// All but the lower right quadrant
    AllButLowerRight,
    /// All but a box, which is drawn at random for each image
    AllButABox,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork encode runs/RUN --out latents.npy                       the test images
  waxwork encode runs/RUN --images images.npy --out latents.npy   your own images
  waxwork encode runs/RUN --images mine.csv --out latents.npy     your own rows of a table

Input:
  Images are (N,C,H,W) or (N,H,W,C): uint8 from 0 to 255, floats from 0 to 1, or booleans.
  A conditional model needs labels too: FILE.safetensors with `images` and `labels`,
  FILE.labels.npy next to FILE.npy, or a folder with one subdirectory per class.
  Rows (.csv, .parquet) must have the columns of the training file, in any order, and categories
  that occur in it. Other columns are ignored. A conditional model is conditioned on one column.

Output:
  The posterior means, (N, latent_dim) f32.")]
pub(crate) struct EncodeArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Encode the images in PATH: .npy, .safetensors or a folder; texts: .txt, .tsv, .jsonl; rows: .csv
    ///
    /// The default is the test images of the run's data set.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) images: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Write the latent vectors to FILE.npy
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork decode runs/RUN latents.npy --out images.png
  waxwork decode runs/RUN latents.npy --labels 0..9 --out images.npy
  waxwork decode runs/RUN latents.npy --out rows.csv                    rows of a table
  waxwork decode runs/RUN latents.npy --where sex=Female --out rows.csv")]
pub(crate) struct DecodeArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Latent vectors, (N, latent_dim) f32
    #[arg(value_name = "FILE.npy")]
    pub(crate) latents: PathBuf,
    /// Draw these classes in turn, for example 7, 0..9 or cat,dog
    ///
    /// A conditional model needs them. Classes are given by name or by number, counted from 0; ranges include both
    /// ends.
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    /// Write to PATH: .png, .npy, .safetensors or a folder; rows: .csv, .parquet; texts: .txt
    ///
    /// The extension selects the format. `.png` is a grid. `.npy` is an array (N,C,H,W) of f32 in [0, 1].
    /// `.safetensors` holds the tensor `images`. A path without an extension is a new folder with one PNG
    /// file per image. Rows of a table go to `.csv` or `.parquet`, in the format of the training file.
    /// `waxwork sample --help` describes the formats of sounds, texts and clips.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}
