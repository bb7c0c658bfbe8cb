//! The error type of `waxwork-data`: every variant names the file or the setting at fault and what was expected.

use std::path::{Path, PathBuf};

/// What can go wrong between a file and a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read or write a file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `decompress` …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A file is not what its format promises.
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format or the file's own header asks for.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A file's contents are not those of the data set that its manifest describes.
    #[error(
        "{} has SHA-256 {found}, but the manifest of `{dataset}` says {expected}; the file is damaged or is another \
         data set: delete it and download it again",
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

    /// A file belongs to another data set than the one asked for.
    #[error("{} is a file of `{found}`, not of `{dataset}`", path.display())]
    OtherDataset {
        /// The file.
        path: PathBuf,
        /// Name of the data set that was asked for.
        dataset: String,
        /// Name of the data set that it belongs to.
        found: String,
    },

    /// The images and the labels of one split do not belong together.
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

    /// The files of a data set are nowhere to be found.
    #[error("{file} of data set `{dataset}` is not in {}; {advice}", dir.display())]
    Missing {
        /// Name of the data set.
        dataset: String,
        /// The first file that is missing.
        file: String,
        /// The folder that was searched.
        dir: PathBuf,
        /// What to do.
        advice: String,
    },

    /// A picture of an image folder cannot be decoded.
    #[error("cannot decode {}: {reason}; remove it, or leave such pictures out (`--skip-unreadable`)", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },

    /// A picture of an image folder is smaller than the images asked for.
    #[error(
        "{} is {width}×{height}, smaller than the {size}×{size} asked for; lower `data.folder.size` or remove it",
        path.display()
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
        /// Rows and columns asked for.
        size: usize,
    },

    /// A folder holds no pictures.
    #[error("{} holds no jpeg or png file", path.display())]
    EmptyFolder {
        /// The folder of a class, or the whole.
        path: PathBuf,
    },

    /// The Hub, or hf-hub's cache in its place, does not give or take what it was asked for.
    #[error("`{repository}` on the Hub: {reason}")]
    Hub {
        /// `owner/name`.
        repository: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },

    /// No data set has this name.
    #[error("unknown data set `{name}`{}; known are {known}", nearest.as_ref().map_or(String::new(), |n| format!(" (did you mean `{n}`?)")))]
    UnknownDataset {
        /// The name as it was given.
        name: String,
        /// The known name that is most like it.
        nearest: Option<String>,
        /// All known names, separated by commas.
        known: String,
    },

    /// A configuration value makes no sense.
    #[error("invalid `{key}`: {reason}")]
    Config {
        /// The configuration key, e.g. `data.limit`.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// An epoch would have no batch at all.
    #[error("a batch of {batch_size} is larger than the data, which has {images} images")]
    BatchTooLarge {
        /// Images asked for in a batch.
        batch_size: usize,
        /// Images in the split.
        images: usize,
    },

    /// An image was asked for that does not exist.
    #[error("image {index} was asked for, but there are {len}")]
    OutOfRange {
        /// The position asked for, counted from 0.
        index: usize,
        /// Number of images.
        len: usize,
    },

    /// The prefetching thread could not be started or ended early.
    #[error("the loader's thread {0}")]
    Loader(String),

    /// An embedded manifest does not parse: a mistake in this project, not in the user's files.
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
