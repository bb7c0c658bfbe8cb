//! `waxwork recipes`: lists, shows and compares recipes.

use std::collections::BTreeMap;

use serde::Serialize;
use waxwork_models::{Recipe, embedded, schema};

use crate::args::RecipesCommand;
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Row {
    name: &'static str,
    family: String,
    data: String,
    tags: Vec<String>,
    description: String,
}

/// Runs the subcommand; without one, lists the recipes.
pub(crate) fn run(command: Option<&RecipesCommand>) -> Result<String, Failure> {
    match command {
        None => list(false),
        Some(RecipesCommand::List { json }) => list(*json),
        Some(RecipesCommand::Show { recipe, set, json }) => {
            let recipe = Recipe::find(recipe, set)?;
            if *json { output::json(&recipe) } else { Ok(recipe.to_toml()?) }
        }
        Some(RecipesCommand::Diff { first, second, json }) => diff(first, second, *json),
        Some(RecipesCommand::Schema) => output::json(&schema::schema()),
    }
}

fn diff(first: &str, second: &str, json: bool) -> Result<String, Failure> {
    let differences = Recipe::find(first, &[])?.differences(&Recipe::find(second, &[])?)?;
    if json {
        let keys =
            differences.into_iter().map(|difference| (difference.key, [difference.was, difference.is]));
        return output::json(&keys.collect::<BTreeMap<_, _>>());
    }
    if differences.is_empty() {
        return Ok("no differences\n".to_owned());
    }
    let header = ["KEY", first, second].map(str::to_owned).to_vec();
    let rows = differences.into_iter().map(|difference| {
        let [was, is] = [difference.was, difference.is].map(|value| value.unwrap_or_else(|| "-".to_owned()));
        vec![difference.key, was, is]
    });
    Ok(output::table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()))
}

fn list(json: bool) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (name, text) in embedded::RECIPES {
        let recipe = Recipe::parse(text, name, &[])?;
        let family = recipe.family();
        rows.push(Row {
            name,
            family,
            data: recipe.data.name,
            tags: recipe.tags,
            description: recipe.description,
        });
    }
    if json {
        return output::json(&rows);
    }
    let lines: Vec<Vec<String>> =
        rows.into_iter().map(|row| vec![row.name.to_owned(), row.description]).collect();
    Ok(output::table(&lines))
}
