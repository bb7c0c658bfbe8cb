//! Recipes, with what `--set` adds: lines after a form feed are settings.
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
        // What can be written down comes back as it was. (A number that is none is unlike itself.)
        if let Ok(text) = recipe.to_toml() {
            assert_eq!(Recipe::parse(&text, "x", &[]).unwrap().to_toml().unwrap(), text);
        }
    }
);
