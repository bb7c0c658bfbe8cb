//! What a person is told of data that was read: what was taken for what, what was left out, and what to do about an error.

use waxwork_data::{Dataset, Error, Note};

use crate::failure::Failure;

/// The target of these messages in the log.
const TARGET: &str = "waxwork::notes";
/// Names of classes that are shown.
const SHOWN: usize = 12;

/// Says which images a data set has, of which nothing was known before.
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

/// Says what was taken for what, and warns of what was left out.
pub(crate) fn say(notes: &[Note]) {
    for note in notes {
        if note.is_warning() {
            tracing::warn!(target: TARGET, "{note}");
        } else {
            tracing::info!(target: TARGET, "{note}");
        }
    }
}

/// An error of data that was to be loaded, with what on the command line would mend it.
pub(crate) fn advise(error: Error) -> Failure {
    let advice = match &error {
        Error::Picture { .. } | Error::Row { .. } => {
            "; remove it, or leave such pictures out with `--set data.folder.skip_unreadable=true` (in `train` also \
             `--skip-unreadable`)"
                .to_owned()
        }
        Error::TooSmall { largest, .. } | Error::Sizes { largest, .. } if *largest >= 4 => {
            format!(" (`--set data.folder.size={largest}`)")
        }
        Error::NoFolder => ": name their folder with `--data-dir DIR`".to_owned(),
        _ => String::new(),
    };
    let message = Failure::from(error).message;
    Failure::new(message + &advice)
}
