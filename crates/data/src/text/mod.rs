//! Texts: lines of files as sequences of tokens of one length, and the vocabulary that numbers the tokens.
//!
//! At rest, a text is a little-endian u16 per token, as many as the longest text of its kind may have. Token
//! 0 ends a text and fills the rest.

mod describe;
pub mod lines;
pub(crate) mod load;
pub mod vocabulary;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::sample::{Range, Segment};
use waxwork_core::{Kind, SampleSpec};

use crate::dataset::Split;
use crate::{Error, Result};

pub use crate::longer::Longer;
pub use describe::TextDescription;
pub use lines::{Line, LineFormat};
pub use load::{Texts, read};
pub use vocabulary::{UNKNOWN, Unit, Vocabulary};

/// The token that ends a text.
pub const END: u16 = 0;

/// How lines become texts, and which tokens they are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// What a token is.
    pub tokens: Unit,
    /// Maximum number of tokens of a text, including its end; default: that of the longest text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// What happens to longer texts.
    pub longer: Longer,
    /// Words or characters that occur fewer times than this in the training part are read as `<unk>`.
    pub min_count: usize,
    /// Maximum vocabulary size with the end and `<unk>`; rarer tokens are read as `<unk>`. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_vocabulary: Option<usize>,
    /// The column of a data set of the Hub that holds the texts; default: `text` or `sentence`, if there are no images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            tokens: Unit::Words,
            length: None,
            longer: Longer::Refuse,
            min_count: 1,
            max_vocabulary: None,
            column: None,
        }
    }
}

/// A text without line breaks and other control characters, except tabs, for files of lines and for terminals.
pub fn one_line(text: &str) -> String {
    let plain = |character: char| if character.is_control() && character != '\t' { ' ' } else { character };
    text.chars().map(plain).collect()
}

/// The tokens before the end of each text at rest.
pub fn tokens(bytes: &[u8], length: usize) -> Vec<Vec<u16>> {
    let text = |bytes: &[u8]| {
        let numbers = bytes.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number));
        numbers.take_while(|token| *token != END).collect()
    };
    bytes.chunks_exact((2 * length).max(1)).map(text).collect()
}

/// A text at rest: its tokens, filled up with ends. Tokens beyond `length` are dropped.
pub fn at_rest(tokens: &[u16], length: usize) -> impl Iterator<Item = u8> {
    let padded = tokens.iter().copied().chain(std::iter::repeat(END)).take(length);
    padded.flat_map(u16::to_le_bytes)
}

/// The tokens before the end of each text of a split, in its order.
///
/// # Errors
/// [`Error::Config`] if its samples are not texts; errors of the source.
pub fn tokens_of(split: &Split) -> Result<Vec<Vec<u16>>> {
    let Kind::Text { length, .. } = *split.kind() else { return Err(no_texts(split.kind())) };
    let bytes = split.bytes(&(0..split.len()).collect::<Vec<_>>())?;
    Ok(tokens(&bytes, length))
}

/// The sample of a text: a one-hot row per position, as models make it. A batch of texts holds token numbers
/// instead.
///
/// # Errors
/// If such texts are impossible, or have too many values.
pub(crate) fn spec(vocabulary: usize, length: usize) -> waxwork_core::Result<SampleSpec> {
    SampleSpec::new(vec![length, vocabulary], vec![Segment { width: vocabulary, range: Range::OneHot }])
}

/// The token numbers of texts at rest, one after the other.
pub fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<2>().0.iter().map(|number| u32::from(u16::from_le_bytes(*number))).collect()
}

/// Texts at rest, from token numbers `(N, length)` u32 or from outputs of networks `(N, length, vocabulary)`.
/// Each position of an output gets the token of the largest value, the first of them if several are equal.
/// After the first end, all tokens are ends.
///
/// # Errors
/// [`Error::Config`] if `kind` is not a kind of text, or the tensor has another shape or another token.
pub fn from_tensor(kind: &Kind, texts: &Tensor) -> Result<Vec<u8>> {
    let Kind::Text { vocabulary, length } = *kind else { return Err(no_texts(kind)) };
    let fail = |reason: String| Err(Error::Config { key: "data.text", reason });
    let host = texts.to_device(&Device::Cpu)?.flatten_all()?;
    let tokens: Vec<u16> = match texts.dims() {
        &[_, found] if found == length && texts.dtype() == DType::U32 => {
            let numbers = host.to_vec1::<u32>()?;
            if let Some(token) = numbers.iter().find(|token| **token as usize >= vocabulary) {
                return fail(format!("there is no token {token} in {kind}"));
            }
            numbers.into_iter().map(|token| token as u16).collect()
        }
        &[_, found, width] if (found, width) == (length, vocabulary) => {
            let most = |row: &[f32]| {
                let first = |best: usize, place: usize| if row[place] > row[best] { place } else { best };
                (1..row.len()).fold(0, first) as u16
            };
            host.to_dtype(DType::F32)?.to_vec1::<f32>()?.chunks_exact(vocabulary).map(most).collect()
        }
        dims => return fail(format!("a tensor of shape {dims:?} does not fit {kind}")),
    };
    let mut bytes = Vec::with_capacity(2 * tokens.len());
    for text in tokens.chunks_exact(length) {
        let end = text.iter().position(|token| *token == END).unwrap_or(length);
        bytes.extend(at_rest(&text[..end], length));
    }
    Ok(bytes)
}

fn no_texts(kind: &Kind) -> Error {
    Error::Config { key: "data", reason: format!("{kind} are no texts") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_at_rest_are_padded_and_come_back() {
        let bytes: Vec<u8> =
            [&[3u16, 1][..], &[], &[2, 2, 2, 300]].iter().flat_map(|t| at_rest(t, 4)).collect();
        assert_eq!(bytes.len(), 24);
        assert_eq!(tokens(&bytes, 4), [vec![3, 1], vec![], vec![2, 2, 2, 300]]);
        assert_eq!(at_rest(&[1, 2, 3], 2).collect::<Vec<_>>(), [1, 0, 2, 0]);
    }

    #[test]
    fn a_text_ends_at_its_first_end() {
        let kind = Kind::Text { vocabulary: 3, length: 4 };
        let rows = [
            [[0.1f32, 0.2, 0.7], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]],
        ];
        let rows = Tensor::new(&rows, &Device::Cpu).unwrap();
        let bytes = from_tensor(&kind, &rows).unwrap();
        assert_eq!(tokens(&bytes, 4), [vec![2], vec![1, 2, 1, 1]]);
        assert_eq!(bytes[..8], [2, 0, 0, 0, 0, 0, 0, 0], "nothing but ends after the end");
        let numbers = Tensor::new(&[[2u32, 0, 1, 2], [1, 2, 1, 1]], &Device::Cpu).unwrap();
        assert_eq!(from_tensor(&kind, &numbers).unwrap(), bytes);
        for wrong in [Kind::Text { vocabulary: 4, length: 4 }, Kind::Points { dimensions: 2 }] {
            assert!(from_tensor(&wrong, &rows).is_err());
        }
        for wrong in [Kind::Text { vocabulary: 3, length: 2 }, Kind::Text { vocabulary: 2, length: 4 }] {
            assert!(from_tensor(&wrong, &numbers).is_err());
        }
    }
}
