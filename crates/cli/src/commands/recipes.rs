//! `waxwork recipes`: what can be trained.

use serde::Serialize;
use waxwork_models::{Recipe, embedded};

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

pub(crate) fn run(command: &RecipesCommand) -> Result<String, Failure> {
    match command {
        RecipesCommand::List { json } => list(*json),
        RecipesCommand::Show { name, set, json } => {
            let recipe = Recipe::named(name, set)?;
            if *json { output::json(&recipe) } else { Ok(recipe.to_toml()?) }
        }
    }
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
