//! A description of a file of texts, for people: their number, lengths, tokens and labels.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::{TextConfig, Vocabulary, load, one_line, tokens};
use crate::Result;

/// Number of most frequent tokens, and of texts, in a description.
const SHOWN: usize = 10;

/// The texts of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextDescription {
    /// Training texts.
    pub train: usize,
    /// Test texts; without a test part, those held out as one.
    pub test: usize,
    /// Labels, each with its number of training texts.
    pub classes: Vec<(String, usize)>,
    /// Name of a token: `word` …
    pub token: &'static str,
    /// Size of the vocabulary, including the end.
    pub vocabulary: usize,
    /// Maximum number of tokens of a text, including its end. Networks see all texts at this length.
    pub length: usize,
    /// Tokens of the shortest, the median and the longest training text.
    pub tokens: [usize; 3],
    /// The most frequent tokens of the training part, each with its count.
    pub frequent: Vec<(String, usize)>,
    /// The first training texts as a model sees them.
    pub first: Vec<String>,
    /// How texts were changed to fit.
    pub notes: Vec<String>,
}

impl TextDescription {
    /// Describes a file, or a folder of files.
    ///
    /// # Errors
    /// As for loading the data set `text`.
    pub fn of(path: &Path, config: &TextConfig) -> Result<Self> {
        let load::Loaded { parts, classes, vocabulary, notes } = load::load(path, config)?;
        let (train, kind) = (parts.train.as_ref(), parts.train.kind());
        let length = kind.bytes() / 2;
        let mut bytes = vec![0; kind.bytes() * train.len()];
        for (index, text) in bytes.chunks_exact_mut(kind.bytes()).enumerate() {
            train.write_sample(index, text)?;
        }
        let texts = tokens(&bytes, length);
        let mut counts = vec![0; classes.len()];
        (0..train.len()).filter_map(|index| train.label(index)).for_each(|label| counts[label as usize] += 1);
        let mut lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        let at = |place: usize| lengths.get(place).copied().unwrap_or_default();
        Ok(Self {
            train: train.len(),
            test: parts.test.len(),
            classes: classes.into_iter().zip(counts).collect(),
            token: vocabulary.unit().noun(),
            vocabulary: vocabulary.len(),
            length,
            tokens: [at(0), at(lengths.len() / 2), at(lengths.len().saturating_sub(1))],
            frequent: frequent(&texts, &vocabulary),
            first: texts.iter().take(SHOWN).map(|text| vocabulary.decode(text)).collect(),
            notes: notes.iter().map(ToString::to_string).collect(),
        })
    }
}

fn frequent(texts: &[Vec<u16>], vocabulary: &Vocabulary) -> Vec<(String, usize)> {
    let mut counts: HashMap<u16, usize> = HashMap::new();
    texts.iter().flatten().for_each(|token| *counts.entry(*token).or_default() += 1);
    let mut counts: Vec<(u16, usize)> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(token, count)| (std::cmp::Reverse(*count), *token));
    counts.into_iter().take(SHOWN).map(|(token, count)| (vocabulary.decode(&[token]), count)).collect()
}

impl fmt::Display for TextDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = |pairs: &[(String, usize)]| {
            pairs.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let [least, median, most] = self.tokens;
        writeln!(f, "texts       {} for training, {} for testing", self.train, self.test)?;
        if !self.classes.is_empty() {
            writeln!(f, "labels      {}", pairs(&self.classes))?;
        }
        writeln!(f, "length      {least} to {most} {}s, median {median}", self.token)?;
        writeln!(f, "vocabulary  {} tokens, the end among them", self.vocabulary)?;
        writeln!(f, "seen as     {}×{}", self.length, self.vocabulary)?;
        writeln!(f, "frequent    {}", one_line(&pairs(&self.frequent)))?;
        for note in &self.notes {
            writeln!(f, "note        {note}")?;
        }
        writeln!(f, "first texts")?;
        self.first.iter().try_for_each(|text| writeln!(f, "  {}", one_line(text)))
    }
}
