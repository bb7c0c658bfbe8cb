//! `models/papers/NAME/table.toml`: the numbers that a paper published, and how each row is trained and
//! measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::key::key;

/// The length of a row's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The paper's.
    Full,
    /// A few minutes. It shows that a row trains, and reproduces nothing.
    Quick,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Full, Self::Quick].into_iter().find(|form| form.name() == name)
    }
}

/// A paper's table.
#[derive(Debug)]
pub(super) struct Table {
    /// The name of its folder.
    pub(super) name: String,
    pub(super) title: String,
    /// Where its numbers come from.
    pub(super) source: String,
    /// Remarks, and what differs from the paper.
    pub(super) notes: Vec<String>,
    /// The number of runs per row.
    pub(super) seeds: u64,
    /// The options of `waxwork evaluate`, for the full and for the quick form.
    evaluate: [Vec<String>; 2],
    /// Settings of the quick form, after those of the row.
    quick: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// The folder that has the table and its recipes.
    pub(super) folder: PathBuf,
}

/// A row of a table: a recipe with settings, and published numbers.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) label: String,
    /// The file of the recipe, in the folder of the table.
    recipe: String,
    settings: Vec<String>,
    /// The number of runs, if it differs from the table's.
    pub(super) seeds: Option<u64>,
    pub(super) values: Vec<Published>,
}

/// A published number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Published {
    /// The metric in metrics.json that is compared with it.
    pub(super) metric: String,
    pub(super) value: f64,
    /// The largest difference of the full form.
    tolerance: f64,
    /// The direction in which a difference may be larger than the tolerance.
    better: Option<Better>,
    /// The largest difference of the quick form; None if its value is not compared.
    quick: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

impl Published {
    fn tolerance(&self, form: Form) -> Option<f64> {
        match form {
            Form::Full => Some(self.tolerance),
            Form::Quick => self.quick,
        }
    }

    /// Whether a mean is within the tolerance; None if this form is not compared.
    pub(super) fn fits(&self, form: Form, mean: f64) -> Option<bool> {
        // Sums of decimal fractions are not exact.
        let tolerance = self.tolerance(form)? + 1e-9;
        let above = mean - self.value;
        Some(match self.better {
            None => above.abs() <= tolerance,
            Some(Better::Higher) => above >= -tolerance,
            Some(Better::Lower) => above <= tolerance,
        })
    }

    /// The tolerance in words; empty if this form is not compared.
    pub(super) fn allowed(&self, form: Form) -> String {
        let Some(tolerance) = self.tolerance(form) else { return String::new() };
        match self.better {
            None => format!("± {tolerance}"),
            Some(Better::Higher) => format!("≥ {}", number(self.value - tolerance)),
            Some(Better::Lower) => format!("≤ {}", number(self.value + tolerance)),
        }
    }
}

/// A number with at most three decimals.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Table {
    /// All tables below `folder`, in order of their names.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.with_context(|| format!("failed to list {}", folder.display()))?;
        let mut folders: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        folders.retain(|folder| folder.join("table.toml").exists());
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("table.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Self::parse(folder, &text).with_context(|| format!("{} is not a valid table", path.display()))
    }

    fn parse(folder: &Path, text: &str) -> Result<Self> {
        let value: Value = toml::from_str(text)?;
        let table = Fields::of(&value, "the file")?;
        table.only(&["title", "source", "notes", "seeds", "evaluate", "quick", "rows"])?;
        let quick = Fields::of(table.get("quick")?, "quick")?;
        quick.only(&["settings", "evaluate"])?;
        let rows = table.get("rows")?.as_array().context("`rows` must be a list of tables")?;
        let rows: Vec<Row> = rows.iter().map(Row::parse).collect::<Result<_>>()?;
        if let Some(twice) =
            rows.iter().find(|row| rows.iter().filter(|one| one.name == row.name).count() > 1)
        {
            bail!("there are two rows with the name `{}`", twice.name);
        }
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            title: table.text("title")?,
            source: table.text("source")?,
            notes: table.texts("notes")?,
            seeds: table.count("seeds")?.context("`seeds` is missing")?,
            evaluate: [table.texts("evaluate")?, quick.texts("evaluate")?],
            quick: quick.texts("settings")?,
            rows,
            folder: folder.to_owned(),
        })
    }

    /// The recipe file of a row.
    pub(super) fn recipe(&self, row: &Row) -> PathBuf {
        self.folder.join(&row.recipe)
    }

    /// The settings of a row, each `key=value`.
    pub(super) fn settings<'a>(&'a self, row: &'a Row, form: Form) -> Vec<&'a str> {
        let quick: &[String] = if form == Form::Quick { &self.quick } else { &[] };
        row.settings.iter().chain(quick).map(String::as_str).collect()
    }

    /// The options of `waxwork evaluate`.
    pub(super) fn evaluate(&self, form: Form) -> &[String] {
        let [full, quick] = &self.evaluate;
        if form == Form::Quick { quick } else { full }
    }

    /// The number of runs of a row. The quick form has one.
    pub(super) fn seeds(&self, row: &Row, form: Form) -> u64 {
        if form == Form::Quick { 1 } else { row.seeds.unwrap_or(self.seeds) }
    }

    /// A hash of everything that determines the numbers of a row: the keys of its recipe, the settings, and
    /// how it is evaluated. Results with another hash belong to another row.
    pub(super) fn key(&self, row: &Row, form: Form) -> Result<String> {
        let mut parts = vec!["settings"];
        parts.extend(self.settings(row, form));
        parts.push("evaluate");
        parts.extend(self.evaluate(form).iter().map(String::as_str));
        key(&self.recipe(row), &parts)
    }
}

impl Row {
    fn parse(value: &Value) -> Result<Self> {
        let name = value["name"].as_str().unwrap_or("without a name");
        let row = Fields::of(value, &format!("row `{name}`"))?;
        row.only(&["name", "label", "recipe", "settings", "seeds", "values"])?;
        let values = row.get("values")?.as_array().context("`values` must be a list of tables")?;
        let values: Vec<Published> = values.iter().map(Published::parse).collect::<Result<_>>()?;
        if values.is_empty() {
            bail!("row `{name}` has no published number");
        }
        Ok(Self {
            name: row.text("name")?,
            label: row.text("label")?,
            recipe: row.text("recipe")?,
            settings: row.texts("settings")?,
            seeds: row.count("seeds")?,
            values,
        })
    }
}

impl Published {
    fn parse(value: &Value) -> Result<Self> {
        let fields = Fields::of(value, "a published number")?;
        fields.only(&["metric", "published", "tolerance", "better", "quick"])?;
        let number = |key: &str| fields.number(key)?.with_context(|| format!("`{key}` is missing"));
        let better = match value.get("better").map(Value::as_str) {
            None => None,
            Some(Some("higher")) => Some(Better::Higher),
            Some(Some("lower")) => Some(Better::Lower),
            Some(_) => bail!("`better` must be \"higher\" or \"lower\""),
        };
        Ok(Self {
            metric: fields.text("metric")?,
            value: number("published")?,
            tolerance: number("tolerance")?,
            better,
            quick: fields.number("quick")?,
        })
    }
}

/// The fields of a TOML table, and the place in the file that errors name.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    place: String,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, place: &str) -> Result<Self> {
        let map = value.as_object().with_context(|| format!("{place} must be a table"))?;
        Ok(Self { map, place: place.to_owned() })
    }

    fn only(&self, known: &[&str]) -> Result<()> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => bail!("{}: unknown key `{key}`; known keys: {}", self.place, known.join(", ")),
            None => Ok(()),
        }
    }

    fn get(&self, key: &str) -> Result<&'a Value> {
        self.map.get(key).with_context(|| format!("{}: `{key}` is missing", self.place))
    }

    fn text(&self, key: &str) -> Result<String> {
        let text = self.get(key)?.as_str().map(str::to_owned);
        text.with_context(|| format!("{}: `{key}` must be text", self.place))
    }

    /// A list of texts; empty if the key is missing.
    fn texts(&self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.map.get(key) else { return Ok(Vec::new()) };
        let texts = value
            .as_array()
            .and_then(|list| list.iter().map(|text| Some(text.as_str()?.to_owned())).collect::<Option<_>>());
        texts.with_context(|| format!("{}: `{key}` must be a list of texts", self.place))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.map.get(key) else { return Ok(None) };
        let number = value.as_f64().with_context(|| format!("{}: `{key}` must be a number", self.place));
        number.map(Some)
    }

    fn count(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.map.get(key) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count > 0);
        count.with_context(|| format!("{}: `{key}` must be at least 1", self.place)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        title = "A paper"
        source = "Table 1"
        seeds = 3
        evaluate = ["--samples", "0"]
        [quick]
        settings = ["train.steps=5"]
        evaluate = ["--samples", "2"]
        [[rows]]
        name = "one"
        label = "One"
        recipe = "vae.toml"
        settings = ["model.draws=5"]
        values = [
            { metric = "a", published = 7.9, tolerance = 0.2, better = "higher", quick = 5 },
            { metric = "b", published = 0.07, tolerance = 0.05, better = "lower" },
            { metric = "c", published = 86.76, tolerance = 0.35 },
        ]
        [[rows]]
        name = "two"
        label = "Two"
        recipe = "vae.toml"
        seeds = 1
        values = [{ metric = "a", published = 1, tolerance = 0.5 }]"#;

    fn parse(text: &str) -> Result<Table> {
        Table::parse(Path::new("papers/some"), text)
    }

    #[test]
    fn reads_rows_with_their_settings_and_numbers() {
        let table = parse(TEXT).unwrap();
        assert_eq!((table.name.as_str(), table.rows.len()), ("some", 2));
        let [one, two] = &table.rows[..] else { unreachable!("two rows") };
        assert_eq!(table.settings(one, Form::Full), ["model.draws=5"]);
        assert_eq!(table.settings(one, Form::Quick), ["model.draws=5", "train.steps=5"]);
        assert_eq!(table.evaluate(Form::Quick), ["--samples", "2"]);
        assert_eq!((table.seeds(one, Form::Full), table.seeds(two, Form::Full)), (3, 1));
        assert_eq!(table.seeds(one, Form::Quick), 1);
    }

    #[test]
    fn a_tolerance_may_be_open_on_the_better_side() {
        let table = parse(TEXT).unwrap();
        let [higher, lower, both] = &table.rows[0].values[..] else { unreachable!("three values") };
        assert_eq!([7.6, 7.7, 8.0].map(|mean| higher.fits(Form::Full, mean).unwrap()), [false, true, true]);
        assert_eq!([0.0, 0.12, 0.13].map(|mean| lower.fits(Form::Full, mean).unwrap()), [true, true, false]);
        assert_eq!(
            [86.4, 86.41, 87.2].map(|mean| both.fits(Form::Full, mean).unwrap()),
            [false, true, false]
        );
        assert_eq!(higher.fits(Form::Quick, 3.0), Some(true));
        assert_eq!(lower.fits(Form::Quick, 3.0), None);
        let allowed = [higher, lower, both].map(|value| value.allowed(Form::Full));
        assert_eq!(allowed, ["≥ 7.7", "≤ 0.12", "± 0.35"]);
        assert_eq!(lower.allowed(Form::Quick), "");
    }

    #[test]
    fn names_what_is_wrong_with_a_table() {
        let wrong = |from: &str, to: &str| parse(&TEXT.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("seeds = 3", "runs = 3").contains("unknown key `runs`"));
        assert!(wrong("\"two\"", "\"one\"").contains("two rows with the name `one`"));
        assert!(wrong("label = \"Two\"", "").contains("row `two`: `label` is missing"));
        assert!(wrong("better = \"lower\"", "better = \"less\"").contains("better"));
        assert!(wrong("seeds = 1", "seeds = 0").contains("at least 1"));
    }

    #[test]
    fn the_key_depends_on_what_changes_the_numbers() {
        let tables = Table::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/papers")).unwrap();
        assert!(tables.len() >= 2, "{}", tables.len());
        let mut keys = Vec::new();
        for table in &tables {
            for row in &table.rows {
                for form in [Form::Full, Form::Quick] {
                    keys.push(table.key(row, form).unwrap());
                }
            }
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "two rows train and measure the same");
    }
}
