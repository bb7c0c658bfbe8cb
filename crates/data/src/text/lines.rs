//! Files of texts: one text per line, with or without a label, plain or as JSON.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use waxwork_core::store::refuse_special;

use crate::{Error, Result, files};

/// Maximum size of an uncompressed file, in bytes.
const MOST_BYTES: u64 = 1 << 30;
/// Maximum number of texts of a file, and of a part.
pub(super) const MOST_LINES: usize = 10_000_000;
/// Maximum length of a line, in bytes.
const MOST_LINE: usize = 1 << 20;

/// The format of a file's lines, given by the extension of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineFormat {
    /// `.txt`: a line is a text.
    #[default]
    Plain,
    /// `.tsv`: a line is a label, a tab and a text.
    Labelled,
    /// `.jsonl`: a line is an object with `text` and, if there are labels, `label`.
    Json,
    /// A line is a label, a space and a text. Only manifests name this format.
    LabelFirst,
}

/// A text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its line number, counted from 1.
    pub number: usize,
    /// The text itself.
    pub text: String,
    /// Its class, if the file gives one.
    pub label: Option<String>,
}

/// The reason why bytes are not lines of texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Bytes that are not UTF-8.
    #[error(
        "it is not UTF-8 at byte {offset}, in line {line}: convert it, for example with `iconv -t UTF-8`"
    )]
    Encoding {
        /// The offset of the first such byte, counted from 0.
        offset: usize,
        /// Its line number, counted from 1.
        line: usize,
    },
    /// No text at all.
    #[error("it has no texts")]
    Empty,
    /// A line that cannot be read.
    #[error("line {number} {reason}")]
    Line {
        /// The line number, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl LineFormat {
    /// The format of a file of this name, whether compressed by gzip or not; None if it is not a file of
    /// texts.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1 {
            "txt" => Some(Self::Plain),
            "tsv" => Some(Self::Labelled),
            "jsonl" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The JSON object of a line.
#[derive(Deserialize)]
struct Record {
    text: String,
    #[serde(default)]
    label: Option<Label>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Number(i64),
}

/// Parses the texts of a file. Blank lines are skipped. If `blank` is true, those of plain files are texts
/// without a token, because a model may generate such texts.
///
/// # Errors
/// [`LineFault`] names the first invalid byte or line.
pub fn parse(format: LineFormat, bytes: &[u8], blank: bool) -> Result<Vec<Line>, LineFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let line = 1 + bytes[..offset].iter().filter(|byte| **byte == b'\n').count();
        LineFault::Encoding { offset, line }
    })?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let fault = |reason: String| Err(LineFault::Line { number, reason });
        if line.len() > MOST_LINE {
            return fault(format!("has {} bytes, but a line may have {MOST_LINE}", line.len()));
        }
        let is_blank = line.trim().is_empty();
        if is_blank && !(blank && format == LineFormat::Plain) {
            continue;
        }
        let (text, label) = match format {
            LineFormat::Plain => (line.to_owned(), None),
            LineFormat::Labelled => match line.split_once('\t') {
                Some((label, text)) if !label.trim().is_empty() => {
                    (text.to_owned(), Some(label.trim().to_owned()))
                }
                Some(_) => return fault("has no label before its tab".to_owned()),
                None => return fault("has no tab: a line is a label, a tab and a text".to_owned()),
            },
            LineFormat::LabelFirst => match line.split_once(' ') {
                Some((label, text)) if !label.is_empty() => (text.to_owned(), Some(label.to_owned())),
                _ => return fault("is not a label, a space and a text".to_owned()),
            },
            LineFormat::Json => match serde_json::from_str::<Record>(line) {
                Ok(Record { text, label }) => {
                    let label = label.map(|label| match label {
                        Label::Text(text) => text,
                        Label::Number(number) => number.to_string(),
                    });
                    (text, label)
                }
                Err(error) => {
                    return fault(format!(
                        "is no object with a string `text` and, where there are labels, a string or whole number `label`: {error}"
                    ));
                }
            },
        };
        let has_label = |line: &Line| line.label.is_some();
        if lines.first().is_some_and(|first| has_label(first) != label.is_some()) {
            let (has, first) = if label.is_some() { ("a", "no") } else { ("no", "a") };
            return fault(format!("has {has} label, but the first text has {first} label"));
        }
        if lines.len() == MOST_LINES {
            return fault(format!("is one more than the {MOST_LINES} texts that a file may have"));
        }
        lines.push(Line { number, text, label });
    }
    if lines.is_empty() { Err(LineFault::Empty) } else { Ok(lines) }
}

/// Reads the texts of a file, whether compressed by gzip or not.
///
/// # Errors
/// [`Error::Io`]; [`Error::Lines`] as for [`parse`], for another extension, or if the file is too large.
pub(crate) fn read(path: &Path, blank: bool) -> Result<Vec<Line>> {
    let at = |reason: String| Error::Lines { path: path.to_path_buf(), reason };
    let format = LineFormat::of(path)
        .ok_or_else(|| at("texts come from .txt, .tsv or .jsonl files, compressed as .gz or not".into()))?;
    parse(format, &contents(path)?, blank).map_err(|fault| at(fault.to_string()))
}

/// Returns the uncompressed bytes of a file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Lines`] if the file is too large.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>> {
    refuse_special(path).map_err(Error::io("open", path))?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    let from = files::unpacked(file).map_err(Error::io("read", path))?;
    from.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MOST_BYTES {
        let reason = format!("it has more than {MOST_BYTES} bytes: cut it into parts");
        return Err(Error::Lines { path: path.to_path_buf(), reason });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(format: LineFormat, bytes: &[u8]) -> Vec<(usize, String, Option<String>)> {
        let lines = parse(format, bytes, false).unwrap();
        lines.into_iter().map(|line| (line.number, line.text, line.label)).collect()
    }

    fn said(format: LineFormat, bytes: &[u8]) -> String {
        parse(format, bytes, false).unwrap_err().to_string()
    }

    #[test]
    fn every_format_gives_texts_and_labels() {
        let line =
            |number, text: &str, label: Option<&str>| (number, text.to_owned(), label.map(str::to_owned));
        let plain = b"\xef\xbb\xbfone two\r\n\n  three\n";
        assert_eq!(texts(LineFormat::Plain, plain), [line(1, "one two", None), line(3, "  three", None)]);
        assert_eq!(parse(LineFormat::Plain, plain, true).unwrap().len(), 3);
        let labelled = "good\tnice film\n bad \tdull\tfilm\nbad\t\n".as_bytes();
        assert_eq!(
            texts(LineFormat::Labelled, labelled),
            [
                line(1, "nice film", Some("good")),
                line(2, "dull\tfilm", Some("bad")),
                line(3, "", Some("bad"))
            ]
        );
        assert_eq!(
            texts(LineFormat::LabelFirst, b"0 How far ?\n12 Who\n"),
            [line(1, "How far ?", Some("0")), line(2, "Who", Some("12"))]
        );
        let json =
            b"{\"text\": \"a\\u00e9\", \"label\": 3, \"more\": []}\n{\"label\": \"x\", \"text\": \"\"}";
        assert_eq!(texts(LineFormat::Json, json), [line(1, "aé", Some("3")), line(2, "", Some("x"))]);
    }

    #[test]
    fn faults_are_named_by_their_place() {
        let latin = said(LineFormat::Plain, b"one\ncaf\xe9\n");
        assert!(latin.starts_with("it is not UTF-8 at byte 7, in line 2"), "{latin}");
        assert_eq!(said(LineFormat::Plain, b"\n  \n"), "it has no texts");
        assert_eq!(said(LineFormat::Json, b""), "it has no texts");
        let tab = said(LineFormat::Labelled, b"a\tb\nnothing\n");
        assert_eq!(tab, "line 2 has no tab: a line is a label, a tab and a text");
        assert_eq!(said(LineFormat::Labelled, b"\tb"), "line 1 has no label before its tab");
        assert_eq!(said(LineFormat::LabelFirst, b"0 a\n1\n"), "line 2 is not a label, a space and a text");
        let json = said(LineFormat::Json, b"{\"text\": \"a\"}\n\n[1]");
        assert!(json.starts_with("line 3 is no object with a string `text`"), "{json}");
        let mixed = said(LineFormat::Json, b"{\"text\": \"a\"}\n{\"text\": \"b\", \"label\": \"x\"}");
        assert_eq!(mixed, "line 2 has a label, but the first text has no label");
        let long = said(LineFormat::Plain, &[b'a'; MOST_LINE + 1]);
        assert_eq!(long, "line 1 has 1048577 bytes, but a line may have 1048576");
    }

    #[test]
    fn endings_say_the_format() {
        for (name, format) in [
            ("a.txt", Some(LineFormat::Plain)),
            ("ptb.train.TXT.gz", Some(LineFormat::Plain)),
            ("a.tsv", Some(LineFormat::Labelled)),
            ("a.jsonl.gz", Some(LineFormat::Json)),
            ("a.csv", None),
            ("txt", None),
        ] {
            assert_eq!(LineFormat::of(name.as_ref()), format, "{name}");
        }
    }
}
