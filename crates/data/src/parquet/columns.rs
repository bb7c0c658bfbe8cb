//! The columns of a parquet file that hold images, recordings or texts, and labels: by the Hub's own
//! description of the columns or, without one, by their names and types.

use std::fmt;

use ::parquet::schema::types::{ColumnDescriptor, Type};
use serde_json::Value;

use super::{Table, is_number, is_text};
use crate::notes::Note;
use crate::{Error, Result};

/// The key of the Hub's column description in a parquet file.
const FEATURES: &str = "huggingface";
/// Usual names of columns of recordings.
const AUDIO: [&str; 4] = ["audio", "sound", "recording", "speech"];
/// Usual names of label columns, the best first.
const LABELS: [&str; 7] = ["label", "labels", "class", "category", "target", "targets", "y"];
/// Usual names of columns of texts, the best first.
const TEXTS: [&str; 2] = ["text", "sentence"];

/// The columns of samples and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// The column of images, of recordings, or of texts.
    pub(super) samples: String,
    pub(crate) content: Content,
    pub(crate) labels: Labels,
}

/// What the samples of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Encoded images.
    Images,
    /// Encoded recordings.
    Recordings,
    /// Texts.
    Texts,
}

impl Content {
    /// The note that samples have no labels, for this reason.
    pub(crate) fn no_labels(self, reason: String) -> Note {
        match self {
            Self::Images => Note::NoLabels { reason },
            Self::Recordings => Note::Sounds { doubt: format!("the sounds have no labels: {reason}") },
            Self::Texts => Note::Texts { doubt: format!("the texts have no labels: {reason}") },
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Recordings => "recordings",
            Self::Texts => "texts",
        })
    }
}

/// The column that gives the class of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// There is none.
    None,
    /// A column of class numbers.
    Numbers {
        column: String,
        /// The names of the classes, in the order of their numbers; empty if the file does not name them.
        names: Vec<String>,
    },
    /// A column of class names.
    Words { column: String },
}

impl Table {
    /// Finds the columns of samples and labels, and returns notes about the choice. The samples are the texts
    /// of the column `texts`; without one, they are images, or else recordings, or else texts.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no column of texts `texts`, or no column holds images, recordings or
    /// texts.
    pub(crate) fn columns(&self, texts: Option<&str>) -> Result<(Columns, Vec<Note>)> {
        let described = self.file.note(FEATURES).and_then(|text| serde_json::from_str(text).ok());
        let described: Value = described.unwrap_or_default();
        let features = &described["info"]["features"];
        let fields = self.file.schema().root_schema().get_fields();
        let all: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        let kind = |name: &str| features[name]["_type"].as_str();
        let mut notes = Vec::new();

        let is_group =
            |field: &Type| field.is_group() && field.get_fields().iter().any(|part| part.name() == "bytes");
        let content = |field: &Type| match kind(field.name()) {
            Some("Image") => Some(Content::Images),
            Some("Audio") => Some(Content::Recordings),
            Some(_) => None,
            None if !is_group(field) => None,
            None if AUDIO.iter().any(|known| field.name().eq_ignore_ascii_case(known)) => {
                Some(Content::Recordings)
            }
            None => Some(Content::Images),
        };
        let holding = |wanted: Content| -> Vec<&str> {
            let fields = fields.iter().filter(|field| content(field) == Some(wanted));
            fields.map(|field| field.name()).collect()
        };
        let has_texts = |name: &str| self.leaf(name, "texts", is_text).is_ok();
        let (suitable, expected): (Vec<(Content, Vec<&str>)>, String) = match texts {
            Some(asked) => {
                let found = all.iter().copied().find(|name| *name == asked && has_texts(name));
                let texts = found.into_iter().collect();
                (vec![(Content::Texts, texts)], format!("a column of texts `{asked}`"))
            }
            None => {
                let named = |known: &&str| all.iter().copied().find(|name| name.eq_ignore_ascii_case(known));
                let texts = TEXTS.iter().filter_map(named).filter(|name| has_texts(name)).collect();
                let [images, recordings] =
                    [Content::Images, Content::Recordings].map(|wanted| (wanted, holding(wanted)));
                let expected =
                    "a column of images or recordings, or one of texts called `text` or `sentence`";
                (vec![images, recordings, (Content::Texts, texts)], expected.to_owned())
            }
        };
        let choice = suitable.iter().find_map(|(content, columns)| {
            let (first, others) = columns.split_first()?;
            Some((*content, *first, others))
        });
        let Some((content, samples, others)) = choice else {
            return Err(Error::format(self.path(), expected, format!("the columns {}", all.join(", "))));
        };
        let purpose = match content {
            Content::Images => "pictures",
            Content::Recordings => "recordings",
            Content::Texts => "texts",
        };
        notes.extend(taken(purpose, samples, others));

        let by_name =
            || LABELS.iter().flat_map(|known| all.iter().filter(|name| name.eq_ignore_ascii_case(known)));
        let classes: Vec<&str> =
            all.iter().copied().filter(|name| kind(name) == Some("ClassLabel")).collect();
        // A column described as a class takes precedence over one with a suitable name.
        let likely = by_name().copied().filter(|name| classes.is_empty() || classes.contains(name));
        let mut candidates: Vec<&str> = likely.chain(classes.iter().copied()).collect();
        let mut seen = Vec::new();
        candidates.retain(|name| {
            *name != samples && !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        let numbers =
            |name: &str| Labels::Numbers { column: name.to_owned(), names: names_of(&features[name]) };
        let usable = |name: &str| {
            if self.leaf(name, "", is_number).is_ok() {
                Some(numbers(name))
            } else if self.leaf(name, "", is_text).is_ok() {
                Some(Labels::Words { column: name.to_owned() })
            } else {
                None
            }
        };
        let found = candidates.iter().find_map(|name| Some((*name, usable(name)?)));
        let labels = match found {
            Some((name, labels)) => {
                let others: Vec<&str> = candidates.iter().copied().filter(|other| *other != name).collect();
                notes.extend(taken("labels", name, &others));
                labels
            }
            None if content == Content::Texts => Labels::None,
            None => {
                let reason = match candidates.first() {
                    Some(name) => format!("the column `{name}` holds neither a number nor a word per row"),
                    None => format!("none of the columns {} contains labels", all.join(", ")),
                };
                notes.push(content.no_labels(reason));
                Labels::None
            }
        };
        Ok((Columns { samples: samples.to_owned(), content, labels }, notes))
    }

    /// Returns the leaf column below `root` that `fits`. A column with more than one value per row does not
    /// fit.
    pub(super) fn leaf(&self, root: &str, what: &str, fits: fn(&ColumnDescriptor) -> bool) -> Result<usize> {
        let leaves = self.file.schema().columns();
        let below = |leaf: &ColumnDescriptor| leaf.path().parts().first().is_some_and(|first| first == root);
        let found = leaves.iter().position(|leaf| below(leaf) && leaf.max_rep_level() == 0 && fits(leaf));
        found.ok_or_else(|| Error::format(self.path(), format!("{what} in the column `{root}`"), "none"))
    }
}

/// Returns a note if other columns would have been suitable too.
fn taken(purpose: &str, taken: &str, others: &[&str]) -> Option<Note> {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    (!others.is_empty()).then(|| Note::Column {
        purpose: purpose.to_owned(),
        taken: taken.to_owned(),
        others,
    })
}

/// Returns the names of the classes in the description of a column.
fn names_of(feature: &Value) -> Vec<String> {
    let names = feature["names"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}
