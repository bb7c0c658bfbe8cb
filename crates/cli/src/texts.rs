//! Texts that commands write: lines, JSON lines, and token numbers.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use waxwork_core::{Device, Tensor, npy, store, values};
use waxwork_data::Split;
use waxwork_data::text;
use waxwork_data::text::{one_line, tokens_of};
use waxwork_models::{Classes, sounds};

use crate::failure::Failure;
use crate::output::{Form, Labelled, extension, write_labels_beside};

/// Checks that texts can be written to `path`. Call this before anything slow.
pub(crate) fn check_target(path: &Path) -> Result<(), Failure> {
    match extension(path).as_deref() {
        Some("txt" | "jsonl" | "npy" | "safetensors") => Ok(()),
        _ => Err(Failure::new(format!(
            "`{}`: texts are written to .txt, .jsonl, .npy or .safetensors files",
            path.display()
        ))),
    }
}

/// Writes texts at rest in the format that the path's extension names: one text per line (.txt), one object
/// per line with its label (.jsonl), token numbers `(N, length)` as an array (.npy, with labels in a separate
/// file next to it), or a tensor `texts`.
pub(crate) fn write(
    path: &Path,
    form: &Form,
    bytes: &[u8],
    labelled: Option<Labelled<'_>>,
) -> Result<(), Failure> {
    let length = form.kind.bytes() / 2;
    let lines: Vec<String> =
        text::tokens(bytes, length).iter().map(|tokens| form.view.line(tokens)).collect();
    match extension(path).as_deref() {
        Some("txt") => store::write(path, whole(lines.iter().map(|line| one_line(line))).as_bytes())?,
        Some("jsonl") => {
            let object = |(place, line): (usize, &String)| {
                let label =
                    labelled.and_then(|Labelled { labels, classes }| Some(classes.name(*labels.get(place)?)));
                match label {
                    Some(label) => json!({"text": line, "label": label}).to_string(),
                    None => json!({"text": line}).to_string(),
                }
            };
            store::write(path, whole(lines.iter().enumerate().map(object)).as_bytes())?;
        }
        Some("npy") => {
            npy::save(path, &numbers(bytes, length)?)?;
            write_labels_beside(path, labelled)?;
        }
        Some("safetensors") => {
            let mut tensors = BTreeMap::from([("texts".to_owned(), numbers(bytes, length)?)]);
            if let Some(Labelled { labels, .. }) = labelled {
                tensors.insert("labels".to_owned(), Tensor::new(labels, &Device::Cpu)?);
            }
            store::save(path, &tensors)?;
        }
        _ => check_target(path)?,
    }
    Ok(())
}

/// Writes each text with its reconstruction: one below the other, then a blank line (.txt), in one object
/// (.jsonl), or alternating.
pub(crate) fn write_pairs(path: &Path, form: &Form, above: &Tensor, below: &Tensor) -> Result<(), Failure> {
    values::check("texts", above)?;
    values::check("texts", below)?;
    let kind = &form.kind;
    let [texts, made] = [above, below].map(|rows| form.view.lines(kind, rows));
    let (texts, made) = (texts?, made?);
    let pairs = texts.iter().zip(&made);
    match extension(path).as_deref() {
        Some("txt") => {
            let lines = pairs.map(|(text, made)| format!("{}\n{}\n", one_line(text), one_line(made)));
            store::write(path, whole(lines).as_bytes())?;
        }
        Some("jsonl") => {
            let object =
                |(text, made): (&String, &String)| json!({"text": text, "reconstruction": made}).to_string();
            store::write(path, whole(pairs.map(object)).as_bytes())?;
        }
        _ => {
            let [texts, made] = [above, below].map(|rows| sounds::at_rest(kind, &form.view, rows, 0));
            let (texts, made, size) = (texts?, made?, kind.bytes());
            let both = texts.chunks_exact(size).zip(made.chunks_exact(size));
            write(
                path,
                form,
                &both.flat_map(|(text, made)| [text, made].concat()).collect::<Vec<_>>(),
                None,
            )?;
        }
    }
    Ok(())
}

/// The texts of a split as a command prints them, each after its class.
pub(crate) fn shown(form: &Form, split: &Split, classes: &Classes) -> Result<String, Failure> {
    let line = |(place, tokens): (usize, &Vec<u16>)| {
        let line = one_line(&form.view.line(tokens));
        split.label(place).map_or_else(|| line.clone(), |label| format!("{}\t{line}", classes.name(label)))
    };
    Ok(whole(tokens_of(split)?.iter().enumerate().map(line)))
}

fn whole(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

/// Token numbers `(N, length)`, u32.
fn numbers(bytes: &[u8], length: usize) -> Result<Tensor, Failure> {
    Ok(Tensor::from_vec(text::numbers(bytes), ((), length), &Device::Cpu)?)
}
