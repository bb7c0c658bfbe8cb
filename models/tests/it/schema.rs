//! The schema of recipes against the parser of recipes: what one takes or refuses, so must the other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should fail where it stands"
)]

use serde_json::{Map, Value, json};
use waxwork_models::{Recipe, embedded, schema};

/// Whether `value` fits `schema`, by those words of JSON Schema (draft 2020-12) that ours uses; another word ends the test.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let object = match schema {
        Value::Bool(anything) => return *anything,
        Value::Object(object) => object,
        other => panic!("no schema: {other}"),
    };
    let all = |schemas: &Value, found: fn(usize, usize) -> bool| {
        let schemas = schemas.as_array().unwrap();
        found(schemas.iter().filter(|schema| fits(root, schema, value)).count(), schemas.len())
    };
    object.iter().all(|(word, said)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
        "$ref" => fits(root, root.pointer(said.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
        "oneOf" => all(said, |fitting, _| fitting == 1),
        "anyOf" => all(said, |fitting, _| fitting > 0),
        "const" => value == said,
        "enum" => said.as_array().unwrap().contains(value),
        "type" => match said {
            Value::Array(kinds) => kinds.iter().any(|kind| is(value, kind)),
            kind => is(value, kind),
        },
        "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().unwrap()),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= said.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= said.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|item| fits(root, said, item))),
        "required" => value.as_object().is_none_or(|table| {
            said.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|table| {
            said.as_object()
                .unwrap()
                .iter()
                .all(|(key, of)| table.get(key).is_none_or(|value| fits(root, of, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|table| {
            let known = object.get("properties").and_then(Value::as_object);
            let others = table.iter().filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
            others.into_iter().all(|(_, value)| fits(root, said, value))
        }),
        other => panic!("this test does not know `{other}`"),
    })
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("no type: {other}"),
    }
}

/// What the parser says of a recipe that is given as JSON, which is TOML's values too.
fn parses(recipe: &Value) -> Result<Recipe, String> {
    let table: toml::Table = serde_json::from_value(recipe.clone()).unwrap();
    Recipe::parse(&table.to_string(), "test", &[]).map_err(|error| error.to_string())
}

/// Every embedded recipe as it is written, and complete with its defaults.
fn recipes() -> Vec<(String, Value)> {
    let mut recipes = Vec::new();
    for (name, text) in embedded::RECIPES {
        let complete = Recipe::parse(text, name, &[]).unwrap().to_toml().unwrap();
        for text in [(*text).to_owned(), complete] {
            recipes.push((
                (*name).to_owned(),
                serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap(),
            ));
        }
    }
    recipes
}

/// Where the tables of a value are, itself included.
fn tables(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(table) = value {
        found.push(at.to_owned());
        table.iter().for_each(|(key, value)| tables(value, &format!("{at}/{key}"), found));
    }
}

#[test]
fn every_recipe_fits_and_an_unknown_key_in_any_table_is_refused_by_both() {
    let schema = schema::schema();
    for (name, recipe) in recipes() {
        assert!(fits(&schema, &schema, &recipe), "{name}");
        let mut places = Vec::new();
        tables(&recipe, "", &mut places);
        for place in places {
            let mut spoilt = recipe.clone();
            let table: &mut Map<_, _> = spoilt.pointer_mut(&place).unwrap().as_object_mut().unwrap();
            table.insert("surplus".into(), json!(true));
            assert!(!fits(&schema, &schema, &spoilt), "the schema takes {name}{place}/surplus");
            assert!(parses(&spoilt).is_err(), "the parser takes {name}{place}/surplus");
        }
    }
}

#[test]
fn schema_and_program_reject_the_same_values() {
    let schema = schema::schema();
    let recipe: toml::Table = embedded::text("vae-digits").unwrap().parse().unwrap();
    let recipe = serde_json::to_value(recipe).unwrap();
    let with = |place: &str, value: Value| {
        let mut recipe = recipe.clone();
        let (table, key) = place.rsplit_once('/').unwrap();
        recipe.pointer_mut(table).unwrap().as_object_mut().unwrap().insert(key.into(), value);
        (fits(&schema, &schema, &recipe), parses(&recipe).is_ok())
    };
    for (place, value) in [
        ("/train/steps", json!("many")),
        ("/train/steps", json!(-1)),
        ("/train/batch_size", json!(1.5)),
        ("/train/flip", json!("yes")),
        ("/model/family", json!("diffusion")),
        ("/model/activation", json!("sine")),
        ("/model/network", json!({"kind": "conv", "channels": 3})),
        ("/model/network", json!({"channels": [3]})),
        ("/model/likelihood", json!({"kind": "poisson"})),
        ("/optimizer/betas", json!([0.9])),
        ("/optimizer/groups", json!({"encoder": {"rate": 1.0}})),
        ("/data/name", json!(7)),
    ] {
        assert_eq!(with(place, value.clone()), (false, false), "{place} = {value}");
    }
    for (place, value) in [
        ("/train/steps", json!(7)),
        ("/model/activation", json!({"leaky-relu": 0.2})),
        ("/model/network", json!({"kind": "mlp", "hidden": [3, 4]})),
        ("/model/likelihood", json!({"kind": "gaussian", "scale": 0.1})),
        ("/optimizer/lr", json!(1)),
        ("/optimizer/schedule", json!({"kind": "constant"})),
        ("/optimizer/groups", json!({"encoder": {"lr": 1.0}})),
        ("/data/dir", json!("some/where")),
    ] {
        assert_eq!(with(place, value.clone()), (true, true), "{place} = {value}");
    }
}

#[test]
fn keys_are_all_that_a_recipe_says() {
    fn collect(value: &Value, at: &str, keys: &mut Vec<String>) {
        match value {
            Value::Object(table) => {
                table.iter().for_each(|(key, value)| collect(value, &format!("{at}.{key}"), keys));
            }
            _ => keys.push(at.trim_start_matches('.').to_owned()),
        }
    }
    let known = schema::keys();
    for (name, recipe) in recipes() {
        let mut keys = Vec::new();
        collect(&recipe, "", &mut keys);
        // These have keys of the model's and of the evaluation's own.
        let fixed =
            keys.iter().filter(|key| !key.starts_with("optimizer.groups.") && !key.starts_with("results."));
        for key in fixed {
            assert!(known.contains_key(key), "{key} of {name}");
        }
    }
    let described = |key: &str| known[key].description.as_str();
    assert_eq!(described("train.batch_size"), "Images per step.");
    assert_eq!(described("model.latent_dim"), "Length of the latent vector z.");
    assert_eq!(known["model.family"].values, ["vae", "cvae", "gan", "cgan"]);
    assert_eq!(known["model.discriminator.norm"].values, ["none", "batch", "spectral"]);
    assert_eq!(known["train.flip"].values, ["false", "true"]);
}

/// Words of a message that are its own: what stands between backticks was given, or is a name.
fn plain_words(message: &str) -> Vec<String> {
    let own = message.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    own.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase).collect()
}

#[test]
fn errors_about_values_use_no_rust_terms() {
    const RUST: [&str; 24] = [
        "enum",
        "struct",
        "variant",
        "variants",
        "tuple",
        "usize",
        "isize",
        "u8",
        "u16",
        "u32",
        "u64",
        "i64",
        "f32",
        "f64",
        "newtype",
        "untagged",
        "tagged",
        "internally",
        "externally",
        "borrowed",
        "sequence",
        "serde",
        "option",
        "invalid",
    ];
    let forms = [
        "true",
        "-1",
        "7",
        "1.5",
        "nan",
        "1e300",
        "9223372036854775807",
        "word",
        "\"\"",
        "[]",
        "[1, 2, 3]",
        "[\"word\"]",
        "{}",
        "{ kind = 3 }",
        "{ kind = \"no-such\" }",
        "{ surplus = 1 }",
        "1979-05-27",
        "{ kind = mlp }",
        "[[1]]",
    ];
    let mut keys: Vec<String> = schema::keys().into_keys().collect();
    let tables: std::collections::BTreeSet<String> =
        keys.iter().filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned())).collect();
    keys.extend(tables);
    keys.extend(
        [
            "results",
            "results.neg_elbo",
            "optimizer.groups",
            "optimizer.groups.encoder.lr",
            "surplus",
            "train.surplus",
        ]
        .map(String::from),
    );
    let (mut refused, mut taken) = (0, 0);
    for recipe in ["vae-digits", "cgan-digits"] {
        for key in &keys {
            for form in forms {
                let setting = format!("{key}={form}");
                let Err(error) = Recipe::named(recipe, std::slice::from_ref(&setting)) else {
                    taken += 1;
                    continue;
                };
                refused += 1;
                let message = error.to_string();
                assert!(message.contains(key.as_str()), "{setting}: {message}");
                assert!(!message.contains("Config"), "{setting}: {message}");
                let words = plain_words(&message);
                let foreign = words.iter().find(|word| RUST.contains(&word.as_str()));
                assert!(foreign.is_none(), "{setting}: {message}");
            }
        }
    }
    // Most forms are wrong for most keys, and some are right.
    assert!(refused > 5 * taken && taken > 100, "{refused} refused, {taken} taken");
}
