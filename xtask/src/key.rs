//! A short hash of a recipe and of how its run is trained and measured. Stored results with another key
//! belong to another run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The key of a recipe file with `further` lines, such as settings. The recipe's comments, its
/// description and its results, which are its last table, do not affect the key.
pub(crate) fn key(recipe: &Path, further: &[&str]) -> Result<String> {
    let text = fs::read_to_string(recipe).with_context(|| format!("failed to read {}", recipe.display()))?;
    Ok(of_text(&text, further))
}

fn of_text(recipe: &str, further: &[&str]) -> String {
    let said = |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("description");
    let keys = recipe.lines().map(str::trim).take_while(|line| *line != "[results]");
    let mut lines: Vec<&str> = keys.filter(said).collect();
    lines.extend(further);
    let hash = Sha256::digest(lines.join("\n"));
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_a_recipe_do_not_change_its_key() {
        let one = of_text("description = \"a\"\n[data]\nname = \"b\"\n", &["train.steps=1"]);
        let same = of_text(
            "# c\ndescription = \"d\"\n\n[data]\n  name = \"b\"\n[results]\ne = 1",
            &["train.steps=1"],
        );
        assert_eq!((one.len(), &one), (8, &same));
        assert_ne!(one, of_text("[data]\nname = \"b\"", &["train.steps=2"]));
        assert_ne!(one, of_text("[data]\nname = \"e\"", &["train.steps=1"]));
    }
}
