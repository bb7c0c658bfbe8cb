//! Sweeps: a file that lists a recipe and values of its keys to try, and the jobs that result from it.
//!
//! ```toml
//! recipe = "vae-digits"
//! seeds = [0, 1, 2]
//!
//! [set]
//! "train.steps" = 500
//!
//! [grid]
//! "optimizer.lr" = [1e-3, 2e-3]
//!
//! [random]
//! draws = 5
//! "model.latent_dim" = { from = 4, to = 64 }
//! "optimizer.ema" = { from = 0.9, to = 0.999 }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;
use waxwork_core::rng::Stream;

use crate::{Error, Recipe, Result};

/// The most jobs of a sweep; a file with more is a mistake.
const MOST_JOBS: usize = 100_000;

/// Significant digits of a drawn number: enough to tell draws apart, and few enough to read.
const DIGITS: usize = 4;

/// The contents of a sweep file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Name of a recipe, or a TOML file.
    pub recipe: String,
    /// Folder of the runs; `runs/NAME` for a file NAME.toml.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// Seeds to train every setting with; empty: the recipe's seed.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Values of keys that all jobs share.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// Values of keys to try in every combination.
    #[serde(default)]
    pub grid: BTreeMap<String, Vec<Value>>,
    /// Keys whose values are drawn at random.
    #[serde(default)]
    pub random: Option<Random>,
}

/// Keys whose values are drawn at random.
#[derive(Clone, Debug, Deserialize)]
pub struct Random {
    /// Number of draws of all keys.
    pub draws: u64,
    /// The seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// The distribution of each key.
    #[serde(flatten)]
    pub keys: BTreeMap<String, Range>,
}

/// The uniform distribution of a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Range {
    /// One of these values.
    Choice(Vec<Value>),
    /// A number between two limits. If both are whole numbers, so is the value, and both limits are included.
    Between {
        /// The smallest value.
        from: Value,
        /// The largest value.
        to: Value,
        /// Whether to draw uniformly in the logarithm, as suits learning rates.
        #[serde(default)]
        log: bool,
    },
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The recipe's name or file.
    pub recipe: String,
    /// Settings to apply to it, as `key=value`.
    pub settings: Vec<String>,
    /// Its run folder.
    pub out: PathBuf,
}

impl Sweep {
    /// Reads a sweep file. A recipe file that it names is looked up relative to it.
    ///
    /// # Errors
    /// [`Error::Sweep`] if the file cannot be read or is invalid.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = waxwork_core::store::read(path)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong(path, "it is not text"))?;
        let mut sweep: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            wrong(path, error.to_string().lines().last().unwrap_or("invalid TOML"))
        })?;
        let name = path.file_stem().unwrap_or_default();
        sweep.out.get_or_insert_with(|| Path::new("runs").join(name));
        let beside = path.parent().unwrap_or(Path::new("")).join(&sweep.recipe);
        if sweep.recipe.ends_with(".toml") && beside.is_file() {
            sweep.recipe = beside.to_string_lossy().into_owned();
        }
        Ok(sweep)
    }

    /// The jobs, in the order of the file's keys. Each has a valid recipe and a folder of its own.
    ///
    /// # Errors
    /// [`Error::Sweep`] if there are none or too many; the recipe's error if a key or a value is invalid.
    pub fn jobs(&self, origin: &Path) -> Result<Vec<Job>> {
        let mut choices: Vec<Vec<(String, Value)>> = vec![Vec::new()];
        for (key, values) in &self.grid {
            choices = each_with(choices, key, values);
        }
        if let Some(random) = &self.random {
            choices = self.drawn(random, origin, choices)?;
        }
        if !self.seeds.is_empty() {
            let seeds: Vec<Value> = self.seeds.iter().map(|seed| Value::Integer(*seed as i64)).collect();
            choices = each_with(choices, "train.seed", &seeds);
        }
        if choices.is_empty() || choices.len() > MOST_JOBS {
            return Err(wrong(
                origin,
                &format!("it describes {} jobs, but 1 to {MOST_JOBS} are allowed", choices.len()),
            ));
        }
        let folder = self.out.clone().unwrap_or_else(|| "runs".into());
        let names = short_names(choices.iter().flatten().map(|(key, _)| key.as_str()));
        let mut taken = BTreeSet::new();
        let jobs = choices.iter().map(|values| {
            let named = values.iter().map(|(key, value)| format!("{}-{}", names[key.as_str()], plain(value)));
            let mut name = named.collect::<Vec<_>>().join("_");
            if name.is_empty() {
                name = "run".into();
            }
            let all = self.set.iter();
            let settings: Vec<String> =
                all.chain(values.iter().map(|(key, value)| (key, value))).map(setting).collect();
            if !taken.insert(name.clone()) {
                return Err(wrong(origin, &format!("two jobs are called `{name}`: a value is listed twice")));
            }
            Recipe::find(&self.recipe, &settings)?.train.check()?;
            Ok(Job { recipe: self.recipe.clone(), settings, out: folder.join(name) })
        });
        jobs.collect()
    }

    /// Combines every choice with every draw. A draw is a function of the seed, the key and its number.
    fn drawn(
        &self,
        random: &Random,
        origin: &Path,
        choices: Vec<Vec<(String, Value)>>,
    ) -> Result<Vec<Vec<(String, Value)>>> {
        if random.keys.is_empty() || random.draws == 0 {
            return Err(wrong(origin, "`random` needs `draws` and at least one key"));
        }
        if random.draws > MOST_JOBS as u64 {
            return Err(wrong(origin, &format!("`random.draws` is more than {MOST_JOBS}")));
        }
        let mut all = Vec::new();
        for choice in choices {
            for number in 0..random.draws {
                let mut with = choice.clone();
                for (key, range) in &random.keys {
                    let mut draws = Stream::new(random.seed, &format!("sweep/{key}"), 0).at(number);
                    let value = range.at(f64::from(draws.bits()) / 4_294_967_296.0);
                    let value = value.ok_or_else(|| {
                        wrong(origin, &format!("`random.{key}` has no numbers to draw from"))
                    })?;
                    with.push((key.clone(), value));
                }
                all.push(with);
            }
        }
        // With few values, a draw may repeat; train it only once.
        let mut seen = BTreeSet::new();
        all.retain(|choice| {
            let text = choice.iter().map(|(key, value)| setting((key, value)));
            seen.insert(text.collect::<Vec<_>>().join("\n"))
        });
        Ok(all)
    }
}

impl Range {
    /// The value at a fraction of the range, from 0 to below 1; None if the limits are invalid.
    fn at(&self, share: f64) -> Option<Value> {
        match self {
            Self::Choice(values) => values.get((share * values.len() as f64) as usize).cloned(),
            Self::Between { from, to, log } => {
                let whole = from.is_integer() && to.is_integer();
                let number =
                    |value: &Value| value.as_float().or(value.as_integer().map(|value| value as f64));
                let (low, high) = (number(from)?, number(to)? + if whole { 1.0 } else { 0.0 });
                if !(low.is_finite() && high.is_finite() && low < high && (!log || low > 0.0)) {
                    return None;
                }
                let value = if *log {
                    libm::exp(libm::log(low) + share * (libm::log(high) - libm::log(low)))
                } else {
                    low + share * (high - low)
                };
                if whole {
                    return Some(Value::Integer((value.floor() as i64).clamp(low as i64, high as i64 - 1)));
                }
                let rounded = format!("{value:.0$e}", DIGITS - 1).parse().ok()?;
                Some(Value::Float(rounded))
            }
        }
    }
}

fn each_with(choices: Vec<Vec<(String, Value)>>, key: &str, values: &[Value]) -> Vec<Vec<(String, Value)>> {
    let with = |choice: Vec<(String, Value)>| {
        values.iter().map(move |value| {
            let mut with = choice.clone();
            with.push((key.to_owned(), value.clone()));
            with
        })
    };
    choices.into_iter().flat_map(with).collect()
}

fn setting((key, value): (&String, &Value)) -> String {
    format!("{key}={value}")
}

/// The last part of each key, or the whole key if two keys share their last part.
fn short_names<'a>(keys: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let keys: BTreeSet<&str> = keys.collect();
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let short = |key: &'a str| {
        let alone = keys.iter().filter(|other| last(other) == last(key)).count() == 1;
        (key, if alone { last(key).to_owned() } else { key.to_owned() })
    };
    keys.iter().map(|key| short(key)).collect()
}

/// A value in characters that every file system and shell accepts.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fits = |c: char| if c.is_ascii_alphanumeric() || "-.+".contains(c) { c } else { '_' };
    text.chars().map(fits).collect::<String>().trim_matches('_').to_owned()
}

fn wrong(origin: &Path, reason: &str) -> Error {
    Error::Sweep { path: origin.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(text: &str) -> Result<Vec<Job>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.toml");
        std::fs::write(&path, text).unwrap();
        Sweep::read(&path)?.jobs(&path)
    }

    #[test]
    fn a_grid_is_every_value_with_every_other_and_every_seed() {
        let text = "recipe = 'vae-digits'\nseeds = [0, 7]\nset = { 'train.steps' = 5, 'train.epoch' = 1 }\n\
                    [grid]\n'optimizer.lr' = [1e-3, 2e-3]\n'model.latent_dim' = [4, 8, 16]\n";
        let error = jobs(text).unwrap_err();
        assert!(error.to_string().contains("train.epoch"), "the recipes themselves are checked: {error}");
        let jobs = jobs(&text.replace(", 'train.epoch' = 1", "")).unwrap();
        assert_eq!(jobs.len(), 12);
        assert_eq!(
            jobs[0].settings,
            ["train.steps=5", "model.latent_dim=4", "optimizer.lr=0.001", "train.seed=0"]
        );
        assert_eq!(jobs[0].out, Path::new("runs/wide/latent_dim-4_lr-0.001_seed-0"));
        let folders: BTreeSet<_> = jobs.iter().map(|job| &job.out).collect();
        assert_eq!(folders.len(), 12);
    }

    #[test]
    fn draws_are_a_function_of_the_seed_and_lie_where_they_should() {
        let text = |seed: u64| {
            format!(
                "recipe = 'vae-digits'\nout = 'o'\n[random]\ndraws = 40\nseed = {seed}\n\
                 'optimizer.lr' = {{ from = 1e-4, to = 1e-2, log = true }}\n\
                 'model.latent_dim' = {{ from = 4, to = 6 }}\n'optimizer.ema' = [0.9, 0.99]\n"
            )
        };
        let first = jobs(&text(3)).unwrap();
        assert_eq!(first, jobs(&text(3)).unwrap());
        assert_ne!(first, jobs(&text(4)).unwrap());
        let values = |key: &str| -> Vec<f64> {
            let of = |job: &Job| job.settings.iter().find_map(|set| set.strip_prefix(key)?.parse().ok());
            first.iter().map(|job| of(job).unwrap()).collect()
        };
        let rates = values("optimizer.lr=");
        assert!(rates.iter().all(|rate| (1e-4..=1e-2).contains(rate)));
        // Half of the logarithms lie below the middle: 20 ± 4.5 · 3.2 of 40.
        assert!((6..=34).contains(&rates.iter().filter(|rate| **rate < 1e-3).count()));
        for latent in [4.0, 5.0, 6.0] {
            assert!(values("model.latent_dim=").contains(&latent));
        }
        assert!(values("optimizer.ema=").iter().all(|ema| [0.9, 0.99].contains(ema)));
    }

    #[test]
    fn rejects_invalid_sweeps_and_says_where() {
        for (text, part) in [
            ("recipe = 'vae-digits'\nseed = 3", "unknown field `seed`"),
            ("recipe = 'vae-digit'", "vae-digits"),
            ("recipe = 'vae-digits'\n[grid]\n'optimizer.lrr' = [1]", "optimizer.lr"),
            ("recipe = 'vae-digits'\n[grid]\n'optimizer.lr' = []", "0 jobs"),
            ("recipe = 'vae-digits'\n[grid]\n'optimizer.lr' = [1e-3, 0.001]", "twice"),
            ("recipe = 'vae-digits'\n[random]\ndraws = 2", "at least one key"),
            (
                "recipe = 'vae-digits'\n[random]\ndraws = 2\n'optimizer.lr' = {from = 0.0, to = 1.0, log = true}",
                "no numbers",
            ),
        ] {
            let error = jobs(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
