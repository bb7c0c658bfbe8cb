//! The error type of `waxwork-data`. Every variant names the file or the setting at fault and what was
//! expected.

use std::path::{Path, PathBuf};

/// An error on the way from a file to a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read or write a file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// The operation: `open`, `read`, `decompress` …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A file does not follow its format.
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format or the file's own header requires.
        expected: String,
        /// What the file has instead.
        found: String,
    },

    /// A file's contents are not those of the data set that its manifest describes.
    #[error(
        "{} has SHA-256 {found}, but the manifest of `{dataset}` says {expected}; the file is damaged or belongs to \
         another data set: download it again",
        path.display()
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// Name of the data set.
        dataset: String,
        /// SHA-256 of the uncompressed bytes according to the manifest, in hex.
        expected: String,
        /// SHA-256 of the uncompressed bytes of the file, in hex.
        found: String,
    },

    /// A file belongs to a data set other than the requested one.
    #[error("{} belongs to `{found}`, not to `{dataset}`", path.display())]
    OtherDataset {
        /// The file.
        path: PathBuf,
        /// Name of the requested data set.
        dataset: String,
        /// Name of the data set of the file.
        found: String,
    },

    /// The images and the labels of one split differ in number.
    #[error("{} holds {images} images, but {} holds {labels} labels", images_path.display(), labels_path.display())]
    Count {
        /// The image file.
        images_path: PathBuf,
        /// The label file.
        labels_path: PathBuf,
        /// Images found.
        images: usize,
        /// Labels found.
        labels: usize,
    },

    /// A label does not name a class.
    #[error("{}: image {index} has label {label}, but there are {classes} classes (0 to {})", path.display(), classes.saturating_sub(1))]
    Label {
        /// The label file.
        path: PathBuf,
        /// The image, counted from 0.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },

    /// The files of a data set cannot be found.
    #[error("{file} of data set `{dataset}` is not in `{}`{}", dir.display(), may_be(near.as_deref(), file))]
    Missing {
        /// Name of the data set.
        dataset: String,
        /// The first file that is missing.
        file: String,
        /// The folder that was searched.
        dir: PathBuf,
        /// A file in the folder that may be the missing one under another name, such as an archive.
        near: Option<PathBuf>,
    },

    /// An image file cannot be decoded, or is incomplete.
    #[error("cannot decode {}: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },

    /// A file of a clip cannot be decoded, or is incomplete.
    #[error("cannot decode {}: {reason}", path.display())]
    Clip {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },

    /// The image in a row of a table cannot be decoded, or is incomplete.
    #[error("cannot decode the image in row {row} of {}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, counted from 0.
        row: usize,
        /// What the decoder says.
        reason: String,
    },

    /// An image file is smaller than the images to make from it.
    #[error(
        "`{}` is {width}×{height}, too small for images of {size}×{size}{}; the shortest side of the images is \
         {largest}, so `data.folder.size` may be at most {largest}",
        path.display(), as_are(*others)
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
        /// Rows and columns of the images.
        size: usize,
        /// Number of other image files that are too small.
        others: usize,
        /// Largest rows and columns for which no image file is too small.
        largest: usize,
    },

    /// No image size is set, and the images differ in size.
    #[error(
        "the images of `{name}` differ in size, from {}×{} to {}×{}: set `data.folder.size` to {largest} or less to scale and crop them",
        smallest.0, smallest.1, greatest.0, greatest.1
    )]
    Sizes {
        /// The data set.
        name: String,
        /// Columns and rows of the smallest image.
        smallest: (u32, u32),
        /// Columns and rows of the largest image.
        greatest: (u32, u32),
        /// Largest rows and columns for which no image is too small.
        largest: usize,
    },

    /// The data set `folder` without `data.dir`.
    #[error("the data set `folder` needs `data.dir`, the folder with your images")]
    NoFolder,

    /// The data set `sound` without `data.dir`.
    #[error("the data set `sound` needs `data.dir`, the folder with your WAV files")]
    NoRecordings,

    /// The data set `clips` without `data.dir`.
    #[error("the data set `clips` needs `data.dir`, the folder with your strips, animated files or frames")]
    NoClips,

    /// A recording cannot be read, or is empty.
    #[error("cannot read {}: {reason}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The recording in a row of a table cannot be read, or is silent.
    #[error("cannot read the recording in row {row} of {}: {reason}", path.display())]
    RecordingRow {
        /// The file.
        path: PathBuf,
        /// The row, counted from 0.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },

    /// The data set `text` without `data.dir`.
    #[error(
        "the data set `text` needs `data.dir`, a .txt, .tsv or .jsonl file with your texts, or a folder of such files"
    )]
    NoTexts,

    /// A file of texts cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },

    /// The data set `table` without `data.dir`.
    #[error("the data set `table` needs `data.dir`, the CSV or parquet file with your rows")]
    NoTable,

    /// Data from a program's memory, which is in no file.
    #[error(
        "the data was passed from memory and is not stored in a file: pass it again from Python, as in \
         `waxwork.load(RUN).evaluate(data=(images, labels))`"
    )]
    InMemory,

    /// A folder, or one for a class, has no samples.
    #[error("`{}` contains no {what}{}", path.display(), if found.is_empty() { String::new() } else { format!(", but {found}") })]
    EmptyFolder {
        /// The folder of a class, or the whole folder.
        path: PathBuf,
        /// Name of its samples.
        what: &'static str,
        /// What the folder has instead; empty if nothing.
        found: String,
    },

    /// The contents of a folder of images are ambiguous, or have no known meaning.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What the folder has, and how to make it unambiguous.
        reason: String,
    },

    /// A file changed while a data set was made from it.
    #[error("{} changed while it was being read: try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },

    /// The Hub, or the cache of hf-hub, does not provide or accept what was requested.
    #[error("`{repository}` on the Hub: {reason}")]
    Hub {
        /// `owner/name`.
        repository: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },

    /// No data set has this name.
    #[error("unknown data set `{name}`{}; the known data sets are {known}", nearest.as_ref().map_or(String::new(), |n| format!(" (did you mean `{n}`?)")))]
    UnknownDataset {
        /// The name as given.
        name: String,
        /// The most similar known name.
        nearest: Option<String>,
        /// All known names, separated by commas.
        known: String,
    },

    /// A data set without a manifest. Nothing is known about it before its images are read.
    #[error("`{name}` {reason}")]
    NoManifest {
        /// The name as given.
        name: String,
        /// What it is instead, as the predicate of a sentence about the name.
        reason: &'static str,
    },

    /// A configuration value is invalid.
    #[error("invalid `{key}`: {reason}")]
    Config {
        /// The configuration key, e.g. `data.limit`.
        key: &'static str,
        /// What is wrong, and what is valid.
        reason: String,
    },

    /// An epoch would have no batch.
    #[error("a batch of {batch_size} is larger than the split, which has {samples} samples")]
    BatchTooLarge {
        /// Requested number of samples in a batch.
        batch_size: usize,
        /// Samples in the split.
        samples: usize,
    },

    /// An error of a table.
    #[error(transparent)]
    Table(#[from] crate::table::Error),

    /// Something needs images, and the data is something else.
    #[error("this command needs images, but `{dataset}` has none")]
    NotImages {
        /// The data set's name.
        dataset: String,
    },

    /// A requested image does not exist.
    #[error("there is no sample {index}: the split has {len} samples")]
    OutOfRange {
        /// The requested position, counted from 0.
        index: usize,
        /// Number of images.
        len: usize,
    },

    /// The prefetching thread could not be started or ended early.
    #[error("the loader's thread {0}")]
    Loader(String),

    /// An embedded manifest does not parse. This is a bug in the project, not in the user's files.
    #[error("manifest of `{dataset}`: {reason}")]
    Manifest {
        /// Name of the data set.
        dataset: String,
        /// What the parser says.
        reason: String,
    },

    /// A batch could not be put on its device.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn as_are(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (as is 1 more image)".into(),
        more => format!(" (as are {more} more images)"),
    }
}

fn may_be(near: Option<&Path>, file: &str) -> String {
    let hint = |near: &Path| format!("; `{}` may be it: unpack it, or rename it to {file}", near.display());
    near.map_or_else(String::new, hint)
}

impl Error {
    /// Turns an `io::Error` into [`Error::Io`]: `.map_err(Error::io("open", path))`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// An [`Error::Format`].
    pub(crate) fn format(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), expected: expected.into(), found: found.into() }
    }
}
