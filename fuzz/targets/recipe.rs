//! Recipes with settings of `--set`, which are the lines after a form feed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_fuzz::{RECIPE, seed};
use waxwork_models::{Recipe, embedded};

fuzz_target!(
    init: {
        seed("recipe", "tiny", format!("{RECIPE}\x0ctrain.steps=7\nmodel.latent_dim = 3\noptimizer.groups.encoder.lr=1e-2").as_bytes());
        for (name, text) in embedded::RECIPES {
            seed("recipe", name, text.as_bytes());
        }
    },
    |text: &str| {
        let (recipe, settings) = text.split_once('\x0c').unwrap_or((text, ""));
        let settings: Vec<String> = settings.lines().map(str::to_owned).collect();
        let Ok(recipe) = Recipe::parse(recipe, "x", &settings) else { return };
        _ = recipe.train.length(50_000);
        // A recipe that can be written is read back unchanged. (Texts are compared, because NaN
        // differs from itself.)
        if let Ok(text) = recipe.to_toml() {
            assert_eq!(Recipe::parse(&text, "x", &[]).unwrap().to_toml().unwrap(), text);
        }
    }
);
