//! The manifests of `datasets/*.toml` as types: what a data set is, where it comes from, and the hashes of
//! its files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use waxwork_core::{ImageShape, Kind};

use crate::names::nearest;
use crate::stacked;
use crate::text::{LineFormat, Unit};
use crate::{Error, Result};

/// The name that selects an image folder; it has no manifest.
pub const FOLDER: &str = "folder";

/// The name that selects a user's table; it has no manifest.
pub const TABLE: &str = "table";

/// The name of data from a program's memory; it has no manifest, and no command can load it.
pub const MEMORY: &str = "memory";

/// The name of the spoken digits, which are read from many files.
pub const FSDD: &str = "fsdd";

/// The name that selects a user's folder of recordings; it has no manifest.
pub const SOUND: &str = "sound";

/// The name that selects a user's texts; it has no manifest.
pub const TEXT: &str = "text";

/// The name that selects a user's folder of clips; it has no manifest.
pub const CLIPS: &str = "clips";

/// The prefix of the names of data sets on the Hub, which have no manifest.
pub const HUB: &str = "hf:";

/// What is known about a data set before any file is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name that selects it.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// What it shows, in one line.
    pub description: String,
    /// How it is stored.
    #[serde(rename = "kind")]
    pub storage: Storage,
    /// Channels, rows and columns of an image; the number of dimensions of a point; the number of columns of
    /// a table; the samples of a sound; the maximum number of tokens of a text, and the size of the
    /// vocabulary; the frames of a clip, and the channels, rows and columns of each.
    pub shape: Vec<usize>,
    /// Sample rate of sounds, in Hz; None for all other kinds.
    pub rate: Option<u32>,
    /// Names of the classes; label `k` is `classes[k]`.
    pub classes: Vec<String>,
    /// Number of training images, including the validation part.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Terms of use.
    pub licence: String,
    /// Page of its authors about it.
    pub homepage: Option<String>,
    /// Citation.
    pub citation: Option<String>,
    /// Folders in the data folder where its files are searched, besides the data folder itself.
    #[serde(default)]
    pub folders: Vec<String>,
    /// The data set of clips whose frames these images are; None for other storage.
    pub of: Option<String>,
    /// Its source on the Hub.
    pub hub: Option<HubSource>,
    /// How its files hold texts; None for other kinds.
    pub text: Option<TextFiles>,
    /// Its files, in the order in which they are read.
    #[serde(default)]
    pub files: Vec<ManifestFile>,
}

/// How the files of a data set hold texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFiles {
    /// What a token is.
    pub tokens: Unit,
    /// Words or characters that occur fewer times than this in the training part are read as `<unk>`.
    #[serde(default = "one")]
    pub min_count: usize,
    /// The format of a line. The label of a [`LineFormat::LabelFirst`] line is the number of its class.
    #[serde(default)]
    pub lines: LineFormat,
    /// True if the files are in Latin-1, false for UTF-8.
    #[serde(default)]
    pub latin1: bool,
}

fn one() -> usize {
    1
}

/// How a data set is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// Drawn by a generator, no files.
    Embedded,
    /// Four IDX files, as MNIST's.
    Idx,
    /// The binary version of CIFAR-10.
    CifarBinary,
    /// Rows, drawn by a generator, no files.
    Table,
    /// WAV files in one folder, whose names give class and part, as in the Free Spoken Digit Dataset.
    Fsdd,
    /// Clips as PNG strips of their frames, in `train` and `test` with a folder per class.
    Strips,
    /// The frames of the clips of another data set, read from its strips; each frame is an image.
    Stills,
    /// Files with one text per line.
    Texts,
    /// Colour images made from the grey images of another data set (`waxwork_data::stacked`), with the same
    /// files.
    Stacked,
}

/// A data set on the Hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repository: String,
}

/// One file of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// What it holds.
    pub role: Role,
    /// Its name, uncompressed.
    pub name: String,
    /// Its size uncompressed.
    pub bytes: u64,
    /// SHA-256, in hex, of the uncompressed bytes, if known.
    pub sha256: Option<String>,
    /// The class of all its samples, if each class has its own file.
    pub class: Option<String>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Training images.
    TrainImages,
    /// Training labels.
    TrainLabels,
    /// Test images.
    TestImages,
    /// Test labels.
    TestLabels,
    /// Training samples, with their labels if there are any.
    Train,
    /// Test samples, with their labels if there are any.
    Test,
}

impl Manifest {
    /// The kind of every sample; None for a table, whose kind depends on its rows.
    ///
    /// # Errors
    /// [`Error::Manifest`] if no kind of sample has this `shape`.
    pub fn kind(&self) -> Result<Option<Kind>> {
        if let (Some(rate), [length]) = (self.rate, &self.shape[..]) {
            return Ok(Some(Kind::Sound { rate, length: *length }));
        }
        match self.shape[..] {
            _ if self.storage == Storage::Table => Ok(None),
            [channels, height, width] => Ok(Some(Kind::Image(ImageShape::new(channels, height, width)))),
            [dimensions] => Ok(Some(Kind::Points { dimensions })),
            [length, vocabulary] => Ok(Some(Kind::Text { vocabulary, length })),
            [frames, channels, height, width] => {
                Ok(Some(Kind::Clip { frames, image: ImageShape::new(channels, height, width) }))
            }
            _ => {
                let reason = "`shape` is [channels, rows, columns], [dimensions], [length, vocabulary] or \
                              [frames, channels, rows, columns]"
                    .to_owned();
                Err(Error::Manifest { dataset: self.name.clone(), reason })
            }
        }
    }

    /// True if the program generates it.
    pub fn is_embedded(&self) -> bool {
        matches!(self.storage, Storage::Embedded | Storage::Table)
    }

    /// True if its samples are clips that are stored as strips, or their frames.
    pub fn is_of_strips(&self) -> bool {
        matches!(self.storage, Storage::Strips | Storage::Stills)
    }

    /// The manifest that lists its files: its own, unless it uses the files of another data set.
    ///
    /// # Errors
    /// As [`Manifest::find`].
    pub fn of_files(self) -> Result<Self> {
        if self.storage == Storage::Stacked { Self::find(stacked::SOURCE) } else { Ok(self) }
    }

    /// The shape of its images.
    ///
    /// # Errors
    /// [`Error::NotImages`] if its samples are something else.
    pub fn image_shape(&self) -> Result<ImageShape> {
        let shape = self.kind()?.and_then(|kind| kind.image());
        shape.ok_or_else(|| Error::NotImages { dataset: self.name.clone() })
    }

    /// The manifest of the data set `name`.
    ///
    /// # Errors
    /// [`Error::UnknownDataset`] with the nearest name; [`Error::NoManifest`] if it is a folder or on the Hub.
    pub fn find(name: &str) -> Result<Self> {
        let known = waxwork_datasets::manifests();
        match known.iter().find(|(other, _)| *other == name) {
            Some((name, text)) => Self::parse(name, text),
            None => Err(without_manifest(name).unwrap_or_else(|| unknown(name))),
        }
    }

    /// All manifests, in the order of lists.
    ///
    /// # Errors
    /// [`Error::Manifest`], which the tests of this crate rule out.
    pub fn all() -> Result<Vec<Self>> {
        waxwork_datasets::manifests().iter().map(|(name, text)| Self::parse(name, text)).collect()
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        toml::from_str(text)
            .map_err(|error| Error::Manifest { dataset: name.to_owned(), reason: error.to_string() })
    }
}

/// The error for a name that is valid but has no manifest.
fn without_manifest(name: &str) -> Option<Error> {
    let reason = if name == FOLDER {
        "stands for your own image folder, not for a known data set"
    } else if name == MEMORY {
        "stands for data that a program had in its memory, not for a known data set"
    } else if name.starts_with(HUB) {
        "is a data set on the Hub, not one that Waxwork knows"
    } else if Path::new(name).is_dir() {
        "is a folder, not the name of a data set"
    } else {
        return None;
    };
    Some(Error::NoManifest { name: name.to_owned(), reason })
}

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = waxwork_datasets::manifests()
        .iter()
        .map(|(name, _)| *name)
        .chain([FOLDER, TABLE, SOUND, TEXT, CLIPS])
        .collect();
    let nearest = nearest(name, known.iter().copied());
    Error::UnknownDataset { name: name.to_owned(), nearest, known: known.join(", ") }
}
