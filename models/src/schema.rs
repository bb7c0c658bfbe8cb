//! The JSON Schema of a recipe, for editors that complete and check TOML, and the keys that a setting can
//! name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Recipe;

/// A key that [`Recipe::parse`] accepts in a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its purpose, in one line.
    pub description: String,
    /// Its values, if it has only a few.
    pub values: Vec<String>,
}

/// The JSON Schema (draft 2020-12) for a recipe's TOML. Like [`Recipe::parse`], it allows no unknown keys.
pub fn schema() -> Value {
    schemars::schema_for!(Recipe).to_value()
}

/// Every key of every family that has a value of its own, as a dotted path: `train.batch_size`.
pub fn keys() -> BTreeMap<String, Key> {
    let schema = schema();
    let mut keys = BTreeMap::new();
    collect(&schema, &schema, "", &mut keys);
    keys
}

/// Adds the keys below `prefix` that `schema`, a part of `root`, describes.
fn collect(root: &Value, schema: &Value, prefix: &str, keys: &mut BTreeMap<String, Key>) {
    for part in parts(root, schema) {
        for (name, value) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let values = parts(root, value);
            if values.iter().any(|value| value.contains_key("properties")) {
                collect(root, value, &name, keys);
            }
            // A table has no value of its own, whether a family or the model (`optimizer.groups`) defines its
            // keys.
            let of_table = |value: &&Map<String, Value>| {
                ["object", "null"].iter().any(|kind| value.get("type").is_some_and(|found| found == kind))
            };
            let is_value = |value: &&Map<String, Value>| value.contains_key("type") && !of_table(value);
            if !values.iter().any(is_value) {
                continue;
            }
            let key = keys.entry(name).or_default();
            let said = std::iter::once(value).filter_map(Value::as_object).chain(values.iter().copied());
            let mut said = said.filter_map(|value| value.get("description")?.as_str()?.lines().next());
            if let (true, Some(line)) = (key.description.is_empty(), said.next()) {
                key.description = line.to_owned();
            }
            for value in values.iter().flat_map(|value| named(value)) {
                if !key.values.contains(&value) {
                    key.values.push(value);
                }
            }
        }
    }
}

/// A schema and all of its alternatives, with references resolved.
fn parts<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Map<String, Value>> {
    let Some(object) = schema.as_object() else { return Vec::new() };
    let mut found = vec![object];
    let pointer =
        object.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    found
        .extend(pointer.and_then(|pointer| root.pointer(pointer)).into_iter().flat_map(|of| parts(root, of)));
    for alternatives in ["oneOf", "anyOf", "allOf"].iter().filter_map(|word| object.get(*word)?.as_array()) {
        found.extend(alternatives.iter().flat_map(|alternative| parts(root, alternative)));
    }
    found
}

/// The values that a schema lists.
fn named(schema: &Map<String, Value>) -> Vec<String> {
    let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let words = words.chain(schema.get("const")).filter_map(Value::as_str).map(str::to_owned);
    let truth = schema.get("type").is_some_and(|kind| kind == "boolean");
    words.chain(["false", "true"].iter().filter(|_| truth).map(ToString::to_string)).collect()
}
