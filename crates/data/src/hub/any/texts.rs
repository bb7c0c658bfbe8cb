//! Texts of a data set of the Hub, written as the files of lines that texts are read from.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::Part;
use crate::notes::Note;
use crate::{Error, Result};

/// The file of the notes about what was fetched, next to the files of the parts.
const NOTES: &str = "notes.json";

/// The object of a line.
#[derive(Serialize)]
struct Record<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

/// Writes a folder `path` of a training part and, if there is one, a test part. Blank rows are left out, as
/// blank lines of files are, and rows without a label if there are classes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a text that is not UTF-8; [`Error::Layout`] for a label without a
/// class.
pub(super) fn write(path: &Path, parts: &[&Part], classes: &[String], mut notes: Vec<Note>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!("{name}.partial-{}", std::process::id()));
    fs::create_dir_all(&beside).map_err(Error::io("create", &beside))?;
    let mut fill = || -> Result<()> {
        for (part, name) in parts.iter().zip(["train", "test"]) {
            write_part(&beside.join(format!("{name}.jsonl")), part, classes, &mut notes)?;
        }
        let file = beside.join(NOTES);
        let notes = serde_json::to_vec_pretty(&notes)
            .map_err(|error| Error::format(&file, "notes that can be written", error.to_string()))?;
        fs::write(&file, notes).map_err(Error::io("write", &file))?;
        match fs::rename(&beside, path) {
            Ok(()) => Ok(()),
            // Another process was faster. Its files have the same contents.
            Err(_) if path.is_dir() => fs::remove_dir_all(&beside).map_err(Error::io("remove", &beside)),
            Err(error) => Err(Error::io("rename", &beside)(error)),
        }
    };
    let filled = fill();
    if filled.is_err() {
        // Report the first error.
        _ = fs::remove_dir_all(&beside);
    }
    filled
}

fn write_part(path: &Path, part: &Part, classes: &[String], notes: &mut Vec<Note>) -> Result<()> {
    let labels = if classes.is_empty() { Vec::new() } else { part.labels(classes)?.concat() };
    let unlabelled = labels.iter().filter(|label| label.is_none()).count();
    if unlabelled > 0 {
        notes.push(Note::Unlabelled { part: part.name.clone(), rows: unlabelled });
    }
    let mut file = BufWriter::new(File::create(path).map_err(Error::io("create", path))?);
    let (mut before, mut blank) = (0, 0);
    for (table, columns) in part.tables.iter().zip(&part.columns) {
        table.texts(columns, |row, text| {
            let label = labels.get(before + row).copied().flatten();
            if !classes.is_empty() && label.is_none() {
                return Ok(());
            }
            let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
                blank += 1;
                return Ok(());
            };
            let label = label.and_then(|label| classes.get(label as usize)).map(String::as_str);
            let line = serde_json::to_string(&Record { text, label })
                .map_err(|error| Error::format(path, "a text that can be written", error.to_string()))?;
            writeln!(file, "{line}").map_err(Error::io("write", path))
        })?;
        before += table.rows();
    }
    if blank > 0 {
        let rows = if blank == 1 { "1 row is".to_owned() } else { format!("{blank} rows are") };
        let doubt = format!("{rows} left out because there is no text in `{}`", part.name);
        notes.push(Note::Texts { doubt });
    }
    file.flush().map_err(Error::io("write", path))?;
    file.get_ref().sync_all().map_err(Error::io("sync", path))
}

/// The notes about the texts that were fetched into a folder.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if the file is damaged.
pub(crate) fn notes(folder: &Path) -> Result<Vec<Note>> {
    let path = folder.join(NOTES);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::format(&path, "notes about what was fetched", error.to_string()))
}
