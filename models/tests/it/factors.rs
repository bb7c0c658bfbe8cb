//! VAEs on images with known factors: two steps of each recipe, and the metrics of its evaluation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::Device;
use waxwork_models::{EvaluationConfig, Recipe, evaluate, train};

const SCORES: [&str; 6] = [
    "mutual_information_gap",
    "factorvae_score",
    "sap_score",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
];

/// The values of [`SCORES`] after two steps of a recipe; None for scores that are absent.
fn scores(recipe: &str, settings: &[&str], test_samples: usize) -> [Option<f64>; 6] {
    let small = ["data.limit=100", "data.validation=20", "train.batch_size=20", "train.steps=2"];
    let settings: Vec<String> = small.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&Recipe::named(recipe, &settings).unwrap(), &run, &Device::Cpu).unwrap();
    let config =
        EvaluationConfig { test_samples: Some(test_samples), samples: 0, ..EvaluationConfig::default() };
    let report = evaluate(&run, &config, &Device::Cpu).unwrap();
    SCORES.map(|name| {
        let found = report.metrics.iter().find(|metric| metric.name == name)?;
        assert!(found.higher_is_better == Some(true) && found.protocol.contains_key("n_real"), "{name}");
        Some(found.value)
    })
}

#[test]
fn both_recipes_are_measured_by_every_score() {
    let small = ["model.network.channels=[4, 4, 4, 4]", "model.network.hidden=16", "model.latent_dim=4"];
    for recipe in ["vae-factors", "vae-factors-tc"] {
        let found = scores(recipe, &small, 400);
        assert!(found.iter().flatten().all(|value| (0.0..=1.0).contains(value)), "{recipe}: {found:?}");
        assert!(found.iter().all(Option::is_some), "{recipe}: {found:?}");
    }
}

#[test]
fn scores_that_do_not_apply_are_absent() {
    // Some factors of digits can take any number as a value.
    let [gap, scores_of_digits @ ..] = scores("vae-digits", &[], 400);
    assert!(gap.is_some() && scores_of_digits == [None; 5], "{scores_of_digits:?}");
    // Ten images per position are too few to compare.
    let [gap, scores_of_few @ ..] = scores("vae-factors", &["model.network.channels=[4]"], 399);
    assert!(gap.is_some() && scores_of_few == [None; 5], "{scores_of_few:?}");
}

/// This also holds if it is estimated from the parts of a batch, or by a discriminator.
#[test]
fn the_total_correlation_is_in_the_log() {
    for discriminator in ["[]", "[8, 8]"] {
        let lines = log_of(discriminator);
        let logged =
            |name: &str| -> Vec<f64> { lines.iter().filter_map(|line| line[name].as_f64()).collect() };
        let found = logged("total_correlation");
        assert!(found.len() == 3 && found.iter().all(|value| value.is_finite()), "{lines:?}");
        let found = logged("discriminator");
        assert_eq!(found.len(), if discriminator == "[]" { 0 } else { 3 }, "{lines:?}");
        // Before it learns, the discriminator cannot distinguish the latents.
        assert!(found.iter().all(|value| (value - std::f64::consts::LN_2).abs() < 0.2), "{lines:?}");
    }
}

/// The lines of metrics.jsonl of three steps with a discriminator of these widths.
fn log_of(discriminator: &str) -> Vec<serde_json::Value> {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "data.limit=100",
        "data.validation=20",
        "train.batch_size=32",
        "train.micro_batches=2",
        "train.steps=3",
        "train.log_every=1",
        "model.network.channels=[4, 4]",
        "model.network.hidden=16",
        &format!("model.discriminator={discriminator}"),
    ];
    let recipe = Recipe::named("vae-factors-tc", &settings.map(String::from)).unwrap();
    let run = folder.path().join("run");
    train(&recipe, &run, &Device::Cpu).unwrap();
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
