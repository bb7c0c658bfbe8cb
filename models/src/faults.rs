//! Errors in the form of a recipe, in plain words. Checks its values against the schema, key by key.

use std::sync::LazyLock;

use serde_json::{Map, Value as Schema};
use toml::{Table, Value};

use waxwork_data::names::nearest;

use crate::schema;

/// The first value that does not have the form of its key.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The dotted key.
    pub(crate) key: String,
    /// The expected form, and what was found.
    pub(crate) reason: String,
    /// The nearest word, key or table, if one is near.
    pub(crate) nearest: Option<String>,
}

/// Finds the first error in a recipe; None if every value has the form of its key.
pub(crate) fn find(recipe: &Table) -> Option<Fault> {
    static ROOT: LazyLock<Schema> = LazyLock::new(schema::schema);
    let schemas = Schemas { root: &ROOT };
    schemas.check(&ROOT, &Value::Table(recipe.clone()), "").err()
}

/// A schema allows one of several forms. A form is the union of its maps.
type Form<'a> = Vec<&'a Map<String, Schema>>;

struct Schemas<'a> {
    root: &'a Schema,
}

impl<'a> Schemas<'a> {
    /// The forms that a value may have, with references resolved. `null` is left out, because TOML does not
    /// have it.
    fn forms(&self, schema: &'a Schema) -> Vec<Form<'a>> {
        let Some(object) = schema.as_object() else { return Vec::new() };
        let mut forms: Vec<Form<'a>> = vec![vec![object]];
        let reference = object.get("$ref").and_then(Schema::as_str).and_then(|at| at.strip_prefix('#'));
        let referred = reference.and_then(|at| self.root.pointer(at)).map(|target| self.forms(target));
        let alternatives = ["oneOf", "anyOf"].iter().filter_map(|word| object.get(*word)?.as_array());
        let alternatives = alternatives.map(|of| of.iter().flat_map(|one| self.forms(one)).collect());
        for more in referred.into_iter().chain(alternatives) {
            let joined = |form: &Form<'a>, more: &Form<'a>| form.iter().chain(more).copied().collect();
            forms = forms.iter().flat_map(|form| more.iter().map(|more| joined(form, more))).collect();
        }
        forms.retain(|form| !form.iter().any(|map| map.get("type").is_some_and(|kind| kind == "null")));
        forms
    }

    fn check(&self, schema: &'a Schema, value: &Value, at: &str) -> Result<(), Fault> {
        let forms = self.forms(schema);
        let fail = |nearest| {
            let reason = format!("must be {}, but is {}", self.expected(&forms), found(value));
            Err(Fault { key: at.to_owned(), reason, nearest })
        };
        let fitting = |kind: &str| forms.iter().find(|form| is_of(form, kind));
        match value {
            Value::String(text) => {
                let words: Vec<&str> = forms.iter().flat_map(words).collect();
                if words.contains(&text.as_str()) {
                    return Ok(());
                }
                let tags = || forms.iter().filter_map(|form| Some(tag(form)?.1));
                let of_kind =
                    |kind: &str| forms.iter().find(|form| tag(form).is_some_and(|(_, of)| of == kind));
                if words.is_empty() && fitting("string").is_some() {
                    Ok(())
                } else if let Some(form) = of_kind(text) {
                    let reason = format!("must be a table: {}", example(form));
                    Err(Fault { key: at.to_owned(), reason, nearest: None })
                } else {
                    let near = nearest(text, words.iter().copied().chain(tags()));
                    // The nearest word may be a kind, which is valid only in a table.
                    let table = near.as_deref().filter(|near| !words.contains(near)).and_then(of_kind);
                    fail(table.map(example).or(near))
                }
            }
            Value::Integer(number) => match fitting("integer") {
                Some(form)
                    if bounds(form).is_some_and(|(least, most)| {
                        let number = *number as f64;
                        number < least || number > most
                    }) =>
                {
                    fail(None)
                }
                None if fitting("number").is_none() => fail(None),
                _ => Ok(()),
            },
            Value::Float(_) if fitting("number").is_some() => Ok(()),
            Value::Boolean(_) if fitting("boolean").is_some() => Ok(()),
            Value::Array(items) => match fitting("array") {
                Some(form) => self.check_items(form, items, at, &fail),
                None => fail(None),
            },
            Value::Table(table) => self.check_table(&forms, table, at, &fail),
            _ => fail(None),
        }
    }

    fn check_items(
        &self,
        form: &Form<'a>,
        items: &[Value],
        at: &str,
        fail: &dyn Fn(Option<String>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let count = |word: &str| form.iter().find_map(|map| map.get(word)?.as_u64());
        let len = items.len() as u64;
        if count("minItems").is_some_and(|least| len < least)
            || count("maxItems").is_some_and(|most| len > most)
        {
            return fail(None);
        }
        let Some(of) = form.iter().find_map(|map| map.get("items")) else { return Ok(()) };
        let numbered = items.iter().enumerate();
        numbered.into_iter().try_for_each(|(place, item)| self.check(of, item, &format!("{at}[{place}]")))
    }

    fn check_table(
        &self,
        forms: &[Form<'a>],
        table: &Table,
        at: &str,
        fail: &dyn Fn(Option<String>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let tables: Vec<&Form<'a>> = forms.iter().filter(|form| is_of(form, "object")).collect();
        let Some((name, _)) = tables.iter().find_map(|form| tag(form)) else {
            // Either one of several keys, each with its own value, or an ordinary table.
            let named = tables.iter().find(|form| single(form).is_some_and(|key| table.contains_key(key)));
            let plain = tables.iter().find(|form| single(form).is_none());
            return match named.or(plain) {
                Some(form) => self.check_entries(&tables, form, table, at),
                None => fail(None),
            };
        };
        let key = dotted(at, name);
        let kinds: Vec<&str> = tables.iter().filter_map(|form| Some(tag(form)?.1)).collect();
        let Some(given) = table.get(name) else {
            let reason = format!("needs `{name}`: one of {}", listed(&kinds));
            return Err(Fault { key: at.to_owned(), reason, nearest: None });
        };
        let chosen = tables.iter().find(|form| tag(form).is_some_and(|(_, of)| given.as_str() == Some(of)));
        match chosen {
            Some(form) => self.check_entries(&tables, form, table, at),
            None => {
                let reason = format!("must be one of {}, but is {}", listed(&kinds), found(given));
                Err(Fault { key, reason, nearest: given.as_str().and_then(|word| nearest(word, kinds)) })
            }
        }
    }

    /// Checks every entry of a table of this form; `others` are the forms of tables that would also be valid
    /// here.
    fn check_entries(
        &self,
        others: &[&Form<'a>],
        form: &Form<'a>,
        table: &Table,
        at: &str,
    ) -> Result<(), Fault> {
        for (name, value) in table {
            let key = dotted(at, name);
            if let Some(of) = property(form, name) {
                self.check(of, value, &key)?;
                continue;
            }
            match form.iter().find_map(|map| map.get("additionalProperties")) {
                Some(of @ Schema::Object(_)) => self.check(of, value, &key)?,
                Some(Schema::Bool(false)) => return Err(unknown(others, form, name, key)),
                _ => {}
            }
        }
        let required = form.iter().filter_map(|map| map.get("required")?.as_array()).flatten();
        for name in required.filter_map(Schema::as_str) {
            if !table.contains_key(name) {
                let reason = match tag(form) {
                    Some((tag, of)) => format!("{tag} `{of}` needs `{name}`: {}", example(form)),
                    None => format!("needs `{name}`"),
                };
                return Err(Fault { key: at.to_owned(), reason, nearest: None });
            }
        }
        Ok(())
    }

    /// Describes the forms: `a number`, `one of a, b, or a table with kind one of c, d`.
    fn expected(&self, forms: &[Form<'a>]) -> String {
        let mut parts: Vec<String> = Vec::new();
        let words: Vec<&str> = forms.iter().flat_map(words).filter(|word| !word.is_empty()).collect();
        let tags: Vec<(&str, &str)> = forms.iter().filter_map(tag).collect();
        if !words.is_empty() {
            parts.push(format!("one of {}", listed(&words)));
        }
        if let Some((name, _)) = tags.first() {
            let kinds: Vec<&str> = tags.iter().map(|(_, kind)| *kind).collect();
            parts.push(format!("a table whose `{name}` is one of {}", listed(&kinds)));
        }
        for form in forms.iter().filter(|form| tag(form).is_none() && words_of(form).is_none()) {
            parts.push(self.plain(form));
        }
        parts.dedup();
        parts.join(", or ")
    }

    /// Describes a form that has no list of words.
    fn plain(&self, form: &Form<'a>) -> String {
        let kinds = ["integer", "number", "boolean", "string", "array", "object"];
        match kinds.into_iter().find(|kind| is_of(form, kind)) {
            Some("integer") => match bounds(form) {
                Some((least, _)) if least >= 0.0 => "a whole number, not negative".into(),
                _ => "a whole number".into(),
            },
            Some("number") => "a number".into(),
            Some("boolean") => "true or false".into(),
            Some("string") => "text".into(),
            Some("array") => {
                let count = |word: &str| form.iter().find_map(|map| map.get(word)?.as_u64());
                let of = form.iter().find_map(|map| map.get("items"));
                let of = of.map_or_else(|| "values".to_owned(), |of| self.several(of));
                match (count("minItems"), count("maxItems")) {
                    (Some(least), Some(most)) if least == most => format!("a list of {least} {of}"),
                    _ => format!("a list of {of}"),
                }
            }
            _ => match single(form) {
                Some(key) => format!("{{ {key} = … }}"),
                None => "a table".into(),
            },
        }
    }

    /// Describes the elements of a list.
    fn several(&self, of: &'a Schema) -> String {
        let forms = self.forms(of);
        let all = |kind: &str| forms.iter().all(|form| is_of(form, kind));
        let words: Vec<&str> = forms.iter().flat_map(words).collect();
        if !words.is_empty() {
            format!("words out of {}", listed(&words))
        } else if all("integer") {
            "whole numbers".into()
        } else if all("number") {
            "numbers".into()
        } else {
            "values".into()
        }
    }
}

/// The error for a key that a table of this form does not have. It may belong to another form or another
/// table, or be misspelt.
fn unknown(others: &[&Form<'_>], form: &Form<'_>, name: &str, key: String) -> Fault {
    let of_kinds: Vec<&str> = others
        .iter()
        .filter(|other| property(other, name).is_some())
        .filter_map(|other| Some(tag(other)?.1))
        .collect();
    if let (Some((tag, kind)), false) = (tag(form), of_kinds.is_empty()) {
        let reason = format!("{tag} `{kind}` has no such key; these have: {}", listed(&of_kinds));
        return Fault { key, reason, nearest: None };
    }
    let known = schema::keys();
    let last = |known: &str| known.rsplit('.').next().unwrap_or_default().to_owned();
    let elsewhere: Vec<&str> = known.keys().map(String::as_str).filter(|known| last(known) == name).collect();
    let siblings = form.iter().filter_map(|map| map.get("properties")?.as_object()).flat_map(Map::keys);
    let near = if elsewhere.is_empty() {
        nearest(name, siblings.map(String::as_str)).or_else(|| {
            let best = nearest(name, known.keys().map(|key| key.rsplit('.').next().unwrap_or_default()))?;
            known.keys().find(|key| last(key) == best).cloned()
        })
    } else {
        // `seed` is a key of both the data and the training.
        Some(elsewhere.join("` or `"))
    };
    Fault { key, reason: "there is no such key".into(), nearest: near }
}

fn property<'a>(form: &Form<'a>, name: &str) -> Option<&'a Schema> {
    form.iter().find_map(|map| map.get("properties")?.get(name))
}

/// The key that identifies a table's form, and its value for this one: `kind`, `mlp`.
fn tag<'a>(form: &Form<'a>) -> Option<(&'a str, &'a str)> {
    let mut properties = form.iter().filter_map(|map| map.get("properties")?.as_object()).flatten();
    properties.find_map(|(name, of)| Some((name.as_str(), of.get("const")?.as_str()?)))
}

/// The key of a table of this form, if it has exactly one and requires it.
fn single<'a>(form: &Form<'a>) -> Option<&'a str> {
    let properties = form.iter().find_map(|map| map.get("properties")?.as_object())?;
    let required = form.iter().find_map(|map| map.get("required")?.as_array())?;
    let key = properties.keys().next()?;
    (properties.len() == 1 && required.len() == 1 && tag(form).is_none()).then_some(key.as_str())
}

/// An example of a table of this form, with all required keys.
fn example(form: &Form<'_>) -> String {
    let Some((name, kind)) = tag(form) else { return "{ … }".into() };
    let required = form.iter().filter_map(|map| map.get("required")?.as_array()).flatten();
    let others = required.filter_map(Schema::as_str).filter(|key| *key != name);
    let others: String = others.map(|key| format!(", {key} = …")).collect();
    format!("{{ {name} = \"{kind}\"{others} }}")
}

/// The words that a form allows.
fn words_of<'a>(form: &Form<'a>) -> Option<Vec<&'a str>> {
    form.iter().find_map(|map| {
        if let Some(word) = map.get("const").and_then(Schema::as_str) {
            return Some(vec![word]);
        }
        Some(map.get("enum")?.as_array()?.iter().filter_map(Schema::as_str).collect())
    })
}

fn words<'a>(form: &Form<'a>) -> Vec<&'a str> {
    words_of(form).unwrap_or_default()
}

fn is_of(form: &Form<'_>, kind: &str) -> bool {
    form.iter().filter_map(|map| map.get("type")).any(|found| match found {
        Schema::Array(kinds) => kinds.iter().any(|found| found == kind),
        found => found == kind,
    })
}

/// The smallest and largest value of a whole number, if the schema sets them.
fn bounds(form: &Form<'_>) -> Option<(f64, f64)> {
    let bound = |word: &str| form.iter().find_map(|map| map.get(word)?.as_f64());
    let (least, most) = (bound("minimum"), bound("maximum"));
    (least.is_some() || most.is_some())
        .then(|| (least.unwrap_or(f64::NEG_INFINITY), most.unwrap_or(f64::INFINITY)))
}

fn dotted(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Describes a value.
fn found(value: &Value) -> String {
    /// The most letters of a text that are shown.
    const SHOWN: usize = 40;
    match value {
        Value::String(text) if text.chars().count() > SHOWN => {
            format!("the string `{}…`", text.chars().take(SHOWN).collect::<String>())
        }
        Value::String(text) => format!("the string `{text}`"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(_) => "a date".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Table(_) => "a table".into(),
    }
}
