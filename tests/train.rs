//! `waxwork train`: the files of a run, and errors that leave no files.

use crate::util::{deterministic_files, real_data, run_json, small, waxwork};

#[test]
fn a_run_writes_every_documented_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--set", "train.sample_every=2", "--set", "train.checkpoint_every=1"])).good();
    for name in [
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "timing.jsonl",
        "samples/step-000002.png",
        "samples/step-000004.png",
        "checkpoints/step-000004/params.safetensors",
        "checkpoints/step-000004/optimizers.safetensors",
        "checkpoints/step-000004/state.json",
        "model.safetensors",
        "README.md",
    ] {
        assert!(run.join(name).is_file(), "{name} is missing");
    }
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<&str> = metrics.lines().filter(|line| line.contains("grad_norm/encoder")).collect();
    assert_eq!(steps.len(), 4, "{metrics}");
    assert!(metrics.contains("validation/neg_elbo"), "{metrics}");
    assert!(std::fs::read_to_string(run.join("run.json")).unwrap().contains("\"finished\""));
    let listed = waxwork(&["runs", "list", folder.path().to_str().unwrap(), "--json"]).good().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["steps"], 4);
    // Runs are listed from a folder of folders, and for the run itself.
    let above = tempfile::tempdir().unwrap();
    let below = above.path().join("experiments/vae");
    std::fs::create_dir_all(&below).unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(below.join(name)).unwrap();
        for file in ["recipe.toml", "run.json"] {
            std::fs::copy(run.join(file), below.join(name).join(file)).unwrap();
        }
    }
    let names = |folder: &std::path::Path| -> Vec<String> {
        let listed = waxwork(&["runs", "list", folder.to_str().unwrap()]).good().stdout;
        listed.lines().skip(1).map(|line| line.split("  ").next().unwrap().to_owned()).collect()
    };
    let expected = ["a", "b"].map(|name| below.join(name).to_str().unwrap().to_owned());
    assert_eq!(names(above.path()), expected);
    assert_eq!(names(&below.join("a")), expected[..1]);
    // A run that cannot be read is named, and does not hide others.
    std::fs::write(below.join("a/run.json"), "{").unwrap();
    let call = waxwork(&["runs", "list", above.path().to_str().unwrap()]).good();
    assert!(call.stderr.contains("a/run.json") && call.stdout.contains(&expected[1]), "{}", call.stderr);
}

#[test]
fn without_validation_images_nothing_is_validated() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--set", "data.validation=0"])).good();
    assert!(!std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().contains("validation/"));
}

#[test]
fn threads_samples_and_validations_do_not_change_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let run = folder.path().join(name);
        waxwork(&small(&run, more)).good();
        deterministic_files(&run)
    };
    let one = run("one", &["--threads", "1"]);
    assert_eq!(one, run("three", &["--threads", "3"]));
    // More frequent samples and validations must not change the trained weights.
    let model = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        files[std::path::Path::new("params.safetensors")].clone()
    };
    let watched = ["--set", "train.sample_every=1", "--set", "train.validate_every=1"];
    assert_eq!(model(&one), model(&run("watched", &watched)));
    assert_ne!(model(&one), model(&run("other seed", &["--set", "train.seed=4"])));
}

#[test]
fn a_profile_says_where_the_time_went_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, profiled) = (folder.path().join("plain"), folder.path().join("profiled"));
    let said = waxwork(&small(&plain, &[])).good().stdout;
    assert!(!said.contains("optimiser"), "{said}");
    let said = waxwork(&small(&profiled, &["--profile"])).good().stdout;
    assert_eq!(deterministic_files(&plain), deterministic_files(&profiled));

    let seconds = |name: &str| -> f64 {
        let row = said.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.and_then(|row| row.split_whitespace().nth(1)).expect(name).parse().expect(name)
    };
    let phases = ["data", "forward", "backward", "optimiser", "other"];
    assert!((phases.map(seconds).iter().sum::<f64>() - seconds("all")).abs() < 0.004, "{said}");
    // Every line of timing.jsonl has the same times up to its step, which only grow.
    let timing = std::fs::read_to_string(profiled.join("timing.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        timing.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for phase in phases {
        let times: Vec<f64> = lines.iter().map(|line| line[phase].as_f64().expect(phase)).collect();
        assert!(times.len() == 4 && times.is_sorted() && times[3] <= seconds(phase) + 0.001, "{timing}");
    }
}

#[test]
fn the_recipe_in_the_run_folder_repeats_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    waxwork(&small(&first, &[])).good();
    let recipe = first.join("recipe.toml");
    waxwork(&["train", recipe.to_str().unwrap(), "-q", "--out", second.to_str().unwrap()]).good();
    assert_eq!(deterministic_files(&first), deterministic_files(&second));
}

#[test]
fn mistakes_are_refused_with_suggestions_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let out = ["--out", run.to_str().unwrap(), "-q"];
    let train = |arguments: &[&str]| waxwork(&[&["train"], arguments, &out].concat());
    train(&["vae-digit"]).refused(&["vae-digit", "did you mean `vae-digits`"]);
    train(&["no/such.toml"]).refused(&["no/such.toml"]);
    train(&["--data", "mnst"]).refused(&["mnst", "mnist"]);
    train(&["--device", "gpu"]).refused(&["gpu", "cuda"]);
    train(&["--device", "cuda"]).refused(&["cuda", "--features cuda"]);
    train(&["--set", "train.batchsize=3"]).refused(&["train.batchsize", "did you mean `batch_size`"]);
    train(&["--set", "train.batch_size=0"]).refused(&["train.batch_size"]);
    train(&["--set", "train.batch_size=70000"]).refused(&["train.batch_size", "70000"]);
    train(&["--set", "model.latent_dim=0"]).refused(&["model.latent_dim"]);
    train(&["--set", "optimizer.lr=-1"]).refused(&["optimizer.lr"]);
    train(&["--set", "optimizer.groups.decodr.lr=0.1"]).refused(&["decodr", "decoder"]);
    train(&["vae-mlp-mnist", "--data-dir", folder.path().to_str().unwrap()])
        .refused(&["mnist", "--data-dir"]);
    assert!(!run.exists());

    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("mine.txt"), "mine").unwrap();
    train(&["vae-digits"]).refused(&["already exists"]);
    // Both errors come before data is read, which may be slow.
    let nowhere = run.join("nowhere");
    let elsewhere = ["vae-mlp-mnist", "--data-dir", nowhere.to_str().unwrap()];
    train(&elsewhere).refused(&["already exists"]);
    train(&[&elsewhere[..], &["--set", "train.log_every=0"]].concat()).refused(&["train.log_every"]);
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 1);
    // An empty folder can be used, because nothing can be lost.
    std::fs::remove_file(run.join("mine.txt")).unwrap();
    waxwork(&small(&run, &[])).good();
}

#[test]
fn divergence_names_the_step_the_term_and_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // The third update ruins the weights, after a checkpoint of good ones.
    let schedule = r#"optimizer.schedule={kind="steps",milestones=[2],factor=1e30}"#;
    let wild = ["--set", schedule, "--set", "train.checkpoint_every=2"];
    waxwork(&small(&run, &wild)).refused(&["diverged", "step 3", "checkpoints/step-000002"]);

    let info = run_json(&run);
    assert_eq!(info["status"], "failed");
    assert!(info["failure"].as_str().unwrap().contains("step 3"), "{info}");
    let run = run.to_str().unwrap();
    assert!(waxwork(&["runs", "list", folder.path().to_str().unwrap()]).good().stdout.contains("failed"));
    // The same recipe would diverge again, but a fork with another schedule trains.
    waxwork(&["train", "--resume", run, "-q"]).refused(&["cannot be resumed", "step 3", "--fork"]);
    let fork = folder.path().join("fork");
    let constant = r#"optimizer.schedule={kind="constant"}"#;
    let fork_path = fork.to_str().unwrap();
    waxwork(&["train", "--fork", run, "--set", constant, "-q", "--out", fork_path]).good();
    assert!(fork.join("model.safetensors").exists());
}

#[test]
fn real_mnist_trains() {
    let Some(data) = real_data("training on MNIST") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let arguments = [
        "train",
        "vae-mlp-mnist",
        "--data-dir",
        data.to_str().unwrap(),
        "--out",
        run.to_str().unwrap(),
        "-q",
    ];
    waxwork(&[&arguments[..], &["--steps", "429", "--set", "train.validate_every=429"]].concat()).good();
    // Read the log instead of running `waxwork evaluate`, which would first train a judge for minutes.
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let neg_elbo = line["validation/neg_elbo"].as_f64().unwrap();
    // One epoch of the plain VAE reaches about 127 nats; an untrained model has 545.
    assert!((100.0..140.0).contains(&neg_elbo), "{neg_elbo}");
}

#[test]
fn missing_devices_and_unsupported_types_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let built = [
        ("cuda", cfg!(feature = "cuda")),
        ("cuda:1", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
    ];
    for (device, _) in built.into_iter().filter(|(_, built)| !built) {
        waxwork(&small(&run, &["--device", device])).refused(&[device, "build with `--features"]);
    }
    waxwork(&small(&run, &["--device", "gpu"])).refused(&["gpu", "cuda:N"]);
    waxwork(&small(&run, &["--dtype", "bf16"])).refused(&["train.dtype", "f32", "--device cuda"]);
    waxwork(&small(&run, &["--dtype", "f64"])).refused(&["bf16"]);
    assert!(!run.exists());
}
