//! Errors between a recipe or a run folder and a model.

use std::path::PathBuf;

/// An error of a recipe or of a run folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No recipe has this name.
    #[error("no recipe is called `{name}`{}", did_you_mean(.nearest.as_ref()))]
    UnknownRecipe {
        /// The name that was asked for.
        name: String,
        /// The nearest name, if one is near.
        nearest: Option<String>,
    },

    /// A recipe is invalid.
    #[error("recipe `{origin}`: {reason}{}", did_you_mean(.nearest.as_ref()))]
    Recipe {
        /// Name or path of the recipe.
        origin: String,
        /// What is wrong, and at which key.
        reason: String,
        /// The nearest key or word, if an unknown one was given.
        nearest: Option<String>,
    },

    /// A `key=value` setting is invalid.
    #[error("setting `{setting}`: {reason}{}", did_you_mean(.nearest.as_ref()))]
    Setting {
        /// The setting as given.
        setting: String,
        /// What is wrong with it.
        reason: String,
        /// The nearest key or word, if one is near.
        nearest: Option<String>,
    },

    /// The model does not complete samples.
    #[error(
        "this {family} model does not complete images: train a cvae with `model.completion`, such as the recipe `cvae-digits-holes`"
    )]
    NoCompletion {
        /// The model's family.
        family: String,
    },

    /// The run was trained with a key that does not go with the prior to be fitted.
    #[error(
        "such a prior cannot be fitted to this run, which was trained with `{key}`: that needs the KL divergence from a \
         normal distribution in closed form"
    )]
    PriorUnfit {
        /// The key.
        key: String,
    },

    /// The model has no prior that could be fitted.
    #[error("{family} models have no prior to fit: only VAEs and VAEs conditioned on classes have one")]
    NoPrior {
        /// The model's family.
        family: String,
    },

    /// A sweep file is invalid.
    #[error("sweep `{}`: {reason}", path.display())]
    Sweep {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A word matches no class, or more than one.
    #[error("there is no class `{word}`{}{}; {}", because(.reason), did_you_mean(.nearest.as_ref()), classes(.known))]
    Class {
        /// The word as given.
        word: String,
        /// What is wrong with it, if it is more than that no class has the name.
        reason: String,
        /// The nearest name, if one is near.
        nearest: Option<String>,
        /// The names of the classes.
        known: String,
    },

    /// A run has no weights to load yet.
    #[error("run `{}` has no weights yet: {reason}", path.display())]
    NoWeights {
        /// The run folder.
        path: PathBuf,
        /// Why there are none.
        reason: String,
    },

    /// A run cannot be resumed, because its training failed.
    #[error("`{}` cannot be resumed: {failure}", path.display())]
    Failed {
        /// The run folder.
        path: PathBuf,
        /// How training failed.
        failure: String,
    },

    /// A run cannot be resumed, because its recipe or its data set is not the one that it was started with.
    #[error("`{}` was started with different settings: {}", path.display(), differences.join(", "))]
    Changed {
        /// The run folder.
        path: PathBuf,
        /// Every difference, in words.
        differences: Vec<String>,
    },

    /// An error of the model or its tensors.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// The weights of a run do not fit its recipe.
    #[error("the weights of run `{}` do not fit its recipe: {source}", path.display())]
    Weights {
        /// The run folder.
        path: PathBuf,
        /// The error that names the tensor.
        source: waxwork_core::Error,
    },

    /// The weights of a run hold an invalid value.
    #[error("the weights of run `{}` are damaged: {source}", path.display())]
    Values {
        /// The run folder.
        path: PathBuf,
        /// The error that names the tensor and the position.
        source: waxwork_core::Error,
    },

    /// The model has no encoder.
    #[error("{family} models have no encoder")]
    NoEncoder {
        /// The family's name.
        family: String,
    },

    /// No part of the model can be exported.
    #[error("{family} models have nothing to export")]
    NothingToExport {
        /// The family's name.
        family: String,
    },

    /// A part was asked for that was not imported with the model.
    #[error("this run was imported without its {parts}")]
    NotImported {
        /// The parts that are missing.
        parts: String,
    },

    /// Tensors of another program do not fit a recipe's model.
    #[error("these tensors do not fit the recipe: {reason}")]
    Misfit {
        /// What is missing, unknown or of another shape.
        reason: String,
    },

    /// An error of the data.
    #[error(transparent)]
    Data(#[from] waxwork_data::Error),

    /// An error in a table's schema or values.
    #[error(transparent)]
    Table(#[from] waxwork_data::table::Error),

    /// A condition names a column that has no fixed set of values.
    #[error(
        "column `{column}` cannot be a condition: it is of kind {kind}; only categories and booleans can"
    )]
    NotAskable {
        /// Its name.
        column: String,
        /// Its kind.
        kind: &'static str,
    },

    /// An error in the evaluation of rows.
    #[error(transparent)]
    Rows(#[from] waxwork_eval::table::Error),

    /// An error in the evaluation.
    #[error(transparent)]
    Eval(#[from] waxwork_eval::Error),

    /// An evaluation was requested that would measure nothing.
    #[error("nothing to measure: {family} models have no likelihood, and no samples are requested")]
    NothingToMeasure {
        /// The family's name.
        family: String,
    },

    /// Texts at several temperatures were requested of a model that does not draw texts.
    #[error("temperatures need a model that draws texts; this is a {family} model of {samples}")]
    NoTemperature {
        /// The family's name.
        family: String,
        /// What it makes: images, texts …
        samples: &'static str,
    },

    /// An error of the run folder.
    #[error(transparent)]
    Trainer(#[from] waxwork_trainer::Error),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn classes(known: &str) -> String {
    if known.is_empty() { "there are no classes".into() } else { format!("the classes are {known}") }
}

fn did_you_mean(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
