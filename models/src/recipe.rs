//! Recipes: the complete configuration of a run, as one TOML document.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::store;
use waxwork_data::DataConfig;
use waxwork_data::manifest::{FOLDER, HUB, MEMORY};
use waxwork_families::ModelConfig;
use waxwork_trainer::{RunFolder, TrainConfig};

use crate::faults::{self, Fault};
use crate::{Error, Result};

/// The complete configuration of a run. Unknown keys are errors; missing ones have defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the recipe is good for, in one line.
    pub description: String,
    /// Tags; `quickstart` marks the recipes that `cargo xtask train` runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metrics that the recipe must reproduce, and their values when they were last measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, f64>,
    /// The data set.
    pub data: DataConfig,
    /// The networks and the objective.
    pub model: ModelConfig,
    /// How weights are updated.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Length, intervals and seed of the training.
    #[serde(default)]
    pub train: TrainConfig,
}

/// The most parts of a key on the command line, far more than any key has. Unlimited nesting would overflow
/// the stack.
const DEEPEST: usize = 32;
/// Keys that do not affect what is trained: descriptions of the recipe, and the location of files.
const NOT_TRAINED: [&str; 4] = ["description", "tags", "results", "data.dir"];

/// The norm to which [`Recipe::steady`] clips gradients. Gradients of nats per image start at 10⁴ to 10⁵ for
/// 64×64 pixels.
const STEADY_NORM: f64 = 1000.0;
/// Warm-up steps, for a run of at least ten times as many.
const STEADY_STEPS: u64 = 200;

/// A key whose value differs between two recipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The dotted key.
    pub key: String,
    /// Its value in the first recipe, as TOML, if it has one there.
    pub was: Option<String>,
    /// Its value in the second.
    pub is: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        write!(f, "{} is {}, but was {}", self.key, text(&self.is), text(&self.was))
    }
}

impl Recipe {
    /// Parses the text of a recipe and applies `settings`, each `key=value` with a dotted key and a TOML
    /// value (a bare word is a string). `origin` is the name or path to show in an error.
    ///
    /// # Errors
    /// If the text is not TOML, a key is unknown (with the nearest one), or a value has the wrong type.
    pub fn parse(text: &str, origin: &str, settings: &[String]) -> Result<Self> {
        let fail = |reason: String| Error::Recipe { origin: origin.to_owned(), reason, nearest: None };
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            fail(format!("{place}{}", error.message()))
        })?;
        let plain = table.clone();
        for setting in settings {
            apply(&mut table, setting)?;
        }
        let given = Value::Table(table);
        deserialize(&given, origin).map_err(|error| blamed(error, &plain, settings))
    }

    /// The embedded recipe called `name`, with `settings` applied.
    ///
    /// # Errors
    /// [`Error::UnknownRecipe`] with the nearest name, and as [`Recipe::parse`].
    pub fn named(name: &str, settings: &[String]) -> Result<Self> {
        Self::parse(crate::embedded::text(name)?, name, settings)
    }

    /// The recipe that `asked` means, with `settings` applied: the name of an embedded one, a TOML file, or a
    /// run folder.
    ///
    /// # Errors
    /// If there is no such recipe or file, and as [`Recipe::parse`].
    pub fn find(asked: &str, settings: &[String]) -> Result<Self> {
        let path = Path::new(asked);
        let known = crate::embedded::text(asked).is_ok();
        if !known && path.is_dir() {
            return Self::of_run(&RunFolder::open(path)?, settings);
        }
        if !known && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            return Self::parse(&String::from_utf8_lossy(&store::read(path)?), asked, settings);
        }
        Self::named(asked, settings)
    }

    /// The recipe in a run's folder, with `settings` applied.
    ///
    /// # Errors
    /// If it cannot be read, and as [`Recipe::parse`].
    pub fn of_run(folder: &RunFolder, settings: &[String]) -> Result<Self> {
        let origin = folder.path().join("recipe.toml").display().to_string();
        Self::parse(&folder.recipe()?, &origin, settings)
    }

    /// The complete recipe as TOML.
    ///
    /// # Errors
    /// If a value has no TOML form, such as an integer beyond 2⁶³.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| self.unwritable(&error))
    }

    pub(crate) fn to_value(&self) -> Result<Value> {
        Value::try_from(self).map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &toml::ser::Error) -> Error {
        Error::Recipe { origin: self.description.clone(), reason: error.to_string(), nearest: None }
    }

    /// Every key whose value differs in `newer`, in order of keys. Leaves out keys that do not affect
    /// training: the description, tags, results, and the location of the data's files.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn differences(&self, newer: &Self) -> Result<Vec<Difference>> {
        let keys = |recipe: &Self| {
            let mut keys = BTreeMap::new();
            flatten(&recipe.to_value()?, "", &mut keys);
            Ok::<_, Error>(keys)
        };
        let (was, is) = (keys(self)?, keys(newer)?);
        let all: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let trained = |key: &str| {
            !NOT_TRAINED.iter().any(|prefix| key == *prefix || key.starts_with(&format!("{prefix}.")))
        };
        let differ = all.into_iter().filter(|key| trained(key) && was.get(*key) != is.get(*key));
        Ok(differ
            .map(|key| Difference { key: key.clone(), was: was.get(key).cloned(), is: is.get(key).cloned() })
            .collect())
    }

    /// Stabilises the first steps of a VAE on images that the recipe was not tuned for, unless the recipe or
    /// `settings` set this: clips gradients, and warms up the learning rate. Otherwise one step with a far
    /// too large gradient would inflate Adam's second moments, and the encoder would not move for thousands
    /// of steps.
    pub fn steady(&mut self, settings: &[String]) {
        if !matches!(self.model, ModelConfig::Vae(_) | ModelConfig::Cvae(_)) {
            return;
        }
        let said = |key: &str| settings.iter().any(|setting| setting.trim_start().starts_with(key));
        if self.optimizer.clip_norm.is_none() && !said("optimizer.clip_norm") {
            self.optimizer.clip_norm = Some(STEADY_NORM);
        }
        if self.optimizer.warmup_steps == 0 && !said("optimizer.warmup_steps") {
            let most = self.train.steps.map_or(STEADY_STEPS, |steps| steps / 10);
            self.optimizer.warmup_steps = STEADY_STEPS.min(most);
        }
    }

    /// Applies [`Recipe::steady`] if the data is the user's own images and `original`, without settings, was
    /// made for other data.
    pub fn steady_on_own_images(&mut self, original: Option<&Self>, settings: &[String]) {
        let own = |data: &str| [FOLDER, MEMORY].contains(&data) || data.starts_with(HUB);
        if own(&self.data.name) && original.is_some_and(|original| !own(&original.data.name)) {
            self.steady(settings);
        }
    }

    /// The family's name.
    pub fn family(&self) -> String {
        let value = Value::try_from(&self.model).ok();
        let family = value.as_ref().and_then(|value| value.get("family")).and_then(Value::as_str);
        family.unwrap_or_default().to_owned()
    }
}

/// Every value in nested tables as TOML, by its dotted key.
fn flatten(value: &Value, key: &str, into: &mut BTreeMap<String, String>) {
    let Value::Table(table) = value else {
        into.insert(key.to_owned(), value.to_string());
        return;
    };
    for (name, value) in table {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        flatten(value, &key, into);
    }
}

/// Sets one `key=value` in a table, and creates missing tables on the way.
fn apply(table: &mut Table, setting: &str) -> Result<()> {
    let fail = |reason: &str| Error::Setting {
        setting: setting.to_owned(),
        reason: reason.to_owned(),
        nearest: None,
    };
    let (key, value) = setting.split_once('=').ok_or_else(|| fail("expected key=value"))?;
    let parts: Vec<&str> = key.trim().split('.').map(str::trim).collect();
    let Some((last, path)) = parts.split_last() else { return Err(fail("expected key=value")) };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(fail("a key must not have empty parts; an example is train.batch_size=64"));
    }
    if parts.len() > DEEPEST {
        return Err(fail("no key is nested this deeply"));
    }
    let mut place = table;
    for part in path {
        let entry = place.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        place = entry.as_table_mut().ok_or_else(|| fail(&format!("`{part}` is a value, not a table")))?;
    }
    let parsed = parse_value(value.trim());
    if parsed.is_str() && value.trim_start().starts_with(['{', '[']) {
        return Err(fail(
            "the value is not TOML: strings in a table or a list need quotes, as in {kind=\"mlp\"}",
        ));
    }
    place.insert((*last).to_owned(), parsed);
    // A run has one length, and the latest setting of it counts.
    match key.trim() {
        "train.steps" => place.remove("epochs"),
        "train.epochs" => place.remove("steps"),
        _ => None,
    };
    Ok(())
}

/// Attributes the error of a recipe with `settings` to the one setting without which it disappears. Serde
/// loses the key of a wrong value inside a table that has a family or a kind.
fn blamed(error: Error, plain: &Table, settings: &[String]) -> Error {
    let fine_without = |one: &&String| {
        let mut table = plain.clone();
        let others = settings.iter().filter(|setting| !std::ptr::eq(*setting, *one));
        let applied = others.map(|setting| apply(&mut table, setting)).collect::<Result<Vec<_>>>();
        applied.is_ok() && deserialize(&Value::Table(table), "").is_ok()
    };
    match (error, settings.iter().find(fine_without)) {
        (Error::Recipe { reason, nearest, .. }, Some(setting)) => {
            // The setting already names its key.
            let key = setting.split('=').next().unwrap_or_default().trim();
            let reason = reason.strip_prefix(&format!("at `{key}`: ")).map_or(reason.clone(), str::to_owned);
            Error::Setting { setting: setting.clone(), reason, nearest }
        }
        (error, _) => error,
    }
}

/// A TOML value. Text that is not one counts as a string, so that names need no quotes in a shell.
fn parse_value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Makes a recipe from its values. Serde's errors name Rust types and lose keys inside a table with a family
/// or a kind, so the schema makes the message. The schema also finds what Serde ignores: unknown keys of a
/// kind that has no keys of its own.
fn deserialize(value: &Value, origin: &str) -> Result<Recipe> {
    let made = serde_path_to_error::deserialize(value.clone());
    let fault = match (made, value.as_table().and_then(faults::find)) {
        (Ok(recipe), None) => return Ok(recipe),
        (_, Some(fault)) => fault,
        (Err(error), None) => {
            let error: serde_path_to_error::Error<toml::de::Error> = error;
            let key = error.path().to_string();
            Fault { key, reason: error.inner().message().to_owned(), nearest: None }
        }
    };
    let Fault { key, reason, nearest } = fault;
    let reason = if key.is_empty() || key == "." { reason } else { format!("at `{key}`: {reason}") };
    Err(Error::Recipe { origin: origin.to_owned(), reason, nearest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steadies_only_vaes_without_their_own_settings() {
        let steadied = |name: &str, settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            let mut recipe = Recipe::named(name, &settings).unwrap();
            recipe.steady(&settings);
            (recipe.optimizer.clip_norm, recipe.optimizer.warmup_steps)
        };
        for name in ["vae-shapes", "cvae-shapes"] {
            assert_eq!(steadied(name, &[]), (Some(1000.0), 200));
        }
        assert_eq!(steadied("vae-shapes", &["train.steps=300"]), (Some(1000.0), 30));
        let own = ["optimizer.clip_norm=5", "optimizer.warmup_steps=0"];
        assert_eq!(steadied("vae-shapes", &own), (Some(5.0), 0));
        let plain = Recipe::named("gan-shapes", &[]).unwrap().optimizer;
        assert_eq!(steadied("gan-shapes", &[]), (plain.clip_norm, plain.warmup_steps));
    }

    /// A complete recipe leaves such values out.
    #[test]
    fn a_default_may_be_given() {
        let given = [
            ("vae-phrases", "model.network.word_dropout=0"),
            ("gan-digits", "model.pack=1"),
            ("gan-phrases", "model.generator={kind=\"mlp\",hidden=[8],batch_norm=false}"),
        ];
        for (name, setting) in given {
            Recipe::named(name, &[setting.into()]).unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
        let without_keys =
            ["model.conditioning={kind=\"projection\",weight=1.0}", "model.conditioning.wieght=1.0"];
        for setting in without_keys {
            let error = Recipe::named("cgan-digits", &[setting.into()]).unwrap_err().to_string();
            assert!(error.contains("no such key"), "{error}");
        }
    }

    #[test]
    fn every_embedded_recipe_is_complete_and_survives_its_own_toml() {
        for (name, text) in crate::embedded::RECIPES {
            let recipe = Recipe::parse(text, name, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert!(name.starts_with(&recipe.family()), "{name}");
            let again = Recipe::parse(&recipe.to_toml().unwrap(), name, &[]).unwrap();
            assert_eq!(again, recipe, "{name}");
        }
    }

    #[test]
    fn every_difference_has_its_dotted_key() {
        let was = Recipe::named("vae-digits", &[]).unwrap();
        let settings = [
            "train.steps=7",
            "optimizer.ema=0.9",
            "model.network.channels=[8, 16]",
            "data.dir=elsewhere",
            "description=other words",
            "results.neg_elbo=1.0",
        ];
        let is = Recipe::named("vae-digits", &settings.map(String::from)).unwrap();
        let said: Vec<String> = was.differences(&is).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "model.network.channels is [8, 16], but was [16, 32]",
                "optimizer.ema is 0.9, but was not set",
                "train.steps is 7, but was 3000",
            ]
        );
        assert_eq!(was.differences(&was).unwrap(), []);
    }

    #[test]
    fn settings_reach_every_key() {
        let settings =
            ["train.steps=7", "train.seed = 3", "data.name=shapes", "optimizer.groups.encoder.lr=1e-2"];
        let recipe = Recipe::named("vae-digits", &settings.map(String::from)).unwrap();
        assert_eq!((recipe.train.steps, recipe.train.seed), (Some(7), 3));
        assert_eq!(recipe.data.name, "shapes");
        let longer = Recipe::named("vae-digits", &["train.epochs=2".into()]).unwrap();
        assert_eq!((longer.train.epochs, longer.train.steps), (Some(2), None));
        assert_eq!(recipe.optimizer.groups["encoder"].lr, Some(1e-2));
    }

    #[test]
    fn rejects_keys_that_are_nested_too_deeply() {
        let deep = format!("a{}=1", ".a".repeat(100_000));
        let error = Recipe::named("vae-digits", &[deep]).unwrap_err().to_string();
        assert!(error.contains("nested this deeply"));
    }

    #[test]
    fn slips_are_named_with_what_was_meant() {
        let message = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            Recipe::named("vae-digits", &settings).unwrap_err().to_string()
        };
        let unknown = message(&["train.batchsize=3"]);
        assert!(
            unknown.contains("train.batchsize") && unknown.contains("did you mean `batch_size`"),
            "{unknown}"
        );
        let unknown = message(&["model.latent_dims=3"]);
        assert!(unknown.contains("did you mean `latent_dim`"), "{unknown}");
        assert!(message(&["train.steps=many"]).contains("train.steps"));
        let below_zero = message(&["train.seed=3", "model.latent_dim=-1"]);
        assert!(below_zero.contains("setting `model.latent_dim=-1`"), "{below_zero}");
        assert!(below_zero.contains("must be a whole number, not negative, but is -1"), "{below_zero}");
        assert!(message(&["train.steps"]).contains("key=value"));
        assert!(message(&["description.x=1"]).contains("not a table"));
        assert!(message(&["model.network={kind=mlp}"]).contains("need quotes, as in {kind=\"mlp\"}"));
        let unknown = Recipe::named("vae-digit", &[]).unwrap_err().to_string();
        assert!(unknown.contains("did you mean `vae-digits`"), "{unknown}");
    }

    #[test]
    fn names_the_right_form_of_a_value() {
        let said = |recipe: &str, setting: &str| {
            Recipe::named(recipe, &[setting.to_owned()]).unwrap_err().to_string()
        };
        for (recipe, setting, words) in [
            (
                "vae-digits",
                "model.likelihood=gaussian",
                "setting `model.likelihood=gaussian`: must be a table: { kind = \"gaussian\", scale = … }",
            ),
            (
                "vae-digits",
                "model.likelihood=gausian",
                "must be a table whose `kind` is one of `bernoulli`, `continuous-bernoulli`, `gaussian`, `rows`, `tokens`, but is the string `gausian` (did you mean `{ kind = \"gaussian\", scale = … }`?)",
            ),
            (
                "vae-digits",
                "model.network={kind=\"cnov\"}",
                "at `model.network.kind`: must be one of `mlp`, `conv`, `tower`, `recurrent`, `clip`, but is the string `cnov` (did you mean `conv`?)",
            ),
            ("vae-digits", "model.network={hidden=[3]}", "needs `kind`: one of `mlp`, `conv`"),
            (
                "vae-digits",
                "model.network={kind=\"conv\"}",
                "kind `conv` needs `channels`: { kind = \"conv\", channels = …, hidden = … }",
            ),
            (
                "vae-digits",
                "model.likelihood.scale=0.1",
                "kind `bernoulli` has no such key; these have: `gaussian`",
            ),
            ("gan-digits", "model.beta=2.0", "family `gan` has no such key; these have: `vae`, `cvae`"),
            (
                "vae-digits",
                "latent_dim=8",
                "there is no such key (did you mean `model.latent_dim` or `model.upper.latent_dim`?)",
            ),
            ("vae-digits", "latentdim=8", "there is no such key (did you mean `model.latent_dim`?)"),
            ("vae-digits", "train.lr=1e-3", "there is no such key (did you mean `optimizer.lr`?)"),
            ("vae-digits", "seed=1", "there is no such key (did you mean `data.seed` or `train.seed`?)"),
            ("vae-digits", "optimizer.betas=[0.9]", "must be a list of 2 numbers, but is a list of 1"),
            ("vae-digits", "model.activation=slu", "(did you mean `silu`?)"),
            (
                "vae-digits",
                "model.activation={leaky-relu=\"x\"}",
                "at `model.activation.leaky-relu`: must be a number",
            ),
            ("vae-digits", "train.flip=yes", "must be true or false, but is the string `yes`"),
            ("vae-digits", "train=3", "must be a table, but is 3"),
            ("vae-digits", "model=vae", "must be a table: { family = \"vae\" }"),
            ("gan-digits", "model.augment=[\"colr\"]", "(did you mean `colour`?)"),
            (
                "gan-digits",
                "model.generator={kind=\"mlp\",hidden=[1.5]}",
                "at `model.generator.hidden[0]`: must be a whole number",
            ),
        ] {
            let found = said(recipe, setting);
            assert!(found.contains(words), "{setting}: {found}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_setting_panics(text: String, key in "[a-z._]{0,20}", value: String, place: prop::sample::Index) {
            _ = Recipe::parse(&text, "x", &[]);
            let (_, good) = crate::embedded::RECIPES[place.index(crate::embedded::RECIPES.len())];
            for settings in [vec![format!("{key}={value}")], vec![value.clone()], vec![format!("train.{key}={value}")]] {
                _ = Recipe::parse(good, "x", &settings);
            }
            let cut = (0..=place.index(good.len())).rev().find(|&at| good.is_char_boundary(at)).unwrap_or(0);
            _ = Recipe::parse(&good[..cut], "x", &[]);
            _ = Recipe::parse(&format!("{}{text}{}", &good[..cut], &good[cut..]), "x", &[]);
        }
    }
}
