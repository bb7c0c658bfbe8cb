//! Messages about what a command does with its input: how folders and columns were interpreted, and what was
//! left out.

use waxwork_data::{Dataset, Note};

/// The target of these messages in the log.
const TARGET: &str = "waxwork::notes";
/// Maximum number of class names to show.
const SHOWN: usize = 12;

/// Logs the number, shape and classes of the samples of a data set without a manifest.
pub(crate) fn taken(data: &Dataset) {
    let classes = &data.info.classes;
    let names = classes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    let of = match classes.len() {
        0 => "without classes".to_owned(),
        1 => format!("of one class: {names}"),
        count => format!("of {count} classes: {names}{more}"),
    };
    let (train, validation, test) = (data.train.len(), data.validation.len(), data.test.len());
    let what = data.info.kind.plural();
    let shape = data.info.kind.image().map_or_else(|| data.info.kind.to_string(), |shape| shape.to_string());
    tracing::info!(
        target: TARGET,
        "{train} training, {validation} validation and {test} test {what}, {shape}, {of}"
    );
}

/// Logs how data was interpreted, and warns about what was left out.
pub(crate) fn say(notes: &[Note]) {
    for note in notes {
        if note.is_warning() {
            tracing::warn!(target: TARGET, "{note}");
        } else {
            tracing::info!(target: TARGET, "{note}");
        }
    }
}

/// Logs that samples of a model that completes images are not compared with real ones.
pub(crate) fn no_samples_of_completions() {
    tracing::info!(
        target: TARGET,
        "this model completes images: its completions share pixels with real images, so they are not compared with them"
    );
}
