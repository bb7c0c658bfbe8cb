//! The recipes of published tables: the settings of every row, in both forms, against the keys that recipes
//! have; and what only these recipes use.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should fail where it stands"
)]

use std::path::{Path, PathBuf};

use toml::{Table, Value};
use waxwork_core::{DType, Device, ParamSet, Tensor, TrainingState};
use waxwork_data::DataConfig;
use waxwork_models::{EvaluationConfig, Recipe, TrainingRun, evaluate, train};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("papers")
}

/// The folder and the contents of every table.
fn tables() -> Vec<(PathBuf, Table)> {
    let folders = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let read = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("table.toml")).unwrap();
        (folder, text.parse::<Table>().unwrap())
    };
    folders.filter(|folder| folder.join("table.toml").exists()).map(read).collect()
}

fn settings(table: &Table) -> Vec<String> {
    let listed = table.get("settings").and_then(Value::as_array).into_iter().flatten();
    listed.map(|setting| setting.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_row_is_a_recipe_whose_networks_can_be_built() {
    let mut built = 0;
    for (folder, table) in tables() {
        for row in table["rows"].as_array().unwrap() {
            let row = row.as_table().unwrap();
            for quick in [false, true] {
                let mut settings = settings(row);
                if quick {
                    settings.extend(self::settings(table["quick"].as_table().unwrap()));
                }
                let path = folder.join(row["recipe"].as_str().unwrap());
                let recipe = Recipe::find(path.to_str().unwrap(), &settings);
                let recipe = recipe.unwrap_or_else(|error| panic!("{}: {error}", row["name"]));
                // Generated digits have the size and the classes of MNIST's.
                let name = recipe.data.name.as_str();
                let generated = if name.ends_with("mnist") { "digits" } else { name };
                let data = waxwork_data::load(&DataConfig::named(generated)).unwrap().info;
                let params = ParamSet::fresh(0, &Device::Cpu);
                let model = recipe.model.build(data.sample(), data.condition(), params);
                let model = model.unwrap_or_else(|error| panic!("{}: {error}", row["name"]));
                let steps = recipe.train.length(59_600).unwrap().steps;
                TrainingState::new(model.as_ref(), recipe.optimizer.clone(), 0, steps).unwrap();
                assert!(recipe.train.batch_size.is_multiple_of(model.batch_multiple()), "{}", row["name"]);
                built += 1;
            }
        }
    }
    assert!(built >= 2 * 20, "{built}");
}

/// Two steps of rows with every objective, prior and network, on embedded data, and their likelihoods.
#[test]
fn rows_of_every_kind_train_and_are_measured() {
    let small = [
        "data.limit=200",
        "data.validation=20",
        "train.steps=2",
        "train.log_every=1",
        "train.checkpoint_every=0",
        "train.validate_every=0",
    ];
    let measured = EvaluationConfig {
        test_samples: Some(100),
        importance_samples: 5,
        samples: 0,
        ..EvaluationConfig::default()
    };
    // One step trains the guesses, and one step trains the model.
    let guesses = "model.completion.guess_steps=1".to_owned();
    for (table, name, data) in [
        ("burda", "vae-5", "digits"),
        ("burda", "iwae-5", "digits"),
        ("burda", "two-vae-5", "digits"),
        ("burda", "two-iwae-5", "digits"),
        ("burda", "cvae-5", "digits"),
        ("miwae", "miwae-8-8", "digits"),
        ("miwae", "piwae-8-8", "digits"),
        ("miwae", "ciwae-64", "digits"),
        ("vamp", "mnist-vamp", "digits"),
        ("quadrants", "one-quadrant", "digits"),
        ("quadrants", "three-quadrants", "digits"),
        ("pacgan", "ring-pac2", "ring"),
    ] {
        let (folder, table) = tables().into_iter().find(|(folder, _)| folder.ends_with(table)).unwrap();
        let mut rows = table["rows"].as_array().unwrap().iter().map(|row| row.as_table().unwrap());
        let row = rows.find(|row| row["name"].as_str() == Some(name)).unwrap();
        let mut settings = settings(row);
        settings.push(format!("data.name={data}"));
        settings.extend(small.map(String::from));
        settings.extend(name.contains("quadrant").then(|| guesses.clone()));
        let path = folder.join(row["recipe"].as_str().unwrap());
        let recipe = Recipe::find(path.to_str().unwrap(), &settings).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        assert_eq!(train(&recipe, &run, &Device::Cpu).unwrap().steps, 2, "{name}");
        if data == "ring" {
            continue;
        }
        let report = evaluate(&run, &measured, &Device::Cpu).unwrap();
        let found = report.metrics.iter().find(|metric| metric.name == "neg_log_likelihood").unwrap();
        // With every pixel at one half it is 784 ln 2 = 543 nats; two steps from random weights end near it or below.
        assert!(found.value > 0.0 && found.value < 1100.0, "{name}: {}", found.value);
    }
}

/// The paper has 3,280 passes of 2,980 steps.
#[test]
fn burda_has_the_schedule_of_the_paper() {
    let recipe = Recipe::find(folder().join("burda/vae.toml").to_str().unwrap(), &[]).unwrap();
    let total = recipe.train.length(59_600).unwrap().steps;
    assert_eq!(total, 9_774_400);
    let rate = |step| recipe.optimizer.lr * recipe.optimizer.schedule.factor(step, total);
    for (pass, expected) in [(0, 1e-3), (1, 7.2e-4), (4, 5.2e-4), (13, 3.7e-4), (40, 2.7e-4), (1093, 1e-4)] {
        let rates = [rate(2980 * pass), rate(2980 * pass + 2979)];
        // The paper's code rounds to two digits.
        assert!(rates.iter().all(|rate| (rate / expected - 1.0).abs() < 0.03), "{pass}: {rates:?}");
    }
    assert!((rate(2979) / rate(2980) - 10f64.powf(1.0 / 7.0)).abs() < 1e-9, "a stage ends after a pass");
}

/// Before the first step, the decoder's output bias has the mean of the training images.
#[test]
fn training_starts_at_the_mean_image() {
    let set = ["data.name=digits", "data.limit=60", "data.validation=10", "train.epochs=1"].map(String::from);
    let path = folder().join("burda/vae.toml");
    let recipe = Recipe::find(path.to_str().unwrap(), &set).unwrap();
    let data = waxwork_data::load(&recipe.data).unwrap();
    let run = TrainingRun::new(recipe, data, &Device::Cpu, None).unwrap();
    let batches = run.data.train.batches(7, &Device::Cpu).unwrap();
    let images: Vec<Tensor> = batches.map(|batch| batch.unwrap().inputs.flatten_from(1).unwrap()).collect();
    let images = Tensor::cat(&images, 0).unwrap().to_dtype(DType::F64).unwrap();
    let mean: Vec<f64> = images.mean(0).unwrap().to_vec1().unwrap();
    let bias = run.model.params().get("decoder.output.bias").unwrap().to_dtype(DType::F64).unwrap();
    let bias: Vec<f64> = bias.to_vec1().unwrap();
    assert_eq!(bias.len(), mean.len());
    for (bias, mean) in bias.iter().zip(&mean) {
        let found = 1.0 / (1.0 + (-bias).exp());
        assert!((found - mean.clamp(0.001, 0.999)).abs() < 1e-5, "{found} against {mean}");
    }
    assert!(mean.iter().any(|mean| *mean > 0.1), "{mean:?}");
}
