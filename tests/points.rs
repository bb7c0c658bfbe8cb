//! Points in the plane, which are not images, through every command that handles any kind of sample.

use waxwork_core::npy;

use crate::util::{check_repeats, metric, run_json, small_of, tensor, text, trained, waxwork};

#[test]
fn both_families_train_on_points_and_repeat_exactly() {
    for recipe in ["vae-ring", "gan-ring"] {
        let (_folder, run) = trained(recipe);
        assert!(run.join("samples/step-000004.png").is_file(), "a scatter plot");
        check_repeats(&run, |again| small_of(recipe, again, &["--threads", "1"]));
    }
}

#[test]
fn run_json_says_what_the_samples_are() {
    let (_folder, run) = trained("vae-ring");
    let info = run_json(&run);
    assert_eq!(info["data_kind"], serde_json::json!({"kind": "points", "dimensions": 2}));
    assert_eq!(info["data_view"], serde_json::json!({"view": "coordinates"}));
    assert_eq!(info["model"]["sample"]["dims"], serde_json::json!([2]));
    assert!(std::fs::read_to_string(run.join("README.md")).unwrap().contains("points in 2 dimensions"));
    assert!(std::fs::read_to_string(run.join("report.html")).unwrap().contains("points in 2 dimensions"));
}

#[test]
fn points_are_written_as_arrays_and_drawn_by_number_and_temperature() {
    let (folder, run) = trained("vae-ring");
    let path = |name: &str| folder.path().join(name);
    let sample = |name: &str, more: &[&str]| {
        let out = path(name);
        waxwork(&[&["sample", text(&run), "--out", text(&out)], more].concat()).good();
        out
    };
    let few = npy::load(&sample("few.npy", &["-n", "7"])).unwrap().to_vec2::<f32>().unwrap();
    let many = tensor(&sample("many.safetensors", &["-n", "230", "--threads", "1"]), "points");
    let many = many.to_vec2::<f32>().unwrap();
    assert_eq!((many.len(), many[0].len()), (230, 2));
    assert_eq!(few, many[..7]);
    let mean = npy::load(&sample("mean.npy", &["-n", "7", "--temperature", "0"])).unwrap();
    assert_ne!(mean.to_vec2::<f32>().unwrap(), few);
    sample("plot.png", &["-n", "50"]);
    let refused = waxwork(&["sample", text(&run), "--out", text(&path("folder"))]);
    refused.refused(&["points cannot be written as a folder of images", ".npy"]);

    let codes = path("codes.npy");
    waxwork(&["encode", text(&run), "--images", text(&path("few.npy")), "--out", text(&codes)]).good();
    assert_eq!(npy::load(&codes).unwrap().dims(), [7, 2]);
    waxwork(&["decode", text(&run), text(&codes), "--out", text(&path("back.npy"))]).good();
    assert_eq!(npy::load(&path("back.npy")).unwrap().dims(), [7, 2]);
    for command in ["interpolate", "traverse", "reconstruct"] {
        let out = path(&format!("{command}.png"));
        waxwork(&[command, text(&run), "--out", text(&out)]).good();
        assert!(out.is_file(), "{command}");
    }
    waxwork(&["export", text(&run)]).good();
    waxwork(&["rate", text(&run)]).refused(&["points in 2 dimensions"]);
}

#[test]
fn modes_are_counted_against_the_true_distribution() {
    let (folder, run) = trained("gan-ring");
    let report = waxwork(&["evaluate", text(&run), "--samples", "300", "--json"]).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for name in ["modes_covered", "high_quality", "true_log_density", "judge_frechet", "distance_to_training"]
    {
        assert!(metric(&report, name)["value"].is_number(), "{name}: {report}");
    }
    assert_eq!(metric(&report, "modes_covered")["floor"], 8.0);

    // Points of any program are measured in the same way. The eight centres themselves cover all modes.
    let centres = (0..400u32).flat_map(|i| {
        let (sin, cos) = (f64::from(i % 8) / 8.0 * std::f64::consts::TAU).sin_cos();
        [cos as f32, sin as f32]
    });
    let array = waxwork_core::Tensor::from_iter(centres, &waxwork_core::Device::Cpu).unwrap();
    let foreign = folder.path().join("foreign.npy");
    npy::save(&foreign, &array.reshape((400, 2)).unwrap()).unwrap();
    let arguments = ["evaluate", "--samples", text(&foreign), "--data", "ring", "--json"];
    let report: serde_json::Value = serde_json::from_str(&waxwork(&arguments).good().stdout).unwrap();
    assert_eq!(metric(&report, "modes_covered")["value"], 8.0);
    assert_eq!(metric(&report, "high_quality")["value"], 1.0);
    // The density at the centre of one of eight distant modes with standard deviation 0.05.
    let peak = -(8f64.ln()) - (std::f64::consts::TAU * 0.05 * 0.05).ln();
    let found = metric(&report, "true_log_density")["value"].as_f64().unwrap();
    assert!((found - peak).abs() < 1e-6, "{found}");
}

#[test]
fn settings_that_points_do_not_support_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |recipe: &str, more: &[&str], words: &[&str]| {
        waxwork(&small_of(recipe, &folder.path().join("run"), more)).refused(words);
    };
    let convolutions = "model.network={kind=\"conv\",channels=[8],hidden=8}";
    refused("vae-ring", &["--set", convolutions], &["model.network", "needs images"]);
    refused(
        "vae-ring",
        &["--set", "model.likelihood={kind=\"bernoulli\"}"],
        &["model.likelihood", "gaussian"],
    );
    refused("gan-ring", &["--set", "model.augment=[\"translation\"]"], &["model.augment", "needs images"]);
    refused("gan-ring", &["--set", "train.flip=true"], &["train.flip", "points in 2 dimensions"]);
    refused("vae-ring", &["--set", "data.points.std=0"], &["data.points.std", "positive"]);
    refused("vae-digits", &["--set", "data.points.std=0.1"], &["data.points", "ring"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_different_spread_is_a_different_data_set() {
    let (_folder, run) = trained("vae-ring");
    let run = text(&run);
    let resumed = waxwork(&["train", "--resume", run, "--set", "data.points.std=0.1", "-q"]);
    resumed.refused(&["data.points.std is 0.1, but was not set"]);
}
