//! Notes about what a reader assumed and what it left out. A reader never ignores a part of a data set
//! silently.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Maximum number of names that a note lists. Beyond it, the note only counts.
pub(crate) const LISTED: usize = 5;

/// One thing that a reader assumed, or left out, when it read a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Note {
    /// The directories or splits that are the parts.
    Parts {
        /// The part to train on.
        train: String,
        /// The part to measure on; None if a share of the training images is held out for that.
        test: Option<String>,
    },
    /// A part, or a directory next to the parts, is not used.
    Unused {
        /// Its name.
        name: String,
        /// Images in it; None if nobody counted.
        pictures: Option<usize>,
        /// Why.
        reason: String,
    },
    /// Images of a class are in directories below its own.
    Nested {
        /// The class.
        class: String,
        /// Number of directories below the class directory.
        directories: usize,
        /// Images in them.
        pictures: usize,
    },
    /// Directories are clips of numbered frames, not classes.
    Unclassed {
        /// Number of directories.
        directories: usize,
    },
    /// Images in formats that the reader does not support.
    OtherPictures {
        /// How many.
        count: usize,
        /// Number by ending, e.g. `3 .heic, 1 .psd`.
        endings: String,
    },
    /// Files that are not images, by their ending.
    OtherFiles {
        /// How many.
        count: usize,
        /// Number by ending, e.g. `20 .txt`.
        endings: String,
    },
    /// Files and directories whose names begin with a dot, and those that operating systems create.
    Hidden {
        /// How many.
        count: usize,
        /// Some of their names.
        names: Vec<String>,
    },
    /// Links to a directory above themselves, broken links, pipes, sockets and devices.
    NoFile {
        /// How many.
        count: usize,
        /// Some of their paths.
        paths: Vec<String>,
    },
    /// Images that cannot be decoded.
    Unreadable {
        /// How many.
        count: usize,
        /// Some of them, each with the reason.
        examples: Vec<String>,
    },
    /// Classes of the training part without an image in the test part.
    Untested {
        /// How many.
        count: usize,
        /// Some of their names.
        classes: Vec<String>,
    },
    /// Classes whose only images went to the test part when it was split off.
    Untrained {
        /// How many.
        count: usize,
        /// Some of their names.
        classes: Vec<String>,
    },
    /// Rows without a label (none, or a negative number) in a part that has labels.
    Unlabelled {
        /// The part.
        part: String,
        /// How many rows.
        rows: usize,
    },
    /// No label column was found, so the images have no labels.
    NoLabels {
        /// The columns there are, or why one does not qualify.
        reason: String,
    },
    /// The reader chose one of several suitable columns.
    Column {
        /// What for: `pictures`, `recordings`, `texts` or `labels`.
        purpose: String,
        /// The chosen column.
        taken: String,
        /// The others.
        others: Vec<String>,
    },
    /// Something in a table's inferred schema is doubtful.
    Table {
        /// A sentence.
        doubt: String,
    },
    /// Recordings were changed to make sounds of one kind.
    Sounds {
        /// A sentence.
        doubt: String,
    },
    /// Texts were changed to fit their vocabulary and length.
    Texts {
        /// A sentence.
        doubt: String,
    },
    /// The packed file of an older version was replaced.
    Remade {
        /// Why.
        reason: String,
    },
}

impl Note {
    /// True if samples are left out or mean something unexpected; false if the note only says what was found.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Parts { .. }
            | Self::Unclassed { .. }
            | Self::OtherFiles { .. }
            | Self::Hidden { .. }
            | Self::Remade { .. } => false,
            Self::Unused { pictures, .. } => pictures.is_some_and(|pictures| pictures > 0),
            Self::Nested { .. }
            | Self::OtherPictures { .. }
            | Self::NoFile { .. }
            | Self::Unreadable { .. }
            | Self::Untested { .. }
            | Self::Untrained { .. }
            | Self::Unlabelled { .. }
            | Self::NoLabels { .. }
            | Self::Column { .. }
            | Self::Table { .. }
            | Self::Sounds { .. }
            | Self::Texts { .. } => true,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts { train, test: Some(test) } => {
                write!(f, "the training part is `{train}`, the test part is `{test}`")
            }
            Self::Parts { train, test: None } => {
                write!(f, "the training part is `{train}`; a tenth of it is held out as the test part")
            }
            Self::Unused { name, pictures: Some(pictures), reason } if name == "." => {
                write!(f, "{} not used: {reason}", some(*pictures, "sample is", "samples are"))
            }
            Self::Unused { name, pictures, reason } => {
                let pictures = pictures.map(|count| format!(" ({})", some(count, "sample", "samples")));
                write!(f, "`{name}` is not used{}: {reason}", pictures.unwrap_or_default())
            }
            Self::Nested { class, directories, pictures } => {
                let pictures = some(*pictures, "sample", "samples");
                let directories = some(*directories, "subdirectory", "subdirectories");
                write!(f, "class `{class}` includes {pictures} from {directories}")
            }
            Self::Unclassed { directories } => {
                let read = some(*directories, "directory of frames is", "directories of frames are");
                write!(
                    f,
                    "{read} read as {}, without classes",
                    if *directories == 1 { "a clip" } else { "clips" }
                )
            }
            Self::OtherPictures { count, endings } => {
                let pictures = some(*count, "sample is", "samples are");
                let formats = if *count == 1 { "its format is" } else { "their formats are" };
                write!(f, "{pictures} left out because {formats} not supported: {endings}")
            }
            Self::OtherFiles { count, endings } => {
                write!(f, "{} left out: {endings}", some(*count, "other file is", "other files are"))
            }
            Self::Hidden { count, names } => {
                let entries = some(*count, "hidden entry is", "hidden entries are");
                write!(f, "{entries} left out: {}", listed(names, *count))
            }
            Self::NoFile { count, paths } => {
                let entries = some(*count, "entry is", "entries are");
                let kind = if *count == 1 {
                    "it is a broken or circular link, or not a regular file"
                } else {
                    "they are broken or circular links, or not regular files"
                };
                write!(f, "{entries} left out because {kind}: {}", listed(paths, *count))
            }
            Self::Unreadable { count, examples } => {
                let pictures = some(*count, "sample", "samples");
                let were = if *count == 1 { "was" } else { "were" };
                write!(f, "{pictures} cannot be read and {were} left out: {}", listed(examples, *count))
            }
            Self::Untested { count, classes } => {
                let of = some(*count, "class", "classes");
                write!(f, "the test part has no sample of {of}: {}", listed(classes, *count))
            }
            Self::Untrained { count, classes } => {
                let of = some(*count, "class", "classes");
                write!(f, "no sample is left for training of {of}: {}", listed(classes, *count))
            }
            Self::Unlabelled { part, rows } => {
                let have = if *rows == 1 { "it has" } else { "they have" };
                let rows = some(*rows, "row is", "rows are");
                write!(f, "{rows} left out because {have} no label in `{part}`")
            }
            Self::NoLabels { reason } => write!(f, "the images have no labels: {reason}"),
            Self::Column { purpose, taken, others } => {
                write!(f, "the {purpose} come from column `{taken}`; unused: {}", others.join(", "))
            }
            Self::Table { doubt } | Self::Sounds { doubt } | Self::Texts { doubt } => f.write_str(doubt),
            Self::Remade { reason } => write!(f, "the packed images were made again: {reason}"),
        }
    }
}

/// Formats a count: `1 picture`, `2 pictures`.
fn some(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Lists some names out of `count`.
fn listed(names: &[String], count: usize) -> String {
    let more = if count > names.len() { ", …" } else { "" };
    names.join(", ") + more
}
