//! The vocabulary: the tokens that texts are made of, and their numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::sample::MOST_TOKENS;

use super::END;
use crate::{Error, Result};

/// The text that stands for tokens outside of the vocabulary.
pub const UNKNOWN: &str = "<unk>";
/// Number of values of a byte.
const BYTES: usize = 256;

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// What stands between white space. Texts are written with one space between words.
    #[default]
    Words,
    /// A character (a Unicode scalar value).
    Characters,
    /// A byte of UTF-8; the vocabulary is all 256 of them.
    Bytes,
}

impl Unit {
    /// What one token is called: `word`, `character`, `byte`.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Words => "word",
            Self::Characters => "character",
            Self::Bytes => "byte",
        }
    }
}

/// The tokens of texts; token 0 is the end. A run stores it, so that its samples can be read without the
/// data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary(Arc<Tokens>);

#[derive(PartialEq, Eq)]
struct Tokens {
    unit: Unit,
    /// The text of token `i + 1`; empty for bytes.
    texts: Vec<String>,
    numbers: BTreeMap<String, u16>,
}

/// [`Vocabulary`] as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    tokens: Unit,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vocabulary: Vec<String>,
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        Self { tokens: vocabulary.unit(), vocabulary: vocabulary.0.texts.clone() }
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = String;

    fn try_from(Stored { tokens: unit, vocabulary: texts }: Stored) -> Result<Self, String> {
        Self::new(unit, texts)
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.0.unit, self.0.texts)
    }
}

/// A token outside of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownToken {
    /// Name of its unit: `word` …
    pub noun: &'static str,
    /// The token as the text has it.
    pub token: String,
}

impl Vocabulary {
    /// Makes a vocabulary of tokens 1, 2 …; for bytes `texts` is empty.
    ///
    /// # Errors
    /// A sentence, if a token is not one of its unit, occurs twice, or there are too many tokens.
    pub(crate) fn new(unit: Unit, texts: Vec<String>) -> Result<Self, String> {
        let is_token = |text: &String| match unit {
            Unit::Words => !text.is_empty() && !text.contains(char::is_whitespace),
            Unit::Characters => text == UNKNOWN || text.chars().count() == 1,
            Unit::Bytes => false,
        };
        if let Some(wrong) = texts.iter().find(|text| !is_token(text)) {
            return Err(format!("`{wrong}` is not a {} of a vocabulary", unit.noun()));
        }
        if texts.len() >= MOST_TOKENS || (texts.is_empty() && unit != Unit::Bytes) {
            return Err(format!(
                "a vocabulary must have 2 to {MOST_TOKENS} tokens, including the end token, but has {}",
                texts.len() + 1
            ));
        }
        let numbers: BTreeMap<String, u16> = texts.iter().cloned().zip(1..=u16::MAX).collect();
        if numbers.len() < texts.len() {
            return Err("a vocabulary has a token twice".to_owned());
        }
        Ok(Self(Arc::new(Tokens { unit, texts, numbers })))
    }

    /// The vocabulary of all bytes.
    pub(crate) fn bytes() -> Self {
        Self(Arc::new(Tokens { unit: Unit::Bytes, texts: Vec::new(), numbers: BTreeMap::new() }))
    }

    /// The vocabulary of texts: `<unk>` if `unknown` or a limit requires it, then the tokens by descending
    /// frequency, ties in byte order. Tokens that occur fewer than `min_count` times are left out. So are the
    /// rarest tokens beyond `most`, which counts the end and `<unk>`.
    ///
    /// # Errors
    /// [`Error::Config`] if no token is left, or there are more than a u16 can number.
    pub fn of<'t>(
        unit: Unit,
        texts: impl Iterator<Item = &'t str>,
        min_count: usize,
        most: Option<usize>,
        unknown: bool,
    ) -> Result<Self> {
        let fail = |key, reason| Err(Error::Config { key, reason });
        if most.is_some_and(|most| most < 3) {
            let reason = "must be at least 3: the end, `<unk>` and a token".to_owned();
            return fail("data.text.max_vocabulary", reason);
        }
        if unit == Unit::Bytes {
            return Ok(Self::bytes());
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for text in texts {
            split(unit, text).for_each(|token| *counts.entry(token).or_default() += 1);
        }
        let told = counts.remove(UNKNOWN).is_some();
        let mut tokens: Vec<(&str, usize)> = counts.into_iter().collect();
        let all = tokens.len();
        tokens.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        tokens.retain(|(_, count)| *count >= min_count);
        let room = most.unwrap_or(usize::MAX);
        let unknown = unknown || told || tokens.len() < all || tokens.len() + 1 > room;
        tokens.truncate(room - 1 - usize::from(unknown));
        if tokens.is_empty() {
            let reason = format!("no {} occurs at least {min_count} times", unit.noun());
            return fail("data.text.min_count", reason);
        }
        if tokens.len() + 2 > MOST_TOKENS {
            let reason = format!(
                "there are {all} different {}s, but a vocabulary has at most {MOST_TOKENS} tokens: set \
                 `data.text.min_count` or `data.text.max_vocabulary`",
                unit.noun()
            );
            return fail("data.text", reason);
        }
        let unknown = unknown.then(|| UNKNOWN.to_owned());
        let texts = unknown.into_iter().chain(tokens.into_iter().map(|(token, _)| token.to_owned()));
        Self::new(unit, texts.collect()).map_err(|reason| Error::Config { key: "data.text", reason })
    }

    /// What a token is.
    pub fn unit(&self) -> Unit {
        self.0.unit
    }

    /// Number of tokens, including the end.
    pub fn len(&self) -> usize {
        1 + if self.0.unit == Unit::Bytes { BYTES } else { self.0.texts.len() }
    }

    /// Always false: every vocabulary has the end and another token.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of `<unk>`, if the vocabulary has it.
    pub fn unknown(&self) -> Option<u16> {
        self.number(UNKNOWN)
    }

    /// The number of a word or character.
    pub fn number(&self, token: &str) -> Option<u16> {
        self.0.numbers.get(token).copied()
    }

    /// Converts a text to the numbers of its tokens, without an end. Tokens outside of the vocabulary become
    /// `<unk>`.
    ///
    /// # Errors
    /// The first token outside of the vocabulary, if that has no `<unk>`.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>, UnknownToken> {
        let unit = self.0.unit;
        if unit == Unit::Bytes {
            return Ok(text.bytes().map(|byte| u16::from(byte) + 1).collect());
        }
        let unknown = self.unknown();
        let number = |token: &str| {
            let unknown_token = || UnknownToken { noun: unit.noun(), token: token.to_owned() };
            self.number(token).or(unknown).ok_or_else(unknown_token)
        };
        split(unit, text).map(number).collect()
    }

    /// Converts token numbers to text, up to the first end. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u16]) -> String {
        let tokens = tokens.iter().take_while(|token| **token != END);
        let text = |token: &u16| self.0.texts.get(usize::from(*token) - 1).map_or(UNKNOWN, String::as_str);
        match self.0.unit {
            Unit::Words => tokens.map(text).collect::<Vec<_>>().join(" "),
            Unit::Characters => tokens.map(text).collect(),
            Unit::Bytes => {
                let bytes: Vec<u8> = tokens.map(|token| (*token - 1) as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }
}

impl fmt::Display for UnknownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}` is not in the vocabulary", self.noun, self.token)
    }
}

/// The words or characters of a text.
fn split(unit: Unit, text: &str) -> Box<dyn Iterator<Item = &str> + '_> {
    match unit {
        Unit::Words => Box::new(text.split_whitespace()),
        _ => Box::new(text.char_indices().map(|(at, one)| &text[at..at + one.len_utf8()])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str], min_count: usize, most: Option<usize>, unknown: bool) -> Vec<String> {
        let vocabulary =
            Vocabulary::of(Unit::Words, texts.iter().copied(), min_count, most, unknown).unwrap();
        assert_eq!(vocabulary.len(), vocabulary.0.texts.len() + 1);
        vocabulary.0.texts.clone()
    }

    #[test]
    fn tokens_are_ordered_by_count_and_then_by_bytes() {
        let texts = ["b a c", "c a\tb", " c  Z "];
        assert_eq!(words(&texts, 1, None, false), ["c", "a", "b", "Z"]);
        assert_eq!(words(&texts, 1, None, true), ["<unk>", "c", "a", "b", "Z"]);
        assert_eq!(words(&texts, 2, None, false), ["<unk>", "c", "a", "b"]);
        assert_eq!(words(&texts, 1, Some(5), false), ["c", "a", "b", "Z"]);
        assert_eq!(words(&texts, 1, Some(4), false), ["<unk>", "c", "a"]);
        // The text already has `<unk>`.
        assert_eq!(words(&["a <unk> a"], 1, None, false), ["<unk>", "a"]);
        assert!(Vocabulary::of(Unit::Words, [" "].into_iter(), 1, None, false).is_err());
        assert!(Vocabulary::of(Unit::Words, ["a"].into_iter(), 1, Some(2), false).is_err());
    }

    #[test]
    fn texts_come_back_from_their_numbers() {
        let of = |unit, texts: &[&str]| Vocabulary::of(unit, texts.iter().copied(), 1, None, false).unwrap();
        let words = of(Unit::Words, &["the cat sat", "the dog"]);
        assert_eq!(words.encode("the dog sat").unwrap(), [1, 3, 4]);
        assert_eq!(words.decode(&[1, 3, 4, 0, 2]), "the dog sat");
        let error = words.encode("the zebra").unwrap_err();
        assert_eq!(error.to_string(), "the word `zebra` is not in the vocabulary");
        let characters = of(Unit::Characters, &["añb a"]);
        assert_eq!(characters.encode("a ñ").unwrap(), [1, 2, 4]);
        assert_eq!(characters.decode(&characters.encode("baña").unwrap()), "baña");
        let bytes = of(Unit::Bytes, &[]);
        assert_eq!((bytes.len(), bytes.encode("añ").unwrap()), (257, vec![98, 196, 178]));
        assert_eq!(bytes.decode(&bytes.encode("añ\0").unwrap()), "añ\0", "every byte is a token");
        assert_eq!(bytes.decode(&[196]), "\u{fffd}");
        let cut = Vocabulary::of(Unit::Words, ["a a b"].into_iter(), 2, None, false).unwrap();
        assert_eq!((cut.encode("a q").unwrap(), cut.decode(&[2, 1])), (vec![2, 1], "a <unk>".to_owned()));
    }

    #[test]
    fn checks_stored_values() {
        let vocabulary = Vocabulary::of(Unit::Words, ["a b"].into_iter(), 1, None, true).unwrap();
        let text = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(text, r#"{"tokens":"words","vocabulary":["<unk>","a","b"]}"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&text).unwrap(), vocabulary);
        for wrong in [
            r#"{"tokens":"words","vocabulary":["a","a"]}"#,
            r#"{"tokens":"words","vocabulary":["a b"]}"#,
            r#"{"tokens":"words","vocabulary":[]}"#,
            r#"{"tokens":"characters","vocabulary":["ab"]}"#,
            r#"{"tokens":"bytes","vocabulary":["a"]}"#,
        ] {
            assert!(serde_json::from_str::<Vocabulary>(wrong).is_err(), "{wrong}");
        }
    }
}
